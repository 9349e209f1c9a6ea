//! Rows of minutes of any blocks of requests, compared with the rows of days that the same requests
//! have, and with what adding them up one by one gives.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::account::delta::Delta;
use crate::account::growth::KnownNames;

const DAY_MINUTES: i32 = 1_440;
const CLASS: u16 = 0;

/// One line of an account that is watched in every way.
#[derive(Debug, Clone)]
struct Request {
    day: DayNumber,
    minute: MinuteNumber,
    vhost: u8,
    /// With whether a server vouches for it.
    user: Option<(u8, bool)>,
    in_class: bool,
}

fn request() -> impl Strategy<Value = Request> {
    let user = proptest::option::of((0..5_u8, any::<bool>()));
    (0..3_i32, 0..4_i32, 0..6_u8, user, any::<bool>()).prop_map(
        |(day, minute, vhost, user, in_class)| Request {
            day,
            minute: day * DAY_MINUTES + minute,
            vhost,
            user,
            in_class,
        },
    )
}

/// As a tally adds it.
fn add(ledger: &mut Ledger, request: &Request) {
    let at = (request.day, request.minute);
    let vhost = ledger.name(&vhost_name(request.vhost));
    match request.user {
        None => ledger.add(request.day, vhost, NO_USER, ONE),
        Some((user, is_vouched)) => {
            let user = ledger.name(&format!("user{user}"));
            if is_vouched {
                ledger.add(request.day, vhost, user, ONE);
                ledger.add_minute(at, vhost, (PartOf::User, user), ONE);
            } else {
                ledger.add_claimed(request.day, vhost, user, ONE);
            }
        }
    }
    ledger.add_minute(at, vhost, (PartOf::Vhost, NO_USER), ONE);
    if request.in_class {
        let class = ledger.name("campus");
        ledger.add_class(request.day, vhost, CLASS, ONE);
        ledger.add_minute(at, vhost, (PartOf::Class, class), ONE);
    }
}

fn vhost_name(vhost: u8) -> String {
    format!("{vhost}.example")
}

fn campus() -> Classes {
    Classes::new(&[crate::config::Class {
        name: "campus".to_owned(),
        networks: Vec::new(),
    }])
}

type Day = (String, String, DayNumber);
type Minute = (String, PartOf, String, DayNumber, i64);

/// Rows of all flushes, with their requests.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sums {
    vhosts: BTreeMap<Day, u64>,
    users: BTreeMap<Day, u64>,
    classes: BTreeMap<Day, u64>,
    claimed: BTreeMap<Day, u64>,
    minutes: BTreeMap<Minute, u64>,
}

impl Sums {
    fn add(&mut self, deltas: &Deltas) {
        for (rows, sums) in [
            (&deltas.vhosts, &mut self.vhosts),
            (&deltas.users, &mut self.users),
            (&deltas.classes, &mut self.classes),
            (&deltas.claimed, &mut self.claimed),
        ] {
            let key = |row: &Delta| (row.vhost.clone(), row.part.clone(), row.day);
            assert!(rows.is_sorted_by(|a, b| key(a) < key(b)), "{rows:?}");
            for row in rows {
                let key = (
                    row.vhost.to_string(),
                    row.part.to_string(),
                    day::number(row.day),
                );
                *sums.entry(key).or_default() += row.amount.requests;
            }
        }
        let key = |row: &crate::account::delta::MinuteDelta| {
            let part = (row.vhost.to_string(), row.of, row.part.to_string());
            (part, day::number(row.day), row.minute)
        };
        let rows = &deltas.minutes;
        assert!(rows.is_sorted_by(|a, b| key(a) < key(b)), "{rows:?}");
        for row in rows {
            let ((vhost, of, part), day, minute) = key(row);
            assert_eq!(minute / i64::from(DAY_MINUTES), i64::from(day));
            let key = (vhost, of, part, day, minute);
            *self.minutes.entry(key).or_default() += row.amount.requests;
        }
    }

