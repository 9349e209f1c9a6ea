//! The daemon and imports, with a database that goes away, comes back, is full, is locked, or is shared.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::log::{FORMAT, NOON, line, lines, rows};
use support::mariadb::{Database, MariaDb, PASSWORD};
use support::proxy::{Harm, Proxy, When};
use support::{
    Daemon, Ran, Row, Sandbox, append, source, text, wait_for, wait_for_moment, wait_until,
};

/// The section of a config that leads to a database through this port.
fn store(sandbox: &Sandbox, database: &Database<'_>, port: u16) -> String {
    let password = sandbox.write("password", PASSWORD.to_owned() + "\n");
    let (user, name) = (&database.url.user, &database.name);
    format!(
        "[store]\nurl = \"mysql://{user}@127.0.0.1:{port}/{name}\"\npassword_file = {password:?}\n"
    )
}

/// A sandbox whose rows are in a database.
struct Site<'s> {
    sandbox: Sandbox,
    database: &'s Database<'s>,
    log: PathBuf,
    config: PathBuf,
    node: &'static str,
}

impl<'s> Site<'s> {
    /// One that follows a log, and reaches the database by this port.
    fn new(database: &'s Database<'s>, port: u16, node: &'static str) -> Self {
        let sandbox = Sandbox::new();
        let log = sandbox.write("site.log", "");
        let store = store(&sandbox, database, port);
        let config = sandbox.config(&(store + &source(&[&log], FORMAT, "")));
        Self {
            sandbox,
            database,
            log,
            config,
            node,
        }
    }

    fn start(&self) -> Daemon {
        self.sandbox
            .start(&["-c", text(&self.config), "--node", self.node])
    }

    /// Runs a command to its end.
    fn ran(&self, arguments: &[&str]) -> Ran {
        let config = ["-c", text(&self.config), "--node", self.node];
        self.sandbox.ran([arguments, &config].concat())
    }

    /// All rows by day, vhost and user, straight from the database.
    fn rows(&self) -> Vec<Row> {
        report(self.database)
    }

    #[track_caller]
    fn wait_for_rows(&self, expected: &[Row]) {
        wait_until("the rows are the expected ones", || {
            let rows = self.rows();
            match rows == expected {
                true => Ok(()),
                false => Err((
                    rows,
                    expected.to_vec(),
                    fs::read_to_string(self.sandbox.path("run.stderr")),
                )),
            }
        });
    }
}

/// What `report` would say of users, worked out by the database: the part of no user is what is left.
fn report(database: &Database<'_>) -> Vec<Row> {
    let found = database.server.try_sql(
        &database.name,
        "SELECT day, vhost, NULL, `in`, `out`, requests FROM bandwidth UNION ALL \
         SELECT day, vhost, `user`, `in`, `out`, requests FROM bandwidth_user",
    );
    let found = found.unwrap_or_default();
    let mut all: Vec<Row> = Vec::new();
    for line in found.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let number = |field: usize| fields[field].parse().expect("a number");
        all.push(Row {
            day: fields[0].into(),
            vhost: fields[1].into(),
            user: (fields[2] != "NULL").then(|| fields[2].to_owned()),
            bytes_in: number(3),
            bytes_out: number(4),
            requests: number(5),
        });
    }
    let users: Vec<Row> = all
        .iter()
        .filter(|row| row.user.is_some())
        .cloned()
        .collect();
    for total in all.iter_mut().filter(|row| row.user.is_none()) {
        for part in &users {
            if (&part.day, &part.vhost) == (&total.day, &total.vhost) {
                total.bytes_in -= part.bytes_in;
                total.bytes_out -= part.bytes_out;
                total.requests -= part.requests;
            }
        }
    }
    all.retain(|row| row.requests > 0);
    all.sort();
    all
}

/// What the lines of a file sum up to.
fn sums(logs: &[&Path]) -> Vec<Row> {
    let logs: Vec<String> = logs
        .iter()
        .map(|log| fs::read_to_string(log).expect("a log"))
        .collect();
    rows(logs.iter().map(String::as_str))
}

