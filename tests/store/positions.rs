//! Positions: whose they are, how they are found, and what moves them.

use super::*;

pub(crate) fn a_position_that_somebody_moved_takes_the_whole_batch_back(bench: &Bench) {
    let mut store = bench.open();
    let mut writer = register(&mut store, "n", Role::Import);
    let seed = store.seed();
    let new = checkpoint(Moves::New { epoch: 0 }, print(seed, b"1\n"));
    let id = store
        .flush(&mut writer, "n", &batch("a", 1, new), NOW)
        .expect("a flush")
        .positions[0];

    let mut other = bench.open();
    let mut importer = register(&mut other, "n", Role::Import);
    let moved = checkpoint(Moves::Stored { id, from: 2 }, print(seed, b"1\n2\n"));
    other
        .flush(&mut importer, "n", &batch("b", 1, moved), NOW)
        .expect("a flush");

    let late = checkpoint(Moves::Stored { id, from: 2 }, print(seed, b"1\n2\n3\n"));
    let error = store
        .flush(&mut writer, "n", &batch("c", 1, late), NOW)
        .expect_err("too late");
    assert!(matches!(error, FlushError::Overtaken(_)), "{error}");
    let vhosts: Vec<String> = rows(&mut store, UsageTable::Vhosts)
        .into_iter()
        .map(|row| row.0)
        .collect();
    assert_eq!(vhosts, ["a", "b"]);
    // The writer's own row was rolled back with the rest: it can flush again.
    let again = checkpoint(Moves::Stored { id, from: 4 }, print(seed, b"1\n2\n3\n"));
    store
        .flush(&mut writer, "n", &batch("c", 1, again), NOW)
        .expect("a flush");
}

pub(crate) fn a_position_is_of_the_node_that_follows_it(bench: &Bench) {
    let mut store = bench.open();
    let mut importer = register(&mut store, "elsewhere", Role::Import);
    let mut daemon = register(&mut store, "n", Role::Daemon);
    let seed = store.seed();
    let read_once = |moves, source: &str, content: &[u8]| Checkpoint {
        follows: false,
        state: State::Finished,
        source: source.to_owned(),
        ..checkpoint(moves, print(seed, content))
    };
    let mut flush = |writer: &mut Writer, node: &str, checkpoint| {
        let flushed = store.flush(writer, node, &batch("a", 1, checkpoint), NOW);
        let id = flushed.expect("a flush").positions[0];
        let found = store.at_inode(u64::MAX).expect("positions");
        let found = found.into_iter().find(|stored| stored.id == id);
        let found = found.expect("the position");
        (id, found.node, found.source, found.state)
    };
    let new = read_once(Moves::New { epoch: 0 }, "import", b"1\n");
    let (id, node, source, _) = flush(&mut importer, "elsewhere", new);
    assert_eq!((node.as_str(), source.as_str()), ("elsewhere", "import"));

    let followed = checkpoint(Moves::Stored { id, from: 2 }, print(seed, b"1\n2\n"));
    let (_, node, source, state) = flush(&mut daemon, "n", followed);
    assert_eq!((node.as_str(), source.as_str()), ("n", "s"));
    assert_eq!(state, State::Living);

    let moved = Moves::Stored { id, from: 4 };
    let moved = Checkpoint {
        state: State::Living,
        ..read_once(moved, "import", b"1\n2\n3\n")
    };
    let (_, node, source, _) = flush(&mut importer, "elsewhere", moved);
    assert_eq!((node.as_str(), source.as_str()), ("n", "s"));
}

pub(crate) fn positions_of_files_that_are_gone_for_good_are_forgotten(bench: &Bench) {
    let mut store = bench.open();
    let mut writer = register(&mut store, "n", Role::Daemon);
    let seed = store.seed();
    let mut ids = Vec::new();
    for (content, state) in [
        ("1\n", State::Finished),
        ("2\n", State::Living),
        ("3\n", State::Finished),
    ] {
        let epoch = store.epoch("").expect("an epoch");
        let new = Checkpoint {
            state,
            ..checkpoint(Moves::New { epoch }, print(seed, content.as_bytes()))
        };
        let flushed = store.flush(&mut writer, "n", &batch("a", 1, new), NOW);
        ids.push(flushed.expect("a flush").positions[0]);
    }
    let forgotten = Batch {
        forgotten: ids[..2].to_vec(),
        ..Batch::default()
    };
    assert!(!forgotten.is_empty());
    let flushed = store.flush(&mut writer, "n", &forgotten, NOW);
    flushed.expect("a flush");
    let left = store.at_inode(u64::MAX).expect("positions");
    let mut left: Vec<i64> = left.iter().map(|stored| stored.id).collect();
    left.sort_unstable();
    // In a database they are drawn, and those of one second come in any order.
    ids[1..].sort_unstable();
    assert_eq!(left, ids[1..], "the living one stays");
}

