//! Much at a time: bursts, reloads and stops in the midst of them, and how fast it is.

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tollkeeper::config::Listen;

use crate::support::{Running, Spooled, local, source, spooled, wait_for};

/// As long as an ordinary line.
fn line(number: u64) -> String {
    let line = format!(
        "<190>Nov 26 10:00:00 web1 nginx: example.org 192.0.2.7 - - [26/Nov/2026:10:00:00 +0000] \
         \"GET /some/where/{number} HTTP/1.1\" 200 5316 \"https://example.org/\" \"Mozilla/5.0 (X11; \
         Linux x86_64) AppleWebKit/537.36\" 412 5721"
    );
    format!("{line:.<250}")
}

fn send_burst(to: SocketAddr, datagrams: u64) {
    let sender = UdpSocket::bind(local()).expect("a socket");
    sender.connect(to).expect("a socket");
    for number in 0..datagrams {
        sender.send(line(number).as_bytes()).expect("it is sent");
    }
}

/// Another place than [`local`].
fn elsewhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 2], 0))
}

fn assert_each_once(spooled: &Spooled) {
    let mut texts: Vec<_> = spooled.messages.iter().collect();
    texts.sort_unstable();
    texts.dedup();
    assert_eq!(texts.len(), spooled.messages.len(), "some came twice");
}

#[test]
fn a_burst_is_in_the_spool_or_booked_as_lost() {
    const DATAGRAMS: u64 = 100_000;
    for receive_buffer_bytes in [4 << 20, 64 << 10] {
        let mut web = source("web", Listen::Udp(local()));
        web.receive_buffer_bytes = receive_buffer_bytes;
        let running = Running::start(&[web]);
        send_burst(running.address(0), DATAGRAMS);
        let spooled = spooled(&running.stop(), "web");
        assert_each_once(&spooled);
        let count = spooled.messages.len() as u64;
        assert_eq!(count + spooled.lost(), DATAGRAMS, "{:?}", spooled.losses);
    }
}

#[test]
fn a_reload_in_the_midst_of_it_loses_nothing() {
    const DATAGRAMS: u64 = 50_000;
    let (udp, tcp) = (Listen::Udp(local()), Listen::Tcp(local()));
    let mut web = source("web", udp);
    web.listen.push(tcp);
    let mut running = Running::start(&[web.clone()]);
    let (udp, tcp) = (running.address(0), running.address(1));
    let sending = [
        std::thread::spawn(move || send_burst(udp, DATAGRAMS)),
        std::thread::spawn(move || {
            let mut connection = TcpStream::connect(tcp).expect("a connection");
            for number in 0..DATAGRAMS {
                writeln!(connection, "{}", line(number + DATAGRAMS)).expect("it is sent");
            }
        }),
    ];
    let mut reloads = 0;
    while sending.iter().any(|thread| !thread.is_finished()) {
        // The same places, another config; and a listener that comes and goes.
        web.max_spool_bytes = (1 << 30) + (reloads << 20);
        let other = source("other", Listen::Udp(elsewhere()));
        let sources = match reloads % 2 {
            0 => vec![other, web.clone()],
            _ => vec![web.clone()],
        };
        running.reception.reload(&sources).expect("a reload");
        reloads += 1;
        std::thread::sleep(Duration::from_millis(10));
    }
    for thread in sending {
        thread.join().expect("all is sent");
    }
    assert!(reloads > 1);
    running.reception.reload(&[web]).expect("a reload");
    let seen = || running.listener(1).messages;
    wait_for(|| seen() == DATAGRAMS);
    let spooled = spooled(&running.stop(), "web");
    assert_each_once(&spooled);
    let count = spooled.messages.len() as u64;
    assert_eq!(
        count + spooled.lost(),
        2 * DATAGRAMS,
        "{:?}",
        spooled.losses
    );
}

#[test]
fn a_listener_that_goes_is_read_to_its_end_for_the_source_that_it_had() {
    let (first, second) = (
        source("first", Listen::Udp(local())),
        source("second", Listen::Udp(elsewhere())),
    );
    let mut running = Running::start(std::slice::from_ref(&first));
    send_burst(running.address(0), 2_000);
    running.reception.reload(&[second]).expect("a reload");
    let state = running.stop();
    let spooled = spooled(&state, "first");
    assert_eq!(spooled.messages.len() as u64 + spooled.lost(), 2_000);
}

