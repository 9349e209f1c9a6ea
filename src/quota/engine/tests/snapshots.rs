//! The store's rows and our own lines: each counts once, and nothing opens before all is known.

use super::*;

#[test]
fn nothing_is_complete_before_the_first_full_snapshot() {
    let mut store = Store::default();
    store.commit(spent("a.example", 900, NOON - HOUR));
    let quotas = vec![quota("q", vhost("*"))];
    let mut engine = Engine::new(rules(quotas), AllTold::new(), ZONE, NOON);
    assert!(!engine.verdicts().complete);
    // What is known is enough to close.
    engine.spend(vec![spent("b.example", 1_000, NOON)], NOON);
    engine.spend(vec![spent("a.example", 100, NOON)], NOON);
    assert!(is_closed(&engine, "b.example") && !is_closed(&engine, "a.example"));
    // A part of the rows is no help.
    let needs = engine.needs(NOON).expect("needs");
    assert!(needs.full);
    let partial = Needs {
        full: false,
        ..needs.clone()
    };
    engine.snapshot(store.usage(&partial), NOON);
    assert!(!engine.verdicts().complete);
    let version = engine.version();
    engine.snapshot(store.usage(&needs), NOON);
    assert!(engine.verdicts().complete && engine.version() != version);
    assert!(is_closed(&engine, "a.example") && is_closed(&engine, "b.example"));
}

#[test]
fn without_quotas_everything_is_open() {
    let mut engine = Engine::new(rules(vec![]), AllTold::new(), ZONE, NOON);
    assert_eq!(engine.needs(NOON), None);
    assert_eq!(engine.next_tick(), None);
    assert!(engine.verdicts().complete);
}

#[test]
fn each_line_counts_once_however_it_gets_into_the_rows() {
    let mut month = quota("q", vhost("a.example"));
    month.period = Period::Month { day: 1 };
    let (mut engine, mut store) = knowing(vec![month]);
    let today = spent("a.example", 1, NOON);
    // Older than what snapshots tell day by day.
    let late = spent("a.example", 10, NOON - 5 * DAY);
    let next = spent("a.example", 100, NOON);
    engine.spend(vec![today.clone(), late.clone()], NOON);
    engine.taken(1);
    engine.spend(vec![next.clone()], NOON);
    report(&mut engine, &store, NOON + 10);
    expect_used(&engine, &[("q", "a.example", 111)]);
    engine.taken(2);
    store.flush(1, vec![today, late]);
    for at in [20, 30] {
        report(&mut engine, &store, NOON + at);
        expect_used(&engine, &[("q", "a.example", 111)]);
    }
    store.flush(2, vec![next]);
    // Another node's; its late line comes with the next full snapshot.
    store.commit(spent("a.example", 1_000, NOON));
    store.commit(spent("a.example", 10_000, NOON - 5 * DAY));
    report(&mut engine, &store, NOON + 40);
    expect_used(&engine, &[("q", "a.example", 1_111)]);
    report(&mut engine, &store, NOON + HOUR);
    expect_used(&engine, &[("q", "a.example", 11_111)]);
}

#[test]
fn a_snapshot_may_be_ahead_of_the_word_that_its_batch_was_taken() {
    let month = Quota {
        period: Period::Month { day: 1 },
        ..quota("q", vhost("a.example"))
    };
    let (mut engine, mut store) = knowing(vec![month]);
    // The first is in full snapshots alone, whether the one that has it is full or not.
    let lines = || {
        vec![
            spent("a.example", 5, NOON - 3 * DAY),
            spent("a.example", 7, NOON),
        ]
    };
    for (seq, at, used) in [
        (1, NOON + 10, 12),
        (2, NOON + HOUR, 24),
        (3, NOON + HOUR + 10, 36),
    ] {
        engine.spend(lines(), at);
        store.flush(seq, lines());
        report(&mut engine, &store, at);
        engine.taken(seq);
        expect_used(&engine, &[("q", "a.example", used)]);
    }
}

