//! Syslog through the daemon: what was sent is in the rows, whatever is stopped, reloaded or away.

mod support;

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;

use rustix::process::Signal;
use support::log::{FORMAT, lines, rows};
use support::mariadb::{MariaDb, PASSWORD, free_port};
use support::{Balance, Sandbox, text, wait_for, wait_until};

/// A `[[source.syslog]]` with the format of the logs made here.
fn syslog(name: &str, listen: &str, more: &str) -> String {
    format!(
        "[[source.syslog]]\nname = {name:?}\nlisten = {listen:?}\nformat = '''{FORMAT}'''\n{more}\n"
    )
}

/// Sends each line of a log as a datagram, from nginx; so that none is dropped, not faster than they
/// are received.
fn send(sandbox: &Sandbox, to: u16, log: &str) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    for (number, line) in log.lines().enumerate() {
        let message = format!("<190>Jun 15 12:00:00 web1 nginx: {line}");
        socket
            .send_to(message.as_bytes(), ("127.0.0.1", to))
            .expect("sent");
        if number % 1_000 == 999 {
            wait_for("they are received", || received(sandbox) >= number as u64);
        }
    }
}

/// Messages that the daemon has received.
fn received(sandbox: &Sandbox) -> u64 {
    let status = sandbox.ran(["status", "--output", "json"]).json();
    let listeners = status["listeners"].as_array().cloned().unwrap_or_default();
    listeners
        .iter()
        .filter_map(|it| it["messages"].as_u64())
        .sum()
}

fn wait_until_received(sandbox: &Sandbox, messages: u64) {
    wait_until("all is received", || match received(sandbox) {
        so_many if so_many == messages => Ok(()),
        so_many => Err(so_many),
    });
}

/// Waits until somebody listens there.
fn wait_for_listener(sandbox: &Sandbox) {
    wait_for("it listens", || {
        let status = sandbox.ran(["status", "--output", "json"]).json();
        status["listeners"]
            .as_array()
            .is_some_and(|listeners| !listeners.is_empty())
    });
}

#[test]
fn a_stop_takes_all_that_has_arrived() {
    let sandbox = Sandbox::new();
    let port = free_port();
    let listen = format!("udp://127.0.0.1:{port}");
    let config = sandbox.config(&syslog("edge", &listen, ""));
    let mut all = String::new();
    for round in 0..5 {
        let daemon = sandbox.start(&["-c", text(&config)]);
        wait_for_listener(&sandbox);
        let log = lines(round * 1_000, 900);
        send(&sandbox, port, &log);
        all.push_str(&log);
        // At once: what the kernel holds for us is taken too.
        daemon.stop();
    }
    assert_eq!(sandbox.rows(), rows([all.as_str()]));
    assert_eq!(sandbox.stored_balance(), Balance::counted(4_500));
    assert_eq!(sandbox.gaps(), []);
}

#[test]
fn what_arrives_while_the_store_is_away_is_counted_when_it_is_there() {
    let server = MariaDb::start(&[]);
    let database = server.database();
    let sandbox = Sandbox::new();
    let port = free_port();
    let password = sandbox.write("password", PASSWORD);
    let (user, name) = (&database.url.user, &database.name);
    let url = format!("mysql://{user}@127.0.0.1:{}/{name}", server.port);
    let store = format!("[store]\nurl = {url:?}\npassword_file = {password:?}\n");
    let config = sandbox.config(&(store + &syslog("edge", &format!("udp://127.0.0.1:{port}"), "")));
    server.stop();
    let daemon = sandbox.start(&["-c", text(&config)]);
    // The socket for questions is opened with the store; the port is open before.
    wait_for("it listens", || {
        UdpSocket::bind(("127.0.0.1", port)).is_err()
    });
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let log = lines(0, 500);
    for line in log.lines() {
        let message = format!("<190>Jun 15 12:00:00 web1 nginx: {line}");
        socket
            .send_to(message.as_bytes(), ("127.0.0.1", port))
            .expect("sent");
    }
    server.begin();
    wait_until("the rows are there", || {
        let ran = sandbox.ran([
            "report",
            "-c",
            text(&config),
            "--by",
            "day,vhost,user",
            "--output",
            "json",
        ]);
        let found: Vec<support::Row> = match ran.code {
            Some(0) => ran
                .json()
                .as_array()
                .into_iter()
                .flatten()
                .map(support::Row::from_json)
                .collect(),
            _ => Vec::new(),
        };
        if found == rows([log.as_str()]) {
            Ok(())
        } else {
            Err(ran)
        }
    });
    daemon.stop();
}

