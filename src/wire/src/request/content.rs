//! Walks message content: media, cache marks, and references to the operator's files.

use std::fmt;

use super::BadRequest;
use super::scan::{Scan, Skip, Word};
use crate::bound::{Detail, Media};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// A value that may be content: a string, an array of parts, one part, or nothing.
pub(super) struct Node<'s, 'b>(pub(super) &'s mut Scan<'b>);

/// A message: an object with content.
pub(super) struct Message<'s, 'b>(pub(super) &'s mut Scan<'b>);

/// What an object of the content says about itself.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Part<'b> {
    kind: &'static str,
    media_type: &'static str,
    detail: Detail,
    data: Option<&'b str>,
    url: Option<&'b str>,
    source: Option<Leaf<'b>>,
    image_url: Option<Leaf<'b>>,
    file: Option<Leaf<'b>>,
    audio: Option<Leaf<'b>>,
    inline_data: Option<Leaf<'b>>,
    file_data: Option<Leaf<'b>>,
}

/// The object inside a part that carries its data or its address.
#[derive(Clone, Copy, Debug, Default)]
struct Leaf<'b> {
    kind: &'static str,
    media_type: &'static str,
    detail: Detail,
    data: Option<&'b str>,
    url: Option<&'b str>,
}

/// Turns what a part carries into media to be priced, and refuses what must not pass.
pub(super) fn settle(scan: &mut Scan<'_>, part: &Part<'_>) -> Result<(), BadRequest> {
    if part.kind == "container_upload" {
        return Err(BadRequest::state("container_upload", scan.at));
    }
    if part.kind == "item_reference" {
        let message = "references to items are not known here: send the items themselves (with the \
                       Vercel AI SDK: `providerOptions.openai.store: false`)";
        return Err(BadRequest::new(message.to_owned(), scan.at));
    }
    settle_google(scan, part);
    if let Some(source) = part.source {
        let media = match (source.kind, source.data, source.url) {
            ("base64", Some(data), _) => anthropic_data(scan, part.kind, source, data),
            // Its source is only the name of where the text came from.
            _ if part.kind == "search_result" => None,
            (_, _, Some(_)) if part.kind == "document" => Some(Media::unseen_pdf()),
            (_, _, Some(_)) => Some(Media::unseen_image(source.detail)),
            _ => None,
        };
        scan.media.extend(media);
    }
    if let Some(Leaf { url: Some(url), detail, .. }) = part.image_url {
        // The detail may stand beside the address or beside the carrier.
        let detail = detail.or(part.detail);
        let media = match inline(url) {
            Some((_, data)) => Media::image(data, scan.span(data), detail),
            None => Media::unseen_image(detail),
        };
        scan.media.push(media);
    }
    // OpenAI's responses have the file's fields in the part itself.
    let is_file = part.kind == "input_file";
    let itself = Leaf { data: part.data, url: part.url, ..Leaf::default() };
    match part.file.or_else(|| is_file.then_some(itself)) {
        Some(Leaf { data: Some(data), .. }) => {
            let media = file(scan, data);
            scan.media.extend(media);
        }
        Some(Leaf { data: None, url: Some(_), .. }) => scan.media.push(Media::unseen_pdf()),
        Some(Leaf { data: None, url: None, .. }) | None => {}
    }
    if let Some(Leaf { data: Some(data), .. }) = part.audio {
        let media = Media::audio(data, scan.span(data));
        scan.media.push(media);
    }
    Ok(())
}

fn file(scan: &Scan<'_>, data: &str) -> Option<Media> {
    match inline(data) {
        Some((mime, payload)) if mime.contains("pdf") => {
            Some(Media::pdf(payload, scan.span(payload)))
        }
        // Text stays in the body's text; anything else may unfold to any size.
        Some((mime, _)) if mime.starts_with("text") => None,
        Some(_) | None => Some(Media::unbounded()),
    }
}

