//! A MariaDB of our own, on a port of 127.0.0.1 and in a temporary folder.
//!
//! One is shared by the tests of a file, each of which has a database of its own in it. A user has there
//! exactly what the program says that it needs.

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

use chrono_tz::Tz;
use rustix::process::{Pid, Signal};
use tempfile::TempDir;
use tollkeeper::config::MysqlUrl;
use tollkeeper::store::mysql::{Access, Mysql, grants};

use super::{wait_for, wait_until};

/// What the users of all databases have as their password.
pub(crate) const PASSWORD: &str = "se'cr\"et";

/// A running server; ended with the value, or with the test, however that ends.
#[derive(Debug)]
pub(crate) struct MariaDb {
    folder: TempDir,
    pub(crate) port: u16,
    options: Vec<String>,
    /// A shell that ends the server when nobody holds the other end of its standard input.
    keeper: Mutex<Option<Child>>,
    /// Whether the folder goes with the server.
    tidies_up: bool,
}

impl MariaDb {
    /// The one that the tests of a file share.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<MariaDb> = OnceLock::new();
        // A static is never dropped: the keeper of the server tidies up.
        SHARED.get_or_init(|| Self::start_in(new_folder(), &[], true))
    }

    /// One with these options.
    pub(crate) fn start(options: &[&str]) -> Self {
        Self::start_in(new_folder(), options, false)
    }

    /// One with its data in a folder that is there.
    pub(crate) fn start_in(folder: TempDir, options: &[&str], tidies_up: bool) -> Self {
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("our folder");
        own(folder.path());
        // A server that starts removes the temporary tables of all others in the same place.
        fs::create_dir(folder.path().join("tmp")).expect("our folder");
        own(&folder.path().join("tmp"));
        let data = format!("--datadir={}", folder.path().join("data").display());
        let temporary = format!("--tmpdir={}", folder.path().join("tmp").display());
        let mut install = Command::new("mariadb-install-db");
        install
            .args(["--no-defaults", "--auth-root-authentication-method=normal"])
            .args(["--skip-test-db", &data, &temporary])
            .args(user_option())
            .args(
                options
                    .iter()
                    .filter(|option| option.starts_with("--innodb")),
            )
            .env("HOME", folder.path());
        let installed = install
            .output()
            .expect("mariadb-install-db, of the package mariadb-server");
        assert!(
            installed.status.success(),
            "{}{}",
            String::from_utf8_lossy(&installed.stdout),
            String::from_utf8_lossy(&installed.stderr)
        );
        let server = Self {
            folder,
            port: free_port(),
            options: options.iter().map(|option| (*option).to_owned()).collect(),
            keeper: Mutex::new(None),
            tidies_up,
        };
        server.begin();
        server
    }

    /// Starts it, and waits until it answers.
    pub(crate) fn begin(&self) {
        self.begin_with(&[]);
    }

    /// As [`MariaDb::begin`], with more options for this time.
    pub(crate) fn begin_with(&self, options: &[&str]) {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let mut keeper = Command::new("sh");
        keeper
            .arg("-c")
            .arg("trap '' TERM INT; \"$@\" <&- & server=$!; read -r _; kill -9 $server 2>/dev/null; wait; [ -z \"$TIDY\" ] || rm -r \"$TIDY\"")
            .env("TIDY", if self.tidies_up { self.folder.path().as_os_str() } else { "".as_ref() })
            .arg("sh")
            .arg("mariadbd")
            .args(["--no-defaults", "--bind-address=127.0.0.1"])
            .args(["--innodb-buffer-pool-size=64M", "--innodb-log-file-size=64M"])
            .args(["--innodb-flush-log-at-trx-commit=2", "--max-connections=60"])
            .arg(format!("--port={}", self.port))
            .arg(format!("--datadir={}", path("data")))
            .arg(format!("--tmpdir={}", path("tmp")))
            .arg(format!("--socket={}", path("s.sock")))
            .arg(format!("--pid-file={}", path("m.pid")))
            .arg(format!("--log-error={}", path("err.log")))
            .args(user_option())
            .args(&self.options)
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let _ = fs::remove_file(self.folder.path().join("m.pid"));
        *self.keeper.lock().expect("a whole keeper") = Some(keeper.spawn().expect("a shell"));
        wait_until("MariaDB answers", || {
            match self.client("").arg("-e").arg("SELECT 1").output() {
                Ok(output) if output.status.success() => Ok(()),
                other => Err((other, fs::read_to_string(path("err.log")))),
            }
        });
    }

    fn client(&self, database: &str) -> Command {
        let mut client = Command::new("mariadb");
        client
            .args(["--no-defaults", "-uroot", "-N", "-B", "--raw"])
            .args(["--default-character-set=utf8mb4"])
            .arg("-S")
            .arg(self.socket());
        if !database.is_empty() {
            client.arg(database);
        }
        client
    }

    /// The unix socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("s.sock")
    }

    /// What it has to say about itself.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("err.log")).unwrap_or_default()
    }

    /// Runs statements as root, in a database or in none; what they print, a row a line.
    #[track_caller]
    pub(crate) fn sql(&self, database: &str, statements: &str) -> String {
        match self.try_sql(database, statements) {
            Ok(rows) => rows,
            Err(error) => panic!("{statements}\n{error}"),
        }
    }

    /// As [`MariaDb::sql`], where it may be refused.
    pub(crate) fn try_sql(&self, database: &str, statements: &str) -> Result<String, String> {
        let mut child = self
            .client(database)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("mariadb, of the package mariadb-client");
        let mut stdin = child.stdin.take().expect("a pipe");
        let _ = stdin.write_all(statements.as_bytes());
        drop(stdin);
        let output = child.wait_with_output().expect("an exit");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim_end().to_owned();
        match output.status.success() {
            true => Ok(text(output.stdout)),
            false => Err(text(output.stderr)),
        }
    }

    /// A session of root's own that stays open: what it locks stays locked until it is dropped.
    pub(crate) fn hold(&self, database: &str, statements: &str) -> Held {
        let mut child = self
            .client(database)
            .arg("-n")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("mariadb, of the package mariadb-client");
        let stdin = child.stdin.as_mut().expect("a pipe");
        writeln!(stdin, "{statements}\nSELECT 'held';").expect("a client that reads");
        let stdout = child.stdout.take().expect("a pipe");
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(stdout));
        let held = lines.any(|line| line.is_ok_and(|line| line == "held"));
        assert!(held, "{statements}");
        Held { child }
    }

    fn pid(&self) -> Pid {
        wait_until("MariaDB writes its process id", || {
            let text = fs::read_to_string(self.folder.path().join("m.pid"));
            let id = text.ok().and_then(|text| text.trim().parse().ok());
            id.and_then(Pid::from_raw).ok_or("none")
        })
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        rustix::process::kill_process(self.pid(), signal).expect("a process of ours");
    }

    /// Ends it at once, as a power cut would.
    pub(crate) fn kill(&self) {
        let pid = self.pid();
        self.signal(Signal::KILL);
        self.ended(pid);
    }

    /// Ends it in order.
    pub(crate) fn stop(&self) {
        let pid = self.pid();
        self.signal(Signal::TERM);
        self.ended(pid);
    }

    fn ended(&self, pid: Pid) {
        wait_for("MariaDB has ended", || {
            let state = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
            state.is_err() || state.is_ok_and(|state| state.contains(") Z "))
        });
        self.dismiss_keeper();
    }

    fn dismiss_keeper(&self) {
        let keeper = self.keeper.lock().map(|mut keeper| keeper.take());
        if let Ok(Some(mut keeper)) = keeper {
            drop(keeper.stdin.take());
            let _ = keeper.wait();
        }
    }

    /// A new database with its tables made, and a user who may do what `run` and `import` need.
    pub(crate) fn database(&self) -> Database<'_> {
        let database = self.empty_database();
        database.may_change_tables();
        drop(database.open());
        database.may_count();
        database
    }

    /// A new database, and a user who may do nothing in it.
    pub(crate) fn empty_database(&self) -> Database<'_> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("t_{number}");
        let url = MysqlUrl {
            user: format!("tk_{number}"),
            host: "127.0.0.1".into(),
            port: self.port,
            database: name.clone(),
            socket: None,
        };
        let password = PASSWORD.replace('\'', "''");
        self.sql(
            "",
            &format!(
                "CREATE DATABASE {name} CHARACTER SET latin1; \
                 CREATE USER tk_{number}@localhost IDENTIFIED BY '{password}';"
            ),
        );
        Database {
            server: self,
            name,
            url,
        }
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        self.dismiss_keeper();
    }
}

