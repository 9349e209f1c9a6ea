//! The gate of HAProxy, before the real one: what is pasted is what `snippet` prints, and what closes
//! and opens is the file and the runtime socket.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::{Sandbox, send, text, wait_for, wait_until};
use tollkeeper::config::gate::HaproxyGate;
use tollkeeper::enforce::haproxy::{Needs, networks_path, snippet};
use tollkeeper::enforce::{Consequences, Hosts};
use tollkeeper::publish::haproxy::{HaproxyPublisher, LOOK};
use tollkeeper::publish::{Applied, Gate as _};
use tollkeeper::quota::rule::Consequence;
use tollkeeper::quota::verdict::{Closed, Subject, Verdicts};

const TARGET: &str = "https://pay.example/over?a=b";

/// All that follows in these tests.
fn consequences() -> Consequences {
    let deny = [429, 451, 503].map(|status| Consequence::Deny { status });
    let others = [
        redirect(),
        Consequence::Slow {
            bytes_per_second: 125_000,
        },
    ];
    deny.into_iter().chain(others).collect()
}

fn deny(status: u16) -> Consequence {
    Consequence::Deny { status }
}

fn redirect() -> Consequence {
    Consequence::Redirect {
        url: TARGET.to_owned(),
    }
}

fn vhost(name: &str) -> Subject {
    Subject::Vhost(name.to_owned())
}

fn of_class(vhost: &str, class: &str) -> Subject {
    Subject::Class {
        vhost: vhost.to_owned(),
        class: class.to_owned(),
    }
}

fn user(user: &str, vhost: Option<&str>) -> Subject {
    Subject::User {
        user: user.to_owned(),
        vhost: vhost.map(str::to_owned),
    }
}

fn verdicts(closed: impl IntoIterator<Item = (Subject, Consequence)>) -> Verdicts {
    let closed = closed.into_iter().map(|(subject, consequence)| {
        let quota = "a month\r\n".to_owned();
        let closed = Closed {
            consequence,
            quota,
            until: None,
        };
        (subject, closed)
    });
    Verdicts::of(closed)
}

/// HAProxy with what is pasted, and the gate before it.
struct Front {
    sandbox: Sandbox,
    child: Option<Child>,
    port: u16,
    config: HaproxyGate,
    gate: HaproxyPublisher,
    hosts: Hosts,
    /// The gate's clock: nothing here waits for five seconds.
    now: Instant,
}