/// Google's carriers name the media type, which decides what they cost.
fn settle_google(scan: &mut Scan<'_>, part: &Part<'_>) {
    if let Some(Leaf { data: Some(data), media_type, .. }) = part.inline_data {
        let span = scan.span(data);
        scan.media.push(match media_type {
            "image" => Media::image(data, span, Detail::default()),
            "application/pdf" => Media::pdf(data, span),
            "audio" => Media::audio(data, span),
            _ => Media::unbounded(),
        });
    }
    if let Some(Leaf { media_type, .. }) = part.file_data {
        scan.media.push(match media_type {
            "image" => Media::unseen_image(Detail::default()),
            "application/pdf" => Media::unseen_pdf(),
            _ => Media::unbounded(),
        });
    }
}

fn anthropic_data(
    scan: &Scan<'_>,
    kind: &'static str,
    source: Leaf<'_>,
    data: &str,
) -> Option<Media> {
    match (kind, source.media_type) {
        ("document", "application/pdf") => Some(Media::pdf(data, scan.span(data))),
        ("document", "text/plain") => None,
        ("document", _) => Some(Media::unbounded()),
        _ => Some(Media::image(data, scan.span(data), source.detail)),
    }
}

/// The media type and the payload of a base64 data URL, as they stand in the JSON.
fn inline(url: &str) -> Option<(&str, &str)> {
    let rest = url.strip_prefix("data:")?;
    let (head, payload) = rest.split_once(',')?;
    let mime = head.strip_suffix(";base64")?;
    Some((mime, payload))
}

/// The text between the quotes of a JSON string.
fn unquoted(raw: &str) -> Option<&str> {
    raw.strip_prefix('"')?.strip_suffix('"')
}

fn part_key(key: &str) -> &'static str {
    match key {
        "type" => "type",
        "content" => "content",
        "cache_control" => "cache_control",
        "source" => "source",
        "image_url" => "image_url",
        "input_audio" => "input_audio",
        "file" => "file",
        "audio" => "audio",
        "file_id" => "file_id",
        "data" => "data",
        "file_data" => "file_data",
        "url" => "url",
        "file_url" => "file_url",
        "detail" => "detail",
        "media_type" | "mimeType" => "media_type",
        // Google's parts, and the outputs of tools in OpenAI's responses.
        "parts" => "parts",
        "output" => "output",
        "inlineData" => "inlineData",
        "fileData" => "fileData",
        "fileUri" => "url",
        _ => "",
    }
}

/// The bit by which a repeated key is noticed.
fn part_bit(key: &'static str) -> u32 {
    match key {
        "type" => 1,
        "content" => 1 << 1,
        "cache_control" => 1 << 2,
        "source" => 1 << 3,
        "image_url" => 1 << 4,
        "input_audio" => 1 << 5,
        "file" => 1 << 6,
        "audio" => 1 << 7,
        "file_id" => 1 << 8,
        // Two names of one thing.
        "data" | "file_data" => 1 << 9,
        "url" | "file_url" => 1 << 10,
        "detail" => 1 << 11,
        "media_type" => 1 << 12,
        "parts" => 1 << 13,
        "output" => 1 << 14,
        "inlineData" => 1 << 15,
        "fileData" => 1 << 16,
        _ => 0,
    }
}

/// The values of `type` and `media_type` that decide something.
fn part_word(text: &str) -> &'static str {
    match text {
        "document" => "document",
        "base64" => "base64",
        "container_upload" => "container_upload",
        "application/pdf" => "application/pdf",
        "text/plain" => "text/plain",
        "search_result" => "search_result",
        "input_file" => "input_file",
        "item_reference" => "item_reference",
        _ if text.starts_with("image/") => "image",
        _ if text.starts_with("audio/") => "audio",
        _ => "other",
    }
}

impl<'b> DeserializeSeed<'b> for Message<'_, 'b> {
    type Value = Part<'b>;

