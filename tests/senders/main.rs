//! Real senders of syslog and of pipes, set up as the pages below docs/syslog tell operators to: what
//! they log is in the rows, to the byte, or booked as lost.

#[path = "../support/mod.rs"]
mod support;

mod bursts;
mod haproxy;
mod logger;
mod nginx;
mod piped;
mod rsyslog;
mod syslog_ng;

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustix::process::Signal;
use serde_json::Value;
use support::log::{lines, rows};
use support::wire::{Connection, request};
use support::{Daemon, Row, Sandbox, repository, send, text, wait_for, wait_until};

/// What the pages call the place where syslog is received.
const ADDRESS: &str = "127.0.0.1:5514";
const SOCKET: &str = "/run/tollkeeper/log.sock";

/// A block of a page, fenced as this.
fn pasted(page: &str, kind: &str, number: usize) -> String {
    let path = repository().join("docs/syslog").join(page);
    let page = fs::read_to_string(path).expect("a page of the documentation");
    let fence = format!("```{kind}\n");
    let block = page.split(&fence).nth(number + 1);
    let block = block.and_then(|block| block.split("```").next());
    block
        .unwrap_or_else(|| panic!("no block {number} of {kind}"))
        .to_owned()
}

/// An address that is free for datagrams and for connections.
fn free() -> SocketAddr {
    wait_until("a port is free", || {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("our own port");
        UdpSocket::bind(address).map(|_| address)
    })
}

/// Where the tests receive, in place of what the pages name.
struct Receiver {
    sandbox: Sandbox,
    address: SocketAddr,
    daemon: Option<Daemon>,
}

impl Receiver {
    fn prepare() -> Self {
        Self {
            sandbox: Sandbox::new(),
            address: free(),
            daemon: None,
        }
    }

    /// Starts the daemon with these sections, as a page has them.
    fn begin(mut self, sections: &str) -> Self {
        let sections = self.here(sections);
        self.sandbox.config(&sections);
        self.start_daemon();
        self
    }

    /// Both.
    fn start(sections: &str) -> Self {
        Self::prepare().begin(sections)
    }

    /// The text of a page, with the addresses and paths of this test.
    fn here(&self, pasted: &str) -> String {
        let port = format!("\"{}\"", self.address.port());
        pasted
            .replace(ADDRESS, &self.address.to_string())
            .replace("\"5514\"", &port)
            .replace("port(5514)", &format!("port({})", self.address.port()))
            .replace(SOCKET, text(&self.socket()))
            .replace("/etc/tollkeeper/tls", text(&self.sandbox.path("tls")))
            .replace("/etc/rsyslog.d/tls", text(&self.sandbox.path("tls")))
            .replace("/etc/syslog-ng/tls", text(&self.sandbox.path("tls")))
            .replace("/var/log/nginx", text(&self.sandbox.path("logs")))
    }

    fn socket(&self) -> PathBuf {
        self.sandbox.path("log.sock")
    }

    fn start_daemon(&mut self) {
        let config = self.sandbox.path("tollkeeper.toml");
        self.daemon = Some(self.sandbox.start(&["-c", text(&config)]));
        wait_until("the daemon listens", || {
            let listeners = self.status()["listeners"].as_array().map_or(0, Vec::len);
            let daemon = self.daemon.as_mut().expect("it is running");
            daemon.assert_running();
            if listeners > 0 {
                Ok(())
            } else {
                Err(daemon.said())
            }
        });
    }

    fn kill(&mut self) {
        self.daemon.take().expect("it is running").kill();
    }

    fn stop(&mut self) {
        self.daemon.take().expect("it is running").stop();
    }

    fn status(&self) -> Value {
        let ran = self.sandbox.ran(["status", "--output", "json"]);
        serde_json::from_str(&ran.stdout).unwrap_or(Value::Null)
    }