#[test]
fn tags_hosts_and_facilities_tell_sources_apart() {
    let sandbox = Sandbox::new();
    let port = free_port();
    let listen = format!("udp://127.0.0.1:{port}");
    let config = sandbox.config(
        &[
            syslog(
                "shop",
                &listen,
                "tags = [\"nginx-shop\"]\nvhost = \"shop.example\"",
            ),
            syslog(
                "hosts",
                &listen,
                "facilities = [\"local3\"]\nvhost = \"{host}\"",
            ),
            syslog(
                "tags",
                &listen,
                "hosts = [\"web*.example\"]\nvhost = \"{tag}\"",
            ),
        ]
        .map(|source| source.replace("$host ", ""))
        .concat(),
    );
    let daemon = sandbox.start(&["-c", text(&config)]);
    wait_for_listener(&sandbox);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let line = "1718452800.000 200 1 100 \"-\"";
    for (envelope, times) in [
        ("<190>Jun 15 12:00:00 any nginx-shop: ", 1),
        ("<158>Jun 15 12:00:00 Mail.Example nginx: ", 2),
        (
            "<190>1 2024-06-15T12:00:00Z web7.example blog.example 12 - - ",
            4,
        ),
        ("<190>Jun 15 12:00:00 elsewhere nginx: ", 8),
        ("", 16),
    ] {
        for _ in 0..times {
            let message = format!("{envelope}{line}");
            socket
                .send_to(message.as_bytes(), ("127.0.0.1", port))
                .expect("sent");
        }
    }
    wait_until("all has come", || {
        let status = sandbox.ran(["status", "--output", "json"]).json();
        let listener = status["listeners"][0].clone();
        let seen = listener["messages"]
            .as_u64()
            .zip(listener["no_source"].as_u64());
        if seen == Some((7, 24)) {
            Ok(())
        } else {
            Err(listener)
        }
    });
    daemon.stop();
    let found: Vec<(String, u64)> = sandbox
        .rows()
        .into_iter()
        .map(|row| (row.vhost, row.requests))
        .collect();
    let expected = [
        ("blog.example", 4),
        ("mail.example", 2),
        ("shop.example", 1),
    ];
    assert_eq!(
        found,
        expected.map(|(vhost, requests)| (vhost.to_owned(), requests))
    );
}

#[test]
fn a_reload_changes_listeners_and_loses_nothing() {
    let sandbox = Sandbox::new();
    let (one, two) = (free_port(), free_port());
    let source = |port: u16, name: &str| syslog(name, &format!("udp://127.0.0.1:{port}"), "");
    let config = sandbox.config(&source(one, "one"));
    let daemon = sandbox.start(&["-c", text(&config)]);
    wait_for_listener(&sandbox);
    let first = lines(0, 800);
    send(&sandbox, one, &first);
    let reload = |what: &str, listeners: usize| {
        daemon.signal(Signal::HUP);
        wait_until(what, || {
            let status = sandbox.ran(["status", "--output", "json"]).json();
            let so_many = status["listeners"].as_array().map(Vec::len);
            if so_many == Some(listeners) {
                Ok(())
            } else {
                Err(status)
            }
        });
    };
    sandbox.config(&(source(one, "one") + &source(two, "two")));
    reload("both listen", 2);
    let (second, third) = (lines(10_000, 800), lines(20_000, 800));
    send(&sandbox, one, &second);
    send(&sandbox, two, &third);
    sandbox.config(&source(two, "two"));
    reload("one listens", 1);
    // A config with a port that is taken changes nothing.
    let taken = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let taken = taken
        .local_addr()
        .map(|address| (address.port(), taken))
        .expect("a port");
    sandbox.config(&(source(two, "two") + &source(taken.0, "three")));
    daemon.signal(Signal::HUP);
    wait_until("it is refused", || {
        let status = sandbox.ran(["status", "--output", "json"]).json();
        let reload = status["reload"].clone();
        let says_why = reload["error"]
            .as_str()
            .is_some_and(|error| error.contains("in use"));
        if reload["result"] == "refused" && says_why {
            Ok(())
        } else {
            Err(reload)
        }
    });
    let fourth = lines(30_000, 800);
    send(&sandbox, two, &fourth);
    sandbox.wait_for_rows(&rows([first.as_str(), &second, &third, &fourth]));
    daemon.stop();
    assert_eq!(sandbox.gaps(), []);
}

