//! Recorded provider traffic: the fixtures beside this crate, byte for byte.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use bytes::{BufMut, Bytes, BytesMut};
use serde::Deserialize;

/// The folder of the recordings in a checkout of the project.
pub const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures");

/// One recorded request and its answer.
#[derive(Clone, Debug)]
pub struct Recording {
    /// Its name in `fixtures/INDEX.md`. A few `vercel-events` share one: see `response_path`.
    pub id: String,
    /// `openai`, `anthropic`, `xai`, `google` or `openrouter`.
    pub provider: String,
    /// `chat.completions`, `responses`, `messages`, `count_tokens`, `generateContent`, ….
    pub api: String,
    /// The model asked for, as the provider names it.
    pub model: Option<String>,
    /// The URL that was called; none where the source kept none.
    pub url: Option<String>,
    /// The HTTP status; 200 where the source kept none.
    pub status: u16,
    /// The kept response headers.
    pub headers: Vec<(String, String)>,
    /// What is notable about it, such as `stream` or `tool_calls`.
    pub tags: Vec<String>,
    /// How true the body is to the provider's bytes.
    pub fidelity: String,
    /// The path of the answer under the fixtures folder; unique.
    pub response_path: String,
    /// The request body; none where the source kept none.
    pub request: Option<Bytes>,
    /// The response body as the file holds it.
    pub response: Bytes,
}

/// Recordings that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// A file is missing or unreadable.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The index is not what it should be.
    #[error("bad index of recordings: {0}")]
    BadIndex(#[from] serde_json::Error),
}

impl Recording {
    /// All recordings of [`FIXTURES`], in the order of the index, read once; none without the folder.
    pub fn all() -> &'static [Self] {
        static ALL: OnceLock<Vec<Recording>> = OnceLock::new();
        ALL.get_or_init(|| Self::load(Path::new(FIXTURES)).unwrap_or_default())
    }

    /// The first recording of that id in [`FIXTURES`].
    pub fn by_id(id: &str) -> Option<Self> {
        Self::all().iter().find(|recording| recording.id == id).cloned()
    }

    /// Reads the recordings of a folder that holds an `index.json`.
    ///
    /// # Errors
    /// When the index or a file that it names cannot be read.
    pub fn load(folder: &Path) -> Result<Vec<Self>, RecordingError> {
        let rows: Vec<Row> = serde_json::from_slice(&read(folder, "index.json")?)?;
        rows.into_iter().map(|row| row.read(folder)).collect()
    }

    /// Whether the answer is a stream of events.
    pub fn is_stream(&self) -> bool {
        Path::new(&self.response_path).extension().is_none_or(|end| end != "json")
    }

    /// Whether it has that tag.
    pub fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|own| own == tag)
    }

    /// The recorded content type, or the usual one.
    pub fn content_type(&self) -> &str {
        let recorded = self.headers.iter().find(|(name, _)| name == "content-type");
        let usual = if self.is_stream() { "text/event-stream" } else { "application/json" };
        recorded.map_or(usual, |(_, value)| value)
    }

    /// The body to play: the response's bytes, or for `*.events.jsonl` its payloads in SSE frames.
    pub fn body(&self) -> Bytes {
        if !self.response_path.ends_with(".events.jsonl") {
            return self.response.clone();
        }
        let mut body = BytesMut::with_capacity(self.response.len().saturating_mul(2));
        for line in self.response.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            if let Some(name) = event_name(line) {
                body.put_slice(format!("event: {name}\n").as_bytes());
            }
            body.put_slice(b"data: ");
            body.put_slice(line);
            body.put_slice(b"\n\n");
        }
        if self.api == "chat.completions" {
            body.put_slice(b"data: [DONE]\n\n");
        }
        body.freeze()
    }
}

/// One row of `index.json`.
#[derive(Deserialize)]
struct Row {
    id: String,
    provider: String,
    api: String,
    model: Option<String>,
    url: Option<String>,
    status: Option<u16>,
    #[serde(default)]
    headers: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    body_fidelity: String,
    request: Option<String>,
    response: String,
}

impl Row {
    fn read(self, folder: &Path) -> Result<Recording, RecordingError> {
        let request = self.request.as_deref().map(|path| read(folder, path)).transpose()?;
        Ok(Recording {
            response: read(folder, &self.response)?,
            id: self.id,
            provider: self.provider,
            api: self.api,
            model: self.model,
            url: self.url,
            status: self.status.unwrap_or(200),
            headers: self.headers.into_iter().collect(),
            tags: self.tags,
            fidelity: self.body_fidelity,
            response_path: self.response,
            request,
        })
    }
}

fn read(folder: &Path, name: &str) -> Result<Bytes, RecordingError> {
    let path = folder.join(name);
    let body = std::fs::read(&path);
    body.map(Bytes::from).map_err(|source| RecordingError::Unreadable { path, source })
}

/// The `type` of an Anthropic or Responses payload, which names its SSE event.
fn event_name(line: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Typed {
        r#type: String,
    }
    serde_json::from_slice::<Typed>(line).ok().map(|typed| typed.r#type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recording_of_the_index_is_there() {
        let all = Recording::load(Path::new(FIXTURES)).unwrap();
        assert_eq!(all.len(), 404);
        let mut paths: Vec<_> = all.iter().map(|r| &r.response_path).collect();
        paths.sort();
        paths.dedup();
        assert_eq!(paths.len(), all.len());
        assert!(all.iter().all(|recording| !recording.response.is_empty()));
    }

    #[test]
    fn event_lines_become_sse_frames() {
        let lines = Recording::all()
            .iter()
            .find(|r| r.provider == "anthropic" && r.response_path.ends_with(".events.jsonl"));
        let body = lines.unwrap().body();
        assert!(body.starts_with(b"event: message_start\ndata: {"), "{body:?}");
        assert!(body.ends_with(b"\n\n"));
    }

    #[test]
    fn a_missing_folder_is_an_error_with_its_name() {
        let error = Recording::load(Path::new("/nonexistent")).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/index.json"));
    }
}