    /// A number of the first listener.
    fn listener(&self, key: &str) -> u64 {
        let status = self.status();
        status["listeners"][0]
            .pointer(key)
            .and_then(Value::as_u64)
            .unwrap_or(0)
    }

    /// The rows are these, now and after a stop.
    #[track_caller]
    fn ends_with(mut self, expected: &[Row]) {
        self.sandbox.wait_for_rows(expected);
        self.stop();
        assert_eq!(self.sandbox.rows(), expected);
        assert_eq!(self.sandbox.gaps(), []);
    }
}

/// A program that a test has started; ended by its id.
struct Program(Child);

impl Program {
    fn start(sandbox: &Sandbox, program: &str, arguments: &[&str]) -> Self {
        Self::of(
            sandbox,
            program,
            sandbox.program(Path::new(program), arguments),
        )
    }

    fn of(sandbox: &Sandbox, program: &str, mut command: Command) -> Self {
        let name = program.rsplit('/').next().unwrap_or(program);
        let output = |end| fs::File::create(sandbox.path(format!("{name}.{end}")));
        let child = command
            .stdout(output("stdout").expect("a new file"))
            .stderr(output("stderr").expect("a new file"))
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}; run tests/run, which installs it"));
        Self(child)
    }

    fn end(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            send(&self.0, Signal::TERM);
            wait_for("the sender has ended", || {
                matches!(self.0.try_wait(), Ok(Some(_)))
            });
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.end();
    }
}

/// Runs a program to its end; it must end well.
#[track_caller]
fn run(sandbox: &Sandbox, program: &str, arguments: &[&str], input: &str) {
    let command = sandbox.program(Path::new(program), arguments);
    sandbox.ran_with_input(command, input.as_bytes()).exited(0);
}

fn wait_until_it_listens(address: SocketAddr, output: &Path) {
    wait_until("the server listens", || {
        TcpStream::connect(address).map_err(|_| fs::read_to_string(output))
    });
}

/// Asks a web server for pages of three sites, 50 over each connection.
fn ask(address: SocketAddr, requests: usize) {
    for chunk in 0..requests.div_ceil(50) {
        let mut connection = Connection::open(address);
        for number in 0..50.min(requests - 50 * chunk) {
            let host = ["a.example", "b.example", "c.example"][number % 3];
            let target = format!("/index.html?{chunk}-{number}-\"{}\\", "x".repeat(number));
            connection.ask(&request("GET", &target, host, &["User-Agent: \"a\\"], b""));
        }
    }
}

/// Rows of a log whose fields 0 to 3 are as in [`support::log`], and whose host is the field `host`.
fn rows_of(log: &str, host: usize) -> Vec<Row> {
    let short: Vec<String> = log
        .lines()
        .map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            let host = match fields[host].trim_matches('"') {
                "-" => "_none",
                host => host,
            };
            format!("{} {host} \"-\"", fields[..4].join(" "))
        })
        .collect();
    rows(short.iter().map(String::as_str))
}

/// `[[source.syslog]]` for logs made by [`support::log`].
fn source(listen: &str, more: &str) -> String {
    let format = support::log::FORMAT;
    format!(
        "[[source.syslog]]\nname = \"web\"\nlisten = \"{listen}\"\nformat = '''{format}'''\n{more}\n"
    )
}

/// An authority and two certificates in `tls/` of the sandbox, as the pages name them.
fn certificates(sandbox: &Sandbox) {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // OpenSSL takes a certificate with its issuer's name for one that has signed itself.
    params
        .distinguished_name
        .push(DnType::CommonName, "authority");
    let key = KeyPair::generate().expect("a key");
    let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
    sandbox.write("tls/ca.pem", issuer.pem());
    for name in ["server", "client"] {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &issuer).expect("a certificate");
        sandbox.write(&format!("tls/{name}.pem"), certificate.pem());
        sandbox.write(&format!("tls/{name}.key"), key.serialize_pem());
    }
}