    fn deserialize<D: Deserializer<'b>>(self, json: D) -> Result<Part<'b>, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'b> Visitor<'b> for Message<'_, 'b> {
    type Value = Part<'b>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'b>>(self, mut map: A) -> Result<Part<'b>, A::Error> {
        let scan = self.0;
        let mut part = Part::default();
        let mut seen = 0_u32;
        while let Some(key) = map.next_key_seed(Word(part_key))? {
            let bit = part_bit(key);
            if seen & bit != 0 {
                let message = format!("duplicate field `{key}` in `{}`", scan.at);
                return Err(scan.fail(BadRequest::new(message, scan.at)));
            }
            seen |= bit;
            match key {
                "type" => part.kind = map.next_value_seed(Word(part_word))?,
                "media_type" => part.media_type = map.next_value_seed(Word(part_word))?,
                "parts" | "output" if !scan.dialect.has(key) => {
                    map.next_value_seed(Skip(scan)).map(drop)?;
                }
                "content" | "parts" | "output" => map.next_value_seed(Node(scan)).map(drop)?,
                "source" => part.source = map.next_value_seed(Carrier(scan))?,
                "image_url" => part.image_url = map.next_value_seed(Carrier(scan))?,
                "file" => part.file = map.next_value_seed(Carrier(scan))?,
                "input_audio" => part.audio = map.next_value_seed(Carrier(scan))?,
                "inlineData" => part.inline_data = map.next_value_seed(Carrier(scan))?,
                "fileData" => part.file_data = map.next_value_seed(Carrier(scan))?,
                "audio" => {
                    // An earlier spoken answer, by its id: its length can't be known here.
                    if map.next_value_seed(Skip(scan))? != "null" {
                        return Err(scan.fail(BadRequest::state("audio", scan.at)));
                    }
                }
                "file_id" => {
                    if map.next_value_seed(Skip(scan))? != "null" {
                        return Err(scan.fail(BadRequest::state("file_id", scan.at)));
                    }
                }
                "cache_control" => {
                    let mark = map.next_value_seed(Skip(scan))?;
                    scan.mark_cache(mark);
                }
                "data" | "file_data" => part.data = unquoted(map.next_value_seed(Skip(scan))?),
                "url" | "file_url" => part.url = unquoted(map.next_value_seed(Skip(scan))?),
                "detail" => part.detail = Detail::read(map.next_value_seed(Skip(scan))?),
                _ => map.next_value_seed(Skip(scan)).map(drop)?,
            }
        }
        Ok(part)
    }
}

impl<'b> DeserializeSeed<'b> for Node<'_, 'b> {
    type Value = &'b str;

    fn deserialize<D: Deserializer<'b>>(self, json: D) -> Result<&'b str, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'b> Visitor<'b> for Node<'_, 'b> {
    type Value = &'b str;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text or an array of content parts")
    }

    fn visit_str<E>(self, _: &str) -> Result<&'b str, E> {
        Ok("")
    }

    fn visit_unit<E>(self) -> Result<&'b str, E> {
        Ok("")
    }

    fn visit_seq<A: SeqAccess<'b>>(self, mut seq: A) -> Result<&'b str, A::Error> {
        while seq.next_element_seed(Node(self.0))?.is_some() {}
        Ok("")
    }

    fn visit_map<A: MapAccess<'b>>(self, map: A) -> Result<&'b str, A::Error> {
        let part = Message(self.0).visit_map(map)?;
        settle(self.0, &part).map_err(|fault| self.0.fail(fault))?;
        Ok("")
    }
}

/// The value of `source`, `image_url`, `file` or `input_audio`: an object or a bare address.
struct Carrier<'s, 'b>(&'s mut Scan<'b>);

impl<'b> DeserializeSeed<'b> for Carrier<'_, 'b> {
    type Value = Option<Leaf<'b>>;

    fn deserialize<D: Deserializer<'b>>(self, json: D) -> Result<Option<Leaf<'b>>, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'b> Visitor<'b> for Carrier<'_, 'b> {
    type Value = Option<Leaf<'b>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an address")
    }

    fn visit_borrowed_str<E>(self, text: &'b str) -> Result<Option<Leaf<'b>>, E> {
        Ok(Some(Leaf { url: Some(text), ..Leaf::default() }))
    }

    fn visit_str<E>(self, _: &str) -> Result<Option<Leaf<'b>>, E> {
        // With escapes it does not lie in the body as it is: an address of something unseen.
        Ok(Some(Leaf { url: Some(""), ..Leaf::default() }))
    }

    fn visit_unit<E>(self) -> Result<Option<Leaf<'b>>, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'b>>(self, map: A) -> Result<Option<Leaf<'b>>, A::Error> {
        let part = Message(self.0).visit_map(map)?;
        settle(self.0, &part).map_err(|fault| self.0.fail(fault))?;
        let Part { kind, media_type, detail, data, url, .. } = part;
        Ok(Some(Leaf { kind, media_type, detail, data, url }))
    }
}
