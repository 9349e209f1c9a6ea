//! A reload through root: the script of `tollkeeper-reload@.service`, run as the unit runs it, before a
//! real nginx, and the daemon's side of it.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::{Sandbox, repository, send, text, wait_until};
use tollkeeper::config::gate::ReloadRequest;
use tollkeeper::enforce::{Hosts, MapSet};
use tollkeeper::publish::Gate as _;
use tollkeeper::publish::map::{MapFile, Nudge as _, NudgeState};
use tollkeeper::publish::reload::Reload;
use tollkeeper::quota::rule::Consequence;
use tollkeeper::quota::verdict::{Closed, Subject, Verdicts};

/// Stands for the daemon's user: it owns the requests and the maps.
const USER: &str = "www-data";

/// A unit or a script, as it is shipped.
fn shipped(name: &str) -> String {
    let path = repository().join("systemd").join(name);
    fs::read_to_string(path).expect("it is shipped")
}

/// Those that the unit leaves to root, as setpriv takes them.
fn capabilities() -> String {
    let unit = shipped("tollkeeper-reload@.service");
    let line = unit
        .lines()
        .find_map(|line| line.strip_prefix("CapabilityBoundingSet="));
    let names = line.expect("they are bounded").split_whitespace();
    let names = names.map(|name| name.trim_start_matches("CAP_").to_lowercase());
    names.fold("-all".to_owned(), |all, name| format!("{all},+{name}"))
}

/// nginx with a map that only a reload makes it read, and the folders of both sides.
struct Site {
    sandbox: Sandbox,
    child: Child,
    port: u16,
}

