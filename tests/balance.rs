//! Every line read is counted, or named as not counted: garbage, blanks, monsters and half lines.

mod support;

use support::log::{DAY, FORMAT, NOON, line, lines, rows};
use support::{Balance, Ran, Row, Sandbox, append, gzip, source, text, wait_until};

fn import(sandbox: &Sandbox, path: &str) -> Ran {
    sandbox.import(&["--format", FORMAT, path])
}

/// A good line among others, so that the format is known to fit.
fn good(number: u64) -> String {
    line(NOON + number, 200, (1, 2), "a.example", "-")
}

fn check(name: &str, content: &[u8], expected: Balance) {
    let sandbox = Sandbox::new();
    let log = sandbox.write("access.log", content);
    assert_eq!(import(&sandbox, text(&log)).balance(), expected, "{name}");
    assert_eq!(sandbox.stored_balance(), expected, "{name}: stored");
    assert_eq!(sandbox.requests(), expected.counted, "{name}: rows");
}

#[test]
fn every_kind_of_line_has_its_place() {
    let monster = [vec![b'x'; 1 << 20], b"\n".to_vec()].concat();
    let beyond_a_block = [vec![b'x'; 6 << 20], b"\n".to_vec()].concat();
    let long_but_good = line(NOON, 200, (1, 2), "a.example", &"u".repeat(60_000));
    let unparsed = |n| Balance {
        lines: n + 1,
        counted: 1,
        unparsed: n,
        ..Balance::default()
    };
    let ignored = |n| Balance {
        lines: n + 1,
        counted: 1,
        ignored: n,
        ..Balance::default()
    };
    let unattributed = |n| Balance {
        lines: n + 1,
        counted: 1,
        unattributed: n,
        ..Balance::default()
    };
    let cases: Vec<(&str, Vec<u8>, Balance)> = vec![
        (
            "garbage",
            b"hello\n\x00\x01\xff\xfe\n{}\n".to_vec(),
            unparsed(3),
        ),
        ("blank", b"\n\n  \n\t\n".to_vec(), ignored(4)),
        (
            "comments",
            b"# one\n#Fields: date time\n".to_vec(),
            ignored(2),
        ),
        ("a line of a megabyte", monster, unparsed(1)),
        ("a line longer than a block", beyond_a_block, unparsed(1)),
        (
            "a long line that parses",
            long_but_good.into_bytes(),
            Balance::counted(2),
        ),
        (
            "NUL bytes",
            [vec![0; 4096], b"\n".to_vec()].concat(),
            unparsed(1),
        ),
        (
            "CR LF",
            good(5).replace('\n', "\r\n").into_bytes(),
            Balance::counted(2),
        ),
        ("blank with CR", b"\r\n".to_vec(), ignored(1)),
        (
            "half a line",
            b"1718452800.000 200 1\n".to_vec(),
            unparsed(1),
        ),
        (
            "two lines in one",
            good(1).replace('\n', "").repeat(2).into_bytes(),
            unparsed(1),
        ),
        (
            "more than 2^50 bytes",
            line(NOON, 200, ((1 << 50) + 1, 0), "a.example", "-").into_bytes(),
            unattributed(1),
        ),
        (
            "more than 64 bits",
            format!("{NOON}.000 200 99999999999999999999999 1 a.example \"-\"\n").into_bytes(),
            unattributed(1),
        ),
        (
            "in a hundred years",
            line(NOON + 3_155_760_000, 200, (1, 1), "a.example", "-").into_bytes(),
            unattributed(1),
        ),
    ];
    for (name, bytes, expected) in cases {
        let mut content = bytes;
        if content.last() != Some(&b'\n') {
            content.push(b'\n');
        }
        content.extend(good(0).bytes());
        check(name, &content, expected);
    }
}

#[test]
fn exactly_two_to_the_fifty_counts() {
    let sandbox = Sandbox::new();
    let most = 1 << 50;
    let log = sandbox.write(
        "access.log",
        line(NOON, 200, (most, most), "a.example", "-").repeat(3),
    );
    assert_eq!(import(&sandbox, text(&log)).balance(), Balance::counted(3));
    assert_eq!(sandbox.rows()[0].bytes_out, 3 << 50);
}

