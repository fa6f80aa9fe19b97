//! What Gemini's models take, as far as it differs.

use opencredits_schema::Model;

use crate::Effort;

/// How a model is told how much to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// It does not think.
    None,
    /// By a budget in tokens; 0 turns it off where `least` is 0.
    Budget { least: u64, most: u64 },
    /// By a level, of these.
    Level(&'static [Effort]),
}

/// How this model is told.
pub(super) fn thinking(model: &Model) -> Style {
    use Effort::{High, Low, Medium, Minimal};
    let is = |part: &str| model.upstream_id.contains(part);
    match () {
        () if !model.features.reasoning => Style::None,
        () if is("2.5-pro") => Style::Budget { least: 128, most: 32_768 },
        () if is("2.5") => Style::Budget { least: 0, most: 24_576 },
        () if is("flash") => Style::Level(&[Minimal, Low, Medium, High]),
        () if is("gemini-3-pro") => Style::Level(&[Low, High]),
        () => Style::Level(&[Low, Medium, High]),
    }
}

/// Whether a call comes back with its seal or is refused: Gemini 3 and later.
pub(super) fn seals_calls(model: &Model) -> bool {
    !is_second(model)
}

/// Whether tools and a form of the answer can be asked for at once: Gemini 3 and later.
pub(super) fn takes_form_with_tools(model: &Model) -> bool {
    !is_second(model)
}

fn is_second(model: &Model) -> bool {
    let id = &model.upstream_id;
    id.starts_with("gemini-2") || id.starts_with("gemini-1")
}
