//! Accounts, mail addresses, keys, partners, payouts: who is first is decided by a condition, and
//! whoever is not first looks whether what stands there is its own.

use opencredits_schema::{
    AccountId, Credits, Head, Key, KeyId, KeyUse, Partner, PartnerId, Timestamp,
};
use scylla::serialize::SerializationError;
use scylla::serialize::row::{RowSerializationContext, SerializeRow};
use scylla::serialize::writers::RowWriter;

use super::super::{Once, Payout, PayoutOutcome, StoreError};
use super::owned::Freshness;
use super::{Inner, from_text, to_text, unavailable};

/// How often a payout is compared again while others are booked.
const PAYOUTS_MAX: usize = 16;

impl Inner {
    pub(super) async fn create_account(
        &self,
        account: AccountId,
        email: Option<String>,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        if self.db.head(account, Freshness::Quorum).await?.is_some() {
            return Ok(());
        }
        if let Some(email) = &email {
            // The address first: an address without its account is finished by whoever looks it up.
            self.claim_email(email, account).await?;
        }
        self.make_account(account, email, at).await
    }

    pub(super) async fn claim_email(
        &self,
        email: &str,
        account: AccountId,
    ) -> Result<(), StoreError> {
        if !self.db.applied(&self.db.cql.claim_email, (email, account.column())).await?
            && self.email_owner(email).await? != Some(account)
        {
            return Err(StoreError::Conflict("another account has this email".to_owned()));
        }
        Ok(())
    }

    async fn make_account(
        &self,
        account: AccountId,
        email: Option<String>,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let head = to_text(&Head::new(account))?;
        let row = (account.column(), head, self.owner, at.millis(), email);
        self.db.applied(&self.db.cql.create_account, row).await?;
        Ok(())
    }

    pub(super) async fn account_by_email(
        &self,
        email: String,
    ) -> Result<Option<AccountId>, StoreError> {
        let Some(account) = self.email_owner(&email).await? else { return Ok(None) };
        if self.db.head(account, Freshness::Quorum).await?.is_none() {
            self.make_account(account, Some(email), Timestamp::default()).await?;
        }
        Ok(Some(account))
    }

    async fn email_owner(&self, email: &str) -> Result<Option<AccountId>, StoreError> {
        let row: Option<(i64,)> = self.db.one(&self.db.cql.email, (email,)).await?;
        Ok(row.map(|(account,)| AccountId::from_column(account)))
    }

    pub(super) async fn email_of(&self, account: AccountId) -> Result<Option<String>, StoreError> {
        let row: Option<(i64, Option<String>)> =
            self.db.one(&self.db.cql.email_of, (account.column(),)).await?;
        Ok(row.and_then(|(_, email)| email))
    }

    pub(super) async fn put_key(&self, key: Key) -> Result<(), StoreError> {
        let (cql, id) = (&self.db.cql, key.id.column());
        // The pointers first: one without its key is no key, and a key is never without them.
        self.db.run(&cql.put_key_hash, (key.hash.to_vec(), id)).await?;
        self.db.run(&cql.put_key_account, (key.account.column(), id)).await?;
        self.db.applied(&cql.put_key, (id, to_text(&key)?)).await?;
        Ok(())
    }

    pub(super) async fn key(&self, id: i64) -> Result<Option<Key>, StoreError> {
        let cql = &self.db.cql;
        let row: Option<(String, Option<i64>)> = self.db.one(&cql.key, (id,)).await?;
        let Some((body, revoked)) = row else { return Ok(None) };
        let used: Option<(i64, Option<String>)> = self.db.one(&cql.key_use, (id,)).await?;
        let mut key: Key = from_text(&body)?;
        if let Some((at, origin)) = used {
            key.used(KeyUse { at: Timestamp::from_millis(at), origin });
        }
        key.revoked_at = key.revoked_at.or_else(|| revoked.map(Timestamp::from_millis));
        Ok(Some(key))
    }

    pub(super) async fn key_by_hash(&self, hash: [u8; 32]) -> Result<Option<Key>, StoreError> {
        let id: Option<(i64,)> = self.db.one(&self.db.cql.key_by_hash, (hash.to_vec(),)).await?;
        let Some((id,)) = id else { return Ok(None) };
        Ok(self.key(id).await?.filter(|key| key.hash == hash))
    }

