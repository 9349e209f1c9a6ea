//! The gates of nginx, with the real one: the snippet is pasted as it is printed.

use std::fs;
use std::path::Path;

use tollkeeper::enforce::nginx::is_flag;
use tollkeeper::quota::rule::Consequence;

use server::{Answer, Gates, Nginx, TARGET, class, deny, hosts, request, user, verdicts, vhost};
use support::Sandbox;

#[path = "gate_nginx/limits.rs"]
mod limits;
#[path = "gate_nginx/server.rs"]
mod server;
mod support;

const IDN: &str = "xn--k-vha5d9h.example";

#[track_caller]
fn assert_denied(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("Retry-After"), Some("3600"), "{answer:?}");
    assert_eq!(
        answer.header("Cache-Control"),
        Some("no-store"),
        "{answer:?}"
    );
}

#[track_caller]
fn assert_fine(answer: &Answer) {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("X-Site"), Some("theirs"), "{answer:?}");
}

/// Every spelling of `a.example`, its alias `b.example` and an address is refused; no neighbour is.
#[track_caller]
fn assert_closed_in_every_spelling(nginx: &Nginx, status: u16) {
    for host in [
        "a.example",
        "A.ExAmPlE",
        "a.example:80",
        "a.example:",
        "a.example.",
        "A.EXAMPLE.:8080",
        "b.example",
        "B.example.",
        "www.a.example",
        "[::1]",
        "[::1]:8080",
    ] {
        assert_denied(&nginx.ask(host, "/"), status);
        assert_denied(&nginx.ask(host, "/private/"), status);
        assert_denied(&nginx.ask(host, "/not/there?x=1"), status);
    }
    for line in [
        "GET http://a.example/ HTTP/1.1\r\nHost: n.example",
        "GET http://A.example.:99/ HTTP/1.1\r\nHost: n.example",
        "GET http://a.example/ HTTP/1.0",
        "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3",
        "HEAD / HTTP/1.1\r\nHost: a.example",
    ] {
        let request = format!("{line}\r\nConnection: close\r\n\r\nabc");
        assert_denied(&nginx.send(nginx.plain, request.as_bytes()), status);
    }
    for host in ["a.example", "A.Example.", "b.example"] {
        assert_eq!(nginx.ask_http2(host, "/").0, status, "{host}");
    }
    assert_fine(&nginx.ask("n.example", "/"));
    assert_neighbours_are_fine(nginx);
}

#[track_caller]
fn assert_neighbours_are_fine(nginx: &Nginx) {
    for host in [
        "na.example",
        "a.example.org",
        "x.a.example",
        "example",
        "a",
        "[::2]",
        "_",
    ] {
        assert_fine(&nginx.ask(host, "/"));
    }
    assert_eq!(nginx.ask_http2("n.example", "/").0, 200);
    let request = b"GET http://n.example/ HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";
    assert_fine(&nginx.send(nginx.plain, request));
}

#[test]
fn flags_close_and_open_at_once() {
    let sandbox = Sandbox::new();
    let mut gates = Gates::new(&sandbox, true, false);
    let nginx = Nginx::start(
        &sandbox,
        &gates.snippet(&[deny(), Consequence::Deny { status: 451 }], &[]),
    );
    let hosts = hosts(&[("b.example", "a.example")], true);
    // Nobody has made the folder yet.
    assert_fine(&nginx.ask("a.example", "/"));
    for status in [429, 503, 451] {
        let deny = Consequence::Deny { status };
        let closed = ["a.example", "::1", IDN].map(|site| (vhost(site), deny.clone()));
        gates.apply(&verdicts(closed), &hosts);
        assert_closed_in_every_spelling(&nginx, status);
        assert_denied(&nginx.ask(IDN, "/"), status);
        // Its letters, which no browser sends.
        for raw in ["łąkę.example", "ŁĄKĘ.example"] {
            assert_eq!(nginx.ask(raw, "/").status, 400);
        }
        assert_denied(
            &nginx.send(nginx.plain6, &request("a.example", "/", None)),
            status,
        );
    }
    // What is served inside cannot be asked for from outside.
    assert_eq!(nginx.ask("n.example", "/.tollkeeper/deny-429").status, 404);
    gates.apply(&verdicts([]), &hosts);
    for host in ["a.example", "b.example", "www.a.example", "[::1]", IDN] {
        assert_fine(&nginx.ask(host, "/"));
    }
    assert_eq!(nginx.said(), "");
}

