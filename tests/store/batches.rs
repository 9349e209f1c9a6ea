//! Batches, and what of them comes back.

use super::*;

pub(crate) fn a_batch_is_added_and_its_position_comes_back(bench: &Bench) {
    let mut store = bench.open();
    let mut writer = register(&mut store, "n", Role::Daemon);
    let first = print(store.seed(), b"a line\n");
    let new = checkpoint(Moves::New { epoch: 0 }, first);
    let flushed = store
        .flush(&mut writer, "n", &batch("a", 5, new), NOW)
        .expect("a flush");
    let id = flushed.positions[0];

    let stored = store.living("n").expect("positions");
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0].print, first);
    assert_eq!(
        stored[0].place,
        Some(Place {
            device: 1,
            inode: u64::MAX,
            birth: Some(-5)
        })
    );
    assert_eq!(stored[0].last_day, Some(day(21)));

    let second = print(store.seed(), b"a line\nanother\n");
    let on = checkpoint(Moves::Stored { id, from: 7 }, second);
    store
        .flush(&mut writer, "n", &batch("a", 7, on), NOW)
        .expect("a flush");
    assert_eq!(
        rows(&mut store, UsageTable::Vhosts),
        [("a".to_owned(), 2, 12, 2)]
    );
    assert_eq!(
        rows(&mut store, UsageTable::Users),
        [("a".to_owned(), 2, 12, 2)]
    );
    let balance = store.balance(day(1), day(30)).expect("a balance");
    assert_eq!(
        balance[&("n".to_owned(), "s".to_owned(), day(21))]
            .counted
            .lines,
        2
    );
}

pub(crate) fn a_new_daemon_takes_the_place_of_the_old(bench: &Bench) {
    let (mut old, mut new) = (bench.open(), bench.open());
    let mut old_writer = register(&mut old, "n", Role::Daemon);
    let mut elsewhere = register(&mut new, "m", Role::Daemon);
    let mut new_writer = register(&mut new, "n", Role::Daemon);
    let empty = Batch {
        gaps: vec![],
        ..Batch::default()
    };
    let error = old
        .flush(&mut old_writer, "n", &empty, NOW)
        .expect_err("replaced");
    assert!(matches!(error, FlushError::Replaced), "{error}");
    new.flush(&mut new_writer, "n", &empty, NOW)
        .expect("the new one");
    new.flush(&mut elsewhere, "m", &empty, NOW)
        .expect("another node's");
}

pub(crate) fn one_row_that_cannot_take_more_does_not_stop_the_others(bench: &Bench) {
    let mut store = bench.open();
    let mut writer = register(&mut store, "n", Role::Import);
    let seed = store.seed();
    let full = i64::MAX.unsigned_abs();
    let new = checkpoint(Moves::New { epoch: 0 }, print(seed, b"1\n"));
    let id = store
        .flush(&mut writer, "n", &batch("full", full, new), NOW)
        .expect("a flush")
        .positions[0];
    let mut both = batch(
        "full",
        5,
        checkpoint(Moves::Stored { id, from: 2 }, print(seed, b"1\n2\n")),
    );
    both.deltas.vhosts.push(delta("z", "", 9));
    let flushed = store.flush(&mut writer, "n", &both, NOW).expect("a flush");
    assert_eq!(flushed.refused.len(), 2, "{:?}", flushed.refused);
    let totals: BTreeMap<String, u64> = rows(&mut store, UsageTable::Vhosts)
        .into_iter()
        .map(|row| (row.0, row.2))
        .collect();
    assert_eq!(totals["_invalid"], 5);
    assert_eq!(totals["full"], full);
    assert_eq!(totals["z"], 9);
}

