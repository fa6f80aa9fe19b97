//! A JSON value that is read and thrown away: names and words are borrowed from its text.
//!
//! A usage object as a `serde_json::Value` allocates each of its names and two tables for each object:
//! that was a twentieth of what a plain request costs.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// A value. Numbers that are no counts, and truths, are [`Node::Other`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node<'a> {
    /// `null`.
    Null,
    /// A whole number from zero on.
    Count(u64),
    /// A string.
    Word(Cow<'a, str>),
    /// An array.
    List(Vec<Self>),
    /// An object, as it is written.
    Object(Vec<(Cow<'a, str>, Self)>),
    /// Anything else.
    Other,
}

impl<'a> Node<'a> {
    /// The value under a name: the last one, as everywhere in JSON.
    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        let Self::Object(fields) = self else { return None };
        fields.iter().rev().find(|(field, _)| field == name).map(|(_, value)| value)
    }

    pub(crate) const fn as_count(&self) -> Option<u64> {
        if let Self::Count(count) = self { Some(*count) } else { None }
    }

    pub(crate) fn as_word(&self) -> Option<&str> {
        if let Self::Word(word) = self { Some(word) } else { None }
    }

    pub(crate) fn as_list(&self) -> Option<&[Self]> {
        if let Self::List(list) = self { Some(list) } else { None }
    }

    pub(crate) const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Node<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

/// Fields that an object has room for once it has one: a usage has about so many. An empty one takes nothing.
const FIELDS: usize = 8;

impl<'de> Visitor<'de> for Reader {
    type Value = Node<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Node<'de>, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Node<'de>, E> {
        Ok(Node::Other)
    }

    fn visit_u64<E: Error>(self, count: u64) -> Result<Node<'de>, E> {
        Ok(Node::Count(count))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Node<'de>, E> {
        Ok(Node::Other)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Node<'de>, E> {
        Ok(Node::Other)
    }

    fn visit_borrowed_str<E: Error>(self, word: &'de str) -> Result<Node<'de>, E> {
        Ok(Node::Word(Cow::Borrowed(word)))
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<Node<'de>, E> {
        Ok(Node::Word(Cow::Owned(word.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node<'de>, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Node<'de>, A::Error> {
        let mut object = Vec::new();
        while let Some((name, value)) = fields.next_entry()? {
            // A name is a string in JSON.
            if let Node::Word(name) = name {
                if object.is_empty() {
                    object.reserve(FIELDS);
                }
                object.push((name, value));
            }
        }
        Ok(Node::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(text: &str) -> Node<'_> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_value_is_what_serde_json_reads() {
        let text =
            r#"{"a":[1,-1,1.0,true,null,"x","\u00e9\n"],"b":{"c":18446744073709551615,"":{}}}"#;
        let read = node(text);
        let list = read.get("a").unwrap().as_list().unwrap();
        let words = ["x", "\u{e9}\n"].map(|word| Node::Word(word.into()));
        let [x, e] = words;
        assert_eq!(list, [Node::Count(1), Node::Other, Node::Other, Node::Other, Node::Null, x, e]);
        let deep = read.get("b").unwrap();
        assert_eq!(deep.get("c").unwrap().as_count(), Some(u64::MAX));
        assert_eq!(deep.get(""), Some(&Node::Object(Vec::new())));
        assert_eq!(read.get("c"), None);
        assert!(matches!(list.last(), Some(Node::Word(Cow::Owned(_)))), "escapes are resolved");
    }

    #[test]
    fn the_last_of_equal_names_counts_and_escaped_names_are_the_same() {
        assert_eq!(node(r#"{"a":1,"\u0061":2}"#).get("a"), Some(&Node::Count(2)));
    }

    #[test]
    fn what_is_no_json_or_too_deep_is_refused() {
        for text in ["", "{", "[1,]", "{\"a\"}", &"[".repeat(1000)] {
            assert!(serde_json::from_str::<Node<'_>>(text).is_err(), "{text}");
        }
    }
}