#[test]
fn maps_close_and_open_with_a_reload() {
    let sandbox = Sandbox::new();
    let mut gates = Gates::new(&sandbox, false, true);
    let snippet = gates.snippet(
        &[deny(), Consequence::Deny { status: 451 }],
        &[("vi", "::1/128")],
    );
    // There is no file yet.
    let nginx = Nginx::start(&sandbox, &snippet);
    assert_fine(&nginx.ask("a.example", "/"));
    let long = format!("{}.{}.example", "l".repeat(60), "m".repeat(60));
    let under_long = format!("x.{long}");
    let hosts = hosts(
        &[
            ("b.example", "a.example"),
            ("*.w.example", "a.example"),
            ("open.w.example", "n.example"),
            ("*.open.w.example", "n.example"),
            (&format!("{}.w.example", "o".repeat(50)), "n.example"),
            (&format!("*.{long}"), "a.example"),
        ],
        true,
    );
    for status in [429, 503, 451, 450] {
        let deny = Consequence::Deny { status };
        let sites = [
            "a.example",
            "::1",
            IDN,
            &long,
            "default",
            "hostnames",
            "include",
            "volatile",
        ];
        let closed = sites.map(|site| (vhost(site), deny.clone())).into_iter();
        let more = [
            (class("c.example", "vi"), deny.clone()),
            (class("a.example", "vi"), deny.clone()),
            (user("alice", None), deny.clone()),
            (user("bob", Some("d.example")), deny.clone()),
            (user(&"b".repeat(60), Some("a.example")), deny.clone()),
        ];
        gates.apply(&verdicts(closed.chain(more)), &hosts);
        let (is_content, said) = nginx.test();
        assert!(is_content && !said.contains("hash"), "{said}");
        nginx.reload();
        // One that came after the snippet was pasted is refused all the same.
        let status = if status == 450 { 429 } else { status };
        assert_closed_in_every_spelling(&nginx, status);
        for host in [
            IDN,
            &long,
            &under_long,
            "default",
            "hostnames",
            "include",
            "volatile",
        ] {
            assert_denied(&nginx.ask(host, "/"), status);
        }
        for host in [
            "x.w.example",
            "x.y.w.example",
            "X.W.example.:80",
            "closed.w.example",
        ] {
            assert_denied(&nginx.ask(host, "/"), status);
        }
        let left_open = format!("{}.w.example", "o".repeat(50));
        for host in [
            "open.w.example",
            "x.open.w.example",
            "w.example",
            "xw.example",
            &left_open,
        ] {
            assert_fine(&nginx.ask(host, "/"));
        }
        assert_fine(&nginx.ask("c.example", "/"));
        let over6 = |host: &str| nginx.send(nginx.plain6, &request(host, "/", None));
        assert_denied(&over6("c.example"), status);
        assert_fine(&over6("n.example"));
        let ask = |host: &str, user: &str| nginx.ask_as(host, "/private/", Some(user));
        assert_denied(&ask("n.example", "alice"), status);
        assert_denied(&ask("d.example", "bob"), status);
        assert_denied(&ask("www.d.example", "bob"), status);
        assert_fine(&ask("n.example", "bob"));
        assert_fine(&ask("d.example", "carol"));
    }
    gates.apply(&verdicts([]), &hosts);
    nginx.reload();
    for host in ["a.example", "b.example", "x.w.example", IDN, &long] {
        assert_fine(&nginx.ask(host, "/"));
    }
}