/// The daemon is killed at each command of its last flush in turn, started again, and comes to the same.
fn killed_at_each_step(harm: Harm) {
    let database = MariaDb::shared().database();
    let proxy = Proxy::start(database.server.port);
    let site = Site::new(&database, proxy.port, "n");
    let mut step = 0;
    loop {
        append(&site.log, lines(u64::from(step) * 100, 40));
        let mut daemon = site.start();
        // What the last one left is made up for.
        site.wait_for_rows(&sums(&[&site.log]));
        append(&site.log, lines(u64::from(step) * 100 + 50, 40));
        proxy.plan(When::Nth(step), harm);
        daemon.signal(Signal::TERM);
        let mut ended = false;
        let met = proxy.wait_done(|| {
            ended = ended || fs::metadata(format!("/proc/{}/exe", daemon.id())).is_err();
            ended
        });
        if !met {
            assert!(daemon.wait().success(), "{}", daemon.said());
            break;
        }
        daemon.kill();
        proxy.cut_all();
        step += 1;
    }
    assert!(step >= 10, "no more than {step} steps were harmed");
    site.wait_for_rows(&sums(&[&site.log]));
    let counted = database.sql("SELECT sum(counted), sum(unparsed) FROM tollkeeper_balance");
    let lines = fs::read_to_string(&site.log)
        .expect("a log")
        .lines()
        .count();
    assert_eq!(counted, format!("{lines}\t0"));
}

#[test]
fn a_daemon_killed_before_any_step_of_a_flush_counts_each_line_once() {
    killed_at_each_step(Harm::HoldBefore);
}

#[test]
fn a_daemon_killed_before_any_answer_of_a_flush_counts_each_line_once() {
    killed_at_each_step(Harm::Swallow);
}

