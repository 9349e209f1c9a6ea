//! Archives that are still being written, or never become whole, and logs that exist nowhere else.

use std::fs;
use std::time::{Duration, Instant};

use super::{Site, pack_file, rename, wait_until_said, while_suspended};
use crate::support::{
    Balance, PACKINGS, Random, append, pack, text, wait_for, wait_for_moment, wait_until,
};

/// Tries each at the same time, because most of it is waiting.
fn at_once<T: Send, const N: usize>(cases: [T; N], check: impl Fn(T) + Sync) {
    let check = &check;
    std::thread::scope(|scope| {
        for case in cases {
            scope.spawn(move || check(case));
        }
    });
}

/// What the daemon says of an archive that is not whole.
const NOT_WHOLE: &str = "until it is whole";

#[test]
fn an_archive_that_is_still_being_written_at_the_start_is_waited_for() {
    at_once(PACKINGS, |packing| {
        let mut site = Site::away("");
        site.write_log(500);
        let content = fs::read(&site.log).expect("our own file");
        fs::remove_file(&site.log).expect("our own file");
        let packed = pack(packing, &content);
        let archive = site.rotated(&format!(".1.{packing}"));
        append(&archive, &packed[..packed.len() / 2]);
        let daemon = site.start();
        wait_until_said(&daemon, NOT_WHOLE);
        assert_eq!(site.sandbox.stored_balance(), Balance::counted(100));
        append(&archive, &packed[packed.len() / 2..packed.len() - 1]);
        append(&archive, &packed[packed.len() - 1..]);
        site.check_to_the_end(daemon);
    });
}

#[test]
fn an_archive_of_which_hardly_a_byte_is_written_is_waited_for() {
    at_once([0, 1, 3], |length| {
        let mut site = Site::away("");
        site.write_log(50);
        let content = fs::read(&site.log).expect("our own file");
        fs::remove_file(&site.log).expect("our own file");
        let packed = pack("zst", &content);
        let archive = site.rotated("-20261121.zst");
        fs::write(&archive, &packed[..length]).expect("a new file");
        let daemon = site.start();
        wait_until_said(&daemon, NOT_WHOLE);
        append(&archive, &packed[length..]);
        site.check_to_the_end(daemon);
    });
}

#[test]
fn an_archive_whose_log_still_lies_beside_it_is_not_touched() {
    let mut site = Site::away("");
    site.write_log(50);
    let rotated = site.rotate(".1");
    let content = fs::read(&rotated).expect("our own file");
    let packed = pack("gz", &content);
    let archive = site.rotated(".1.gz");
    append(&archive, &packed[..packed.len() / 2]);
    site.write_log(20);
    let daemon = site.start();
    // The rest is read from the log itself.
    site.check();
    append(&archive, &packed[packed.len() / 2..]);
    fs::remove_file(&rotated).expect("our own file");
    site.write_log(20);
    site.check();
    assert!(!daemon.said().contains(NOT_WHOLE), "{}", daemon.said());
    site.check_to_the_end(daemon);
}

/// A log is empty when the daemon is killed; before the next start it is written, rotated and packed. That
/// daemon is killed as soon as the archive is counted: was the empty one this log?
#[test]
fn a_log_that_was_empty_and_is_packed_is_never_taken_for_lost() {
    let (mut site, daemon) = Site::followed("");
    site.rotate(".1");
    site.write_log(0);
    wait_until("the empty log is known", || {
        let store = site.sandbox.state().join("tollkeeper.db");
        let store = rusqlite::Connection::open(store).expect("the store");
        let known = "SELECT COUNT(*) FROM position WHERE offset = 0";
        match store.query_row(known, [], |row| row.get(0)) {
            Ok(1_i64) => Ok(()),
            other => Err(other),
        }
    });
    daemon.kill();
    site.write_log(200);
    rename(&site.rotated(".1"), &site.rotated(".2"));
    let rotated = site.rotate(".1");
    pack_file(&rotated, "gz");
    let daemon = site.start();
    site.check();
    daemon.kill();
    let daemon = site.start();
    site.write_log(10);
    site.check_to_the_end(daemon);
}

