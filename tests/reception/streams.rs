//! Connections: honest ones however their bytes are cut, and liars.

use std::io::{Read as _, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use tollkeeper::config::Listen;

use crate::support::{Running, local, source, spooled, wait_for};

const MESSAGES: [&str; 5] = [
    "<134>Nov 26 10:00:00 web1 nginx: first",
    "<134>1 2026-11-26T10:00:00Z web1 nginx 12 - - second",
    "<1>3",
    "4 is a line of its own",
    "<134>Nov 26 10:00:00 web1 nginx: fifth, with 12 <numbers>",
];

/// The messages in both framings, by turns.
fn mixed() -> Vec<u8> {
    let mut stream = Vec::new();
    for (number, message) in MESSAGES.iter().enumerate() {
        // Only what has an envelope can have a count.
        match number % 2 == 0 && message.starts_with('<') {
            true => stream.extend(format!("{} {message}", message.len()).bytes()),
            false => stream.extend(format!("{message}\n").bytes()),
        }
    }
    stream
}

fn cut_at_every_byte<S: Write>(connect: impl Fn() -> S) -> usize {
    let stream = mixed();
    for cut in 0..=stream.len() {
        let mut connection = connect();
        connection.write_all(&stream[..cut]).expect("it is sent");
        std::thread::sleep(Duration::from_micros(500));
        connection.write_all(&stream[cut..]).expect("it is sent");
    }
    stream.len() + 1
}

fn assert_all_times(messages: &[String], times: usize) {
    for message in MESSAGES {
        let found = messages.iter().filter(|other| *other == message).count();
        assert_eq!(found, times, "{message}");
    }
    assert_eq!(messages.len(), MESSAGES.len() * times);
}

#[test]
fn tcp_may_cut_a_stream_anywhere() {
    let running = Running::start(&[source("web", Listen::Tcp(local()))]);
    let to = running.address(0);
    let times = cut_at_every_byte(|| {
        let connection = TcpStream::connect(to).expect("a connection");
        connection.set_nodelay(true).expect("a connection");
        connection
    });
    wait_for(|| running.listener(0).messages == (times * MESSAGES.len()) as u64);
    wait_for(|| running.listener(0).connections == 0);
    let spooled = spooled(&running.stop(), "web");
    assert_all_times(&spooled.messages, times);
    assert_eq!(spooled.lost(), 0);
}

#[test]
fn unix_streams_may_be_cut_anywhere() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("log.stream");
    let running = Running::start(&[source("web", Listen::UnixStream(path.clone()))]);
    let times = cut_at_every_byte(|| UnixStream::connect(&path).expect("a connection"));
    // What has arrived is read at the end, whether it was looked at or not.
    let spooled = spooled(&running.stop(), "web");
    assert_all_times(&spooled.messages, times);
    assert_eq!(spooled.lost(), 0);
    assert!(!path.exists());
}

#[test]
fn messages_of_all_sizes_come_through() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("log.stream");
    let mut both = source("web", Listen::Tcp(local()));
    both.listen.push(Listen::UnixStream(path.clone()));
    let running = Running::start(&[both]);
    let sizes = [
        10, 1_000, 16_383, 16_384, 16_385, 65_535, 65_536, 200_000, 261_888,
    ];
    let message = |size: usize| format!("<134>{}", "y".repeat(size - 5));
    let send = |mut connection: Box<dyn Write>| {
        for size in sizes {
            let message = message(size);
            write!(connection, "{message}\n{} {message}", message.len()).expect("it is sent");
        }
    };
    send(Box::new(
        TcpStream::connect(running.address(0)).expect("a connection"),
    ));
    send(Box::new(UnixStream::connect(&path).expect("a connection")));
    wait_for(|| running.listener(0).messages + running.listener(1).messages == 36);
    let spooled = spooled(&running.stop(), "web");
    for size in sizes {
        let found = spooled.messages.iter().filter(|text| text.len() == size);
        assert_eq!(found.count(), 4, "{size}");
    }
    assert_eq!(spooled.lost(), 0);
}

