//! The one pass over a request's JSON: it remembers where the fields that matter lie.
//!
//! Values are left as raw text; only `messages`, `system` and `tools` are walked, because a cache
//! mark, a file id or an image inside them decides about money and safety.

use std::fmt;
use std::ops::Range;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::content::Node;
use super::json::{Declined, Json, Raw};
use super::tools::{Declaration, Tool};
use super::{BadRequest, Dialect};
use crate::bound::Media;

/// How deep a value may nest; serde_json's own limit, here for the values that it only skips.
pub(super) const DEPTH_MAX: usize = 128;

// The fields are named as the dialects spell them.
macro_rules! fields {
    ($($name:ident),* $(,)?) => {
        /// The top-level fields that matter, as raw JSON.
        #[derive(Debug, Default)]
        #[expect(non_snake_case, reason = "each field has the name that its dialect gives it")]
        pub(super) struct Fields<'b> { $(pub(super) $name: Option<&'b str>,)* }

        impl<'b> Fields<'b> {
            fn slot(&mut self, name: &str) -> Option<&mut Option<&'b str>> {
                match name { $(stringify!($name) => Some(&mut self.$name),)* _ => None }
            }

            /// The fields by name.
            pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, Option<&'b str>)> {
                [$((stringify!($name), self.$name)),*].into_iter()
            }
        }

        /// The static name of a top-level field that matters, empty for any other.
        fn field_name(key: &str) -> &'static str {
            match key {
                "messages" => "messages",
                "input" => "input",
                "contents" => "contents",
                "system" => "system",
                "systemInstruction" => "systemInstruction",
                "tools" => "tools",
                $(stringify!($name) => stringify!($name),)*
                _ => "",
            }
        }
    };
}

fields! {
    model, stream, stream_options, max_tokens, max_completion_tokens, n, thinking, service_tier,
    speed, inference_geo, cache_control, web_search_options, search_parameters,
    context_management, prediction, functions, max_output_tokens, include, generationConfig,
    serviceTier,
    // Refused when they name anything; see `refused`.
    store, background, deferred, previous_response_id, conversation, prompt, mcp_servers,
    container, vector_store_ids, cachedContent,
}

/// What the pass has found so far.
#[derive(Debug, Default)]
pub(super) struct Scan<'b> {
    pub(super) dialect: Dialect,
    pub(super) body: &'b str,
    pub(super) fields: Fields<'b>,
    pub(super) has_messages: bool,
    pub(super) has_system: bool,
    /// `None` without a `tools` field that holds an array.
    pub(super) tools: Option<Vec<Tool>>,
    pub(super) media: Vec<Media>,
    pub(super) cache: CacheMark,
    /// Our own objection, told instead of serde_json's error.
    pub(super) fault: Option<BadRequest>,
    /// The field being read, for errors.
    pub(super) at: &'static str,
}

/// The strongest `cache_control` seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum CacheMark {
    #[default]
    None,
    FiveMinutes,
    OneHour,
}

impl<'b> Scan<'b> {
    /// Reads the whole body: the quick way, or as serde_json does.
    pub(super) fn run(dialect: Dialect, body: &'b str) -> Result<Self, BadRequest> {
        Self::quick(dialect, body).unwrap_or_else(|Declined| Self::strict(dialect, body))
    }

    /// Reads the whole body, unless the quick reader declines it.
    fn quick(dialect: Dialect, body: &'b str) -> Result<Result<Self, BadRequest>, Declined> {
        let mut scan = Self { dialect, body, ..Self::default() };
        let mut json = Json::new(body);
        let read = json.deserialize_map(Top(&mut scan)).and_then(|()| json.end());
        match (read, scan.fault.take()) {
            (Ok(()), None) => Ok(Ok(scan)),
            (Ok(()) | Err(_), Some(fault)) => Ok(Err(fault)),
            (Err(declined), None) => Err(declined),
        }
    }

