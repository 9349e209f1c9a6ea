//! Sums, their way from ledger to ledger, and what is beyond the caps.

use super::*;
use crate::account::delta::Delta;
use crate::account::growth::KnownNames;

#[test]
fn sums_are_handed_over_with_the_names_that_are_new() {
    let (mut walker, mut mirror, mut batch) =
        (Ledger::default(), Ledger::default(), Ledger::default());
    let classes = Classes::default();
    let mut growth = Growth::new(KnownNames::default(), [], 9, 9);
    let mut all = Vec::new();
    let (a, alice) = (walker.name("a.example"), walker.name("alice"));
    for round in 0..3 {
        walker.add(1, a, NO_USER, amount(1));
        walker.add(1, a, alice, amount(10));
        let next = walker.name(&format!("{round}.example"));
        walker.add(1, next, alice, amount(100));
        mirror.receive(walker.hand_over().0);
        assert!(walker.is_empty());
        batch.absorb(&mut mirror);
        assert!(mirror.is_empty());
    }
    let deltas = batch.take(&mut growth, &classes).0;
    for delta in deltas.vhosts.iter().chain(&deltas.users) {
        all.push((&*delta.vhost, &*delta.part, delta.amount.bytes_out));
    }
    assert_eq!(
        all,
        [
            ("0.example", "", 100),
            ("1.example", "", 100),
            ("2.example", "", 100),
            ("a.example", "", 33),
            ("0.example", "alice", 100),
            ("1.example", "alice", 100),
            ("2.example", "alice", 100),
            ("a.example", "alice", 30),
        ]
    );
}

#[test]
fn very_many_names_are_forgotten_and_told_again() {
    let (mut walker, mut mirror, mut batch) =
        (Ledger::default(), Ledger::default(), Ledger::default());
    for round in 0..2 {
        for number in 0..=MAX_NAMES_KEPT {
            let vhost = walker.name(&format!("{}.example", number + round));
            walker.add(1, vhost, NO_USER, amount(1));
        }
        let (sums, forgotten) = walker.hand_over();
        assert!(forgotten);
        mirror.receive(sums);
        batch.absorb(&mut mirror);
    }
    assert_eq!(batch.len(), MAX_NAMES_KEPT + 2);
    assert_eq!(batch.total().requests, 2 * (MAX_NAMES_KEPT as u64 + 1));
}

fn amount(bytes_out: u64) -> Amount {
    Amount {
        bytes_in: 1,
        bytes_out,
        requests: 1,
    }
}

fn show(deltas: &[Delta]) -> Vec<String> {
    deltas
        .iter()
        .map(|d| format!("{} {} {} {}", d.vhost, d.part, d.day, d.amount.bytes_out))
        .collect()
}

#[test]
fn deltas_are_sorted_and_users_are_part_of_their_vhost() {
    let mut ledger = Ledger::default();
    let (b, a, user) = (ledger.name("b"), ledger.name("a"), ledger.name("user"));
    ledger.add(1, b, NO_USER, amount(1));
    ledger.add(0, b, user, amount(2));
    ledger.add(1, b, user, amount(4));
    ledger.add(0, a, NO_USER, amount(8));
    ledger.add(0, b, user, amount(16));
    let mut growth = Growth::new(KnownNames::default(), [], 9, 9);
    let (deltas, _) = ledger.take(&mut growth, &Classes::default());
    assert_eq!(
        show(&deltas.vhosts),
        ["a  1970-01-01 8", "b  1970-01-01 18", "b  1970-01-02 5"]
    );
    assert_eq!(
        show(&deltas.users),
        ["b user 1970-01-01 18", "b user 1970-01-02 4"]
    );
    assert!(ledger.is_empty());
}

#[test]
fn absorbing_renumbers_names() {
    let (mut whole, mut part) = (Ledger::default(), Ledger::default());
    let (x, _) = (whole.name("x"), whole.name("y"));
    whole.add(0, x, NO_USER, amount(1));
    let (y, x) = (part.name("y"), part.name("x"));
    part.add(0, y, x, amount(2));
    part.add(0, x, NO_USER, amount(4));
    whole.absorb(&mut part);
    let mut growth = Growth::new(KnownNames::default(), [], 9, 9);
    let (deltas, _) = whole.take(&mut growth, &Classes::default());
    assert_eq!(show(&deltas.vhosts), ["x  1970-01-01 5", "y  1970-01-01 2"]);
    assert_eq!(show(&deltas.users), ["y x 1970-01-01 2"]);
    assert!(part.is_empty());
}

