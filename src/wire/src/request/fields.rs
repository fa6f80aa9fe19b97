//! Reads single raw JSON values, with errors that name the field.

use super::BadRequest;

/// A string, `None` for `null`.
pub(super) fn string(raw: &str, name: &'static str) -> Result<Option<String>, BadRequest> {
    serde_json::from_str(raw)
        .map_err(|_| BadRequest::new(format!("`{name}` must be a string"), name))
}

/// A boolean, `false` for `null`.
pub(super) fn boolean(raw: &str, name: &'static str) -> Result<bool, BadRequest> {
    match raw {
        "true" => Ok(true),
        "false" | "null" => Ok(false),
        _ => Err(BadRequest::new(format!("`{name}` must be true or false"), name)),
    }
}

/// A whole number of at least 1, `None` for `null`.
pub(super) fn integer(raw: &str, name: &'static str) -> Result<Option<u64>, BadRequest> {
    if raw == "null" {
        return Ok(None);
    }
    raw.parse()
        .ok()
        .filter(|number| *number >= 1)
        .map(Some)
        .ok_or_else(|| BadRequest::new(format!("`{name}` must be a whole number above 0"), name))
}

/// Whether a value says nothing: `null`, `false`, `""`, or an empty array or object.
pub(super) fn names_nothing(raw: &str) -> bool {
    let mut text = raw.chars().filter(|c| !c.is_ascii_whitespace());
    let head: [Option<char>; 3] = std::array::from_fn(|_| text.next());
    match head {
        [Some('['), Some(']'), None] | [Some('{'), Some('}'), None] => true,
        [Some('"'), Some('"'), None] => true,
        _ => matches!(raw, "null" | "false"),
    }
}