    /// Minutes added up to days.
    fn of_minutes(&self, which: PartOf) -> BTreeMap<Day, u64> {
        let mut days = BTreeMap::new();
        for ((vhost, of, part, day, _), requests) in &self.minutes {
            if *of == which {
                let day = (vhost.clone(), part.clone(), *day);
                *days.entry(day).or_default() += requests;
            }
        }
        days
    }

    /// What users had for whom a server vouches.
    fn vouched(&self) -> BTreeMap<Day, u64> {
        let mut users = self.users.clone();
        for (key, claimed) in &self.claimed {
            let all = users
                .get_mut(key)
                .expect("claimed rows are part of those of users");
            *all = all.checked_sub(*claimed).expect("a part of them");
        }
        users.retain(|_, requests| *requests > 0);
        users
    }
}

/// What any blocks come to: summed by walkers, or by one ledger whose names are capped at its flushes.
fn summed(
    blocks: &[Vec<Request>],
    walkers: Option<&[usize]>,
    flushes: &[bool],
    caps: (u64, u64),
) -> Sums {
    let mut sides: Vec<(Ledger, Ledger)> = (0..3).map(|_| Default::default()).collect();
    let mut batch = Ledger::default();
    let mut growth = Growth::new(
        KnownNames::default(),
        ["0.example".to_owned()],
        caps.0,
        caps.1,
    );
    let mut sums = Sums::default();
    let classes = campus();
    for (at, block) in blocks.iter().enumerate() {
        match walkers {
            Some(walkers) => {
                let (walker, mirror) = &mut sides[walkers[at]];
                block.iter().for_each(|request| add(walker, request));
                mirror.receive(walker.hand_over().0);
                batch.absorb_capped(mirror, &mut growth, Detail::Users);
            }
            None => block.iter().for_each(|request| add(&mut batch, request)),
        }
        if flushes[at] {
            sums.add(&batch.take(&mut growth, &classes).0);
        }
    }
    sums.add(&batch.take(&mut growth, &classes).0);
    assert!(batch.is_empty());
    sums
}

/// The same, added up one by one, where no cap is reached.
fn one_by_one(blocks: &[Vec<Request>]) -> Sums {
    let mut sums = Sums::default();
    for request in blocks.iter().flatten() {
        let vhost = vhost_name(request.vhost);
        let minute = i64::from(request.minute);
        let day = request.day;
        let add = |rows: &mut BTreeMap<Day, u64>, part: &str| {
            *rows
                .entry((vhost.clone(), part.to_owned(), day))
                .or_default() += 1;
        };
        let mut minutes = vec![(PartOf::Vhost, String::new())];
        add(&mut sums.vhosts, "");
        if let Some((user, is_vouched)) = request.user {
            let user = format!("user{user}");
            add(&mut sums.users, &user);
            if is_vouched {
                minutes.push((PartOf::User, user));
            } else {
                add(&mut sums.claimed, &user);
            }
        }
        if request.in_class {
            add(&mut sums.classes, "campus");
            minutes.push((PartOf::Class, "campus".to_owned()));
        }
        for (of, part) in minutes {
            let key = (vhost.clone(), of, part, day, minute);
            *sums.minutes.entry(key).or_default() += 1;
        }
    }
    sums
}

