//! A function call whose arguments come path by path.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{Signature, Undecodable};

/// The most that a call in parts may hold, in bytes.
const CALL_MAX: usize = 8 << 20;
/// The longest array that a path may make.
const ITEMS_MAX: usize = 1 << 12;

/// One piece of the arguments: a text goes on where one stands already.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PartialArg {
    json_path: String,
    string_value: Option<String>,
    number_value: Option<Value>,
    bool_value: Option<bool>,
}

/// A call that is being told.
#[derive(Debug)]
pub(super) struct PartialCall {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) signature: Option<Signature>,
    args: Value,
    bytes: usize,
}

impl PartialCall {
    pub(super) fn new(id: String, name: &str, signature: Option<Signature>) -> Self {
        Self { id, name: name.to_owned(), signature, args: Value::Object(Map::new()), bytes: 0 }
    }

    /// Takes a piece.
    pub(super) fn take(&mut self, arg: PartialArg) -> Result<(), Undecodable> {
        let PartialArg { json_path, string_value, number_value, bool_value } = arg;
        let text = string_value.as_ref().map_or(0, String::len);
        self.bytes = self.bytes.saturating_add(json_path.len()).saturating_add(text);
        if self.bytes > CALL_MAX {
            return Err(Undecodable::TooLarge);
        }
        let place = place(&mut self.args, &json_path)
            .ok_or_else(|| Undecodable::Malformed("a path of arguments".to_owned()))?;
        match (string_value, place) {
            (Some(more), Value::String(text)) => text.push_str(&more),
            (Some(text), place) => *place = text.into(),
            (None, place) => {
                *place = number_value.or_else(|| bool_value.map(Value::from)).unwrap_or_default();
            }
        }
        Ok(())
    }

    /// The arguments as JSON.
    pub(super) fn arguments(&self) -> String {
        self.args.to_string()
    }
}

/// The value at a path such as `$.a[0].b`, made on the way.
fn place<'v>(args: &'v mut Value, path: &str) -> Option<&'v mut Value> {
    let rest = path.strip_prefix('$')?.replace('[', ".[");
    rest.split('.').filter(|step| !step.is_empty()).try_fold(args, |value, step| {
        match step.strip_prefix('[').and_then(|step| step.strip_suffix(']')) {
            Some(index) => {
                let index: usize = index.parse().ok().filter(|index| *index < ITEMS_MAX)?;
                if !value.is_array() {
                    *value = Value::Array(Vec::new());
                }
                let items = value.as_array_mut()?;
                if items.len() <= index {
                    items.resize(index + 1, Value::Null);
                }
                items.get_mut(index)
            }
            None => {
                if !value.is_object() {
                    *value = Value::Object(Map::new());
                }
                Some(value.as_object_mut()?.entry(step).or_insert(Value::Null))
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_make_the_arguments() {
        let mut call = PartialCall::new("a".to_owned(), "f", None);
        let pieces = [
            r#"{"jsonPath":"$.id","stringValue":"A"}"#,
            r#"{"jsonPath":"$.id","stringValue":"B"}"#,
            r#"{"jsonPath":"$.list[1].n","numberValue":2}"#,
            r#"{"jsonPath":"$.list[0]","boolValue":true}"#,
            r#"{"jsonPath":"$.none"}"#,
        ];
        for piece in pieces {
            call.take(serde_json::from_str(piece).unwrap()).unwrap();
        }
        assert_eq!(call.arguments(), r#"{"id":"AB","list":[true,{"n":2}],"none":null}"#);
        let far = PartialArg {
            json_path: "$.a[99999999999]".to_owned(),
            string_value: None,
            number_value: None,
            bool_value: None,
        };
        assert!(call.take(far).is_err());
    }
}
