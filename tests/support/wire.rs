//! HTTP clients that send exactly what they are told to, and a relay that counts what really passes.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use super::DEADLINE;

/// What passed through one connection.
#[derive(Debug, Clone, Copy)]
struct Passed {
    to_server: u64,
    to_client: u64,
}

/// Stands between clients and a server, and counts the bytes of each connection.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    passed: Mutex<Receiver<Passed>>,
}

/// An answer of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Bytes of the body.
    pub(crate) body: u64,
}

/// What was said over one connection.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    pub(crate) answers: Vec<Answer>,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
}

impl Relay {
    /// In front of a server. Its threads end with the test.
    pub(crate) fn new(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("our own port");
        let (tell, passed) = mpsc::channel();
        thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(server)) else {
                    continue;
                };
                let tell = tell.clone();
                thread::spawn(move || tell.send(relay(&client, &server)));
            }
        });
        Self {
            address,
            passed: Mutex::new(passed),
        }
    }

    /// What passed through so many connections that others have made: bytes to the server, and to the
    /// client.
    pub(crate) fn passed(&self, connections: usize) -> (u64, u64) {
        let passed = self.passed.lock().expect("nobody else asks");
        (0..connections).fold((0, 0), |(bytes_in, bytes_out), _| {
            let one = passed.recv_timeout(DEADLINE);
            let one = one.expect("the connection has ended");
            (bytes_in + one.to_server, bytes_out + one.to_client)
        })
    }

    /// One connection: each request waits for the answer to the one before it.
    pub(crate) fn exchange(&self, requests: &[Vec<u8>]) -> Exchange {
        let passed = self.passed.lock().expect("one exchange after the other");
        let mut connection = Connection::open(self.address);
        let answers = requests
            .iter()
            .map(|request| connection.ask(request))
            .collect();
        connection.close();
        let passed = passed
            .recv_timeout(DEADLINE)
            .expect("the connection has ended");
        Exchange {
            answers,
            bytes_in: passed.to_server,
            bytes_out: passed.to_client,
        }
    }
}

fn relay(client: &TcpStream, server: &TcpStream) -> Passed {
    thread::scope(|scope| {
        let back = scope.spawn(|| pump(server, client));
        let to_server = pump(client, server);
        Passed {
            to_server,
            to_client: back.join().expect("no panic"),
        }
    })
}

fn pump(mut from: &TcpStream, mut to: &TcpStream) -> u64 {
    let mut buffer = [0; 65_536];
    let mut passed = 0;
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        passed += read as u64;
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    // Perhaps the other side has gone altogether.
    let _ = to.shutdown(Shutdown::Write);
    passed
}

/// A client's connection that is kept alive.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("a server that listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a time");
        Self {
            stream: BufReader::new(stream),
        }
    }

    /// Sends a request and reads the answer to its end.
    pub(crate) fn ask(&mut self, request: &[u8]) -> Answer {
        self.stream
            .get_mut()
            .write_all(request)
            .expect("a server that reads");
        let (status, length) = self.read_head();
        let is_head = request.starts_with(b"HEAD ");
        let length = if is_head || matches!(status, 204 | 304) {
            0
        } else {
            length.unwrap_or(u64::MAX)
        };
        let body = std::io::copy(&mut (&mut self.stream).take(length), &mut std::io::sink())
            .expect("a body");
        Answer { status, body }
    }

    fn read_head(&mut self) -> (u16, Option<u64>) {
        let mut status = 0;
        let mut length = None;
        loop {
            let mut line = String::new();
            let read = self.stream.read_line(&mut line).expect("a head");
            assert_ne!(read, 0, "the server hung up");
            match line.trim_end() {
                "" if status == 100 => {}
                "" => return (status, length),
                line if line.starts_with("HTTP/1.") => {
                    status = line
                        .split(' ')
                        .nth(1)
                        .and_then(|status| status.parse().ok())
                        .expect("a status");
                }
                line => {
                    let (name, value) = line.split_once(':').expect("a header");
                    if name.eq_ignore_ascii_case("Content-Length") {
                        length = value.trim().parse().ok();
                    }
                    assert!(
                        !name.eq_ignore_ascii_case("Transfer-Encoding"),
                        "no test asks for this"
                    );
                }
            }
        }
    }

    /// Says that there is nothing more, and waits for the server to hang up.
    fn close(mut self) {
        // The server may have hung up already.
        let _ = self.stream.get_ref().shutdown(Shutdown::Write);
        let _ = std::io::copy(&mut self.stream, &mut std::io::sink());
    }
}

/// A request. `headers` are whole lines without their ends.
pub(crate) fn request(
    method: &str,
    target: &str,
    host: &str,
    headers: &[&str],
    body: &[u8],
) -> Vec<u8> {
    let mut request = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n");
    for header in headers {
        request.push_str(header);
        request.push_str("\r\n");
    }
    if !body.is_empty() {
        request.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    request.push_str("\r\n");
    let mut request = request.into_bytes();
    request.extend_from_slice(body);
    request
}

/// The header of Basic authentication.
pub(crate) fn basic(user: &str, password: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut encoded = String::new();
    for group in format!("{user}:{password}").as_bytes().chunks(3) {
        let bits = group
            .iter()
            .fold(0, |bits, &byte| bits << 8 | u32::from(byte))
            << (8 * (3 - group.len()));
        for digit in 0..4 {
            let value = (bits >> (18 - 6 * digit)) & 63;
            encoded.push(if digit <= group.len() {
                char::from(DIGITS[value as usize])
            } else {
                '='
            });
        }
    }
    format!("Authorization: Basic {encoded}")
}
