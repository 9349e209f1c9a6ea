//! The daemon as a service of systemd: what it tells, the unit that is shipped, and the journal.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use support::log::{FORMAT, lines, rows};
use support::{
    Sandbox, append, repository, send, source, text, wait_for, wait_for_moment, wait_until,
};

/// Stands where systemd listens, and keeps what it is told.
struct Systemd {
    path: PathBuf,
    told: Arc<Mutex<Vec<(Instant, String)>>>,
}

impl Systemd {
    fn new(sandbox: &Sandbox) -> Self {
        let path = sandbox.path("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        let told = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&told);
        thread::spawn(move || {
            let mut buffer = [0; 65_536];
            while let Ok(length) = socket.recv(&mut buffer) {
                let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
                let mut told = keep.lock().expect("no panic");
                told.extend(
                    message
                        .lines()
                        .map(|line| (Instant::now(), line.to_owned())),
                );
            }
        });
        Self { path, told }
    }

    /// How often it was told this since then.
    fn count_since(&self, begin: Instant, what: &str) -> usize {
        let told = self.told.lock().expect("no panic");
        let told = told.iter().filter(|(at, _)| *at >= begin);
        told.filter(|(_, line)| line.starts_with(what)).count()
    }

    fn all(&self) -> Vec<String> {
        let told = self.told.lock().expect("no panic");
        told.iter().map(|(_, line)| line.clone()).collect()
    }

    #[track_caller]
    fn wait_for(&self, begin: Instant, what: &str) {
        wait_until(&format!("systemd is told {what}"), || {
            match self.count_since(begin, what) {
                0 => Err(self.all()),
                _ => Ok(()),
            }
        });
    }
}

/// A daemon below something that stands for systemd; ended with the test.
struct Service(Child);

impl Service {
    fn start(sandbox: &Sandbox, systemd: &Systemd, mut command: Command) -> Self {
        let stderr = fs::File::create(sandbox.path("run.stderr")).expect("a new file");
        let child = command
            .env("NOTIFY_SOCKET", &systemd.path)
            .env("WATCHDOG_USEC", "1000000")
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .expect("the program runs");
        Self(child)
    }

    #[track_caller]
    fn stop(self) {
        send(&self.0, Signal::TERM);
        self.wait();
    }

