//! `tollkeeper pipe`, below real web servers and on disks that refuse: what is sent is a record, or
//! in the count of a loss.

mod support;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use support::server::{Kind, Server};
use support::wire::{Connection, request};
use support::{
    Balance, Random, Sandbox, repository, send, text, wait_for, wait_for_moment, wait_until,
};
use tollkeeper::source::spool::record::{Record, decode};
use tollkeeper::source::spool::{Listed, is_over, segments};

/// All that is in a spool.
#[derive(Debug, Default)]
struct Spooled {
    messages: Vec<String>,
    /// How many are lost, and why.
    losses: Vec<(u64, String)>,
    /// Lines that are no records.
    torn: usize,
}

impl Spooled {
    fn of(spool: &Path) -> Self {
        let mut spooled = Self::default();
        for segment in segments(spool).expect("a folder") {
            let content = fs::read(segment.path).expect("a segment");
            for line in content.split_inclusive(|byte| *byte == b'\n') {
                let record = line.strip_suffix(b"\n").map(decode);
                match record {
                    Some(Ok(Record::Message { origin, text })) => {
                        assert_eq!(origin, None);
                        let text = String::from_utf8_lossy(text).into_owned();
                        spooled.messages.push(text);
                    }
                    Some(Ok(Record::Loss {
                        messages, reason, ..
                    })) => {
                        let messages = messages.expect("a number");
                        spooled.losses.push((messages, reason.to_owned()));
                    }
                    Some(Err(_)) | None => spooled.torn += 1,
                }
            }
        }
        spooled
    }

    fn lost(&self) -> u64 {
        self.losses.iter().map(|(messages, _)| messages).sum()
    }

    fn reasons(&self) -> BTreeSet<&str> {
        self.losses.iter().map(|(_, reason)| &**reason).collect()
    }

    /// Each is a record or counted as lost.
    #[track_caller]
    fn assert_all(&self, sent: u64) {
        let there = self.messages.len() as u64;
        assert_eq!(
            (there + self.lost(), self.torn),
            (sent, 0),
            "{:?}",
            self.losses
        );
    }
}

fn spool(sandbox: &Sandbox) -> PathBuf {
    sandbox.state().join("spool/web")
}

/// The segments that nobody appends to.
fn over(spool: &Path) -> Vec<Listed> {
    let mut all = segments(spool).expect("a folder");
    all.retain(|segment| {
        let file = File::open(&segment.path).expect("a segment");
        is_over(&file).expect("an answer")
    });
    all
}

fn all_are_over(spool: &Path) -> bool {
    over(spool).len() == segments(spool).expect("a folder").len()
}

/// A running `tollkeeper pipe web` that the test writes to.
struct Pipe {
    child: Child,
    stdin: Option<ChildStdin>,
    stderr: PathBuf,
}

impl Pipe {
    fn start(sandbox: &Sandbox, arguments: &[&str]) -> Self {
        Self::of(
            sandbox,
            sandbox.tollkeeper([&["pipe", "web"], arguments].concat()),
        )
    }

    fn of(sandbox: &Sandbox, mut command: Command) -> Self {
        let stderr = sandbox.path("pipe.stderr");
        let mut child = command
            .stdin(Stdio::piped())
            .stderr(File::create(&stderr).expect("a new file"))
            .spawn()
            .expect("the program runs");
        let stdin = child.stdin.take();
        Self {
            child,
            stdin,
            stderr,
        }
    }

    fn send(&mut self, lines: impl AsRef<[u8]>) {
        let stdin = self.stdin.as_mut().expect("it is open");
        stdin.write_all(lines.as_ref()).expect("somebody who reads");
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.stderr).expect("our own file")
    }

    fn wait(&mut self) -> ExitStatus {
        let child = &mut self.child;
        wait_until("the pipe has ended", || {
            child.try_wait().expect("our own child").ok_or("it runs")
        })
    }

    /// Ends the input, and with it the pipe. Returns what it has said.
    fn end(mut self) -> String {
        self.stdin = None;
        let status = self.wait();
        assert_eq!(status.code(), Some(0), "{}", self.said());
        self.said()
    }
}

/// Lines with these numbers, 100 bytes each.
fn lines(numbers: std::ops::Range<usize>) -> String {
    numbers.map(|number| format!("{number:099}\n")).collect()
}

