//! What makes an event unique, whatever the store.

use opencredits_schema::{Event, LotKind, Outcome, RequestId, SettledBy};

/// An event's kind and outside names.
#[derive(Debug)]
pub(super) struct EventKeys {
    /// 1 settled, 2 adjusted, 3 received, 4 refunded, 5 disputed.
    pub(super) kind: u8,
    /// The request, unique with the kind.
    pub(super) request: Option<RequestId>,
    /// The outside id of money, unique.
    pub(super) source: Option<String>,
    /// The outcome of a settlement or an adjustment.
    pub(super) outcome: Option<Outcome>,
    /// A settlement that its own request may still correct.
    pub(super) recovered: bool,
}

impl EventKeys {
    pub(super) fn of(event: &Event) -> Self {
        let kind = kind_of(event);
        match event {
            Event::Settled(settlement) | Event::Adjusted(settlement) => Self {
                kind,
                request: Some(settlement.charged.request),
                source: None,
                outcome: Some(Outcome::from(settlement.as_ref())),
                recovered: kind == 1 && settlement.by != SettledBy::Request,
            },
            Event::Received(money) => {
                let prefix = match money.kind {
                    LotKind::Grant => "grant",
                    LotKind::Purchase => "purchase",
                };
                Self::money(kind, format!("{prefix}:{}", money.source))
            }
            Event::Refunded(refund) => {
                let (source, cumulative) = (&refund.source, refund.cumulative.micro());
                Self::money(kind, format!("refund:{source}:{cumulative}"))
            }
            Event::Disputed(dispute) => {
                let (id, stage) = (&dispute.dispute, dispute.stage);
                Self::money(kind, format!("dispute:{id}:{stage:?}"))
            }
            Event::Placed(_)
            | Event::Renewed { .. }
            | Event::Released { .. }
            | Event::Repeated(_) => {
                Self { kind, request: None, source: None, outcome: None, recovered: false }
            }
        }
    }

    /// The bytes that make the event unique within its account: its kind, then its outside name.
    pub(super) fn name(&self) -> Option<Vec<u8>> {
        let outside = match (self.request, &self.source) {
            (Some(request), _) => request.bits().to_be_bytes().to_vec(),
            (None, Some(source)) => source.as_bytes().to_vec(),
            (None, None) => return None,
        };
        Some(std::iter::once(self.kind).chain(outside).collect())
    }

    fn money(kind: u8, source: String) -> Self {
        Self { kind, request: None, source: Some(source), outcome: None, recovered: false }
    }
}

/// What a request was charged by its settlement and its adjustment together, in this order.
pub(super) fn whole(rows: impl Iterator<Item = Outcome>) -> Option<Outcome> {
    rows.reduce(|first, difference| first.corrected(&difference))
}

/// The number of a durable event's kind; 0 for one that stays in memory.
pub(super) const fn kind_of(event: &Event) -> u8 {
    match event {
        Event::Settled(_) => 1,
        Event::Adjusted(_) => 2,
        Event::Received(_) => 3,
        Event::Refunded(_) => 4,
        Event::Disputed(_) => 5,
        Event::Placed(_) | Event::Renewed { .. } | Event::Released { .. } | Event::Repeated(_) => 0,
    }
}
