//! A daemon with gates, and an nginx that looks at them, as an operator sets both up.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use rustix::process::Signal;
use serde_json::Value;
use tollkeeper::enforce::nginx::SERVER_PART;

use super::mariadb::{Database, PASSWORD as STORE_PASSWORD};
use super::server::{Kind, PASSWORD};
use super::{Daemon, Ran, Sandbox, send, source, text, wait_until};

/// What is asked for: `/ten` has so many bytes.
pub(crate) const TEN: u64 = 10_000;
/// As an operator would say: at once. A machine that is busy with other tests is given its time.
pub(crate) const SECONDS: Duration = Duration::from_secs(20);
const MOST_TRIES: u32 = 5;

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("a clock behind 1970").as_secs()
}

/// A line of now in the log of a node, as nginx would have written it.
pub(crate) fn logged(host: &str, user: &str, bytes_out: u64) -> String {
    let now = now();
    format!(
        "{now}.000 200 10 {bytes_out} 0.1 127.0.0.1 {host} \"{user}\" \"GET / HTTP/1.1\" \"-\" \"-\"\n"
    )
}

/// Runs statements as a panel does.
pub(crate) fn sql(node: &Node, database: Option<&Database<'_>>, statements: &str) {
    match database {
        Some(database) => drop(database.sql(statements)),
        None => {
            let path = node.sandbox.state().join("tollkeeper.db");
            let store = rusqlite::Connection::open(path).expect("the store");
            store.busy_timeout(SECONDS).expect("a number");
            store.execute_batch(statements).expect("it is well formed");
        }
    }
}

/// `YYYY-MM-DD HH:MM` so many minutes ago.
pub(crate) fn minutes_ago(minutes: u64) -> String {
    let seconds = i64::try_from(now() - minutes * 60).expect("soon");
    let at = chrono::DateTime::from_timestamp(seconds, 0).expect("a time");
    at.format("%Y-%m-%d %H:%M").to_string()
}

/// Sets the clock of a program.
pub(crate) fn faketime() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").expect("Linux").flatten();
    let mut libraries = folders
        .map(|folder| folder.path().join("faketime/libfaketime.so.1"))
        .chain([PathBuf::from("/usr/lib/faketime/libfaketime.so.1")]);
    let found = libraries.find(|library| library.exists());
    found.expect("libfaketime (tests/run installs it)")
}

/// All of an answer, and the seconds that it took.
pub(crate) fn fetch(address: SocketAddr, request: &[u8]) -> (String, f64) {
    let begin = Instant::now();
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.write_all(request).expect("it reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("it answers");
    let seconds = begin.elapsed().as_secs_f64();
    (String::from_utf8(answer).expect("text"), seconds)
}

/// The section of a config that leads to a database.
pub(crate) fn store(sandbox: &Sandbox, database: &Database<'_>) -> String {
    let password = sandbox.write("password", STORE_PASSWORD.to_owned() + "\n");
    let (user, port, name) = (&database.url.user, database.url.port, &database.name);
    format!(
        "[store]\nurl = \"mysql://{user}@127.0.0.1:{port}/{name}\"\npassword_file = {password:?}\n"
    )
}

/// A node: its config, its log and its gates. Rows are in a database, or in its own store.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) sandbox: Sandbox,
    config: PathBuf,
    name: String,
}

impl Node {
    /// One that follows the log of an nginx of its own. `store`: sections in front of all others, see
    /// [`store`]; `more`: lines of the source; `sections`: all others.
    pub(crate) fn new(database: Option<&Database<'_>>, more: &str, sections: &str) -> Self {
        Self::named("n", Sandbox::new(), database, "", more, sections)
    }

    /// The same with a name, and more lines of `[store]`.
    pub(crate) fn named(
        name: &str,
        sandbox: Sandbox,
        database: Option<&Database<'_>>,
        of_store: &str,
        more: &str,
        sections: &str,
    ) -> Self {
        let store = database.map_or_else(String::new, |database| store(&sandbox, database));
        let log = sandbox.write("nginx/logs/access.log", "");
        let source = source(
            &[&log],
            &format!("nginx:{}", Kind::Nginx.recommended()),
            more,
        );
        let flags = sandbox.path("gate/nginx");
        let gate = format!("[[gate.nginx]]\nflags = {flags:?}\n");
        let all = [&store, of_store, "\n", &source, &gate, sections].concat();
        let config = sandbox.config(&all);
        Self {
            sandbox,
            config,
            name: name.to_owned(),
        }
    }

    pub(crate) fn arguments(&self) -> [&str; 4] {
        ["-c", text(&self.config), "--node", &self.name]
    }

