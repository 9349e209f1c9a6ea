//! The rows of any blocks of requests, compared with what the rule itself gives for them.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::account::delta::Delta;
use crate::account::growth::KnownNames;

/// Requests of blocks, in order: day, vhost, user.
type Blocks = Vec<Vec<(DayNumber, u8, Option<u8>)>>;

/// What [`Growth`] promises, told by names alone.
#[derive(Default)]
struct Caps {
    known: BTreeSet<(String, String)>,
    grown: BTreeMap<(DayNumber, String), u64>,
}

impl Caps {
    fn admits(&mut self, day: DayNumber, of: &str, name: &str, most: u64) -> bool {
        let key = (of.to_owned(), name.to_owned());
        let grown = self.grown.entry((day, of.to_owned())).or_default();
        if name == name::OVERFLOW || self.known.contains(&key) {
            return true;
        }
        let is_admitted = *grown < most;
        if is_admitted {
            *grown += 1;
            self.known.insert(key);
        }
        is_admitted
    }
}

/// Rows by key, with requests, and how many names were new.
type Sum = (
    BTreeMap<(String, String, DayNumber), u64>,
    BTreeMap<(DayNumber, String), u64>,
);

/// The sums of blocks by the rule itself.
fn by_rule(blocks: &Blocks, (most_vhosts, most_users): (u64, u64)) -> Sum {
    let (mut caps, mut rows) = (Caps::default(), BTreeMap::new());
    for block in blocks {
        // A block tells each account once.
        let mut accounts = Vec::new();
        for request in block {
            match accounts.iter_mut().find(|(account, _)| account == request) {
                Some((_, requests)) => *requests += 1,
                None => accounts.push((*request, 1)),
            }
        }
        for ((day, vhost, user), requests) in accounts {
            let mut vhost = format!("{vhost}.example");
            if !caps.admits(day, "", &vhost, most_vhosts) {
                vhost = name::OVERFLOW.to_owned();
            }
            let key = |part: &str| (vhost.clone(), part.to_owned(), day);
            *rows.entry(key("")).or_default() += requests;
            if let Some(user) = user {
                let mut user = format!("user{user}");
                if !caps.admits(day, &vhost, &user, most_users) {
                    user = name::OVERFLOW.to_owned();
                }
                *rows.entry(key(&user)).or_default() += requests;
            }
        }
    }
    caps.grown.retain(|_, names| *names > 0);
    (rows, caps.grown)
}

proptest! {
    /// However blocks are shared among walkers, and wherever it is flushed.
    #[test]
    fn rows_are_those_of_the_rule(
        blocks in proptest::collection::vec(
            proptest::collection::vec((0..3_i32, 0..6_u8, proptest::option::of(0..5_u8)), 0..20),
            0..12,
        ),
        walkers in proptest::collection::vec(0..3_usize, 12),
        flushes in proptest::collection::vec(any::<bool>(), 12),
        caps in (0..5_u64, 0..4_u64),
    ) {
        let mut sides: Vec<(Ledger, Ledger)> = (0..3).map(|_| Default::default()).collect();
        let mut batch = Ledger::default();
        let mut growth = Growth::new(KnownNames::default(), [], caps.0, caps.1);
        let (mut rows, mut grown) = Sum::default();
        for ((block, walker), flush) in blocks.iter().zip(&walkers).zip(&flushes) {
            let (walker, mirror) = &mut sides[*walker];
            for (day, vhost, user) in block {
                let vhost = walker.name(&format!("{vhost}.example"));
                let user = user.map(|user| walker.name(&format!("user{user}")));
                walker.add(*day, vhost, user.unwrap_or(NO_USER), ONE);
            }
            mirror.receive(walker.hand_over().0);
            batch.absorb_capped(mirror, &mut growth, Detail::Users);
            if *flush {
                collect(&mut batch, &mut growth, &mut rows, &mut grown);
            }
        }
        collect(&mut batch, &mut growth, &mut rows, &mut grown);
        prop_assert_eq!((rows, grown), by_rule(&blocks, caps));
    }
}

fn collect(
    batch: &mut Ledger,
    growth: &mut Growth,
    rows: &mut BTreeMap<(String, String, DayNumber), u64>,
    grown: &mut BTreeMap<(DayNumber, String), u64>,
) {
    let (deltas, _) = batch.take_capped(growth, &Classes::default());
    for table in [&deltas.vhosts, &deltas.users] {
        let key = |delta: &Delta| (delta.vhost.clone(), delta.part.clone(), delta.day);
        assert!(table.is_sorted_by(|a, b| key(a) < key(b)), "{table:?}");
    }
    for delta in deltas.vhosts.iter().chain(&deltas.users) {
        let (vhost, part) = (delta.vhost.to_string(), delta.part.to_string());
        *rows
            .entry((vhost, part, day::number(delta.day)))
            .or_default() += delta.amount.requests;
    }
    for ((date, of), names) in deltas.new_names {
        *grown.entry((day::number(date), of)).or_default() += names;
    }
}

const ONE: Amount = Amount {
    bytes_in: 1,
    bytes_out: 1,
    requests: 1,
};