impl Front {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let config = HaproxyGate {
            map: sandbox.path("gate/haproxy.map"),
            sockets: vec![sandbox.path("admin.sock")],
        };
        let networks = |networks: &[&str]| {
            let networks = networks.iter().map(|it| it.parse().expect("a network"));
            networks.collect::<Vec<_>>()
        };
        let classes: BTreeMap<_, _> = [
            ("campus".to_owned(), networks(&["127.0.0.0/8", "::1/128"])),
            ("dormitory".to_owned(), networks(&["127.0.2.0/24"])),
        ]
        .into();
        let aliases = [
            ("alias.org", "closed.org"),
            ("*.wild.org", "tame.org"),
            ("shop.wild.org", "shop.org"),
            ("*.eu.wild.org", "eu.org"),
        ];
        let aliases = aliases.map(|(alias, site)| (alias.to_owned(), site.to_owned()));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let mut front = Self {
            port: listener.local_addr().expect("our own port").port(),
            gate: HaproxyPublisher::new(&config, &classes),
            hosts: Hosts::new(aliases.into(), true),
            sandbox,
            config,
            child: None,
            now: Instant::now(),
        };
        // The files have to be there before HAProxy starts.
        front.gate.apply(&verdicts([]), &front.hosts, front.now);
        drop(listener);
        front.start();
        front.now += LOOK;
        front
    }

    fn start(&mut self) {
        let needs = Needs {
            wildcards: true,
            classes: true,
            users: true,
            consequences: consequences(),
        };
        let config = format!(
            "global\n    nbthread 2\n    stats socket {socket} mode 600 level admin\n\
             userlist members\n    user alice insecure-password sesame\n    user bob insecure-password sesame\n\
             defaults\n    mode http\n    timeout client 30s\n    timeout server 30s\n    timeout connect 5s\n\
             frontend web\n    bind 127.0.0.1:{port}\n    bind 127.0.2.1:{port}\n    bind [::1]:{port}\n\
             {snippet}    http-request return status 200 content-type text/plain string served\n",
            socket = self.config.sockets[0].display(),
            port = self.port,
            snippet = snippet(&self.config, &needs),
        );
        let path = self.sandbox.write("haproxy.cfg", config);
        let said = self.sandbox.path("haproxy.said");
        let child = Command::new("/usr/sbin/haproxy")
            // A master and a worker, as Debian starts it.
            .args(["-W", "-db", "-f", text(&path)])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&said).expect("a new file"))
            .spawn()
            .expect("HAProxy is installed by tests/run");
        self.child = Some(child);
        let (port, socket) = (self.port, self.config.sockets[0].clone());
        wait_until("HAProxy listens", || {
            let child = self.child.as_mut().expect("it runs");
            let ended = child.try_wait().expect("our own child");
            assert!(ended.is_none(), "{:?}", fs::read_to_string(&said));
            TcpStream::connect(("127.0.0.1", port)).and(UnixStream::connect(&socket))
        });
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // The master ends its worker, and what that has open.
            send(&child, Signal::TERM);
            child.wait().expect("our own child");
            let (address, socket) = (("127.0.0.1", self.port), &self.config.sockets[0]);
            wait_for("the worker has ended, too", || {
                TcpStream::connect(address).is_err() && UnixStream::connect(socket).is_err()
            });
        }
    }

    /// The worker.
    fn id(&self) -> u32 {
        let master = self.child.as_ref().expect("it runs").id();
        wait_until("there is a worker", || {
            let path = format!("/proc/{master}/task/{master}/children");
            let children = fs::read_to_string(path).expect("it runs");
            let worker = children.split_whitespace().last();
            worker.and_then(|id| id.parse().ok()).ok_or(children)
        })
    }

    fn reload(&self) {
        let before = self.id();
        let mut asked: Option<Instant> = None;
        wait_for("there is another worker", || {
            // A master that is just becoming one is deaf to it.
            if asked.is_none_or(|asked| asked.elapsed() > Duration::from_secs(1)) {
                send(self.child.as_ref().expect("it runs"), Signal::USR2);
                asked = Some(Instant::now());
            }
            self.id() != before
        });
        // Until it has gone, it may take a connection.
        wait_for("the worker before it has gone", || {
            fs::metadata(format!("/proc/{before}")).is_err()
        });
    }

    /// Applies; all must be well.
    #[track_caller]
    fn apply(&mut self, verdicts: &Verdicts) -> Applied {
        let applied = self.gate.apply(verdicts, &self.hosts, self.now);
        assert_eq!(applied.failed, None);
        applied
    }

    /// The status of an answer, and all of it.
    #[track_caller]
    fn ask(&self, request: &str) -> (u16, String) {
        self.ask_at("127.0.0.1", request)
    }

    #[track_caller]
    fn ask_at(&self, address: &str, request: &str) -> (u16, String) {
        let mut stream = TcpStream::connect((address, self.port)).expect("it listens");
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let status = answer.split(' ').nth(1).and_then(|it| it.parse().ok());
        (
            status.unwrap_or_else(|| panic!("{request:?}: {answer:?}")),
            answer,
        )
    }

    #[track_caller]
    fn get(&self, host: &str) -> u16 {
        self.ask(&get(host, "")).0
    }

    /// By HTTP/2, as a proxy before it would.
    fn get_http2(&self, host: &str) -> String {
        let url = format!("http://127.0.0.1:{}/", self.port);
        let arguments = [
            "-s",
            "-o",
            "/dev/null",
            "-w",
            "%{http_version} %{http_code}",
        ];
        let output = Command::new("curl")
            .args(arguments)
            .args([
                "--http2-prior-knowledge",
                "-H",
                &format!("Host: {host}"),
                &url,
            ])
            .output()
            .expect("curl is installed");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.stop();
    }
}

