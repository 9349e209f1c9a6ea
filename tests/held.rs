//! Many logs, and few files that may be held open: nothing is lost by closing those that are quiet.

mod support;

use std::fs;
use std::path::PathBuf;

use support::log::{FORMAT, lines, rows};
use support::{Balance, Sandbox, append, source, text, wait_until};

/// Logs that have not been written to for a while, of ten lines each.
fn quiet_logs(sandbox: &Sandbox, folder: &str, count: u64) -> Vec<PathBuf> {
    (0..count)
        .map(|number| {
            let name = format!("logs/{folder}/site{number}.log");
            let log = sandbox.write(&name, lines(number * 10, 10));
            let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(600);
            let file = fs::File::options().write(true).open(&log);
            file.and_then(|file| file.set_modified(long_ago))
                .expect("our own file");
            log
        })
        .collect()
}

/// How many of the logs a daemon holds open; one more may be open at the moment to be looked at.
fn held(daemon: &support::Daemon, sandbox: &Sandbox) -> usize {
    let folder = format!("/proc/{}/fd", daemon.id());
    let logs = sandbox.path("logs");
    let open = fs::read_dir(folder).expect("it runs").flatten();
    open.filter_map(|entry| fs::read_link(entry.path()).ok())
        .filter(|target| target.starts_with(&logs))
        .filter(|target| target.is_file())
        .count()
}

fn config(sandbox: &Sandbox, most: u64) -> PathBuf {
    let all = sandbox.path("logs/*/*.log");
    let source = source(&[&all], FORMAT, "");
    sandbox.config(&format!("max_held_files = {most}\n{source}"))
}

#[test]
fn few_files_are_held_open_and_all_are_counted() {
    let sandbox = Sandbox::new();
    let logs = quiet_logs(&sandbox, "a", 40);
    let daemon = sandbox.start(&["-c", text(&config(&sandbox, 8))]);
    sandbox.wait_for_rows(&rows([lines(0, 400).as_str()]));
    assert!(held(&daemon, &sandbox) <= 9);

    // A line for each: all are taken up again, by and by.
    for (number, log) in logs.iter().enumerate() {
        append(log, lines(1_000 + number as u64, 1));
    }
    sandbox.wait_for_rows(&rows([lines(0, 400).as_str(), &lines(1_000, 40)]));
    assert!(held(&daemon, &sandbox) <= 9);
    daemon.stop();
    assert_eq!(sandbox.stored_balance(), Balance::counted(440));
}

#[test]
fn closed_files_that_are_rotated_are_finished_and_their_successors_read() {
    let sandbox = Sandbox::new();
    let logs = quiet_logs(&sandbox, "a", 20);
    let daemon = sandbox.start(&["-c", text(&config(&sandbox, 4))]);
    sandbox.wait_for_rows(&rows([lines(0, 200).as_str()]));
    for (number, log) in logs.iter().enumerate() {
        let number = number as u64;
        append(log, lines(1_000 + number, 1));
        fs::rename(log, log.with_extension("log.1")).expect("our own file");
        append(log, lines(2_000 + number, 1));
    }
    let all = [lines(0, 200), lines(1_000, 20), lines(2_000, 20)];
    sandbox.wait_for_rows(&rows(all.iter().map(String::as_str)));
    daemon.stop();
    assert_eq!(sandbox.stored_balance(), Balance::counted(240));
}

#[test]
fn a_closed_file_that_is_truncated_is_read_from_its_start() {
    let sandbox = Sandbox::new();
    let logs = quiet_logs(&sandbox, "a", 8);
    let daemon = sandbox.start(&["-c", text(&config(&sandbox, 2))]);
    sandbox.wait_for_rows(&rows([lines(0, 80).as_str()]));
    for (number, log) in logs.iter().enumerate() {
        fs::write(log, lines(1_000 + number as u64, 1)).expect("our own file");
    }
    sandbox.wait_for_rows(&rows([lines(0, 80).as_str(), &lines(1_000, 8)]));
    daemon.stop();
}

#[test]
fn a_closed_file_that_is_deleted_is_no_gap_to_its_neighbours() {
    let sandbox = Sandbox::new();
    let logs = quiet_logs(&sandbox, "a", 8);
    let mut daemon = sandbox.start(&["-c", text(&config(&sandbox, 2))]);
    sandbox.wait_for_rows(&rows([lines(0, 80).as_str()]));
    for log in &logs[..4] {
        fs::remove_file(log).expect("our own file");
    }
    for (number, log) in logs[4..].iter().enumerate() {
        append(log, lines(1_000 + number as u64, 1));
    }
    sandbox.wait_for_rows(&rows([lines(0, 80).as_str(), &lines(1_000, 4)]));
    daemon.assert_running();
    daemon.stop();
    assert_eq!(sandbox.stored_balance(), Balance::counted(84));
}

#[test]
fn a_folder_with_many_busy_logs_does_not_keep_others_out() {
    let sandbox = Sandbox::new();
    for number in 0..30 {
        sandbox.write(&format!("logs/greedy/{number}.log"), lines(number * 10, 10));
    }
    let config = config(&sandbox, 8);
    let daemon = sandbox.start(&["-c", text(&config)]);
    wait_until("some are counted", || match sandbox.requests() {
        few @ 0..80 => Err(few),
        _ => Ok(()),
    });
    let before = sandbox.rows();
    let modest = sandbox.write("logs/modest/site.log", lines(5_000, 10));
    wait_until("the other folder's log is counted", || {
        let open = fs::read_dir(format!("/proc/{}/fd", daemon.id())).expect("it runs");
        let mut targets = open
            .flatten()
            .filter_map(|it| fs::read_link(it.path()).ok());
        match targets.any(|target| target == modest) {
            true => Ok(()),
            false => Err(before.len()),
        }
    });
    assert!(held(&daemon, &sandbox) <= 9);
    daemon.stop();
}

#[test]
fn kill_9_with_closed_files_loses_nothing() {
    let sandbox = Sandbox::new();
    let logs = quiet_logs(&sandbox, "a", 20);
    let config = config(&sandbox, 4);
    let mut written = vec![lines(0, 200)];
    for round in 0..4 {
        let daemon = sandbox.start(&["-c", text(&config)]);
        for (number, log) in logs.iter().enumerate() {
            let line = lines(1_000 + round * 100 + number as u64, 1);
            append(log, &line);
            written.push(line);
        }
        if round % 2 == 0 {
            sandbox.wait_for_rows(&rows(written.iter().map(String::as_str)));
        }
        daemon.kill();
    }
    let daemon = sandbox.start(&["-c", text(&config)]);
    sandbox.wait_for_rows(&rows(written.iter().map(String::as_str)));
    daemon.stop();
    assert_eq!(sandbox.stored_balance(), Balance::counted(280));
}
