//! Output items by their ids: what an answer gave, and what a request refers to.

use opencredits_wire::BadRequest;
use serde::Deserialize;
use serde_json::value::RawValue;

/// The output items that have ids, of a whole response or of the event that ends a stream.
#[must_use]
pub fn completed_items(body: &[u8]) -> Vec<(String, Box<RawValue>)> {
    #[derive(Deserialize)]
    struct Body {
        output: Option<Vec<Box<RawValue>>>,
        response: Option<Output>,
    }
    #[derive(Deserialize)]
    struct Output {
        output: Option<Vec<Box<RawValue>>>,
    }
    #[derive(Deserialize)]
    struct Named {
        id: String,
    }
    let Ok(Body { output, response }) = serde_json::from_slice(body) else { return Vec::new() };
    let items = output.or_else(|| response?.output).unwrap_or_default();
    let named = items.into_iter().filter_map(|item| {
        let Named { id } = serde_json::from_str(item.get()).ok()?;
        Some((id, item))
    });
    named.collect()
}

/// An item of the input, as far as it may be a reference.
#[derive(Deserialize)]
struct Item<'a> {
    #[serde(rename = "type")]
    kind: Option<String>,
    id: Option<String>,
    #[serde(borrow)]
    role: Option<&'a RawValue>,
}

impl Item<'_> {
    fn referred(self) -> Option<String> {
        let refers = match self.kind.as_deref() {
            Some("item_reference") => true,
            // The type may be left out.
            None => self.role.is_none(),
            Some(_) => false,
        };
        self.id.filter(|_| refers)
    }
}

/// The body with the items themselves in place of references to them; all else as it came. `None`
/// where it refers to nothing. `find` gives the JSON of an item by its id. Thinking that no longer
/// can be read by its provider is left out.
///
/// # Errors
/// A reference that `find` does not know.
pub fn resolve_references(
    body: &[u8],
    mut find: impl FnMut(&str) -> Option<String>,
) -> Result<Option<Vec<u8>>, BadRequest> {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        input: Option<&'a RawValue>,
    }
    // What can't be read is told by whoever reads it next.
    let Ok(text) = std::str::from_utf8(body) else { return Ok(None) };
    let Ok(Body { input: Some(input) }) = serde_json::from_str(text) else { return Ok(None) };
    let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(input.get()) else { return Ok(None) };
    let (mut kept, mut replaced) = (Vec::with_capacity(items.len()), false);
    for item in items {
        let read = serde_json::from_str::<Item<'_>>(item.get()).ok();
        let Some(id) = read.and_then(Item::referred) else {
            kept.push(item.get().to_owned());
            continue;
        };
        replaced = true;
        let found = find(&id).ok_or_else(|| unknown(&id))?;
        if !is_unreadable(&found) {
            kept.push(found);
        }
    }
    if !replaced {
        return Ok(None);
    }
    let start = (input.get().as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    let end = start.saturating_add(input.get().len());
    let (head, tail) = (text.get(..start).unwrap_or_default(), text.get(end..).unwrap_or_default());
    Ok(Some(format!("{head}[{}]{tail}", kept.join(",")).into_bytes()))
}

fn unknown(id: &str) -> BadRequest {
    let shown: String = id.chars().take(80).collect();
    let message = format!(
        "the item `{shown}` is not known here: responses are not stored. Send the item itself; with \
         the Vercel AI SDK set `providerOptions.openai.store: false`"
    );
    BadRequest::new(message, "input")
}

/// Thinking without the form that its provider can read again.
fn is_unreadable(item: &str) -> bool {
    #[derive(Deserialize)]
    struct Thought {
        #[serde(rename = "type")]
        kind: Option<String>,
        encrypted_content: Option<String>,
    }
    serde_json::from_str::<Thought>(item).is_ok_and(|thought| {
        thought.kind.as_deref() == Some("reasoning") && thought.encrypted_content.is_none()
    })
}
