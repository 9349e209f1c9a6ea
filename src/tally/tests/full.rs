//! Names that full days refuse: whoever does not keep them comes to the same as who does.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::config::parse_layer;
use crate::ledger::Detail;

/// One line: vhost, user, whether the answer was to a checked name.
type Lines = Vec<(u8, Option<u8>, bool)>;

/// A walker and the books that it tells.
struct Side {
    rules: Rules,
    growth: Growth,
    tally: Tally,
    mirror: Ledger,
    batch: Ledger,
    spent: BTreeMap<String, u64>,
}

impl Side {
    fn new(refuses: bool, caps: (u64, u64)) -> Self {
        let watched = Watched {
            all_vhosts: BY_MINUTE,
            vhosts: [("1.example".to_owned(), ALL)].into(),
            all_users: BY_MINUTE,
            ..Watched::default()
        };
        let rules = rules(watched);
        let growth = Growth::new(
            KnownNames::default(),
            ["0.example".to_owned()],
            caps.0,
            caps.1,
        );
        let tally = Tally::telling(&rules);
        Self {
            tally: if refuses {
                tally.refusing(growth.full_days())
            } else {
                tally
            },
            rules,
            growth,
            mirror: Ledger::default(),
            batch: Ledger::default(),
            spent: BTreeMap::new(),
        }
    }

    /// Reads a chunk, and tells what was spent.
    fn walk(&mut self, source: &SourceRules, chunk: &str) {
        read(&mut self.tally, &self.rules, source, chunk);
        for spent in self.tally.take_spent(&mut self.growth) {
            let (vhost, user, class) = (&spent.vhost, &spent.user, &spent.class);
            let key = format!("{vhost} {user:?} {class:?} {}", spent.minute);
            *self.spent.entry(key).or_default() += spent.amount.requests;
        }
    }

    /// Hands over what the chunks came to.
    fn hand_over(&mut self) {
        self.mirror.receive(self.tally.hand_over());
        self.batch
            .absorb_capped(&mut self.mirror, &mut self.growth, Detail::Users);
    }

    fn read(&mut self, source: &SourceRules, chunk: &str) {
        self.walk(source, chunk);
        self.hand_over();
    }

    fn flush(&mut self) -> Deltas {
        self.hand_over();
        let classes = &self.rules.classes;
        self.batch.take_capped(&mut self.growth, classes).0
    }
}

fn chunk(day: i64, lines: &Lines) -> String {
    let one = |(host, user, is_checked): &(u8, Option<u8>, bool)| {
        // Also by names that fold to others.
        let host = match host % 4 {
            3 => format!("{}.EXAMPLE:80", host / 4),
            _ => format!("{}.example", host / 4),
        };
        let user = match user {
            None => "-".to_owned(),
            // Too long for its column.
            Some(5) => "u".repeat(300),
            Some(user) => format!("user{user}"),
        };
        let line = line(BEGIN - day * 86_400, &host, &user);
        match is_checked {
            true => line,
            false => line.replace(" 200 ", " 404 "),
        }
    };
    lines.iter().map(one).collect()
}

proptest! {
    /// Whatever the caps are, whoever fills them, and wherever it is flushed, or what others did is taken
    /// for the truth.
    #[test]
    fn a_refused_name_need_not_be_kept(
        chunks in proptest::collection::vec(
            (
                0..3_i64,
                proptest::collection::vec((0..48_u8, proptest::option::of(0..6_u8), any::<bool>()), 0..12),
                0..12_u8,
                prop::bool::weighted(0.3),
            ),
            0..30,
        ),
        caps in (0..6_u64, 0..4_u64),
        vouches in any::<bool>(),
    ) {
        let edge = source(NGINX, vouches.then_some(Users::Verified));
        let mut behind = source(NGINX, None);
        behind.layer = parse_layer("backend").expect("a layer");
        let mut sides = [Side::new(true, caps), Side::new(false, caps)];
        let mut pending = None;
        for (day, lines, then, is_behind) in chunks {
            // Who gets a row on another day first, and is then refused, has one where the sums are taken in
            // together.
            let day = pending.unwrap_or(day);
            pending = (then >= 9).then_some(day);
            let source = if is_behind { &behind } else { &edge };
            let chunk = chunk(day, &lines);
            sides.iter_mut().for_each(|side| side.walk(source, &chunk));
            if then < 9 {
                sides.iter_mut().for_each(Side::hand_over);
            }
            if then == 0 {
                let [refusing, keeping] = &mut sides;
                prop_assert_eq!(refusing.flush(), keeping.flush());
            }
            for growth in sides.iter_mut().map(|side| &mut side.growth) {
                match then {
                    1 => growth.set_caps(caps.0 + 1, caps.1),
                    2 => growth.know(["7.example".to_owned()]),
                    // What is on its way comes to nothing.
                    3 => growth.renew(KnownNames::default()),
                    4 => growth.try_out(),
                    5 => growth.drop_trial(),
                    6 => growth.keep_trial(),
                    _ => {}
                }
            }
        }
        let [refusing, keeping] = &mut sides;
        prop_assert_eq!(refusing.flush(), keeping.flush());
        prop_assert_eq!(&refusing.spent, &keeping.spent);
    }
}