#[test]
fn a_kill_loses_no_line_that_was_received() {
    let sandbox = Sandbox::new();
    let port = free_port();
    let config = sandbox.config(&syslog("edge", &format!("tcp://127.0.0.1:{port}"), ""));
    let mut all = String::new();
    for round in 0..6 {
        let daemon = sandbox.start(&["-c", text(&config)]);
        wait_for_listener(&sandbox);
        let log = lines(round * 1_000, 700);
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
        for (number, line) in log.lines().enumerate() {
            let message = format!("<190>Jun 15 12:00:00 web1 nginx: {line}");
            let framed = match number % 2 {
                0 => format!("{} {message}", message.len()),
                _ => format!("{message}\n"),
            };
            stream.write_all(framed.as_bytes()).expect("sent");
        }
        wait_until_received(&sandbox, 700);
        all.push_str(&log);
        daemon.kill();
    }
    let daemon = sandbox.start(&["-c", text(&config)]);
    sandbox.wait_for_rows(&rows([all.as_str()]));
    daemon.stop();
    assert_eq!(sandbox.rows(), rows([all.as_str()]));
}

#[test]
fn what_cannot_be_listened_on_is_said_at_the_start() {
    let sandbox = Sandbox::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address: SocketAddr = taken.local_addr().expect("an address");
    let config = sandbox.config(&syslog("edge", &format!("tcp://{address}"), ""));
    let ran = sandbox.ran(["run", "-c", text(&config)]).exited(71);
    assert!(
        ran.stderr.contains(&format!("tcp://{address}")),
        "{}",
        ran.stderr
    );
}

#[test]
fn hostile_messages_stop_nothing_and_reach_no_row() {
    let sandbox = Sandbox::new();
    let path = sandbox.path("log.sock");
    let config = sandbox.config(&syslog("edge", &format!("unix://{}", text(&path)), ""));
    let mut daemon = sandbox.start(&["-c", text(&config)]);
    wait_for_listener(&sandbox);
    let socket = UnixDatagram::unbound().expect("a socket");
    let good = lines(0, 50);
    let forged = "1718452800.000 200 9 9 victim.example \"-\"";
    let hostile: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"\n".to_vec(),
        vec![0; 1_000],
        vec![0xff; 60_000],
        b"<".to_vec(),
        b"<999999999999>".to_vec(),
        b"<190>".to_vec(),
        b"<190>1 - - - - - [unclosed".to_vec(),
        // A line of the client's own behind a newline, as nginx lets through with escape=none.
        format!("<190>Jun 15 12:00:00 web1 nginx: 1718452800.000 404 1 1 a.example \"x\n{forged}")
            .into_bytes(),
        "\u{1b}[2J".into(),
    ];
    for message in &hostile {
        socket.send_to(message, &path).expect("sent");
    }
    for line in good.lines() {
        let message = format!("<190>Jun 15 12:00:00 web1 nginx: {line}");
        socket.send_to(message.as_bytes(), &path).expect("sent");
    }
    sandbox.wait_for_rows(&rows([good.as_str()]));
    daemon.assert_running();
    daemon.stop();
}