impl Site {
    /// `None` where this is not root, who alone can be root for the daemon.
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let sandbox = Sandbox::new();
        let id = Command::new("id").args(["-u", USER]).output().expect("id");
        let id = String::from_utf8_lossy(&id.stdout).trim().parse().ok();
        for folder in ["run/reload", "gate"] {
            let folder = sandbox.path(folder);
            fs::create_dir_all(&folder).expect("a new folder");
            chown(&folder, id, id).expect("we are root");
        }
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("our own port").port();
        drop(listener);
        let config = format!(
            "pid nginx.pid;\nerror_log error.log;\nevents {{}}\nhttp {{\n access_log off;\n\
             map $host $gate {{ default 0; include gate/nginx.map*; }}\n\
             server {{ listen 127.0.0.1:{port}; if ($gate) {{ return 429; }} return 200; }}\n}}\n"
        );
        let config = sandbox.write("nginx.conf", config);
        let prefix = sandbox.path("");
        let command = format!("nginx -p {} -c {}", prefix.display(), config.display());
        let own = format!(
            "# Where this one is.\nTEST={command} -t -q\nRELOAD={command} -s reload\nMAP={}\n",
            sandbox.path("gate/nginx.map").display()
        );
        sandbox.write("conf/nginx.conf", own);
        let child = Command::new("nginx")
            .args([
                "-p",
                text(&prefix),
                "-c",
                text(&config),
                "-g",
                "daemon off;",
            ])
            .stdin(Stdio::null())
            .spawn()
            .expect("nginx is installed by tests/run");
        let site = Self {
            sandbox,
            child,
            port,
        };
        wait_until("nginx listens", || TcpStream::connect(("127.0.0.1", port)));
        Some(site)
    }

    fn map(&self) -> PathBuf {
        self.sandbox.path("gate/nginx.map")
    }

    fn request(&self) -> PathBuf {
        self.sandbox.path("run/reload/nginx.request")
    }

    /// What the daemon asks with.
    fn reload(&self, debounce: Duration) -> Reload {
        Reload::new(&ReloadRequest {
            server: "nginx".to_owned(),
            folder: self.sandbox.path("run/reload"),
            debounce,
        })
    }

    /// The script, as the unit starts it; for a quarter of the time that it has there.
    fn script(&self) -> Command {
        let script = repository().join("systemd/tollkeeper-reload");
        let bounding = format!("--bounding-set={}", capabilities());
        let arguments = ["--no-new-privs", &bounding, text(&script), "nginx"];
        let mut command = self
            .sandbox
            .program(Path::new("/usr/bin/setpriv"), arguments);
        for (name, value) in [
            ("REQUESTS", self.sandbox.path("run/reload")),
            ("RESULTS", self.sandbox.path("run-reload")),
            ("STATE", self.sandbox.path("kept")),
            ("CONF", self.sandbox.path("conf")),
            ("USER", PathBuf::from(USER)),
            ("SECONDS", PathBuf::from("5")),
            ("PAUSE", PathBuf::from("0")),
        ] {
            command.env(format!("TOLLKEEPER_RELOAD_{name}"), value);
        }
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// The script to its end; what the answer says.
    #[track_caller]
    fn answers(&self, mut command: Command) -> BTreeMap<String, String> {
        let output = command.output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(said, "");
        self.answer()
    }

    fn answer(&self) -> BTreeMap<String, String> {
        let path = self.sandbox.path("run-reload/nginx.result");
        let text = fs::read_to_string(path).expect("an answer");
        let fields = text.lines().filter_map(|line| line.split_once('='));
        fields
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    /// A request by hand, with a map of this.
    #[track_caller]
    fn asked_for(&self, map: &str) -> BTreeMap<String, String> {
        fs::write(self.map(), map).expect("our own file");
        fs::write(self.request(), "0123456789abcdef\n").expect("our own file");
        self.answers(self.script())
    }

    fn set(&self, name: &str, value: &str) {
        let path = self.sandbox.path("conf/nginx.conf");
        let own = fs::read_to_string(&path).expect("our own file");
        let others = own.lines().filter(|line| !line.starts_with(name));
        let own: String = others.map(|line| format!("{line}\n")).collect();
        fs::write(&path, format!("{own}{name}={value}\n")).expect("our own file");
    }

    fn get(&self, host: &str) -> u16 {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let status = answer.split(' ').nth(1).and_then(|it| it.parse().ok());
        status.unwrap_or_else(|| panic!("{answer:?}"))
    }

    /// nginx changes its workers some time after it has taken the signal, and for a while those before
    /// and those after it answer by turns: it is so once one worker alone is left, and answers so.
    #[track_caller]
    fn wait_for_status(&self, host: &str, status: u16) {
        let id = self.child.id();
        let workers = || {
            let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
            children.expect("Linux").split_whitespace().count()
        };
        wait_until(&format!("{host} is answered with {status}"), || {
            match (workers(), self.get(host)) {
                (1, seen) if seen == status => Ok(()),
                seen => Err(seen),
            }
        });
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        send(&self.child, Signal::TERM);
        // Ours, and told to end.
        let _ = self.child.wait();
    }
}

#[test]
fn a_good_map_is_loaded_and_a_bad_one_taken_back() {
    let Some(site) = Site::new() else { return };
    let good = "a.org 1;\n";
    let answer = site.asked_for(good);
    assert_eq!(answer["id"], "0123456789abcdef");
    assert_eq!(
        (&*answer["result"], &*answer["message"]),
        ("ok", "reloaded")
    );
    site.wait_for_status("a.org", 429);
    assert_eq!(site.get("b.org"), 200);
    assert!(!site.request().exists());

    // The next one does not pass.
    let answer = site.asked_for("a.org 1;\nb.org 1;\n}\x07\u{e9} evil\n");
    assert_eq!(answer["result"], "refused");
    let message = &answer["message"];
    assert!(
        message.contains("unexpected [...] in ") && message.is_ascii(),
        "{message}"
    );
    assert_eq!(fs::read_to_string(site.map()).expect("it is back"), good);
    assert_eq!((site.get("a.org"), site.get("b.org")), (429, 200));
    // Whoever reloads by hand gets the last good one.
    assert_eq!(site.answers(site.script())["result"], "ok");
    assert_eq!(site.answer()["id"], "");
    site.wait_for_status("a.org", 429);

    // What is wrong elsewhere is not the map's fault: it stays, and is loaded when that is mended.
    let config = site.sandbox.path("nginx.conf");
    let content = fs::read_to_string(&config).expect("our own file");
    fs::write(&config, format!("{content}nonsense;\n")).expect("our own file");
    let answer = site.asked_for("b.org 1;\n");
    assert_eq!(answer["result"], "failed");
    assert!(
        answer["message"].contains("unknown directive"),
        "{answer:?}"
    );
    assert_eq!(
        fs::read_to_string(site.map()).expect("it stays"),
        "b.org 1;\n"
    );
    assert_eq!(site.get("a.org"), 429);
    fs::write(&config, content).expect("our own file");
    assert_eq!(site.asked_for("b.org 1;\n")["result"], "ok");
    site.wait_for_status("b.org", 429);
    site.wait_for_status("a.org", 200);

    // The reload fails: it is said, and the server goes on.
    site.set("RELOAD", "echo not today; exit 3");
    let answer = site.asked_for("c.org 1;\n");
    assert_eq!(answer["result"], "failed");
    assert!(answer["message"].ends_with("not today "), "{answer:?}");
    assert_eq!(site.get("b.org"), 429);
}

#[test]
fn the_first_map_of_all_that_does_not_pass_is_taken_away() {
    let Some(site) = Site::new() else { return };
    assert_eq!(site.asked_for("broken\n")["result"], "refused");
    assert!(!site.map().exists());
    assert_eq!(site.get("a.org"), 200);
}

/// Which processes have this word in their command line.
fn running(word: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").expect("processes").flatten();
    let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(word)).collect()
}

