//! Reads the JSON of a price book, strictly where money is, and tells all faults at once.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::model::{Endpoint, Features, Model, ModelStatus, Provider};
use super::row::{Fees, Layer, Listed, ONE, PriceRow};
use crate::{Credits, Tier};

/// The models of a book, and its aliases: name, id.
type Book = (Vec<Model>, Vec<(String, String)>);

/// Reads a book, or tells everything that is wrong with it.
pub(super) fn book(json: &str) -> Result<Book, Vec<String>> {
    let root: Value = serde_json::from_str(json).map_err(|error| vec![error.to_string()])?;
    let mut faults = Vec::new();
    let mut book = Reader { place: "book".to_owned(), value: Some(&root), faults: &mut faults };
    if book.optional("schema", Value::as_str).is_some_and(|schema| schema != "models/1") {
        book.fault("schema", "is not models/1");
    }
    let rows = book.required("models", Value::as_array, "a list");
    let mut aliases = Vec::new();
    for (alias, id) in book.object("aliases").into_iter().flatten() {
        match id.as_str() {
            Some(id) => aliases.push((alias.clone(), id.to_owned())),
            None => book.fault("aliases", &format!("`{alias}` is not a text")),
        }
    }
    let rows = rows.into_iter().flatten().enumerate();
    let models: Vec<Model> = rows.filter_map(|(at, row)| model(at, row, &mut faults)).collect();
    if faults.is_empty() { Ok((models, aliases)) } else { Err(faults) }
}

fn model(at: usize, row: &Value, faults: &mut Vec<String>) -> Option<Model> {
    let before = faults.len();
    let id = row.get("id").and_then(Value::as_str);
    let place = id.map_or_else(|| format!("model {at}"), str::to_owned);
    let mut row = Reader { place, value: Some(row), faults };
    let id = row.text("id");
    let provider = row.text("provider").and_then(|name| match name.parse::<Provider>() {
        Ok(provider) => Some(provider),
        Err(error) => {
            row.fault("provider", &error.to_string());
            None
        }
    });
    let upstream_id = row.text("upstream_id");
    if let (Some(id), Some(provider), Some(upstream_id)) = (id, provider, upstream_id)
        && id != format!("{provider}/{upstream_id}")
    {
        row.fault("id", "is not provider/upstream_id");
    }
    let context_window = row.required("context_window", Value::as_u64, "a count");
    let max_input_tokens = row.required("max_input_tokens", Value::as_u64, "a count");
    let max_output_tokens = row.required("max_output_tokens", Value::as_u64, "a count");
    let endpoint = endpoint(&mut row);
    let features = features(&mut row);
    let status = status(&mut row);
    let prices = price_row(&mut row, id.unwrap_or_default());
    let name = row.optional("name", Value::as_str).or(upstream_id)?;
    let prompt_cache_min_tokens = row.optional("prompt_cache_min_tokens", Value::as_u64);
    if row.faults.len() > before {
        return None;
    }
    let price_row = serde_json::to_string(&prices).unwrap_or_default();
    Some(Model {
        id: id?.into(),
        provider: provider?,
        upstream_id: upstream_id?.to_owned(),
        name: name.to_owned(),
        context_window: context_window?,
        max_input_tokens: max_input_tokens?,
        max_output_tokens: max_output_tokens?,
        prompt_cache_min_tokens,
        endpoint,
        features,
        status,
        price_id: content_id(&price_row).into(),
        price_row: price_row.into(),
        standard: prices.standard(),
        tiers: prices.tiers(),
        fees: prices.fees,
        geo_multiplier: prices.geo_multiplier_basis_points,
        hold: prices.hold_rates(),
    })
}

/// 16 hex digits of SHA-256.
fn content_id(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(8).fold(String::new(), |mut id, byte| {
        // Writing to a String can't fail.
        write!(id, "{byte:02x}").unwrap_or_default();
        id
    })
}

fn endpoint(row: &mut Reader<'_, '_>) -> Endpoint {
    match row.optional("endpoint", Value::as_str) {
        None | Some("chat") => Endpoint::Chat,
        Some("responses-only") => Endpoint::ResponsesOnly,
        Some(_) => {
            row.fault("endpoint", "is not chat or responses-only");
            Endpoint::Chat
        }
    }
}

