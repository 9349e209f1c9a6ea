//! Followed logs: rotated, truncated, replaced, found later, linked to.

mod support;

use std::fs::{self, File};
use std::os::unix::fs::{chown, symlink};

use support::log::{FORMAT, lines, rows};
use support::{Balance, Sandbox, append, gzip, source, text, wait_for, wait_until};

/// Follows `access.log`, which holds 100 lines that are counted already.
fn following() -> (
    Sandbox,
    support::Daemon,
    std::path::PathBuf,
    std::path::PathBuf,
) {
    let sandbox = Sandbox::new();
    let log = sandbox.write("logs/access.log", lines(0, 100));
    let config = sandbox.config(&source(&[&log], FORMAT, ""));
    let daemon = sandbox.start(&["-c", text(&config)]);
    sandbox.wait_for_rows(&rows([lines(0, 100).as_str()]));
    (sandbox, daemon, log, config)
}

#[test]
fn a_renamed_log_is_read_on_and_the_new_one_from_its_start() {
    let (sandbox, daemon, log, _) = following();
    let rotated = log.with_extension("log.1");
    fs::rename(&log, &rotated).expect("our own folder");
    // Old workers go on writing to it for a while.
    append(&rotated, lines(100, 50));
    append(&log, lines(150, 50));
    append(&rotated, lines(200, 50));
    sandbox.wait_for_rows(&rows([lines(0, 250).as_str()]));
    append(&rotated, lines(250, 50));
    sandbox.wait_for_rows(&rows([lines(0, 300).as_str()]));
    daemon.stop();
    assert_eq!(sandbox.stored_balance(), Balance::counted(300));
}

#[test]
fn a_log_rotated_while_the_daemon_is_away_is_finished_first() {
    let (sandbox, daemon, log, config) = following();
    daemon.stop();
    append(&log, lines(100, 50));
    fs::rename(&log, log.with_extension("log.2")).expect("our own folder");
    fs::write(log.with_extension("log.1"), lines(150, 50)).expect("a new file");
    fs::write(&log, lines(200, 50)).expect("a new file");
    let daemon = sandbox.start(&["-c", text(&config)]);
    sandbox.wait_for_rows(&rows([lines(0, 250).as_str()]));
    daemon.stop();
    assert_eq!(sandbox.stored_balance(), Balance::counted(250));
}

#[test]
fn a_log_rotated_and_packed_while_the_daemon_is_away_is_finished() {
    let (sandbox, daemon, log, config) = following();
    daemon.stop();
    append(&log, lines(100, 50));
    let content = fs::read(&log).expect("our own file");
    fs::remove_file(&log).expect("our own file");
    fs::write(log.with_extension("log.1.gz"), gzip(&content)).expect("a new file");
    fs::write(&log, lines(150, 50)).expect("a new file");
    let daemon = sandbox.start(&["-c", text(&config)]);
    sandbox.wait_for_rows(&rows([lines(0, 200).as_str()]));
    daemon.stop();
    assert_eq!(sandbox.stored_balance(), Balance::counted(200));
}

#[test]
fn a_truncated_log_is_read_from_its_start() {
    let (sandbox, daemon, log, _) = following();
    File::options()
        .write(true)
        .open(&log)
        .and_then(|file| file.set_len(0))
        .expect("our own file");
    append(&log, lines(1_000, 10));
    sandbox.wait_for_rows(&rows([lines(0, 100).as_str(), &lines(1_000, 10)]));
    append(&log, lines(1_010, 10));
    sandbox.wait_for_rows(&rows([lines(0, 100).as_str(), &lines(1_000, 20)]));
    daemon.stop();
    assert_eq!(sandbox.stored_balance(), Balance::counted(120));
}

#[test]
fn a_log_truncated_while_the_daemon_is_away_is_read_from_its_start() {
    for more in [10, 500] {
        // Shorter than it was, and longer.
        let (sandbox, daemon, log, config) = following();
        daemon.stop();
        File::options()
            .write(true)
            .open(&log)
            .and_then(|file| file.set_len(0))
            .expect("our own file");
        append(&log, lines(1_000, more));
        let daemon = sandbox.start(&["-c", text(&config)]);
        sandbox.wait_for_rows(&rows([lines(0, 100).as_str(), &lines(1_000, more)]));
        daemon.stop();
        assert_eq!(sandbox.stored_balance(), Balance::counted(100 + more));
    }
}

#[test]
fn a_log_that_is_replaced_by_another_is_read_from_its_start() {
    let (sandbox, daemon, log, _) = following();
    let other = sandbox.write("logs/new", lines(1_000, 30));
    fs::rename(&other, &log).expect("our own folder");
    sandbox.wait_for_rows(&rows([lines(0, 100).as_str(), &lines(1_000, 30)]));
    daemon.stop();
}

