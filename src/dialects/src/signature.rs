//! What a provider wants back unchanged, and how it travels through dialects that have no place
//! for it.

use std::borrow::Cow;

use opencredits_schema::Provider;

/// A provider's seal on its thinking or its call. It is opaque, and worth something to that
/// provider only: encoders of requests drop what is another's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Whose.
    pub provider: Provider,
    /// As it came; may be empty for thinking that has none (xAI's `reasoning_content`).
    pub data: String,
}

/// Begins a signature that is carried for another provider than the dialect's own.
const TAG: &str = "oc1:";

impl Signature {
    /// A provider's seal.
    #[must_use]
    pub fn new(provider: Provider, data: impl Into<String>) -> Self {
        Self { provider, data: data.into() }
    }

    /// What stands for the seal of thinking that has none: it tells whose it is.
    #[must_use]
    pub const fn unsealed(provider: Provider) -> Self {
        Self { provider, data: String::new() }
    }

    /// How it is written where signatures of `home` stand bare: those of `home` as they are, the
    /// others as `oc1:<provider>:<data>`.
    #[must_use]
    pub fn carried(&self, home: Provider) -> Cow<'_, str> {
        if self.provider == home && !self.data.starts_with(TAG) {
            Cow::Borrowed(&self.data)
        } else {
            Cow::Owned(format!("{TAG}{}:{}", self.provider, self.data))
        }
    }

    /// Reads what [`Signature::carried`] wrote; text without a tag is of `home`.
    #[must_use]
    pub fn read(text: &str, home: Provider) -> Self {
        let tagged = text.strip_prefix(TAG).and_then(|rest| {
            let (provider, data) = rest.split_once(':')?;
            Some(Self::new(provider.parse().ok()?, data))
        });
        tagged.unwrap_or_else(|| Self::new(home, text))
    }

    /// The data, if it is this provider's and there is any.
    #[must_use]
    pub fn of(&self, provider: Provider) -> Option<&str> {
        (self.provider == provider && !self.data.is_empty()).then_some(self.data.as_str())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_foreign_one_is_tagged() {
        let google = Signature::new(Provider::Google, "a:b");
        assert_eq!(google.carried(Provider::Anthropic), "oc1:google:a:b");
        assert_eq!(Signature::read("oc1:google:a:b", Provider::Anthropic), google);
        let own = Signature::read("EqQB", Provider::Anthropic);
        assert_eq!(own.of(Provider::Anthropic), Some("EqQB"));
        assert_eq!(own.of(Provider::Google), None);
    }

    proptest! {
        #[test]
        fn what_is_carried_is_read(at in 0usize..4, home in 0usize..4, data in "(oc1:)?.{0,20}") {
            let (provider, home) = (Provider::ALL[at], Provider::ALL[home]);
            let signature = Signature::new(provider, data);
            prop_assert_eq!(Signature::read(&signature.carried(home), home), signature);
        }
    }
}
