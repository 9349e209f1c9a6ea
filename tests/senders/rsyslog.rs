//! rsyslogd: its queue over UDP, TCP in both framings, and TLS; and what a kill of the daemon costs.

use std::fmt::Write as _;
use std::fs;

use super::support::{append, wait_until};
use super::{Program, Receiver, certificates, pasted, rows_of, text};

/// Lines in the format of the pages, each of a site of its own.
pub(crate) fn exact(numbers: std::ops::Range<usize>) -> String {
    let mut log = String::new();
    for number in numbers {
        let _ = writeln!(
            log,
            "1718452800.{:03} 200 {} {number} 0.001 192.0.2.1 n{number}.example \"-\" \
             \"GET /\\x22{number} HTTP/1.1\" \"-\" \"an agent\"",
            number % 1000,
            number % 997,
        );
    }
    log
}

fn start(receiver: &Receiver, config: &str) -> Program {
    let sandbox = &receiver.sandbox;
    let work = sandbox.path("rsyslog");
    fs::create_dir_all(&work).expect("a folder");
    let config = receiver.here(config);
    let config = config.replacen(
        "global(",
        &format!("global(workDirectory=\"{}\" ", text(&work)),
        1,
    );
    let path = sandbox.write("rsyslog.conf", config);
    let id = sandbox.path("rsyslog.pid");
    Program::start(
        sandbox,
        "/usr/sbin/rsyslogd",
        &["-n", "-i", text(&id), "-f", text(&path)],
    )
}

fn all_lines_arrive(toml: &str, config: &str) {
    let receiver = Receiver::prepare();
    certificates(&receiver.sandbox);
    let receiver = receiver.begin(toml);
    let log = receiver.sandbox.write("logs/tk.log", exact(0..1_000));
    let mut rsyslog = start(&receiver, config);
    receiver
        .sandbox
        .wait_for_rows(&rows_of(&exact(0..1_000), 6));
    append(&log, exact(1_000..2_000));
    receiver
        .sandbox
        .wait_for_rows(&rows_of(&exact(0..2_000), 6));
    rsyslog.end();
    receiver.ends_with(&rows_of(&exact(0..2_000), 6));
}

#[test]
fn rsyslog_over_tcp_is_counted_to_the_byte() {
    let toml = pasted("rsyslog.md", "toml", 0);
    all_lines_arrive(&toml, &pasted("rsyslog.md", "rsyslog", 0));
}

#[test]
fn rsyslog_framed_by_newlines_is_counted_to_the_byte() {
    let toml = pasted("rsyslog.md", "toml", 0);
    let config = pasted("rsyslog.md", "rsyslog", 0);
    all_lines_arrive(&toml, &config.replace(" tcp_framing=\"octet-counted\"", ""));
}

#[test]
fn rsyslog_over_udp_is_counted_to_the_byte() {
    let toml = pasted("rsyslog.md", "toml", 0).replace("tcp://", "udp://");
    let config = pasted("rsyslog.md", "rsyslog", 0);
    let config = config.replace(
        "protocol=\"tcp\" tcp_framing=\"octet-counted\"",
        "protocol=\"udp\"",
    );
    all_lines_arrive(&toml, &config);
}

#[test]
fn rsyslog_encrypted_is_counted_to_the_byte() {
    let toml = pasted("rsyslog.md", "toml", 1);
    all_lines_arrive(&toml, &pasted("rsyslog.md", "rsyslog", 1));
}