#[test]
fn logs_and_folders_that_appear_later_are_found() {
    let sandbox = Sandbox::new();
    let config = sandbox.config(&source(&[&sandbox.path("home/*/logs/*.log")], FORMAT, ""));
    let daemon = sandbox.start(&["-c", text(&config)]);
    let first = sandbox.write("home/one/logs/access.log", lines(0, 10));
    sandbox.wait_for_rows(&rows([lines(0, 10).as_str()]));
    sandbox.write("home/two/logs/access.log", lines(10, 10));
    append(&first, lines(20, 10));
    sandbox.wait_for_rows(&rows([lines(0, 30).as_str()]));
    daemon.stop();
}

#[test]
fn a_log_that_is_not_there_yet_is_waited_for() {
    let sandbox = Sandbox::new();
    let log = sandbox.path("logs/access.log");
    let config = sandbox.config(&source(&[&log], FORMAT, ""));
    let mut daemon = sandbox.start(&["-c", text(&config)]);
    wait_until("the store is there", || {
        sandbox
            .state()
            .join("tollkeeper.db")
            .exists()
            .then_some(())
            .ok_or("no")
    });
    daemon.assert_running();
    sandbox.write("logs/access.log", lines(0, 10));
    sandbox.wait_for_rows(&rows([lines(0, 10).as_str()]));
    daemon.stop();
}

#[test]
fn one_log_by_two_names_is_counted_once() {
    let sandbox = Sandbox::new();
    let log = sandbox.write("logs/access.log", lines(0, 100));
    fs::hard_link(&log, sandbox.path("logs/hard.log")).expect("a file system with links");
    symlink(&log, sandbox.path("logs/soft.log")).expect("a file system with links");
    let config = sandbox.config(&source(&[&sandbox.path("logs/*.log")], FORMAT, ""));
    let daemon = sandbox.start(&["-c", text(&config)]);
    sandbox.wait_for_rows(&rows([lines(0, 100).as_str()]));
    append(&log, lines(100, 100));
    sandbox.wait_for_rows(&rows([lines(0, 200).as_str()]));
    daemon.stop();
    assert_eq!(sandbox.stored_balance(), Balance::counted(200));
}

#[test]
fn what_customers_put_beside_their_logs_is_not_read() {
    if !rustix::process::geteuid().is_root() {
        // Only root can make files of another owner; a test as somebody else has no customers.
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.write("logs/own.log", lines(0, 10));
    let secret = sandbox.write("secret", lines(10, 10));
    let link = sandbox.path("logs/link.log");
    symlink(&secret, &link).expect("a file system with links");
    std::os::unix::fs::lchown(&link, Some(65_534), Some(65_534)).expect("root may");
    let own = sandbox.write("theirs", lines(20, 10));
    chown(&own, Some(65_534), Some(65_534)).expect("root may");
    let own_link = sandbox.path("logs/own-link.log");
    symlink(&own, &own_link).expect("a file system with links");
    std::os::unix::fs::lchown(&own_link, Some(65_534), Some(65_534)).expect("root may");
    let fifo = sandbox.path("logs/fifo.log");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .expect("mkfifo")
            .success()
    );
    fs::create_dir(sandbox.path("logs/folder.log")).expect("a new folder");
    let config = sandbox.config(&source(&[&sandbox.path("logs/*.log")], FORMAT, ""));
    let daemon = sandbox.start(&["-c", text(&config)]);
    sandbox.wait_for_rows(&rows([lines(0, 10).as_str(), &lines(20, 10)]));
    daemon.stop();
}

#[test]
fn thousands_of_lines_in_one_write_and_one_line_in_many() {
    let (sandbox, daemon, log, _) = following();
    append(&log, lines(100, 20_000));
    let last = lines(20_100, 1);
    for byte in last.bytes() {
        append(&log, [byte]);
    }
    sandbox.wait_for_rows(&rows([lines(0, 20_101).as_str()]));
    daemon.stop();
    assert_eq!(sandbox.stored_balance(), Balance::counted(20_101));
}

/// Follows `access.log*`, of which there is one file, with 100 lines that are counted already.
fn following_all_rotations() -> (Sandbox, support::Daemon, std::path::PathBuf) {
    let sandbox = Sandbox::new();
    let log = sandbox.write("logs/access.log", lines(0, 100));
    let pattern = sandbox.path("logs/access.log*");
    let config = sandbox.config(&source(&[&pattern], FORMAT, ""));
    let daemon = sandbox.start(&["-c", text(&config)]);
    sandbox.wait_for_rows(&rows([lines(0, 100).as_str()]));
    (sandbox, daemon, log)
}

