//! Logs that name their columns themselves, and change them in the middle: whatever reads them, in
//! however many pieces, a line means what the last `#Fields` line before it says.

mod support;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use support::log::{DAY, FORMAT, NOON, lines, rows};
use support::{Balance, Row, Sandbox, append, gzip, repository, source, text, wait_until};

/// The host and both directions.
const A: &str = "date time cs-host sc-bytes cs-bytes sc-status cs-username";
/// As many columns, but sent and received have changed places: to take one for the other counts
/// every byte wrongly.
const B: &str = "date time cs-host cs-bytes sc-bytes sc-status cs-username";
/// Fewer columns.
const C: &str = "date time sc-bytes cs-host";

/// A log being written, and what it comes to.
#[derive(Default)]
struct Log {
    columns: &'static str,
    number: u64,
    rows: BTreeMap<(String, Option<String>), [u64; 3]>,
    balance: Balance,
}

impl Log {
    /// What IIS writes when it starts, or its columns are changed.
    fn header(&mut self, columns: &'static str) -> String {
        self.columns = columns;
        self.balance.lines += 3;
        self.balance.ignored += 3;
        format!(
            "#Software: Microsoft Internet Information Services 10.0\r\n#Version: 1.0\r\n#Fields: {columns}\r\n"
        )
    }

    /// Requests, each different from all others.
    fn lines(&mut self, count: u64) -> String {
        (0..count).map(|_| self.line()).collect()
    }

    fn line(&mut self) -> String {
        let number = self.number;
        self.number += 1;
        let time = chrono::DateTime::from_timestamp((NOON + number % 30_000).cast_signed(), 0);
        let time = time
            .expect("a time")
            .format("%Y-%m-%d %H:%M:%S")
            .to_string();
        let host = ["a.example", "b.example", "c.example"][(number % 3) as usize];
        let user = ["-", "alice", "CORP\\bob"][(number / 3 % 3) as usize];
        let (received, sent) = (number % 997, 1_000_000 + number);
        let (line, user, received) = match self.columns {
            A => (
                format!("{time} {host} {sent} {received} 200 {user}"),
                user,
                received,
            ),
            B => (
                format!("{time} {host} {received} {sent} 200 {user}"),
                user,
                received,
            ),
            C => (format!("{time} {sent} {host}"), "-", 0),
            other => panic!("{other}"),
        };
        let stored = user.replace('\\', "\\x5c");
        let row = (host.to_owned(), (user != "-").then_some(stored));
        let sums = self.rows.entry(row).or_default();
        *sums = [sums[0] + received, sums[1] + sent, sums[2] + 1];
        self.balance.lines += 1;
        self.balance.counted += 1;
        format!("{line}\r\n")
    }

    fn unparsed(&mut self, line: &str) -> String {
        self.balance.lines += 1;
        self.balance.unparsed += 1;
        format!("{line}\r\n")
    }

    fn rows(&self) -> Vec<Row> {
        let rows = self.rows.iter();
        rows.map(|((vhost, user), [bytes_in, bytes_out, requests])| Row {
            day: DAY.to_owned(),
            vhost: vhost.clone(),
            user: user.clone(),
            bytes_in: *bytes_in,
            bytes_out: *bytes_out,
            requests: *requests,
        })
        .collect()
    }

    #[track_caller]
    fn check(&self, sandbox: &Sandbox) {
        sandbox.wait_for_rows(&self.rows());
        wait_until("the balance is the expected one", || {
            match sandbox.stored_balance() {
                balance if balance == self.balance => Ok(()),
                balance => Err((balance, self.balance)),
            }
        });
    }
}

/// Sections of all three kinds, `sections` of them.
fn long_log(log: &mut Log, sections: usize, lines: u64) -> String {
    let mut content = String::new();
    for section in 0..sections {
        content += &log.header([A, B, C][section % 3]);
        content += &log.lines(lines);
    }
    content
}

#[test]
fn blocks_and_threads_make_no_difference() {
    // Some tens of blocks on one thread, several on two; sections that are much shorter and much
    // longer than a block.
    for (sections, lines) in [(3_000, 60), (5, 40_000)] {
        let mut log = Log::default();
        let sandbox = Sandbox::new();
        let path = sandbox.write("iis.log", long_log(&mut log, sections, lines));
        for threads in ["1", "2"] {
            let sandbox = Sandbox::new();
            let ran = sandbox.import(&["--format", "w3c", "--threads", threads, text(&path)]);
            assert_eq!(ran.balance(), log.balance, "{threads} threads");
            assert_eq!(sandbox.rows(), log.rows(), "{threads} threads");
        }
    }
}

