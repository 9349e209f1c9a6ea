//! `logger` of util-linux, in all its ways.

use super::{Receiver, lines, rows, run, source, text};

fn all_lines_arrive(listen: &str, arguments: &[&str]) {
    let receiver = Receiver::start(&source(listen, "tags = [\"web\"]"));
    let (port, socket) = (receiver.address.port().to_string(), receiver.socket());
    let arguments = arguments.iter().map(|argument| match *argument {
        "PORT" => &port,
        "SOCKET" => text(&socket),
        other => other,
    });
    let arguments: Vec<&str> = ["-t", "web"].into_iter().chain(arguments).collect();
    let log = lines(0, 1_000);
    run(&receiver.sandbox, "/usr/bin/logger", &arguments, &log);
    receiver.ends_with(&rows([log.as_str()]));
}

const UDP: &str = "udp://127.0.0.1:5514";
const TCP: &str = "tcp://127.0.0.1:5514";

#[test]
fn logger_over_udp_is_counted() {
    let to = ["-n", "127.0.0.1", "-P", "PORT", "-d"];
    all_lines_arrive(UDP, &to);
    all_lines_arrive(UDP, &[&to[..], &["--rfc3164"]].concat());
    all_lines_arrive(
        UDP,
        &[&to[..], &["--rfc5424=notime", "-p", "local7.info"]].concat(),
    );
}

#[test]
fn logger_over_tcp_is_counted_in_both_framings() {
    let to = ["-n", "127.0.0.1", "-P", "PORT", "-T"];
    for more in [&["--rfc3164"][..], &["--rfc5424", "--id=7"]] {
        all_lines_arrive(TCP, &[&to[..], more].concat());
        all_lines_arrive(TCP, &[&to[..], more, &["--octet-count"]].concat());
    }
}

#[test]
fn logger_over_unix_sockets_is_counted() {
    all_lines_arrive(&format!("unix://{}", super::SOCKET), &["-u", "SOCKET"]);
}