#[test]
fn killed_while_an_archive_is_still_being_written() {
    let mut site = Site::away("");
    site.write_log(500);
    let content = fs::read(&site.log).expect("our own file");
    fs::remove_file(&site.log).expect("our own file");
    let packed = pack("gz", &content);
    let archive = site.rotated(".1.gz");
    append(&archive, &packed[..packed.len() / 3]);
    site.write_log(20);
    let daemon = site.start();
    wait_until_said(&daemon, NOT_WHOLE);
    daemon.kill();
    append(&archive, &packed[packed.len() / 3..]);
    let daemon = site.start();
    site.check_to_the_end(daemon);
}

#[test]
fn an_archive_that_never_becomes_whole_is_a_gap_once_it_is_gone() {
    let mut site = Site::away("");
    let size = site.log.metadata().expect("our own file").len();
    let log = site.log.clone();
    append(&log, "never read");
    let content = fs::read(&log).expect("our own file");
    fs::remove_file(&log).expect("our own file");
    let packed = pack("gz", &content);
    let archive = site.rotated(".1.gz");
    fs::write(&archive, &packed[..packed.len() - 3]).expect("a new file");
    site.write_log(20);
    let daemon = site.start();
    wait_until_said(&daemon, NOT_WHOLE);
    site.check();
    assert_eq!(site.sandbox.gaps(), []);
    fs::remove_file(&archive).expect("our own file");
    wait_for("the gap is recorded", || !site.sandbox.gaps().is_empty());
    daemon.stop();
    let gaps = site.sandbox.gaps();
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert_eq!((&*gaps[0].0, gaps[0].1), (text(&log), size));
}

#[test]
fn begun_and_packed_between_two_looks() {
    at_once(PACKINGS, |packing| {
        let (mut site, daemon) = Site::followed("");
        while_suspended(&daemon, || {
            site.rotate(".3");
            for ending in [".2", ".1"] {
                site.write_log(20);
                pack_file(&site.rotate(ending), packing);
            }
            site.write_log(20);
        });
        site.check_to_the_end(daemon);
    });
}

#[test]
fn begun_and_packed_between_two_looks_and_killed_before_the_archive_is_whole() {
    let (mut site, daemon) = Site::followed("");
    let archive = site.rotated(".1.zst");
    let content = site.more(50);
    let packed = pack("zst", content.as_bytes());
    append(&archive, &packed[..packed.len() - 20]);
    wait_until_said(&daemon, NOT_WHOLE);
    // Looks at the folder go on, and what they know is committed; but not that this is history.
    let log = site.log.clone();
    for _ in 0..3 {
        append(&log, crate::support::log::lines(site.written, 10));
        site.written += 10;
        wait_for("the new lines are counted", || {
            site.sandbox.requests() == site.written - 50
        });
        fs::write(log.with_file_name("something"), "").expect("a new file");
        fs::remove_file(log.with_file_name("something")).expect("our own file");
    }
    daemon.kill();
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(1);
    append(&archive, &packed[packed.len() - 20..]);
    let file = fs::File::options().write(true).open(&archive);
    file.and_then(|file| file.set_modified(long_ago))
        .expect("our own file");
    let daemon = site.start();
    site.check_to_the_end(daemon);
}

#[test]
fn packed_while_it_is_followed_counts_nothing_twice() {
    at_once(PACKINGS, |packing| {
        // With the time of the log, as all packers leave it, and with that of the packing.
        for keeps_time in [true, false] {
            let (mut site, daemon) = Site::followed("");
            let rotated = site.rotate(".1");
            site.write(&rotated, 20);
            site.write_log(20);
            let archive = pack_file(&rotated, packing);
            if !keeps_time {
                let file = fs::File::options().write(true).open(&archive);
                file.and_then(|file| file.set_modified(std::time::SystemTime::now()))
                    .expect("our own file");
            }
            site.write_log(20);
            site.check();
            // It gets its next name.
            rename(&archive, &site.rotated(&format!(".2.{packing}")));
            site.write_log(20);
            site.check_to_the_end(daemon);
        }
    });
}

