//! Bursts, kills between them, and senders that have no business here.

use std::io::Write as _;
use std::net::{TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;

use super::{Receiver, lines, rows, source, wait_until};

/// Each line as a message.
fn messages(log: &str) -> String {
    let message = |line| format!("<134>Nov 26 10:00:00 web1 web: {line}\n");
    log.lines().map(message).collect()
}

fn burst(log: &str, mut stream: impl std::io::Write) {
    let messages = messages(log);
    stream
        .write_all(messages.as_bytes())
        .expect("somebody who reads");
}

fn all_of_two_bursts_is_counted(
    listen: &str,
    connect: impl Fn(&Receiver) -> Box<dyn std::io::Write>,
) {
    let mut receiver = Receiver::start(&source(listen, ""));
    let (first, second) = (lines(0, 100_000), lines(100_000, 100_000));
    burst(&first, connect(&receiver));
    // What is written to the spool is safe, counted or not.
    wait_until("all is received", || match receiver.listener("/messages") {
        100_000 => Ok(()),
        other => Err(other),
    });
    receiver.sandbox.wait_for_rows(&rows([first.as_str()]));
    receiver.kill();
    receiver.start_daemon();
    burst(&second, connect(&receiver));
    receiver.ends_with(&rows([first.as_str(), &second]));
}

#[test]
fn bursts_over_tcp_are_counted_and_a_kill_between_them_costs_nothing() {
    all_of_two_bursts_is_counted("tcp://127.0.0.1:5514", |receiver| {
        Box::new(TcpStream::connect(receiver.address).expect("a connection"))
    });
}

#[test]
fn bursts_over_a_unix_stream_are_counted_and_a_kill_between_them_costs_nothing() {
    let listen = format!("unix-stream://{}", super::SOCKET);
    all_of_two_bursts_is_counted(&listen, |receiver| {
        Box::new(UnixStream::connect(receiver.socket()).expect("a connection"))
    });
}

#[test]
fn senders_that_are_not_allowed_change_no_row() {
    let receiver = Receiver::start(&source("udp://127.0.0.1:5514", "allow = [\"127.0.0.1\"]"));
    let honest = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let other = UdpSocket::bind("127.0.0.2:0").expect("a socket");
    let (good, forged) = (lines(0, 100), lines(1_000, 100));
    for (socket, log) in [(&honest, &good), (&other, &forged)] {
        for message in messages(log).lines() {
            let sent = socket.send_to(message.as_bytes(), receiver.address);
            sent.expect("it is sent");
        }
    }
    wait_until("all are seen", || match receiver.listener("/not_allowed") {
        100 => Ok(()),
        other => Err(other),
    });
    receiver.ends_with(&rows([good.as_str()]));
}

#[test]
fn the_host_that_a_sender_claims_does_not_make_him_another() {
    // The envelope is the sender's own word: only the address counts.
    let receiver = Receiver::start(&source(
        "tcp://127.0.0.1:5514",
        "allow = [\"127.0.0.2\"]\nhosts = [\"web1\"]",
    ));
    let mut stream = TcpStream::connect(receiver.address).expect("a connection");
    // It may be closed before all is written.
    let _ = stream.write_all(messages(&lines(0, 10)).as_bytes());
    wait_until("it is seen", || match receiver.listener("/not_allowed") {
        1 => Ok(()),
        other => Err(other),
    });
    receiver.ends_with(&[]);
}
