//! The JSON of an event, as a row of `events` and a record of the log keep it.
//!
//! Nearly every event is a settlement. It stands as an array of its values, in a fixed order, without their names
//! and without what goes without saying: that was more than half of its bytes. Any other event stands as it
//! serializes. Settlements of older programs have their names and are read all the same.

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use opencredits_schema::{
    Basis, Charged, Credits, Debt, Event, KeyId, LotSpend, PartnerId, PicoUsd, ReferralRate,
    RequestId, SettledBy, Settlement, Status, Timestamp, Usage,
};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeSeq as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smallvec::SmallVec;

/// Where the model stands in a settlement's array, for SQL.
pub(super) const MODEL: &str = "$[4]";

/// An event that is written (by reference) or was read.
#[derive(Debug)]
pub(super) struct Body<E>(pub(super) E);

/// A settlement's values, in this order.
#[derive(Deserialize)]
struct Values {
    request: RequestId,
    at: Timestamp,
    key: KeyId,
    partner: PartnerId,
    model: Arc<str>,
    price_id: Arc<str>,
    rate: ReferralRate,
    usage: Usage,
    provider_cost: PicoUsd,
    cost: Credits,
    share: Credits,
    lots: SmallVec<[LotSpend; 2]>,
    #[serde(default)]
    unusual: Unusual,
}

/// What most settlements do not have: by itself a request settles when it was answered to its end, at what
/// the provider told, and lots pay it. A value that is new goes here.
#[derive(Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Unusual {
    #[serde(skip_serializing_if = "Option::is_none")]
    basis: Option<Basis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<SettledBy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    debt: Option<Debt>,
    /// Whether it corrects one before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    adjusts: bool,
}

impl Unusual {
    fn of(settlement: &Settlement, adjusts: bool) -> Self {
        let Settlement { charged: Charged { basis, status, .. }, by, debt, .. } = settlement;
        Self {
            basis: Some(*basis).filter(|basis| *basis != Basis::Provider),
            status: Some(*status).filter(|status| *status != Status::Completed),
            by: Some(*by).filter(|by| *by != SettledBy::Request),
            debt: *debt,
            adjusts,
        }
    }
}

impl Serialize for Body<&Event> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Event::Settled(settlement) => write(settlement, false, serializer),
            Event::Adjusted(settlement) => write(settlement, true, serializer),
            Event::Placed(_)
            | Event::Renewed { .. }
            | Event::Released { .. }
            | Event::Received(_)
            | Event::Refunded(_)
            | Event::Disputed(_)
            | Event::Repeated(_) => self.0.serialize(serializer),
        }
    }
}

/// Writes what [`Values`] reads.
fn write<S: Serializer>(
    settlement: &Settlement,
    adjusts: bool,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let Settlement { charged, at, lots, .. } = settlement;
    let unusual = Unusual::of(settlement, adjusts);
    let mut array = serializer.serialize_seq(None)?;
    array.serialize_element(&charged.request)?;
    array.serialize_element(at)?;
    array.serialize_element(&charged.key)?;
    array.serialize_element(&charged.partner)?;
    array.serialize_element(&charged.model)?;
    array.serialize_element(&charged.price_id)?;
    array.serialize_element(&charged.rate)?;
    array.serialize_element(&charged.usage)?;
    array.serialize_element(&charged.provider_cost)?;
    array.serialize_element(&charged.cost)?;
    array.serialize_element(&charged.share)?;
    array.serialize_element(&Lots(lots))?;
    if unusual != Unusual::default() {
        array.serialize_element(&unusual)?;
    }
    array.end()
}

/// Lots' spends, each as an array of its own.
struct Lots<'a>(&'a [LotSpend]);

impl Serialize for Lots<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let spends = self.0.iter();
        serializer.collect_seq(spends.map(|&LotSpend { lot, taken, share }| (lot, taken, share)))
    }
}

impl From<Values> for Event {
    fn from(values: Values) -> Self {
        let Unusual { basis, status, by, debt, adjusts } = values.unusual;
        let charged = Charged {
            request: values.request,
            key: values.key,
            partner: values.partner,
            model: values.model,
            price_id: values.price_id,
            rate: values.rate,
            usage: values.usage,
            provider_cost: values.provider_cost,
            cost: values.cost,
            share: values.share,
            basis: basis.unwrap_or(Basis::Provider),
            status: status.unwrap_or(Status::Completed),
        };
        let by = by.unwrap_or(SettledBy::Request);
        let (at, lots) = (values.at, values.lots);
        let settlement = Box::new(Settlement { charged, by, at, lots, debt });
        if adjusts { Self::Adjusted(settlement) } else { Self::Settled(settlement) }
    }
}

impl<'de> Deserialize<'de> for Body<Event> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EitherForm).map(Self)
    }
}

struct EitherForm;

impl<'de> Visitor<'de> for EitherForm {
    type Value = Event;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, array: A) -> Result<Event, A::Error> {
        Values::deserialize(SeqAccessDeserializer::new(array)).map(Event::from)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Event, A::Error> {
        Event::deserialize(MapAccessDeserializer::new(map))
    }
}