    #[track_caller]
    fn wait(mut self) {
        let child = &mut self.0;
        let status = wait_until("it has ended", || {
            child.try_wait().expect("our own child").ok_or("not yet")
        });
        assert!(status.success(), "{status}");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // What runs below strace does not end with it.
        let id = self.0.id();
        let below =
            fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        let below = below.split_whitespace().filter_map(|id| id.parse().ok());
        for id in below.filter_map(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(id, Signal::KILL);
        }
        // Already gone in a test that went well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn status(sandbox: &Sandbox) -> Value {
    sandbox.ran(["status", "--output", "json"]).exited(0).json()
}

#[test]
fn systemd_is_told_what_happens() {
    let sandbox = Sandbox::new();
    let systemd = Systemd::new(&sandbox);
    let log = sandbox.write("logs/a.log", lines(0, 100));
    let config = sandbox.config(&source(&[&log], FORMAT, ""));
    let begin = Instant::now();
    let run = sandbox.tollkeeper(["run", "-c", text(&config)]);
    let service = Service::start(&sandbox, &systemd, run);
    for what in ["READY=1", "STATUS=following 1 files", "WATCHDOG=1"] {
        systemd.wait_for(begin, what);
    }
    sandbox.wait_for_rows(&rows([lines(0, 100).as_str()]));
    systemd.wait_for(begin, "STATUS=following 1 files, ");

    for sections in [source(&[&log], FORMAT, ""), "nonsense = 1\n".to_owned()] {
        // Whether the config passes or not, the reload is over.
        sandbox.config(&sections);
        let begin = Instant::now();
        send(&service.0, Signal::HUP);
        for what in ["RELOADING=1", "MONOTONIC_USEC=", "READY=1"] {
            systemd.wait_for(begin, what);
        }
    }
    let begin = Instant::now();
    service.stop();
    systemd.wait_for(begin, "STOPPING=1");
    let all = systemd.all();
    let known = [
        "READY=1",
        "STATUS=",
        "WATCHDOG=1",
        "RELOADING=1",
        "MONOTONIC_USEC=",
        "STOPPING=1",
        "EXTEND_TIMEOUT_USEC=",
    ];
    let is_known = |line: &&String| known.iter().any(|known| line.starts_with(known));
    assert!(all.iter().all(|line| is_known(&line)), "{all:#?}");
}

#[test]
fn a_store_that_does_not_take_rows_is_no_hang() {
    let sandbox = Sandbox::new();
    let systemd = Systemd::new(&sandbox);
    let log = sandbox.write("logs/a.log", lines(0, 100));
    let config = sandbox.config(&source(&[&log], FORMAT, ""));
    let begin = Instant::now();
    let run = sandbox.tollkeeper(["run", "-c", text(&config)]);
    let service = Service::start(&sandbox, &systemd, run);
    systemd.wait_for(begin, "READY=1");
    sandbox.wait_for_rows(&rows([lines(0, 100).as_str()]));
    let store =
        rusqlite::Connection::open(sandbox.state().join("tollkeeper.db")).expect("the store");
    store.busy_timeout(support::DEADLINE).expect("a number");
    store
        .execute_batch("ALTER TABLE bandwidth RENAME TO away")
        .expect("the table");
    append(&log, lines(100, 100));
    let seen = wait_until("the store is away", || {
        let seen = status(&sandbox);
        match seen["store"]["answers"] == false && !seen["in_flight"].is_null() {
            true => Ok(seen),
            false => Err(seen),
        }
    });
    assert!(
        seen["store"]["error"]
            .as_str()
            .is_some_and(|error| error.contains("bandwidth")),
        "{seen}"
    );
    let begin = Instant::now();
    wait_for_moment(begin + Duration::from_secs(6));
    assert!(systemd.count_since(begin + Duration::from_secs(3), "WATCHDOG=1") >= 3);
    systemd.wait_for(
        begin,
        "STATUS=following 1 files, 0 lines/s, no rows taken since ",
    );
    store
        .execute_batch("ALTER TABLE away RENAME TO bandwidth")
        .expect("the table");
    sandbox.wait_for_rows(&rows([lines(0, 200).as_str()]));
    assert_eq!(status(&sandbox)["store"]["answers"], true);
    service.stop();
}

#[test]
fn a_start_while_the_store_does_not_answer_is_ready_and_says_so() {
    let sandbox = Sandbox::new();
    sandbox.ran(["store", "init"]).exited(0);
    let store = sandbox.state().join("tollkeeper.db");
    let store = rusqlite::Connection::open(store).expect("the store");
    store.busy_timeout(support::DEADLINE).expect("a number");
    store
        .execute_batch("ALTER TABLE position RENAME TO away")
        .expect("the table");
    let systemd = Systemd::new(&sandbox);
    let log = sandbox.write("logs/a.log", lines(0, 100));
    let config = sandbox.config(&source(&[&log], FORMAT, ""));
    let begin = Instant::now();
    let run = sandbox.tollkeeper(["run", "-c", text(&config)]);
    let service = Service::start(&sandbox, &systemd, run);
    systemd.wait_for(begin, "READY=1");
    systemd.wait_for(
        begin,
        "STATUS=following 0 files, 0 lines/s, no rows taken since ",
    );
    let seen = status(&sandbox);
    assert_eq!(seen["store"]["answers"], false);
    assert_eq!(seen["files"][0]["state"], "not-followed", "{seen:#}");
    store
        .execute_batch("ALTER TABLE away RENAME TO position")
        .expect("the table");
    sandbox.wait_for_rows(&rows([lines(0, 100).as_str()]));
    wait_for("the store answers", || {
        status(&sandbox)["store"]["answers"] == true
    });
    service.stop();
    let said = fs::read_to_string(sandbox.path("run.stderr")).expect("our own file");
    assert_eq!(
        said.matches("looking again until it answers").count(),
        1,
        "{said}"
    );
}

#[test]
fn the_watchdog_is_not_fed_while_a_read_hangs() {
    let sandbox = Sandbox::new();
    let systemd = Systemd::new(&sandbox);
    let log = sandbox.write("logs/a.log", "");
    let config = sandbox.config(&source(&[&log], FORMAT, ""));
    // From the tenth on, each read of the log takes a minute: as on a file system whose server is gone.
    let trace = sandbox.path("trace");
    let run = sandbox.program(
        Path::new("/usr/bin/strace"),
        [
            "-f",
            "-qq",
            "-o",
            text(&trace),
            "-P",
            text(&log),
            "-e",
            "trace=pread64",
            "-e",
            "inject=pread64:delay_enter=60000000:when=10+",
            env!("CARGO_BIN_EXE_tollkeeper"),
            "run",
            "-c",
            text(&config),
        ],
    );
    let begin = Instant::now();
    let service = Service::start(&sandbox, &systemd, run);
    systemd.wait_for(begin, "READY=1");
    systemd.wait_for(begin, "WATCHDOG=1");
    let mut written = 0;
    wait_for("the watchdog would bite", || {
        append(&log, lines(written, 1));
        written += 1;
        let seconds = |count| Instant::now() - Duration::from_secs(count);
        begin < seconds(3) && systemd.count_since(seconds(2), "WATCHDOG=1") == 0
    });
    // It can still be asked, and says where it hangs.
    let seen = status(&sandbox);
    assert!(
        seen["turn_seconds"].as_u64().is_some_and(|turn| turn >= 2),
        "{seen}"
    );
    // Nothing of it is in the store, so the next one counts it.
    drop(service);
    let locks = fs::read_dir(sandbox.state()).expect("the state directory");
    let lock = locks.flatten().map(|entry| entry.path());
    let lock = lock
        .into_iter()
        .find(|path| path.extension().is_some_and(|it| it == "lock"));
    let lock = fs::File::open(lock.expect("a lock")).expect("a lock");
    wait_until("it is gone", || lock.try_lock());
    drop(lock);
    let daemon = sandbox.start(&["-c", text(&config)]);
    sandbox.wait_for_rows(&rows([lines(0, written).as_str()]));
    daemon.stop();
}

/// The system calls of a set, as the unit names it.
fn system_calls(set: &str) -> BTreeSet<String> {
    let mut calls = BTreeSet::new();
    for line in succeeds("systemd-analyze", &["--no-pager", "syscall-filter", set]).lines() {
        match line.strip_prefix("    ").map(str::trim) {
            Some(inner) if inner.starts_with('@') => calls.extend(system_calls(inner)),
            Some(call) if !call.starts_with('#') => drop(calls.insert(call.to_owned())),
            _ => {}
        }
    }
    calls
}

#[test]
fn the_unit_allows_the_system_calls_of_a_whole_life() {
    let sandbox = Sandbox::new();
    let systemd = Systemd::new(&sandbox);
    let log = sandbox.write("logs/a.log", lines(0, 100));
    let config = sandbox.config(&source(&[&log], FORMAT, ""));
    let trace = sandbox.path("trace");
    let program = env!("CARGO_BIN_EXE_tollkeeper");
    let run = sandbox.program(
        Path::new("/usr/bin/strace"),
        [
            "-f",
            "-qq",
            "-o",
            text(&trace),
            program,
            "run",
            "-c",
            text(&config),
        ],
    );
    let begin = Instant::now();
    let service = Service::start(&sandbox, &systemd, run);
    systemd.wait_for(begin, "READY=1");
    sandbox.wait_for_rows(&rows([lines(0, 100).as_str()]));
    fs::rename(&log, log.with_extension("log.1")).expect("our own folder");
    append(&log, lines(100, 100));
    sandbox.wait_for_rows(&rows([lines(0, 200).as_str()]));
    let id = status(&sandbox)["pid"]
        .as_i64()
        .and_then(|id| i32::try_from(id).ok());
    let id = id
        .and_then(rustix::process::Pid::from_raw)
        .expect("a process id");
    let begin = Instant::now();
    rustix::process::kill_process(id, Signal::HUP).expect("our own grandchild");
    systemd.wait_for(begin, "READY=1");
    rustix::process::kill_process(id, Signal::TERM).expect("our own grandchild");
    systemd.wait_for(begin, "STOPPING=1");
    service.wait();

    let unit =
        fs::read_to_string(repository().join("systemd/tollkeeper.service")).expect("the unit");
    let mut allowed = BTreeSet::new();
    for filter in unit
        .lines()
        .filter_map(|line| line.strip_prefix("SystemCallFilter="))
    {
        let removes = filter.starts_with('~');
        for set in filter.trim_start_matches('~').split(' ') {
            let calls = system_calls(set);
            match removes {
                true => allowed.retain(|call| !calls.contains(call)),
                false => allowed.extend(calls),
            }
        }
    }
    let trace = fs::read_to_string(&trace).expect("a trace");
    let call = |line: &str| {
        let call = line
            .split_whitespace()
            .nth(1)?
            .split_once('(')?
            .0
            .to_owned();
        let is_name = call.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        is_name.then_some(call)
    };
    let mut used: BTreeSet<String> = trace.lines().filter_map(call).collect();
    assert!(
        used.contains("inotify_add_watch") && used.contains("fsync"),
        "{used:?}"
    );
    // The first is systemd's own. SQLite asks for the second as root alone, and the unit's user is none.
    for other in ["execve", "fchown"] {
        used.remove(other);
    }
    let refused: Vec<_> = used.difference(&allowed).collect();
    assert!(refused.is_empty(), "{refused:?}");
}

/// The unit with the program where it is here.
fn unit(sandbox: &Sandbox) -> PathBuf {
    let unit =
        fs::read_to_string(repository().join("systemd/tollkeeper.service")).expect("the unit");
    assert!(unit.contains("ExecStart=/usr/bin/tollkeeper run\n"));
    let unit = unit.replace("/usr/bin/tollkeeper", env!("CARGO_BIN_EXE_tollkeeper"));
    sandbox.write("tollkeeper.service", unit)
}

#[track_caller]
fn succeeds(command: &str, arguments: &[&str]) -> String {
    let output = Command::new(command)
        .args(arguments)
        .output()
        .expect(command);
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command} {arguments:?}:\n{said}");
    said
}

#[test]
fn the_unit_is_valid_and_exposes_little() {
    let sandbox = Sandbox::new();
    let unit = unit(&sandbox);
    let name = "tollkeeper-syslog.socket";
    let socket = fs::read_to_string(repository().join("systemd").join(name)).expect("the socket");
    let socket = sandbox.write(name, socket);
    let both = ["verify", "--man=no", text(&unit), text(&socket)];
    let said = succeeds("systemd-analyze", &both);
    assert!(!said.contains("tollkeeper"), "{said}");
    // In tenths: 1.5.
    let said = succeeds(
        "systemd-analyze",
        &[
            "security",
            "--offline=true",
            "--no-pager",
            "--threshold=15",
            text(&unit),
        ],
    );
    assert!(said.contains("Overall exposure level"), "{said}");
}

#[test]
fn the_user_and_its_folders_are_made() {
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.path("root/etc")).expect("our own folder");
    let root = format!("--root={}", sandbox.path("root").display());
    let shipped = |name: &str| repository().join("systemd").join(name);
    succeeds(
        "systemd-sysusers",
        &[&root, text(&shipped("tollkeeper.sysusers"))],
    );
    succeeds(
        "systemd-tmpfiles",
        &["--create", &root, text(&shipped("tollkeeper.tmpfiles"))],
    );
    let read =
        |name: &str| fs::read_to_string(sandbox.path("root/etc").join(name)).expect("a file");
    let users = read("passwd");
    let user = users
        .lines()
        .find(|line| line.starts_with("tollkeeper:"))
        .expect("the user");
    assert!(user.contains(":/var/lib/tollkeeper:"), "{user}");
    let groups = read("group");
    let adm = groups
        .lines()
        .find(|line| line.starts_with("adm:"))
        .expect("the group");
    assert!(adm.ends_with(":tollkeeper"), "{adm}");
    assert!(sandbox.path("root/var/lib/tollkeeper").is_dir());
}