#[test]
fn a_stop_in_the_midst_of_it_loses_nothing_that_arrived() {
    let running = {
        let mut web = source("web", Listen::Udp(local()));
        web.listen.push(Listen::Tcp(local()));
        Running::start(&[web])
    };
    let (udp, tcp) = (running.address(0), running.address(1));
    let is_over = Arc::new(AtomicBool::new(false));
    let sent = Arc::new(AtomicU64::new(0));
    let sender = {
        let (is_over, sent) = (Arc::clone(&is_over), Arc::clone(&sent));
        std::thread::spawn(move || {
            let socket = UdpSocket::bind(local()).expect("a socket");
            socket.connect(udp).expect("a socket");
            while !is_over.load(Ordering::Relaxed) {
                let number = sent.load(Ordering::Relaxed);
                // Nobody listens there in the end.
                if socket.send(line(number).as_bytes()).is_err() {
                    break;
                }
                sent.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    let stream = {
        let is_over = Arc::clone(&is_over);
        std::thread::spawn(move || {
            let mut connection = TcpStream::connect(tcp).expect("a connection");
            let mut number = 0;
            while !is_over.load(Ordering::Relaxed) {
                if writeln!(connection, "<134>stream {number}").is_err() {
                    break;
                }
                number += 1;
            }
        })
    };
    std::thread::sleep(Duration::from_millis(500));
    let sent_before = sent.load(Ordering::Relaxed);
    let began = Instant::now();
    let state = running.stop();
    assert!(began.elapsed() < Duration::from_secs(10));
    is_over.store(true, Ordering::Relaxed);
    sender.join().expect("a sender");
    stream.join().expect("a sender");
    let spooled = spooled(&state, "web");
    assert_each_once(&spooled);
    let (streamed, datagrams): (Vec<_>, Vec<_>) = spooled
        .messages
        .iter()
        .partition(|text| text.starts_with("<134>stream"));
    // Of the stream, everything up to some message.
    for (number, text) in streamed.iter().enumerate() {
        assert_eq!(**text, format!("<134>stream {number}"));
    }
    assert!(!streamed.is_empty());
    let booked = spooled.losses.iter();
    let booked: u64 = booked
        .filter(|(_, why)| why != "connection broke off")
        .map(|(messages, _)| messages)
        .sum();
    let arrived = datagrams.len() as u64 + booked;
    assert!(arrived >= sent_before, "{arrived} of {sent_before}");
}

/// How many datagrams a second are received without a drop, and what that costs:
/// `cargo test --release --test reception -- --ignored --nocapture --exact load::measure`
#[test]
#[ignore = "a measurement"]
fn measure() {
    const SECONDS: u64 = 5;
    for per_second in [50_000, 100_000, 150_000, 200_000, 300_000] {
        let running = Running::start(&[source("web", Listen::Udp(local()))]);
        let to = running.address(0);
        let text = line(7);
        let sender = UdpSocket::bind(local()).expect("a socket");
        sender.connect(to).expect("a socket");
        let began = Instant::now();
        let mut sent = 0;
        while sent < per_second * SECONDS {
            let due = (began.elapsed().as_secs_f64() * f64::from(per_second as u32)) as u64;
            while sent < due.min(per_second * SECONDS) {
                sender.send(text.as_bytes()).expect("it is sent");
                sent += 1;
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        let took = began.elapsed().as_secs_f64();
        let seen = || running.listener(0);
        std::thread::sleep(Duration::from_millis(1_500));
        wait_for(|| seen().messages + seen().lost_kernel + seen().lost_memory >= sent);
        let (receive, spool) = (cpu_seconds("receive"), cpu_seconds("spool"));
        let (kernel, memory) = (seen().lost_kernel, seen().lost_memory);
        let spooled = spooled(&running.stop(), "web");
        assert_eq!(spooled.messages.len() as u64 + spooled.lost(), sent);
        eprintln!(
            "{:.0}/s of {} bytes for {took:.1} s: {kernel} lost in the kernel, {memory} in memory; \
             cpu: receiving {:.1} %, spooling {:.1} % of a core",
            sent as f64 / took,
            text.len(),
            100.0 * receive / took,
            100.0 * spool / took,
        );
    }
}

/// What the threads of that name have used.
fn cpu_seconds(name: &str) -> f64 {
    const TICKS_A_SECOND: f64 = 100.0;
    let mut ticks = 0;
    for task in fs::read_dir("/proc/self/task").expect("a folder") {
        let folder = task.expect("a thread").path();
        let is_meant =
            fs::read_to_string(folder.join("comm")).is_ok_and(|comm| comm.starts_with(name));
        if is_meant && let Ok(stat) = fs::read_to_string(folder.join("stat")) {
            let fields = stat.rsplit(") ").next().expect("fields");
            let fields: Vec<u64> = fields
                .split(' ')
                .map(|field| field.parse().unwrap_or_default())
                .collect();
            ticks += fields[11] + fields[12];
        }
    }
    ticks as f64 / TICKS_A_SECOND
}
