//! A model test: random histories of logs and of the daemon, against a perfect count.
//!
//! The follower and the embedded store are the real ones, the files are real, and nothing runs by
//! itself: the history says when time passes, when the daemon looks, when a batch is committed, and
//! when it is killed between the two. So it meets orders of events that a soak meets once in an hour,
//! and proptest shrinks a history that fails to the shortest that does.
//!
//! `MODEL_SEED=7 PROPTEST_CASES=100000 cargo test --lib model -- --nocapture` plays others and more of
//! them, and says what was done. Histories that found a defect are tests of their own in [`found`].

use std::cell::RefCell;
use std::path::Path;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

mod content;
mod count;
mod found;
mod machine;
mod names;
mod world;

use machine::{Kill, Machine};
use world::{Done, MOST_LOGS, World};

/// How many histories are played where `PROPTEST_CASES` does not say.
const HISTORIES: u32 = 700;
const MOST_EVENTS: usize = 40;

/// Under which circumstances a history plays.
#[derive(Debug, Clone)]
struct Setup {
    logs: usize,
    /// The patterns lead to rotations as well.
    wide: bool,
    max_held_files: Option<u8>,
    /// The times of folders are so old that they are trusted.
    sets_folder_times: bool,
}

/// Something happens. Numbers of logs are taken modulo how many there are.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Event {
    /// Lines are written; the last one in part.
    Write {
        log: u8,
        lines: u8,
        pad: u16,
        part: bool,
        alike: bool,
    },
    /// By a worker that stayed with a rotated file.
    WriteOld {
        log: u8,
    },
    Rotate {
        log: u8,
        stays: bool,
        create: bool,
        alike: bool,
    },
    PutAside {
        log: u8,
        stays: bool,
    },
    Delete {
        log: u8,
        stays: bool,
    },
    Prune {
        log: u8,
    },
    Link {
        log: u8,
    },
    CopyTruncate {
        log: u8,
        look: bool,
        early: bool,
    },
    Truncate {
        log: u8,
    },
    Replace {
        log: u8,
        look: bool,
        early: bool,
    },
    Pack {
        log: u8,
        youngest: bool,
        at_once: bool,
    },
    /// The kernel tells the daemon that something has happened.
    Tell,
    /// So many milliseconds pass, and the daemon looks.
    Look {
        after: u32,
    },
    /// What is on its way is committed.
    Commit,
    /// Another process was faster.
    Overtake,
    Start,
    Stop {
        kill: Option<(u8, bool)>,
    },
    Crash {
        after_commit: bool,
    },
    /// Nobody looks for so many seconds.
    Pass {
        seconds: u32,
    },
}

use Event::*;

fn event() -> impl Strategy<Value = Event> {
    let log = || 0..MOST_LOGS as u8;
    let flag = any::<bool>;
    let after = prop_oneof![
        4 => 1..200u32,
        4 => 200..6_000u32,
        2 => 6_000..70_000u32,
        1 => Just(700_000),
        1 => Just(3_700_000),
    ];
    let pad = prop_oneof![5 => Just(0), 1 => Just(1_100u16)];
    prop_oneof![
        8 => (log(), 1..4u8, pad, prop::bool::weighted(0.2), flag())
            .prop_map(|(log, lines, pad, part, alike)| Write { log, lines, pad, part, alike }),
        2 => log().prop_map(|log| WriteOld { log }),
        5 => (log(), prop::bool::weighted(0.3), flag(), flag())
            .prop_map(|(log, stays, create, alike)| Rotate { log, stays, create, alike }),
        1 => (log(), flag()).prop_map(|(log, stays)| PutAside { log, stays }),
        1 => (log(), prop::bool::weighted(0.3)).prop_map(|(log, stays)| Delete { log, stays }),
        1 => log().prop_map(|log| Prune { log }),
        1 => log().prop_map(|log| Link { log }),
        2 => (log(), flag(), flag())
            .prop_map(|(log, look, early)| CopyTruncate { log, look, early }),
        1 => log().prop_map(|log| Truncate { log }),
        1 => (log(), flag(), flag()).prop_map(|(log, look, early)| Replace { log, look, early }),
        3 => (log(), flag(), flag())
            .prop_map(|(log, youngest, at_once)| Pack { log, youngest, at_once }),
        1 => Just(Tell),
        8 => after.prop_map(|after| Look { after }),
        8 => Just(Commit),
        1 => Just(Overtake),
        3 => Just(Start),
        1 => prop::option::weighted(0.5, (0..3u8, flag())).prop_map(|kill| Stop { kill }),
        2 => flag().prop_map(|after_commit| Crash { after_commit }),
        1 => prop_oneof![1..100u32, Just(5_000), Just(200_000)]
            .prop_map(|seconds| Pass { seconds }),
    ]
}

fn setup() -> impl Strategy<Value = Setup> {
    let held = prop::option::weighted(0.2, 1..4u8);
    let flag = || prop::bool::weighted(0.3);
    (1..=MOST_LOGS, flag(), held, any::<bool>()).prop_map(
        |(logs, wide, max_held_files, sets_folder_times)| Setup {
            logs,
            wide,
            max_held_files,
            sets_folder_times,
        },
    )
}