#[test]
fn two_nodes_and_an_import_add_to_the_same_rows_of_a_server_that_dies_again_and_again() {
    let server = MariaDb::start(&[]);
    let database = server.database();
    let old: String = lines(500_000, 60_000);
    let sandbox = Sandbox::new();
    let archive = sandbox.write("old.log", &old);
    let store = store(&sandbox, &database, server.port);
    let mut daemons = Vec::new();
    let mut logs = vec![archive.clone()];
    for node in ["one", "two"] {
        let log = sandbox.write(&format!("{node}.log"), "");
        let config = sandbox.write(
            &format!("{node}.toml"),
            format!("timezone = \"UTC\"\nreport_interval = \"1s\"\n{store}")
                + &source(&[&log], FORMAT, ""),
        );
        let state = sandbox.path(node);
        let arguments = ["-c", text(&config), "--node", node, "--state", text(&state)];
        daemons.push(sandbox.start(&arguments));
        logs.push(log);
    }
    let config = sandbox.write("import.toml", format!("timezone = \"UTC\"\n{store}"));
    let arguments = [
        "import",
        "-c",
        text(&config),
        "--format",
        FORMAT,
        "--threads",
        "2",
        text(&archive),
    ];
    let import = sandbox
        .tollkeeper(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    for round in 0..4 {
        for (number, log) in logs[1..].iter().enumerate() {
            append(log, lines(round * 10_000 + number as u64 * 100_000, 500));
        }
        wait_for_moment(Instant::now() + Duration::from_millis(700));
        match round {
            0 | 2 => {
                server.kill();
                server.begin();
            }
            1 => {
                server.signal(Signal::STOP);
                wait_for_moment(Instant::now() + Duration::from_secs(3));
                server.signal(Signal::CONT);
            }
            _ => {
                server.stop();
                server.begin();
            }
        }
    }
    let output = import.wait_with_output().expect("an exit");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let logs: Vec<&Path> = logs.iter().map(PathBuf::as_path).collect();
    let expected = sums(&logs);
    wait_until("the rows are the expected ones", || {
        let rows = report(&database);
        if rows == expected {
            Ok(())
        } else {
            Err((rows, expected.clone()))
        }
    });
    for daemon in daemons {
        daemon.stop();
    }
    assert_eq!(report(&database), expected);
}

#[test]
fn an_import_goes_on_when_the_server_restarts_in_the_middle_of_its_flush() {
    let server = MariaDb::start(&[]);
    let proxy = Proxy::start(server.port);
    let database = server.database();
    let sandbox = Sandbox::new();
    let log = sandbox.write("old.log", lines(0, 5_000));
    let (user, name) = (&database.url.user, &database.name);
    let store = format!("mysql://{user}@127.0.0.1:{}/{name}", proxy.port);
    // The first is that of its registration.
    proxy.plan(When::NthCommit(1), Harm::CutAfter);
    let mut command = sandbox.tollkeeper([
        "import",
        "--store",
        &store,
        "--timezone",
        "UTC",
        "--format",
        FORMAT,
        text(&log),
    ]);
    let import = command
        .env("TOLLKEEPER_STORE_PASSWORD", PASSWORD)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    proxy.wait_done(|| false);
    server.kill();
    wait_for_moment(Instant::now() + Duration::from_secs(2));
    server.begin();
    let output = import.wait_with_output().expect("an exit");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let said = stderr.matches("trying again").count();
    assert!(said <= 1, "{stderr}");
    assert_eq!(report(&database), sums(&[&log]));
}

/// So often this is in what the daemon said.
fn said(daemon: &Daemon, what: &str) -> usize {
    daemon.said().matches(what).count()
}

const AWAY: &str = "trying again until it passes";
const BACK: &str = "the store takes rows again";

#[test]
fn away_for_two_days_is_caught_up_with_one_row_for_each_key() {
    const SITES: u64 = 40;
    const MINUTES: u64 = 2 * 24 * 60;
    let server = MariaDb::start(&["--general-log-file=general.log"]);
    let database = server.database();
    let folder = server.socket().with_file_name("data");
    let sandbox = Sandbox::new();
    let log = sandbox.write("site.log", line(NOON, 200, (1, 1), "first.example", "-"));
    let store = store(&sandbox, &database, server.port);
    let pattern = sandbox.path("site.log*");
    let config = sandbox.config(&(store + &source(&[&pattern], FORMAT, "")));
    let mut daemon = sandbox.start(&["-c", text(&config)]);
    wait_for("the first line is counted", || {
        !report(&database).is_empty()
    });
    let resident = resident_kilobytes(&daemon);

    server.stop();
    let mut written = line(NOON, 200, (1, 1), "first.example", "-");
    let mut since = written.len();
    for minute in 0..MINUTES {
        for site in 0..SITES {
            let host = format!("{site}.example");
            let user = ["-", "alice"][(minute % 2) as usize];
            written += &line(NOON + minute * 60, 200, (3, 5), &host, user);
        }
        // Its log is rotated meanwhile.
        if minute % 600 == 599 {
            append(&log, &written[since..]);
            since = written.len();
            fs::rename(&log, sandbox.path(format!("site.log.{minute}"))).expect("our folder");
            fs::write(&log, "").expect("our folder");
        }
    }
    append(&log, &written[since..]);
    wait_for("the daemon has noticed", || said(&daemon, AWAY) > 0);
    wait_for("the daemon has read what is there", || {
        read_bytes(&daemon) >= written.len() as u64 / 4
    });
    daemon.assert_running();
    let grown = resident_kilobytes(&daemon).saturating_sub(resident);
    assert!(grown < 40_000, "{grown} KB more than before");

    server.begin_with(&["--general-log"]);
    let expected = rows([written.as_str()]);
    wait_until("all is counted", || {
        let rows = report(&database);
        match rows == expected {
            true => Ok(()),
            false => Err((rows.len(), expected.len(), daemon.said())),
        }
    });
    assert_eq!(said(&daemon, AWAY), 1, "{}", daemon.said());
    assert_eq!(said(&daemon, BACK), 1, "{}", daemon.said());
    let lines = daemon.said().lines().count();
    assert!(lines < 15, "{}", daemon.said());
    let waiting = said(&daemon, "new logs: wait until the store answers");
    assert_eq!(waiting, 1, "{}", daemon.said());
    daemon.stop();

    // What was in memory is added with one row for each key; what waited in files since, with another.
    let general = fs::read(folder.join("general.log")).expect("the log of all statements");
    let general = String::from_utf8_lossy(&general);
    let mut upserts = 0;
    for statement in general.split("Execute\t").skip(1) {
        if statement.starts_with("INSERT INTO bandwidth (") {
            let end = statement.find("ON DUPLICATE").expect("an upsert");
            upserts += statement[..end].matches("'2024-06-1").count();
        }
    }
    let keys = expected
        .iter()
        .map(|row| (&row.day, &row.vhost))
        .collect::<std::collections::BTreeSet<_>>()
        .len();
    assert!(upserts >= SITES as usize, "{upserts}");
    assert!(upserts <= 3 * keys, "{upserts} for {keys} keys");
}

fn resident_kilobytes(daemon: &Daemon) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.id())).expect("a process");
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.and_then(|n| n.parse().ok()).expect("a number")
}

fn read_bytes(daemon: &Daemon) -> u64 {
    let io = fs::read_to_string(format!("/proc/{}/io", daemon.id())).expect("a process");
    let line = io.lines().find_map(|line| line.strip_prefix("rchar: "));
    line.and_then(|n| n.parse().ok()).expect("a number")
}

