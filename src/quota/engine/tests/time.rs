//! Periods that end, slices that open, windows that slide, and clocks that are set.

use super::*;

#[test]
fn a_new_period_opens_and_is_told_once() {
    let (mut engine, _) = knowing(vec![quota("q", vhost("a.example"))]);
    engine.spend(vec![spent("a.example", 1_000, NOON)], NOON);
    let midnight = NOON + 12 * HOUR;
    assert_eq!(engine.next_tick(), Some(midnight));
    let begins: Vec<_> = engine
        .take_changes()
        .iter()
        .map(|change| change.begin)
        .collect();
    assert_eq!(begins, [midnight - DAY]);
    engine.tick(midnight - 1);
    assert!(is_closed(&engine, "a.example"));
    let version = engine.version();
    engine.tick(midnight);
    assert!(!is_closed(&engine, "a.example") && engine.version() != version);
    let change = engine.take_changes();
    assert_eq!(
        (change[0].from, change[0].to),
        (Verdict::Exceeded(100), Verdict::Within)
    );
    assert_eq!((change[0].begin, change[0].left.len()), (midnight, 0));
    engine.tick(midnight + 60);
    assert_eq!(told(&mut engine), []);
}

#[test]
fn late_lines_belong_to_their_period_and_early_ones_to_theirs() {
    let hour = Quota {
        period: minutes(60, "2024-01-01 00:00"),
        ..quota("hour", vhost("a.example"))
    };
    let day = quota("day", vhost("a.example"));
    let now = NOON + 11 * HOUR + 1_800;
    let (mut engine, mut store) = knowing_at(vec![hour, day], now);
    let lines = vec![
        spent("a.example", 1, now),
        spent("a.example", 10, now - HOUR),
        spent("a.example", 100, now - DAY),
        // Ahead of us, in the next hour, which is tomorrow.
        spent("a.example", 1_000, now + HOUR),
    ];
    engine.spend(lines.clone(), now);
    let expect = |engine: &Engine, day, hour| {
        expect_used(
            engine,
            &[("day", "a.example", day), ("hour", "a.example", hour)],
        );
    };
    expect(&engine, 1_011, 1_001);
    engine.taken(1);
    store.flush(1, lines);
    report(&mut engine, &store, now + 10);
    expect(&engine, 1_011, 1_001);
    engine.tick(now + HOUR);
    expect(&engine, 1_000, 1_000);
    report(&mut engine, &store, now + HOUR);
    expect(&engine, 1_000, 1_000);
}

#[test]
fn the_store_away_over_the_end_of_a_period() {
    let hour = Quota {
        period: minutes(60, "2024-01-01 00:00"),
        ..quota("hour", vhost("a.example"))
    };
    let (mut engine, _) = knowing(vec![hour, quota("day", vhost("b.example"))]);
    let lines = vec![
        spent("a.example", 1_000, NOON),
        spent("b.example", 1_000, NOON),
    ];
    engine.spend(lines, NOON);
    // All that the next ones hold is in what snapshots tell, or ours.
    for (at, closed) in [
        (HOUR - 1, [true, true]),
        (HOUR, [false, true]),
        (13 * HOUR, [false, false]),
    ] {
        engine.tick(NOON + at);
        let is = ["a.example", "b.example"].map(|vhost| is_closed(&engine, vhost));
        assert_eq!(is, closed, "{at}");
        assert!(engine.verdicts().complete);
    }
}

#[test]
fn a_clock_that_goes_back_opens_nothing_that_is_not_known() {
    let (mut engine, mut store) = knowing(vec![quota("q", vhost("a.example"))]);
    let line = spent("a.example", 1_000, NOON);
    engine.spend(vec![line.clone()], NOON);
    engine.taken(1);
    store.flush(1, vec![line]);
    report(&mut engine, &store, NOON + 10);
    for back in [HOUR, 13 * HOUR, 3 * DAY, 400 * DAY] {
        engine.tick(NOON - back);
        assert!(is_closed(&engine, "a.example"), "{back}");
        assert!(engine.needs(NOON - back).expect("needs").full);
    }
    // By that clock it was spent in days to come.
    report(&mut engine, &store, NOON - 400 * DAY);
    assert!(is_closed(&engine, "a.example") && engine.verdicts().complete);
    engine.tick(NOON + 20);
    report(&mut engine, &store, NOON + 20);
    expect_used(&engine, &[("q", "a.example", 1_000)]);
    assert!(engine.verdicts().complete);
}

