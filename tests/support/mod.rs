//! What all end-to-end tests stand on: a sandbox, the program, its rows, and one way to wait.
//!
//! Nothing here looks into the program. What is compared with its rows is counted by other means:
//! on the wire ([`wire`]), or from the log's own numbers ([`log`]).

#![allow(dead_code, reason = "each test file uses a part of this")]

pub(crate) mod gate;
pub(crate) mod log;
pub(crate) mod mariadb;
pub(crate) mod proxy;
pub(crate) mod server;
pub(crate) mod usage;
pub(crate) mod wire;

use std::ffi::OsStr;
use std::fmt::Debug;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::process::{Pid, Signal};
use serde_json::Value;
use tempfile::TempDir;

/// Longer than anything takes on a busy machine; a test that waits so long has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Looks again and again until there is a result. What was seen last is shown when time is up.
#[track_caller]
pub(crate) fn wait_until<T, E: Debug>(what: &str, mut look: impl FnMut() -> Result<T, E>) -> T {
    let start = Instant::now();
    loop {
        let seen = match look() {
            Ok(result) => return result,
            Err(seen) => seen,
        };
        assert!(
            start.elapsed() < DEADLINE,
            "waited in vain until {what}; last seen:\n{seen:#?}"
        );
        // The only pause in all tests. What is waited for happens in other processes, and shows in
        // files, sockets and rows, none of which can wake us.
        thread::sleep(Duration::from_millis(20));
    }
}

/// [`wait_until`], for what is true or not yet.
#[track_caller]
pub(crate) fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    wait_until(what, || if is_so() { Ok(()) } else { Err("not yet") });
}

/// Waits until a moment of a random schedule.
pub(crate) fn wait_for_moment(moment: Instant) {
    wait_for("the moment has come", || Instant::now() >= moment);
}

/// Where the repository is.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A row of `report --by day,vhost,user`, in the order of its rows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Row {
    pub(crate) day: String,
    pub(crate) vhost: String,
    pub(crate) user: Option<String>,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) requests: u64,
}

impl Row {
    /// From JSON as `report` prints it, or as the fixtures have it.
    pub(crate) fn from_json(row: &Value) -> Self {
        let text = |key: &str| row[key].as_str().map(str::to_owned);
        let number = |key: &str| {
            row[key]
                .as_u64()
                .unwrap_or_else(|| panic!("no {key} in {row}"))
        };
        Self {
            day: text("day").unwrap_or_else(|| panic!("no day in {row}")),
            vhost: text("vhost").unwrap_or_else(|| panic!("no vhost in {row}")),
            user: text("user"),
            bytes_in: number("in"),
            bytes_out: number("out"),
            requests: number("requests"),
        }
    }
}

/// The balance of lines, as `import` and `check` print it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Balance {
    pub(crate) lines: u64,
    pub(crate) counted: u64,
    pub(crate) unparsed: u64,
    pub(crate) ignored: u64,
    pub(crate) unattributed: u64,
}

impl Balance {
    /// So many lines, and all of them counted.
    pub(crate) fn counted(lines: u64) -> Self {
        Self {
            lines,
            counted: lines,
            ..Self::default()
        }
    }

    /// From JSON as the program prints it, or as the fixtures have it; it must close.
    pub(crate) fn from_json(object: &Value) -> Self {
        let number = |key: &str| {
            object[key]
                .as_u64()
                .unwrap_or_else(|| panic!("no {key} in {object}"))
        };
        let balance = Self {
            lines: number("lines"),
            counted: number("counted"),
            unparsed: number("unparsed"),
            ignored: number("ignored"),
            unattributed: number("unattributed"),
        };
        balance.assert_closed();
        balance
    }

    pub(crate) fn assert_closed(&self) {
        let named = self.counted + self.unparsed + self.ignored + self.unattributed;
        assert_eq!(self.lines, named, "the balance does not close: {self:?}");
    }
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("standard output is always UTF-8"),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// It exited with this code.
    #[track_caller]
    pub(crate) fn exited(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.stdout, self.stderr);
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}:\n{}\n{}", self.stdout, self.stderr))
    }

    /// The balance in it.
    #[track_caller]
    pub(crate) fn balance(&self) -> Balance {
        Balance::from_json(&self.json())
    }
}

