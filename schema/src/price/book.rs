//! The price book: every model by its names.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::Arc;

use super::model::Model;
use super::parse;

/// All models, by id, alias and bare name. A value: a running request keeps the `Arc` of its
/// model while a newer book takes over.
#[derive(Debug)]
pub struct PriceBook {
    /// The current ones first, then the retired ones, each in the file's order.
    models: Vec<Arc<Model>>,
    names: HashMap<Box<str>, Arc<Model>>,
}

impl PriceBook {
    /// The book that is compiled in (`schema/prices/models.json`).
    ///
    /// # Errors
    /// None: a test proves that the file is good.
    pub fn built_in() -> Result<Self, PriceBookError> {
        Self::parse(include_str!("../../prices/models.json"))
    }

    /// Reads a price book (`schema/prices/README.md` tells the form).
    ///
    /// # Errors
    /// [`PriceBookError`] with everything that is wrong: nothing of a bad book is used.
    pub fn parse(json: &str) -> Result<Self, PriceBookError> {
        let (models, aliases) = parse::book(json).map_err(PriceBookError)?;
        let (retired, current): (Vec<_>, Vec<_>) =
            models.into_iter().map(Arc::new).partition(|model| model.is_retired());
        let models: Vec<_> = current.into_iter().chain(retired).collect();
        let mut names: HashMap<Box<str>, Arc<Model>> = HashMap::new();
        let mut faults = Vec::new();
        for model in &models {
            if names.insert(Box::from(&*model.id), Arc::clone(model)).is_some() {
                faults.push(format!("{}: listed twice", model.id));
            }
        }
        for (alias, id) in &aliases {
            let target = models.iter().find(|model| *model.id == **id);
            match (target, names.entry(alias.as_str().into())) {
                (Some(model), Entry::Vacant(free)) => drop(free.insert(Arc::clone(model))),
                (Some(_), Entry::Occupied(_)) => faults.push(format!("alias {alias}: is an id")),
                (None, _) => faults.push(format!("alias {alias}: no model `{id}`")),
            }
        }
        if !faults.is_empty() {
            return Err(PriceBookError(faults));
        }
        names.extend(bare_names(&names));
        Ok(Self { models, names })
    }

    /// The model of this id, alias or bare name (without the provider; only if just one has it).
    #[must_use]
    pub fn model(&self, name: &str) -> Option<&Arc<Model>> {
        self.names.get(name)
    }

    /// All models: the current ones first, the retired ones last.
    pub fn models(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.models.iter()
    }

    /// The newest current model that continues this one's line: of the same provider and endpoint,
    /// with the same family name, or else the longest beginning of it that one has.
    #[must_use]
    pub fn successor(&self, model: &Model) -> Option<&Arc<Model>> {
        let line = Line::of(&model.upstream_id);
        let alike = |other: &&Arc<Model>| {
            !other.is_retired()
                && other.provider == model.provider
                && other.endpoint == model.endpoint
                && other.id != model.id
        };
        let candidates: Vec<_> = self
            .models()
            .filter(alike)
            .map(|other| (Line::of(&other.upstream_id), other))
            .collect();
        (1..=line.family.len()).rev().find_map(|words| {
            let family = line.family.get(..words);
            let same = candidates.iter().filter(|(other, _)| Some(&*other.family) == family);
            // Of two names of one version the shorter one is the undated one.
            let newest = same.max_by_key(|(other, model)| {
                (&other.version, Reverse(model.id.len()), Reverse(&model.id))
            });
            newest.map(|(_, model)| *model)
        })
    }

    /// Every price row: its content id and its canonical JSON.
    pub fn price_rows(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>)> {
        self.models.iter().map(|model| (&model.price_id, &model.price_row))
    }
}

/// What is wrong with a price book: all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceBookError(Vec<String>);

impl PriceBookError {
    /// Each fault: where it is and what it is.
    #[must_use]
    pub fn faults(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for PriceBookError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0.len() == 1 { "" } else { "s" };
        write!(f, "{} fault{plural} in the price book: {}", self.0.len(), self.0.join("; "))
    }
}

impl std::error::Error for PriceBookError {}

/// Each name without its provider, unless models of two providers have it.
fn bare_names(names: &HashMap<Box<str>, Arc<Model>>) -> HashMap<Box<str>, Arc<Model>> {
    let mut bare: HashMap<Box<str>, Option<Arc<Model>>> = HashMap::new();
    for (name, model) in names {
        let Some((_, rest)) = name.split_once('/') else { continue };
        bare.entry(rest.into())
            .and_modify(|known| *known = known.take().filter(|known| known.id == model.id))
            .or_insert_with(|| Some(Arc::clone(model)));
    }
    bare.into_iter().filter_map(|(name, model)| Some((name, model?))).collect()
}

/// A model's name in words and numbers: `claude-opus-4-1-20250805` is claude opus, 4.1.
struct Line<'a> {
    family: Vec<&'a str>,
    /// The whole number, then the digits behind the point: grok 4.20 is older than 4.3.
    version: (u64, Vec<&'a str>),
}

impl<'a> Line<'a> {
    fn of(id: &'a str) -> Self {
        let is_number = |part: &&str| part.bytes().all(|byte| byte.is_ascii_digit());
        let (numbers, family): (Vec<_>, Vec<_>) = id.split(['-', '.']).partition(is_number);
        // Longer ones are dates.
        let mut version = numbers.into_iter().filter(|number| number.len() <= 3);
        let whole = version.next().and_then(|number| number.parse().ok()).unwrap_or(0);
        Self { family, version: (whole, version.collect()) }
    }
}
