//! What the models behind chat completions take, as far as it differs.

use opencredits_schema::{Model, Provider};

use crate::Effort;

/// What one model takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Traits {
    /// `temperature` and `top_p`.
    pub(crate) sampling: bool,
    /// `presence_penalty`, `frequency_penalty`.
    pub(crate) penalties: bool,
    /// `stop`.
    pub(crate) stop: bool,
    /// System texts are `developer` messages.
    pub(crate) developer: bool,
    /// The efforts that it knows; none where it takes no `reasoning_effort`.
    pub(crate) efforts: &'static [Effort],
}

/// The traits of a model of OpenAI or xAI, by the names that they give their families.
pub(crate) fn of(model: &Model) -> Traits {
    let reasons = model.features.reasoning;
    let openai = model.provider == Provider::OpenAi;
    Traits {
        sampling: !(openai && reasons),
        penalties: !reasons,
        stop: !reasons,
        developer: openai && is_o_series(&model.upstream_id),
        efforts: match (reasons, openai) {
            (false, _) => &[],
            (true, true) => openai_efforts(&model.upstream_id),
            (true, false) => xai_efforts(&model.upstream_id),
        },
    }
}

fn is_o_series(id: &str) -> bool {
    id.strip_prefix('o').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

fn openai_efforts(id: &str) -> &'static [Effort] {
    use Effort::{High, Low, Medium, Minimal, None, XHigh};
    let is = |part: &str| id.contains(part);
    let first = id.starts_with("gpt-5-") || id == "gpt-5";
    match () {
        () if is("-pro") && first => &[High],
        () if is("-pro") => &[Medium, High, XHigh],
        () if is_o_series(id) || is("gpt-5-codex") || is("codex-mini") => &[Low, Medium, High],
        () if is("codex-max") => &[Low, Medium, High, XHigh],
        () if is("codex") => &[Low, Medium, High, XHigh],
        () if first => &[Minimal, Low, Medium, High],
        () if id.starts_with("gpt-5.1") => &[None, Low, Medium, High],
        () => &[None, Low, Medium, High, XHigh],
    }
}

/// Grok 4 and the models of fixed reasoning refuse the parameter.
fn xai_efforts(id: &str) -> &'static [Effort] {
    use Effort::{High, Low, Medium};
    match () {
        () if id.starts_with("grok-3-mini") => &[Low, High],
        () if id == "grok-4" || id.starts_with("grok-4-") || id.contains("code-fast") => &[],
        () if id.ends_with("-reasoning") => &[],
        () => &[Low, Medium, High],
    }
}