#[test]
fn a_pattern_that_finds_archives_too_counts_nothing_twice() {
    let mut site = Site::new("");
    let all = site.sandbox.path("logs/access.log*");
    let section = crate::support::source(&[&all], crate::support::log::FORMAT, "");
    site.config = site.sandbox.config(&section);
    let daemon = site.start();
    site.check();
    for (number, packing) in (1..).zip(PACKINGS) {
        let rotated = site.rotate(&format!(".{number}"));
        site.write_log(20);
        pack_file(&rotated, packing);
        site.write_log(20);
        site.check();
    }
    assert!(!daemon.said().contains("does not fit"), "{}", daemon.said());
    site.check_to_the_end(daemon);
}

#[test]
fn an_archive_is_read_in_pieces_while_logs_go_on() {
    let mut site = Site::away("");
    site.write_log(300_000);
    pack_file(&site.rotate(".1"), "gz");
    let daemon = site.start();
    site.write_log(20);
    site.check_to_the_end(daemon);
}

#[test]
fn killed_in_the_middle_of_an_archive() {
    let mut count = 400_000;
    loop {
        let mut site = Site::away("");
        site.write_log(count);
        pack_file(&site.rotate(".1"), "zst");
        let daemon = site.start();
        wait_for("some of it is counted", || site.sandbox.requests() > 100);
        daemon.kill();
        let was_in_the_middle = site.sandbox.requests() < site.written;
        let daemon = site.start();
        site.check_to_the_end(daemon);
        if was_in_the_middle {
            return;
        }
        count *= 2;
        assert!(count <= 16_000_000, "it cannot be killed in the middle");
    }
}

/// Renames every generation to the next number, and the log to the first.
fn shift(site: &Site, endings: &mut Vec<&'static str>) {
    for (number, ending) in endings.iter().enumerate().rev() {
        let (from, to) = (number + 1, number + 2);
        let name = |number: usize| site.rotated(&format!(".{number}{ending}"));
        rename(&name(from), &name(to));
    }
    site.rotate(".1");
    endings.insert(0, "");
}

#[test]
fn rotated_and_packed_at_random_while_the_daemon_is_killed_again_and_again() {
    const ROUNDS: u64 = 12;
    let mut random = Random::new("rotation::packed");
    let mut site = Site::new("");
    // Of each generation, the newest first: how its name ends behind the number.
    let mut endings: Vec<&'static str> = Vec::new();
    for round in 0..ROUNDS {
        let daemon = site.start();
        if round == 0 {
            site.check();
        }
        let is_away_at = random.below(12);
        let mut daemon = Some(daemon);
        for step in 0..12 {
            if step == is_away_at
                && let Some(daemon) = daemon.take()
            {
                daemon.kill();
            }
            match random.below(4) {
                0 => {
                    shift(&site, &mut endings);
                    let count = random.below(30);
                    site.write_log(count);
                }
                1 if !endings.is_empty() => {
                    let generation = random.below(endings.len() as u64) as usize;
                    if endings[generation].is_empty() {
                        let packing = random.below(4) as usize;
                        let plain = site.rotated(&format!(".{}", generation + 1));
                        pack_file(&plain, PACKINGS[packing]);
                        endings[generation] = [".gz", ".zst", ".bz2", ".xz"][packing];
                    }
                }
                _ => {
                    let count = 1 + random.below(300);
                    site.write_log(count);
                }
            }
            let pause = Duration::from_millis(random.below(100));
            wait_for_moment(Instant::now() + pause);
        }
    }
    let daemon = site.start();
    site.check_to_the_end(daemon);
}