pub(crate) fn what_a_layer_logged_has_rows_of_its_own(bench: &Bench) {
    let mut store = bench.open();
    let mut writer = register(&mut store, "n", Role::Import);
    let seed = store.seed();
    let full = i64::MAX.unsigned_abs();
    let layers = |deltas: &[(&str, &str, u64)]| -> Vec<Delta> {
        let deltas = deltas.iter();
        deltas
            .map(|(vhost, layer, out)| delta(vhost, layer, *out))
            .collect()
    };
    let mut first = batch(
        "a",
        1,
        checkpoint(Moves::New { epoch: 0 }, print(seed, b"1\n")),
    );
    first.deltas.layers = layers(&[
        ("a", "backend", 10),
        ("a", "php", 100),
        ("full", "backend", full),
        ("only-inside", "backend", 7),
    ]);
    assert_eq!(first.rows(), 6);
    let id = store
        .flush(&mut writer, "n", &first, NOW)
        .expect("a flush")
        .positions[0];

    // Somebody else has moved the position: nothing of it gets in.
    let mut late = batch(
        "a",
        1,
        checkpoint(Moves::Stored { id, from: 9 }, print(seed, b"1\n2\n")),
    );
    late.deltas.layers = layers(&[("a", "backend", 1_000)]);
    let error = store.flush(&mut writer, "n", &late, NOW);
    assert!(matches!(error, Err(FlushError::Overtaken(_))), "{error:?}");

    // A row that cannot take more is in nobody's way, and stays in its layer.
    let mut more = batch(
        "a",
        2,
        checkpoint(Moves::Stored { id, from: 2 }, print(seed, b"1\n2\n")),
    );
    more.deltas.layers = layers(&[
        ("a", "backend", 20),
        ("full", "backend", 5),
        ("z", "php", 3),
    ]);
    let flushed = store.flush(&mut writer, "n", &more, NOW).expect("a flush");
    let [refused] = flushed.refused.as_slice() else {
        panic!("{:?}", flushed.refused);
    };
    assert!(
        refused.starts_with("bandwidth_layer: full backend 2026-11-21:"),
        "{refused}"
    );
    let found = |store: &mut Box<dyn Store>, query: &UsageQuery| {
        let mut rows = store.rows(UsageTable::Layers, query).expect("rows");
        rows.retain(|row| query.wants(row));
        let mut rows: Vec<_> = rows
            .into_iter()
            .map(|row| {
                assert_eq!((row.user, row.class, row.day), (None, None, day(21)));
                let layer = row.layer.expect("a layer");
                (row.vhost, layer, row.bytes_out, row.requests)
            })
            .collect();
        rows.sort();
        rows
    };
    let row = |vhost: &str, layer: &str, out, requests| {
        (vhost.to_owned(), layer.to_owned(), out, requests)
    };
    assert_eq!(
        found(&mut store, &UsageQuery::default()),
        [
            row("_invalid", "backend", 5, 1),
            row("a", "backend", 30, 2),
            row("a", "php", 100, 1),
            row("full", "backend", full, 1),
            row("only-inside", "backend", 7, 1),
            row("z", "php", 3, 1),
        ]
    );
    let of_one = UsageQuery {
        vhosts: vec!["a".to_owned()],
        layer: Some("php".to_owned()),
        ..UsageQuery::default()
    };
    assert_eq!(found(&mut store, &of_one), [row("a", "php", 100, 1)]);
    assert_eq!(
        rows(&mut store, UsageTable::Vhosts),
        [("a".to_owned(), 2, 3, 2)]
    );
    assert_eq!(
        rows(&mut store, UsageTable::Users),
        [("a".to_owned(), 2, 3, 2)]
    );
    assert_eq!(rows(&mut store, UsageTable::Classes), []);

    // What only a layer has seen is not known to the edge.
    let mut known = store.known_names(day(1)).expect("names");
    assert_eq!(known.vhosts, ["a"]);
    known.layers.sort();
    let pair = |layer: &str, vhost: &str| (layer.to_owned(), vhost.to_owned());
    assert_eq!(
        known.layers,
        [
            pair("backend", "_invalid"),
            pair("backend", "a"),
            pair("backend", "full"),
            pair("backend", "only-inside"),
            pair("php", "a"),
            pair("php", "z"),
        ]
    );
}

pub(crate) fn ranges_of_unparsed_bytes_are_bounded_and_read_again_once(bench: &Bench) {
    let mut store = bench.open();
    let mut writer = register(&mut store, "n", Role::Import);
    let seed = store.seed();
    let mut first = checkpoint(Moves::New { epoch: 0 }, print(seed, b"1\n"));
    first.unparsed = (0..MAX_UNPARSED_RANGES + 5).map(range).collect();
    let flush = batch("a", 1, first);
    let id = store
        .flush(&mut writer, "n", &flush, NOW)
        .expect("a flush")
        .positions[0];
    let kept = store.unparsed(id).expect("ranges");
    assert_eq!(kept.len() as u64, MAX_UNPARSED_RANGES);
    assert_eq!(kept[0].range, range(0));

    let mut reread = checkpoint(Moves::Stored { id, from: 2 }, print(seed, b"1\n"));
    reread.reread = vec![range(0), range(1)];
    let flush = batch("a", 1, reread);
    store.flush(&mut writer, "n", &flush, NOW).expect("a flush");
    assert_eq!(
        store.unparsed(id).expect("ranges").len() as u64,
        MAX_UNPARSED_RANGES - 2
    );
    let error = store
        .flush(&mut writer, "n", &flush, NOW)
        .expect_err("they are gone");
    assert!(matches!(error, FlushError::Overtaken(_)), "{error}");
}