    pub(super) async fn keys_of(&self, account: AccountId) -> Result<Vec<Key>, StoreError> {
        let ids: Vec<(i64,)> = self.db.all(&self.db.cql.keys_of, (account.column(),)).await?;
        let mut keys = Vec::new();
        for (id,) in ids {
            keys.extend(self.key(id).await?);
        }
        Ok(keys)
    }

    pub(super) async fn revoke_key(
        &self,
        id: KeyId,
        at: Timestamp,
    ) -> Result<Option<Key>, StoreError> {
        let Some(key) = self.key(id.column()).await? else { return Ok(None) };
        if key.revoked_at.is_some() {
            return Ok(Some(key));
        }
        self.db.applied(&self.db.cql.revoke_key, (at.millis(), id.column())).await?;
        self.key(id.column()).await
    }

    /// A use of a key that is not there is a row that nobody reads.
    pub(super) async fn use_key(&self, id: KeyId, used: KeyUse) -> Result<(), StoreError> {
        let at = used.at.millis();
        self.db.run(&self.db.cql.put_key_use, (id.column(), at, used.origin, at)).await
    }

    pub(super) async fn put_partner(&self, partner: Partner) -> Result<(), StoreError> {
        let names = [partner.publishable_key.clone(), secret_name(&partner.secret_hash)];
        self.put_partner_named(&partner, &names).await
    }

    /// Makes a partner or changes it, and lets it be found by these names.
    pub(super) async fn put_partner_named(
        &self,
        partner: &Partner,
        names: &[String],
    ) -> Result<(), StoreError> {
        let id = partner.id.column();
        for name in names {
            if !self.db.applied(&self.db.cql.claim_partner_name, (name, id)).await?
                && self.partner_named(name).await? != Some(id)
            {
                return Err(StoreError::Conflict("another partner has this key".to_owned()));
            }
        }
        self.db.run(&self.db.cql.put_partner, (id, to_text(partner)?)).await
    }

    pub(super) async fn partners(&self) -> Result<Vec<Partner>, StoreError> {
        let bodies: Vec<(String,)> = self.db.all(&self.db.cql.partners, ()).await?;
        let partners = bodies.iter().map(|(body,)| from_text(body)).collect::<Result<_, _>>();
        let mut partners: Vec<Partner> = partners?;
        partners.sort_by_key(|partner| (partner.created, partner.id));
        Ok(partners)
    }

    pub(super) async fn partner(&self, id: i64) -> Result<Option<Partner>, StoreError> {
        let body: Option<(String,)> = self.db.one(&self.db.cql.partner, (id,)).await?;
        body.map(|(body,)| from_text(&body)).transpose()
    }

    pub(super) async fn partner_by_name(&self, name: &str) -> Result<Option<Partner>, StoreError> {
        match self.partner_named(name).await? {
            Some(id) => self.partner(id).await,
            None => Ok(None),
        }
    }

    async fn partner_named(&self, name: &str) -> Result<Option<i64>, StoreError> {
        let row: Option<(i64,)> = self.db.one(&self.db.cql.partner_name, (name,)).await?;
        Ok(row.map(|(id,)| id))
    }

    /// What was paid out to a partner; `None` before the first payout.
    pub(super) async fn paid_out(&self, id: PartnerId) -> Result<Option<i64>, StoreError> {
        let row: Option<(Option<i64>,)> =
            self.db.one(&self.db.cql.paid_out, (id.column(),)).await?;
        Ok(row.and_then(|(paid_out,)| paid_out))
    }