#[test]
fn an_import_goes_on_in_the_middle() {
    for (format, threads) in [("w3c", "1"), ("auto", "1"), ("w3c", "2"), ("auto", "2")] {
        let mut log = Log::default();
        let sandbox = Sandbox::new();
        let path = sandbox.write("iis.log", "");
        // Pieces that end behind a header, that begin with one, and that have none.
        let mut pieces = vec![log.header(A) + &log.lines(20), log.lines(20), log.header(B)];
        pieces.push(log.lines(20));
        pieces.push(log.lines(5) + &log.header(C));
        pieces.push(log.header(B));
        pieces.push(log.lines(1));
        let mut balance = Balance::default();
        for piece in pieces {
            append(&path, piece);
            let ran = sandbox.import(&["--format", format, "--threads", threads, text(&path)]);
            balance.lines += ran.balance().lines;
        }
        assert_eq!(sandbox.rows(), log.rows(), "{format}, {threads} threads");
        assert_eq!(balance.lines, log.balance.lines);
        // All of it, packed, is what was counted.
        let content = fs::read(&path).expect("our own file");
        let packed = sandbox.write("iis.log.gz", gzip(&content));
        assert_eq!(
            sandbox.import(&[text(&packed)]).balance(),
            Balance::default()
        );
        // More of it is in an archive, which is unpacked up to where it goes on.
        let more = [content, log.lines(7).into_bytes()].concat();
        let packed = sandbox.write("more.log.gz", gzip(&more));
        let ran = sandbox.import(&["--format", format, "--threads", threads, text(&packed)]);
        assert_eq!(ran.balance(), Balance::counted(7), "{}", ran.stderr);
        assert_eq!(sandbox.rows(), log.rows());
    }
}

#[test]
fn standard_input_is_read_from_its_beginning() {
    let mut log = Log::default();
    let content = long_log(&mut log, 700, 100);
    let sandbox = Sandbox::new();
    let command = sandbox.tollkeeper(["import", "--output", "json", "-"]);
    let ran = sandbox
        .ran_with_input(command, content.as_bytes())
        .exited(0);
    assert_eq!(ran.balance(), log.balance);
    assert_eq!(sandbox.rows(), log.rows());
}

#[test]
fn ranges_that_are_read_again_have_the_columns_before_them() {
    let mut log = Log::default();
    let mut content = log.header(A) + &log.lines(10);
    let before = (log.rows(), log.balance);
    // Lines of each kind, between lines that another writer left.
    for columns in [B, A, C] {
        content += &log.header(columns);
        content += &log.lines(5);
    }
    // With the first header alone, which a log that has lost its own is read with, they are something
    // else; with tabs between columns they are nothing.
    let sandbox = Sandbox::new();
    let tabs: String = (0..10)
        .map(|n| format!("2024-06-15\t12:00:00\tx.example\t{n}\r\n"))
        .collect();
    let header = "#Fields: date time x-host-header sc-bytes\r\n";
    let path = sandbox.write("mixed.log", format!("{header}{tabs}{content}"));
    let ran = sandbox.import(&["--format", "cloudfront", text(&path)]);
    assert_eq!(ran.balance().unparsed, log.balance.counted);
    let ran = sandbox.import(&["--unparsed", "--format", "w3c", text(&path)]);
    assert_eq!(ran.balance().counted, log.balance.counted, "{}", ran.stderr);
    let rows = sandbox.rows();
    let rows: Vec<Row> = rows
        .into_iter()
        .filter(|row| row.vhost != "x.example")
        .collect();
    assert_eq!(rows, log.rows());
    assert_ne!(before.0, rows);
}

#[test]
fn a_lost_header_is_given_by_hand() {
    let mut log = Log::default();
    log.header(B);
    let content = log.lines(20) + &log.header(A) + &log.lines(20);
    log.balance.lines -= 3;
    log.balance.ignored -= 3;
    let sandbox = Sandbox::new();
    let path = sandbox.write("iis.log", content);
    let given = format!("w3c:#Fields: {B}");
    let without = sandbox.ran(["check", "--output", "json", "--format", "w3c", text(&path)]);
    assert_eq!(without.balance().unparsed, 20);
    let failure = &without.json()["failures"][0];
    let expected = failure["expected"].as_str().expect("text");
    assert!(expected.contains("#Fields line before it"), "{expected}");
    let ran = sandbox.import(&["--format", &given, text(&path)]);
    assert_eq!(ran.balance(), log.balance);
    assert_eq!(sandbox.rows(), log.rows());
}