    /// Reads the whole body by serde_json, and tells what it refuses.
    fn strict(dialect: Dialect, body: &'b str) -> Result<Self, BadRequest> {
        let mut scan = Self { dialect, body, ..Self::default() };
        let mut json = serde_json::Deserializer::from_str(body);
        let read = json.deserialize_map(Top(&mut scan)).and_then(|()| json.end());
        match (read, scan.fault.take()) {
            (Ok(()), None) => Ok(scan),
            (Ok(()) | Err(_), Some(fault)) => Err(fault),
            (Err(error), None) => Err(scan.explain(&error)),
        }
    }

    /// Where a part of the body lies in it.
    pub(super) fn span(&self, part: &str) -> Range<usize> {
        let start = (part.as_ptr() as usize).saturating_sub(self.body.as_ptr() as usize);
        start..start.saturating_add(part.len())
    }

    /// Notes our own objection and makes the error that ends the pass.
    pub(super) fn fail<E: serde::de::Error>(&mut self, fault: BadRequest) -> E {
        self.fault.get_or_insert(fault);
        E::custom("refused")
    }

    /// Notes a `cache_control` value; `null` marks nothing.
    pub(super) fn mark_cache(&mut self, raw: &str) {
        if raw == "null" {
            return;
        }
        // Any trace of `1h` counts as an hour: the dearer class is the safe one.
        let hour = raw.contains("1h") || raw.contains('\\');
        let mark = if hour { CacheMark::OneHour } else { CacheMark::FiveMinutes };
        self.cache = self.cache.max(mark);
    }

    fn explain(&self, error: &serde_json::Error) -> BadRequest {
        let text: String = error.to_string().chars().take(200).collect();
        if error.is_data() && !self.at.is_empty() {
            return BadRequest::new(format!("invalid `{}`: {text}", self.at), self.at);
        }
        if error.is_data() {
            return BadRequest::whole(format!("the body is not a JSON object: {text}"));
        }
        BadRequest::whole(format!("the body is not valid JSON: {text}"))
    }
}

/// The request's object.
struct Top<'s, 'b>(&'s mut Scan<'b>);

impl<'b> Visitor<'b> for Top<'_, 'b> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'b>>(self, mut map: A) -> Result<(), A::Error> {
        let scan = self.0;
        while let Some(key) = map.next_key_seed(Word(field_name))? {
            scan.at = key;
            match key {
                "" => map.next_value_seed(Skip(scan))?,
                "messages" | "input" | "contents" if key == scan.dialect.conversation() => {
                    once(scan, key, scan.has_messages)?;
                    scan.has_messages = true;
                    // Only `input` may be a plain text.
                    if key == "input" {
                        map.next_value_seed(Node(scan))?
                    } else {
                        map.next_value_seed(Messages(scan))?
                    }
                }
                "messages" | "input" | "contents" => map.next_value_seed(Skip(scan))?,
                "system" | "systemInstruction" => {
                    once(scan, key, scan.has_system)?;
                    scan.has_system = true;
                    map.next_value_seed(Node(scan))?
                }
                "tools" => {
                    once(scan, key, scan.tools.is_some())?;
                    map.next_value_seed(Tools(scan))?
                }
                name => {
                    let value = map.next_value_seed(Skip(scan))?;
                    let taken = scan.fields.slot(name).and_then(|slot| slot.replace(value));
                    once(scan, name, taken.is_some())?;
                    if name == "cache_control" {
                        scan.mark_cache(value);
                    }
                    value
                }
            };
            scan.at = "";
        }
        Ok(())
    }
}

/// Providers disagree on which of two equal keys counts, so neither is taken.
fn once<E: serde::de::Error>(scan: &mut Scan<'_>, key: &'static str, seen: bool) -> Result<(), E> {
    if seen {
        Err(scan.fail(BadRequest::new(format!("duplicate field `{key}`"), key)))
    } else {
        Ok(())
    }
}

