//! Which quotas apply to what, and what then follows.

use super::*;

#[test]
fn the_closest_name_takes_an_account_out_of_the_others() {
    let (mut engine, _) = knowing(vec![
        quota("all", vhost("*")),
        quota("free", vhost("*.free.example")),
        quota("eu", vhost("*.eu.free.example")),
        quota("own", vhost("a.eu.free.example")),
        quota("own too", vhost("a.eu.free.example")),
    ]);
    let names = [
        "a.eu.free.example",
        "b.eu.free.example",
        "c.free.example",
        "free.example",
        "notfree.example",
        "_none",
        "_other",
        "_invalid",
        "_overflow",
    ];
    let lines = names.map(|name| spent(name, 7, NOON)).to_vec();
    engine.spend(lines, NOON);
    expect_used(
        &engine,
        &[
            ("all", "free.example", 7),
            ("all", "notfree.example", 7),
            ("eu", "b.eu.free.example", 7),
            ("free", "c.free.example", 7),
            ("own", "a.eu.free.example", 7),
            ("own too", "a.eu.free.example", 7),
        ],
    );
}

#[test]
fn sites_owners_classes_and_users_have_quotas_of_their_own() {
    let class = |quota| Quota {
        class: Some("campus".to_owned()),
        ..quota
    };
    let (mut engine, mut store) = knowing(vec![
        quota("site", vhost("x.example")),
        class(quota("site class", vhost("x.example"))),
        quota("owner", owner("*")),
        class(quota("owner class", owner("dembol"))),
        quota("alice", user("alice", &["x.example", "z.example"])),
        quota("users", user("*", &[])),
    ]);
    let lines = vec![
        spent("x.example", 1, NOON),
        by("alice", spent("x.example", 10, NOON)),
        by("alice", spent("y.example", 100, NOON)),
        by("bob", of_class("campus", spent("x.example", 1_000, NOON))),
        of_class("campus", spent("y.example", 10_000, NOON)),
        by(
            "_overflow",
            of_class("world", spent("z.example", 100_000, NOON)),
        ),
    ];
    engine.spend(lines.clone(), NOON);
    let expected = [
        ("alice", "alice", 10),
        ("owner", "dembol", 11_111),
        ("owner class", "dembol/campus", 11_000),
        ("site", "x.example", 1_011),
        ("site class", "x.example/campus", 1_000),
        ("users", "bob", 1_000),
    ];
    expect_used(&engine, &expected);
    let verdicts = engine.verdicts();
    let closed: Vec<_> = verdicts
        .iter()
        .map(|(subject, _)| subject.clone())
        .collect();
    let class = |vhost: &str| Subject::Class {
        vhost: vhost.to_owned(),
        class: "campus".to_owned(),
    };
    let expected_closed = [
        Subject::Vhost("x.example".to_owned()),
        Subject::Vhost("y.example".to_owned()),
        class("x.example"),
        class("y.example"),
        Subject::User {
            user: "bob".to_owned(),
            vhost: None,
        },
    ];
    assert_eq!(closed, expected_closed);
    // Rows come to the same.
    engine.taken(1);
    store.flush(1, lines);
    report(&mut engine, &store, NOON + 10);
    expect_used(&engine, &expected);
    engine.spend(vec![by("alice", spent("z.example", 990, NOON))], NOON + 11);
    for site in ["x.example", "z.example"] {
        let subject = Subject::User {
            user: "alice".to_owned(),
            vhost: Some(site.to_owned()),
        };
        assert_eq!(gate(&engine, &subject), Some(DENY), "{site}");
    }
}

