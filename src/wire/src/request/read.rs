//! Reads the fields of a request that decide something, each with its own errors.

use super::fields;
use super::scan::{Members, Scan};
use super::stateless::{ENCRYPTED_REASONING, Include, Store};
use super::{
    BadRequest, CHOICES_MAX, Dialect, Generation, Limit, MODEL_NAME_MAX, Place, Quoted, Search,
    Thinking, UsageChunk, Wrap,
};

/// What an absent field gives, or what `read` makes of a present one.
pub(super) fn optional<T: Default>(
    raw: Option<&str>,
    read: impl FnOnce(&str) -> Result<T, BadRequest>,
) -> Result<T, BadRequest> {
    raw.map_or_else(|| Ok(T::default()), read)
}

pub(super) fn model(scan: &Scan<'_>) -> Result<Quoted, BadRequest> {
    let model = quoted(scan, scan.fields.model, "model")?;
    let model = model.filter(|model| !model.value.is_empty());
    let model = model.ok_or_else(|| BadRequest::missing("model"))?;
    if model.value.len() > MODEL_NAME_MAX {
        return Err(BadRequest::new(format!("`model` is over {MODEL_NAME_MAX} bytes"), "model"));
    }
    Ok(model)
}

pub(super) fn quoted(
    scan: &Scan<'_>,
    raw: Option<&str>,
    name: &'static str,
) -> Result<Option<Quoted>, BadRequest> {
    let Some(raw) = raw else { return Ok(None) };
    let value = fields::string(raw, name)?.unwrap_or_default();
    Ok(Some(Quoted { value, span: scan.span(raw) }))
}

pub(super) fn limit(
    scan: &Scan<'_>,
    raw: Option<&str>,
    name: &'static str,
) -> Result<Option<Limit>, BadRequest> {
    let Some(raw) = raw else { return Ok(None) };
    Ok(Some(Limit { value: fields::integer(raw, name)?, span: scan.span(raw) }))
}

pub(super) fn choices(scan: &Scan<'_>) -> Result<u64, BadRequest> {
    let n = optional(scan.fields.n, |raw| fields::integer(raw, "n"))?.unwrap_or(1);
    if n > CHOICES_MAX {
        return Err(BadRequest::new(format!("`n` must be at most {CHOICES_MAX}"), "n"));
    }
    Ok(n)
}

/// The members of a small object that decide something, each at most once.
fn member<'b>(
    raw: &'b str,
    field: &'static str,
    name: &str,
) -> Result<Option<&'b str>, BadRequest> {
    let members: Members<'b> = serde_json::from_str(raw)
        .map_err(|_| BadRequest::new(format!("`{field}` must be an object"), field))?;
    let mut found = members.0.into_iter().filter(|(key, _)| key == name).map(|(_, value)| value);
    let first = found.next();
    if found.next().is_some() {
        return Err(BadRequest::new(format!("duplicate field `{name}` in `{field}`"), field));
    }
    Ok(first)
}

pub(super) fn stream_options(scan: &Scan<'_>) -> Result<UsageChunk, BadRequest> {
    let name = "stream_options";
    let Some(raw) = scan.fields.stream_options else { return Ok(UsageChunk::NoOptions) };
    let span = scan.span(raw);
    if raw == "null" {
        return Ok(UsageChunk::Replace(span, Wrap::Options));
    }
    let Some(value) = member(raw, name, "include_usage")? else {
        let empty = fields::names_nothing(raw);
        return Ok(UsageChunk::Insert { at: span.start.saturating_add(1), empty });
    };
    if fields::boolean(value, name)? {
        return Ok(UsageChunk::Asked);
    }
    Ok(UsageChunk::Replace(scan.span(value), Wrap::Member))
}

/// The `thinking` of a message.
pub(super) fn thinking(scan: &Scan<'_>) -> Result<Thinking, BadRequest> {
    let Some(raw) = scan.fields.thinking.filter(|raw| *raw != "null") else {
        return Ok(Thinking::default());
    };
    let kind = member(raw, "thinking", "type")?;
    let kind = optional(kind, |raw| fields::string(raw, "thinking"))?;
    let asked = Some(kind.as_deref() != Some("disabled"));
    let Some(value) = member(raw, "thinking", "budget_tokens")? else {
        return Ok(Thinking { asked, budget: None });
    };
    let budget = fields::integer(value, "thinking")?;
    Ok(Thinking { asked, budget: budget.map(|budget| (budget, scan.span(value))) })
}