#[test]
fn a_copy_that_is_then_truncated_counts_nothing_twice() {
    let (sandbox, daemon, log) = following_all_rotations();
    fs::copy(&log, log.with_extension("log.1")).expect("our own folder");
    File::options()
        .write(true)
        .open(&log)
        .and_then(|file| file.set_len(0))
        .expect("our own file");
    append(&log, lines(100, 50));
    sandbox.wait_for_rows(&rows([lines(0, 150).as_str()]));
    daemon.stop();
    assert_eq!(sandbox.stored_balance(), Balance::counted(150));
}

#[test]
fn a_copy_beside_a_log_that_goes_on_is_left_alone() {
    let (sandbox, daemon, log) = following_all_rotations();
    fs::copy(&log, log.with_extension("log.1")).expect("our own folder");
    append(&log, lines(100, 50));
    sandbox.wait_for_rows(&rows([lines(0, 150).as_str()]));
    daemon.stop();
    assert_eq!(sandbox.stored_balance(), Balance::counted(150));
}

/// Between the making of the file and the first byte in it, which on a busy machine takes a while. By its
/// name the copy may be a rotation or another log.
#[test]
fn a_copy_that_is_empty_at_first_counts_nothing_twice() {
    for name in ["access.log.1", "access.log.bak", "access.log-copy"] {
        let (sandbox, daemon, log) = following_all_rotations();
        let copy = log.with_file_name(name);
        File::create(&copy).expect("our own folder");
        let taken_up = format!("following {} from byte 0", copy.display());
        wait_for("the empty file is taken up", || {
            daemon.said().contains(&taken_up)
        });
        append(&log, lines(100, 50));
        sandbox.wait_for_rows(&rows([lines(0, 150).as_str()]));
        fs::copy(&log, &copy).expect("our own folder");
        append(&log, lines(150, 50));
        sandbox.wait_for_rows(&rows([lines(0, 200).as_str()]));
        daemon.stop();
        assert_eq!(sandbox.stored_balance(), Balance::counted(200), "{name}");
    }
}

/// So it is where the daemon does not run while the copy is made.
#[test]
fn a_copy_that_was_empty_at_the_stop_counts_nothing_twice() {
    let sandbox = Sandbox::new();
    let log = sandbox.write("logs/z.log", lines(0, 100));
    let copy = sandbox.write("logs/a.log", "");
    let config = sandbox.config(&source(&[&sandbox.path("logs/*.log")], FORMAT, ""));
    let daemon = sandbox.start(&["-c", text(&config)]);
    sandbox.wait_for_rows(&rows([lines(0, 100).as_str()]));
    daemon.stop();
    fs::copy(&log, &copy).expect("our own folder");
    let daemon = sandbox.start(&["-c", text(&config)]);
    append(&log, lines(100, 50));
    sandbox.wait_for_rows(&rows([lines(0, 150).as_str()]));
    daemon.stop();
    assert_eq!(sandbox.stored_balance(), Balance::counted(150));
    // A third start does not take it for what was taken up when it was empty either.
    fs::rename(&copy, sandbox.path("logs/b.log")).expect("our own folder");
    let daemon = sandbox.start(&["-c", text(&config)]);
    append(&log, lines(150, 50));
    sandbox.wait_for_rows(&rows([lines(0, 200).as_str()]));
    daemon.stop();
    assert_eq!(sandbox.stored_balance(), Balance::counted(200));
}

/// An empty log is a log, whose first lines count, also where another one lies beside it.
#[test]
fn what_was_empty_at_first_is_read_once_it_has_lines() {
    let (sandbox, daemon, log) = following_all_rotations();
    let next = log.with_file_name("access.log-2");
    File::create(&next).expect("our own folder");
    append(&log, lines(100, 50));
    sandbox.wait_for_rows(&rows([lines(0, 150).as_str()]));
    for first in [200, 201, 300] {
        append(&next, lines(first, 1));
    }
    let expected = [lines(0, 150), lines(200, 2), lines(300, 1)];
    sandbox.wait_for_rows(&rows(expected.iter().map(String::as_str)));
    daemon.stop();
    assert_eq!(sandbox.stored_balance(), Balance::counted(153));
}

#[test]
fn a_log_replaced_by_its_own_copy_is_read_on() {
    let (sandbox, daemon, log, config) = following();
    // As editors and `sed -i` do.
    let copy = log.with_file_name("copy");
    fs::copy(&log, &copy).expect("our own folder");
    fs::rename(&copy, &log).expect("our own folder");
    append(&log, lines(100, 50));
    sandbox.wait_for_rows(&rows([lines(0, 150).as_str()]));
    daemon.stop();
    // The same while nobody looks.
    fs::copy(&log, &copy).expect("our own folder");
    fs::rename(&copy, &log).expect("our own folder");
    append(&log, lines(150, 50));
    let daemon = sandbox.start(&["-c", text(&config)]);
    sandbox.wait_for_rows(&rows([lines(0, 200).as_str()]));
    daemon.stop();
    assert_eq!(sandbox.stored_balance(), Balance::counted(200));
}