#[test]
fn what_hangs_is_killed_after_its_time() {
    let Some(site) = Site::new() else { return };
    let word = format!("{}", 4_000_000 + std::process::id());
    for what in ["RELOAD", "TEST"] {
        // Deaf to being asked, and with a child of its own.
        site.set(what, &format!("trap '' TERM; sleep {word} & sleep {word}"));
        let begin = Instant::now();
        let mut script = site.script();
        script.env("TOLLKEEPER_RELOAD_SECONDS", "1");
        fs::write(site.map(), "a.org 1;\n").expect("our own file");
        fs::write(site.request(), "0123456789abcdef\n").expect("our own file");
        let answer = site.answers(script);
        assert_eq!(answer["result"], "timed-out", "{answer:?}");
        let took = begin.elapsed();
        assert!(took < Duration::from_secs(8), "{took:?}");
        assert_eq!(running(&word), [""; 0]);
        assert_eq!(site.get("b.org"), 200);
    }
}

#[test]
fn two_at_once_are_one_after_the_other() {
    let Some(site) = Site::new() else { return };
    let trace = site.sandbox.path("trace");
    let trace = trace.display();
    site.set(
        "TEST",
        &format!("echo begin >>{trace}; sleep 0.3; echo end >>{trace}"),
    );
    site.set("RELOAD", "true");
    fs::write(site.map(), "a.org 1;\n").expect("our own file");
    fs::write(site.request(), "0123456789abcdef\n").expect("our own file");
    let both = [site.script().spawn(), site.script().spawn()];
    for script in both {
        let output = script
            .expect("it runs")
            .wait_with_output()
            .expect("it ends");
        assert!(output.status.success(), "{output:?}");
    }
    let trace = fs::read_to_string(site.sandbox.path("trace")).expect("our own file");
    assert_eq!(trace, "begin\nend\n".repeat(2));

    // Never more often than the pause between two.
    let begin = Instant::now();
    let mut script = site.script();
    script.env("TOLLKEEPER_RELOAD_PAUSE", "2");
    site.answers(script);
    assert!(
        begin.elapsed() > Duration::from_secs(1),
        "{:?}",
        begin.elapsed()
    );
}

