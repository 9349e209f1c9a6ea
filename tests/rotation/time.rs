//! Clocks that jump, and nights: days come from the lines, and what was written when is told by what
//! the folders showed before, not by the clock alone.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Site, pack_file, while_suspended};
use crate::support::log::{FORMAT, line, lines};
use crate::support::{Balance, Daemon, Row, Sandbox, append, source, text, wait_for};

/// The library that shows a process another time.
fn faketime() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").expect("a system").flatten();
    let libraries = folders.map(|folder| folder.path().join("faketime/libfaketime.so.1"));
    libraries
        .chain([PathBuf::from("/usr/lib/faketime/libfaketime.so.1")])
        .find(|library| library.exists())
        .expect("libfaketime (tests/run installs it)")
}

/// The daemon with a clock that is off by as much as a file says, `+3600` for an hour ahead; the
/// times of files are off with it, as if the clock of the machine were.
fn start_with_clock(site: &Site, off: &Path) -> Daemon {
    let mut command = site.sandbox.tollkeeper(["run", "-c", text(&site.config)]);
    command
        .env("LD_PRELOAD", faketime())
        .env("FAKETIME_TIMESTAMP_FILE", off)
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("NO_FAKE_STAT", "1");
    Daemon::of(&site.sandbox, command)
}

/// Times are compared with those that the file system wrote, with the clock of the machine: so the
/// program's clock jumps here to where it is right, and away from there.
#[test]
fn a_clock_that_is_set_ahead_and_back_loses_no_log() {
    for (before, after) in [("+0", "+7200"), ("+7200", "+0"), ("-7200", "+0")] {
        let mut site = Site::new("");
        let off = site.sandbox.write("clock", format!("{before}\n"));
        let daemon = start_with_clock(&site, &off);
        site.check();
        site.write_log(10);
        site.check();
        fs::write(&off, format!("{after}\n")).expect("our own file");
        site.write_log(10);
        site.rotate(".2");
        site.write_log(10);
        site.check();
        site.rotate(".1");
        site.write_log(10);
        site.check();
        daemon.stop();
        // The clock of the next run is right.
        site.write_log(10);
        let daemon = site.start();
        site.check_to_the_end(daemon);
    }
}

/// The clock is set back by two hours; what began and was rotated just after that, between two
/// looks, is older than the last look.
#[test]
fn a_log_that_began_and_was_rotated_after_the_clock_was_set_back() {
    for packing in [None, Some("gz")] {
        let mut site = Site::new("");
        let off = site.sandbox.write("clock", "+7200\n");
        let daemon = start_with_clock(&site, &off);
        site.check();
        site.write_log(10);
        site.check();
        while_suspended(&daemon, || {
            fs::write(&off, "+0\n").expect("our own file");
            site.rotate(".2");
            site.write_log(20);
            let rotated = site.rotate(".1");
            if let Some(packing) = packing {
                pack_file(&rotated, packing);
            }
            site.write_log(10);
        });
        site.check_to_the_end(daemon);
    }
}

#[test]
fn lines_around_midnight_go_to_their_days_across_a_rotation() {
    // Midnight in Warsaw on 16 June 2024 is 22:00 UTC.
    const MIDNIGHT: u64 = 1_718_488_800;
    let sandbox = Sandbox::new();
    let at = |second: u64| line(second, 200, (1, 10), "a.example", "-");
    let log = sandbox.write("logs/access.log", at(MIDNIGHT - 2) + &at(MIDNIGHT - 1));
    let config = "timezone = \"Europe/Warsaw\"\nreport_interval = \"1s\"\n".to_owned()
        + &source(&[&log], FORMAT, "");
    let config = sandbox.write("tollkeeper.toml", config);
    let daemon = sandbox.start(&["-c", text(&config)]);
    wait_for("the first lines are counted", || sandbox.requests() == 2);
    let rotated = sandbox.path("logs/access.log.1");
    fs::rename(&log, &rotated).expect("our own folder");
    append(&log, at(MIDNIGHT) + &at(MIDNIGHT + 1));
    // An old worker logs what ended before midnight late, and what ends an hour later.
    append(&rotated, at(MIDNIGHT - 1) + &at(MIDNIGHT + 3_600));
    wait_for("all lines are counted", || sandbox.requests() == 6);
    daemon.stop();
    // And a late one, found in the archive.
    append(&rotated, at(MIDNIGHT - 86_400));
    pack_file(&rotated, "xz");
    let daemon = sandbox.start(&["-c", text(&config)]);
    let row = |day: &str, requests: u64| Row {
        day: day.to_owned(),
        vhost: "a.example".to_owned(),
        user: None,
        bytes_in: requests,
        bytes_out: 10 * requests,
        requests,
    };
    sandbox.wait_for_rows(&[row("2024-06-15", 4), row("2024-06-16", 3)]);
    daemon.stop();
    assert_eq!(sandbox.stored_balance(), Balance::counted(7));
    assert_eq!(sandbox.gaps(), []);
}

#[test]
fn a_suspended_daemon_catches_up() {
    let (mut site, daemon) = Site::followed("");
    for round in 0..3 {
        while_suspended(&daemon, || {
            site.write_log(1_000);
            site.rotate(&format!(".{}", 5 - round));
            site.write_log(1_000);
        });
        append(&site.log.clone(), lines(site.written, 10));
        site.written += 10;
        site.check();
    }
    site.check_to_the_end(daemon);
}