fn get(host: &str, headers: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: {host}\r\n{headers}Connection: close\r\n\r\n")
}

#[test]
fn closes_at_once_whatever_the_spelling_and_opens_again() {
    let mut front = Front::new();
    let spellings = [
        "closed.org",
        "CLOSED.org",
        "closed.org:80",
        "Closed.ORG.",
        "closed.org.:8080",
        "closed.org:",
        "alias.org",
        "www.closed.org",
        "www.alias.org:80",
        "[2001:db8::1]",
        "[2001:DB8:0:0::1]:80",
    ];
    let process = front.id();
    for spelling in spellings {
        assert_eq!(front.get(spelling), 200, "{spelling}");
    }
    // A connection from before is refused as well.
    let mut old = TcpStream::connect(("127.0.0.1", front.port)).expect("it listens");
    let closed = [
        (vhost("closed.org"), deny(429)),
        (vhost("2001:db8::1"), deny(503)),
        (vhost("odd.org"), deny(451)),
        (vhost("unprepared.org"), deny(418)),
        (vhost("moved.org"), redirect()),
    ];
    let begin = Instant::now();
    let applied = front.apply(&verdicts(closed));
    eprintln!("told in {:?}", begin.elapsed());
    assert_eq!((applied.changed, applied.standing), (11, 11));
    for spelling in spellings {
        let status = if spelling.starts_with('[') { 503 } else { 429 };
        assert_eq!(front.get(spelling), status, "{spelling}");
    }
    for (host, seen) in [
        ("CLOSED.org:80", "2 429"),
        ("alias.org", "2 429"),
        ("[2001:db8:0::1]", "2 503"),
        ("open.org", "2 200"),
    ] {
        assert_eq!(front.get_http2(host), seen, "{host}");
    }
    for request in [
        "GET http://Closed.org/ HTTP/1.0\r\n\r\n",
        "GET http://closed.org:80/ HTTP/1.1\r\nConnection: close\r\n\r\n",
        "GET http://u@closed.org.?/@x HTTP/1.1\r\nConnection: close\r\n\r\n",
        "GET http://CLOSED.org:80/ HTTP/1.1\r\nHost: closed.org\r\nConnection: close\r\n\r\n",
    ] {
        assert_eq!(front.ask(request).0, 429, "{request}");
    }
    // Two names in one request are one, or an error.
    for request in [
        "GET http://open.org/ HTTP/1.1\r\nHost: closed.org\r\nConnection: close\r\n\r\n",
        "GET http://closed.org/ HTTP/1.1\r\nHost: open.org\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: open.org\r\nHost: closed.org\r\nConnection: close\r\n\r\n",
    ] {
        assert_eq!(front.ask(request).0, 400, "{request}");
    }
    old.write_all(get("closed.org", "").as_bytes())
        .expect("it reads");
    let mut answer = String::new();
    old.read_to_string(&mut answer).expect("it answers");
    let expected =
        "HTTP/1.1 429 Too Many Requests\r\nretry-after: 3600\r\ncache-control: no-store\r\n";
    assert!(answer.starts_with(expected), "{answer}");
    // No name at all, though much that routes by names would take them for the site's.
    for host in [
        "clósed.org",
        "closed.org/",
        "closed.org?x",
        "closed.org,open.org",
        "open.org,closed.org",
        "u@closed.org",
        "closed%2eorg",
        "closed.org;",
        "[closed.org]",
    ] {
        assert_eq!(front.get(host), 400, "{host}");
    }
    assert_eq!(front.get("odd.org"), 451);
    assert_eq!(front.get("unprepared.org"), 429);
    for neighbour in ["open.org", "sub.closed.org", "closed.org.uk", "xclosed.org"] {
        assert_eq!(front.get(neighbour), 200, "{neighbour}");
    }
    let (status, answer) = front.ask(&get("moved.org", ""));
    assert_eq!(status, 302);
    let expected = "HTTP/1.1 302 Moved Temporarily\r\n\
                    location: https://pay.example/over?a=b&quota=a%20month%0D%0A&vhost=moved.org\r\n\
                    cache-control: no-store\r\n";
    assert!(answer.starts_with(expected), "{answer}");

    // Another consequence, and then none.
    front.apply(&verdicts([(vhost("closed.org"), redirect())]));
    assert_eq!(front.get("closed.org"), 302);
    assert_eq!(front.get("odd.org"), 200);
    front.apply(&verdicts([]));
    for spelling in spellings {
        assert_eq!(front.get(spelling), 200, "{spelling}");
    }
    assert_eq!(front.id(), process);
}