/// A session that holds locks.
#[derive(Debug)]
pub(crate) struct Held {
    child: Child,
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// A database of one test.
#[derive(Debug)]
pub(crate) struct Database<'s> {
    pub(crate) server: &'s MariaDb,
    pub(crate) name: String,
    pub(crate) url: MysqlUrl,
}

impl Database<'_> {
    /// Runs statements in it, as root.
    #[track_caller]
    pub(crate) fn sql(&self, statements: &str) -> String {
        self.server.sql(&self.name, statements)
    }

    /// How its user gets in.
    pub(crate) fn access(&self) -> Access {
        Access {
            password: Some(PASSWORD.into()),
            ..Access::default()
        }
    }

    /// The store in it.
    #[track_caller]
    pub(crate) fn open(&self) -> Mysql {
        Mysql::open(&self.url, &self.access(), Some(Tz::UTC), Tz::UTC).expect("a store")
    }

    /// As [`Database::open`], through another port.
    #[track_caller]
    pub(crate) fn open_through(&self, port: u16) -> Mysql {
        let url = MysqlUrl {
            port,
            ..self.url.clone()
        };
        Mysql::open(&url, &self.access(), Some(Tz::UTC), Tz::UTC).expect("a store")
    }

    /// The program's own words for what its user needs: to make tables, and to count.
    fn grants(&self) -> (String, String) {
        let text = grants(&self.url);
        let (first, rest) = text.split_once(";\n").expect("several statements");
        (format!("{first};"), rest.to_owned())
    }

    /// Lets the user do what `store init` and `store upgrade` need, and nothing else.
    pub(crate) fn may_change_tables(&self) {
        self.may_nothing();
        self.sql(&self.grants().0);
    }

    /// Lets the user do what `run` and `import` need, and nothing else.
    pub(crate) fn may_count(&self) {
        self.may_nothing();
        self.sql(&self.grants().1);
    }

    fn may_nothing(&self) {
        let user = &self.url.user;
        self.sql(&format!(
            "REVOKE ALL PRIVILEGES, GRANT OPTION FROM {user}@localhost;"
        ));
    }
}

fn new_folder() -> TempDir {
    tempfile::Builder::new()
        .prefix("tollkeeper-mariadb-")
        .tempdir()
        .expect("a folder")
}

/// A port that nobody uses now.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("an address").port()
}

/// Root cannot run it; there is a user for that.
fn user_option() -> Option<&'static str> {
    rustix::process::geteuid()
        .is_root()
        .then_some("--user=mysql")
}

fn own(folder: &Path) {
    if rustix::process::geteuid().is_root() {
        let users = fs::read_to_string("/etc/passwd").expect("users");
        let user = users
            .lines()
            .find_map(|line| line.strip_prefix("mysql:"))
            .and_then(|rest| rest.split(':').nth(1)?.parse().ok());
        let user: u32 = user.expect("the user mysql, of the package mariadb-server");
        std::os::unix::fs::chown(folder, Some(user), None).expect("root");
    }
}