#[test]
fn other_formats_of_a_list_do_not_hide_the_header() {
    let mut log = Log::default();
    let content = long_log(&mut log, 6, 20);
    let sandbox = Sandbox::new();
    let path = sandbox.write("iis.log", content);
    let formats = [
        "--format",
        "combined",
        "--format",
        "w3c",
        "--format",
        "cloudfront",
    ];
    let ran = sandbox.import(&[&formats[..], &[text(&path)]].concat());
    assert_eq!(ran.balance(), log.balance);
    assert_eq!(sandbox.rows(), log.rows());
}

#[test]
fn a_site_that_is_set_stands_for_lines_that_name_none() {
    let log = "#Fields: date time s-sitename sc-bytes\r\n2024-06-15 12:00:00 W3SVC1 1\r\n\
               #Fields: date time cs-host sc-bytes\r\n2024-06-15 12:00:00 A.example:80 2\r\n\
               #Fields: date time sc-bytes\r\n2024-06-15 12:00:00 4\r\n";
    let sites = |arguments: &[&str]| {
        let sandbox = Sandbox::new();
        let path = sandbox.write("iis.log", log);
        sandbox.import(&[arguments, &["--format", "w3c", text(&path)]].concat());
        let rows = sandbox.rows();
        let rows = rows
            .iter()
            .map(|row| format!("{} {}", row.vhost, row.bytes_out));
        rows.collect::<Vec<_>>().join(", ")
    };
    assert_eq!(sites(&[]), "_none 4, a.example 2, w3svc1 1");
    assert_eq!(sites(&["--vhost", "z.example"]), "a.example 2, z.example 5");
}

/// A daemon that follows `logs/iis.log`.
fn followed(format: &str) -> (Sandbox, PathBuf, PathBuf) {
    let sandbox = Sandbox::new();
    let path = sandbox.write("logs/iis.log", "");
    let config = sandbox.config(&source(&[&path], format, ""));
    (sandbox, path, config)
}

#[test]
fn a_killed_daemon_goes_on_in_the_middle() {
    for format in ["w3c", "auto"] {
        let (sandbox, path, config) = followed(format);
        let mut log = Log::default();
        let start = || sandbox.start(&["-c", text(&config)]);
        append(&path, log.header(A) + &log.lines(50));
        let daemon = start();
        log.check(&sandbox);
        append(&path, log.lines(10) + &log.header(B) + &log.lines(10));
        log.check(&sandbox);
        daemon.kill();
        append(&path, log.lines(10));
        let daemon = start();
        log.check(&sandbox);
        daemon.kill();
        append(&path, log.lines(10) + &log.header(C) + &log.lines(10));
        let daemon = start();
        log.check(&sandbox);
        append(&path, log.lines(10));
        log.check(&sandbox);
        daemon.stop();
        assert_eq!(sandbox.gaps(), []);
    }
}

#[test]
fn a_format_that_comes_with_a_reload_finds_the_header_before_it() {
    let (sandbox, path, config) = followed(FORMAT);
    let old = lines(0, 50);
    let mut log = Log::default();
    append(
        &path,
        old.clone() + &log.header(A) + &log.lines(20) + &log.header(B) + &log.lines(20),
    );
    let daemon = sandbox.start(&["-c", text(&config)]);
    // The header is a comment to the old format, and counted as such; the lines behind it wait.
    sandbox.wait_for_rows(&rows([old.as_str()]));
    let section = source(&[&path], FORMAT, "");
    let listed = section
        .replace("'''\n", "''', \"w3c\"]\n")
        .replace("format = ", "format = [");
    sandbox.config(&listed);
    daemon.signal(rustix::process::Signal::HUP);
    append(&path, log.lines(20));
    let sum = |of: &[Row]| of.iter().map(|row| row.bytes_out).sum::<u64>();
    let expected = sum(&rows([old.as_str()])) + sum(&log.rows());
    wait_until("all is counted", || match sum(&sandbox.rows()) {
        sum if sum == expected => Ok(()),
        sum => Err((sum, expected, daemon.said())),
    });
    daemon.stop();
    log.balance.lines += 50;
    log.balance.counted += 50;
    assert_eq!(sandbox.stored_balance(), log.balance);
}