#[test]
fn classes_and_users_are_told_apart() {
    let mut front = Front::new();
    let applied = front.apply(&verdicts([
        (of_class("classy.org", "campus"), deny(429)),
        (of_class("late.org", "dormitory"), deny(503)),
        (user("alice", None), deny(429)),
        (user("bob", Some("bobs.org")), redirect()),
        (user("../x", None), deny(429)),
        (user("evil\\x0aname", None), deny(429)),
        (
            vhost("slow.org"),
            Consequence::Slow {
                bytes_per_second: 125_000,
            },
        ),
    ]));
    let refused: Vec<_> = applied.refused.iter().map(|it| &it.subject).collect();
    let slow = vhost("slow.org");
    assert_eq!(
        refused,
        [&user("../x", None), &user("evil\\x0aname", None), &slow]
    );
    // HAProxy 2.6 lets it through, and it is said that it does.
    assert_eq!(front.get("slow.org"), 200);
    assert!(applied.refused[2].why.contains("2.7"), "{applied:?}");

    for (address, host, status) in [
        ("127.0.0.1", "classy.org", 429),
        ("::1", "classy.org", 429),
        // The longest network has it.
        ("127.0.2.1", "classy.org", 200),
        ("127.0.2.1", "late.org", 503),
        ("127.0.0.1", "late.org", 200),
        // Keys of the map are no names.
        ("127.0.0.1", "class/campus/classy.org", 400),
        ("127.0.2.1", "campus/classy.org", 400),
        ("127.0.0.1", "open.org", 200),
    ] {
        let seen = match address {
            "127.0.2.1" => from(address, front.port, &get(host, "")),
            _ => front.ask_at(address, &get(host, "")).0,
        };
        assert_eq!(seen, status, "{address} {host}");
    }

    // alice, bob, somebody else with these passwords, and without them.
    let alice = "Authorization: Basic YWxpY2U6c2VzYW1l\r\n";
    let bob = "Authorization: Basic Ym9iOnNlc2FtZQ==\r\n";
    let wrong = "Authorization: Basic YWxpY2U6d3Jvbmc=\r\n";
    let both = format!("{alice}{bob}");
    for (host, headers, status) in [
        ("open.org", alice, 429),
        ("open.org", &both, 429),
        ("open.org", bob, 200),
        ("bobs.org", bob, 302),
        ("bobs.org", "", 200),
        // Whoever only claims to be alice has not spent her quota, and is not shown that it is.
        ("open.org", wrong, 200),
    ] {
        assert_eq!(front.ask(&get(host, headers)).0, status, "{host} {headers}");
    }
    let (_, answer) = front.ask(&get("bobs.org", bob));
    assert!(answer.contains("?a=b&user=bob&quota="), "{answer}");
}

