//! Grants, resets, exemptions.

use super::*;
use crate::usage::said::{Exempt, Grant, GrantKind};

fn account() -> Account {
    Account::Vhost("a.example".to_owned())
}

fn grant(kind: GrantKind, at: i64, until: Option<i64>) -> Overrides {
    let grant = Grant {
        quota: "q".to_owned(),
        account: account(),
        kind,
        at,
        until,
    };
    let other = Grant {
        quota: "another".to_owned(),
        ..grant.clone()
    };
    Overrides {
        grants: vec![grant, other],
        exempt: Vec::new(),
    }
}

fn exempt(quota: Option<&str>, until: Option<i64>) -> Overrides {
    let exempt = Exempt {
        account: account(),
        quota: quota.map(str::to_owned),
        until,
    };
    Overrides {
        grants: Vec::new(),
        exempt: vec![exempt],
    }
}

fn closed() -> Engine {
    let (mut engine, _) = knowing(vec![quota("q", vhost("*"))]);
    engine.spend(vec![spent("a.example", 1_000, NOON)], NOON);
    assert!(is_closed(&engine, "a.example"));
    engine.take_changes();
    engine
}

fn verdicts(engine: &mut Engine) -> Vec<Verdict> {
    let changes = engine.take_changes().into_iter();
    changes.map(|change| change.to).collect()
}

#[test]
fn a_grant_opens_until_it_is_spent_or_over() {
    let mut engine = closed();
    let midnight = NOON + 12 * HOUR;
    engine.set_overrides(grant(GrantKind::More(500), NOON, Some(NOON + HOUR)), NOON);
    assert!(!is_closed(&engine, "a.example"));
    let standing = &engine.standings()[0];
    assert_eq!((standing.limit, standing.granted), (1_500, 500));
    assert_eq!(verdicts(&mut engine), [Verdict::Within]);
    engine.spend(vec![spent("a.example", 499, NOON)], NOON);
    assert!(!is_closed(&engine, "a.example"));
    assert_eq!(engine.next_tick(), Some(NOON + HOUR));
    engine.tick(NOON + HOUR);
    assert!(is_closed(&engine, "a.example"), "the grant is over");
    assert_eq!(verdicts(&mut engine), [], "it was told once in this period");
    engine.set_overrides(
        grant(GrantKind::More(500), NOON, Some(midnight)),
        NOON + HOUR,
    );
    assert!(!is_closed(&engine, "a.example"));
    engine.set_overrides(Overrides::default(), NOON + HOUR);
    assert!(is_closed(&engine, "a.example"), "it was taken back");
}

#[test]
fn a_grant_of_an_account_that_nothing_was_seen_of() {
    let (mut engine, _) = knowing(vec![quota("q", vhost("*"))]);
    engine.set_overrides(grant(GrantKind::More(500), NOON, None), NOON);
    engine.spend(vec![spent("a.example", 1_499, NOON)], NOON);
    assert!(!is_closed(&engine, "a.example"));
    engine.spend(vec![spent("a.example", 1, NOON)], NOON);
    assert!(is_closed(&engine, "a.example"));
}

#[test]
fn a_reset_takes_off_what_was_used_and_no_more() {
    let mut engine = closed();
    engine.set_overrides(
        grant(GrantKind::Reset(1_000), NOON + 9, Some(NOON + DAY)),
        NOON,
    );
    assert!(is_closed(&engine, "a.example"), "not yet");
    engine.tick(NOON + 9);
    assert!(!is_closed(&engine, "a.example"));
    engine.spend(vec![spent("a.example", 5, NOON)], NOON + 10);
    expect_used(&engine, &[("q", "a.example", 5)]);
    let next = NOON + 12 * HOUR;
    engine.spend(vec![spent("a.example", 7, next)], next);
    expect_used(&engine, &[("q", "a.example", 7)]);
    // More than there is.
    let much = grant(GrantKind::Reset(u64::MAX), next, None);
    engine.set_overrides(much, next);
    expect_used(&engine, &[("q", "a.example", 0)]);
}

#[test]
fn a_reset_of_a_window_forgets_what_was_spent_before() {
    let rolling = Quota {
        period: Period::Rolling { minutes: 60 },
        ..quota("q", vhost("a.example"))
    };
    let mut store = Store::default();
    store.lines = vec![store::Committed {
        spent: spent("a.example", 300, NOON),
        by_minute: false,
    }];
    let mut engine = Engine::new(rules(vec![rolling]), AllTold::new(), ZONE, NOON);
    report(&mut engine, &store, NOON);
    engine.spend(vec![spent("a.example", 700, NOON)], NOON);
    assert!(is_closed(&engine, "a.example"));
    let reset = || grant(GrantKind::Reset(3), NOON + 30, None);
    engine.set_overrides(reset(), NOON + 30);
    expect_used(&engine, &[("q", "a.example", 0)]);
    assert!(!is_closed(&engine, "a.example"));
    // A late line of before, and one of the next minute.
    let lines = vec![
        spent("a.example", 5, NOON - 60),
        spent("a.example", 9, NOON + 60),
    ];
    engine.spend(lines, NOON + 60);
    expect_used(&engine, &[("q", "a.example", 9)]);
    engine.set_overrides(Overrides::default(), NOON + 60);
    expect_used(&engine, &[("q", "a.example", 1_014)]);
    // One of the day before has nothing to do with what this day has used.
    let before = grant(GrantKind::Reset(3), NOON - DAY, None);
    engine.set_overrides(before, NOON + 60);
    expect_used(&engine, &[("q", "a.example", 1_014)]);
}

#[test]
fn an_exempted_account_counts_and_nothing_closes() {
    let mut engine = closed();
    engine.set_overrides(exempt(Some("another"), None), NOON);
    assert!(is_closed(&engine, "a.example"));
    for of in [None, Some("q")] {
        engine.set_overrides(exempt(of, Some(NOON + HOUR)), NOON);
        assert!(!is_closed(&engine, "a.example"));
    }
    engine.spend(vec![spent("a.example", 1, NOON)], NOON);
    let standing = &engine.standings()[0];
    let shown = (standing.used, standing.verdict, standing.exempt);
    assert_eq!(shown, (1_001, Verdict::Exceeded(100), true));
    engine.tick(NOON + HOUR);
    assert!(is_closed(&engine, "a.example"), "it was for an hour");
}