/// Packs a log as `gzip` does, with its time of change.
fn pack(path: &Path, to: &Path) {
    let modified = path.metadata().and_then(|there| there.modified());
    let content = fs::read(path).expect("our own file");
    let mut file = File::create(to).expect("a new file");
    file.write_all(&gzip(&content)).expect("room");
    file.set_modified(modified.expect("a time"))
        .expect("our own file");
    fs::remove_file(path).expect("our own file");
}

#[test]
fn the_rest_of_a_packed_rotation_has_its_columns() {
    for format in ["w3c", "auto"] {
        let (sandbox, path, config) = followed(format);
        let mut log = Log::default();
        let start = || sandbox.start(&["-c", text(&config)]);
        append(
            &path,
            log.header(A) + &log.lines(30) + &log.header(B) + &log.lines(30),
        );
        let daemon = start();
        log.check(&sandbox);
        daemon.kill();
        append(&path, log.lines(20) + &log.header(C) + &log.lines(20));
        pack(&path, &path.with_extension("log.1.gz"));
        append(&path, log.header(A) + &log.lines(20));
        let daemon = start();
        log.check(&sandbox);
        daemon.stop();
        assert_eq!(sandbox.gaps(), []);
    }
}

#[test]
fn lines_that_are_held_back_are_read_again_with_their_own_columns() {
    let (sandbox, path, config) = followed("w3c");
    let mut log = Log::default();
    append(&path, log.header(A) + &log.lines(10));
    let daemon = sandbox.start(&["-c", text(&config)]);
    log.check(&sandbox);
    // The last line would fit the header behind it, and is read once more when another one has come.
    let lines = log.lines(10);
    let early = log.unparsed("2024-06-15 12:00:00 77 early.example");
    append(&path, lines + &early + &log.header(C));
    // All of it came in one write: once its first lines are counted, the last one has been seen.
    sandbox.wait_for_rows(&log.rows());
    append(&path, log.lines(10));
    log.check(&sandbox);
    daemon.stop();
    assert!(
        sandbox
            .rows()
            .iter()
            .all(|row| row.vhost != "early.example")
    );
}

#[test]
fn streams_are_refused() {
    let sandbox = Sandbox::new();
    for section in [
        "[[source.pipe]]\nname = \"p\"\nformat = \"w3c\"\n",
        "[[source.syslog]]\nlisten = \"udp://127.0.0.1:5514\"\nformat = \"cloudfront\"\n",
    ] {
        let config = sandbox.config(section);
        let ran = sandbox.ran(["check", "-c", text(&config)]);
        assert_ne!(ran.code, Some(0));
        let wanted = "cannot be read from a stream";
        assert!(ran.stderr.contains(wanted), "{}", ran.stderr);
    }
}

#[test]
fn what_to_switch_on_is_said() {
    let sandbox = Sandbox::new();
    let log = repository().join("fixtures/servers/iis/documented.log");
    let wanted = "has no sc-bytes; in IIS Manager: Logging, Select Fields, Bytes Sent";
    let ran = sandbox.import(&[text(&log)]);
    assert_eq!(ran.balance().unattributed, 1);
    assert!(ran.stderr.contains(wanted), "{}", ran.stderr);
    let ran = sandbox.ran(["check", text(&log)]);
    assert!(ran.stdout.contains(wanted), "{}", ran.stdout);
    let (sandbox, path, config) = followed("w3c");
    append(&path, fs::read(&log).expect("a fixture"));
    let daemon = sandbox.start(&["-c", text(&config)]);
    wait_until("the daemon says it", || match daemon.said() {
        said if said.contains(wanted) => Ok(()),
        said => Err(said),
    });
    daemon.stop();
}

#[test]
fn check_explains_each_header() {
    let sandbox = Sandbox::new();
    let log = repository().join("fixtures/servers/iis/documented.log");
    let ran = sandbox.ran(["check", "--output", "json", text(&log)]);
    let report = ran.json();
    let formats = report["formats"].as_array().expect("formats");
    let grades: Vec<&str> = formats
        .iter()
        .filter_map(|format| format["grade"].as_str())
        .collect();
    // IIS's own choice has no bytes at all.
    assert_eq!(grades, ["body only", "exact"]);
    assert!(
        formats[0]["notes"][0]
            .as_str()
            .is_some_and(|note| note.contains("Bytes Sent (sc-bytes)"))
    );
    assert!(
        formats[0]["better"]
            .as_str()
            .is_some_and(|better| better.contains("BytesSent"))
    );
    assert_eq!(report["grade"], "body only");
}
