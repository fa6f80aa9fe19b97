//! An audit as people and programs read it.

use std::collections::BTreeMap;
use std::fmt;

use opencredits_actors::Books;
use opencredits_schema::Credits;
use serde::Serialize;
use serde_json::value::RawValue;

/// A trial balance as JSON.
#[derive(Debug, Serialize)]
pub struct Trial<'a> {
    balanced: bool,
    postings: u64,
    accounts: u64,
    sums: BTreeMap<&'a str, Box<RawValue>>,
    differences: &'a [String],
    open_checkpoints: u64,
}

impl<'a> From<&'a Books> for Trial<'a> {
    fn from(books: &'a Books) -> Self {
        let sums = books.sums.iter().map(|(kind, sum)| (*kind, credits(*sum).to_json()));
        Self {
            balanced: books.balanced(),
            postings: books.postings,
            accounts: books.accounts,
            sums: sums.collect(),
            differences: &books.differences,
            open_checkpoints: books.open_checkpoints,
        }
    }
}

/// A trial balance as text for a terminal.
#[derive(Debug)]
pub struct Told<'a>(pub &'a Books);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Books { accounts, postings, open_checkpoints, .. } = self.0;
        f.write_str(if self.0.balanced() { "balanced" } else { "NOT BALANCED" })?;
        write!(
            f,
            ": {accounts} accounts, {postings} postings, {open_checkpoints} open checkpoints"
        )?;
        for (kind, sum) in &self.0.sums {
            write!(f, "\n  {kind:<10} {:>20} credits", credits(*sum).to_string())?;
        }
        for difference in &self.0.differences {
            write!(f, "\n  ! {difference}")?;
        }
        Ok(())
    }
}

/// A sum in credits; beyond 92 billion dollars the number shown is the largest that fits.
fn credits(micro: i128) -> Credits {
    let fits = i64::try_from(micro.clamp(i64::MIN.into(), i64::MAX.into()));
    Credits::from_micro(fits.unwrap_or_default())
}