pub(crate) fn two_that_meet_the_same_new_file_cannot_both_take_it_for_new(bench: &Bench) {
    let (mut one, mut two) = (bench.open(), bench.open());
    let mut writers = (
        register(&mut one, "n", Role::Import),
        register(&mut two, "n", Role::Import),
    );
    let (seed, epoch) = (one.seed(), one.epoch("").expect("an epoch"));
    assert_eq!(epoch, two.epoch("").expect("an epoch"));
    let new = || checkpoint(Moves::New { epoch }, print(seed, b"1\n"));
    one.flush(&mut writers.0, "n", &batch("a", 1, new()), NOW)
        .expect("a flush");
    let error = two
        .flush(&mut writers.1, "n", &batch("a", 1, new()), NOW)
        .expect_err("too late");
    assert!(matches!(error, FlushError::Overtaken(_)), "{error}");
    assert_eq!(rows(&mut one, UsageTable::Vhosts)[0].3, 1);
}

pub(crate) fn of_several_new_files_the_one_that_was_looked_up_first_decides(bench: &Bench) {
    let (mut one, mut two) = (bench.open(), bench.open());
    let mut writers = (
        register(&mut one, "n", Role::Daemon),
        register(&mut two, "n", Role::Import),
    );
    let seed = one.seed();
    let early = one.epoch("").expect("an epoch");
    let meanwhile = checkpoint(Moves::New { epoch: early }, print(seed, b"1\n"));
    two.flush(&mut writers.1, "n", &batch("a", 1, meanwhile), NOW)
        .expect("a flush");
    let late = one.epoch("").expect("an epoch");
    for epochs in [[early, late], [late, early]] {
        let mut both = batch(
            "a",
            1,
            checkpoint(Moves::New { epoch: epochs[0] }, print(seed, b"1\n")),
        );
        let other = checkpoint(Moves::New { epoch: epochs[1] }, print(seed, b"2\n"));
        both.checkpoints.push(other);
        let error = one
            .flush(&mut writers.0, "n", &both, NOW)
            .expect_err("one of them may have been counted meanwhile");
        assert!(matches!(error, FlushError::Overtaken(_)), "{error}");
    }
}

pub(crate) fn positions_are_found_by_head_and_by_inode(bench: &Bench) {
    let mut store = bench.open();
    let mut writer = register(&mut store, "n", Role::Import);
    let seed = store.seed();
    let long = vec![b'x'; 5_000];
    for (scope, content) in [
        ("", &b"short\n"[..]),
        ("", &long),
        ("other.example", b"short\n"),
    ] {
        let epoch = store.epoch(scope).expect("an epoch");
        let mut new = checkpoint(Moves::New { epoch }, print(seed, content));
        new.scope = scope.to_owned();
        store
            .flush(&mut writer, "n", &batch("a", 1, new), NOW)
            .expect("a flush");
    }
    let mut found = |scope: &str, content: &[u8]| {
        let mut hash_of = |length: u64| {
            let start = content.get(..length as usize);
            Ok(start.map(|start| tollkeeper::source::content::hash(seed, start)))
        };
        let found = store.by_head(scope, 0, &mut hash_of).expect("positions");
        found
            .iter()
            .map(|stored| stored.print.offset)
            .collect::<Vec<_>>()
    };
    assert_eq!(found("", b"short\nand more\n"), [6]);
    assert_eq!(found("", &long), [5_000]);
    assert_eq!(found("", &[b'x'; 1_023]), [0_u64; 0]);
    assert_eq!(found("other.example", b"short\n"), [6]);
    assert_eq!(found("unknown.example", b"short\n"), [0_u64; 0]);
    assert_eq!(store.at_inode(u64::MAX).expect("positions").len(), 3);
    assert_eq!(store.at_inode(1).expect("positions").len(), 0);
}