/// Numbers of names are remembered from one take-over to the next: not beyond what either ledger forgets,
/// and not for another ledger.
#[test]
fn absorbing_remembers_no_number_that_is_void() {
    let growth = || Growth::new(KnownNames::default(), [], u64::MAX, u64::MAX);
    let vhosts = |whole: &mut Ledger| {
        let (deltas, _) = whole.take(&mut growth(), &Classes::default());
        show(&deltas.vhosts)
    };
    let mut part = Ledger::default();
    let mut tell = |into: &mut Ledger, name: &str| {
        let id = part.name(name);
        part.add(0, id, NO_USER, amount(1));
        into.absorb(&mut part);
    };
    let (mut one, mut other) = (Ledger::default(), Ledger::default());
    other.name("first there");
    for name in ["x", "y", "x"] {
        tell(&mut one, name);
        tell(&mut other, name);
    }
    assert_eq!(vhosts(&mut one), ["x  1970-01-01 2", "y  1970-01-01 1"]);
    assert_eq!(vhosts(&mut other), ["x  1970-01-01 2", "y  1970-01-01 1"]);
    for number in 0..=MAX_NAMES_KEPT {
        one.name(&*format!("{number}.example"));
    }
    assert_eq!(vhosts(&mut one), [""; 0], "and it forgets its names");
    tell(&mut one, "y");
    tell(&mut one, "x");
    assert_eq!(vhosts(&mut one), ["x  1970-01-01 1", "y  1970-01-01 1"]);
}

#[test]
fn a_name_beyond_the_cap_is_never_kept() {
    let (mut walker, mut mirror, mut batch) =
        (Ledger::default(), Ledger::default(), Ledger::default());
    let mut growth = Growth::new(KnownNames::default(), [], 2, 1);
    for round in 0..3_u64 {
        for number in 0..50 {
            let vhost = walker.name(&format!("{number}.example"));
            let user = walker.name(&format!("user{number}"));
            walker.add(0, vhost, NO_USER, amount(1));
            walker.add(1, vhost, user, amount(10));
            walker.add_class(0, vhost, 0, amount(1));
        }
        mirror.receive(walker.hand_over().0);
        batch.absorb_capped(&mut mirror, &mut growth, Detail::Users);
        assert!(mirror.is_empty());
        assert_eq!(batch.total().requests, (round + 1) * 100);
        // Two hosts on each day, a user of each and of what is beyond, and the overflow.
        assert_eq!(batch.names.texts.len(), 4 + 5 + 1);
    }
    let (deltas, _) = batch.take_capped(&mut growth, &Classes::default());
    assert!(
        growth.take_added().is_empty(),
        "they were taken with the deltas"
    );
    assert_eq!(deltas.new_names.values().sum::<u64>(), 4 + 5);
    assert_eq!(
        show(&deltas.vhosts),
        [
            "0.example  1970-01-01 3",
            "0.example  1970-01-02 30",
            "1.example  1970-01-01 3",
            "1.example  1970-01-02 30",
            // The second day admitted them behind their first request of the first.
            "2.example  1970-01-01 2",
            "2.example  1970-01-02 30",
            "3.example  1970-01-01 2",
            "3.example  1970-01-02 30",
            "_overflow  1970-01-01 140",
            "_overflow  1970-01-02 1380",
        ]
    );
    assert_eq!(deltas.classes.len(), 5);
    assert_eq!(
        show(&deltas.users)[4..],
        [
            "_overflow _overflow 1970-01-02 1350",
            "_overflow user4 1970-01-02 30"
        ]
    );
}

#[test]
fn vhosts_alone_are_taken_over_with_all_that_their_users_moved() {
    let (mut part, mut whole) = (Ledger::default(), Ledger::default());
    let (vhost, alice) = (part.name("a.example"), part.name("alice"));
    part.add(0, vhost, alice, amount(1));
    part.add(0, vhost, NO_USER, amount(2));
    let mut growth = Growth::new(KnownNames::default(), [], 9, 9);
    whole.absorb_capped(&mut part, &mut growth, Detail::Vhosts);
    assert_eq!(whole.len(), 1);
    let (deltas, _) = whole.take_capped(&mut growth, &Classes::default());
    assert_eq!(show(&deltas.vhosts), ["a.example  1970-01-01 3"]);
    assert!(deltas.users.is_empty());
}

#[test]
fn long_names_are_forgotten_before_there_are_many() {
    let mut ledger = Ledger::default();
    let mut most = 0;
    for number in 0..20_000 {
        let user = ledger.name(&format!("{number:01000}"));
        let vhost = ledger.name("a.example");
        ledger.add(0, vhost, user, amount(1));
        most = most.max(ledger.names.texts.bytes());
        ledger.hand_over();
    }
    assert!(most <= MAX_NAME_BYTES_KEPT + 2_000, "{most}");
}

