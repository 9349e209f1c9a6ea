//! `tollkeeper status`: what the daemon says of itself, and what the store says where none runs.

mod support;

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use support::log::{FORMAT, lines, rows};
use support::{Sandbox, append, repository, source, text, wait_until};

fn status(sandbox: &Sandbox) -> Value {
    sandbox.ran(["status", "--output", "json"]).exited(0).json()
}

/// Waits until the daemon says so.
#[track_caller]
fn wait_for_status(sandbox: &Sandbox, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    wait_until(what, || {
        let ran = sandbox.ran(["status", "--output", "json"]);
        match ran.code == Some(0) && is_so(&ran.json()) {
            true => Ok(ran.json()),
            false => Err(ran),
        }
    })
}

/// The socket of the daemon in a sandbox.
fn socket(sandbox: &Sandbox) -> PathBuf {
    let entries = fs::read_dir(sandbox.state()).expect("the state directory");
    let mut paths = entries.flatten().map(|entry| entry.path());
    let is_socket = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "sock");
    paths.find(is_socket).expect("a socket")
}

#[test]
fn status_says_everything() {
    let sandbox = Sandbox::new();
    let log = sandbox.write("logs/a.log", lines(0, 100) + "# comment\n");
    append(&log, "unfinished");
    let config = sandbox.config(&source(&[&log], FORMAT, "name = \"web\""));
    let daemon = sandbox.start(&["-c", text(&config), "--node", "n1"]);
    sandbox.wait_for_rows(&rows([lines(0, 100).as_str()]));
    let said = sandbox
        .ran(["status", "--node", "n1", "--output", "json"])
        .exited(0)
        .json();
    let length = fs::metadata(&log).expect("our own file").len();
    let read = length - "unfinished".len() as u64;
    for (pointer, expected) in [
        ("/version", json!(env!("CARGO_PKG_VERSION"))),
        ("/state", json!("running")),
        ("/pid", json!(daemon.id())),
        ("/node", json!("n1")),
        ("/config", json!(text(&config))),
        (
            "/store/name",
            json!(text(&sandbox.state().join("tollkeeper.db"))),
        ),
        ("/store/timezone", json!("UTC")),
        ("/store/answers", json!(true)),
        ("/store/error", json!(null)),
        ("/in_flight", json!(null)),
        ("/ledger/accounts", json!(0)),
        ("/reload", json!(null)),
        ("/sources/0/name", json!("web")),
        ("/sources/0/paths", json!([text(&log)])),
        ("/sources/0/files", json!(1)),
        ("/sources/0/attention", json!(0)),
        ("/sources/0/unread_bytes", json!(10)),
        ("/sources/0/balance/since_start/lines", json!(101)),
        ("/sources/0/balance/since_start/counted", json!(100)),
        ("/sources/0/balance/since_start/ignored", json!(1)),
        ("/sources/0/balance/since_start/bytes", json!(read)),
        // The lines are of long ago.
        ("/sources/0/balance/today/lines", json!(0)),
        ("/files/0/source", json!("web")),
        ("/files/0/path", json!(text(&log))),
        ("/files/0/state", json!("living")),
        ("/files/0/reason", json!(null)),
        ("/files/0/offset", json!(read)),
        ("/files/0/committed", json!(read)),
        ("/files/0/size", json!(length)),
        ("/files/0/unread_bytes", json!(10)),
        ("/gaps/since_start", json!(0)),
        ("/gaps/recent", json!([])),
    ] {
        assert_eq!(
            said.pointer(pointer),
            Some(&expected),
            "{pointer}: {said:#}"
        );
    }
    for number in [
        "/now",
        "/started",
        "/uptime_seconds",
        "/last_flush/at",
        "/last_flush/rows",
        "/last_flush/milliseconds",
        "/store/since",
        "/turn_seconds",
        "/age_seconds",
        "/files/0/unread_seconds",
    ] {
        assert!(
            said.pointer(number).is_some_and(Value::is_u64),
            "{number}: {said:#}"
        );
    }
    // The table has the same.
    let ran = sandbox.ran(["status", "--node", "n1", "--files"]).exited(0);
    for part in [
        "running, node n1, pid ",
        "days of UTC: answers",
        "web ",
        text(&log),
        "living",
    ] {
        assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
    }
    daemon.stop();
}