#[test]
fn measures() {
    let of = |name: &str, measure| Quota {
        measure,
        ..quota(name, vhost("a.example"))
    };
    let (mut engine, _) = knowing(vec![
        of("both", Measure::Both),
        of("in", Measure::In),
        of("out", Measure::Out),
        of("requests", Measure::Requests),
    ]);
    let amount = Amount {
        bytes_in: 3,
        bytes_out: 50,
        requests: 2,
    };
    let line = spent("a.example", 0, NOON);
    engine.spend(vec![Spent { amount, ..line }], NOON);
    let numbers: Vec<_> = used(&engine).into_iter().map(|(_, _, used)| used).collect();
    assert_eq!(numbers, [53, 3, 50, 2]);
}

#[test]
fn the_spend_that_crosses_closes_and_tells_all_thresholds_at_once() {
    let ladder = Quota {
        warn: vec![80, 95],
        exceeded: vec![
            rung(
                100,
                Consequence::Slow {
                    bytes_per_second: 9,
                },
            ),
            rung(150, DENY),
        ],
        ..quota("ladder", vhost("a.example"))
    };
    let (mut engine, _) = knowing(vec![ladder]);
    let mut spend = |bytes| {
        let version = engine.version();
        engine.spend(vec![spent("a.example", bytes, NOON)], NOON);
        let closed = gate(&engine, &Subject::Vhost("a.example".to_owned()));
        let told = told(&mut engine);
        (closed, told, engine.version() != version)
    };
    let of = |from, to, reached: &[u32]| {
        vec![(
            "a.example".to_owned(),
            from,
            to,
            reached.to_vec(),
            Vec::new(),
        )]
    };
    use Verdict::{Exceeded, Warned, Within};
    let slow = || {
        Some(Consequence::Slow {
            bytes_per_second: 9,
        })
    };
    assert_eq!(spend(799), (None, vec![], false));
    assert_eq!(spend(1), (None, of(Within, Warned(80), &[80]), false));
    assert_eq!(spend(199), (None, of(Warned(80), Warned(95), &[95]), false));
    assert_eq!(
        spend(1),
        (slow(), of(Warned(95), Exceeded(100), &[100]), true)
    );
    assert_eq!(spend(499), (slow(), vec![], false));
    assert_eq!(
        spend(1),
        (Some(DENY), of(Exceeded(100), Exceeded(150), &[150]), true)
    );

    let (mut engine, _) = knowing(vec![Quota {
        warn: vec![80, 120],
        ..quota("q", vhost("a.example"))
    }]);
    engine.spend(vec![spent("a.example", 1_100, NOON)], NOON);
    assert_eq!(told(&mut engine), of(Within, Exceeded(100), &[80, 100]));
    engine.spend(vec![spent("a.example", 100, NOON)], NOON);
    assert_eq!(told(&mut engine), of(Exceeded(100), Exceeded(100), &[120]));
}

#[test]
fn the_worst_of_several_closes() {
    let with = |name: &str, limit, consequence| Quota {
        limit,
        exceeded: vec![rung(100, consequence)],
        ..quota(name, vhost("x.example"))
    };
    let slow = |bytes_per_second| Consequence::Slow { bytes_per_second };
    let to = |url: &str| Consequence::Redirect {
        url: url.to_owned(),
    };
    let mut owner = quota("owner", owner("dembol"));
    owner.exceeded = vec![rung(200, DENY)];
    let (mut engine, _) = knowing(vec![
        with("b", 100, slow(50)),
        with("a", 200, slow(50)),
        with("c", 300, slow(9)),
        with("e", 400, to("https://e.example/")),
        with("d", 500, to("https://d.example/")),
        owner,
    ]);
    let closed_by = |engine: &mut Engine, bytes| {
        engine.spend(vec![spent("x.example", bytes, NOON)], NOON);
        let closed = engine.verdicts().closed;
        let closed = closed.get(&Subject::Vhost("x.example".to_owned()));
        closed.map(|closed| closed.quota.clone())
    };
    for (bytes, quota) in [
        (100, "b"),
        (100, "a"),
        (100, "c"),
        (100, "e"),
        (100, "d"),
        (1_500, "owner"),
    ] {
        assert_eq!(closed_by(&mut engine, bytes).as_deref(), Some(quota));
    }
    let closed = engine.verdicts().closed;
    assert_eq!(closed.len(), 2, "both sites of the owner: {closed:?}");
    assert!(
        closed
            .values()
            .all(|closed| closed.until == Some(NOON + 12 * HOUR))
    );
}