#[test]
fn what_is_discarded_is_gone_and_its_names_are_not() {
    let (mut walker, mut mirror, mut batch) =
        (Ledger::default(), Ledger::default(), Ledger::default());
    let a = walker.name("a.example");
    for bytes in [1, 10] {
        walker.add(0, a, NO_USER, amount(bytes));
        mirror.receive(walker.hand_over().0);
        if bytes == 1 {
            mirror.discard();
        }
    }
    batch.absorb(&mut mirror);
    let mut growth = Growth::new(KnownNames::default(), [], 9, 9);
    let (deltas, _) = batch.take(&mut growth, &Classes::default());
    assert_eq!(show(&deltas.vhosts), ["a.example  1970-01-01 10"]);
}

#[test]
fn what_is_beyond_the_cap_shares_one_row() {
    let mut ledger = Ledger::default();
    for (index, vhost) in ["z", "y", "x", "w"].into_iter().enumerate() {
        let vhost = ledger.name(vhost);
        ledger.add(0, vhost, NO_USER, amount(1 << index));
    }
    let mut growth = Growth::new(KnownNames::default(), [], 2, 9);
    let (deltas, _) = ledger.take(&mut growth, &Classes::default());
    assert_eq!(
        show(&deltas.vhosts),
        [
            "_overflow  1970-01-01 12",
            "y  1970-01-01 2",
            "z  1970-01-01 1"
        ]
    );
}

#[test]
fn layers_are_apart_from_the_edge_all_the_way() {
    let (mut walker, mut mirror, mut batch) =
        (Ledger::default(), Ledger::default(), Ledger::default());
    let classes = Classes::default();
    let mut growth = Growth::new(KnownNames::default(), [], 9, 9);
    // Other numbers for the same names.
    batch.name("php");
    for _ in 0..2 {
        let (b, a) = (walker.name("b"), walker.name("a"));
        let (php, backend) = (walker.name("php"), walker.name("backend"));
        walker.add(0, a, NO_USER, amount(1));
        walker.add_layer(0, a, php, amount(10));
        walker.add_layer(0, a, backend, amount(100));
        walker.add_layer(1, b, backend, amount(1_000));
        walker.add_layer(0, b, backend, amount(10_000));
        assert_eq!(walker.len(), 5);
        mirror.receive(walker.hand_over().0);
        assert!(walker.is_empty());
        batch.absorb(&mut mirror);
        assert!(mirror.is_empty());
    }
    assert_eq!(batch.total().bytes_out, 2, "layers are no part of it");
    let deltas = batch.take(&mut growth, &classes).0;
    assert_eq!(show(&deltas.vhosts), ["a  1970-01-01 2"]);
    assert!(deltas.users.is_empty() && deltas.classes.is_empty());
    assert_eq!(
        show(&deltas.layers),
        [
            "a backend 1970-01-01 200",
            "a php 1970-01-01 20",
            "b backend 1970-01-01 20000",
            "b backend 1970-01-02 2000",
        ]
    );
    assert!(batch.is_empty());
    assert!(batch.take(&mut growth, &classes).0.layers.is_empty());
}

#[test]
fn a_layer_alone_is_something_to_flush() {
    let mut ledger = Ledger::default();
    let (vhost, layer) = (ledger.name("a"), ledger.name("backend"));
    ledger.add_layer(0, vhost, layer, amount(1));
    assert!(!ledger.is_empty());
}

#[test]
fn the_cap_of_a_layer_is_its_own() {
    let mut ledger = Ledger::default();
    let layer = ledger.name("backend");
    for (index, vhost) in ["z", "y", "x", "w"].into_iter().enumerate() {
        let vhost = ledger.name(vhost);
        ledger.add_layer(0, vhost, layer, amount(1 << index));
    }
    let real = ledger.name("real");
    ledger.add(0, real, NO_USER, amount(64));
    ledger.add_layer(0, real, layer, amount(128));
    let mut growth = Growth::new(KnownNames::default(), [], 2, 9);
    let (deltas, _) = ledger.take(&mut growth, &Classes::default());
    assert_eq!(show(&deltas.vhosts), ["real  1970-01-01 64"]);
    assert_eq!(
        show(&deltas.layers),
        [
            "_overflow backend 1970-01-01 12",
            "real backend 1970-01-01 128",
            "y backend 1970-01-01 2",
            "z backend 1970-01-01 1"
        ]
    );
}