#[test]
fn what_comes_is_spooled_to_the_last_byte() {
    let sandbox = Sandbox::new();
    // Whatever the config says.
    let config = sandbox.write("bad.toml", "nonsense");
    let command = sandbox.tollkeeper(["pipe", "-c", text(&config), "web"]);
    let ran = sandbox
        .ran_with_input(command, b"one\n\ntwo\tx\r\n\xff\nlast")
        .exited(0);
    assert_eq!((&*ran.stdout, &*ran.stderr), ("", ""));
    let spooled = Spooled::of(&spool(&sandbox));
    assert_eq!(
        spooled.messages,
        ["one", "", "two\tx\r", "\u{fffd}", "last"]
    );
    spooled.assert_all(5);
    // Nothing came: nothing is there.
    let command = sandbox.tollkeeper(["pipe", "empty"]);
    sandbox.ran_with_input(command, b"").exited(0);
    let empty = sandbox.state().join("spool/empty");
    assert_eq!(fs::read_dir(empty).expect("a folder").count(), 0);
}

#[test]
fn a_large_log_comes_whole_and_in_order() {
    let sandbox = Sandbox::new();
    // Less than what is held in memory: a file is read faster than any disk writes.
    let log = sandbox.write("a.log", lines(0..150_000));
    let mut command = sandbox.tollkeeper(["pipe", "web", "--max-spool", "100MiB"]);
    let status = command.stdin(File::open(log).expect("a log")).status();
    assert!(status.expect("the program runs").success());
    let spooled = Spooled::of(&spool(&sandbox));
    spooled.assert_all(150_000);
    assert!(segments(&spool(&sandbox)).expect("a folder").len() > 1);
    let sent: Vec<_> = lines(0..150_000).lines().map(str::to_owned).collect();
    assert!(spooled.messages == sent);
}

#[test]
fn lines_too_long_are_counted() {
    let sandbox = Sandbox::new();
    let mut pipe = Pipe::start(&sandbox, &[]);
    for length in [262_000, 300_000, 1_000_000] {
        pipe.send(vec![b'x'; length]);
        pipe.send("\nnext\n");
    }
    assert_eq!(pipe.end(), "");
    let spooled = Spooled::of(&spool(&sandbox));
    assert_eq!(spooled.messages[1..], ["next", "next", "next"]);
    assert_eq!(spooled.losses, [(2, "message too long".to_owned())]);
    spooled.assert_all(6);
}

#[test]
fn usage_errors_are_told() {
    let sandbox = Sandbox::new();
    for arguments in [
        &["pipe", "../web"][..],
        &["pipe", "--max-spool", "1", "web"],
    ] {
        sandbox.ran(arguments).exited(2);
    }
    assert!(!sandbox.state().exists());
}

#[test]
fn a_full_spool_stops_nobody_and_goes_on_when_it_was_read() {
    let sandbox = Sandbox::new();
    let mut pipe = Pipe::start(&sandbox, &["--max-spool", "1MiB"]);
    pipe.send(lines(0..30_000));
    wait_for("it is full", || pipe.said().contains("the spool is full"));
    // What is over can go: that is how room is made.
    let over = over(&spool(&sandbox));
    let bytes: u64 = over.iter().map(|segment| segment.bytes).sum();
    assert!((1_000_000..=1 << 20).contains(&bytes), "{bytes}");
    let read = Spooled::of(&spool(&sandbox)).messages.len();
    for segment in over {
        fs::remove_file(segment.path).expect("our own");
    }
    let mut sent = 30_000;
    wait_for("it goes on", || {
        pipe.send(lines(sent..sent + 1));
        sent += 1;
        !Spooled::of(&spool(&sandbox)).messages.is_empty()
    });
    let said = pipe.end();
    assert_eq!(said.lines().count(), 1, "{said}");
    let spooled = Spooled::of(&spool(&sandbox));
    assert_eq!(spooled.reasons(), ["spool full"].into());
    spooled.assert_all((sent - read) as u64);
}

/// As another user, where this is root, whom no mode stops.
fn as_ordinary_user(sandbox: &Sandbox, arguments: &[&str]) -> Command {
    let program = env!("CARGO_BIN_EXE_tollkeeper");
    if !rustix::process::geteuid().is_root() {
        return sandbox.tollkeeper(arguments);
    }
    let user = [
        "--reuid",
        "65534",
        "--regid",
        "65534",
        "--clear-groups",
        program,
    ];
    sandbox.program(Path::new("/usr/bin/setpriv"), [&user, arguments].concat())
}