/// A folder of its own, with a state directory, in which the program runs away from this machine's
/// config and state.
#[derive(Debug)]
pub(crate) struct Sandbox {
    folder: TempDir,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("tollkeeper-test-")
            .tempdir()
            .expect("a folder");
        // Web servers and the program as another user look into it.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))
            .expect("our own folder");
        Self { folder }
    }

    /// A path in it.
    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where the store is.
    pub(crate) fn state(&self) -> PathBuf {
        self.path("state")
    }

    /// Writes a file.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder above")).expect("a new folder");
        fs::write(&path, content).expect("a new file");
        path
    }

    /// Writes a gzip archive: a member for each of `contents`.
    pub(crate) fn write_gz(&self, name: &str, contents: &[&[u8]]) -> PathBuf {
        self.write(
            name,
            contents
                .iter()
                .flat_map(|content| gzip(content))
                .collect::<Vec<_>>(),
        )
    }

    /// The program with a command line. The zone is UTC where nothing else is said.
    pub(crate) fn tollkeeper<S: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> Command {
        self.program(Path::new(env!("CARGO_BIN_EXE_tollkeeper")), arguments)
    }

    /// As [`Sandbox::tollkeeper`], by another path or through another program.
    pub(crate) fn program<S: AsRef<OsStr>>(
        &self,
        program: &Path,
        arguments: impl IntoIterator<Item = S>,
    ) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("STATE_DIRECTORY", self.state())
            .env("TZ", "UTC")
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs the program to its end.
    pub(crate) fn ran<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ran {
        Ran::of(
            self.tollkeeper(arguments)
                .output()
                .expect("the program runs"),
        )
    }

    /// Runs a command, made by [`Sandbox::tollkeeper`] or [`Sandbox::program`], with this on its
    /// standard input.
    pub(crate) fn ran_with_input(&self, mut command: Command, input: &[u8]) -> Ran {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let mut stdin = child.stdin.take().expect("a pipe");
        let output = thread::scope(|scope| {
            // It may well end without reading all of it.
            scope.spawn(move || drop(stdin.write_all(input)));
            child.wait_with_output().expect("an exit")
        });
        Ran::of(output)
    }

    /// `import … --output json`, and its arguments.
    pub(crate) fn import_args<'a>(&self, arguments: &[&'a str]) -> Vec<&'a str> {
        [&["import", "--output", "json"], arguments].concat()
    }

    /// Imports; everything must be well.
    #[track_caller]
    pub(crate) fn import(&self, arguments: &[&str]) -> Ran {
        let ran = self.ran(self.import_args(arguments)).exited(0);
        ran.balance();
        ran
    }

    /// Imports something; not everything is well.
    #[track_caller]
    pub(crate) fn import_fails(&self, arguments: &[&str]) -> Ran {
        let ran = self.ran(self.import_args(arguments)).exited(1);
        ran.balance();
        ran
    }

    /// `report … --output json`.
    #[track_caller]
    pub(crate) fn report(&self, arguments: &[&str]) -> Vec<Value> {
        let ran = self
            .ran([&["report", "--output", "json"], arguments].concat())
            .exited(0);
        match ran.json() {
            Value::Array(rows) => rows,
            other => panic!("not an array: {other}"),
        }
    }

    /// All rows by day, vhost and user.
    #[track_caller]
    pub(crate) fn rows(&self) -> Vec<Row> {
        self.report(&["--by", "day,vhost,user"])
            .iter()
            .map(Row::from_json)
            .collect()
    }

    /// Waits until the rows are these.
    #[track_caller]
    pub(crate) fn wait_for_rows(&self, expected: &[Row]) {
        wait_until("the rows are the expected ones", || {
            let rows = self.rows();
            if rows == expected {
                Ok(())
            } else {
                Err((rows, expected.to_vec()))
            }
        });
    }

    /// How many requests have been counted in all.
    #[track_caller]
    pub(crate) fn requests(&self) -> u64 {
        self.rows().iter().map(|row| row.requests).sum()
    }

    /// The balance in the store, over all nodes, sources and days; each must close.
    pub(crate) fn stored_balance(&self) -> Balance {
        let mut sum = Balance::default();
        let connection =
            rusqlite::Connection::open(self.state().join("tollkeeper.db")).expect("the store");
        connection.busy_timeout(DEADLINE).expect("a number");
        let mut statement = connection
            .prepare("SELECT counted, unparsed, ignored, unattributed FROM balance")
            .expect("the table of the balance");
        let mut rows = statement.query([]).expect("rows");
        while let Some(row) = rows.next().expect("a row") {
            let number =
                |column: usize| row.get::<_, i64>(column).expect("a number").cast_unsigned();
            sum.counted += number(0);
            sum.unparsed += number(1);
            sum.ignored += number(2);
            sum.unattributed += number(3);
        }
        sum.lines = sum.counted + sum.unparsed + sum.ignored + sum.unattributed;
        sum
    }

    /// The gaps in the store, in the order in which they were noticed: path, byte and reason.
    pub(crate) fn gaps(&self) -> Vec<(String, u64, String)> {
        let connection =
            rusqlite::Connection::open(self.state().join("tollkeeper.db")).expect("the store");
        connection.busy_timeout(DEADLINE).expect("a number");
        let mut statement = connection
            .prepare("SELECT path, from_offset, reason FROM gap ORDER BY id")
            .expect("the table of gaps");
        let gap = |row: &rusqlite::Row<'_>| {
            let from: i64 = row.get(1)?;
            Ok((row.get(0)?, from.cast_unsigned(), row.get(2)?))
        };
        let gaps = statement.query_map([], gap).expect("rows");
        gaps.map(|gap| gap.expect("a row")).collect()
    }

    /// Writes `tollkeeper.toml`, in UTC and with the shortest interval; `sections` follow.
    pub(crate) fn config(&self, sections: &str) -> PathBuf {
        let start = format!("timezone = \"UTC\"\nreport_interval = \"1s\"\n{sections}");
        self.write("tollkeeper.toml", start)
    }

    /// Starts the daemon.
    pub(crate) fn start(&self, arguments: &[&str]) -> Daemon {
        Daemon::start(self, arguments)
    }

    /// Starts the daemon where the kernel grants it so many inotify watches.
    pub(crate) fn start_with_watches(&self, watches: u32, arguments: &[&str]) -> Daemon {
        let limit = format!("echo {watches} > /proc/sys/user/max_inotify_watches && exec \"$@\"");
        let program = env!("CARGO_BIN_EXE_tollkeeper");
        let namespace = ["--user", "--map-root-user", "sh", "-c", &limit, "sh"];
        let arguments = [&namespace, [program, "run"].as_slice(), arguments].concat();
        Daemon::of(self, self.program(Path::new("/usr/bin/unshare"), arguments))
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // For a look at what a failed test has left.
        if thread::panicking() && std::env::var_os("TOLLKEEPER_TEST_KEEP").is_some() {
            eprintln!("kept: {}", self.folder.path().display());
            self.folder.disable_cleanup(true);
        }
    }
}