#[test]
fn what_was_imported_from_elsewhere_is_not_counted_again() {
    let sandbox = Sandbox::new();
    let backup = sandbox.write("backup/access.log", lines(0, 100));
    sandbox.import(&["--format", FORMAT, text(&backup)]);
    let log = sandbox.write("logs/access.log", lines(0, 120));
    let config = sandbox.config(&source(&[&log], FORMAT, ""));
    let daemon = sandbox.start(&["-c", text(&config)]);
    sandbox.wait_for_rows(&rows([lines(0, 120).as_str()]));
    append(&log, lines(120, 30));
    sandbox.wait_for_rows(&rows([lines(0, 150).as_str()]));
    daemon.stop();
    assert_eq!(sandbox.stored_balance(), Balance::counted(150));
}

#[test]
fn rotated_logs_from_before_it_was_followed_are_history() {
    let sandbox = Sandbox::new();
    let old = sandbox.write("logs/access.log.1", lines(0, 100));
    let hour = std::time::SystemTime::now() - std::time::Duration::from_secs(3_600);
    File::options()
        .write(true)
        .open(&old)
        .and_then(|file| file.set_modified(hour))
        .expect("our own file");
    let log = sandbox.write("logs/access.log", lines(100, 50));
    let config = sandbox.config(&source(&[&log], FORMAT, ""));
    for round in 1..3 {
        let daemon = sandbox.start(&["-c", text(&config)]);
        sandbox.wait_for_rows(&rows([lines(100, 50 * round).as_str()]));
        append(&log, lines(100 + 50 * round, 50));
        sandbox.wait_for_rows(&rows([lines(100, 50 * (round + 1)).as_str()]));
        daemon.stop();
    }
    assert_eq!(sandbox.stored_balance(), Balance::counted(150));
}

fn truncate(log: &std::path::Path) {
    let opened = File::options().write(true).open(log);
    opened
        .and_then(|file| file.set_len(0))
        .expect("our own file");
}

#[test]
fn what_was_unread_at_a_copytruncate_is_found_in_the_copy() {
    let (sandbox, daemon, log, config) = following();
    daemon.stop();
    append(&log, lines(100, 30));
    fs::copy(&log, log.with_extension("log.1")).expect("our own folder");
    truncate(&log);
    append(&log, lines(130, 40));
    let daemon = sandbox.start(&["-c", text(&config)]);
    sandbox.wait_for_rows(&rows([lines(0, 170).as_str()]));
    // And while it runs, whether or not it was faster.
    append(&log, lines(170, 30));
    fs::copy(&log, log.with_extension("log.2")).expect("our own folder");
    truncate(&log);
    append(&log, lines(200, 20));
    sandbox.wait_for_rows(&rows([lines(0, 220).as_str()]));
    daemon.stop();
    assert_eq!(sandbox.stored_balance(), Balance::counted(220));
}

#[test]
fn a_copy_by_any_name_beside_a_log_is_left_alone() {
    let (sandbox, daemon, log) = following_all_rotations();
    for name in ["log.bak", "log~", "log.old"] {
        fs::copy(&log, log.with_extension(name)).expect("our own folder");
    }
    append(&log, lines(100, 50));
    sandbox.wait_for_rows(&rows([lines(0, 150).as_str()]));
    daemon.stop();
    assert_eq!(sandbox.stored_balance(), Balance::counted(150));
}

#[test]
fn sites_whose_logs_are_the_same_are_each_counted() {
    const NUMBERS: &str = "nginx:log_format n '$msec $status $request_length $bytes_sent';";
    let sandbox = Sandbox::new();
    let sites = ["10.0.0.1", "10.0.0.2", "a.example", "a.example.1"];
    for site in sites {
        let same = format!("{}.000 200 1 2\n", support::log::NOON).repeat(3);
        sandbox.write(&format!("logs/{site}"), same);
    }
    let pattern = sandbox.path("logs/*");
    let config = sandbox.config(&source(&[&pattern], NUMBERS, "vhost = \"{1}\""));
    let daemon = sandbox.start(&["-c", text(&config)]);
    wait_until("each site has its three requests", || {
        let rows = sandbox.rows();
        let counted: Vec<u64> = rows.iter().map(|row| row.requests).collect();
        match counted == [3; 4] {
            true => Ok(()),
            false => Err(rows),
        }
    });
    daemon.stop();
    assert_eq!(sandbox.stored_balance(), Balance::counted(12));
}