#[test]
fn without_permission_all_is_drained_and_told() {
    let sandbox = Sandbox::new();
    let mode = |mode| {
        fs::set_permissions(sandbox.state(), fs::Permissions::from_mode(mode)).expect("our own");
    };
    fs::create_dir(sandbox.state()).expect("a new folder");
    mode(0o555);
    let mut pipe = Pipe::of(&sandbox, as_ordinary_user(&sandbox, &["pipe", "web"]));
    pipe.send(lines(0..100_000));
    wait_for("it says so", || pipe.said().contains("Permission denied"));
    let said = pipe.end();
    let lost = "messages that were dropped, and no record says so: 100000\n";
    assert!(said.ends_with(lost) && said.lines().count() == 2, "{said}");

    // Once it may, it goes on, and says what it has missed.
    let mut pipe = Pipe::of(&sandbox, as_ordinary_user(&sandbox, &["pipe", "web"]));
    pipe.send(lines(0..1_000));
    wait_for("it says so", || pipe.said().contains("Permission denied"));
    mode(0o777);
    let mut sent = 1_000;
    wait_for("it goes on", || {
        pipe.send(lines(sent..sent + 1));
        sent += 1;
        !Spooled::of(&spool(&sandbox)).messages.is_empty()
    });
    pipe.end();
    let spooled = Spooled::of(&spool(&sandbox));
    assert_eq!(spooled.reasons(), ["no permission"].into());
    spooled.assert_all(sent as u64);
}