    pub(crate) fn start(&self) -> Daemon {
        self.sandbox.start(&self.arguments())
    }

    /// Runs a command to its end.
    pub(crate) fn ran(&self, arguments: &[&str]) -> Ran {
        self.sandbox.ran([arguments, &self.arguments()].concat())
    }

    /// One that is content.
    #[track_caller]
    pub(crate) fn does(&self, arguments: &[&str]) -> String {
        self.ran(arguments).exited(0).stdout
    }

    /// The log that is followed.
    pub(crate) fn log(&self) -> PathBuf {
        self.sandbox.path("nginx/logs/access.log")
    }

    /// The folder of flags.
    pub(crate) fn flags(&self) -> PathBuf {
        self.sandbox.path("gate/nginx")
    }

    /// All files below the folder of flags, by their paths there.
    pub(crate) fn standing(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        files(&self.flags(), &self.flags(), &mut found);
        found
    }

    /// Whether a site is refused.
    pub(crate) fn is_closed(&self, site: &str) -> bool {
        self.flags().join("deny-429").join(site).exists()
    }

    /// What the daemon says of itself.
    pub(crate) fn status(&self) -> Result<Value, Ran> {
        let ran = self.ran(&["status", "--output", "json"]);
        match ran.code {
            Some(0) => Ok(ran.json()),
            _ => Err(ran),
        }
    }

    /// Waits until that is so.
    #[track_caller]
    pub(crate) fn wait_for_status(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        wait_until(what, || match self.status() {
            Ok(status) if is_so(&status) => Ok(status),
            other => Err(other),
        })
    }

    /// What `quota list` says of an account in words: of its first quota.
    pub(crate) fn standing_of(&self, account: &str) -> Option<Value> {
        let ran = self.ran(&["quota", "list", "--output", "json"]).exited(0);
        let Value::Array(rows) = ran.json() else {
            panic!("no array: {ran:?}");
        };
        rows.into_iter().find(|row| row["account"] == account)
    }

    /// What it has used, as `quota list` says.
    pub(crate) fn used(&self, account: &str) -> u64 {
        let standing = self.standing_of(account);
        let used = standing.as_ref().and_then(|row| row["used"].as_u64());
        used.unwrap_or(0)
    }

    /// Waits until it has used exactly so much, as `quota list` says.
    #[track_caller]
    pub(crate) fn wait_for_use(&self, account: &str, used: u64) {
        wait_until("all is in the store", || match self.standing_of(account) {
            Some(row) if row["used"] == used => Ok(()),
            other => Err((other, used)),
        });
    }

    /// Bytes in and out of a site, as `report` says.
    pub(crate) fn reported(&self, site: &str) -> (u64, u64) {
        let ran = self.ran(&["report", "--by", "vhost", "--output", "json"]);
        let Value::Array(rows) = ran.exited(0).json() else {
            panic!("no array");
        };
        let number = |row: &Value, key: &str| row[key].as_u64().expect("a number");
        let row = rows.iter().find(|row| row["vhost"] == site);
        row.map_or((0, 0), |row| (number(row, "in"), number(row, "out")))
    }
}

fn files(root: &Path, folder: &Path, found: &mut BTreeSet<String>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for path in entries.map(|entry| entry.expect("an entry").path()) {
        match path.is_dir() {
            true => files(root, &path, found),
            false => {
                let below = path.strip_prefix(root).expect("it is below");
                found.insert(text(below).to_owned());
            }
        }
    }
}

/// What one exchange was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Bytes of the request, as they were sent.
    pub(crate) bytes_in: u64,
    /// Bytes of the answer, as they came.
    pub(crate) bytes_out: u64,
}

/// A running nginx, with what `tollkeeper snippet nginx` prints pasted in: `/ten`, and `/private/ten` for
/// users. It stands in the sandbox of a node.
#[derive(Debug)]
pub(crate) struct Nginx {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Nginx {
    pub(crate) fn start(node: &Node) -> Self {
        Self::start_with(node, str::to_owned)
    }

    /// The same, where not all that is printed is pasted.
    pub(crate) fn start_with(node: &Node, pasted: impl Fn(&str) -> String) -> Self {
        let snippet = pasted(&node.does(&["snippet", "nginx"]));
        let at = snippet.find(SERVER_PART).expect("both parts");
        let (http, server) = snippet.split_at(at);
        let folder = node.sandbox.path("nginx");
        for name in ["tmp", "www/private", "snippets"] {
            fs::create_dir_all(folder.join(name)).expect("a new folder");
        }
        let ten = vec![b'x'; usize::try_from(TEN).expect("it is small")];
        let users = ["alice", "bob", "carol"].map(|user| format!("{user}:{{PLAIN}}{PASSWORD}\n"));
        for (name, content) in [
            ("www/ten", ten.as_slice()),
            ("www/private/ten", &ten),
            ("users", users.concat().as_bytes()),
            ("snippets/http.conf", http.as_bytes()),
            ("snippets/server.conf", server.as_bytes()),
        ] {
            fs::write(folder.join(name), content).expect("a new file");
        }
        let mut tries = 0;
        loop {
            tries += 1;
            match Self::try_start(&folder) {
                Ok(server) => return server,
                Err(error) if tries == MOST_TRIES => panic!("nginx does not start:\n{error}"),
                Err(_) => {}
            }
        }
    }