#[test]
fn a_server_that_is_read_only_for_a_while_gets_everything_then() {
    let server = MariaDb::start(&[]);
    let database = server.database();
    let site = Site::new(&database, server.port, "n");
    append(&site.log, lines(0, 100));
    let daemon = site.start();
    site.wait_for_rows(&sums(&[&site.log]));
    server.sql("", "SET GLOBAL read_only = 1");
    append(&site.log, lines(100, 100));
    wait_for("the daemon has noticed", || said(&daemon, AWAY) > 0);
    assert!(daemon.said().contains("--read-only"), "{}", daemon.said());
    append(&site.log, lines(200, 100));
    server.sql("", "SET GLOBAL read_only = 0");
    site.wait_for_rows(&sums(&[&site.log]));
    assert_eq!(said(&daemon, AWAY), 1, "{}", daemon.said());
    assert_eq!(said(&daemon, BACK), 1, "{}", daemon.said());
    daemon.stop();
}

#[test]
fn logs_begun_and_rotated_while_the_server_is_away_are_counted_when_it_is_back() {
    let server = MariaDb::start(&[]);
    let database = server.database();
    let site = Site::new(&database, server.port, "n");
    append(&site.log, lines(0, 100));
    let daemon = site.start();
    site.wait_for_rows(&sums(&[&site.log]));

    server.stop();
    let rotated = |name: &str| site.sandbox.path(format!("site.log{name}"));
    append(&site.log, lines(100, 10));
    fs::rename(&site.log, rotated(".2")).expect("our own file");
    append(&site.log, lines(200, 10));
    wait_for("the daemon has met the new log", || {
        daemon.said().contains("wait until the store answers")
    });
    // Nobody can tell what it is before it is renamed, too.
    fs::rename(&site.log, rotated(".1")).expect("our own file");
    append(&site.log, lines(300, 10));
    // A search goes by that begins later than the last write to it.
    let begun = Instant::now();
    wait_for_moment(begun + Duration::from_secs(3));
    site.sandbox.write("unrelated", "");
    wait_for_moment(begun + Duration::from_secs(5));
    server.begin();
    let old = [rotated(".2"), rotated(".1")];
    let all = [old[0].as_path(), old[1].as_path(), site.log.as_path()];
    site.wait_for_rows(&sums(&all));
    daemon.kill();
    let daemon = site.start();
    append(&site.log, lines(400, 10));
    site.wait_for_rows(&sums(&all));
    daemon.stop();
}

#[test]
fn an_archive_that_appears_while_the_server_is_away_is_read_when_it_is_back() {
    let server = MariaDb::start(&[]);
    let database = server.database();
    let site = Site::new(&database, server.port, "n");
    append(&site.log, lines(0, 100));
    let daemon = site.start();
    site.wait_for_rows(&sums(&[&site.log]));

    daemon.signal(Signal::STOP);
    server.stop();
    let named = |name: &str| site.sandbox.path(format!("site.log{name}"));
    fs::rename(&site.log, named(".2")).expect("our own file");
    append(&site.log, lines(200, 10));
    let begun_and_packed = fs::read(&site.log).expect("our own file");
    fs::remove_file(&site.log).expect("our own file");
    fs::write(named(".1.gz"), support::gzip(&begun_and_packed)).expect("our own file");
    append(&site.log, lines(300, 10));
    daemon.signal(Signal::CONT);
    wait_for("the daemon has met the new log", || {
        daemon.said().contains("wait until the store answers")
    });
    let met = Instant::now();
    wait_for_moment(met + Duration::from_secs(3));
    server.begin();
    // What it holds is written down beside the archive, to be summed.
    let content = site.sandbox.write("content", &begun_and_packed);
    let old = named(".2");
    site.wait_for_rows(&sums(&[&old, &content, &site.log]));
    daemon.stop();
}

#[test]
fn a_server_without_room_gets_everything_when_there_is_some() {
    // All tables in one file that cannot grow.
    let server = MariaDb::start(&[
        "--innodb-file-per-table=0",
        "--innodb-data-file-path=ibdata1:48M",
    ]);
    let database = server.database();
    let site = Site::new(&database, server.port, "n");
    append(&site.log, lines(0, 100));
    let daemon = site.start();
    site.wait_for_rows(&sums(&[&site.log]));

    server.sql(
        "",
        "CREATE DATABASE ballast; CREATE TABLE ballast.b (x longblob) ENGINE=InnoDB",
    );
    let full = (0..2_000).find_map(|_| {
        let more = "INSERT INTO ballast.b VALUES (repeat('x', 200000))";
        server.try_sql("", more).err()
    });
    assert!(full.is_some_and(|error| error.contains("is full")));
    // New names, enough of them to need pages that are not there.
    let mut many = String::new();
    for number in 0..9_000 {
        let host = format!("{number}.{}.example", "x".repeat(60));
        many += &line(NOON, 200, (1, 2), &host, "alice");
    }
    append(&site.log, &many);
    wait_for("the daemon has noticed", || said(&daemon, AWAY) > 0);
    assert!(daemon.said().contains("is full"), "{}", daemon.said());
    // Somebody makes room.
    server.stop();
    server.begin_with(&["--innodb-data-file-path=ibdata1:48M:autoextend"]);
    site.wait_for_rows(&sums(&[&site.log]));
    assert_eq!(said(&daemon, AWAY), 1, "{}", daemon.said());
    assert_eq!(said(&daemon, BACK), 1, "{}", daemon.said());
    daemon.stop();
}