/// Text of a path, to be put on a command line or into a config.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("our own paths are text")
}

/// A gzip member.
pub(crate) fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).expect("memory takes all");
    encoder.finish().expect("memory takes all")
}

/// The packings that logs are rotated with, by the endings of their names.
pub(crate) const PACKINGS: [&str; 4] = ["gz", "zst", "bz2", "xz"];

/// An archive of one member, in the packing of this ending.
pub(crate) fn pack(ending: &str, content: &[u8]) -> Vec<u8> {
    let packed = match ending {
        "gz" => Ok(gzip(content)),
        "zst" => zstd::stream::Encoder::new(Vec::new(), 1).and_then(|mut encoder| {
            encoder.include_checksum(true)?;
            encoder.write_all(content)?;
            encoder.finish()
        }),
        "bz2" => {
            let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            encoder.write_all(content).and_then(|()| encoder.finish())
        }
        "xz" => {
            let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
            encoder.write_all(content).and_then(|()| encoder.finish())
        }
        other => panic!("no packing has the ending {other}"),
    };
    packed.expect("memory takes all")
}

/// Adds to a file, as a web server does: in one write.
pub(crate) fn append(path: &Path, bytes: impl AsRef<[u8]>) {
    let mut file = File::options()
        .append(true)
        .create(true)
        .open(path)
        .expect("a log");
    file.write_all(bytes.as_ref()).expect("room in the log");
}

