//! Sockets that outlive a process: what a service manager keeps is given to the next one.

use std::io::{IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use tempfile::TempDir;
use tollkeeper::config::{Listen, SyslogSource};
use tollkeeper::source::syslog::Inherited;

use crate::support::{Running, local, source, spooled, wait_for};

/// A service manager that does with sockets what systemd does.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
    kept: Vec<(String, OwnedFd)>,
    _folder: TempDir,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_nonblocking(true).expect("a socket");
        Self {
            socket,
            path,
            kept: Vec::new(),
            _folder: folder,
        }
    }

    /// Does what it was asked for so far.
    fn obey(&mut self) {
        let mut text = [0; 4096];
        loop {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut bytes = [IoSliceMut::new(&mut text)];
            let flags = RecvFlags::CMSG_CLOEXEC;
            let Ok(told) = rustix::net::recvmsg(&self.socket, &mut bytes, &mut control, flags)
            else {
                return;
            };
            let socket = control.drain().find_map(|message| match message {
                RecvAncillaryMessage::ScmRights(mut sockets) => sockets.next(),
                _ => None,
            });
            let told = String::from_utf8_lossy(&text[..told.bytes]).into_owned();
            let name = told.lines().find_map(|line| line.strip_prefix("FDNAME="));
            let name = name.expect("a name").to_owned();
            if told.contains("FDSTORE=1") {
                // What it has already is not kept twice.
                self.kept.retain(|(other, _)| *other != name);
                self.kept.push((name, socket.expect("a socket")));
            } else if told.contains("FDSTOREREMOVE=1") {
                self.kept.retain(|(other, _)| *other != name);
            }
        }
    }

    /// Copies for the next process; as with systemd, the manager has them still.
    fn inherited(&mut self) -> Inherited {
        self.obey();
        let copies = self.kept.iter().map(|(name, socket)| {
            let copy = socket.try_clone().expect("a descriptor");
            (name.clone(), copy)
        });
        Inherited::new(copies.collect(), Some(self.path.clone()))
    }

    fn kept(&mut self, part: &str) -> usize {
        self.obey();
        let names = self.kept.iter().map(|(name, _)| name);
        names.filter(|name| name.contains(part)).count()
    }
}

fn start(manager: &mut Manager, state: TempDir, sources: &[SyslogSource]) -> Running {
    Running::start_in(state, sources, manager.inherited()).expect("reception starts")
}

#[test]
fn the_next_process_goes_on_where_this_one_stops() {
    let mut manager = Manager::new();
    let folder = tempfile::tempdir().expect("a folder");
    let (stream_path, path) = (folder.path().join("stream"), folder.path().join("log"));
    let mut web = source("web", Listen::Tcp(local()));
    web.listen.push(Listen::Udp(local()));
    web.listen.push(Listen::UnixStream(stream_path.clone()));
    web.listen.push(Listen::Unix(path.clone()));
    let sources = [web];

    let state = tempfile::tempdir().expect("a folder");
    let running = start(&mut manager, state, &sources);
    let (tcp, udp) = (running.address(0), running.address(1));
    let mut connection = TcpStream::connect(tcp).expect("a connection");
    let mut unix = UnixStream::connect(&stream_path).expect("a connection");
    let gone = TcpStream::connect(tcp).expect("a connection");
    connection
        .write_all(b"<134>tcp before\n<134>tcp beg")
        .expect("it is sent");
    unix.write_all(b"<134>unix before\n").expect("it is sent");
    wait_for(|| running.listener(0).messages + running.listener(2).messages == 2);
    wait_for(|| running.listener(0).connections == 2);
    drop(gone);
    wait_for(|| running.listener(0).connections == 1);
    let state = running.stop();
    assert_eq!(manager.kept("listener"), 4);
    assert_eq!(manager.kept("connection"), 2);
    assert!(path.exists() && stream_path.exists());

    // Nobody runs; nobody notices.
    connection
        .write_all(b"un before, ended after\n")
        .expect("it is sent");
    unix.write_all(b"<134>unix between\n").expect("it is sent");
    let datagrams = UdpSocket::bind(local()).expect("a socket");
    datagrams
        .send_to(b"<134>udp between", udp)
        .expect("it is sent");
    let sender = UnixDatagram::unbound().expect("a socket");
    sender
        .send_to(b"<134>datagram between", &path)
        .expect("it is sent");
    let mut early = TcpStream::connect(tcp).expect("a connection");
    early
        .write_all(b"<134>connected between\n")
        .expect("it is sent");

    let running = start(&mut manager, state, &sources);
    assert_eq!(running.address(0), tcp);
    assert_eq!(running.address(1), udp);
    connection
        .write_all(b"<134>tcp after\n")
        .expect("it is sent");
    let messages = |at: usize| running.listener(at).messages;
    wait_for(|| messages(0) == 3 && messages(1) == 1 && messages(2) == 1 && messages(3) == 1);
    drop(early);
    wait_for(|| running.listener(0).connections == 1);
    wait_for(|| running.listener(2).connections == 1);

    // A config without a listener: neither it nor its connections are kept.
    let mut running = running;
    let fewer = source("web", Listen::Udp(local()));
    running.reception.reload(&[fewer]).expect("a reload");
    assert_eq!(manager.kept("listener"), 1);
    assert_eq!(manager.kept("connection"), 0);
    assert!(!path.exists() && !stream_path.exists());
    manager.kept.clear();
    assert_eq!(connection.read(&mut [0]).expect("the end"), 0);

    let spooled = spooled(&running.stop(), "web");
    let mut texts = spooled.messages;
    texts.sort_unstable();
    assert_eq!(
        texts,
        [
            "<134>connected between",
            "<134>datagram between",
            "<134>tcp after",
            "<134>tcp before",
            "<134>tcp begun before, ended after",
            "<134>udp between",
            "<134>unix before",
            "<134>unix between",
        ]
    );
    assert_eq!(spooled.losses, []);
}