fn status(row: &mut Reader<'_, '_>) -> ModelStatus {
    let on = row.optional("retired_on", Value::as_str).map(str::to_owned);
    match row.optional("status", Value::as_str) {
        // A current model's `retired_on` is an announcement.
        None | Some("current") => ModelStatus::Current,
        Some("retired") => ModelStatus::Retired { on },
        Some(_) => {
            row.fault("status", "is not current or retired");
            ModelStatus::Current
        }
    }
}

fn features(row: &mut Reader<'_, '_>) -> Features {
    let features = row.optional("features", |features| Some(features.clone()));
    match features.map(serde_json::from_value::<Features>) {
        None => Features::default(),
        Some(Ok(features)) => features,
        Some(Err(error)) => {
            row.fault("features", &error.to_string());
            Features::default()
        }
    }
}

fn price_row(row: &mut Reader<'_, '_>, id: &str) -> PriceRow {
    let mut base = layer(&mut row.inside("price_usd_per_mtok"));
    if !row.has("price_usd_per_mtok") {
        row.fault("price_usd_per_mtok", "is missing");
    } else if base.prices.input.is_none() || base.prices.output.is_none() {
        row.fault("price_usd_per_mtok", "lacks input or output");
    }
    base.long_context.extend(long_context(row));
    base.long_context.sort_by_key(|(over, _)| *over);
    let mut variants = BTreeMap::new();
    for key in row.object("price_variants").into_iter().flat_map(Map::keys) {
        let Some(tier) = tier(key) else {
            row.fault("price_variants", &format!("`{key}` is not a known variant"));
            continue;
        };
        let own = layer(&mut row.inside("price_variants").inside(key));
        if variants.insert(tier, own).is_some() {
            row.fault("price_variants", &format!("`{key}` is one of two for its tier"));
        }
    }
    let geo = row.optional("geo_multiplier_basis_points", Value::as_u64);
    let multiplier = geo.and_then(|geo| u32::try_from(geo).ok());
    if geo.is_some() && !multiplier.is_some_and(|points| (ONE..=10 * ONE).contains(&points)) {
        row.fault("geo_multiplier_basis_points", "is not from 10000 to 100000");
    }
    PriceRow {
        model: id.to_owned(),
        unit: PriceRow::UNIT,
        base,
        variants,
        fees: fees(row),
        geo_multiplier_basis_points: multiplier,
        hold: row
            .has("hold_price_usd_per_mtok")
            .then(|| listed(&mut row.inside("hold_price_usd_per_mtok"), "")),
    }
}

fn tier(key: &str) -> Option<Tier> {
    match key {
        "service_tier=flex" => Some(Tier::Flex),
        "service_tier=priority" => Some(Tier::Priority),
        "service_tier=fast" | "speed=fast" => Some(Tier::Fast),
        "processing=batch" => Some(Tier::Batch),
        _ => None,
    }
}

/// Prices and their own long-context rows.
fn layer(row: &mut Reader<'_, '_>) -> Layer {
    let mut layer = Layer { prices: listed(row, "long_context"), ..Layer::default() };
    layer.long_context.extend(long_context(row));
    layer.long_context.sort_by_key(|(over, _)| *over);
    layer
}

fn long_context(row: &mut Reader<'_, '_>) -> Vec<(u64, Listed)> {
    let steps = row.optional("long_context", Value::as_array);
    let mut rows = Vec::new();
    for step in steps.into_iter().flatten() {
        let mut step = Reader {
            place: format!("{}: long_context", row.place),
            value: Some(step),
            faults: &mut *row.faults,
        };
        let over = step.required("input_tokens_over", Value::as_u64, "a count");
        let prices = listed(&mut step, "input_tokens_over");
        rows.extend(over.map(|over| (over, prices)));
    }
    rows
}