    fn try_start(folder: &Path) -> Result<Self, String> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("our own port");
        drop(listener);
        let config = folder.join("server.conf");
        fs::write(&config, config_text(text(folder), address)).expect("a new file");
        let stderr = folder.join("stderr");
        let child = Command::new("/usr/sbin/nginx")
            .arg("-p")
            .arg(folder)
            .arg("-c")
            .arg(&config)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&stderr).expect("a new file"))
            .spawn()
            .expect("nginx runs");
        let mut server = Self { child, address };
        wait_until("nginx listens", || {
            let listens = TcpStream::connect(address).is_ok();
            match server.child.try_wait().expect("our own child") {
                Some(_) => Ok(Err(fs::read_to_string(&stderr).unwrap_or_default())),
                None if listens => Ok(Ok(())),
                None => Err("it does not"),
            }
        })?;
        Ok(server)
    }

    /// Asks for a path at a host.
    pub(crate) fn ask(&self, host: &str, path: &str) -> Answer {
        self.send(&request(host, path, None))
    }

    /// The same with the name of a user, and a password.
    pub(crate) fn ask_as(&self, host: &str, path: &str, user: (&str, &str)) -> Answer {
        self.send(&request(host, path, Some(user)))
    }

    /// Sends these bytes.
    pub(crate) fn send(&self, request: &[u8]) -> Answer {
        self.send_from(Ipv4Addr::LOCALHOST, request)
    }

    /// The same from another address of this machine.
    pub(crate) fn send_from(&self, client: Ipv4Addr, request: &[u8]) -> Answer {
        let connection = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        bind(&connection, &SocketAddr::new(IpAddr::V4(client), 0)).expect("it is ours");
        connect(&connection, &self.address).expect("it listens");
        let mut stream = TcpStream::from(connection);
        stream.write_all(request).expect("it reads");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("it answers");
        let status = std::str::from_utf8(answer.get(9..12).expect("a status line"));
        Answer {
            status: status.ok().and_then(|s| s.parse().ok()).expect("a status"),
            bytes_in: request.len() as u64,
            bytes_out: answer.len() as u64,
        }
    }

    /// Its workers: after a reload there are others.
    pub(crate) fn workers(&self) -> String {
        let id = self.child.id();
        let path = format!("/proc/{id}/task/{id}/children");
        // It listens before it has any.
        wait_until("nginx has a worker", || {
            let workers = fs::read_to_string(&path).expect("Linux");
            if workers.is_empty() {
                Err(workers)
            } else {
                Ok(workers)
            }
        })
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            send(&self.child, Signal::TERM);
            let child = &mut self.child;
            wait_until("nginx has ended", || {
                child.try_wait().expect("our own child").ok_or("it runs")
            });
        }
    }
}

pub(crate) fn request(host: &str, path: &str, user: Option<(&str, &str)>) -> Vec<u8> {
    let user = user.map(|(user, password)| {
        let both = base64(format!("{user}:{password}").as_bytes());
        format!("Authorization: Basic {both}\r\n")
    });
    let user = user.unwrap_or_default();
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{user}Connection: close\r\n\r\n").into_bytes()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let value = (bits >> (18 - 6 * digit)) & 63;
            text.push(match digit <= three.len() {
                true => char::from(DIGITS[value as usize]),
                false => '=',
            });
        }
    }
    text
}

fn config_text(folder: &str, address: SocketAddr) -> String {
    let format = Kind::Nginx.recommended();
    format!(
        r#"
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    client_body_temp_path {folder}/tmp; proxy_temp_path {folder}/tmp; fastcgi_temp_path {folder}/tmp;
    uwsgi_temp_path {folder}/tmp; scgi_temp_path {folder}/tmp;
    root {folder}/www;
    {format}
    access_log {folder}/logs/access.log tk;
    include {folder}/snippets/http.conf;
    server {{
        listen {address} default_server;
        server_name _;
        include {folder}/snippets/server.conf;
        location /private/ {{ auth_basic members; auth_basic_user_file {folder}/users; }}
    }}
}}
"#
    )
}
