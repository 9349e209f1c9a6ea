//! How long it takes with 100,000 accounts, all of them closed. Not run with the others: `-- --ignored`.

use std::time::{Duration, Instant};

use super::*;

const ACCOUNTS: u64 = 100_000;

#[test]
#[ignore = "measures, without the optimiser"]
fn a_hundred_thousand_closed_gates() {
    let ladder = Quota {
        warn: vec![80, 95],
        ..quota("every site, and each day", vhost("*"))
    };
    let (mut engine, mut store) = knowing(vec![ladder]);
    let name = |number: u64| format!("site-{number:06}.example");
    let lines: Vec<_> = (0..ACCOUNTS)
        .map(|number| spent(&name(number), 1_000, NOON))
        .collect();
    let mut took = Vec::new();
    let mut measure = |what: &'static str, since: Instant| took.push((what, since.elapsed()));

    let since = Instant::now();
    engine.spend(lines.clone(), NOON);
    measure("the first lines of each", since);
    let since = Instant::now();
    engine.spend(lines.clone(), NOON);
    measure("the next lines of each", since);
    assert_eq!(engine.take_changes().len() as u64, ACCOUNTS);
    let since = Instant::now();
    let verdicts = engine.verdicts();
    measure("all verdicts", since);
    assert_eq!(verdicts.closed.len() as u64, ACCOUNTS);
    engine.taken(1);
    store.flush(1, lines);
    let needs = engine.needs(NOON).expect("needs");
    let snapshot = store.usage(&needs);
    let since = Instant::now();
    engine.snapshot(snapshot, NOON);
    measure("a snapshot", since);
    assert_eq!(engine.verdicts().closed.len() as u64, ACCOUNTS);

    let all: Duration = took.iter().map(|(_, took)| *took).sum();
    assert!(all < Duration::from_secs(60), "{took:?}");
}