#[test]
fn rsyslog_passes_on_what_came_to_it() {
    let receiver =
        Receiver::start(&pasted("rsyslog.md", "toml", 0).replace("[\"nginx\"]", "[\"relayed\"]"));
    let socket = receiver.sandbox.path("relay.sock");
    let (udp, tcp) = (super::free(), super::free());
    let config = pasted("rsyslog.md", "rsyslog", 0);
    let (_, ruleset) = config.split_once("ruleset(name").expect("a ruleset");
    let config = format!(
        "global(maxMessageSize=\"64k\")\nmodule(load=\"imudp\")\nmodule(load=\"imtcp\")\n\
         module(load=\"imuxsock\" sysSock.use=\"off\")\nruleset(name{ruleset}\n\
         input(type=\"imudp\" address=\"127.0.0.1\" port=\"{}\" ruleset=\"tollkeeper\")\n\
         input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{}\" ruleset=\"tollkeeper\")\n\
         input(type=\"imuxsock\" socket=\"{}\" ruleset=\"tollkeeper\" useSysTimeStamp=\"off\" \
         rateLimit.interval=\"0\")\n",
        udp.port(),
        tcp.port(),
        text(&socket),
    );
    let mut rsyslog = start(&receiver, &config);
    super::wait_until_it_listens(tcp, &receiver.sandbox.path("rsyslogd.stderr"));
    wait_until("its socket is there", || fs::metadata(&socket).map(|_| ()));
    let all = exact(0..600);
    let parts: Vec<String> = [0..200, 200..400, 400..600].map(exact).into();
    let logger = |arguments: &[&str], part: &str| {
        let arguments = [&["-t", "relayed", "--size", "64KiB"], arguments].concat();
        super::run(&receiver.sandbox, "/usr/bin/logger", &arguments, part);
    };
    let (udp, tcp) = (udp.port().to_string(), tcp.port().to_string());
    logger(
        &["-n", "127.0.0.1", "-P", &udp, "-d", "--rfc3164"],
        &parts[0],
    );
    logger(
        &["-n", "127.0.0.1", "-P", &tcp, "-T", "--rfc5424"],
        &parts[1],
    );
    logger(&["-u", text(&socket)], &parts[2]);
    receiver.sandbox.wait_for_rows(&rows_of(&all, 6));
    rsyslog.end();
    receiver.ends_with(&rows_of(&all, 6));
}

/// Lost and doubled among so many, by their sites.
fn missing_and_doubled(receiver: &Receiver, sent: usize) -> (usize, u64) {
    let rows = receiver.sandbox.rows();
    let doubled = rows.iter().map(|row| row.requests - 1).sum();
    (sent - rows.len(), doubled)
}

#[test]
fn a_kill_costs_what_was_in_the_connection_and_nothing_else() {
    let mut receiver = Receiver::start(&pasted("rsyslog.md", "toml", 0));
    let log = receiver.sandbox.write("logs/tk.log", exact(0..1_000));
    let mut rsyslog = start(&receiver, &pasted("rsyslog.md", "rsyslog", 0));
    receiver
        .sandbox
        .wait_for_rows(&rows_of(&exact(0..1_000), 6));

    // While nothing is sent: at most what rsyslog writes before it knows is lost.
    receiver.kill();
    receiver.start_daemon();
    for number in 1_000..1_010 {
        append(&log, exact(number..number + 1));
        wait_until("rsyslog has read it", || {
            let state = receiver.sandbox.requests();
            if number > 1_001 && state < (number - 2) as u64 {
                Err(state)
            } else {
                Ok(())
            }
        });
    }
    wait_until("the last ones are there", || {
        let there = receiver.sandbox.rows();
        match there.iter().any(|row| row.vhost == "n1009.example") {
            true => Ok(()),
            false => Err(there.len()),
        }
    });
    let (idle, doubled) = missing_and_doubled(&receiver, 1_010);
    eprintln!("killed while idle: {idle} lost, {doubled} doubled");
    assert!(idle <= 2 && doubled == 0, "{idle} lost, {doubled} doubled");

    // In the midst of it.
    append(&log, exact(1_010..9_000));
    wait_until("it is in the midst of it", || {
        let received = receiver.listener("/messages");
        if received > 100 {
            Ok(())
        } else {
            Err(received)
        }
    });
    receiver.kill();
    receiver.start_daemon();
    append(&log, exact(9_000..9_010));
    wait_until("the last one is there", || {
        append(&log, exact(9_010..9_011));
        let there = receiver.sandbox.rows();
        match there.iter().any(|row| row.vhost == "n9010.example") {
            true => Ok(()),
            false => Err(there.len()),
        }
    });
    rsyslog.end();
    receiver.stop();
    let rows = receiver.sandbox.rows();
    let doubled: u64 = rows
        .iter()
        .filter(|row| row.vhost != "n9010.example")
        .map(|row| row.requests - 1)
        .sum();
    eprintln!(
        "killed in the midst: {} lost, {doubled} doubled",
        9_011 - rows.len() - idle
    );
    // Not more than the buffers of a connection hold.
    assert!(rows.len() > 1_000);
}