/// A string mapped to a static one; escapes in it are undone first. Not a string: empty.
pub(super) struct Word(pub(super) fn(&str) -> &'static str);

impl<'b> DeserializeSeed<'b> for Word {
    type Value = &'static str;

    fn deserialize<D: Deserializer<'b>>(self, json: D) -> Result<&'static str, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for Word {
    type Value = &'static str;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<&'static str, E> {
        Ok((self.0)(text))
    }
}

/// Any value, left as it is; only its depth is bounded.
pub(super) struct Skip<'s, 'b>(pub(super) &'s mut Scan<'b>);

impl<'b> DeserializeSeed<'b> for Skip<'_, 'b> {
    type Value = &'b str;

    fn deserialize<D: Deserializer<'b>>(self, json: D) -> Result<&'b str, D::Error> {
        let value = Raw.deserialize(json)?;
        if too_deep(value) {
            return Err(self.0.fail(BadRequest::whole("the body nests too deeply".to_owned())));
        }
        Ok(value)
    }
}

/// Whether valid JSON nests deeper than [`DEPTH_MAX`].
fn too_deep(json: &str) -> bool {
    // Most values are strings, numbers or small: those need no look at their bytes.
    if json.len() <= DEPTH_MAX * 2 || !json.starts_with(['{', '[']) {
        return false;
    }
    let opens = json.bytes().filter(|b| matches!(b, b'{' | b'[')).count();
    if opens <= DEPTH_MAX {
        return false;
    }
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0_usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                depth = depth.saturating_add(1);
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest > DEPTH_MAX
}

/// `messages`: an array of objects.
struct Messages<'s, 'b>(&'s mut Scan<'b>);

impl<'b> DeserializeSeed<'b> for Messages<'_, 'b> {
    type Value = &'b str;

    fn deserialize<D: Deserializer<'b>>(self, json: D) -> Result<&'b str, D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'b> Visitor<'b> for Messages<'_, 'b> {
    type Value = &'b str;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of messages")
    }

    fn visit_seq<A: SeqAccess<'b>>(self, mut seq: A) -> Result<&'b str, A::Error> {
        while let Some(part) = seq.next_element_seed(super::content::Message(self.0))? {
            super::content::settle(self.0, &part).map_err(|fault| self.0.fail(fault))?;
        }
        Ok("")
    }
}

/// `tools`: an array of objects, or `null`.
struct Tools<'s, 'b>(&'s mut Scan<'b>);

impl<'b> DeserializeSeed<'b> for Tools<'_, 'b> {
    type Value = &'b str;

    fn deserialize<D: Deserializer<'b>>(self, json: D) -> Result<&'b str, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'b> Visitor<'b> for Tools<'_, 'b> {
    type Value = &'b str;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of tools")
    }

    fn visit_unit<E>(self) -> Result<&'b str, E> {
        Ok("")
    }

    fn visit_seq<A: SeqAccess<'b>>(self, mut seq: A) -> Result<&'b str, A::Error> {
        let mut tools = Vec::new();
        while let Some(tool) = seq.next_element_seed(Declaration(self.0))? {
            if tools.len() >= TOOLS_MAX {
                return Err(A::Error::custom("too many tools"));
            }
            tools.push(tool);
        }
        self.0.tools = Some(tools);
        Ok("")
    }
}

/// How many tools a request may declare.
pub(super) const TOOLS_MAX: usize = 4096;

/// The members of a small object, in order, repeated keys included.
pub(super) struct Members<'b>(pub(super) Vec<(String, &'b str)>);