proptest! {
    /// However blocks are shared among walkers, and wherever it is flushed.
    #[test]
    fn minutes_are_those_of_the_days(
        blocks in proptest::collection::vec(proptest::collection::vec(request(), 0..20), 0..12),
        walkers in proptest::collection::vec(0..3_usize, 12),
        flushes in proptest::collection::vec(any::<bool>(), 12),
        caps in (0..5_u64, 0..4_u64),
    ) {
        let exact = one_by_one(&blocks);
        for walkers in [Some(walkers.as_slice()), None] {
            prop_assert_eq!(&summed(&blocks, walkers, &flushes, (99, 99)), &exact);

            let capped = summed(&blocks, walkers, &flushes, caps);
            prop_assert_eq!(capped.of_minutes(PartOf::User), {
                // What is beyond the cap is nobody's.
                let mut vouched = capped.vouched();
                vouched.retain(|(_, user, _), _| user != name::OVERFLOW);
                vouched
            });
            let of_vhosts = capped.of_minutes(PartOf::Vhost);
            for (key, requests) in &of_vhosts {
                prop_assert!(key.0 != name::OVERFLOW && *requests <= capped.vhosts[key]);
            }
            for (key, requests) in capped.of_minutes(PartOf::Class) {
                prop_assert!(key.0 != name::OVERFLOW && requests <= capped.classes[&key]);
            }
            // What is never capped is all there.
            let never = |rows: &BTreeMap<Day, u64>| -> BTreeMap<Day, u64> {
                let of_it = |(key, sum): (&Day, &u64)| (key.0 == "0.example").then(|| (key.clone(), *sum));
                rows.iter().filter_map(of_it).collect()
            };
            prop_assert_eq!(never(&of_vhosts), never(&exact.vhosts));
            prop_assert_eq!(never(&capped.of_minutes(PartOf::Class)), never(&exact.classes));
        }
    }
}

#[test]
fn what_is_discarded_and_read_again_has_its_minutes_once() {
    let request = Request {
        day: 1,
        minute: DAY_MINUTES,
        vhost: 1,
        user: Some((1, true)),
        in_class: true,
    };
    let (mut walker, mut mirror, mut batch) =
        (Ledger::default(), Ledger::default(), Ledger::default());
    let mut growth = Growth::new(KnownNames::default(), [], 9, 9);
    for is_counted in [false, true] {
        add(&mut walker, &request);
        // A vhost and its user, and a class; and a minute of each of the three.
        assert_eq!(walker.len(), 2 + 3);
        mirror.receive(walker.hand_over().0);
        assert!(walker.is_empty());
        if !is_counted {
            mirror.discard();
            assert!(mirror.is_empty());
        }
    }
    batch.absorb(&mut mirror);
    assert!(mirror.is_empty());
    let mut sums = Sums::default();
    sums.add(&batch.take(&mut growth, &campus()).0);
    assert_eq!(sums, one_by_one(&[vec![request]]));
    let nothing = batch.take(&mut growth, &campus()).0;
    assert_eq!(nothing, Deltas::default());
}

#[test]
fn vhosts_alone_have_no_minutes() {
    let (mut part, mut whole) = (Ledger::default(), Ledger::default());
    let request = Request {
        day: 0,
        minute: 0,
        vhost: 1,
        user: Some((1, false)),
        in_class: false,
    };
    add(&mut part, &request);
    let mut growth = Growth::new(KnownNames::default(), [], 9, 9);
    whole.absorb_capped(&mut part, &mut growth, Detail::Vhosts);
    assert!(part.is_empty());
    assert_eq!(whole.len(), 1);
    let deltas = whole.take_capped(&mut growth, &campus()).0;
    assert!(deltas.minutes.is_empty() && deltas.claimed.is_empty());
}

#[test]
fn a_flood_has_no_minutes_beyond_the_cap() {
    let mut ledger = Ledger::default();
    for number in 0..200 {
        let vhost = ledger.name(&format!("{number}.example"));
        ledger.add(0, vhost, NO_USER, ONE);
        ledger.add_minute((0, 0), vhost, (PartOf::Vhost, NO_USER), ONE);
    }
    let mut growth = Growth::new(KnownNames::default(), [], 3, 9);
    let deltas = ledger.take(&mut growth, &Classes::default()).0;
    let named: BTreeSet<&str> = deltas.minutes.iter().map(|row| &*row.vhost).collect();
    assert_eq!(
        named,
        BTreeSet::from(["0.example", "1.example", "2.example"])
    );
    assert_eq!(deltas.vhosts.len(), 3 + 1);
}

const ONE: Amount = Amount {
    bytes_in: 1,
    bytes_out: 1,
    requests: 1,
};