#[test]
fn users_and_classes_have_flags_of_their_own() {
    let sandbox = Sandbox::new();
    let mut gates = Gates::new(&sandbox, true, false);
    let classes = [
        ("on campus", "::1"),
        ("others", "192.0.2.0/24"),
        ("..", "198.51.100.0/24"),
    ];
    let nginx = Nginx::start(&sandbox, &gates.snippet(&[deny()], &classes));
    let hosts = hosts(&[("alias.example", "d.example")], false);
    gates.apply(
        &verdicts([
            (user("alice", None), deny()),
            (user("bob", Some("d.example")), deny()),
            (class("c.example", "on campus"), deny()),
            (class("c.example", "others"), deny()),
        ]),
        &hosts,
    );
    let ask = |host: &str, user: &str| nginx.ask_as(host, "/private/", Some(user));
    for host in ["a.example", "d.example", "D.Example.:80"] {
        assert_denied(&ask(host, "alice"), 429);
    }
    for host in ["d.example", "D.Example.:80", "alias.example"] {
        assert_denied(&ask(host, "bob"), 429);
    }
    assert_fine(&ask("a.example", "bob"));
    assert_fine(&ask("d.example", "carol"));
    assert_eq!(nginx.ask("d.example", "/private/").status, 401);
    assert_eq!(ask("d.example", "Alice").status, 401);

    let over6 = |host: &str| nginx.send(nginx.plain6, &request(host, "/", None));
    assert_denied(&over6("c.example"), 429);
    assert_denied(&over6("C.example."), 429);
    assert_fine(&over6("d.example"));
    assert_fine(&nginx.ask("c.example", "/"));

    // No name that a client gives itself finds a file: not of a neighbour, nor anywhere else.
    let flags = gates.config.flags.clone().expect("a folder");
    fs::write(flags.join("secret"), "").expect("a new file");
    fs::create_dir_all(flags.join("user-deny-429/a")).expect("a new folder");
    for user in [
        "../secret",
        "../user-deny-429/alice",
        "./alice",
        "a/../alice",
        "alice\n",
        "alice\0",
    ] {
        let answer = ask("a.example", user);
        assert_ne!(answer.status, 429, "{user:?}");
    }
    assert_fine(&ask("a.example", "../secret"));
    gates.apply(&verdicts([]), &hosts);
    assert_fine(&ask("a.example", "alice"));
    assert_fine(&over6("c.example"));
    assert_eq!(nginx.ask("a.example", "/private/").status, 401);
}

#[test]
fn redirects_say_who_and_why() {
    for (has_flags, has_map) in [(true, false), (false, true)] {
        let sandbox = Sandbox::new();
        let mut gates = Gates::new(&sandbox, has_flags, has_map);
        let redirect = Consequence::Redirect {
            url: TARGET.to_owned(),
        };
        let nginx = Nginx::start(&sandbox, &gates.snippet(&[redirect.clone(), deny()], &[]));
        let closed = [
            (vhost("r.example"), redirect.clone()),
            (user("alice", None), redirect.clone()),
            (user("bob", Some("d.example")), redirect.clone()),
            (vhost("both.example"), redirect),
            (user("carol", Some("both.example")), deny()),
        ];
        gates.apply(&verdicts(closed), &hosts(&[], false));
        if has_map {
            nginx.reload();
        }
        let check = |host: &str, user: Option<&str>, who: &str, site: &str| {
            let answer = nginx.ask_as(host, "/private/?a=b", user);
            assert_eq!(answer.status, 302, "{answer:?}");
            assert_eq!(answer.header("Cache-Control"), Some("no-store"));
            let target = format!(
                "https://panel.example/over?lang=pl&user={who}&quota=q%20%26%201&vhost={site}#top"
            );
            assert_eq!(
                answer.header("Location"),
                Some(target.as_str()),
                "{answer:?}"
            );
        };
        check("r.example", None, "", "r.example");
        check("R.Example.:80", None, "", "r.example");
        check("r.example", Some("alice"), "alice", "r.example");
        check("n.example", Some("alice"), "alice", "n.example");
        check("d.example", Some("bob"), "bob", "d.example");
        assert_fine(&nginx.ask("n.example", "/"));
        // Refusing is worse than sending elsewhere.
        assert_denied(
            &nginx.ask_as("both.example", "/private/", Some("carol")),
            429,
        );
        // Nothing of a client's gets into the header as it is.
        for user in [
            "x\r\nSet-Cookie: a=b",
            "x\nSet-Cookie: a=b",
            "x y",
            "<script>",
            "a&quota=1",
            "alice\n",
        ] {
            check("r.example", Some(user), "", "r.example");
        }
        for host in ["evil\";}", "<script>", "a&b", "n.example%0d%0aSet-Cookie:a"] {
            let answer = nginx.ask_as(host, "/", Some("alice"));
            assert_eq!(answer.status, 302, "{answer:?}");
            assert!(
                answer
                    .header("Location")
                    .is_some_and(|to| to.ends_with("&vhost=#top")),
                "{answer:?}"
            );
            assert_eq!(answer.header("Set-Cookie"), None);
        }
    }
}