#[test]
fn what_lies_in_the_folders_of_the_daemon_is_not_trusted() {
    let Some(site) = Site::new() else { return };
    let secret = site.sandbox.write("secret", "feedfacefeedface\n");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).expect("our own file");
    let target = site.sandbox.write("target", "theirs");

    // A link to what only root may read: neither answered with, nor loaded, nor written to.
    symlink(&secret, site.request()).expect("a new link");
    symlink(&secret, site.map()).expect("a new link");
    let answer = site.answers(site.script());
    assert_eq!((&*answer["id"], &*answer["result"]), ("", "refused"));
    assert!(!answer["message"].contains("feedface"), "{answer:?}");
    assert_eq!(
        fs::read_to_string(&secret).expect("it is there"),
        "feedfacefeedface\n"
    );
    assert!(!site.sandbox.path("kept/nginx.good").exists());
    assert!(fs::symlink_metadata(site.map()).is_err());
    // Nor is it told what a test, which reads as root, has to say of what it read.
    site.set(
        "TEST",
        "echo 'unknown directive \"feed\"face\" and \"feedfa'; false",
    );
    let answer = site.asked_for("a.org 1;\n");
    assert_eq!(answer["result"], "failed");
    assert!(
        answer["message"].ends_with("unknown directive [...]"),
        "{answer:?}"
    );
    assert!(!answer["message"].contains("feed"), "{answer:?}");
    site.set("TEST", "true");

    // A FIFO, commands, a very long one.
    let command = format!("$(touch {0}); `touch {0}`\n", target.display());
    for content in [
        command,
        "0".repeat(1 << 20),
        "../../x\nresult=ok\n".to_owned(),
    ] {
        fs::write(site.request(), content).expect("our own file");
        let answer = site.answers(site.script());
        assert_eq!(answer["result"], "ok", "{answer:?}");
        let is_id = |id: &str| id.len() <= 16 && id.bytes().all(|it| it.is_ascii_hexdigit());
        assert!(is_id(&answer["id"]), "{answer:?}");
    }
    let fifo = Command::new("mkfifo").arg(site.request()).status();
    assert!(fifo.expect("it runs").success());
    assert_eq!(site.answers(site.script())["result"], "ok");
    assert!(!site.request().exists());

    // The place of the map is a link that leads where the daemon could not write.
    fs::write(site.map(), "a.org 1;\n").expect("our own file");
    assert_eq!(site.answers(site.script())["result"], "ok");
    // Of one that is longer than any, not even the beginning is kept as a good one.
    let giant = fs::File::create(site.map()).expect("our own file");
    giant.set_len(1 << 30).expect("it takes no room");
    assert_eq!(site.answers(site.script())["result"], "refused");
    let stands = fs::metadata(site.map()).expect("the good one is back");
    assert_eq!(stands.len(), "a.org 1;\n".len() as u64);
    site.set("TEST", "false");
    symlink(&target, site.sandbox.path("gate/.nginx.back")).expect("a new link");
    assert_ne!(site.asked_for("broken\n")["result"], "ok");
    assert_eq!(fs::read_to_string(&target).expect("it is there"), "theirs");

    // A file of commands that others may write is not root's.
    let own = site.sandbox.path("conf/nginx.conf");
    fs::set_permissions(&own, fs::Permissions::from_mode(0o666)).expect("our own file");
    let answer = site.answers(site.script());
    assert_eq!(answer["result"], "failed");
    assert!(
        answer["message"].starts_with("not root's alone"),
        "{answer:?}"
    );
    // A server of whom nothing is known, and one that is no name.
    for (server, code) in [("unknown", 1), ("../nginx", 2), ("-x", 2), ("", 2)] {
        let mut script = Command::new(repository().join("systemd/tollkeeper-reload"));
        for (name, value) in site.script().get_envs() {
            script.env(name, value.expect("a value"));
        }
        let status = script
            .arg(server)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert_eq!(status.expect("it runs").code(), Some(code), "{server}");
    }
}

#[test]
fn the_daemon_asks_waits_and_is_answered() {
    let Some(site) = Site::new() else { return };
    let mut reload = site.reload(Duration::from_secs(10));
    let now = Instant::now();
    let seconds = |count| now + Duration::from_secs(count);
    assert_eq!(reload.poll(now), NudgeState::Done);
    fs::write(site.map(), "a.org 1;\n").expect("our own file");
    assert!(matches!(reload.nudge(now), NudgeState::Waiting(_)));
    assert!(matches!(reload.poll(now), NudgeState::Waiting(_)));
    site.answers(site.script());
    assert_eq!(reload.poll(now), NudgeState::Done);
    site.wait_for_status("a.org", 429);

    // A daemon that is started anew asks only for what is not loaded.
    let anew = |now| site.reload(Duration::ZERO).for_map(&site.map(), now);
    assert_eq!(anew(now).poll(now), NudgeState::Done);
    fs::write(site.sandbox.path("gate/new"), "a.org 1;\n").expect("a new file");
    fs::rename(site.sandbox.path("gate/new"), site.map()).expect("our own folder");
    assert!(matches!(anew(now).poll(now), NudgeState::Waiting(_)));
    site.answers(site.script());
    assert_eq!(anew(now).poll(now), NudgeState::Done);

    // Too soon after the last: asked for when it may be, once for all that has come meanwhile.
    assert_eq!(reload.nudge(seconds(1)), NudgeState::Waiting(seconds(10)));
    assert_eq!(reload.nudge(seconds(2)), NudgeState::Waiting(seconds(10)));
    assert!(!site.request().exists());
    assert!(matches!(reload.poll(seconds(10)), NudgeState::Waiting(_)));
    assert!(site.request().exists());
    // One more that comes before the answer is asked for by itself.
    reload.nudge(seconds(11));
    site.answers(site.script());
    assert_eq!(reload.poll(seconds(12)), NudgeState::Waiting(seconds(20)));
    reload.poll(seconds(20));
    site.answers(site.script());
    assert_eq!(reload.poll(seconds(20)), NudgeState::Done);

    // Refused: said until there is something else.
    fs::write(site.map(), "broken\n").expect("our own file");
    reload.nudge(seconds(30));
    site.answers(site.script());
    let state = reload.poll(seconds(31));
    assert!(
        matches!(&state, NudgeState::Refused(why) if why.contains("last good")),
        "{state:?}"
    );
    assert_eq!(reload.poll(seconds(200)), state);

    // Nobody answers; an older answer is none.
    assert!(matches!(reload.nudge(seconds(300)), NudgeState::Waiting(_)));
    assert!(matches!(reload.poll(seconds(389)), NudgeState::Waiting(_)));
    let state = reload.poll(seconds(390));
    let NudgeState::Failed(why, again) = state else {
        panic!("{state:?}");
    };
    assert!(
        why.contains("is tollkeeper-reload@nginx.path enabled?"),
        "{why}"
    );
    assert_eq!(again, seconds(450));
    // It is asked again then, and answered.
    assert!(matches!(reload.poll(again), NudgeState::Waiting(_)));
    site.answers(site.script());
    assert_eq!(reload.poll(again), NudgeState::Done);

    // The folder is gone: said, and tried again.
    let mut away = Reload::new(&ReloadRequest {
        server: "nginx".to_owned(),
        folder: PathBuf::from("/dev/null/reload"),
        debounce: Duration::ZERO,
    });
    let state = away.nudge(now);
    assert!(
        matches!(&state, NudgeState::Failed(why, _) if why.contains("/dev/null")),
        "{state:?}"
    );
}