/// Google's `generationConfig`: limit, answers, thinking budget, and where a limit can be inserted.
pub(super) fn generation(scan: &Scan<'_>) -> Result<Generation, BadRequest> {
    const NAME: &str = "generationConfig";
    let raw = scan.fields.generationConfig.filter(|raw| *raw != "null");
    let Some(raw) = raw.filter(|_| scan.dialect == Dialect::GenerateContent) else {
        return Ok(Generation::default());
    };
    let limit = member(raw, NAME, "maxOutputTokens")?;
    let limit = self::limit(scan, limit, "maxOutputTokens")?;
    let n = member(raw, NAME, "candidateCount")?;
    let n = optional(n, |raw| fields::integer(raw, "candidateCount"))?.unwrap_or(1);
    if n > CHOICES_MAX {
        let message = format!("`candidateCount` must be at most {CHOICES_MAX}");
        return Err(BadRequest::new(message, NAME));
    }
    let thinking = member(raw, NAME, "thinkingConfig")?.filter(|raw| *raw != "null");
    let budget = match thinking {
        Some(thinking) => member(thinking, NAME, "thinkingBudget")?,
        None => None,
    };
    // 0 and -1 are no budget: off, and as long as it likes.
    let budget = budget.and_then(|raw| {
        let tokens = raw.parse().ok().filter(|tokens| *tokens > 0)?;
        Some((tokens, scan.span(raw)))
    });
    let at = scan.span(raw).start.saturating_add(1);
    let place = Some(Place { at, empty: fields::names_nothing(raw) });
    Ok(Generation { limit, n: Some(n), budget, place })
}

/// Whether the answer is to be streamed.
pub(super) fn stream(scan: &Scan<'_>) -> Result<bool, BadRequest> {
    optional(scan.fields.stream, |raw| fields::boolean(raw, "stream"))
}

/// The tier, which Google spells in its own way.
pub(super) fn tier(scan: &Scan<'_>) -> Result<Option<Quoted>, BadRequest> {
    let raw = match scan.dialect {
        Dialect::GenerateContent => scan.fields.serviceTier,
        Dialect::ChatCompletions | Dialect::Messages | Dialect::Responses => {
            scan.fields.service_tier
        }
    };
    quoted(scan, raw, "service_tier")
}

/// Whether a compaction of the conversation may run.
pub(super) fn compacts(scan: &Scan<'_>) -> bool {
    scan.fields.context_management.is_some_and(|raw| {
        // An escape may hide the word: then it counts as there.
        raw.contains("compact") || raw.contains('\\')
    })
}

/// OpenAI's `store`, once it is known not to be true.
pub(super) fn store(scan: &Scan<'_>) -> Store {
    match scan.fields.store {
        None => Store::Absent,
        Some(raw) if raw == "null" => Store::Null(scan.span(raw)),
        Some(_) => Store::Off,
    }
}

/// OpenAI's `include`, where thinking has to come back without a state at the provider.
pub(super) fn include(scan: &Scan<'_>) -> Include {
    let Some(raw) = scan.fields.include else { return Include::Absent };
    if raw == "null" {
        return Include::Null(scan.span(raw));
    }
    // An escape may hide the word: then it counts as there, and OpenAI takes it twice.
    if raw.contains(ENCRYPTED_REASONING) || !raw.starts_with('[') {
        return Include::Given;
    }
    let at = scan.span(raw).start.saturating_add(1);
    Include::Lacks(Place { at, empty: fields::names_nothing(raw) })
}

/// How many results xAI's live search takes when it is not told.
const LIVE_RESULTS_DEFAULT: u64 = 20;
/// The most results of a live search.
const LIVE_RESULTS_MAX: u64 = 100;

pub(super) fn search(scan: &Scan<'_>) -> Result<Search, BadRequest> {
    let name = "search_parameters";
    if let Some(raw) = scan.fields.search_parameters.filter(|raw| *raw != "null") {
        let mode = member(raw, name, "mode")?;
        let mode = optional(mode, |raw| fields::string(raw, name))?;
        if mode.as_deref() == Some("off") {
            return Ok(Search::None);
        }
        let results = member(raw, name, "max_search_results")?;
        let results = optional(results, |raw| fields::integer(raw, name))?;
        let results = results.unwrap_or(LIVE_RESULTS_DEFAULT);
        if results > LIVE_RESULTS_MAX {
            let message = format!("`max_search_results` must be at most {LIVE_RESULTS_MAX}");
            return Err(BadRequest::new(message, name));
        }
        return Ok(Search::Live(results));
    }
    let asked = scan.fields.web_search_options.is_some_and(|raw| raw != "null");
    Ok(if asked { Search::Web } else { Search::None })
}