#[test]
fn all_names_below_a_wildcard_alias_are_its_sites() {
    let mut front = Front::new();
    let deep = format!("{}wild.org", "a.".repeat(10));
    let deeper = format!("a.{deep}");
    let applied = front.apply(&verdicts([
        (vhost("tame.org"), deny(429)),
        (of_class("eu.org", "campus"), deny(503)),
    ]));
    assert_eq!(applied.refused, []);
    for (host, status) in [
        ("tame.org", 429),
        ("x.wild.org", 429),
        ("X.y.Wild.org.:80", 429),
        (deep.as_str(), 429),
        // Nobody's name.
        (deeper.as_str(), 400),
        // Aliases of other sites, and what only ends alike.
        ("shop.wild.org", 200),
        ("x.shop.wild.org", 429),
        ("eu.wild.org", 429),
        ("x.eu.wild.org", 503),
        ("eu.org", 503),
        ("wild.org", 200),
        ("xwild.org", 200),
        ("*.wild.org.evil.org", 400),
        ("wild.org.evil.org", 200),
        ("org", 200),
    ] {
        assert_eq!(front.get(host), status, "{host}");
    }
    front.apply(&verdicts([(vhost("shop.org"), deny(429))]));
    assert_eq!(
        (front.get("shop.wild.org"), front.get("x.wild.org")),
        (429, 200)
    );
    front.apply(&verdicts([
        (vhost("shop.org"), deny(429)),
        (vhost("tame.org"), deny(503)),
    ]));
    assert_eq!(
        (front.get("shop.wild.org"), front.get("x.wild.org")),
        (429, 503)
    );
}

/// The status of an answer to a client with this address.
fn from(address: &str, port: u16, request: &str) -> u16 {
    let client = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::STREAM,
        None,
    );
    let client = client.expect("a socket");
    let own: std::net::SocketAddr = format!("{address}:0").parse().expect("an address");
    let server: std::net::SocketAddr = format!("{address}:{port}").parse().expect("an address");
    rustix::net::bind(&client, &own).expect("a free port");
    rustix::net::connect(&client, &server).expect("it listens");
    let mut stream = TcpStream::from(client);
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let status = answer.split(' ').nth(1).and_then(|it| it.parse().ok());
    status.unwrap_or_else(|| panic!("{answer:?}"))
}

#[test]
fn hostile_names_reach_nothing() {
    let mut front = Front::new();
    let long = "a".repeat(5000);
    let hostile = [
        "evil\";}",
        "../../etc/passwd",
        "a.org\nvhost/open.org deny-429",
        "a.org; shutdown sessions server x",
        "a.org deny-429",
        "a\\ b.org",
        "@1",
        "<<",
        "*",
        "~^.*$",
        "UPPER.org",
        "",
        &long,
    ];
    let mut closed: Vec<_> = hostile
        .iter()
        .map(|name| (vhost(name), deny(429)))
        .collect();
    closed.push((of_class("a.org", "x/y"), deny(429)));
    closed.push((of_class("a.org", "x y"), deny(429)));
    let url = format!("https://pay.example/\r\nset-cookie: a;{}", "b");
    closed.push((vhost("split.org"), Consequence::Redirect { url }));
    closed.push((vhost("good.org"), deny(429)));
    let applied = front.apply(&verdicts(closed));
    let refused: Vec<_> = applied.refused.iter().map(|it| &it.subject).collect();
    eprintln!("refused: {}", refused.len());
    assert!(refused.contains(&&vhost("split.org")));
    for name in &hostile {
        let harmless = ["../../etc/passwd", "@1", "*", "~^.*$", "UPPER.org", ""];
        // They stand behind `vhost/`, where they are as good as any name.
        let is_refused = refused.contains(&&vhost(name));
        assert_eq!(is_refused, !harmless.contains(name), "{name:?}");
    }
    assert_eq!(front.get("good.org"), 429);
    for host in ["open.org", "a.org", "b.org", "split.org"] {
        assert_eq!(front.get(host), 200, "{host}");
    }
    // Hosts as clients make them up: answered, and nothing of theirs in a header.
    for host in [
        "evil\"{;}",
        "a.org,good.org",
        "%[src]",
        "good.org#",
        "x/../good.org",
        "[::1",
        "][",
    ] {
        let (_, answer) = front.ask(&get(host, ""));
        assert!(
            answer.starts_with("HTTP/1.1 200 ") || answer.starts_with("HTTP/1.1 400 "),
            "{host}: {answer}"
        );
        assert!(!answer.contains(host), "{host}: {answer}");
    }
    // A restart reads what was written.
    front.stop();
    front.start();
    assert_eq!(front.get("good.org"), 429);
    assert_eq!(front.get("open.org"), 200);
}