pub(crate) fn a_store_keeps_its_zone(bench: &Bench) {
    drop(bench.open());
    let other = bench.open_with(Some(Tz::Europe__Warsaw));
    let error = other.err().expect("another zone").to_string();
    assert!(
        error.contains("keeps the days of UTC, not of Europe/Warsaw"),
        "{error}"
    );
    let same = bench.open_with(None).expect("the store's own");
    assert_eq!(same.zone(), Tz::UTC);
    assert_eq!(same.seed(), bench.open().seed());
}

pub(crate) fn what_a_batch_says_beside_its_rows_comes_back(bench: &Bench) {
    let mut store = bench.open();
    let mut writer = register(&mut store, "n", Role::Daemon);
    let seed = store.seed();
    assert_eq!(store.searched("n").expect("a time"), None);
    let mut first = batch(
        "a",
        1,
        checkpoint(Moves::New { epoch: 0 }, print(seed, b"1\n")),
    );
    first.searched = Some(NOW - 5);
    let gap = |to| Gap {
        source: "s".to_owned(),
        path: "/log of a customer".to_owned(),
        from: 3,
        to,
        reason: "deleted".to_owned(),
    };
    first.gaps = vec![gap(Some(9)), gap(None)];
    let new_names = &mut first.deltas.new_names;
    new_names.insert((day(21), String::new()), 1);
    new_names.insert((day(20), String::new()), 7);
    new_names.insert((day(21), "a".to_owned()), 2);
    store.flush(&mut writer, "n", &first, NOW).expect("a flush");
    let mut second = Batch {
        searched: Some(NOW),
        ..Batch::default()
    };
    let counted = Count { lines: 1, bytes: 4 };
    let taken = Balance {
        counted,
        ..Balance::default()
    };
    let key = ("n".to_owned(), "s".to_owned(), day(21));
    second.corrections.insert(key.clone(), taken);
    let new_names = &mut second.deltas.new_names;
    new_names.insert((day(21), "a".to_owned()), 3);
    store
        .flush(&mut writer, "n", &second, NOW)
        .expect("a flush");

    assert_eq!(store.searched("n").expect("a time"), Some(NOW));
    let balance = store.balance(day(1), day(30)).expect("a balance");
    let left = Count { lines: 0, bytes: 6 };
    assert_eq!(balance[&key].counted, left);
    let names = store.known_names(day(21)).expect("names");
    assert_eq!(names.vhosts, ["a"]);
    assert_eq!(names.users, [("a".to_owned(), "alice".to_owned())]);
    let grown: Vec<_> = names.new_names.into_iter().collect();
    assert_eq!(
        grown,
        [
            ((day(21), String::new()), 1),
            ((day(21), "a".to_owned()), 5)
        ]
    );
}

pub(crate) fn names_are_told_apart_by_their_bytes(bench: &Bench) {
    let mut store = bench.open();
    let mut writer = register(&mut store, "n", Role::Import);
    let users = [
        "Alice",
        "alice",
        "alice\\x20",
        "ali\u{301}ce",
        "alíce",
        "ALICE",
        "ß",
        "ss",
        "𝄞",
        "𝄟",
    ];
    let sites = [
        "example.org",
        "xn--strae-oqa.example",
        "strasse.example",
        "_none",
    ];
    let mut names = Batch::default();
    for (number, user) in users.iter().enumerate() {
        for site in sites {
            names.deltas.users.push(delta(site, user, 1 << number));
        }
    }
    for _ in 0..2 {
        store.flush(&mut writer, "n", &names, NOW).expect("a flush");
    }
    let rows = store
        .rows(UsageTable::Users, &UsageQuery::default())
        .expect("rows");
    assert_eq!(rows.len(), users.len() * sites.len());
    for (number, user) in users.iter().enumerate() {
        let of_user = rows.iter().filter(|row| row.user.as_deref() == Some(user));
        assert!(of_user.clone().all(|row| row.bytes_out == 2 << number));
        assert_eq!(of_user.count(), sites.len(), "{user}");
    }
    let one = UsageQuery {
        vhosts: vec!["_none".to_owned()],
        ..UsageQuery::default()
    };
    let of_one = store.rows(UsageTable::Users, &one).expect("rows");
    assert_eq!(of_one.len(), users.len());
}