#[test]
fn a_flood_leaves_no_names_behind() {
    let mut side = Side::new(true, (5, 5));
    let source = source(NGINX, Some(Users::Verified));
    let hosts: Vec<String> = (0..200)
        .map(|n| line(BEGIN, &format!("{n}.flood.example"), "-"))
        .collect();
    for chunk in hosts.chunks(20) {
        side.read(&source, &chunk.concat());
    }
    let names = side.tally.ledger.new_names();
    let users: Vec<String> = (0..200)
        .map(|n| line(BEGIN, "0.example", &format!("user{n}")))
        .collect();
    for chunk in users.chunks(20) {
        side.read(&source, &chunk.concat());
    }
    assert_eq!(names, 0);
    // After a chunk of each, what is refused is met for the first time and no more.
    let mut more = |text: String| {
        read(&mut side.tally, &side.rules, &source, &text);
        side.tally.ledger.new_names()
    };
    assert_eq!(more(line(BEGIN, "new.flood.example", "-")), 0);
    assert_eq!(more(line(BEGIN, "0.example", "somebody")), 0);
    assert_eq!(more(line(BEGIN + 86_400, "new.flood.example", "-")), 1);
    let deltas = side.flush();
    assert_eq!(deltas.vhosts.len(), 5 + 2 + 1);
    assert_eq!(deltas.users.len(), 5 + 1);
    let total: u64 = deltas.vhosts.iter().map(|row| row.amount.requests).sum();
    assert_eq!(total, 403);
}

/// On a day with room, of which the books have not heard yet.
#[test]
fn what_has_been_met_before_is_not_refused() {
    let mut side = Side::new(true, (2, 9));
    let source = source(NGINX, None);
    let hosts = ["a.example", "b.example", "c.example"].map(|host| line(BEGIN, host, "-"));
    side.read(&source, &hosts.concat());
    side.walk(&source, &line(BEGIN - 86_400, "new.example", "-"));
    // As where there were too many others since.
    side.tally.vhosts = Cache::default();
    side.walk(&source, &line(BEGIN, "new.example", "-"));
    side.walk(&source, &line(BEGIN, "newer.example", "-"));
    let rows = side.flush().vhosts;
    let of = |vhost: &str| rows.iter().filter(|row| &*row.vhost == vhost).count();
    assert_eq!(of("new.example"), 2);
    assert_eq!((of("newer.example"), of(name::OVERFLOW)), (0, 1));
}

/// One of two walkers has met a site on a day with room, and the other one refuses it on a full one.
#[test]
fn what_another_walker_has_met_is_walked_again() {
    let mut side = Side::new(true, (2, 9));
    let source = source(NGINX, None);
    let hosts = ["a.example", "b.example", "c.example"].map(|host| line(BEGIN, host, "-"));
    side.read(&source, &hosts.concat());
    let mut other = Tally::new(&side.rules).refusing_for_now(side.growth.full_days());
    let chunk = ["new.example", "newer.example", "a.example"].map(|host| line(BEGIN, host, "-"));
    let chunk = chunk.concat();
    for is_met_first in [false, true] {
        read(&mut other, &side.rules, &source, &chunk);
        assert!(other.has_refused());
        if is_met_first {
            side.read(&source, &line(BEGIN - 86_400, "new.example", "-"));
        }
        assert_eq!(other.refused_rightly(), !is_met_first);
        assert!(!other.has_refused());
        if is_met_first {
            other.keeping(|tally| read(tally, &side.rules, &source, &chunk));
            assert!(!other.has_refused());
        }
        let mut mirror = Ledger::default();
        mirror.receive(other.hand_over());
        let (batch, growth) = (&mut side.batch, &mut side.growth);
        batch.absorb_capped(&mut mirror, growth, Detail::Users);
        // Its names are told to a mirror of its own each time.
        other = Tally::new(&side.rules).refusing_for_now(side.growth.full_days());
    }
    let rows = side
        .batch
        .take_capped(&mut side.growth, &side.rules.classes)
        .0;
    let requests = |vhost: &str| -> Vec<u64> {
        let of = rows.vhosts.iter().filter(|row| &*row.vhost == vhost);
        of.map(|row| row.amount.requests).collect()
    };
    assert_eq!(requests("a.example"), [3]);
    assert_eq!(requests("new.example"), [1, 1], "a row of each day");
    assert_eq!(requests(name::OVERFLOW), [1 + 2 + 1]);
}