#[test]
fn rows_that_were_not_asked_for_are_not_known() {
    let class = Quota {
        class: Some("campus".to_owned()),
        ..quota("class", vhost("a.example"))
    };
    let leech = Quota {
        period: Period::Endless,
        ..quota("leech", Who::Leech("*".to_owned()))
    };
    let hour = Quota {
        period: minutes(60, "2024-01-01 00:00"),
        ..quota("hour", vhost("a.example"))
    };
    for new in [class, quota("user", user("*", &[])), leech, hour] {
        let day = || quota("day", vhost("a.example"));
        let (mut engine, store) = knowing(vec![day()]);
        engine.set_rules(rules(vec![day(), new.clone()]), NOON);
        assert!(!engine.verdicts().complete, "{new:?}");
        report(&mut engine, &store, NOON);
        assert!(engine.verdicts().complete, "{new:?}");
        // Without it, what is there is more than enough.
        engine.set_rules(rules(vec![day()]), NOON);
        assert!(engine.verdicts().complete && !engine.needs(NOON).expect("needs").full);
    }
}

#[test]
fn an_older_snapshot_is_left_alone() {
    let (mut engine, mut store) = knowing(vec![quota("q", vhost("a.example"))]);
    let needs = engine.needs(NOON).expect("needs");
    let old = store.usage(&needs);
    let line = spent("a.example", 5, NOON);
    engine.spend(vec![line.clone()], NOON);
    engine.taken(1);
    store.flush(1, vec![line]);
    report(&mut engine, &store, NOON);
    engine.snapshot(old, NOON);
    expect_used(&engine, &[("q", "a.example", 5)]);
}

#[test]
fn rows_that_two_snapshots_have_count_once() {
    let hour = Quota {
        period: minutes(120, "2024-01-01 00:00"),
        ..quota("hour", vhost("a.example"))
    };
    let now = NOON + HOUR;
    let (mut engine, mut store) = knowing(vec![hour, quota("day", vhost("a.example"))]);
    store.commit(spent("a.example", 5, NOON));
    store.commit(spent("a.example", 30, NOON - DAY));
    // Asked for by what the full one of noon has, and read when there is another one.
    let needs = engine.needs(now - 1).expect("needs");
    assert!(!needs.full);
    report(&mut engine, &store, now);
    engine.snapshot(store.usage(&needs), now);
    expect_used(
        &engine,
        &[("day", "a.example", 5), ("hour", "a.example", 5)],
    );
}

#[test]
fn lines_that_are_read_again_open_nothing_meanwhile() {
    let (mut engine, mut store) = knowing(vec![quota("q", vhost("a.example"))]);
    let first = spent("a.example", 600, NOON);
    let second = spent("a.example", 500, NOON);
    engine.spend(vec![first.clone()], NOON);
    engine.taken(1);
    store.flush(1, vec![first]);
    engine.spend(vec![second.clone()], NOON);
    engine.taken(2);
    engine.spend(vec![spent("a.example", 7, NOON)], NOON);
    engine.start_over(1, NOON);
    expect_used(&engine, &[("q", "a.example", 600)]);
    assert!(is_closed(&engine, "a.example") && !engine.verdicts().complete);
    // Somebody else has counted the lines.
    store.commit(second);
    report(&mut engine, &store, NOON + 10);
    expect_used(&engine, &[("q", "a.example", 1_100)]);
    assert!(is_closed(&engine, "a.example") && engine.verdicts().complete);
    assert_eq!(told(&mut engine).len(), 1);
}

#[test]
fn an_answer_to_older_rules_is_not_all() {
    let month = |name: &str, day| Quota {
        period: Period::Month { day },
        ..quota(name, vhost("a.example"))
    };
    let mut store = Store::default();
    store.commit(spent("a.example", 1_000, NOON - 10 * DAY));
    let mut engine = Engine::new(rules(vec![month("one", 1)]), AllTold::new(), ZONE, NOON);
    let needs = engine.needs(NOON).expect("needs");
    engine.set_rules(rules(vec![month("one", 1), month("two", 10)]), NOON);
    engine.snapshot(store.usage(&needs), NOON);
    assert!(!engine.verdicts().complete);
    expect_used(
        &engine,
        &[("one", "a.example", 1_000), ("two", "a.example", 0)],
    );
    let needs = engine.needs(NOON).expect("needs");
    assert!(needs.full);
    engine.snapshot(store.usage(&needs), NOON);
    assert!(engine.verdicts().complete);
    expect_used(
        &engine,
        &[("one", "a.example", 1_000), ("two", "a.example", 1_000)],
    );
}