#[test]
fn a_line_without_its_end_waits_in_a_plain_file() {
    let sandbox = Sandbox::new();
    let (whole, last) = (lines(0, 100), line(NOON, 200, (1, 2), "a.example", "-"));
    let log = sandbox.write("access.log", format!("{whole}{}", last.trim_end()));
    let ran = import(&sandbox, text(&log));
    assert_eq!(ran.balance(), Balance::counted(100));
    assert_eq!(ran.json()["partial"], 1);
    append(&log, "\n");
    let ran = import(&sandbox, text(&log));
    assert_eq!(ran.balance(), Balance::counted(1));
    assert_eq!(ran.json()["partial"], 0);
    assert_eq!(sandbox.rows(), rows([whole.as_str(), &last]));
}

#[test]
fn a_line_without_its_end_counts_at_the_end_of_an_archive_and_of_standard_input() {
    let last = line(NOON, 200, (1, 2), "a.example", "-");
    let content = format!("{}{}", lines(0, 100), last.trim_end());
    let expected = rows([lines(0, 100).as_str(), &last]);

    let sandbox = Sandbox::new();
    let packed = sandbox.write("access.log.gz", gzip(content.as_bytes()));
    assert_eq!(
        import(&sandbox, text(&packed)).balance(),
        Balance::counted(101)
    );
    assert_eq!(sandbox.rows(), expected);

    let sandbox = Sandbox::new();
    let command = sandbox.tollkeeper(sandbox.import_args(&["--format", FORMAT, "-"]));
    let ran = sandbox
        .ran_with_input(command, content.as_bytes())
        .exited(0);
    assert_eq!(ran.balance(), Balance::counted(101));
    assert_eq!(sandbox.rows(), expected);
}

#[test]
fn a_plain_file_is_finished_by_its_archive() {
    let sandbox = Sandbox::new();
    let last = line(NOON, 200, (1, 2), "a.example", "-");
    let content = format!("{}{}", lines(0, 100), last.trim_end());
    let log = sandbox.write("access.log", &content);
    assert_eq!(
        import(&sandbox, text(&log)).balance(),
        Balance::counted(100)
    );
    let packed = sandbox.write("access.log.1.gz", gzip(content.as_bytes()));
    assert_eq!(
        import(&sandbox, text(&packed)).balance(),
        Balance::counted(1)
    );
    assert_eq!(sandbox.rows(), rows([lines(0, 100).as_str(), &last]));
}

#[test]
fn the_daemon_waits_for_the_end_of_a_line() {
    let sandbox = Sandbox::new();
    let log = sandbox.write("access.log", lines(0, 10));
    let config = sandbox.config(&source(&[&log], FORMAT, ""));
    let daemon = sandbox.start(&["-c", text(&config)]);
    sandbox.wait_for_rows(&rows([lines(0, 10).as_str()]));
    let next = line(NOON, 200, (1, 2), "a.example", "-");
    let (start, end) = next.split_at(20);
    append(&log, start);
    append(&sandbox.path("other.log"), "x");
    daemon.stop();
    assert_eq!(sandbox.requests(), 10);
    let daemon = sandbox.start(&["-c", text(&config)]);
    append(&log, end);
    sandbox.wait_for_rows(&rows([lines(0, 10).as_str(), &next]));
    daemon.stop();
    assert_eq!(sandbox.stored_balance(), Balance::counted(11));
}

#[test]
fn a_format_that_does_not_fit_loses_nothing() {
    let sandbox = Sandbox::new();
    let content = lines(0, 500);
    let log = sandbox.write("access.log", &content);
    let ran = sandbox.import_fails(&["--format", "combined", text(&log)]);
    assert_eq!(ran.balance(), Balance::default());
    assert!(ran.stderr.contains("format does not fit"), "{}", ran.stderr);
    assert!(ran.stderr.contains("access.log"), "{}", ran.stderr);
    assert_eq!(sandbox.rows(), []);
    assert_eq!(
        import(&sandbox, text(&log)).balance(),
        Balance::counted(500)
    );
    assert_eq!(sandbox.rows(), rows([content.as_str()]));
}