/// Plays a history, and what comes after it until all rests.
fn play(setup: &Setup, events: &[Event]) -> Result<Done, String> {
    let folder = tempfile::tempdir().expect("a folder");
    // The store is synced at each commit, which costs nothing in memory.
    let memory = Path::new("/dev/shm");
    let memory = memory.is_dir().then(|| tempfile::tempdir_in(memory));
    let memory = memory.and_then(Result::ok);
    let store = memory.as_ref().unwrap_or(&folder).path().join("store.db");
    let config = world::config(folder.path(), setup.wide, setup.max_held_files);
    let machine = Machine::new(config, store);
    let mut world = World::new(folder.path(), machine, setup.logs, setup.sets_folder_times)
        .with_few_held(setup.max_held_files.is_some());
    // That the folders have been searched is committed with the first line.
    world.write(0, 1, 0, false, true);
    world.machine.start();
    rest(&mut world, 3)?;
    for (number, event) in events.iter().enumerate() {
        world.moment();
        let happened = happen(&mut world, event);
        world.review();
        world.say(&format!("{event:?}"));
        let checked = happened.and_then(|()| world.check_not_too_much());
        checked.map_err(|error| format!("after event {number}, {event:?}: {error}"))?;
    }
    world.finish_packing();
    world.machine.start();
    world.review();
    rest(&mut world, 46)?;
    let and_state = |world: &World, error: String| format!("{error}\n{}", world.listing());
    world.check().map_err(|error| and_state(&world, error))?;
    // Another start finds nothing more.
    world.machine.kill(Kill::BeforeCommit);
    world.machine.pass(Duration::from_secs(20));
    world.machine.start();
    rest(&mut world, 10)?;
    let checked = world.check();
    checked.map_err(|error| and_state(&world, format!("after another start: {error}")))?;
    Ok(world.done.clone())
}

/// Nothing more is written; the daemon looks, and all is committed.
fn rest(world: &mut World, looks: u32) -> Result<(), String> {
    for look in 0..looks {
        let pause = match look {
            39 => 610_000,
            // What was renamed or deleted is let go; what an archive holds behind it is read then.
            40 => 3_610_000,
            look if look % 8 == 7 => 65_000,
            _ => 2_500,
        };
        world.machine.pass(Duration::from_millis(pause));
        for _ in 0..4 {
            world.machine.turn();
            world.machine.commit();
            world.machine.pass(Duration::from_millis(20));
        }
        world.say(&format!("look {look} of rest"));
        world.check_not_too_much()?;
    }
    Ok(())
}

fn happen(world: &mut World, event: &Event) -> Result<(), String> {
    let when = |after_commit| match after_commit {
        true => Kill::AfterCommit,
        false => Kill::BeforeCommit,
    };
    let log = |world: &World, log: u8| world.log(log);
    match *event {
        Write {
            log: of,
            lines,
            pad,
            part,
            alike,
        } => {
            let log = log(world, of);
            world.write(log, lines, usize::from(pad), part, alike);
        }
        WriteOld { log: of } => world.write_old(log(world, of)),
        Rotate {
            log: of,
            stays,
            create,
            alike,
        } => {
            world.rotate(log(world, of), stays, create, alike);
        }
        PutAside { log: of, stays } => world.put_aside(log(world, of), stays),
        Delete { log: of, stays } => world.delete(log(world, of), stays),
        Prune { log: of } => world.prune(log(world, of)),
        Link { log: of } => world.link(log(world, of)),
        CopyTruncate {
            log: of,
            look,
            early,
        } => world.copytruncate(log(world, of), look, early),
        Truncate { log: of } => world.truncate(log(world, of)),
        Replace {
            log: of,
            look,
            early,
        } => world.replace(log(world, of), look, early),
        Pack {
            log: of,
            youngest,
            at_once,
        } => world.pack(log(world, of), youngest, at_once),
        Tell => world.machine.tell(),
        Look { after } => {
            world.machine.pass(Duration::from_millis(after.into()));
            world.machine.turn();
        }
        Commit => world.machine.commit(),
        Overtake => world.machine.overtake(),
        Start => world.machine.start(),
        Stop { kill } => {
            let kill = kill.map(|(at, after_commit)| (usize::from(at), when(after_commit)));
            return world.stop(kill);
        }
        Crash { after_commit } => world.machine.kill(when(after_commit)),
        Pass { seconds } => world.machine.pass(Duration::from_secs(seconds.into())),
    }
    Ok(())
}

#[test]
fn random_histories_come_to_a_perfect_count() {
    let wanted = std::env::var("PROPTEST_CASES").ok();
    let config = Config {
        cases: wanted
            .and_then(|cases| cases.parse().ok())
            .unwrap_or(HISTORIES),
        failure_persistence: None,
        max_shrink_iters: 4_000,
        ..Config::default()
    };
    let done = RefCell::new((0_u64, Done::default()));
    let seed = std::env::var("MODEL_SEED").ok();
    let seed: u64 = seed.and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &key);
    let mut runner = TestRunner::new_with_rng(config, random);
    let histories = (setup(), vec(event(), 1..MOST_EVENTS));
    let result = runner.run(&histories, |(setup, events)| {
        let one = play(&setup, &events).map_err(TestCaseError::fail)?;
        let mut done = done.borrow_mut();
        done.0 += 1;
        done.1.add(&one);
        Ok(())
    });
    let (histories, done) = done.into_inner();
    eprintln!("seed {seed}, {histories} histories: {done:?}");
    if let Err(error) = result {
        panic!("{error}");
    }
    assert!(done.inodes_reused > 0, "no inode was used again");
}
