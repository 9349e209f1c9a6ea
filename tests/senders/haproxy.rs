//! HAProxy, in its formats of syslog and over all that it can send through.

use std::fs;
use std::net::TcpListener;
use std::thread;

use chrono::DateTime;

use super::support::Row;
use super::{Program, Receiver, ask, free, pasted, rows, text, wait_for, wait_until_it_listens};

/// Answers each request on each connection.
fn backend() -> std::net::SocketAddr {
    use std::io::{BufRead as _, BufReader, Write as _};
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("our own port");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().expect("a copy"));
                let mut stream = stream;
                let mut line = String::new();
                while let Ok(1..) = reader.read_line(&mut line) {
                    if line == "\r\n" {
                        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\ntollkeeper!\n";
                        if stream.write_all(answer).is_err() {
                            return;
                        }
                    }
                    line.clear();
                }
            });
        }
    });
    address
}

/// Rows of a log in the format of the page.
fn rows_of(log: &str) -> Vec<Row> {
    let short: Vec<String> = log
        .lines()
        .map(|line| {
            let (time, rest) = line.split_at("26/Nov/2026:14:20:46 +0000".len());
            let time = DateTime::parse_from_str(time, "%d/%b/%Y:%H:%M:%S %z").expect("a time");
            let fields: Vec<&str> = rest.trim().split(' ').collect();
            let host = fields[5]
                .strip_prefix('{')
                .and_then(|host| host.strip_suffix('}'));
            let host = host.filter(|host| !host.is_empty()).unwrap_or("_none");
            format!(
                "{} {} {host} \"-\"",
                time.timestamp(),
                fields[..3].join(" ")
            )
        })
        .collect();
    rows(short.iter().map(String::as_str))
}

struct Haproxy {
    receiver: Receiver,
    program: Program,
    web: std::net::SocketAddr,
}

impl Haproxy {
    fn start(toml: &str, beside: &str, frontend: &str) -> Self {
        let receiver = Receiver::start(toml);
        let (web, backend) = (free(), backend());
        let (beside, frontend) = (receiver.here(beside), receiver.here(frontend));
        let config = format!(
            "{beside}\ndefaults\n    mode http\n    timeout connect 10s\n    timeout client 60s\n    \
             timeout server 60s\nfrontend web\n    bind {web}\n{frontend}    \
             log stdout len 65535 format raw local0\n    default_backend site\nbackend site\n    \
             server site {backend}\n"
        );
        let config = receiver.sandbox.write("haproxy.cfg", config);
        let arguments = ["-db", "-f", text(&config)];
        let program = Program::start(&receiver.sandbox, "/usr/sbin/haproxy", &arguments);
        // What ends before a request is logged as a refused one.
        wait_until_it_listens(web, &receiver.sandbox.path("haproxy.stderr"));
        Self {
            receiver,
            program,
            web,
        }
    }

    /// What it has logged to its standard output as well.
    fn log(&self) -> String {
        fs::read_to_string(self.receiver.sandbox.path("haproxy.stdout")).expect("its output")
    }

    /// `at_once`: requests before a look whether they have arrived.
    fn all_requests_arrive(mut self, at_once: usize) {
        for round in 1..=500 / at_once {
            ask(self.web, at_once);
            let asked = round * at_once;
            wait_for("all is logged", || self.log().lines().count() >= asked);
            wait_for("all is received", || {
                self.receiver.listener("/messages") >= asked as u64
            });
        }
        self.receiver.sandbox.wait_for_rows(&rows_of(&self.log()));
        self.program.end();
        let log = self.log();
        self.receiver.ends_with(&rows_of(&log));
    }
}

fn datagrams(at_once: usize, change: impl Fn(String) -> String, toml: impl Fn(String) -> String) {
    let toml = toml(pasted("haproxy.md", "toml", 0));
    let frontend = change(pasted("haproxy.md", "haproxy", 0));
    Haproxy::start(&toml, "", &frontend).all_requests_arrive(at_once);
}

fn without_tags(toml: String) -> String {
    toml.replace("tags   = [\"haproxy\"]\n", "")
}

#[test]
fn haproxy_over_udp_is_counted_to_the_byte() {
    datagrams(500, |block| block, |toml| toml);
}

#[test]
fn haproxy_in_the_older_format_is_counted_to_the_byte() {
    datagrams(
        500,
        |block| block.replace("rfc5424", "rfc3164"),
        |toml| toml,
    );
}

#[test]
fn haproxy_without_an_envelope_is_counted_to_the_byte() {
    datagrams(500, |block| block.replace("rfc5424", "raw"), without_tags);
}

#[test]
fn haproxy_over_a_unix_socket_is_counted_to_the_byte() {
    // As nginx, it drops what finds the socket's queue full.
    datagrams(
        5,
        |block| block.replace("127.0.0.1:5514", super::SOCKET),
        |toml| toml.replace("udp://127.0.0.1:5514", &format!("unix://{}", super::SOCKET)),
    );
}

#[test]
fn haproxy_over_tcp_is_counted_to_the_byte() {
    let ring = pasted("haproxy.md", "haproxy", 1);
    let frontend = pasted("haproxy.md", "haproxy", 2);
    Haproxy::start(&pasted("haproxy.md", "toml", 1), &ring, &frontend).all_requests_arrive(100);
}

/// Requests whose lines are longer than HAProxy sends by default: how many, and how many are unparsed.
fn cut(change: impl Fn(String) -> String, toml: impl Fn(String) -> String) -> (u64, u64, u64) {
    let frontend = change(pasted("haproxy.md", "haproxy", 0).replace(" len 65535", ""));
    let toml = toml(pasted("haproxy.md", "toml", 0));
    let mut haproxy = Haproxy::start(&toml, "", &frontend);
    ask(haproxy.web, 150);
    let long = format!("/{}", "y".repeat(2_000));
    for _ in 0..7 {
        let mut connection = super::Connection::open(haproxy.web);
        connection.ask(&super::request("GET", &long, "a.example", &[], b""));
    }
    wait_for("all is logged", || haproxy.log().lines().count() >= 157);
    wait_for("all is received", || {
        haproxy.receiver.listener("/messages") >= 157
    });
    haproxy.program.end();
    let lines = haproxy.log();
    let long = lines.lines().filter(|line| line.len() > 1_024).count() as u64;
    haproxy.receiver.stop();
    let balance = haproxy.receiver.sandbox.stored_balance();
    (
        long,
        balance.unparsed,
        balance.lines - lines.lines().count() as u64,
    )
}

#[test]
fn what_haproxy_cuts_is_unparsed_and_said() {
    assert_eq!(cut(|block| block, |toml| toml), (7, 7, 0));
}

#[test]
fn what_haproxy_cuts_is_counted_where_what_is_left_suffices() {
    // The host has an end, and the last field needs none.
    let last_is_open =
        |text: String| text.replace("%hr %{+Q}r", "%{+Q}[capture.req.hdr(0),json(ascii)] %HU");
    assert_eq!(cut(last_is_open, last_is_open), (7, 0, 0));
}
