//! What a batch adds to partners' money: written once, however many events change it.

use std::sync::Arc;

use foldhash::HashMap;
use opencredits_schema::{Credits, Event, PartnerId};
use rusqlite::{Transaction, params};

use super::super::StoreError;
use super::commit::column;
use super::failed;

/// By partner, and by day and model.
#[derive(Default)]
pub(super) struct Sums {
    earned: HashMap<PartnerId, Credits>,
    days: HashMap<Day, (u64, Credits, Credits)>,
}

/// A partner's day and model.
type Day = (PartnerId, i64, Arc<str>);

impl Sums {
    pub(super) fn add(&mut self, event: &Event) {
        for (partner, share) in event.shares() {
            let earned = self.earned.entry(partner).or_default();
            *earned = earned.plus(share);
        }
        let day = event.at().day();
        match event {
            Event::Settled(s) | Event::Adjusted(s) => {
                let share = s.lots.iter().map(|spend| spend.share).sum();
                let requests = u64::from(matches!(event, Event::Settled(_)));
                let model = Arc::clone(&s.charged.model);
                self.add_day(s.charged.partner, day, model, requests, s.charged.cost, share);
            }
            Event::Received(_) => {
                for (partner, share) in event.shares() {
                    let model = Arc::from("(repaid overdraft)");
                    self.add_day(partner, day, model, 0, Credits::ZERO, share);
                }
            }
            Event::Refunded(_) => {
                for (partner, share) in event.shares() {
                    let model = Arc::from("(refund)");
                    self.add_day(partner, day, model, 0, Credits::ZERO, share);
                }
            }
            Event::Disputed(_) => {
                for (partner, share) in event.shares() {
                    let model = Arc::from("(dispute)");
                    self.add_day(partner, day, model, 0, Credits::ZERO, share);
                }
            }
            Event::Placed(_)
            | Event::Renewed { .. }
            | Event::Released { .. }
            | Event::Repeated(_) => {}
        }
    }

    fn add_day(
        &mut self,
        partner: PartnerId,
        day: i64,
        model: Arc<str>,
        requests: u64,
        cost: Credits,
        share: Credits,
    ) {
        let sum = self.days.entry((partner, day, model)).or_default();
        *sum = (sum.0.saturating_add(requests), sum.1.plus(cost), sum.2.plus(share));
    }

    pub(super) fn write(self, transaction: &Transaction<'_>) -> Result<(), StoreError> {
        for (partner, earned) in self.earned.iter().filter(|(_, e)| **e != Credits::ZERO) {
            let sql = "UPDATE partners SET earned = earned + ?2 WHERE id = ?1";
            let mut statement = transaction.prepare_cached(sql).map_err(failed)?;
            statement.execute(params![partner.column(), earned.micro()]).map_err(failed)?;
        }
        for ((partner, day, model), (requests, cost, share)) in &self.days {
            let sql = "INSERT INTO partner_days (partner, day, model, requests, cost, share) \
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO UPDATE SET \
                       requests = requests + ?4, cost = cost + ?5, share = share + ?6";
            let mut statement = transaction.prepare_cached(sql).map_err(failed)?;
            let (requests, cost, share) = (column(*requests), cost.micro(), share.micro());
            let row = params![partner.column(), day, model, requests, cost, share];
            statement.execute(row).map_err(failed)?;
        }
        Ok(())
    }
}