impl<'b> serde::Deserialize<'b> for Members<'b> {
    fn deserialize<D: Deserializer<'b>>(json: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'b> Visitor<'b> for Each {
            type Value = Members<'b>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'b>>(self, mut map: A) -> Result<Members<'b>, A::Error> {
                let mut members = Vec::new();
                while let Some(key) = map.next_key()? {
                    members.push((key, map.next_value_seed(Raw)?));
                }
                Ok(Members(members))
            }
        }
        json.deserialize_map(Each)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BODIES: [&str; 5] = [
        r#" {"model":"m", "n":3,"temperature":-0.25e+1,"stop":null,"stream":true,"messages":[{"role":"user",
            "content":"a\n\u00e9\ud83d\ude00"},{"content":[{"type":"text","text":"x"},[],{}]}],"tools":[]} "#,
        r#"{"model":"m","messages":[{"content":[{"type":"image_url","image_url":{"detail":"low",
            "url":"data:image\/png;base64,iVBORw0K\/\/"}}]}],"metadata":{"a":[1,{"b":"}"}],"c":"\\"}}"#,
        r#"{"model":"m","max_tokens":9,"system":[{"type":"text","text":"é","cache_control":{"ttl":"1h"}}],
            "messages":[{"content":[{"type":"image","source":{"type":"base64","data":"iVBORw0K"}}]}]}"#,
        r#"{"contents":[{"parts":[{"inlineData":{"mimeType":"audio/wav","data":"AAAA"}}]}],
            "generationConfig":{"maxOutputTokens":7},"tools":[{"type":"function","name":"f"},{"max_uses":2}]}"#,
        r#"{"model":"m","input":"a","store":false,"include":[ ],"previous_response_id":null,"mod\u0065l":"n"}"#,
    ];
    const DIALECTS: [Dialect; 4] =
        [Dialect::ChatCompletions, Dialect::Messages, Dialect::Responses, Dialect::GenerateContent];

    /// What the quick reader makes of a body, if it does not decline it, is what serde_json makes of it.
    fn check(dialect: Dialect, body: &str) -> Result<(), TestCaseError> {
        if let Ok(quick) = Scan::quick(dialect, body) {
            let strict = Scan::strict(dialect, body);
            prop_assert_eq!(format!("{quick:?}"), format!("{strict:?}"), "{}", body);
        }
        Ok(())
    }

    #[test]
    fn ordinary_bodies_are_read_the_quick_way() {
        for body in BODIES {
            for dialect in DIALECTS {
                assert!(Scan::quick(dialect, body).is_ok(), "{dialect:?} {body}");
                check(dialect, body).unwrap();
            }
        }
    }

    #[test]
    fn long_strings_are_read_to_their_end() {
        for length in [0, 1, 16_383, 16_384, 16_385, 70_000] {
            for sign in ["", "\"", "\\", "\\n", "\u{1}", "\n", "é", "\\u12"] {
                let text = "x".repeat(length);
                let body = format!(
                    r#"{{"messages":[{{"content":[{{"url":"{text}{sign}"}}]}}],"user":"{text}{sign}{text}"}}"#
                );
                check(Dialect::ChatCompletions, &body).unwrap();
                let is_plain = matches!(sign, "" | "\\n" | "é");
                assert_eq!(
                    Scan::quick(Dialect::ChatCompletions, &body).is_ok(),
                    is_plain,
                    "{length} {sign:?}"
                );
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn what_is_read_the_quick_way_is_what_serde_json_reads(
            body in prop::sample::select(&BODIES[..]),
            changes in prop::collection::vec(
                (any::<prop::sample::Index>(), 0_usize..3, "[\"\\\\{}\\[\\],: \n\u{1}0-9a-z.+é]{0,3}"), 0..4),
            dialect in prop::sample::select(&DIALECTS[..]),
        ) {
            let mut text: Vec<char> = body.chars().collect();
            for (at, gone, new) in changes {
                let at = at.index(text.len());
                let end = text.len().min(at + gone);
                text.splice(at..end, new.chars());
            }
            check(dialect, &String::from_iter(text))?;
        }

        #[test]
        fn deep_bodies_are_read_as_serde_json_reads_them(depth in 60_usize..140, sign in "[\\[\\]{}]?") {
            let (open, close) = ("[".repeat(depth), "]".repeat(depth));
            for value in [format!("{open}{sign}{close}"), format!("{open}1{close}{sign}")] {
                check(Dialect::ChatCompletions, &format!(r#"{{"user":{value}}}"#))?;
                check(Dialect::ChatCompletions, &format!(r#"{{"messages":[{{"content":{value}}}]}}"#))?;
            }
        }
    }
}
