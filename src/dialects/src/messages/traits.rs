//! What Claude's models take, as far as it differs.

use opencredits_schema::Model;

use crate::Effort;

/// What one model takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Traits {
    /// How it thinks.
    pub(super) thinking: Style,
    /// The efforts that it knows; none where it takes no `output_config.effort`.
    pub(super) efforts: &'static [Effort],
    /// `temperature`, `top_p`, `top_k`.
    pub(super) sampling: bool,
    /// `top_p` beside `temperature`.
    pub(super) nucleus_too: bool,
    /// `output_config.format`.
    pub(super) json_schema: bool,
    /// A message of the role `system` inside the conversation.
    pub(super) system_inside: bool,
}

/// How a model thinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// Not at all.
    None,
    /// Up to a budget.
    Budget,
    /// As long as it likes.
    Adaptive,
}

/// The traits of a model.
pub(super) fn of(model: &Model) -> Traits {
    use Effort::{High, Low, Max, Medium, XHigh};
    let version = version(&model.upstream_id);
    let adaptive = model.features.adaptive_thinking;
    Traits {
        thinking: match (model.features.reasoning, adaptive) {
            (false, _) => Style::None,
            (true, false) => Style::Budget,
            (true, true) => Style::Adaptive,
        },
        efforts: match () {
            () if !adaptive => &[],
            () if version >= (4, 7) => &[Low, Medium, High, XHigh, Max],
            () => &[Low, Medium, High, Max],
        },
        // From Opus 4.7 on these are refused.
        sampling: version < (4, 7),
        nucleus_too: version < (4, 5),
        json_schema: model.features.json_schema,
        // Recorded of Opus 4.8.
        system_inside: version >= (4, 8),
    }
}

/// The version in a name like `claude-opus-4-7-20260416` or `claude-3-5-haiku-20241022`.
fn version(id: &str) -> (u64, u64) {
    let mut numbers =
        id.split(['-', '.']).filter(|part| part.len() <= 2).filter_map(|part| part.parse().ok());
    let major = numbers.next().unwrap_or(u64::MAX);
    (major, numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn a_version_is_read_from_any_name() {
        for (id, expected) in [
            ("claude-opus-4-7-20260416", (4, 7)),
            ("claude-3-5-haiku-20241022", (3, 5)),
            ("claude-sonnet-5", (5, 0)),
            ("claude-sonnet-4-20250514", (4, 0)),
            ("claude-mythos-preview", (u64::MAX, 0)),
        ] {
            assert_eq!(version(id), expected, "{id}");
        }
    }
}