#[test]
fn every_key_is_documented() {
    let page = fs::read_to_string(repository().join("docs/status.md")).expect("a page");
    let sandbox = Sandbox::new();
    let log = sandbox.write("logs/a.log", lines(0, 300));
    let socket = sandbox.path("log.sock");
    let syslog = format!(
        "[[source.syslog]]\nname = \"edge\"\nlisten = \"unix://{}\"\nformat = '''{FORMAT}'''\n",
        text(&socket)
    );
    let config = sandbox.config(&(source(&[&log], FORMAT, "") + &syslog));
    let daemon = sandbox.start(&["-c", text(&config)]);
    sandbox.wait_for_rows(&rows([lines(0, 300).as_str()]));
    let sender = UnixDatagram::unbound().expect("a socket");
    let sent = sender.send_to(b"<190>Jun 15 12:00:00 nginx: no such line", &socket);
    sent.expect("a listener");
    File::options()
        .write(true)
        .open(&log)
        .and_then(|log| log.set_len(0))
        .expect("our own file");
    wait_for_status(&sandbox, "the gap is committed", |said| {
        said["gaps"]["recent"][0].is_object() && said["listeners"][0]["messages"] == 1
    });
    daemon.signal(Signal::HUP);
    let said = wait_for_status(&sandbox, "it is read again", |said| {
        said["reload"].is_object()
    });
    fn keys(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                for (key, value) in members {
                    found.push(key.clone());
                    keys(value, found);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| keys(item, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    keys(&said, &mut found);
    assert!(found.len() > 60, "{found:?}");
    for key in found {
        assert!(
            page.contains(&format!("`{key}`")),
            "docs/status.md does not name {key}"
        );
    }
    daemon.stop();
}

#[test]
fn gaps_of_this_run_and_of_earlier_ones_are_shown() {
    let sandbox = Sandbox::new();
    let log = sandbox.write("logs/a.log", lines(0, 100));
    let config = sandbox.config(&source(&[&log], FORMAT, ""));
    let daemon = sandbox.start(&["-c", text(&config)]);
    sandbox.wait_for_rows(&rows([lines(0, 100).as_str()]));
    let truncate = || {
        File::options()
            .write(true)
            .open(&log)
            .and_then(|log| log.set_len(0))
            .expect("our own file")
    };
    truncate();
    append(&log, lines(200, 10));
    let said = wait_for_status(&sandbox, "the gap is committed", |said| {
        said["gaps"]["recent"][0].is_object()
    });
    assert_eq!(said["gaps"]["since_start"], 1, "{said:#}");
    let gap = &said["gaps"]["recent"][0];
    assert_eq!(gap["path"], text(&log));
    assert_eq!(gap["from"], lines(0, 100).len());
    assert!(
        gap["to"].is_null()
            && gap["reason"]
                .as_str()
                .is_some_and(|why| why.contains("truncated")),
        "{gap}"
    );
    daemon.stop();
    let daemon = sandbox.start(&["-c", text(&config)]);
    let said = wait_for_status(&sandbox, "it runs", |said| said["state"] == "running");
    assert_eq!(said["gaps"]["since_start"], 0);
    assert_eq!(said["gaps"]["recent"][0]["path"], text(&log));
    let ran = sandbox.ran(["status"]).exited(0);
    assert!(ran.stdout.contains("latest gaps:"), "{}", ran.stdout);
    daemon.stop();
}

#[test]
fn files_that_need_attention_are_named_and_others_are_summed_up() {
    let sandbox = Sandbox::new();
    for number in 0..200 {
        sandbox.write(&format!("logs/{number:03}.log"), lines(number * 100, 1));
    }
    sandbox.write("logs/bad\x1b[31m.log", "nonsense\n".repeat(200));
    let made = std::process::Command::new("mkfifo")
        .arg(sandbox.path("logs/fifo.log"))
        .status();
    assert!(made.is_ok_and(|made| made.success()));
    let config = sandbox.config(&source(&[&sandbox.path("logs/*.log")], FORMAT, ""));
    let daemon = sandbox.start(&["-c", text(&config)]);
    let said = wait_for_status(&sandbox, "both are known", |said| {
        said["sources"][0]["attention"] == 2
    });
    assert_eq!(said["sources"][0]["files"], 202);
    let file = |name: &str| {
        let files = said["files"].as_array().expect("files");
        let is_it = |file: &&Value| {
            file["path"]
                .as_str()
                .is_some_and(|path| path.ends_with(name))
        };
        files
            .iter()
            .find(is_it)
            .unwrap_or_else(|| panic!("{name}"))
            .clone()
    };
    assert_eq!(file("/logs/bad\x1b[31m.log")["state"], "stopped");
    assert!(
        file("31m.log")["reason"]
            .as_str()
            .is_some_and(|why| why.contains("format does not fit"))
    );
    assert_eq!(file("31m.log")["unread_bytes"], 9 * 200);
    assert_eq!(file("fifo.log")["state"], "not-followed");
    let table = sandbox.ran(["status"]).exited(0).stdout;
    assert!(table.contains("files that need attention:"), "{table}");
    assert!(
        table.contains("bad\\x1b[31m.log") && table.contains("fifo.log"),
        "{table}"
    );
    assert!(
        !table.contains("000.log") && !table.contains('\x1b'),
        "{table}"
    );
    // Nor do messages let a name through.
    fs::write(sandbox.path("logs/bad\x1b[31m.log"), "").expect("our own file");
    fs::write(sandbox.path("logs/000.log"), "").expect("our own file");
    wait_for_status(&sandbox, "the gap is known", |said| {
        said["gaps"]["since_start"] == 1
    });
    assert!(
        daemon.said().contains("000.log: truncated"),
        "{}",
        daemon.said()
    );
    assert!(!daemon.said().contains('\x1b'), "{}", daemon.said());
    let table = sandbox.ran(["status", "--files"]).exited(0).stdout;
    assert!(
        table.contains("000.log") && table.contains("199.log"),
        "{table}"
    );
    daemon.stop();
}

#[test]
fn without_a_daemon_the_store_is_shown_and_the_exit_code_is_1() {
    let sandbox = Sandbox::new();
    let ran = sandbox.ran(["status"]).exited(1);
    assert!(
        ran.stderr.contains("no daemon runs as node"),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr.contains("systemctl start tollkeeper"),
        "{}",
        ran.stderr
    );
    let log = sandbox.write("logs/a.log", lines(0, 100));
    let config = sandbox.config(&source(&[&log], FORMAT, "name = \"web\""));
    let daemon = sandbox.start(&["-c", text(&config)]);
    sandbox.wait_for_rows(&rows([lines(0, 100).as_str()]));
    daemon.stop();
    append(&log, lines(100, 1));
    let said = sandbox.ran(["status", "--output", "json"]).exited(1).json();
    assert_eq!(said["state"], "not-running");
    assert_eq!(said["pid"], Value::Null);
    assert_eq!(said["sources"][0]["name"], "web");
    assert_eq!(said["files"][0]["offset"], lines(0, 100).len());
    assert_eq!(said["files"][0]["unread_bytes"], lines(100, 1).len());
}

#[test]
fn a_socket_that_was_left_behind_is_replaced_and_ours_is_removed() {
    let sandbox = Sandbox::new();
    let log = sandbox.write("logs/a.log", lines(0, 10));
    let config = sandbox.config(&source(&[&log], FORMAT, ""));
    let daemon = sandbox.start(&["-c", text(&config)]);
    wait_for_status(&sandbox, "it runs", |said| said["state"] == "running");
    let path = socket(&sandbox);
    daemon.kill();
    assert!(path.exists());
    sandbox.ran(["status"]).exited(1);
    let daemon = sandbox.start(&["-c", text(&config)]);
    wait_for_status(&sandbox, "it runs", |said| said["state"] == "running");
    let metadata = path.symlink_metadata().expect("a socket");
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o660);
    daemon.stop();
    assert!(!path.exists());
}

#[test]
fn strangers_may_not_ask_and_are_told_who_may() {
    let sandbox = Sandbox::new();
    let log = sandbox.write("logs/a.log", lines(0, 10));
    let config = sandbox.config(&source(&[&log], FORMAT, ""));
    let daemon = sandbox.start(&["-c", text(&config)]);
    wait_for_status(&sandbox, "it runs", |said| said["state"] == "running");
    let program = sandbox.path("tollkeeper");
    fs::copy(env!("CARGO_BIN_EXE_tollkeeper"), &program).expect("room for it");
    let stranger = sandbox.program(
        Path::new("setpriv"),
        [
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            text(&program),
            "status",
        ],
    );
    let ran = sandbox.ran_with_input(stranger, b"").exited(1);
    assert!(
        ran.stderr.contains("as a member of the daemon's group"),
        "{}",
        ran.stderr
    );
    daemon.stop();
}

#[test]
fn a_runtime_directory_has_the_socket() {
    let sandbox = Sandbox::new();
    let log = sandbox.write("logs/a.log", lines(0, 10));
    let config = sandbox.config(&source(&[&log], FORMAT, ""));
    let runtime = sandbox.path("run");
    fs::create_dir(&runtime).expect("our own folder");
    let mut child = sandbox
        .tollkeeper(["run", "-c", text(&config)])
        .env("RUNTIME_DIRECTORY", &runtime)
        .spawn()
        .expect("the program runs");
    wait_until("it answers there", || {
        let output = sandbox
            .tollkeeper(["status", "--output", "json"])
            .env("RUNTIME_DIRECTORY", &runtime)
            .output()
            .expect("the program runs");
        if output.status.success() {
            Ok(())
        } else {
            Err(output)
        }
    });
    assert_eq!(fs::read_dir(&runtime).expect("our own folder").count(), 1);
    support::send(&child, Signal::TERM);
    assert!(child.wait().expect("our own child").success());
    assert_eq!(fs::read_dir(&runtime).expect("our own folder").count(), 0);
}

#[test]
fn clients_that_say_nothing_or_nonsense_do_no_harm() {
    let sandbox = Sandbox::new();
    let log = sandbox.write("logs/a.log", lines(0, 10));
    let config = sandbox.config(&source(&[&log], FORMAT, ""));
    let mut daemon = sandbox.start(&["-c", text(&config)]);
    wait_for_status(&sandbox, "it runs", |said| said["state"] == "running");
    let path = socket(&sandbox);
    let mut nonsense = UnixStream::connect(&path).expect("a socket");
    nonsense.write_all(b"GET / HTTP/1.1\n").expect("it reads");
    let mut answer = String::new();
    nonsense.read_to_string(&mut answer).expect("it answers");
    assert_eq!(answer, "{\"error\":\"unknown request\"}\n");
    let mut endless = UnixStream::connect(&path).expect("a socket");
    // It hangs up on this sooner or later.
    while endless.write_all(&[b'x'; 4_096]).is_ok() {}

    let mut silent = Vec::new();
    for _ in 0..1_000 {
        let client = UnixStream::connect(&path).expect("room in the queue");
        silent.push(client);
    }
    append(&log, lines(10, 100));
    sandbox.wait_for_rows(&rows([lines(0, 110).as_str()]));
    let begin = Instant::now();
    let said = status(&sandbox);
    assert!(
        begin.elapsed() < Duration::from_secs(15),
        "{:?}",
        begin.elapsed()
    );
    assert_eq!(said["files"][0]["offset"], lines(0, 110).len());
    daemon.assert_running();
    daemon.stop();
    drop(silent);
}