/// The map of this nginx: a host a line; a site that is refused with 503 breaks it.
fn lines(verdicts: &Verdicts, _: &Hosts) -> MapSet {
    let lines = verdicts.iter().map(|(subject, closed)| {
        let Subject::Vhost(vhost) = subject else {
            panic!("{subject:?}");
        };
        let broken = closed.consequence == (Consequence::Deny { status: 503 });
        (vhost.clone(), if broken { "1 2;" } else { "1;" }.to_owned())
    });
    MapSet {
        entries: lines.collect(),
        refused: Vec::new(),
    }
}

fn write(set: &MapSet) -> Vec<u8> {
    let lines = set.entries.iter();
    let lines = lines.map(|(host, value)| format!("{host} {value}\n"));
    lines.collect::<String>().into_bytes()
}

fn read(bytes: &[u8]) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    lines
        .map(|(host, value)| (host.to_owned(), value.to_owned()))
        .collect()
}

#[test]
fn a_map_that_needs_a_reload_closes_and_a_refused_one_is_not_written_again() {
    let Some(site) = Site::new() else { return };
    let reload = Box::new(site.reload(Duration::from_secs(1)));
    let mut gate = MapFile::new("nginx".to_owned(), site.map(), Box::new(lines), write, read)
        .with_nudge(reload);
    let closed = |sites: &[(&str, u16)]| {
        Verdicts::of(sites.iter().map(|(site, status)| {
            let closed = Closed {
                consequence: Consequence::Deny { status: *status },
                quota: "q".to_owned(),
                until: None,
            };
            (Subject::Vhost((*site).to_owned()), closed)
        }))
    };
    let hosts = Hosts::default();
    let now = Instant::now();
    let seconds = |count| now + Duration::from_secs(count);

    let begin = Instant::now();
    let good = closed(&[("a.org", 429)]);
    let applied = gate.apply(&good, &hosts, now);
    assert_eq!((applied.failed, applied.changed), (None, 1));
    assert!(applied.again.is_some_and(|again| again < seconds(1)));
    assert_eq!(site.answers(site.script())["result"], "ok");
    site.wait_for_status("a.org", 429);
    eprintln!("closed by a reload in {:?}", begin.elapsed());
    assert_eq!(gate.apply(&good, &hosts, seconds(1)).failed, None);

    let bad = closed(&[("a.org", 429), ("b.org", 503)]);
    gate.apply(&bad, &hosts, seconds(2));
    assert_eq!(site.answers(site.script())["result"], "refused");
    for second in 3..6 {
        let failed = gate.apply(&bad, &hosts, seconds(second)).failed;
        assert!(failed.is_some_and(|why| why.contains("refused")));
        assert_eq!(
            fs::read_to_string(site.map()).expect("it is back"),
            "a.org 1;\n"
        );
        assert!(!site.request().exists());
    }
    assert_eq!((site.get("a.org"), site.get("b.org")), (429, 200));

    // Other verdicts are tried, and open and close.
    gate.apply(&closed(&[("c.org", 429)]), &hosts, seconds(7));
    assert_eq!(site.answers(site.script())["result"], "ok");
    site.wait_for_status("c.org", 429);
    site.wait_for_status("a.org", 200);
    let applied = gate.apply(&closed(&[("c.org", 429)]), &hosts, seconds(8));
    assert_eq!((applied.failed, applied.standing), (None, 1));
}