#[test]
fn report_only_tells_and_closes_nothing() {
    let (mut engine, _) = knowing(vec![Quota {
        report_only: true,
        ..quota("q", vhost("a.example"))
    }]);
    engine.spend(vec![spent("a.example", 1_000, NOON)], NOON);
    assert!(!is_closed(&engine, "a.example"));
    let changes = engine.take_changes();
    assert_eq!(changes[0].to, Verdict::Exceeded(100));
    assert_eq!(changes[0].consequence, None);
    assert_eq!(engine.standings()[0].verdict, Verdict::Exceeded(100));
}

#[test]
fn a_limit_of_nothing_is_exceeded_at_once() {
    let (engine, _) = knowing(vec![Quota {
        limit: 0,
        ..quota("q", vhost("a.example"))
    }]);
    assert!(is_closed(&engine, "a.example"));
    assert_eq!(engine.standings()[0].percent(), 100);
}

#[test]
fn rows_of_mod_leechs_table_are_meters() {
    let mut store = Store::default();
    for (user, row) in [
        ("full", (900, Some(1_000))),
        ("free", (5_000, None)),
        ("new", (0, Some(50))),
    ] {
        store.leech.insert(user.to_owned(), row);
    }
    let quotas = vec![Quota {
        period: Period::Endless,
        limit: 0,
        ..quota("users", Who::Leech("*".to_owned()))
    }];
    let mut engine = Engine::new(rules(quotas), AllTold::new(), ZONE, NOON);
    // Before its row is known.
    let early = by("full", spent("a.example", 60, NOON));
    engine.spend(vec![early.clone()], NOON);
    report(&mut engine, &store, NOON);
    expect_used(&engine, &[("users", "full", 960), ("users", "new", 0)]);
    let lines = vec![
        by("full", spent("b.example", 40, NOON)),
        by("nobody", spent("b.example", 40, NOON)),
        spent("b.example", 40, NOON),
    ];
    engine.spend(lines.clone(), NOON);
    let subject = Subject::User {
        user: "full".to_owned(),
        vhost: None,
    };
    assert_eq!(gate(&engine, &subject), Some(DENY));
    engine.taken(1);
    store.flush(1, [vec![early], lines].concat());
    report(&mut engine, &store, NOON + 10);
    expect_used(&engine, &[("users", "full", 1_000), ("users", "new", 0)]);
    // Somebody sets it to nothing, as each month; and takes the limit of the other away.
    engine.take_changes();
    store.leech.insert("new".to_owned(), (0, None));
    store.lines.clear();
    store.leech.insert("full".to_owned(), (0, Some(1_000)));
    report(&mut engine, &store, NOON + 20);
    assert_eq!(gate(&engine, &subject), None);
    expect_used(&engine, &[("users", "full", 0)]);
    let told = told(&mut engine);
    assert_eq!((told[0].2, told[0].4.clone()), (Verdict::Within, vec![100]));
}

