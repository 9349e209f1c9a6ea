//! lighttpd behind a gate: what is printed to be pasted is pasted, and clients ask.

mod support;
mod webs;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use support::Sandbox;
use tollkeeper::config::gate::LighttpdGate;
use tollkeeper::enforce::{Consequences, Hosts, lighttpd};
use tollkeeper::publish::flags::Flags;
use webs::{PASSWORD, Web, class, close, deny, hostile, redirect, slow, user, vhost};

fn networks() -> BTreeMap<String, Vec<IpNet>> {
    let networks = [
        ("campus", vec!["127.0.0.0/8", "2001:db8::/32"]),
        ("abroad", vec!["::/0"]),
        (
            "elsewhere",
            vec!["126.0.0.0/8", "128.0.0.0/1", "127.128.0.0/9", "::2/128"],
        ),
    ];
    let parse = |text: &str| text.parse().expect("a network");
    networks
        .into_iter()
        .map(|(name, nets)| (name.to_owned(), nets.into_iter().map(parse).collect()))
        .collect()
}

fn consequences() -> Consequences {
    [slow(125_000), slow(50_000), redirect(), deny(503)].into()
}

/// Also passes `/back/` on to itself.
fn config(folder: &Path, port: u16, gate: &LighttpdGate) -> String {
    let text = folder.display();
    let script = folder.join("tollkeeper.lua");
    let snippet = lighttpd::config(&script, &consequences());
    fs::write(
        &script,
        lighttpd::script(gate, &consequences(), &networks()),
    )
    .expect("a new file");
    let users: String = ["alice", "bob", "../../etc/passwd", "evil\";}", "a b"]
        .iter()
        .map(|user| format!("{user}:{PASSWORD}\n"))
        .collect();
    fs::write(folder.join("users"), users).expect("a new file");
    fs::create_dir_all(folder.join("www/back/private")).expect("a new folder");
    format!(
        r#"
server.document-root = "{text}/www"
server.errorlog      = "{text}/error.log"
server.bind          = "127.0.0.1"
server.port          = {port}
$SERVER["socket"] == "[::1]:{port}" {{ }}
server.modules       = ( "mod_auth", "mod_authn_file" )
index-file.names     = ( "index.html" )
mimetype.assign      = ( "" => "text/plain" )
auth.backend = "plain"
auth.backend.plain.userfile = "{text}/users"
$HTTP["url"] =~ "^(/back)?/private/" {{
    auth.require = ( "" => ( "method" => "basic", "realm" => "members", "require" => "valid-user" ) )
}}
{snippet}
server.modules += ( "mod_proxy" )
$HTTP["url"] =^ "/back/" {{
    proxy.server = ( "" => (( "host" => "::1", "port" => {port} )) )
    proxy.header = ( "map-urlpath" => ( "/back/private/" => "/", "/back/" => "/" ) )
}}
"#
    )
}

fn start(sandbox: &Sandbox, gate: &LighttpdGate) -> Web {
    Web::start(
        sandbox,
        "/usr/sbin/lighttpd",
        &["-D", "-f"],
        |folder, port| config(folder, port, gate),
    )
}

fn flags(folder: PathBuf) -> (LighttpdGate, Flags) {
    let gate = LighttpdGate {
        flags: folder.clone(),
    };
    let flags = Flags::new(
        "lighttpd".to_owned(),
        folder,
        lighttpd::is_flag,
        Box::new(lighttpd::flags),
    );
    (gate, flags)
}

fn with_alias() -> Hosts {
    Hosts::new(
        BTreeMap::from([("b.example".to_owned(), "a.example".to_owned())]),
        false,
    )
}

fn login(name: &str, password: &str) -> String {
    format!("{name}:{password}")
}