#[test]
fn what_the_config_does_not_name_any_more_is_forgotten() {
    let mut manager = Manager::new();
    let state = tempfile::tempdir().expect("a folder");
    let running = start(&mut manager, state, &[source("web", Listen::Tcp(local()))]);
    let mut connection = TcpStream::connect(running.address(0)).expect("a connection");
    wait_for(|| running.listener(0).connections == 1);
    let state = running.stop();
    assert_eq!(manager.kept(""), 2);
    let other = source("web", Listen::Udp(local()));
    let running = start(&mut manager, state, &[other]);
    assert_eq!(manager.kept("connection"), 0);
    assert_eq!(manager.kept(""), 1);
    assert_eq!(connection.read(&mut [0]).expect("the end"), 0);
    running.stop();
}

#[test]
fn a_connection_is_not_passed_on_within_a_message_that_is_in_memory() {
    let mut manager = Manager::new();
    let state = tempfile::tempdir().expect("a folder");
    let running = start(&mut manager, state, &[source("web", Listen::Tcp(local()))]);
    let mut connection = TcpStream::connect(running.address(0)).expect("a connection");
    connection.write_all(b"100000 <134>").expect("it is sent");
    connection.write_all(&[b'x'; 40_000]).expect("it is sent");
    wait_for(|| running.listener(0).connections == 1);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while manager.kept("connection") > 0 || manager.kept("listener") == 0 {
        assert!(std::time::Instant::now() < until, "it is kept still");
    }
    connection.write_all(&[b'x'; 59_995]).expect("it is sent");
    wait_for(|| running.listener(0).messages == 1);
    while manager.kept("connection") == 0 {
        assert!(std::time::Instant::now() < until, "it is not kept again");
    }
    running.stop();
}

/// What the child process is told by.
const STATE: &str = "TOLLKEEPER_TEST_STATE";

/// Runs in a process of its own, which is given sockets as systemd does.
#[test]
#[ignore = "a part of another test"]
fn child() {
    let state = TempDir::new_in(std::env::var(STATE).expect("a folder")).expect("a folder");
    let inherited = Inherited::from_environment().expect("sockets");
    let mut web = source("web", Listen::Systemd("logs.socket".into()));
    web.listen.push(Listen::Systemd("datagrams".into()));
    let running = Running::start_in(state, &[web], inherited).expect("reception starts");
    let messages = |at: usize| running.listener(at).messages;
    wait_for(|| messages(0) == 1 && messages(1) == 1);
    let mut texts = spooled(&running.stop(), "web").messages;
    texts.sort_unstable();
    assert_eq!(texts, ["<134>over tcp", "<134>over udp"]);
    // The numbers that were passed are closed: nothing holds these sockets any more.
    for number in [3, 4] {
        let target = std::fs::read_link(format!("/proc/self/fd/{number}"));
        let is_socket = target.is_ok_and(|to| to.to_string_lossy().starts_with("socket:"));
        assert!(!is_socket, "{number}");
    }
}

#[test]
fn sockets_of_systemd_are_taken_by_their_names() {
    let state = tempfile::tempdir().expect("a folder");
    let listener = TcpListener::bind(local()).expect("a socket");
    let datagrams = UdpSocket::bind(local()).expect("a socket");
    let mut connection =
        TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
    connection
        .write_all(b"<134>over tcp\n")
        .expect("it is sent");
    let to = datagrams.local_addr().expect("an address");
    let sender = UdpSocket::bind(local()).expect("a socket");
    sender.send_to(b"<134>over udp", to).expect("it is sent");

    let copy = |socket: std::os::fd::BorrowedFd<'_>| {
        Stdio::from(socket.try_clone_to_owned().expect("a descriptor"))
    };
    let child = Command::new("sh")
        .args([
            "-c",
            "export LISTEN_PID=$$; exec \"$0\" \"$@\" 3<&0 4<&1 0</dev/null 1>&2",
        ])
        .arg(std::env::current_exe().expect("this program"))
        .args(["--ignored", "--exact", "passed_on::child"])
        .env("LISTEN_FDS", "2")
        .env("LISTEN_FDNAMES", "logs.socket:datagrams")
        .env(STATE, state.path())
        .stdin(copy(listener.as_fd()))
        .stdout(copy(datagrams.as_fd()))
        .stderr(Stdio::piped())
        .spawn()
        .expect("a process");
    let output = child.wait_with_output().expect("a process");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
}

#[test]
fn a_socket_of_systemd_that_others_reach_needs_its_senders() {
    let reachable = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    let start = |allow: Option<&str>| {
        let copy = reachable.try_clone().expect("a descriptor");
        let inherited = Inherited::new(vec![("logs".into(), copy.into())], None);
        let mut web = source("web", Listen::Systemd("logs".into()));
        web.allow = allow.map(|network| vec![network.parse().expect("a network")]);
        let state = tempfile::tempdir().expect("a folder");
        Running::start_in(state, &[web], inherited)
    };
    let error = start(None).expect_err("a refusal");
    assert!(error.contains("can be reached from elsewhere"), "{error}");
    start(Some("127.0.0.0/8")).expect("reception starts").stop();
}
