//! Reception over real sockets: whatever senders do, what they sent is in a spool, or is counted
//! there as lost.

#[path = "reception/support.rs"]
mod support;

#[path = "reception/load.rs"]
mod load;
#[path = "reception/passed_on.rs"]
mod passed_on;
#[path = "reception/streams.rs"]
mod streams;
#[path = "reception/tls.rs"]
mod tls;

use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;

use tollkeeper::config::Listen;
use tollkeeper::config::NamePattern;

use support::{Running, local, source, spooled, wait_for};

#[test]
fn datagrams_are_in_the_spool_with_their_senders() {
    let running = Running::start(&[source("web", Listen::Udp(local()))]);
    let sender = UdpSocket::bind(local()).expect("a socket");
    let to = running.address(0);
    for datagram in [
        "<134>Nov 26 10:00:00 web1 nginx: one line",
        "<134>Nov 26 10:00:00 web1 haproxy[12]: ends in a newline\n",
        "no envelope\nand two lines\n",
        "",
        "\n\n",
    ] {
        sender.send_to(datagram.as_bytes(), to).expect("it is sent");
    }
    let spool = running.stop();
    let spooled = spooled(&spool, "web");
    assert_eq!(
        spooled.messages,
        [
            "<134>Nov 26 10:00:00 web1 nginx: one line",
            "<134>Nov 26 10:00:00 web1 haproxy[12]: ends in a newline",
            "no envelope",
            "and two lines",
        ]
    );
    assert_eq!(spooled.origins, ["127.0.0.1"; 4]);
    assert_eq!(spooled.lost(), 0);
}

#[test]
fn unix_datagrams_are_in_the_spool() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("log.sock");
    let running = Running::start(&[source("web", Listen::Unix(path.clone()))]);
    let sender = UnixDatagram::unbound().expect("a socket");
    let large = format!("<134>{}", "x".repeat(150_000));
    for number in 0..1_000 {
        let text = format!("<134>Nov 26 10:00:00 web1 nginx: {number}");
        sender.send_to(text.as_bytes(), &path).expect("it is sent");
    }
    sender.send_to(large.as_bytes(), &path).expect("it is sent");
    let spool = running.stop();
    assert!(!path.exists());
    let spooled = spooled(&spool, "web");
    assert_eq!(spooled.messages.len(), 1_001);
    assert_eq!(spooled.messages[1_000], large);
    assert_eq!(spooled.origins[0], "-");
}

#[test]
fn who_is_not_on_the_list_pays_nobodys_bill() {
    let mut guarded = source("web", Listen::Udp(local()));
    guarded.allow = Some(vec!["127.0.0.1/32".parse().expect("a network")]);
    let running = Running::start(&[guarded]);
    let honest = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let forger = UdpSocket::bind("127.0.0.2:0").expect("a socket");
    let to = running.address(0);
    for _ in 0..10 {
        honest.send_to(b"<134>honest", to).expect("it is sent");
        forger.send_to(b"<134>forged", to).expect("it is sent");
    }
    wait_for(|| running.listener(0).messages == 10 && running.listener(0).not_allowed == 10);
    let spool = running.stop();
    let spooled = spooled(&spool, "web");
    assert_eq!(spooled.messages, ["<134>honest"; 10]);
    assert_eq!(spooled.lost(), 0);
}

#[test]
fn the_first_source_that_accepts_a_message_takes_it() {
    let listen = Listen::Udp(local());
    let mut nginx = source("nginx", listen.clone());
    nginx.accepts.tags = vec![NamePattern::new("nginx")];
    let mut local7 = source("local7", listen.clone());
    local7.accepts.facilities = vec![23];
    let mut web = source("web", listen);
    web.accepts.hosts = vec![NamePattern::new("web*.example.org")];
    let running = Running::start(&[nginx, local7, web]);
    let sender = UdpSocket::bind(local()).expect("a socket");
    let to = running.address(0);
    for datagram in [
        "<190>Nov 26 10:00:00 web1.example.org nginx: to nginx",
        "<190>Nov 26 10:00:00 web1.example.org apache: to local7",
        "<134>Nov 26 10:00:00 web1.example.org apache: to web",
        "<134>Nov 26 10:00:00 db1.example.org apache: to nobody",
        "without an envelope",
    ] {
        sender.send_to(datagram.as_bytes(), to).expect("it is sent");
    }
    wait_for(|| running.listener(0).no_source == 2);
    let spool = running.stop();
    for (name, end) in [
        ("nginx", "to nginx"),
        ("local7", "to local7"),
        ("web", "to web"),
    ] {
        let spooled = spooled(&spool, name);
        assert_eq!(spooled.messages.len(), 1, "{name}");
        assert!(spooled.messages[0].ends_with(end), "{name}");
    }
}

#[test]
fn what_cannot_be_listened_on_is_refused_and_nothing_runs_on() {
    let taken = UdpSocket::bind(local()).expect("a socket");
    let address = taken.local_addr().expect("an address");
    let free = UdpSocket::bind(local()).expect("a socket");
    let free_address = free.local_addr().expect("an address");
    drop(free);
    let sources = [
        source("free", Listen::Udp(free_address)),
        source("taken", Listen::Udp(address)),
    ];
    let error = Running::try_start(&sources).expect_err("a refusal");
    assert!(error.contains("another program listens there"), "{error}");
    UdpSocket::bind(free_address).expect("the socket is closed again");
    let unknown = source("x", Listen::Systemd("nowhere.socket".into()));
    let error = Running::try_start(&[unknown]).expect_err("a refusal");
    assert!(error.contains("systemd passes no socket"), "{error}");
}