#[test]
fn other_rules_keep_what_stays() {
    let day = |name: &str, limit| Quota {
        limit,
        ..quota(name, vhost("*"))
    };
    let (mut engine, mut store) = knowing(vec![day("kept", 1_000), day("gone", 10)]);
    let line = spent("a.example", 1_200, NOON);
    engine.spend(vec![line.clone()], NOON);
    engine.take_changes();
    engine.set_rules(rules(vec![day("new", 5_000), day("kept", 1_000)]), NOON);
    assert!(is_closed(&engine, "a.example"));
    assert!(
        engine.verdicts().complete,
        "a day is in the rows that are there"
    );
    assert_eq!(told(&mut engine), []);
    expect_used(
        &engine,
        &[("kept", "a.example", 1_200), ("new", "a.example", 1_200)],
    );
    // A month is not: what is closed stays closed, even if it would be open now.
    let month = Quota {
        period: Period::Month { day: 1 },
        ..day("kept", 2_000)
    };
    engine.taken(1);
    store.flush(1, vec![line]);
    engine.set_rules(rules(vec![month, day("new", 1_100)]), NOON);
    assert!(!engine.verdicts().complete);
    let closed = engine.verdicts().closed;
    let closed = &closed[&Subject::Vhost("a.example".to_owned())];
    assert_eq!(
        closed.quota, "kept",
        "both close, the first by name is told of"
    );
    let needs = engine.needs(NOON + 1).expect("needs");
    assert!(needs.full && needs.sums_from.contains(&(TODAY - 25)));
    report(&mut engine, &store, NOON + 1);
    let closed = engine.verdicts();
    assert!(closed.complete);
    assert_eq!(
        closed.closed[&Subject::Vhost("a.example".to_owned())].quota,
        "new"
    );
}

#[test]
fn what_was_told_is_not_told_again_under_other_rules() {
    let of = |warn: &[u32]| Quota {
        warn: warn.to_vec(),
        ..quota("q", vhost("*"))
    };
    let (mut engine, store) = knowing(vec![of(&[80])]);
    engine.spend(vec![spent("a.example", 1_000, NOON)], NOON);
    engine.take_changes();
    let more = crate::usage::said::Grant {
        quota: "q".to_owned(),
        account: Account::Vhost("a.example".to_owned()),
        kind: crate::usage::said::GrantKind::More(1_000),
        at: NOON,
        until: None,
    };
    let overrides = Overrides {
        grants: vec![more],
        exempt: Vec::new(),
    };
    engine.set_overrides(overrides, NOON);
    assert_eq!(told(&mut engine).len(), 1);
    engine.set_rules(rules(vec![of(&[60, 80])]), NOON);
    report(&mut engine, &store, NOON);
    assert_eq!(told(&mut engine), []);
    engine.spend(vec![spent("a.example", 600, NOON)], NOON);
    let expected = (Verdict::Within, Verdict::Warned(80), vec![60]);
    let told: Vec<_> = told(&mut engine)
        .into_iter()
        .map(|told| (told.1, told.2, told.3))
        .collect();
    assert_eq!(told, [expected]);
}

#[test]
fn too_many_accounts_are_counted_and_named_ones_weighed() {
    let (mut engine, _) = knowing(vec![
        quota("all", vhost("*")),
        quota("own", vhost("own.example")),
    ]);
    engine.max_meters = 3;
    for number in 0..10 {
        engine.spend(vec![spent(&format!("s{number}.example"), 1, NOON)], NOON);
    }
    engine.spend(vec![spent("own.example", 1_000, NOON)], NOON);
    assert_eq!((engine.meters.len(), engine.unmetered()), (3, 8));
    assert!(is_closed(&engine, "own.example"));
}

#[test]
fn meters_of_which_nothing_is_left_make_room() {
    let (mut engine, store) = knowing(vec![quota("all", vhost("*"))]);
    engine.max_meters = 8;
    let lines = (0..8).map(|number| spent(&format!("s{number}.example"), number + 995, NOON));
    engine.spend(lines.collect(), NOON);
    let tomorrow = NOON + DAY;
    engine.spend(vec![spent("s7.example", 1_000, tomorrow)], tomorrow);
    report(&mut engine, &store, tomorrow);
    engine.take_changes();
    // Those that were told of are within by now, and that has been told, too.
    assert_eq!(engine.meters.len(), 1);
    assert!(is_closed(&engine, "s7.example"));
    engine.spend(vec![spent("s1.example", 1_000, tomorrow)], tomorrow);
    assert_eq!(engine.verdicts().closed.len(), 2);
}