#[test]
fn a_disk_that_is_full_tears_no_record_and_is_left_by_others_room() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.state()).expect("a new folder");
    // A disk of 4 MiB that only this script sees. $1: the program.
    let script = "set -eu
        mount -t tmpfs -o size=4m none state
        mkfifo fifo
        $1 pipe web <fifo 2>pipe.stderr &
        exec 3>fifo
        until_spooled() { until grep -qs \" m- $1\\$\" state/spool/web/*; do sleep 0.02; done; }
        seq 1 1000 >&3
        until_spooled 1000
        # Another takes all there is, between two looks.
        dd if=/dev/zero of=state/other bs=64k 2>/dev/null || true
        n=1000
        until grep -qs 'No space left' pipe.stderr; do
            seq $((n + 1)) $((n + 300)) >&3; n=$((n + 300)); sleep 0.02
        done
        rm state/other
        until grep -qs ' m- again' state/spool/web/*; do
            echo again >&3; n=$((n + 1)); sleep 0.02
        done
        # More than the disk holds: a twentieth of it is left.
        seq -f %0100.0f 1 50000 >&3; n=$((n + 50000))
        exec 3>&-
        wait
        df --output=avail -k state | tail -n 1 >left
        cp -r state/spool .
        echo $n >sent";
    let program = env!("CARGO_BIN_EXE_tollkeeper");
    let namespace = [
        "--user",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        script,
        "sh",
        program,
    ];
    let ran = sandbox
        .program(Path::new("/usr/bin/unshare"), namespace)
        .output();
    let ran = ran.expect("the script runs");
    assert!(
        ran.status.success(),
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    let number = |name| {
        let written = fs::read_to_string(sandbox.path(name)).expect("a number");
        written.trim().parse::<u64>().expect("a number")
    };
    let spooled = Spooled::of(&sandbox.path("spool/web"));
    spooled.assert_all(number("sent"));
    assert_eq!(spooled.reasons(), ["disk full", "disk nearly full"].into());
    let left = number("left");
    assert!((150..400).contains(&left), "{left} KiB are left");
}

#[test]
fn a_fifo_is_left_at_the_first_signal_and_a_pipe_when_it_ends() {
    let sandbox = Sandbox::new();
    let mut pipe = Pipe::start(&sandbox, &[]);
    pipe.send("first\n");
    let there = |message: &str| {
        Spooled::of(&spool(&sandbox))
            .messages
            .iter()
            .any(|one| one == message)
    };
    wait_for("it is there", || there("first"));
    for signal in [Signal::HUP, Signal::USR1, Signal::TERM] {
        send(&pipe.child, signal);
    }
    pipe.send("of old workers\n");
    wait_for("it is there", || there("of old workers"));
    // Who insists is heard.
    send(&pipe.child, Signal::INT);
    pipe.send("last\n");
    assert_eq!(pipe.wait().code(), Some(0));
    assert!(there("last"));

    let fifo = sandbox.path("fifo");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .expect("mkfifo runs")
            .success()
    );
    // It never ends: we keep it open for writing as well.
    let mut both = File::options()
        .read(true)
        .write(true)
        .open(&fifo)
        .expect("a FIFO");
    let mut command = sandbox.tollkeeper(["pipe", "web"]);
    let stdin = File::open(&fifo).expect("a FIFO");
    let mut child = command.stdin(stdin).spawn().expect("the program runs");
    both.write_all(b"through the FIFO\n")
        .expect("somebody who reads");
    wait_for("it is there", || there("through the FIFO"));
    send(&child, Signal::HUP);
    send(&child, Signal::TERM);
    both.write_all(b"just after\n").expect("somebody who reads");
    let status = wait_until("it has ended", || {
        child.try_wait().expect("our own child").ok_or("it runs")
    });
    assert_eq!(status.code(), Some(0));
    assert!(there("just after"));
    Spooled::of(&spool(&sandbox)).assert_all(5);
}

#[test]
fn killed_anywhere_it_leaves_whole_records_and_no_lock() {
    let sandbox = Sandbox::new();
    let mut random = Random::new("killed_anywhere");
    let sent = lines(0..200_000);
    for _ in 0..10 {
        let mut pipe = Pipe::start(&sandbox, &[]);
        let end = usize::try_from(random.below(sent.len() as u64)).expect("a number");
        pipe.send(&sent[..end]);
        pipe.child.kill().expect("our own child");
        pipe.child.wait().expect("our own child");
        assert!(all_are_over(&spool(&sandbox)));
        assert_eq!(Spooled::of(&spool(&sandbox)).torn, 0);
        for segment in over(&spool(&sandbox)) {
            fs::remove_file(&segment.path).expect("our own");
        }
    }
}

#[test]
fn many_at_once_share_a_spool() {
    let sandbox = Sandbox::new();
    let mut pipes: Vec<_> = (0..8).map(|_| Pipe::start(&sandbox, &[])).collect();
    for round in 0..20 {
        for pipe in &mut pipes {
            pipe.send(lines(round * 100..(round + 1) * 100));
        }
    }
    for pipe in pipes {
        pipe.end();
    }
    Spooled::of(&spool(&sandbox)).assert_all(8 * 20 * 100);
    assert_eq!(segments(&spool(&sandbox)).expect("a folder").len(), 8);
}

/// A web server with a piped log, and the pages that were asked for.
struct Piped {
    server: Server,
    asked: BTreeSet<String>,
}

impl Piped {
    fn start(sandbox: &Sandbox, kind: Kind) -> Self {
        let command = documented(sandbox, kind);
        prepare(sandbox, kind);
        Self {
            server: Server::start_piped(sandbox, kind, &command),
            asked: BTreeSet::new(),
        }
    }

    fn ask(&mut self, pages: std::ops::Range<usize>) {
        let mut connection = Connection::open(self.server.address);
        for page in pages {
            // No server lets a connection ask for ever.
            if page % 50 == 0 {
                connection = Connection::open(self.server.address);
            }
            let target = format!("/index.html?{page}");
            let answer = connection.ask(&request("GET", &target, "a.example", &[], b""));
            assert_eq!(answer.status, 200);
            self.asked.insert(target);
        }
    }

    /// Waits until what was asked for is in the spool, and nothing else.
    fn wait_for_all(&self, sandbox: &Sandbox) {
        wait_until("all requests are in the spool", || {
            let spooled = Spooled::of(&spool(sandbox));
            let there = targets(&spooled);
            match there == self.asked && spooled.messages.len() == there.len() {
                true => Ok(()),
                false => Err((self.asked.len(), spooled.messages.len(), self.server.said())),
            }
        });
        Spooled::of(&spool(sandbox)).assert_all(self.asked.len() as u64);
    }
}

/// The command in the line that docs/pipes.md has operators paste, for this sandbox.
fn documented(sandbox: &Sandbox, kind: Kind) -> String {
    let page = fs::read_to_string(repository().join("docs/pipes.md")).expect("the page");
    let start = match kind {
        Kind::Lighttpd => "accesslog.filename = \"|",
        _ => "CustomLog \"|",
    };
    let line = page
        .lines()
        .find_map(|line| line.trim().strip_prefix(start));
    let (command, _) = line
        .and_then(|line| line.split_once('"'))
        .expect("a line to paste");
    let state = text(&sandbox.state()).to_owned();
    let log = sandbox.path("lighttpd-piped/tollkeeper.log");
    let command = command
        .replace("/usr/bin/tollkeeper", env!("CARGO_BIN_EXE_tollkeeper"))
        .replace("/var/lib/tollkeeper", &state)
        .replace("/var/log/lighttpd/tollkeeper.log", text(&log));
    match kind {
        Kind::Lighttpd => command,
        // Root needs not be told.
        _ => format!("{command} --state {state}"),
    }
}

/// The state directory, as docs/pipes.md has it made for lighttpd: its user may pass through, and
/// write into the one spool.
fn prepare(sandbox: &Sandbox, kind: Kind) {
    fs::create_dir_all(spool(sandbox)).expect("a new folder");
    if kind == Kind::Lighttpd && rustix::process::geteuid().is_root() {
        const WWW_DATA: u32 = 33;
        std::os::unix::fs::chown(spool(sandbox), Some(WWW_DATA), None).expect("we are root");
        for (folder, mode) in [
            (sandbox.state(), 0o711),
            (sandbox.state().join("spool"), 0o2771),
            (spool(sandbox), 0o2770),
        ] {
            fs::set_permissions(folder, fs::Permissions::from_mode(mode)).expect("our own");
        }
    }
}

/// What was asked for, by the lines of the log.
fn targets(spooled: &Spooled) -> BTreeSet<String> {
    let target = |line: &String| {
        let (_, rest) = line.split_once("GET ").unwrap_or_else(|| panic!("{line}"));
        rest.split(' ').next().expect("a target").to_owned()
    };
    spooled.messages.iter().map(target).collect()
}

/// The processes that read the server's pipe.
fn loggers(sandbox: &Sandbox) -> Vec<Pid> {
    let state = text(&sandbox.state()).to_owned();
    let processes = fs::read_dir("/proc").expect("the processes");
    let ids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let is_ours = |id: &i32| {
        let command = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        let words: Vec<_> = command.split(|byte| *byte == 0).collect();
        words.len() > 4 && words[1] == b"pipe" && words[4] == state.as_bytes()
    };
    ids.filter(is_ours).filter_map(Pid::from_raw).collect()
}

fn all_requests_arrive(kind: Kind) {
    let sandbox = Sandbox::new();
    let mut piped = Piped::start(&sandbox, kind);
    // lighttpd starts no logger again that has not lived for so long.
    let restarts = Instant::now() + Duration::from_secs(7);
    piped.ask(0..300);
    piped.wait_for_all(&sandbox);
    if kind == Kind::Lighttpd {
        wait_for_moment(restarts);
    }
    // Lines wait in the pipe until the server has started another.
    let first = loggers(&sandbox);
    kill_process(first[0], Signal::KILL).expect("a process of the test");
    piped.ask(300..400);
    piped.wait_for_all(&sandbox);
    assert_ne!(loggers(&sandbox), first);

    // A download that goes on while the server starts again.
    let large = File::create(piped.server.site().join("large.bin")).expect("a new file");
    large.set_len(100 << 20).expect("a sparse file");
    let mut download = TcpStream::connect(piped.server.address).expect("a server");
    let get = request(
        "GET",
        "/large.bin",
        "a.example",
        &["Connection: close"],
        b"",
    );
    download.write_all(&get).expect("a server that reads");
    download
        .read_exact(&mut [0; 10_000])
        .expect("its beginning");
    piped.server.reopen_logs();
    if kind == Kind::Apache {
        // The old one has been told to end, and reads on for the old worker.
        wait_for("there are two", || loggers(&sandbox).len() == 2);
    }
    std::io::copy(&mut download, &mut std::io::sink()).expect("its rest");
    drop(download);
    piped.asked.insert("/large.bin".to_owned());
    wait_for("the server listens again", || {
        TcpStream::connect(piped.server.address).is_ok()
    });
    piped.ask(400..500);
    piped.wait_for_all(&sandbox);
    let (server, asked) = (piped.server, piped.asked.len());
    server.stop();
    wait_for("all loggers have ended", || loggers(&sandbox).is_empty());
    assert!(all_are_over(&spool(&sandbox)));
    Spooled::of(&spool(&sandbox)).assert_all(asked as u64);
}

#[test]
fn what_apache_pipes_is_counted() {
    let sandbox = Sandbox::new();
    let format = Kind::Apache.recommended();
    let sections = format!("[[source.pipe]]\nname = \"web\"\nformat = '''apache:{format}'''\n");
    let config = sandbox.config(&sections);
    let daemon = sandbox.start(&["-c", text(&config)]);
    let mut piped = Piped::start(&sandbox, Kind::Apache);
    piped.ask(0..200);
    wait_for("all is counted", || sandbox.requests() == 200);
    piped.server.stop();
    wait_for("the spool is empty", || {
        segments(&spool(&sandbox)).expect("a folder").is_empty()
    });
    daemon.stop();
    assert_eq!(sandbox.stored_balance(), Balance::counted(200));
    assert_eq!(sandbox.gaps(), []);
}

#[test]
fn all_requests_of_apache_arrive() {
    all_requests_arrive(Kind::Apache);
}

#[test]
fn all_requests_of_lighttpd_arrive() {
    all_requests_arrive(Kind::Lighttpd);
}
