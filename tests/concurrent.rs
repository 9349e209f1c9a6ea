//! The daemon, imports and reports side by side on one store.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use support::log::{FORMAT, lines, rows};
use support::{Balance, Row, Sandbox, append, source, text};

#[test]
fn a_daemon_two_imports_and_reports_side_by_side() {
    let sandbox = Sandbox::new();
    let followed = sandbox.write("followed.log", "");
    let config = sandbox.config(&source(&[&followed], FORMAT, ""));
    let daemon = sandbox.start(&["-c", text(&config)]);
    let done = AtomicBool::new(false);
    let imports: Vec<Vec<String>> = [1_000_000, 2_000_000]
        .into_iter()
        .map(|first| {
            (0..20)
                .map(|part| lines(first + part * 5_000, 5_000))
                .collect()
        })
        .collect();
    let written: Vec<String> = (0..200).map(|part| lines(part * 50, 50)).collect();
    thread::scope(|scope| {
        let importers: Vec<_> = imports
            .iter()
            .enumerate()
            .map(|(number, parts)| {
                let sandbox = &sandbox;
                scope.spawn(move || {
                    let mut lines = 0;
                    for (part, content) in parts.iter().enumerate() {
                        let log = sandbox.write(&format!("{number}/{part}.log"), content);
                        lines += sandbox
                            .import(&["--format", FORMAT, text(&log)])
                            .balance()
                            .counted;
                    }
                    lines
                })
            })
            .collect();
        let reporter = scope.spawn(|| {
            let mut most = 0;
            while !done.load(Ordering::Relaxed) {
                // Whole batches, never less than before.
                let requests = sandbox.requests();
                assert!(requests >= most, "{requests} after {most}");
                most = requests;
            }
        });
        for part in &written {
            append(&followed, part);
        }
        let imported: Vec<u64> = importers
            .into_iter()
            .map(|importer| importer.join().expect("no panic"))
            .collect();
        done.store(true, Ordering::Relaxed);
        reporter.join().expect("no panic");
        assert_eq!(imported, [100_000, 100_000]);
    });
    let all: Vec<&str> = imports
        .iter()
        .flatten()
        .chain(&written)
        .map(String::as_str)
        .collect();
    sandbox.wait_for_rows(&rows(all));
    daemon.stop();
    assert_eq!(sandbox.stored_balance(), Balance::counted(210_000));
}

#[test]
fn two_imports_of_the_same_logs_at_once_count_them_once() {
    for round in 0..3 {
        let sandbox = Sandbox::new();
        let parts: Vec<String> = (0..10).map(|part| lines(part * 3_000, 3_000)).collect();
        let logs: Vec<_> = parts
            .iter()
            .enumerate()
            .map(|(part, content)| {
                if part % 2 == 0 {
                    sandbox.write(&format!("{part}.log"), content)
                } else {
                    sandbox.write_gz(&format!("{part}.log.gz"), &[content.as_bytes()])
                }
            })
            .collect();
        let paths: Vec<&str> = logs.iter().map(|log| text(log)).collect();
        let counted: u64 = thread::scope(|scope| {
            let import = || {
                sandbox
                    .import(&[&["--format", FORMAT], paths.as_slice()].concat())
                    .balance()
                    .counted
            };
            let (one, other) = (scope.spawn(import), scope.spawn(import));
            one.join().expect("no panic") + other.join().expect("no panic")
        });
        assert_eq!(counted, 30_000, "round {round}");
        assert_eq!(
            sandbox.rows(),
            rows(parts.iter().map(String::as_str)),
            "round {round}"
        );
        assert_eq!(
            sandbox.stored_balance(),
            Balance::counted(30_000),
            "round {round}"
        );
    }
}

#[test]
fn an_import_and_the_daemon_on_the_same_log_count_it_once() {
    let sandbox = Sandbox::new();
    let content = lines(0, 100_000);
    let log = sandbox.write("access.log", &content);
    let config = sandbox.config(&source(&[&log], FORMAT, ""));
    let expected = rows([content.as_str()]);
    thread::scope(|scope| {
        scope.spawn(|| sandbox.import(&["--format", FORMAT, text(&log)]));
        let daemon = sandbox.start(&["-c", text(&config)]);
        sandbox.wait_for_rows(&expected);
        daemon.stop();
    });
    assert_eq!(sandbox.rows(), expected);
    assert_eq!(sandbox.stored_balance(), Balance::counted(100_000));
}

#[test]
fn a_second_daemon_of_the_same_node_is_refused() {
    let sandbox = Sandbox::new();
    let (first, second) = (lines(0, 100), lines(100, 100));
    let log = sandbox.write("access.log", &first);
    let config = sandbox.config(&source(&[&log], FORMAT, ""));
    let mut daemon = sandbox.start(&["-c", text(&config), "--node", "web1"]);
    sandbox.wait_for_rows(&rows([first.as_str()]));
    let mut other = sandbox.start(&["-c", text(&config), "--node", "web1"]);
    let status = other.wait();
    assert!(!status.success(), "the second daemon ended with {status}");
    assert!(other.said().contains("web1"), "{}", other.said());
    // The first one does not even notice.
    daemon.assert_running();
    append(&log, &second);
    sandbox.wait_for_rows(&rows([first.as_str(), &second]));
    daemon.stop();
    // And now there is room.
    let daemon = sandbox.start(&["-c", text(&config), "--node", "web1"]);
    append(&log, lines(200, 1));
    sandbox.wait_for_rows(&rows([first.as_str(), &second, &lines(200, 1)]));
    daemon.stop();
}

#[test]
fn a_daemon_after_one_that_was_killed_is_not_refused() {
    let sandbox = Sandbox::new();
    let log = sandbox.write("access.log", lines(0, 100));
    let config = sandbox.config(&source(&[&log], FORMAT, ""));
    for round in 1..=3 {
        let daemon = sandbox.start(&["-c", text(&config)]);
        sandbox.wait_for_rows(&rows([lines(0, 100 * round).as_str()]));
        daemon.kill();
        append(&log, lines(100 * round, 100));
    }
    assert_eq!(sandbox.stored_balance(), Balance::counted(300));
    let _: Vec<Row> = sandbox.rows();
}
