//! What the kernel tells of the log folders is a hint: too much of it, too little, or nothing at all,
//! and every line is counted.

mod support;

use std::fs;
use std::io::Write as _;
use std::thread;

use rustix::process::Signal;
use support::log::{FORMAT, lines, rows};
use support::{Balance, Daemon, Sandbox, append, source, text, wait_for, wait_until};

#[test]
fn without_watches_files_and_folders_are_looked_at() {
    for watches in [0, 1] {
        let sandbox = Sandbox::new();
        for folder in ["a", "b", "c"] {
            sandbox.write(&format!("logs/{folder}/access.log"), lines(0, 10));
        }
        let all = sandbox.path("logs/*/access.log");
        let config = sandbox.config(&source(&[&all], FORMAT, ""));
        let daemon = sandbox.start_with_watches(watches, &["-c", text(&config)]);
        let three = [lines(0, 10), lines(0, 10), lines(0, 10)];
        sandbox.wait_for_rows(&rows(three.iter().map(String::as_str)));
        assert!(
            daemon.said().contains("cannot be watched"),
            "{}",
            daemon.said()
        );

        let log = sandbox.path("logs/c/access.log");
        append(&log, lines(100, 10));
        fs::rename(&log, log.with_extension("log.1")).expect("our own file");
        append(&log, lines(200, 10));
        sandbox.write("logs/d/access.log", lines(300, 10));
        let more = [lines(100, 10), lines(200, 10), lines(300, 10)];
        let all = [three, more].concat();
        sandbox.wait_for_rows(&rows(all.iter().map(String::as_str)));
        daemon.stop();
        assert_eq!(sandbox.stored_balance(), Balance::counted(60));
    }
}

#[test]
fn a_folder_with_many_writes_is_looked_at_and_rotations_in_it_are_seen() {
    let sandbox = Sandbox::new();
    let log = sandbox.write("logs/access.log", "");
    let quiet = sandbox.write("logs/quiet.log", lines(0, 10));
    let config = sandbox.config(&source(&[&log, &quiet], FORMAT, ""));
    let mut command = sandbox.tollkeeper(["run", "-c", text(&config)]);
    command.env("TOLLKEEPER_LOG", "debug");
    let daemon = Daemon::of(&sandbox, command);
    sandbox.wait_for_rows(&rows([lines(0, 10).as_str()]));

    // One write a line, until the daemon has had enough of it.
    let mut written = vec![lines(0, 10)];
    let mut next = 1_000;
    let mut file = fs::File::options()
        .append(true)
        .open(&log)
        .expect("our own file");
    wait_for("the folder is no longer watched", || {
        let some = lines(next, 500);
        for line in some.split_inclusive('\n') {
            file.write_all(line.as_bytes()).expect("our own file");
        }
        next += 500;
        written.push(some);
        daemon.said().contains("is looked at, not watched")
    });
    fs::rename(&log, log.with_extension("log.1")).expect("our own file");
    for (path, first) in [(&log, 500_000), (&quiet, 600_000)] {
        append(path, lines(first, 10));
        written.push(lines(first, 10));
    }
    sandbox.wait_for_rows(&rows(written.iter().map(String::as_str)));
    daemon.stop();
}

#[test]
fn more_events_than_the_kernel_keeps_cost_no_line() {
    let sandbox = Sandbox::new();
    let noisy = ["x", "y"].map(|name| sandbox.write(&format!("logs/{name}.log"), lines(0, 1)));
    let quiet = sandbox.write("logs/quiet.log", lines(1, 1));
    let config = sandbox.config(&source(&[&noisy[0], &noisy[1], &quiet], FORMAT, ""));
    let daemon = sandbox.start(&["-c", text(&config)]);
    let before = [lines(0, 1), lines(0, 1), lines(1, 1)];
    sandbox.wait_for_rows(&rows(before.iter().map(String::as_str)));
    let most = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").expect("Linux");
    let most: u64 = most.trim().parse().expect("a number");

    daemon.signal(Signal::STOP);
    let mut files = noisy.map(|log| fs::File::options().append(true).open(log).expect("ours"));
    let mut written = before.to_vec();
    // Two events in a row that are alike are one, so they are written to by turns.
    for number in 0..most + 1_000 {
        let line = lines(10 + number, 1);
        let file = &mut files[(number % 2) as usize];
        file.write_all(line.as_bytes()).expect("our own file");
        written.push(line);
    }
    fs::rename(&quiet, quiet.with_extension("log.1")).expect("our own file");
    append(&quiet, lines(2, 1));
    written.push(lines(2, 1));
    daemon.signal(Signal::CONT);
    sandbox.wait_for_rows(&rows(written.iter().map(String::as_str)));
    daemon.stop();
}

#[test]
fn a_folder_that_is_made_anew_is_watched_anew() {
    let sandbox = Sandbox::new();
    let log = sandbox.write("logs/a/access.log", lines(0, 10));
    let config = sandbox.config(&source(&[&log], FORMAT, ""));
    let daemon = sandbox.start(&["-c", text(&config)]);
    sandbox.wait_for_rows(&rows([lines(0, 10).as_str()]));
    let folder = sandbox.path("logs/a");
    fs::remove_dir_all(&folder).expect("our own folder");
    sandbox.write("logs/a/access.log", lines(10, 10));
    sandbox.wait_for_rows(&rows([lines(0, 20).as_str()]));
    let counted = wait_until("the daemon rests", || Ok::<_, ()>(sandbox.requests()));
    assert_eq!(counted, 20);
    // While it is written to in bursts.
    let writer = thread::spawn({
        let log = log.clone();
        move || (2..10).for_each(|burst| append(&log, lines(burst * 10, 10)))
    });
    writer.join().expect("it writes");
    sandbox.wait_for_rows(&rows([lines(0, 100).as_str()]));
    daemon.stop();
}