    /// Books a payout in the partner's partition, on the condition that no other was booked since it
    /// was compared.
    pub(super) async fn payout(
        self: &std::sync::Arc<Self>,
        payout: &Payout,
    ) -> Result<PayoutOutcome, StoreError> {
        for _ in 0..PAYOUTS_MAX {
            // Before what is earned: a payout that is booked between makes the condition fail.
            let known = self.paid_out(payout.partner).await?;
            let balance = self.partner_balance(payout.partner).await?;
            if self.payout_booked(payout).await?.is_some() {
                return Ok(PayoutOutcome::Done(balance.payable()));
            }
            let before = Credits::from_micro(known.unwrap_or(0));
            let payable = balance.earned.minus(before);
            if payout.credits > payable {
                return Ok(PayoutOutcome::TooMuch(payable));
            }
            match self.book(payout, known).await {
                Ok(true) => return Ok(PayoutOutcome::Done(payable.minus(payout.credits))),
                // Another was faster, or it is ours and the first answer was lost: look again.
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "the outcome of a payout is unknown"),
            }
        }
        Err(unavailable(&"the payout was neither booked nor refused"))
    }

    /// Books a payout if its partner was paid as much as is known; whether it did.
    async fn book(&self, payout: &Payout, known: Option<i64>) -> Result<bool, StoreError> {
        let (cql, id) = (&self.db.cql, payout.partner.column());
        let before = Credits::from_micro(known.unwrap_or(0));
        let after = before.plus(payout.credits).micro();
        let sum = match known {
            Some(_) => &cql.next_payout,
            None => &cql.first_payout,
        };
        let statements = vec![sum.clone().into(), cql.put_payout.clone().into()];
        let values = vec![Booked::Sum { after, id, before: known }, Booked::Entry(payout)];
        self.db.batch_applied(statements, values).await
    }

    /// Books a payout of another store, whatever is payable, unless it is here.
    pub(super) async fn move_payout(&self, payout: &Payout) -> Result<(), StoreError> {
        for _ in 0..PAYOUTS_MAX {
            let known = self.paid_out(payout.partner).await?;
            if self.payout_booked(payout).await?.is_some() || self.book(payout, known).await? {
                return Ok(());
            }
        }
        Err(unavailable(&"others book payouts of this partner"))
    }

    /// What was booked under a payout's name.
    pub(super) async fn payout_booked(
        &self,
        payout: &Payout,
    ) -> Result<Option<Credits>, StoreError> {
        let values = (payout.partner.column(), &payout.entry);
        let row: Option<(i64,)> = self.db.one(&self.db.cql.payout, values).await?;
        Ok(row.map(|(credits,)| Credits::from_micro(credits)))
    }

    /// Whether conditional writes are decided now.
    pub(super) async fn check(&self) -> Result<(), StoreError> {
        // An entry that nobody uses, with a condition that costs the same as a real one.
        let nobody = ("check", Vec::<u8>::new(), "");
        self.db.applied(&self.db.cql.put_once, nobody).await?;
        Ok(())
    }

    pub(super) async fn once(
        &self,
        key: String,
        fingerprint: [u8; 32],
        answer: String,
    ) -> Result<Once, StoreError> {
        let fingerprint = fingerprint.to_vec();
        if self.db.applied(&self.db.cql.put_once, (&key, &fingerprint, &answer)).await? {
            return Ok(Once::First);
        }
        let row: Option<(Vec<u8>, String)> = self.db.one(&self.db.cql.once, (&key,)).await?;
        let same = row.filter(|(kept, _)| *kept == fingerprint);
        Ok(same.map_or(Once::Other, |(_, first)| Once::Repeat(first)))
    }
}

/// The name under which a partner is found by its secret.
pub(super) fn secret_name(hash: &[u8; 32]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The values of a payout's two statements.
enum Booked<'a> {
    Sum { after: i64, id: i64, before: Option<i64> },
    Entry(&'a Payout),
}

impl SerializeRow for Booked<'_> {
    fn serialize(
        &self,
        context: &RowSerializationContext<'_>,
        writer: &mut RowWriter<'_>,
    ) -> Result<(), SerializationError> {
        match self {
            Self::Sum { after, id, before: Some(before) } => {
                (after, id, before).serialize(context, writer)
            }
            Self::Sum { after, id, before: None } => (after, id).serialize(context, writer),
            Self::Entry(Payout { entry, partner, credits, reference, at }) => {
                let (partner, credits) = (partner.column(), credits.micro());
                (partner, entry, credits, reference, at.millis()).serialize(context, writer)
            }
        }
    }

    fn is_empty(&self) -> bool {
        false
    }
}
