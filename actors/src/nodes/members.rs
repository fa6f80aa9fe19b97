//! The nodes that run, as one of them sees them, and which of them an account lives on.

use opencredits_schema::AccountId;

/// A node that has said that it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The incarnation of its process: a number that no other one has.
    pub node: u64,
    /// `HOST:PORT` at which the others reach it.
    pub address: String,
    /// When it began, in milliseconds since 1970.
    pub started: i64,
    /// It hands its accounts over and takes no more.
    pub leaving: bool,
}

/// The nodes that run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Members(Vec<Member>);

impl Members {
    pub(crate) fn new(mut members: Vec<Member>) -> Self {
        members.sort_unstable_by_key(|member| member.node);
        Self(members)
    }

    /// The node that an account lives on: the one with the greatest weight, so that a node that comes
    /// or goes moves only its own accounts. Those that leave are asked only where nobody stays.
    pub(crate) fn owner(&self, account: AccountId) -> Option<&Member> {
        let greatest = |leaving: bool| {
            let members = self.0.iter().filter(|member| member.leaving == leaving);
            // A process that was started again has its predecessor's address and accounts.
            members.max_by_key(|member| {
                (weight(&member.address, account), member.started, member.node)
            })
        };
        greatest(false).or_else(|| greatest(true))
    }

    /// Whether a node runs.
    pub(crate) fn has(&self, node: u64) -> bool {
        self.0.iter().any(|member| member.node == node)
    }

    /// All nodes.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Member> {
        self.0.iter()
    }

    /// All nodes but one.
    pub(crate) fn others(&self, node: u64) -> impl Iterator<Item = &Member> {
        self.iter().filter(move |member| member.node != node)
    }
}

/// How much an account wants to live at an address: a hash of both (FNV-1a, then the finalizer of
/// splitmix64), the same on every node.
fn weight(address: &str, account: AccountId) -> u64 {
    let name = address.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = mix(name ^ mix(account.number().wrapping_add(0x9e37_79b9_7f4a_7c15)));
    mix(mixed)
}

const fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const ACCOUNTS: u64 = 3000;

    fn members(count: u64) -> Vec<Member> {
        let member = |node| Member {
            node,
            address: format!("10.0.0.{node}:7000"),
            started: 0,
            leaving: false,
        };
        (1..=count).map(member).collect()
    }

    fn owners(members: &[Member]) -> BTreeMap<u64, u64> {
        let members = Members::new(members.to_vec());
        let owner = |account| members.owner(AccountId::new(account)).map(|member| member.node);
        (0..ACCOUNTS).map(|account| (account, owner(account).unwrap())).collect()
    }

    #[test]
    fn accounts_are_spread_evenly() {
        for count in 2..6 {
            let owners = owners(&members(count));
            for node in 1..=count {
                let share = owners.values().filter(|owner| **owner == node).count() as u64;
                let fair = ACCOUNTS / count;
                assert!((fair * 8 / 10..fair * 12 / 10).contains(&share), "{node}: {share}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_node_that_goes_moves_its_own_accounts_only(count in 2..8_u64, gone in 0..8_usize) {
            let all = members(count);
            let gone = all[gone % all.len()].clone();
            let left: Vec<_> = all.iter().filter(|member| **member != gone).cloned().collect();
            let leaving = all.iter().map(|member| Member {
                leaving: *member == gone,
                ..member.clone()
            });
            let (before, after) = (owners(&all), owners(&left));
            for (account, owner) in &before {
                prop_assert!(*owner == gone.node || after[account] == *owner);
            }
            prop_assert_eq!(owners(&leaving.collect::<Vec<_>>()), after);
        }
    }

    #[test]
    fn a_process_that_was_started_again_has_its_predecessors_accounts() {
        let mut all = members(3);
        let before = owners(&all);
        all.push(Member { node: 9, started: 1, ..all[0].clone() });
        let renamed = |owner: u64| if owner == 1 { 9 } else { owner };
        let after = owners(&all);
        assert!(before.iter().all(|(account, owner)| after[account] == renamed(*owner)));
    }

    #[test]
    fn accounts_stay_where_all_leave() {
        let mut all = members(1);
        all[0].leaving = true;
        assert_eq!(owners(&all)[&1], 1);
        assert_eq!(Members::default().owner(AccountId::new(1)), None);
    }
}