/// Things that cannot be followed, with names that a terminal would act upon.
fn hostile_names(sandbox: &Sandbox, count: usize) -> PathBuf {
    fs::create_dir_all(sandbox.path("logs")).expect("our own folder");
    let names = (0..count).map(|number| sandbox.path(format!("logs/\x1b[2J\n<0>{number}.log")));
    let made = Command::new("mkfifo").args(names).status().expect("mkfifo");
    assert!(made.success());
    sandbox.path("logs/*.log")
}

#[test]
fn a_flood_of_one_kind_of_message_is_cut_and_told_by_its_size() {
    let sandbox = Sandbox::new();
    let pattern = hostile_names(&sandbox, 1_300);
    let log = sandbox.write("other/a.log", lines(0, 300));
    let sections = source(&[&pattern], FORMAT, "") + &source(&[&log], "combined", "");
    let config = sandbox.config(&sections);
    let daemon = sandbox.start(&["-c", text(&config)]);
    // Another kind of message is not held back by the flood.
    wait_for("the other message", || {
        daemon.said().contains("format does not fit")
    });
    // The status bounds what it lists, too.
    let ran = sandbox.ran(["status"]).exited(0);
    assert!(!ran.stdout.contains('\x1b'), "{}", ran.stdout);
    assert!(ran.stdout.contains("\\x1b[2J\\x0a<0>"), "{}", ran.stdout);
    assert!(
        ran.stdout.contains(" more: --files shows all"),
        "{}",
        ran.stdout
    );
    assert!(ran.stdout.lines().count() < 60, "{}", ran.stdout);
    daemon.signal(Signal::TERM);
    let mut daemon = daemon;
    assert!(daemon.wait().success());
    let said = daemon.said();
    assert_eq!(
        said.matches("not followed: is not a regular file").count(),
        60 + 1,
        "{said}"
    );
    assert!(said.contains("… and 1,240 more like this: "), "{said}");
    assert!(!said.contains('\x1b'));
}