pub(crate) fn thousands_of_positions_are_moved_in_one_batch(bench: &Bench) {
    const FILES: u64 = 2_300;
    let mut store = bench.open();
    let mut writer = register(&mut store, "n", Role::Daemon);
    let seed = store.seed();
    let mut all = Batch::default();
    for file in 0..FILES {
        let mut new = checkpoint(Moves::New { epoch: 0 }, print(seed, b"1\n"));
        new.scope = format!("site-{}.example", file % 1_100);
        new.path = format!("/log/{file}");
        new.unparsed = vec![range(file)];
        all.checkpoints.push(new);
    }
    let flushed = store.flush(&mut writer, "n", &all, NOW).expect("a flush");
    let mut ids = flushed.positions;
    assert_eq!(ids.len() as u64, FILES);
    let stored = store.living("n").expect("positions");
    let mut paths: BTreeMap<i64, String> = BTreeMap::new();
    for stored in stored {
        paths.insert(stored.id, stored.path);
    }
    for (file, id) in ids.iter().enumerate() {
        assert_eq!(paths[id], format!("/log/{file}"));
        assert_eq!(store.unparsed(*id).expect("ranges").len(), 1);
        if file > 20 {
            break;
        }
    }
    assert_eq!(store.epoch("site-7.example").expect("an epoch"), 1);

    for (checkpoint, id) in all.checkpoints.iter_mut().zip(&ids) {
        checkpoint.moves = Moves::Stored { id: *id, from: 2 };
        checkpoint.print = print(seed, b"1\n2\n");
        checkpoint.unparsed.clear();
    }
    store.flush(&mut writer, "n", &all, NOW).expect("a flush");
    // One of them that somebody else moved takes all back.
    for checkpoint in &mut all.checkpoints {
        checkpoint.moves = Moves::Stored {
            id: ids.pop().expect("an id"),
            from: 4,
        };
        checkpoint.print = print(seed, b"1\n2\n3\n");
    }
    if let Moves::Stored { from, .. } = &mut all.checkpoints[1_234].moves {
        *from = 3;
    }
    let error = store
        .flush(&mut writer, "n", &all, NOW)
        .expect_err("one is elsewhere");
    assert!(matches!(error, FlushError::Overtaken(_)), "{error}");
    let stored = store.living("n").expect("positions");
    assert_eq!(stored.len() as u64, FILES);
    assert!(stored.iter().all(|stored| stored.print.offset == 4));
}

pub(crate) fn who_signs_off_is_forgotten_and_so_is_what_is_old(bench: &Bench) {
    const YEAR: i64 = 366 * 86_400;
    let mut store = bench.open();
    let mut writer = register(&mut store, "n", Role::Import);
    let seed = store.seed();
    let mut ids = Vec::new();
    for (state, content) in [(State::Finished, b"1\n"), (State::Living, b"2\n")] {
        let epoch = store.epoch("").expect("an epoch");
        let mut new = checkpoint(Moves::New { epoch }, print(seed, content));
        new.state = state;
        new.unparsed = vec![range(1)];
        let flushed = store.flush(&mut writer, "n", &batch("a", 1, new), NOW);
        ids.push(flushed.expect("a flush").positions[0]);
    }
    store.retire(&writer, NOW + YEAR).expect("signed off");
    assert_eq!(store.at_inode(u64::MAX).expect("positions").len(), 2);
    let error = store
        .flush(&mut writer, "n", &Batch::default(), NOW)
        .expect_err("signed off");
    assert!(matches!(error, FlushError::Replaced), "{error}");

    store.retire(&writer, NOW + 2 * YEAR).expect("signed off");
    let left = store.at_inode(u64::MAX).expect("positions");
    assert_eq!(left.len(), 1, "a living one is never forgotten");
    assert_eq!(left[0].id, ids[1]);
    assert_eq!(store.unparsed(ids[0]).expect("ranges").len(), 0);
    assert_eq!(store.unparsed(ids[1]).expect("ranges").len(), 1);
}