#[test]
fn liars_are_counted_and_honest_ones_do_not_notice() {
    let running = Running::start(&[source("web", Listen::Tcp(local()))]);
    let to = running.address(0);
    let connect = || TcpStream::connect(to).expect("a connection");
    let mut honest = connect();
    // More than a message may be, announced, and not sent.
    let mut announced = connect();
    announced.write_all(b"999999 <134>x").expect("it is sent");
    // A line that never ends.
    let mut endless = connect();
    for _ in 0..20 {
        endless.write_all(&[b'x'; 65_536]).expect("it is sent");
    }
    // Bytes of no kind, among them newlines.
    let mut garbage = connect();
    let bytes: Vec<u8> = (0..=255).cycle().take(4096).collect();
    garbage.write_all(&bytes).expect("it is sent");
    // A message that breaks off within.
    let mut short = connect();
    short.write_all(b"100 <134>short").expect("it is sent");
    short.shutdown(Shutdown::Write).expect("a connection");
    // A last line without its end is a line.
    let mut last = connect();
    last.write_all(b"<134>last").expect("it is sent");
    last.shutdown(Shutdown::Write).expect("a connection");
    wait_for(|| running.listener(0).cut_off == 1 && running.listener(0).too_long == 2);
    assert_eq!(short.read(&mut [0]).expect("the end"), 0);

    for number in 0..1_000 {
        writeln!(honest, "<134>honest {number}").expect("it is sent");
    }
    // What follows the end of the endless line is honest again.
    endless
        .write_all(b"\n<134>honest again\n")
        .expect("it is sent");
    let honest_ones =
        |texts: &[String]| texts.iter().filter(|text| text.contains("honest")).count();
    drop((announced, endless, garbage, last, honest));
    wait_for(|| running.listener(0).connections == 0);
    let spooled = spooled(&running.stop(), "web");
    assert_eq!(honest_ones(&spooled.messages), 1_001);
    assert!(spooled.messages.contains(&"<134>last".to_owned()));
    let too_long = spooled
        .losses
        .iter()
        .filter(|(_, why)| why == "message too long");
    assert_eq!(too_long.map(|(messages, _)| messages).sum::<u64>(), 2);
    // The short one, and what was left of the garbage, which may be a last line.
    assert!((3..=4).contains(&spooled.lost()), "{:?}", spooled.losses);
}

#[test]
fn there_are_only_so_many_connections() {
    let mut few = source("web", Listen::Tcp(local()));
    few.max_connections = 15;
    few.allow = Some(vec!["127.0.0.0/8".parse().expect("a network")]);
    let running = Running::start(&[few]);
    let to = running.address(0);
    let mut connections: Vec<_> = (0..20)
        .map(|_| TcpStream::connect(to).expect("a connection"))
        .collect();
    // One sender has ten at most here.
    wait_for(|| running.listener(0).refused == 10 && running.listener(0).connections == 10);
    let mut refused = 0;
    for connection in &mut connections {
        let timeout = Some(Duration::from_millis(20));
        connection.set_read_timeout(timeout).expect("a connection");
        refused += usize::from(matches!(connection.read(&mut [0]), Ok(0)));
    }
    assert_eq!(refused, 10);
    drop(connections);
    wait_for(|| running.listener(0).connections == 0);
    writeln!(TcpStream::connect(to).expect("a connection"), "<134>again").expect("it is sent");
    wait_for(|| running.listener(0).messages == 1);
    running.stop();
}

#[test]
fn many_connections_at_a_time_share_the_thread() {
    share_the_thread(1_000);
}

/// As many as 20,000 descriptors allow, as both ends are here:
/// `ulimit -n 20000; cargo test --test reception -- --ignored --nocapture nine_thousand`
#[test]
#[ignore = "a measurement"]
fn nine_thousand_connections() {
    share_the_thread(9_000);
}

fn share_the_thread(count: usize) {
    let mut many = source("web", Listen::Tcp(local()));
    many.max_connections = 200_000;
    let running = Running::start(&[many]);
    let to = running.address(0);
    let mut connections: Vec<_> = (0..count)
        .map(|_| TcpStream::connect(to).expect("a connection"))
        .collect();
    for round in 0..3 {
        for connection in &mut connections {
            write!(connection, "<134>whole {round}\n<134>the beginning of").expect("it is sent");
        }
        if round == 2 {
            let status = std::fs::read_to_string("/proc/self/status").expect("a file");
            let resident = status.lines().find(|line| line.starts_with("VmRSS"));
            eprintln!("{count} connections, a message begun on each: {resident:?}");
        }
        for connection in &mut connections {
            writeln!(connection, " another {round}").expect("it is sent");
        }
    }
    wait_for(|| running.listener(0).messages == (count * 6) as u64);
    let spooled = spooled(&running.stop(), "web");
    assert_eq!(spooled.messages.len(), count * 6);
    assert_eq!(spooled.lost(), 0);
}

/// Takes a minute.
#[test]
fn who_takes_too_long_over_a_message_is_sent_away() {
    let running = Running::start(&[source("web", Listen::Tcp(local()))]);
    let to = running.address(0);
    let mut slow = TcpStream::connect(to).expect("a connection");
    let mut endless = TcpStream::connect(to).expect("a connection");
    let mut idle = TcpStream::connect(to).expect("a connection");
    writeln!(idle, "<134>idle").expect("it is sent");
    for second in 0..70 {
        // At the end they are closed on.
        let _ = slow.write_all(b"x");
        let _ = endless.write_all(&[b'x'; 20_000]);
        std::thread::sleep(Duration::from_secs(1));
        if second == 50 {
            assert_eq!(running.listener(0).slow, 0);
        }
    }
    assert_eq!(running.listener(0).slow, 2);
    writeln!(idle, "<134>still there").expect("it is sent");
    wait_for(|| running.listener(0).messages == 2);
    let spooled = spooled(&running.stop(), "web");
    assert_eq!(spooled.messages, ["<134>idle", "<134>still there"]);
    assert_eq!(spooled.lost(), 2);
}