#[test]
fn a_site_closes_in_every_spelling_and_opens_again() {
    let sandbox = Sandbox::new();
    let (gate, mut flags) = flags(sandbox.path("gate"));
    let web = start(&sandbox, &gate);
    let hosts = with_alias();
    let spellings = [
        "a.example",
        "A.Example",
        "a.example:8080",
        "a.example.",
        "A.EXAMPLE.:80",
        "b.example",
    ];
    for host in spellings {
        web.ask_host(host).assert_status(200, host);
    }
    let closed = [(vhost("a.example"), deny(429)), (vhost("::1"), deny(503))];
    for _ in 0..10 {
        close(&mut flags, &hosts, &closed);
        web.ask_host("a.example").assert_refused(429, "at once");
        close(&mut flags, &hosts, &[]);
        web.ask_host("a.example").assert_status(200, "at once");
    }
    close(&mut flags, &hosts, &closed);
    for host in spellings {
        web.ask_host(host).assert_refused(429, host);
        let host = format!("Host: {host}");
        web.ask("/", &["--http2-prior-knowledge", "-H", &host])
            .assert_refused(429, &host);
    }
    for path in ["/nothing", "/own/", "/back/"] {
        web.ask(path, &["-H", "Host: a.example"])
            .assert_refused(429, path);
    }
    for method in [
        ["-X", "OPTIONS"],
        ["-X", "DELETE"],
        ["-d", "x"],
        ["-T", "/dev/null"],
    ] {
        let answer = web.ask("/", &[&method[..], &["-H", "Host: a.example"]].concat());
        answer.assert_refused(429, method[1]);
    }
    for (target, host) in [
        ("http://a.example/", "a.example"),
        ("http://A.EXAMPLE./own/", "A.EXAMPLE."),
    ] {
        let host = format!("Host: {host}");
        web.ask("/", &["--request-target", target, "-H", &host])
            .assert_refused(429, target);
    }
    for host in ["[::1]", "[0:0:0::1]:80", "[::0001]"] {
        let header = format!("Host: {host}");
        web.ask_at("[::1]", "/", &["-H", &header])
            .assert_refused(503, host);
    }
    for host in [
        "plain.example",
        "c.example",
        "xa.example",
        "a.example.org",
        "127.0.0.1",
    ] {
        web.ask_host(host).assert_status(200, host);
    }
    web.ask("/", &["-0", "-H", "Host:"])
        .assert_status(200, "no name");
    close(&mut flags, &hosts, &[]);
    for host in spellings {
        web.ask_host(host).assert_status(200, host);
    }
    assert!(!web.said().contains("lua"), "{}", web.said());
}

#[test]
fn clients_are_sent_elsewhere() {
    let sandbox = Sandbox::new();
    let (gate, mut flags) = flags(sandbox.path("gate"));
    let web = start(&sandbox, &gate);
    let closed = [
        (vhost("a.example"), redirect()),
        (class("campus", "c.example"), redirect()),
        (user("alice", None), redirect()),
        (user("bob", Some("d.example")), redirect()),
    ];
    close(&mut flags, &Hosts::default(), &closed);
    let url = |user: &str, vhost: &str| {
        format!(
            "https://pay.example/buy?lang=en&user={user}&quota=30%20G%20a%20month&vhost={vhost}"
        )
    };
    for path in ["/", "/own/?a=b"] {
        web.ask(path, &["-H", "Host: A.example."])
            .assert_sent_to(&url("", "a.example"));
    }
    web.ask_host("c.example")
        .assert_sent_to(&url("", "c.example"));
    web.ask_at("[::1]", "/", &["-H", "Host: c.example"])
        .assert_status(200, "another class");
    web.ask_host("plain.example")
        .assert_status(200, "a neighbour");
    let asked = web.ask("/private/", &["-u", &login("alice", PASSWORD)]);
    asked.assert_sent_to(&url("alice", ""));
    let asked = web.ask(
        "/private/",
        &["-u", &login("bob", PASSWORD), "-H", "Host: d.example"],
    );
    asked.assert_sent_to(&url("bob", "d.example"));
}