#[test]
fn rows_that_are_locked_for_thirty_seconds_are_added_to_then() {
    let database = MariaDb::shared().database();
    let site = Site::new(&database, database.server.port, "n");
    append(&site.log, lines(0, 100));
    let daemon = site.start();
    site.wait_for_rows(&sums(&[&site.log]));
    let held = database.server.hold(
        &database.name,
        "START TRANSACTION; UPDATE bandwidth SET requests = requests + 0;",
    );
    let begin = Instant::now();
    append(&site.log, lines(100, 100));
    wait_for_moment(begin + Duration::from_secs(30));
    assert_eq!(said(&daemon, AWAY), 1, "{}", daemon.said());
    append(&site.log, lines(200, 100));
    drop(held);
    site.wait_for_rows(&sums(&[&site.log]));
    assert_eq!(said(&daemon, AWAY), 1, "{}", daemon.said());
    daemon.stop();
}

#[test]
fn a_daemon_waits_for_a_server_that_is_not_there_yet_and_ends_when_it_is_told_to() {
    let server = MariaDb::start(&[]);
    let database = server.database();
    server.stop();
    let site = Site::new(&database, server.port, "n");
    append(&site.log, lines(0, 100));
    let waiting = "waiting until the store is there";
    let daemon = site.start();
    wait_for("the daemon waits", || said(&daemon, waiting) > 0);
    daemon.stop();

    let daemon = site.start();
    wait_for("the daemon waits", || said(&daemon, waiting) > 1);
    server.begin();
    site.wait_for_rows(&sums(&[&site.log]));
    assert_eq!(said(&daemon, waiting), 2, "{}", daemon.said());
    daemon.stop();

    fs::write(site.sandbox.path("password"), "wrong").expect("our folder");
    let mut refused = site.start();
    assert_eq!(refused.wait().code(), Some(69));
    let said = refused.said();
    assert!(
        said.contains("Access denied") && said.contains("password_file"),
        "{said}"
    );
}

#[test]
fn reports_and_imports_say_what_is_wrong_with_the_database() {
    let database = MariaDb::shared().database();
    let site = Site::new(&database, database.server.port, "n");
    append(&site.log, lines(0, 100));
    let ran = site.ran(&["import", "--format", FORMAT, text(&site.log)]);
    ran.exited(0);
    let ran = site
        .ran(&["import", "--format", FORMAT, text(&site.log)])
        .exited(0);
    assert!(
        ran.stdout.contains("1 of 1 files had been counted already"),
        "{ran:?}"
    );
    let ran = site
        .ran(&["report", "--by", "day,vhost,user", "--output", "json"])
        .exited(0);
    let json = ran.json();
    let reported: Vec<Row> = json
        .as_array()
        .expect("rows")
        .iter()
        .map(Row::from_json)
        .collect();
    assert_eq!(reported, sums(&[&site.log]));
    let elsewhere = format!("mysql://{}@127.0.0.1:1/none", database.url.user);
    let ran = site.ran(&["report", "--store", &elsewhere]).exited(1);
    assert!(ran.stderr.contains("127.0.0.1:1"), "{}", ran.stderr);
    // A config and a log can be looked at without the database.
    let log = text(&site.log);
    let ran = site.ran(&["check", log, "--store", &elsewhere]).exited(0);
    assert!(ran.stderr.contains("going on without"), "{}", ran.stderr);
    let none = format!(
        "mysql://{}@127.0.0.1:{}/none",
        database.url.user, database.server.port
    );
    let ran = site.ran(&["report", "--store", &none]).exited(1);
    let stderr = ran.stderr;
    assert!(
        stderr.contains("none") && !stderr.contains(PASSWORD),
        "{stderr}"
    );
}