#[test]
fn what_is_asked_for() {
    let class = Quota {
        class: Some("campus".to_owned()),
        period: Period::Week,
        ..quota("class", vhost("*"))
    };
    let rolling = Quota {
        period: Period::Rolling {
            minutes: 30 * 1_440,
        },
        ..quota("rolling", user("*", &[]))
    };
    let hour = Quota {
        period: minutes(60, "2024-01-01 00:30"),
        ..quota("hour", vhost("*"))
    };
    let endless = Quota {
        period: Period::Endless,
        ..quota("endless", owner("*"))
    };
    let (mut engine, store) = knowing(vec![quota("day", vhost("*"))]);
    let needs = engine.needs(NOON + 10).expect("needs");
    let expected = Needs {
        recent_day: TODAY - 1,
        recent_minute: NOON / 60 - 10,
        ..Needs::default()
    };
    assert_eq!(needs, expected, "the rows since the full snapshot at noon");
    engine.set_rules(rules(vec![class, rolling, hour, endless]), NOON);
    let needs = engine.needs(NOON).expect("needs");
    let window = NOON / 60 - 30 * 1_440;
    let first_day = TODAY - 30;
    let need = |from, step| MinuteNeed { from, step };
    let year_1000 = NaiveDate::from_ymd_opt(1_000, 1, 1).expect("a date");
    let expected = Needs {
        full: true,
        recent_day: TODAY - 1,
        sums_from: [TODAY - 3, crate::account::day::number(year_1000)].into(),
        days_from: Some(first_day),
        recent_minute: NOON / 60 - 10,
        by_minute: true,
        minutes: [
            need(i64::from(first_day) * 1_440, 150),
            need(NOON / 60 - 30, u32::MAX),
            need(i64::from(TODAY) * 1_440, u32::MAX),
        ]
        .into(),
        users: true,
        classes: true,
        leech: false,
    };
    assert_eq!(needs, expected);
    assert_eq!(window / 1_440, i64::from(first_day));
    assert_eq!(engine.oldest_minute(), Some(i64::from(first_day) * 1_440));
    engine.snapshot(store.usage(&needs), NOON);
    let is_full = |engine: &mut Engine, at| engine.needs(at).expect("needs").full;
    assert!(!is_full(&mut engine, NOON + HOUR - 1));
    assert!(is_full(&mut engine, NOON + HOUR));
    assert!(is_full(&mut engine, NOON - 1), "the clock was set back");
    let before_midnight = NOON + 12 * HOUR - 60;
    engine.tick(before_midnight);
    report(&mut engine, &store, before_midnight);
    assert!(!is_full(&mut engine, before_midnight + 59));
    assert!(is_full(&mut engine, before_midnight + 60), "a new day");
}

#[test]
fn hostile_counts_stop_at_the_end() {
    let rolling = Quota {
        period: Period::Rolling { minutes: 60 },
        ..quota("rolling", vhost("a.example"))
    };
    let huge = Quota {
        limit: i64::MAX.unsigned_abs(),
        warn: vec![1, 10_000],
        exceeded: vec![rung(u32::MAX, DENY)],
        ..quota("huge", vhost("a.example"))
    };
    let (mut engine, mut store) = knowing(vec![huge, quota("small", vhost("a.example")), rolling]);
    let mut line = spent("a.example", u64::MAX, NOON);
    line.amount.bytes_in = u64::MAX;
    line.amount.requests = u64::MAX;
    for seq in 1..4 {
        engine.spend(vec![line.clone(), line.clone()], NOON);
        engine.taken(seq);
    }
    let most = u64::MAX;
    let expected = [
        ("huge", "a.example", most),
        ("rolling", "a.example", most),
        ("small", "a.example", most),
    ];
    expect_used(&engine, &expected);
    assert!(
        engine
            .standings()
            .iter()
            .all(|standing| standing.percent() >= 200)
    );
    store.flush(3, vec![line.clone(), line.clone()]);
    report(&mut engine, &store, NOON + 60);
    expect_used(&engine, &expected);
    engine.tick(NOON + 2 * HOUR);
    assert_eq!(used(&engine)[1].2, 0);
    for at in [i64::MAX, i64::MIN, 0] {
        engine.tick(at);
        let _ = (engine.needs(at), engine.next_tick(), engine.standings());
    }
    let wild = Spent {
        day: DayNumber::MAX,
        minute: i64::MAX,
        ..line
    };
    engine.spend(vec![wild.clone()], NOON);
    engine.spend(
        vec![Spent {
            day: DayNumber::MIN,
            minute: i64::MIN,
            ..wild
        }],
        NOON,
    );
}
