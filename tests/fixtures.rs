//! The logs that real servers wrote, imported: every number equals what another reader found.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use support::{Balance, Row, Sandbox, gzip, repository, text};

/// A recorded log with what stands beside it.
struct Fixture {
    log: PathBuf,
    /// `--format` for it.
    formats: Vec<String>,
    balance: Balance,
    rows: Vec<Row>,
}

fn fixture(log: PathBuf, server: Option<&str>) -> Fixture {
    let beside = |ending: &str| PathBuf::from(format!("{}.{ending}", text(&log)));
    let read = |path: &Path| {
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let expected: Value = serde_json::from_str(&read(&beside("expected.json"))).expect("JSON");
    let mut formats = Vec::new();
    // JSON has no format string in the server's configuration.
    if let Some(server) = server.filter(|_| beside("format").exists()) {
        formats.push(format!("{server}:{}", read(&beside("format"))));
    }
    if beside("preset").exists() {
        formats.push(read(&beside("preset")).trim().to_owned());
    }
    let rows = expected["rows"]
        .as_array()
        .expect("rows")
        .iter()
        .map(Row::from_json)
        .collect();
    Fixture {
        formats,
        balance: Balance::from_json(&expected),
        rows,
        log,
    }
}

/// All logs of a server.
fn fixtures(server: &str) -> Vec<Fixture> {
    let folder = repository().join("fixtures/servers").join(server);
    let mut logs: Vec<PathBuf> = fs::read_dir(&folder)
        .expect("the fixtures")
        .map(|entry| entry.expect("a folder that can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    logs.sort();
    assert!(!logs.is_empty(), "{}: no logs", folder.display());
    logs.into_iter()
        .map(|log| fixture(log, Some(server)))
        .collect()
}

/// Logs of servers that nobody can run here, as their makers document them: the log says itself what
/// its columns are.
fn documented(server: &str) -> Vec<Fixture> {
    let folder = repository().join("fixtures/servers").join(server);
    let logs = ["documented.log", "generated.log"];
    logs.map(|log| fixture(folder.join(log), None)).into()
}

fn sample() -> Fixture {
    fixture(repository().join("fixtures/sample/access.log"), None)
}

/// Imports into a new store; says what differs.
fn differences(fixture: &Fixture, format: &str, log: &Path) -> Option<String> {
    let sandbox = Sandbox::new();
    let ran = sandbox.import(&["--format", format, "--timezone", "UTC", text(log)]);
    let (balance, rows) = (ran.balance(), sandbox.rows());
    if balance == fixture.balance && rows == fixture.rows {
        return None;
    }
    let missing: Vec<&Row> = fixture
        .rows
        .iter()
        .filter(|row| !rows.contains(row))
        .collect();
    let surplus: Vec<&Row> = rows
        .iter()
        .filter(|row| !fixture.rows.contains(row))
        .collect();
    Some(format!(
        "{} as {format}\n  expected {:?}\n  got      {balance:?}\n  missing {missing:#?}\n  surplus {surplus:#?}\n{}",
        log.display(),
        fixture.balance,
        ran.stderr
    ))
}

/// Every log of the server, in each format that stands beside it, plain and packed.
fn check_server(server: &str) {
    let mut wrong = Vec::new();
    for fixture in fixtures(server) {
        let sandbox = Sandbox::new();
        let packed = sandbox.write(
            "access.log.gz",
            gzip(&fs::read(&fixture.log).expect("a log")),
        );
        for format in &fixture.formats {
            wrong.extend(differences(&fixture, format, &fixture.log));
        }
        wrong.extend(differences(&fixture, &fixture.formats[0], &packed));
    }
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn nginx_logs_equal_what_another_reader_found() {
    check_server("nginx");
}

#[test]
fn apache_logs_equal_what_another_reader_found() {
    check_server("apache");
}

#[test]
fn lighttpd_logs_equal_what_another_reader_found() {
    check_server("lighttpd");
}

#[test]
fn documented_logs_equal_what_another_reader_found() {
    for fixture in ["iis", "cloudfront"].into_iter().flat_map(documented) {
        let sandbox = Sandbox::new();
        let content = fs::read(&fixture.log).expect("a log");
        let packed = sandbox.write("log.gz", gzip(&content));
        for format in [fixture.formats[0].as_str(), "auto"] {
            for log in [&fixture.log, &packed] {
                assert_eq!(differences(&fixture, format, log), None);
            }
        }
        let format = fixture.formats[0].as_str();
        let check = sandbox.ran([
            "check",
            "--output",
            "json",
            "--format",
            format,
            text(&fixture.log),
        ]);
        assert_eq!(check.balance(), fixture.balance, "{}", check.stderr);
    }
}

#[test]
fn caddy_logs_equal_what_another_reader_found() {
    check_server("caddy");
}

#[test]
fn traefik_lines_as_its_documentation_has_them_are_read() {
    check_server("traefik");
}

#[test]
fn caddy_and_traefik_are_detected() {
    for server in ["caddy", "traefik"] {
        for fixture in fixtures(server) {
            assert_eq!(differences(&fixture, "auto", &fixture.log), None);
        }
    }
}

#[test]
fn squid_logs_equal_what_another_reader_found() {
    check_server("squid");
}

#[test]
fn varnishncsa_logs_equal_what_another_reader_found() {
    check_server("varnishncsa");
}

#[test]
fn haproxy_logs_equal_what_another_reader_found() {
    check_server("haproxy");
}

#[test]
fn the_sample_is_detected_and_equals_what_another_reader_found() {
    let sample = sample();
    let packed = sample.log.with_extension("log.gz");
    for format in ["auto", "vhost_combined"] {
        for log in [&sample.log, &packed] {
            assert_eq!(differences(&sample, format, log), None);
        }
    }
}

#[test]
fn check_says_how_sure_a_detected_format_is() {
    let sandbox = Sandbox::new();
    let log = sample().log;
    let ran = sandbox
        .ran(["check", "--output", "json", text(&log)])
        .exited(0);
    let report: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(
        report["detected"],
        serde_json::json!([{
            "format": "vhost_combined", "certainty": "certain", "lines": 200, "fit": 200,
            "runner_up": "combined", "runner_up_fit": 200,
        }])
    );
    let words = "format vhost_combined: 200 of 200 lines fit vhost_combined, its byte counts may be bodies alone; certain, next is combined, which fits 200";
    let ran = sandbox.ran(["check", text(&log)]).exited(0);
    assert!(ran.stdout.contains(words), "{}", ran.stdout);
    let ran = sandbox.import(&[text(&log)]);
    assert!(
        ran.stdout.contains(words) || ran.stderr.contains(words),
        "{}",
        ran.stdout
    );
}

#[test]
fn the_sample_is_the_same_whether_it_is_packed_or_not() {
    let sample = sample();
    let sandbox = Sandbox::new();
    sandbox.import(&[text(&sample.log)]);
    // Two members glued together.
    let again = sandbox.import(&[text(&sample.log.with_extension("log.gz"))]);
    assert_eq!(again.balance(), Balance::default());
    assert_eq!(sandbox.rows(), sample.rows);
}

#[test]
fn what_the_daemon_follows_equals_it_too() {
    let sandbox = Sandbox::new();
    let sample = sample();
    let daemon = sandbox.start(&["--timezone", "UTC", text(&sample.log)]);
    sandbox.wait_for_rows(&sample.rows);
    daemon.stop();
    assert_eq!(sandbox.stored_balance(), sample.balance);
}

#[test]
fn check_agrees_with_import() {
    for server in [
        "nginx",
        "apache",
        "lighttpd",
        "caddy",
        "traefik",
        "haproxy",
        "squid",
        "varnishncsa",
    ] {
        for fixture in fixtures(server) {
            let sandbox = Sandbox::new();
            let format = fixture.formats[0].as_str();
            let ran = sandbox.ran([
                "check",
                "--output",
                "json",
                "--format",
                format,
                text(&fixture.log),
            ]);
            assert_eq!(ran.balance(), fixture.balance, "{}", fixture.log.display());
            let bad = fixture.balance.unparsed * 100 > fixture.balance.lines;
            assert_eq!(
                ran.code,
                Some(i32::from(bad)),
                "{}:\n{}",
                fixture.log.display(),
                ran.stderr
            );
        }
    }
}

#[test]
fn a_log_in_another_format_is_not_the_one_that_it_is_said_to_be() {
    let sandbox = Sandbox::new();
    let ran = sandbox.ran([
        "check",
        "--output",
        "json",
        "--format",
        "combined",
        text(&sample().log),
    ]);
    // A vhost_combined line can be read as combined: the site as the client. What `check` says must
    // be what `import` would do.
    let import = sandbox.ran(sandbox.import_args(&[
        "--dry-run",
        "--format",
        "combined",
        text(&sample().log),
    ]));
    let (check, import) = (ran.balance(), import.balance());
    assert_eq!(
        (check.counted, check.unparsed),
        (import.counted, import.unparsed)
    );
}