#[test]
fn slices_open_share_by_share() {
    let slices = Quota {
        limit: 100,
        period: minutes(4 * 7 * 1_440, "2026-11-23 00:00"),
        slice_minutes: Some(7 * 1_440),
        ..quota("q", vhost("a.example"))
    };
    let (mut engine, _) = knowing(vec![slices]);
    let week = |number: i64| NOON - 12 * HOUR - 3 * DAY + number * 7 * DAY;
    engine.spend(vec![spent("a.example", 25, NOON)], NOON);
    assert!(is_closed(&engine, "a.example"));
    let standing = &engine.standings()[0];
    assert_eq!((standing.limit, standing.next_slice), (25, Some(week(1))));
    assert_eq!(engine.next_tick(), Some(week(1)));
    engine.tick(week(1));
    assert!(!is_closed(&engine, "a.example"));
    engine.spend(vec![spent("a.example", 51, week(2))], week(2));
    assert!(is_closed(&engine, "a.example"), "76 of 75");
    engine.tick(week(3));
    assert_eq!(engine.standings()[0].limit, 100);
    assert!(!is_closed(&engine, "a.example"));
    engine.spend(vec![spent("a.example", 24, week(3))], week(3));
    let told: Vec<_> = told(&mut engine)
        .into_iter()
        .map(|told| (told.2, told.3))
        .collect();
    use Verdict::{Exceeded, Within};
    // Once in the period, whatever opened in between.
    assert_eq!(told, [(Exceeded(100), vec![100]), (Within, vec![])]);
    assert!(is_closed(&engine, "a.example"));
}

fn rolling(minutes: u32) -> Quota {
    Quota {
        period: Period::Rolling { minutes },
        warn: vec![50],
        ..quota("q", vhost("a.example"))
    }
}

#[test]
fn a_rolling_gate_opens_when_usage_is_well_below() {
    let (mut engine, _) = knowing(vec![rolling(60)]);
    let minute = |number: i64| NOON + number * 60;
    engine.spend(vec![spent("a.example", 40, NOON)], NOON);
    engine.spend(vec![spent("a.example", 20, minute(10))], minute(10));
    engine.spend(vec![spent("a.example", 940, minute(20) + 59)], minute(21));
    assert!(is_closed(&engine, "a.example"));
    assert_eq!(engine.next_tick(), Some(minute(22)));
    // What was spent in the minute of noon leaves an hour later: 960 of 1,000.
    engine.tick(minute(60) - 1);
    assert_eq!(used(&engine)[0].2, 1_000);
    engine.tick(minute(60));
    assert_eq!(used(&engine)[0].2, 960);
    assert!(is_closed(&engine, "a.example"));
    engine.take_changes();
    engine.tick(minute(70));
    assert_eq!(used(&engine)[0].2, 940);
    assert!(!is_closed(&engine, "a.example"), "below 950");
    use Verdict::{Exceeded, Warned, Within};
    let of = |from, to, reached: &[u32], left: &[u32]| {
        vec![(
            "a.example".to_owned(),
            from,
            to,
            reached.to_vec(),
            left.to_vec(),
        )]
    };
    assert_eq!(
        told(&mut engine),
        of(Exceeded(100), Warned(50), &[], &[100])
    );
    // And it is told again.
    engine.spend(vec![spent("a.example", 60, minute(71))], minute(71));
    assert_eq!(
        told(&mut engine),
        of(Warned(50), Exceeded(100), &[100], &[])
    );
    engine.tick(minute(200));
    assert_eq!(
        told(&mut engine),
        of(Exceeded(100), Within, &[], &[50, 100])
    );
    assert_eq!(engine.next_tick(), None, "nothing is left to slide");
}

#[test]
fn a_rolling_gate_that_has_opened_stays_open_under_other_rules() {
    let (mut engine, _) = knowing(vec![rolling(60)]);
    engine.spend(vec![spent("a.example", 100, NOON)], NOON);
    engine.spend(vec![spent("a.example", 900, NOON + 600)], NOON + 600);
    engine.tick(NOON + HOUR);
    assert!(!is_closed(&engine, "a.example"), "900 of 1,000");
    engine.take_changes();
    // 960 would keep it closed, had it been closed.
    engine.spend(vec![spent("a.example", 60, NOON + HOUR)], NOON + HOUR);
    let other = quota("other", vhost("b.example"));
    engine.set_rules(rules(vec![rolling(60), other]), NOON + HOUR);
    assert!(!is_closed(&engine, "a.example"));
    engine.spend(vec![spent("a.example", 40, NOON + HOUR)], NOON + HOUR);
    assert_eq!(told(&mut engine)[0].3, [100]);
}