#[test]
fn a_format_that_changes_in_the_middle_is_resumed_there() {
    let sandbox = Sandbox::new();
    let (old, new) = (
        lines(0, 2_000),
        "1718452800.000 200 1 2 b.example\n".repeat(3_000),
    );
    let log = sandbox.write("access.log", format!("{old}{new}"));
    let ran = sandbox.import_fails(&["--format", FORMAT, text(&log)]);
    assert_eq!(ran.balance(), Balance::counted(2_000));
    assert!(ran.stderr.contains("format does not fit"), "{}", ran.stderr);
    let short = "nginx:$msec $status $request_length $bytes_sent $host";
    let ran = sandbox.import(&["--format", FORMAT, "--format", short, text(&log)]);
    assert_eq!(ran.balance(), Balance::counted(3_000));
    assert_eq!(sandbox.stored_balance(), Balance::counted(5_000));
}

#[test]
fn garbage_of_clients_does_not_stop_a_log() {
    // 999 lines in a row that do not parse, again and again, are still the clients' doing.
    let sandbox = Sandbox::new();
    let garbage = "garbage\n".repeat(999);
    let mut content = good(0);
    for number in 1..4 {
        content += &garbage;
        content += &good(number);
    }
    let log = sandbox.write("access.log", &content);
    let expected = Balance {
        lines: 3_001,
        counted: 4,
        unparsed: 2_997,
        ..Balance::default()
    };
    assert_eq!(import(&sandbox, text(&log)).balance(), expected);
}

#[test]
fn the_daemon_stops_reading_a_log_that_its_format_does_not_fit_and_resumes() {
    let sandbox = Sandbox::new();
    let content = lines(0, 500);
    let log = sandbox.write("access.log", &content);
    let other = sandbox.write("other.log", lines(1_000, 10));
    let wrong = source(&[&log], "combined", "") + &source(&[&other], FORMAT, "");
    let config = sandbox.config(&wrong);
    let daemon = sandbox.start(&["-c", text(&config)]);
    // The other log goes on.
    sandbox.wait_for_rows(&rows([lines(1_000, 10).as_str()]));
    wait_until("the daemon has said so", || {
        let said = daemon.said();
        if said.contains("format does not fit") {
            Ok(())
        } else {
            Err(said)
        }
    });
    daemon.stop();
    let right = source(&[&log], FORMAT, "") + &source(&[&other], FORMAT, "");
    sandbox.config(&right);
    let daemon = sandbox.start(&["-c", text(&config)]);
    sandbox.wait_for_rows(&rows([content.as_str(), &lines(1_000, 10)]));
    daemon.stop();
    assert_eq!(sandbox.stored_balance(), Balance::counted(510));
}

#[test]
fn lines_without_a_day_take_that_of_the_line_before() {
    let sandbox = Sandbox::new();
    let next_day = NOON + 86_400;
    let content = [
        line(NOON, 200, (1, 1), "a.example", "-"),
        "garbage\n\n".to_owned(),
        line(next_day, 200, (1, 1), "a.example", "-"),
        "# more\ngarbage\n".to_owned(),
    ]
    .concat();
    let log = sandbox.write("access.log", content);
    import(&sandbox, text(&log));
    let store =
        rusqlite::Connection::open(sandbox.state().join("tollkeeper.db")).expect("the store");
    let on = |day: &str| -> (i64, i64, i64) {
        let sums = "SELECT sum(counted), sum(unparsed), sum(ignored) FROM balance WHERE day = ?1";
        store
            .query_row(sums, [day], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .expect("a row")
    };
    assert_eq!(on(DAY), (1, 1, 1));
    assert_eq!(on("2024-06-16"), (1, 1, 1));
}

#[test]
fn an_empty_log_is_no_error() {
    let sandbox = Sandbox::new();
    for name in ["empty.log", "empty.log.gz"] {
        let log = if name.ends_with(".gz") {
            sandbox.write(name, gzip(b""))
        } else {
            sandbox.write(name, "")
        };
        assert_eq!(
            import(&sandbox, text(&log)).balance(),
            Balance::default(),
            "{name}"
        );
        let ran = sandbox.import(&["--format", "auto", text(&log)]);
        assert_eq!(ran.balance(), Balance::default(), "{name}, detected");
    }
    let command = sandbox.tollkeeper(sandbox.import_args(&["--format", FORMAT, "-"]));
    assert_eq!(
        sandbox.ran_with_input(command, b"").exited(0).balance(),
        Balance::default()
    );
    assert_eq!(sandbox.rows(), Vec::<Row>::new());
}
