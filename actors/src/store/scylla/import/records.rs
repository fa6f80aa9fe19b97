//! What stands beside the accounts moves, record by record, and is looked up again.

use super::super::super::sqlite::{PartnerRow, Record};
use super::super::super::{StoreError, Write};
use super::super::Inner;
use super::super::checkpoints::Left;
use super::super::records::secret_name;

impl Inner {
    /// Moves a partner, with the names under which it is found.
    pub(super) async fn move_partner(&self, row: &PartnerRow) -> Result<(), StoreError> {
        self.put_partner_named(&row.partner, &names(row)).await
    }

    /// Whether each of a partner's names leads to it.
    pub(super) async fn has_partner(&self, row: &PartnerRow) -> Result<bool, StoreError> {
        for name in names(row) {
            if self.partner_by_name(&name).await?.as_ref() != Some(&row.partner) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Moves a record, unless it is here.
    pub(super) async fn move_record(&self, record: &Record) -> Result<(), StoreError> {
        match record {
            Record::Price(id, body) => self.db.run(&self.db.cql.put_price, (id, body)).await,
            Record::Key(key) => self.put_key(key.as_ref().clone()).await,
            Record::Payout(payout) => self.move_payout(payout).await,
            Record::Document(document) => self.move_document(document).await,
            Record::Once { key, fingerprint, answer } => {
                self.db.applied(&self.db.cql.put_once, (key, fingerprint, answer)).await?;
                Ok(())
            }
            Record::Checkpoint(checkpoint) => {
                let write = Write::Checkpoint(checkpoint.clone());
                let mut left = Left::default();
                left.add(&write);
                self.write_checkpoints(left).await
            }
        }
    }

    /// Whether a record is here, the same.
    pub(super) async fn has_record(&self, record: &Record) -> Result<bool, StoreError> {
        Ok(match record {
            Record::Price(id, body) => {
                let row: Option<(String,)> = self.db.one(&self.db.cql.price, (id,)).await?;
                row.is_some_and(|(there,)| there == *body)
            }
            Record::Key(key) => self.key_by_hash(key.hash).await?.as_ref() == Some(key),
            Record::Payout(payout) => self.payout_booked(payout).await? == Some(payout.credits),
            Record::Document(document) => {
                self.document(document.kind, &document.id).await?.as_ref() == Some(document)
            }
            Record::Once { key, fingerprint, answer } => {
                let row: Option<(Vec<u8>, String)> = self.db.one(&self.db.cql.once, (key,)).await?;
                row.is_some_and(|row| (&row.0, &row.1) == (fingerprint, answer))
            }
            Record::Checkpoint(checkpoint) => {
                self.open_checkpoints(checkpoint.account).await?.contains(checkpoint)
            }
        })
    }
}

/// What a record is called where it differs: never a key's hash or a document's body.
pub(super) fn called(record: &Record) -> String {
    match record {
        Record::Price(id, _) => format!("price {id}"),
        Record::Key(key) => format!("key {}", key.id),
        Record::Payout(payout) => format!("payout {}", payout.entry),
        Record::Document(document) => format!("{:?} {}", document.kind, document.id),
        Record::Once { key, .. } => format!("idempotency key {key}"),
        Record::Checkpoint(checkpoint) => format!("checkpoint of {}", checkpoint.hold.request),
    }
}

fn names(row: &PartnerRow) -> [String; 2] {
    [row.publishable.clone(), secret_name(&row.secret_hash)]
}