#[test]
fn users_are_refused_once_their_password_is_right() {
    let sandbox = Sandbox::new();
    let (gate, mut flags) = flags(sandbox.path("gate"));
    let web = start(&sandbox, &gate);
    let closed = [
        (user("alice", None), deny(429)),
        (user("bob", Some("c.example")), deny(503)),
    ];
    let get = |host: &str, path: &str, name: &str, password: &str| {
        let host = format!("Host: {host}");
        web.ask(path, &["-u", &login(name, password), "-H", &host])
    };
    let hosts = with_alias();
    let (secret, passed_on) = ("/private/", "/back/private/");
    for path in [secret, passed_on] {
        get("a.example", path, "alice", PASSWORD).assert_status(200, path);
    }
    close(&mut flags, &hosts, &closed);
    for path in [secret, passed_on, "/private/nothing"] {
        get("a.example", path, "alice", PASSWORD).assert_refused(429, path);
    }
    let alice = login("alice", PASSWORD);
    web.ask(secret, &["--http2-prior-knowledge", "-u", &alice])
        .assert_refused(429, "HTTP/2");
    // Nobody learns without the password whose gate is closed, nor is anybody refused for a claim.
    // lighttpd takes a second to answer a wrong password.
    for (name, host) in [
        ("alice", "a.example"),
        ("bob", "c.example"),
        ("nobody", "a.example"),
    ] {
        get(host, secret, name, "wrong").assert_status(401, name);
        get(host, "/", name, "wrong").assert_status(200, name);
        get(host, "/", name, PASSWORD).assert_status(200, name);
    }
    web.ask(secret, &[]).assert_status(401, "nobody");
    get("a.example", secret, "bob", PASSWORD).assert_status(200, "elsewhere");
    get("c.example", secret, "bob", PASSWORD).assert_refused(503, "there");
    for name in ["../../etc/passwd", "evil\";}", "a b"] {
        get("a.example", secret, name, PASSWORD).assert_status(200, name);
    }
    close(&mut flags, &hosts, &[]);
    get("a.example", secret, "alice", PASSWORD).assert_status(200, "after");
}

#[test]
fn classes_are_refused_by_their_networks() {
    let sandbox = Sandbox::new();
    let (gate, mut flags) = flags(sandbox.path("gate"));
    let web = start(&sandbox, &gate);
    let hosts = with_alias();
    let from =
        |address: &str, host: &str| web.ask_at(address, "/", &["-H", &format!("Host: {host}")]);
    close(
        &mut flags,
        &hosts,
        &[(class("campus", "a.example"), deny(429))],
    );
    from("127.0.0.1", "a.example").assert_refused(429, "campus");
    from("127.0.0.1", "b.example").assert_refused(429, "campus, by the alias");
    from("[::1]", "a.example").assert_status(200, "abroad");
    from("127.0.0.1", "c.example").assert_status(200, "elsewhere");
    close(
        &mut flags,
        &hosts,
        &[(class("abroad", "a.example"), deny(503))],
    );
    from("127.0.0.1", "a.example").assert_status(200, "campus");
    from("[::1]", "a.example").assert_refused(503, "abroad");
    // Within 127.0.0.0/8, and longer.
    let local = ["--interface", "127.200.0.1", "-H", "Host: a.example"];
    close(
        &mut flags,
        &hosts,
        &[(class("elsewhere", "a.example"), deny(429))],
    );
    web.ask("/", &local).assert_refused(429, "elsewhere");
    from("127.0.0.1", "a.example").assert_status(200, "campus");
    let both = [
        (class("abroad", "a.example"), slow(50_000)),
        (vhost("a.example"), deny(429)),
    ];
    close(&mut flags, &hosts, &both);
    from("[::1]", "a.example").assert_refused(429, "both");
}

/// Bytes a second. lighttpd gives out what a second has at its start, so it is measured from there to
/// the start of a later one: what came before the last pause, by the time from the first to it.
fn speed(web: &Web, host: &str, headers: &str) -> f64 {
    let mut stream = TcpStream::connect(("127.0.0.1", web.port)).expect("it listens");
    write!(
        stream,
        "GET /big.bin HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n"
    )
    .expect("sent");
    let started = Instant::now();
    let mut bursts: Vec<(f64, usize)> = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    while bursts.len() < 6 {
        let count = stream.read(&mut buffer).expect("it sends");
        if count == 0 {
            return f64::INFINITY;
        }
        let now = started.elapsed().as_secs_f64();
        match bursts.last_mut() {
            Some((last, bytes)) if now - *last < 0.4 => *bytes += count,
            _ => bursts.push((now, count)),
        }
    }
    // The first second may have begun before us.
    let whole = &bursts[1..bursts.len() - 1];
    let bytes: usize = whole.iter().map(|(_, bytes)| bytes).sum();
    bytes as f64 / (bursts[bursts.len() - 1].0 - whole[0].0)
}