fn files_below(folder: &Path, path: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        let below = format!("{path}{}", entry.file_name().to_str().expect("plain names"));
        if entry.file_type().expect("a type").is_dir() {
            files_below(&entry.path(), &format!("{below}/"), found);
        } else {
            found.push(below);
        }
    }
}

#[test]
fn hostile_names_reach_nothing() {
    let sandbox = Sandbox::new();
    let mut gates = Gates::new(&sandbox, true, true);
    let redirect = Consequence::Redirect {
        url: TARGET.to_owned(),
    };
    let evil_url = Consequence::Redirect {
        url: "https://x/\"; } evil".to_owned(),
    };
    let classes = [("\"; } evil", "127.0.0.1")];
    let nginx = Nginx::start(
        &sandbox,
        &gates.snippet(&[deny(), redirect.clone(), evil_url.clone()], &classes),
    );
    let long = "n".repeat(300);
    let hostile = [
        "evil\";}",
        "evil.example\" 1; } include /etc/passwd; map $a $b {",
        "../../etc/passwd",
        "..",
        ".",
        "",
        "evil\nexample",
        "evil\r\nX: y",
        &long,
        "*",
        "*.example",
        "~regex",
        "~^.*$",
        "żółw.example",
        "UPPER.example",
        "$host",
        "${host}",
        "a b",
        "\\",
        "evil\0",
    ];
    let mut closed = Vec::new();
    for name in hostile {
        for consequence in [deny(), redirect.clone()] {
            closed.push((vhost(name), consequence.clone()));
            closed.push((class(name, "\"; } evil"), consequence.clone()));
            closed.push((user(name, None), consequence.clone()));
            closed.push((user(name, Some("n.example")), consequence.clone()));
            closed.push((user("alice", Some(name)), consequence));
        }
    }
    closed.push((vhost("u.example"), evil_url));
    // As a user, UPPER.example is a name like any other.
    let refused = closed.len() / 2 + 1 - 2;
    for applied in gates.apply(&verdicts(closed), &hosts(&[], false)) {
        assert_eq!((applied.standing, applied.refused.len()), (2, refused));
    }
    // And beside them one that is none.
    gates.apply(
        &verdicts([(vhost("a.example"), deny()), (vhost("evil\";}"), deny())]),
        &hosts(&[], false),
    );
    let mut found = Vec::new();
    files_below(&sandbox.path("gate"), "", &mut found);
    found.sort();
    assert_eq!(found, ["nginx.map", "nginx/deny-429/a.example"]);
    assert!(found[1].strip_prefix("nginx/").is_some_and(is_flag));
    let map = fs::read_to_string(sandbox.path("gate/nginx.map")).expect("a map");
    for word in ["evil", "passwd", "regex", "UPPER", "nnnn", "żółw"] {
        assert!(!map.contains(word), "{word} in\n{map}");
    }
    let (is_content, said) = nginx.test();
    assert!(is_content, "{said}");
    nginx.reload();
    assert_denied(&nginx.ask("a.example", "/"), 429);
    for host in [
        "n.example",
        "example",
        "x.example",
        "upper.example",
        "evil\";}",
        "*",
        "~regex",
        "$host",
    ] {
        assert_fine(&nginx.ask(host, "/"));
    }
    for host in ["../../etc/passwd", "a.example\0", "a b"] {
        assert_eq!(nginx.ask(host, "/").status, 400, "{host:?}");
    }
}