#[test]
fn the_journal_gets_fields_and_priorities() {
    let sandbox = Sandbox::new();
    let pattern = hostile_names(&sandbox, 1);
    let log = sandbox.write("other/a.log", lines(0, 10));
    let config = sandbox.config(&(source(&[&pattern], FORMAT, "") + &source(&[&log], FORMAT, "")));
    // A journal of its own, which nobody else sees; the daemon's standard error is its stream.
    let script = format!(
        "set -e
         mount -t tmpfs none /run
         mkdir -p /run/systemd/journal /run/log/journal
         /lib/systemd/systemd-journald &
         until [ -S /run/systemd/journal/stdout ] && [ -S /run/systemd/journal/socket ]; do sleep 0.02; done
         systemd-cat -- bash -c 'JOURNAL_STREAM=$(stat -L -c %d:%i /proc/$$/fd/2) exec {program} run -c {config}' &
         daemon=$!
         until {program} status >{status} && grep -q other/a.log {status}; do sleep 0.02; done
         kill $daemon
         wait $daemon
         journalctl --sync >/dev/null 2>&1 || sleep 1
         journalctl --directory=$(echo /run/log/journal/*) -o json --no-pager SYSLOG_IDENTIFIER=tollkeeper
         kill %1",
        program = env!("CARGO_BIN_EXE_tollkeeper"),
        config = text(&config),
        status = text(&sandbox.path("status")),
    );
    let command = sandbox.program(
        Path::new("/usr/bin/unshare"),
        ["--mount", "--propagation", "private", "bash", "-c", &script],
    );
    let ran = sandbox.ran_with_input(command, b"").exited(0);
    let entries: Vec<Value> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let entry = |what: &str| {
        let has = |entry: &&Value| {
            entry["MESSAGE"]
                .as_str()
                .is_some_and(|said| said.contains(what))
        };
        entries
            .iter()
            .find(has)
            .unwrap_or_else(|| panic!("no {what}: {entries:#?}"))
    };
    let refused = entry("not followed: is not a regular file");
    assert_eq!(refused["PRIORITY"], "4");
    assert_eq!(refused["_TRANSPORT"], "journal");
    assert_eq!(refused["TOLLKEEPER_KIND"], "not followed");
    let file = refused["TOLLKEEPER_FILE"].as_str().expect("text");
    assert!(file.ends_with("/logs/\\x1b[2J\\x0a<0>0.log"), "{file}");
    let begun = entry("counting into ");
    assert_eq!(begun["PRIORITY"], "6");
    assert!(begun["TOLLKEEPER_NODE"].is_string(), "{begun}");
}

#[test]
fn a_stream_that_only_claims_to_be_the_journal_gets_text() {
    let sandbox = Sandbox::new();
    let log = sandbox.write("logs/a.log", lines(0, 10));
    let config = sandbox.config(&source(&[&log], FORMAT, ""));
    let mut run = sandbox.tollkeeper(["run", "-c", text(&config)]);
    run.env("JOURNAL_STREAM", "1:2");
    let systemd = Systemd::new(&sandbox);
    let begin = Instant::now();
    let service = Service::start(&sandbox, &systemd, run);
    systemd.wait_for(begin, "READY=1");
    service.stop();
    let said = fs::read_to_string(sandbox.path("run.stderr")).expect("our own file");
    let first = said.lines().next().unwrap_or_default();
    assert!(
        first.contains("T") && first.contains("Z  INFO counting into "),
        "{said}"
    );
}