/// What systemd-analyze says; it must be content.
#[track_caller]
fn analyze(arguments: &[&str]) -> String {
    let output = Command::new("systemd-analyze").args(arguments).output();
    let output = output.expect("systemd-analyze is installed by tests/run");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

/// The system calls of a set, as the unit names it.
fn system_calls(set: &str) -> BTreeSet<String> {
    let said = analyze(&["--no-pager", "syscall-filter", set]);
    let lines = said.lines().filter_map(|line| line.strip_prefix("    "));
    let mut calls = BTreeSet::new();
    for line in lines.map(str::trim).filter(|line| !line.starts_with('#')) {
        match line.starts_with('@') {
            true => calls.extend(system_calls(line)),
            false => drop(calls.insert(line.to_owned())),
        }
    }
    calls
}

#[test]
fn the_unit_allows_the_system_calls_of_a_reload() {
    let Some(site) = Site::new() else { return };
    let trace = site.sandbox.path("trace");
    let script = site.script();
    let mut command = Command::new("/usr/bin/strace");
    command.args(["-f", "-qq", "-o", text(&trace)]);
    command.arg(script.get_program()).args(script.get_args());
    command.env_clear();
    for (name, value) in script.get_envs() {
        command.env(name, value.expect("a value"));
    }
    fs::write(site.map(), "a.org 1;\n").expect("our own file");
    fs::write(site.request(), "0123456789abcdef\n").expect("our own file");
    assert_eq!(site.answers(command)["result"], "ok");

    let mut allowed = BTreeSet::new();
    let unit = shipped("tollkeeper-reload@.service");
    let filters = unit
        .lines()
        .filter_map(|line| line.strip_prefix("SystemCallFilter="));
    for filter in filters {
        for set in filter.trim_start_matches('~').split(' ') {
            let calls = system_calls(set);
            match filter.starts_with('~') {
                true => allowed.retain(|call| !calls.contains(call)),
                false => allowed.extend(calls),
            }
        }
    }
    let trace = fs::read_to_string(&trace).expect("a trace");
    let call = |line: &str| {
        let (call, _) = line.split_whitespace().nth(1)?.split_once('(')?;
        let is_name = call
            .bytes()
            .all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'_');
        is_name.then(|| call.to_owned())
    };
    let used: BTreeSet<String> = trace.lines().filter_map(call).collect();
    assert!(
        used.contains("flock") && used.contains("setresuid"),
        "{used:?}"
    );
    let refused: Vec<_> = used.difference(&allowed).collect();
    assert!(refused.is_empty(), "{refused:?}");
}

#[test]
fn the_units_are_valid_and_expose_what_they_must() {
    let sandbox = Sandbox::new();
    let service = shipped("tollkeeper-reload@.service");
    let program = "ExecStart=/usr/lib/tollkeeper/tollkeeper-reload %i\n";
    assert!(service.contains(program));
    let here = repository().join("systemd/tollkeeper-reload");
    let service = service.replace(program, &format!("ExecStart={} %i\n", here.display()));
    let service = sandbox.write("units/tollkeeper-reload@nginx.service", service);
    let path = sandbox.write(
        "units/tollkeeper-reload@nginx.path",
        shipped("tollkeeper-reload@.path"),
    );
    let said = analyze(&["verify", "--man=no", text(&service), text(&path)]);
    assert!(!said.contains("tollkeeper"), "{said}");
    // In tenths: 3.0.
    let said = analyze(&[
        "security",
        "--offline=true",
        "--no-pager",
        "--threshold=30",
        text(&service),
    ]);
    let line = said
        .lines()
        .find(|line| line.contains("Overall exposure level"));
    eprintln!("{}", line.expect("a number"));
}
