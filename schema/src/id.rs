//! Names of things: accounts, keys, partners, requests, and moments.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A text that is no id of the kind asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not {0}")]
pub struct ParseIdError(&'static str);

macro_rules! numeric_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(u64);

        impl $name {
            /// An id from any 64 bits; the top bit is cleared, so that it fits a signed column.
            #[must_use]
            pub const fn new(bits: u64) -> Self {
                Self(bits & (u64::MAX >> 1))
            }

            /// The number behind the id.
            #[must_use]
            pub const fn number(self) -> u64 {
                self.0
            }

            /// The number for a signed 64-bit column of a store.
            #[must_use]
            pub const fn column(self) -> i64 {
                self.0.cast_signed()
            }

            /// The id in a signed 64-bit column of a store.
            #[must_use]
            pub const fn from_column(column: i64) -> Self {
                Self::new(column.cast_unsigned())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{:016x}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let digits = text.strip_prefix($prefix).filter(|digits| digits.len() == 16);
                let bits = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
                bits.filter(|bits| bits >> 63 == 0).map(Self).ok_or(ParseIdError($what))
            }
        }
    };
}

numeric_id!(
    /// A user's account: one balance, whatever partners and keys spend it.
    AccountId, "acc_", "an account id (acc_ and 16 hex digits)"
);
numeric_id!(
    /// A partner: whoever embeds the checkout and earns the referral share.
    PartnerId, "prt_", "a partner id (prt_ and 16 hex digits)"
);
numeric_id!(
    /// A user key's public name; the key itself is kept only as a hash.
    KeyId, "key_", "a key id (key_ and 16 hex digits)"
);

numeric_id!(
    /// A purchase of credits, from the wish to the money.
    OrderId, "ord_", "an order id (ord_ and 16 hex digits)"
);

/// One HTTP request to the gateway, and the hold it places: a UUIDv7 that the gateway makes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(u128);

impl RequestId {
    /// An id from the 128 bits of a UUID.
    #[must_use]
    pub const fn new(bits: u128) -> Self {
        Self(bits)
    }

    /// The UUID's bits.
    #[must_use]
    pub const fn bits(self) -> u128 {
        self.0
    }
}

impl fmt::Display for RequestId {
    /// The UUID's usual form: `0192f0c1-5b7e-7c3a-9d2e-1f0a3b4c5d6e`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(uuid::Uuid::from_u128(self.0).as_hyphenated(), f)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for RequestId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let hex: String = text.chars().filter(|c| *c != '-').collect();
        let fits = hex.len() == 32 && text.len() == 36;
        u128::from_str_radix(&hex, 16).ok().filter(|_| fits).map(Self).ok_or(ParseIdError("a UUID"))
    }
}

/// A moment in milliseconds since 1970. It comes in from outside: the rules have no clock.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// A moment from milliseconds since 1970.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Whole days since 1970, UTC.
    #[must_use]
    pub const fn day(self) -> i64 {
        self.0.div_euclid(86_400_000)
    }

    /// The moment so many milliseconds later.
    #[must_use]
    pub const fn plus_millis(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_what_it_shows() {
        let account = AccountId::new(u64::MAX);
        assert_eq!(account.to_string().parse(), Ok(account));
        assert_eq!(AccountId::from_column(account.column()), account);
        let request = RequestId::new(0x0192_f0c1_5b7e_7c3a_9d2e_1f0a_3b4c_5d6e);
        assert_eq!(request.to_string(), "0192f0c1-5b7e-7c3a-9d2e-1f0a3b4c5d6e");
        assert_eq!(request.to_string().parse(), Ok(request));
        for bad in
            ["", "acc_", "prt_0000000000000001", "acc_ffffffffffffffff", "acc_0x00000000000001"]
        {
            assert!(bad.parse::<AccountId>().is_err(), "{bad}");
        }
    }
}