/// A section of the config that follows these paths; `more` are further lines of it.
pub(crate) fn source(paths: &[&Path], format: &str, more: &str) -> String {
    let paths: Vec<&str> = paths.iter().map(|path| text(path)).collect();
    // Literal strings of TOML have no escapes, and formats have plenty.
    format!("[[source.file]]\npaths = {paths:?}\nformat = '''{format}'''\n{more}\n")
}

/// A running `tollkeeper run`.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    stderr: PathBuf,
    /// What those before it in the same sandbox have said, in bytes.
    said_before: u64,
}

impl Daemon {
    fn start(sandbox: &Sandbox, arguments: &[&str]) -> Self {
        Self::of(sandbox, sandbox.tollkeeper([&["run"], arguments].concat()))
    }

    /// One that is started in another way.
    pub(crate) fn of(sandbox: &Sandbox, mut command: Command) -> Self {
        let stderr = sandbox.path("run.stderr");
        let log = File::options()
            .append(true)
            .create(true)
            .open(&stderr)
            .expect("a new file");
        let said_before = log.metadata().expect("our own file").len();
        let child = command
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the program runs");
        Self {
            child,
            stderr,
            said_before,
        }
    }

    /// What it has said, and those before it in the same sandbox.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    #[track_caller]
    pub(crate) fn assert_running(&mut self) {
        let ended = self.child.try_wait().expect("our own child");
        assert!(
            ended.is_none(),
            "the daemon has ended ({ended:?}):\n{}",
            self.said()
        );
    }

    pub(crate) fn signal(&self, signal: Signal) {
        send(&self.child, signal);
    }

    /// Ends it as an operator does; it must end well.
    #[track_caller]
    pub(crate) fn stop(mut self) {
        // Before its first words it may not yet listen to signals, and ends as any program would.
        wait_for("it has begun", || {
            let said = self.stderr.metadata().map_or(0, |said| said.len());
            said > self.said_before || matches!(self.child.try_wait(), Ok(Some(_)))
        });
        self.assert_running();
        self.signal(Signal::TERM);
        let status = self.wait();
        assert!(status.success(), "{status}:\n{}", self.said());
    }

    /// Ends it as a power cut does.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("our own child");
        self.child.wait().expect("our own child");
    }

    /// Waits for it to end by itself.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let (child, stderr) = (&mut self.child, &self.stderr);
        wait_until("the daemon has ended", || {
            child
                .try_wait()
                .expect("our own child")
                .ok_or_else(|| fs::read_to_string(stderr))
        })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Already gone in a test that went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to a process that we started and have not waited for.
pub(crate) fn send(child: &Child, signal: Signal) {
    let id = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .expect("a process id");
    rustix::process::kill_process(id, signal).expect("our own child");
}

/// Random numbers from a seed that is printed, so that a failure can be repeated with
/// `TOLLKEEPER_TEST_SEED`.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(test: &str) -> Self {
        let given = std::env::var("TOLLKEEPER_TEST_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| {
            let now = std::time::UNIX_EPOCH
                .elapsed()
                .expect("a clock behind 1970");
            u64::from(now.subsec_nanos())
        });
        // Shown when the test fails.
        eprintln!("{test}: TOLLKEEPER_TEST_SEED={seed}");
        Self(seed)
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// At least 0, less than `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// True so often in a hundred.
    pub(crate) fn percent(&mut self, often: u64) -> bool {
        self.below(100) < often
    }
}
