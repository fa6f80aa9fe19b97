//! Forms with brackets: `line_items[0][price_data][currency]=usd` as nested objects.

use serde_json::{Map, Value};

/// More fields than this are not read.
const FIELDS_MAX: usize = 1000;

/// The form as an object; every value is a text, and lists are objects with numbers for names.
pub(super) fn parse(body: &[u8]) -> Map<String, Value> {
    let mut form = Map::new();
    for (name, value) in form_urlencoded::parse(body).take(FIELDS_MAX) {
        let (first, rest) = name.split_once('[').unwrap_or((&name, ""));
        let rest = name.contains('[').then(|| rest.split('['));
        let inner = rest.into_iter().flatten().map(|part| part.trim_end_matches(']'));
        let path: Vec<&str> = std::iter::once(first).chain(inner).collect();
        put(&mut form, &path, &value);
    }
    form
}

fn put(form: &mut Map<String, Value>, path: &[&str], value: &str) {
    let Some((first, rest)) = path.split_first() else { return };
    // `events[]=a&events[]=b` is a list without numbers.
    let next = form.len().to_string();
    let first = if first.is_empty() { next.as_str() } else { first };
    if rest.is_empty() {
        form.insert(first.to_owned(), Value::String(value.to_owned()));
        return;
    }
    let inner = form.entry(first).or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(inner) = inner {
        put(inner, rest, value);
    }
}

/// Every leaf by its name with brackets.
pub(super) fn leaves(form: &Map<String, Value>) -> Vec<String> {
    fn walk(prefix: &str, value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(inner) => {
                for (name, value) in inner {
                    walk(&format!("{prefix}[{name}]"), value, found);
                }
            }
            Value::String(_)
            | Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Array(_) => {
                found.push(prefix.to_owned());
            }
        }
    }
    let mut found = Vec::new();
    for (name, value) in form {
        walk(name, value, &mut found);
    }
    found
}

/// The text at a path such as `line_items/0/quantity`.
pub(super) fn text<'a>(form: &'a Map<String, Value>, path: &str) -> Option<&'a str> {
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    match form.get(first)? {
        Value::Object(inner) if !rest.is_empty() => text(inner, rest),
        value if rest.is_empty() => value.as_str(),
        Value::Object(_)
        | Value::String(_)
        | Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::Array(_) => None,
    }
}