#[test]
fn nothing_opens_while_the_socket_is_away_and_all_is_told_when_it_is_back() {
    let mut front = Front::new();
    front.apply(&verdicts([(vhost("a.org"), deny(429))]));
    // Restarted: it has read the file.
    front.stop();
    front.start();
    assert_eq!(front.get("a.org"), 429);
    front.apply(&verdicts([(vhost("b.org"), deny(429))]));
    assert_eq!((front.get("a.org"), front.get("b.org")), (200, 429));

    // Away: the file is written, the failure said, and it is tried again only later.
    front.stop();
    let applied = front.gate.apply(
        &verdicts([(vhost("c.org"), deny(429))]),
        &front.hosts,
        front.now,
    );
    let failed = applied.failed.expect("nobody listens");
    assert!(
        failed.contains("admin.sock: Connection refused"),
        "{failed}"
    );
    assert_eq!(applied.again, Some(front.now + LOOK));
    // It comes back with what was written before: an older file, as one that it has read too early.
    let newer = fs::read(&front.config.map).expect("our own file");
    fs::write(
        &front.config.map,
        "vhost/old.org deny-429\nvhost/c.org deny-503\n",
    )
    .expect("our own file");
    front.start();
    assert_eq!((front.get("old.org"), front.get("c.org")), (429, 503));
    front.now += LOOK;
    front.apply(&verdicts([(vhost("c.org"), deny(429))]));
    assert_eq!((front.get("old.org"), front.get("c.org")), (200, 429));
    assert_eq!(fs::read(&front.config.map).expect("our own file"), newer);

    // Started anew between two looks, it is asked what it has.
    front.stop();
    fs::write(&front.config.map, "").expect("our own file");
    front.start();
    assert_eq!(front.get("c.org"), 200);
    front.apply(&verdicts([(vhost("c.org"), deny(429))]));
    assert_eq!(front.get("c.org"), 429);

    // Reloaded likewise.
    fs::write(&front.config.map, "").expect("our own file");
    front.reload();
    wait_for("the new worker answers", || front.get("c.org") == 200);
    front.apply(&verdicts([(vhost("c.org"), deny(429))]));
    wait_for("it is told", || front.get("c.org") == 429);

    // A gate that has just been started keeps what is closed, until it knows all.
    let mut gate = HaproxyPublisher::new(&front.config, &BTreeMap::new());
    let mut some = verdicts([(vhost("d.org"), deny(429))]);
    some.complete = false;
    let applied = gate.apply(&some, &front.hosts, front.now);
    assert_eq!((applied.failed, applied.standing), (None, 4));
    assert_eq!((front.get("c.org"), front.get("d.org")), (429, 429));
    some.complete = true;
    gate.apply(&some, &front.hosts, front.now);
    assert_eq!((front.get("c.org"), front.get("d.org")), (200, 429));
}

