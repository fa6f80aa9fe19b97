//! The prices of one model: as the book lists them, and as a request of some size and tier pays.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::Tier;

/// Ten thousand basis points: a multiplier of one.
pub(super) const ONE: u32 = 10_000;

/// Prices as the book lists them, in pico-USD per token; what is missing falls back.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Listed {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) input: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) output: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cache_read: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cache_write_5m: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cache_write_1h: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) input_audio: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cache_read_audio: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) output_audio: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) output_image: Option<u64>,
}

impl Listed {
    /// These prices, and those of `base` where they are missing.
    const fn or(self, base: Self) -> Self {
        const fn either(own: Option<u64>, base: Option<u64>) -> Option<u64> {
            if own.is_some() { own } else { base }
        }
        Self {
            input: either(self.input, base.input),
            output: either(self.output, base.output),
            cache_read: either(self.cache_read, base.cache_read),
            cache_write_5m: either(self.cache_write_5m, base.cache_write_5m),
            cache_write_1h: either(self.cache_write_1h, base.cache_write_1h),
            input_audio: either(self.input_audio, base.input_audio),
            cache_read_audio: either(self.cache_read_audio, base.cache_read_audio),
            output_audio: either(self.output_audio, base.output_audio),
            output_image: either(self.output_image, base.output_image),
        }
    }

    /// A price for each class. The parser lets in only rows whose base has input and output.
    fn rates(self) -> Rates {
        let input = self.input.unwrap_or(0);
        let output = self.output.unwrap_or(0);
        let cache_write_5m = self.cache_write_5m.unwrap_or(input);
        let input_audio = self.input_audio.unwrap_or(input);
        Rates {
            input,
            output,
            cache_read: self.cache_read.unwrap_or(input),
            cache_write_5m,
            cache_write_1h: self.cache_write_1h.unwrap_or(cache_write_5m),
            input_audio,
            cache_read_audio: self.cache_read_audio.or(self.cache_read).unwrap_or(input_audio),
            output_audio: self.output_audio.unwrap_or(output),
            output_image: self.output_image.unwrap_or(output),
        }
    }
}

/// Listed prices, and the rows that replace them for long prompts: (tokens over, prices).
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Layer {
    pub(super) prices: Listed,
    /// In ascending order of their thresholds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) long_context: Vec<(u64, Listed)>,
}

impl Layer {
    /// What a prompt of so many tokens pays, on top of `base`.
    fn over(&self, base: Listed, total_input: u64) -> Listed {
        let reached = self.long_context.iter().filter(|(over, _)| total_input > *over);
        reached.fold(self.prices.or(base), |below, (_, row)| row.or(below))
    }
}

/// Fees of the provider's own tools, in pico-USD per call.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Fees {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) web_search: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) x_search: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code_execution: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) file_search: Option<u64>,
}

/// All that decides what a request of a model costs: its canonical JSON is what a price id names.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct PriceRow {
    pub(super) model: String,
    pub(super) unit: &'static str,
    pub(super) base: Layer,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) variants: BTreeMap<Tier, Layer>,
    pub(super) fees: Fees,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) geo_multiplier_basis_points: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hold: Option<Listed>,
}

impl PriceRow {
    /// The unit of every number in the row.
    pub(super) const UNIT: &'static str = "pico-USD per token or call";

    /// What the standard tier pays.
    pub(super) fn standard(&self) -> Tariff {
        Tariff::new(&self.base, &Layer::default())
    }

    /// What the tiers with prices of their own pay.
    pub(super) fn tiers(&self) -> Vec<(Tier, Tariff)> {
        self.variants.iter().map(|(tier, own)| (*tier, Tariff::new(&self.base, own))).collect()
    }

    /// The prices that holds use besides, where the sources disagree.
    pub(super) fn hold_rates(&self) -> Option<Rates> {
        self.hold.map(|hold| hold.or(self.base.prices).rates())
    }
}

/// A price for each class of usage, in pico-USD per token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rates {
    pub(super) input: u64,
    pub(super) output: u64,
    pub(super) cache_read: u64,
    pub(super) cache_write_5m: u64,
    pub(super) cache_write_1h: u64,
    pub(super) input_audio: u64,
    pub(super) cache_read_audio: u64,
    pub(super) output_audio: u64,
    pub(super) output_image: u64,
}

impl Rates {
    /// Class by class the dearer price.
    pub(super) fn dearer(self, other: Self) -> Self {
        Self {
            input: self.input.max(other.input),
            output: self.output.max(other.output),
            cache_read: self.cache_read.max(other.cache_read),
            cache_write_5m: self.cache_write_5m.max(other.cache_write_5m),
            cache_write_1h: self.cache_write_1h.max(other.cache_write_1h),
            input_audio: self.input_audio.max(other.input_audio),
            cache_read_audio: self.cache_read_audio.max(other.cache_read_audio),
            output_audio: self.output_audio.max(other.output_audio),
            output_image: self.output_image.max(other.output_image),
        }
    }
}

/// What one tier pays: a step for each size of the prompt from which the prices change.
#[derive(Clone, Debug, Default)]
pub(super) struct Tariff {
    /// From no tokens on.
    base: Rates,
    /// From so many tokens on, ascending.
    steps: Vec<(u64, Rates)>,
}

impl Tariff {
    /// A tier's own prices over the base: base, its long rows, the tier's, the tier's long rows.
    fn new(base: &Layer, own: &Layer) -> Self {
        let rates = |total_input| own.over(base.over(Listed::default(), total_input), total_input);
        let long_rows = base.long_context.iter().chain(&own.long_context);
        let mut from: Vec<u64> = long_rows.map(|(over, _)| over.saturating_add(1)).collect();
        from.sort_unstable();
        from.dedup();
        let steps = from.into_iter().map(|from| (from, rates(from).rates())).collect();
        Self { base: rates(0).rates(), steps }
    }

    /// The prices of a whole request with so many input tokens.
    pub(super) fn at(&self, total_input: u64) -> Rates {
        let reached = self.steps.iter().rev().find(|(from, _)| *from <= total_input);
        reached.map_or(self.base, |(_, rates)| *rates)
    }

    /// Class by class the dearest price that a prompt of at most so many tokens can reach.
    pub(super) fn dearest_up_to(&self, total_input: u64) -> Rates {
        let reached = self.steps.iter().take_while(|(from, _)| *from <= total_input);
        reached.fold(self.base, |dearest, (_, rates)| dearest.dearer(*rates))
    }
}