#[test]
fn a_rolling_gate_that_was_closed_in_an_earlier_life() {
    let key = (
        "q".to_owned(),
        Account::Vhost("a.example".to_owned()),
        0,
        100,
    );
    let mut store = Store::default();
    store.commit(spent("a.example", 960, NOON));
    for (had, is) in [(AllTold::from([key]), true), (AllTold::new(), false)] {
        let mut engine = Engine::new(rules(vec![rolling(60)]), had, ZONE, NOON);
        report(&mut engine, &store, NOON);
        assert_eq!(is_closed(&engine, "a.example"), is);
        engine.spend(vec![spent("a.example", 40, NOON)], NOON);
        let exceeded = told(&mut engine);
        let is_told = exceeded.iter().any(|told| told.3.contains(&100));
        assert_eq!(is_told, !is);
    }
}

#[test]
fn what_was_used_before_minutes_were_kept_leaves_the_window_by_days() {
    let mut store = Store::default();
    let old = |bytes, at| store::Committed {
        spent: spent("a.example", bytes, at),
        by_minute: false,
    };
    store.lines = vec![
        old(1, NOON - 3 * DAY),
        old(10, NOON - 2 * DAY),
        old(100, NOON - DAY),
        old(1_000, NOON - HOUR),
    ];
    store.commit(spent("a.example", 10_000, NOON - DAY));
    store.commit(spent("a.example", 100_000, NOON - HOUR));
    let now = NOON + 6 * HOUR;
    let window = rolling(2 * 1_440);
    let mut engine = Engine::new(rules(vec![window]), AllTold::new(), ZONE, now);
    report(&mut engine, &store, now);
    // The end of the day before yesterday is less than two days ago.
    let expect = |engine: &Engine, used| expect_used(engine, &[("q", "a.example", used)]);
    expect(&engine, 111_110);
    let end_of_today = NOON + 12 * HOUR;
    for (days, used) in [(0, 111_100), (1, 101_000), (2, 0)] {
        engine.tick(end_of_today + days * DAY - 1_200);
        let before = used_of(&engine);
        // Windows of two days slide by ten minutes.
        engine.tick(end_of_today + days * DAY + 600);
        expect(&engine, used);
        assert!(before > used, "{days}");
    }
    // A period that begins within a day leaves it out, and says how much that is.
    let noon = Quota {
        period: minutes(1_440, "2026-11-25 15:00"),
        ..quota("q", vhost("a.example"))
    };
    let mut engine = Engine::new(rules(vec![noon]), AllTold::new(), ZONE, NOON);
    store.commit(spent("a.example", 7, NOON - 20 * HOUR));
    report(&mut engine, &store, NOON);
    let standing = &engine.standings()[0];
    assert_eq!((standing.used, standing.uncounted), (101_007, 100));
}

fn used_of(engine: &Engine) -> u64 {
    used(engine)[0].2
}

#[test]
fn told_of_an_earlier_life_is_not_told_again() {
    let warned = Quota {
        warn: vec![80],
        ..quota("q", vhost("*"))
    };
    let (mut engine, mut store) = knowing(vec![warned.clone()]);
    store.commit(spent("a.example", 1_000, NOON));
    report(&mut engine, &store, NOON);
    let had = all_told(&mut engine);
    assert_eq!(had.len(), 2);
    report(&mut engine, &store, NOON + 10);
    assert_eq!(told(&mut engine), []);
    let mut engine = Engine::new(rules(vec![warned]), had, ZONE, NOON);
    // What is known is only a part: nothing is over.
    engine.spend(vec![spent("a.example", 1, NOON)], NOON);
    assert_eq!(told(&mut engine), []);
    report(&mut engine, &store, NOON);
    assert!(is_closed(&engine, "a.example"));
    assert_eq!(told(&mut engine), []);
    // The next day it is told that it is over, and then again.
    engine.tick(NOON + DAY);
    engine.spend(vec![spent("a.example", 900, NOON + DAY)], NOON + DAY);
    let told: Vec<_> = told(&mut engine)
        .into_iter()
        .map(|told| (told.1, told.2))
        .collect();
    use Verdict::{Exceeded, Warned, Within};
    assert_eq!(told, [(Exceeded(100), Within), (Within, Warned(80))]);
}