#[test]
fn a_socket_that_hangs_holds_nobody_up() {
    let sandbox = Sandbox::new();
    // It takes connections, and says nothing.
    let path = sandbox.path("hangs.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    let config = HaproxyGate {
        map: sandbox.path("gate/haproxy.map"),
        sockets: vec![path, sandbox.path("none.sock")],
    };
    let mut gate = HaproxyPublisher::new(&config, &BTreeMap::new());
    let (hosts, now) = (Hosts::default(), Instant::now());
    let closed = verdicts([(vhost("a.org"), deny(429))]);
    let begin = Instant::now();
    let failed = gate.apply(&closed, &hosts, now).failed.expect("no answer");
    assert!(failed.contains("hangs.sock"), "{failed}");
    assert!(
        begin.elapsed() < Duration::from_secs(2),
        "{:?}",
        begin.elapsed()
    );
    let text = fs::read_to_string(&config.map).expect("it is written all the same");
    assert_eq!(text.lines().last(), Some("vhost/a.org deny-429"));
    // It rests: what has changed costs nobody another second.
    let begin = Instant::now();
    let applied = gate.apply(&verdicts([]), &hosts, now + Duration::from_secs(1));
    assert!(applied.failed.is_some());
    assert!(
        begin.elapsed() < Duration::from_millis(500),
        "{:?}",
        begin.elapsed()
    );
    drop(listener);
}

#[test]
fn a_map_that_nobody_uses_is_named() {
    let mut front = Front::new();
    let config = HaproxyGate {
        map: front.sandbox.path("gate/other.map"),
        sockets: front.config.sockets.clone(),
    };
    let mut gate = HaproxyPublisher::new(&config, &BTreeMap::new());
    let failed = gate.apply(&verdicts([]), &front.hosts, front.now).failed;
    let failed = failed.expect("it is not pasted");
    assert!(
        failed.contains("other.map") && failed.contains("snippet"),
        "{failed}"
    );
    assert!(networks_path(&front.config.map).exists());
    front.apply(&verdicts([]));
}

/// Memory of a process that is its own, in MiB.
fn memory(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).expect("it runs");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.expect("a number") / 1024
}

/// The time of a request, the median of many.
fn latency(front: &Front) -> Duration {
    let mut times: Vec<_> = (0..200)
        .map(|_| {
            let begin = Instant::now();
            assert_eq!(front.get("open.org"), 200);
            begin.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[times.len() / 2]
}

#[test]
fn a_hundred_thousand_closed_hosts() {
    let mut front = Front::new();
    let before = (memory(front.id()), latency(&front));
    let many = verdicts((0..100_000).map(|n| (vhost(&format!("site-{n}.example.org")), deny(429))));
    let begin = Instant::now();
    front.apply(&many);
    let told = begin.elapsed();
    assert_eq!(front.get("site-0.example.org"), 429);
    assert_eq!(front.get("www.SITE-99999.example.org:80"), 429);
    let with = (memory(front.id()), latency(&front));
    // One more of them is one line.
    let mut more = many.clone();
    more.closed
        .extend(verdicts([(vhost("one.more.org"), deny(503))]).closed);
    let begin = Instant::now();
    front.apply(&more);
    let one_more = begin.elapsed();
    assert_eq!(front.get("one.more.org"), 503);
    front.stop();
    let begin = Instant::now();
    front.start();
    let started = begin.elapsed();
    assert_eq!(front.get("site-99999.example.org"), 429);
    let begin = Instant::now();
    front.apply(&more);
    let compared = begin.elapsed();
    let begin = Instant::now();
    front.apply(&verdicts([]));
    let opened = begin.elapsed();
    assert_eq!(front.get("site-0.example.org"), 200);
    eprintln!(
        "200,000 names of 100,000 hosts: told in {told:?}, one more in {one_more:?}, opened in {opened:?}; \
         HAProxy starts in {started:?}, compared in {compared:?}; memory {} -> {} MiB, a request {:?} -> {:?}",
        before.0, with.0, before.1, with.1
    );
    wait_for("it lets go", || front.get("open.org") == 200);
    assert!(
        with.1 < before.1 + Duration::from_millis(5),
        "{before:?} {with:?}"
    );
}