#[test]
fn transfers_are_slowed_down() {
    let sandbox = Sandbox::new();
    let (gate, mut flags) = flags(sandbox.path("gate"));
    let web = start(&sandbox, &gate);
    let closed = [
        (vhost("a.example"), slow(125_000)),
        (vhost("c.example"), slow(50_000)),
    ];
    close(&mut flags, &Hosts::default(), &closed);
    let quick = web.ask(
        "/big.bin",
        &[
            "-H",
            "Host: plain.example",
            "-H",
            "X-Tollkeeper: slow-50000",
        ],
    );
    assert!(
        quick.bytes == 3_000_000 && quick.seconds < 2.0,
        "a neighbour: {quick:?}"
    );
    let cases = [
        ("a.example", "", 125_000.0),
        ("c.example", "", 50_000.0),
        // What a client says of itself does not count.
        ("A.example.", "X-Tollkeeper: none\r\n", 125_000.0),
    ];
    std::thread::scope(|scope| {
        for (host, headers, expected) in cases {
            let web = &web;
            scope.spawn(move || {
                let speed = speed(web, host, headers);
                assert!(
                    (speed / expected - 1.0).abs() < 0.15,
                    "{host} {headers}: {speed}"
                );
            });
        }
    });
}

#[test]
fn hostile_names_touch_nothing() {
    let sandbox = Sandbox::new();
    let (gate, mut flags) = flags(sandbox.path("gate"));
    let web = start(&sandbox, &gate);
    for what in [
        "gate/deny-429",
        "gate/user-deny-429",
        "gate/at-deny-429/a.example",
    ] {
        fs::create_dir_all(sandbox.path(what)).expect("a new folder");
    }
    let subjects = hostile().into_iter().flat_map(|name| {
        [
            vhost(&name),
            user(&name, None),
            class(&name, "a.example"),
            class("campus", &name),
        ]
    });
    let closed: Vec<_> = subjects.map(|subject| (subject, deny(429))).collect();
    let applied = close(&mut flags, &Hosts::default(), &closed);
    // `UPPER.example` can be a user and a class.
    assert_eq!(applied.standing, 2, "{applied:?}");
    assert_eq!(applied.refused.len(), closed.len() - 2, "{applied:?}");
    for name in hostile().iter().filter(|name| !name.contains('\n')) {
        let answer = web.ask_host(name);
        assert!(matches!(answer.status, 200 | 400), "{name:?}: {answer:?}");
        web.ask_host("a.example").assert_status(200, name);
    }
    assert!(!web.said().contains("lua"), "{}", web.said());
}

#[test]
fn a_hundred_thousand_closed_sites_slow_nobody_down() {
    let sandbox = Sandbox::new();
    let folder = webs::in_memory();
    let (gate, _) = flags(folder.path().join("gate"));
    let web = start(&sandbox, &gate);
    let set = lighttpd::flags(&webs::many(100_000, deny(429)), &Hosts::default());
    webs::put_flags(&folder.path().join("gate"), &set);
    web.ask_host("s0.example").assert_refused(429, "the first");
    web.ask_host("s99999.example")
        .assert_refused(429, "the last");
    let open = web.ask_host("plain.example");
    open.assert_status(200, "a neighbour");
    assert!(
        open.seconds < Duration::from_millis(500).as_secs_f64(),
        "{open:?}"
    );
}

#[test]
fn what_is_printed_says_where_it_goes() {
    let sandbox = Sandbox::new();
    let (gate, _) = flags(sandbox.path("gate"));
    let printed = lighttpd::snippet(&gate, &consequences(), &networks());
    let config = lighttpd::config(Path::new(lighttpd::SCRIPT), &consequences());
    let script = lighttpd::script(&gate, &consequences(), &networks());
    assert!(
        printed.contains(&config) && printed.ends_with(&script),
        "{printed}"
    );
    assert!(
        printed.contains("\n-- ---- /etc/lighttpd/tollkeeper.lua ----\n"),
        "{printed}"
    );
}
