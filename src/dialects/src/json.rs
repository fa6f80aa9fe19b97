//! Reads the JSON of requests, with errors that name the place.

use opencredits_wire::BadRequest;
use serde_json::{Map, Number, Value};

/// A JSON object.
pub(crate) type Object = Map<String, Value>;

/// A fault at a place such as `messages[3].content`; the parameter is its first word.
pub(crate) fn bad(place: &str, what: &str) -> BadRequest {
    let param = place.split(['.', '[']).next().unwrap_or_default();
    BadRequest::new(format!("`{place}` {what}"), param)
}

/// The body's object.
pub(crate) fn body(body: &[u8]) -> Result<Object, BadRequest> {
    serde_json::from_slice(body)
        .map_err(|error| BadRequest::whole(format!("the body is not a JSON object: {error}")))
}

/// A value that must be an object.
pub(crate) fn object(value: Value, place: &str) -> Result<Object, BadRequest> {
    match value {
        Value::Object(object) => Ok(object),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(bad(place, "must be an object"))
        }
    }
}

/// Takes a member out of an object; `null` is absent.
pub(crate) fn take(from: &mut Object, key: &str) -> Option<Value> {
    from.remove(key).filter(|value| !value.is_null())
}

/// Takes a member that must be a string.
pub(crate) fn take_text(
    from: &mut Object,
    key: &str,
    place: &str,
) -> Result<Option<String>, BadRequest> {
    match take(from, key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(bad(&under(place, key), "must be a string")),
    }
}

/// Takes a string that must be there.
pub(crate) fn need_text(from: &mut Object, key: &str, place: &str) -> Result<String, BadRequest> {
    take_text(from, key, place)?.ok_or_else(|| bad(&under(place, key), "is missing"))
}

/// Takes a member that must be an array; absent is empty.
pub(crate) fn take_array(
    from: &mut Object,
    key: &str,
    place: &str,
) -> Result<Vec<Value>, BadRequest> {
    match take(from, key) {
        None => Ok(Vec::new()),
        Some(Value::Array(items)) => Ok(items),
        Some(_) => Err(bad(&under(place, key), "must be an array")),
    }
}

/// Takes a member that must be an object.
pub(crate) fn take_object(
    from: &mut Object,
    key: &str,
    place: &str,
) -> Result<Option<Object>, BadRequest> {
    take(from, key).map(|value| object(value, &under(place, key))).transpose()
}

/// Takes a member that must be a number.
pub(crate) fn take_number(
    from: &mut Object,
    key: &str,
    place: &str,
) -> Result<Option<Number>, BadRequest> {
    match take(from, key) {
        None => Ok(None),
        Some(Value::Number(number)) => Ok(Some(number)),
        Some(_) => Err(bad(&under(place, key), "must be a number")),
    }
}

/// Takes a member that must be a whole number.
pub(crate) fn take_count(
    from: &mut Object,
    key: &str,
    place: &str,
) -> Result<Option<u64>, BadRequest> {
    let number = take_number(from, key, place)?;
    let count = number.map(|number| {
        number.as_u64().ok_or_else(|| bad(&under(place, key), "must be a whole number"))
    });
    count.transpose()
}

/// Takes a member that must be true or false.
pub(crate) fn take_flag(
    from: &mut Object,
    key: &str,
    place: &str,
) -> Result<Option<bool>, BadRequest> {
    match take(from, key) {
        None => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(flag)),
        Some(_) => Err(bad(&under(place, key), "must be true or false")),
    }
}

/// Whether a member is a string of these words.
pub(crate) fn is(from: &Object, key: &str, words: &str) -> bool {
    from.get(key).and_then(Value::as_str) == Some(words)
}

/// The place of a member.
pub(crate) fn under(place: &str, key: &str) -> String {
    if place.is_empty() { key.to_owned() } else { format!("{place}.{key}") }
}

/// The text of a JSON object with a tool call's arguments: `""` and `null` are `{}`.
pub(crate) fn arguments(text: String, place: &str) -> Result<String, BadRequest> {
    if text.trim().is_empty() || text.trim() == "null" {
        return Ok("{}".to_owned());
    }
    match serde_json::from_str::<Object>(&text) {
        Ok(_) => Ok(text),
        Err(_) => Err(bad(place, "must be the text of a JSON object")),
    }
}

/// Adds the members that are there.
pub(crate) fn extend<const N: usize>(object: &mut Value, members: [(&str, Option<Value>); N]) {
    if let Some(object) = object.as_object_mut() {
        let there = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        object.extend(there);
    }
}

/// An object of these members, which `json!` would copy.
pub(crate) fn of<const N: usize>(members: [(&str, Value); N]) -> Value {
    Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_names_its_place_and_its_field() {
        let mut object = body(br#"{"a":{"b":3},"n":null}"#).unwrap();
        assert_eq!(take_text(&mut object, "n", "").unwrap(), None);
        let mut inner = take_object(&mut object, "a", "").unwrap().unwrap();
        let fault = take_text(&mut inner, "b", "a").unwrap_err();
        assert_eq!(fault.message, "`a.b` must be a string");
        assert_eq!(bad("messages[3].content", "is odd").param.as_deref(), Some("messages"));
    }

    #[test]
    fn arguments_are_an_object() {
        assert_eq!(arguments(String::new(), "a").as_deref(), Ok("{}"));
        assert_eq!(arguments(" {\"a\": 1}".to_owned(), "a").as_deref(), Ok(" {\"a\": 1}"));
        assert!(arguments("[1]".to_owned(), "a").is_err());
        assert!(arguments("{".to_owned(), "a").is_err());
    }
}