/// The prices of an object that has nothing but prices and one `other` field.
fn listed(row: &mut Reader<'_, '_>, other: &str) -> Listed {
    let mut prices = Listed::default();
    for (name, value) in row.fields().into_iter().flatten().filter(|(name, _)| *name != other) {
        let price = match name.as_str() {
            "input" => &mut prices.input,
            "output" => &mut prices.output,
            "cache_read" => &mut prices.cache_read,
            "cache_write_5m" => &mut prices.cache_write_5m,
            "cache_write_1h" => &mut prices.cache_write_1h,
            "input_audio" => &mut prices.input_audio,
            "cache_read_audio" => &mut prices.cache_read_audio,
            "output_audio" => &mut prices.output_audio,
            "output_image" => &mut prices.output_image,
            _ => {
                row.fault(name, "is not a known price");
                continue;
            }
        };
        *price = row.price(name, value);
    }
    prices
}

fn fees(row: &mut Reader<'_, '_>) -> Fees {
    // A dollar for 1,000 calls is a thousandth for one: 10⁹ pico-dollars.
    let per_call = |micro: u64| micro.saturating_mul(1000);
    let mut fees = Fees::default();
    if let Some(value) = row.optional("web_search_per_1k", Some) {
        fees.web_search = row.price("web_search_per_1k", value).map(per_call);
    }
    let mut table = row.inside("fees_per_1k");
    for (name, value) in table.fields().into_iter().flatten() {
        let fee = match name.as_str() {
            "x_search" => &mut fees.x_search,
            "code_execution" => &mut fees.code_execution,
            "file_search" => &mut fees.file_search,
            _ => {
                table.fault(name, "is not a known fee");
                continue;
            }
        };
        *fee = table.price(name, value).map(per_call);
    }
    fees
}

/// One JSON object being read, and where its faults go.
struct Reader<'a, 'f> {
    place: String,
    /// `None` where the object is absent.
    value: Option<&'a Value>,
    faults: &'f mut Vec<String>,
}

impl<'a> Reader<'a, '_> {
    fn fault(&mut self, field: &str, what: &str) {
        self.faults.push(format!("{}: {field} {what}", self.place));
    }

    /// A field that is there and not null.
    fn get(&self, field: &str) -> Option<&'a Value> {
        self.value.and_then(|value| value.get(field)).filter(|value| !value.is_null())
    }

    fn has(&self, field: &str) -> bool {
        self.get(field).is_some()
    }

    /// A field that may be absent; of another type it is a fault.
    fn optional<T>(&mut self, field: &str, read: impl Fn(&'a Value) -> Option<T>) -> Option<T> {
        let value = self.get(field)?;
        let read = read(value);
        if read.is_none() {
            self.fault(field, "has the wrong type");
        }
        read
    }

    fn required<T>(
        &mut self,
        field: &str,
        read: impl Fn(&'a Value) -> Option<T>,
        what: &str,
    ) -> Option<T> {
        let read = self.get(field).and_then(read);
        if read.is_none() {
            self.fault(field, &format!("is not {what}"));
        }
        read
    }

    fn text(&mut self, field: &str) -> Option<&'a str> {
        self.required(field, |value| value.as_str().filter(|text| !text.is_empty()), "a text")
    }

    fn object(&mut self, field: &str) -> Option<&'a Map<String, Value>> {
        self.optional(field, Value::as_object)
    }

    /// The object in a field; absent is empty.
    fn inside(&mut self, field: &str) -> Reader<'a, '_> {
        let value = self.get(field);
        Reader { place: format!("{}: {field}", self.place), value, faults: self.faults }
    }

    fn fields(&mut self) -> Option<&'a Map<String, Value>> {
        let value = self.value?;
        if !value.is_object() {
            self.fault("this", "is not an object");
        }
        value.as_object()
    }

    /// A decimal text as millionths: USD per million tokens is pico-USD per token.
    fn price(&mut self, field: &str, value: &Value) -> Option<u64> {
        let decimal = value.as_str().and_then(|text| Credits::parse(text).ok());
        let price = decimal.and_then(|decimal| u64::try_from(decimal.micro()).ok());
        if price.is_none() {
            self.fault(field, &format!("{value} is not a decimal text with at most six decimals"));
        }
        price
    }
}
