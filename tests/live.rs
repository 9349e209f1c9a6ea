//! Real servers, real clients, and a relay between them: the rows equal the wire, to the byte.

mod support;

use std::collections::BTreeMap;

use support::log::rows as sum;
use support::server::{Kind, PASSWORD, Server};
use support::wire::{Connection, Exchange, Relay, basic, request};
use support::{Balance, Row, Sandbox, append, source, text, wait_until};

/// One connection, and who is to be billed for it.
struct Visit {
    vhost: &'static str,
    user: Option<&'static str>,
    requests: Vec<Vec<u8>>,
}

/// Well-formed traffic. Bytes of what breaks the protocol are another matter: fixtures/README.md.
fn visits() -> Vec<Visit> {
    let mut visits = Vec::new();
    let mut visit = |vhost, user, requests: &[Vec<u8>]| {
        visits.push(Visit {
            vhost,
            user,
            requests: requests.to_vec(),
        });
    };
    let get =
        |target: &str, host: &str, headers: &[&str]| request("GET", target, host, headers, b"");
    for host in ["a.example", "b.example"] {
        visit(host, None, &[get("/index.html", host, &[])]);
        visit(
            host,
            None,
            &[get("/big.bin", host, &["User-Agent: an \"agent\\"])],
        );
    }
    visit("a.example", None, &[get("/index.html", "A.EXAMPLE", &[])]);
    visit("a.example", None, &[get("/empty.bin", "a.example", &[])]);
    visit(
        "b.example",
        None,
        &[get(
            "/missing?query=\"quoted\"",
            "b.example",
            &["Referer: http://x/\"y\""],
        )],
    );
    visit(
        "b.example",
        None,
        &[request("HEAD", "/big.bin", "b.example", &[], b"")],
    );
    visit(
        "b.example",
        None,
        &[get("/index.html", "b.example", &["Range: bytes=10-109"])],
    );
    visit(
        "a.example",
        None,
        &[get(
            "/index.html",
            "a.example",
            &["If-Modified-Since: Fri, 31 Dec 2100 23:59:59 GMT"],
        )],
    );
    visit(
        "a.example",
        None,
        &[request(
            "POST",
            "/upload",
            "a.example",
            &[],
            &[b'u'; 50_000],
        )],
    );
    // One connection, many requests, each after the answer to the one before it.
    visit("a.example", None, &kept_alive());
    for (user, host) in [
        ("alice", "a.example"),
        ("john doe", "a.example"),
        ("żółć", "b.example"),
        ("alice", "b.example"),
    ] {
        let own = get("/private/page.html", host, &[&basic(user, PASSWORD)]);
        visit(host, Some(user), &[own.clone(), own]);
    }
    // Nobody is credited with what is refused.
    visit(
        "a.example",
        None,
        &[get(
            "/private/page.html",
            "a.example",
            &[&basic("alice", "guess")],
        )],
    );
    visit(
        "a.example",
        None,
        &[get(
            "/private/page.html",
            "a.example",
            &[&basic("mallory", PASSWORD)],
        )],
    );
    visit(
        "a.example",
        None,
        &[get("/private/page.html", "a.example", &[])],
    );
    visits
}

/// Requests for one connection.
fn kept_alive() -> Vec<Vec<u8>> {
    let page = request("GET", "/index.html", "a.example", &[], b"");
    let missing = request("GET", "/missing", "a.example", &[], b"");
    let upload = request("POST", "/upload", "a.example", &[], &[b'k'; 5_000]);
    vec![page.clone(), upload.clone(), missing, upload, page]
}

/// What passed, by vhost and user: bytes in, bytes out, requests, bytes of bodies.
type Passed = BTreeMap<(String, Option<String>), [u64; 4]>;

fn go(server: &Server, kind: Kind) -> Passed {
    let relay = Relay::new(server.address);
    let mut passed = Passed::new();
    for visit in visits() {
        // Apache's %I can have a byte too many for later requests of a connection.
        let most = if kind == Kind::Apache { 1 } else { usize::MAX };
        for requests in visit.requests.chunks(most) {
            let Exchange {
                answers,
                bytes_in,
                bytes_out,
            } = relay.exchange(requests);
            let bodies: u64 = answers.iter().map(|answer| answer.body).sum();
            let whose = (visit.vhost.to_owned(), visit.user.map(str::to_owned));
            let sums = passed.entry(whose).or_default();
            let more = [bytes_in, bytes_out, answers.len() as u64, bodies];
            for (sum, more) in sums.iter_mut().zip(more) {
                *sum += more;
            }
        }
    }
    passed
}

/// The rows that this should give, whatever days it took.
fn without_day(rows: &[Row]) -> Vec<Row> {
    let mut sums: BTreeMap<(String, Option<String>), [u64; 3]> = BTreeMap::new();
    for row in rows {
        let sum = sums
            .entry((row.vhost.clone(), row.user.clone()))
            .or_default();
        for (sum, more) in sum
            .iter_mut()
            .zip([row.bytes_in, row.bytes_out, row.requests])
        {
            *sum += more;
        }
    }
    let rows = sums
        .into_iter()
        .map(|((vhost, user), [bytes_in, bytes_out, requests])| Row {
            day: String::new(),
            vhost,
            user,
            bytes_in,
            bytes_out,
            requests,
        });
    rows.collect()
}

fn wait_for_these(sandbox: &Sandbox, expected: &[Row]) {
    wait_until("the rows equal the wire", || {
        let rows = without_day(&sandbox.rows());
        if rows == expected {
            Ok(())
        } else {
            Err((rows, expected.to_vec()))
        }
    });
}

/// Rows for both logs: the exact one has what passed, the combined one bodies alone, for one site.
fn expected(exact: &Passed, combined: &Passed) -> Vec<Row> {
    let mut rows = Vec::new();
    for ((vhost, user), [bytes_in, bytes_out, requests, _]) in exact {
        rows.push(Row {
            day: String::new(),
            vhost: vhost.clone(),
            user: user.clone(),
            bytes_in: *bytes_in,
            bytes_out: *bytes_out,
            requests: *requests,
        });
    }
    for ((_, user), [_, _, requests, bodies]) in combined {
        rows.push(Row {
            day: String::new(),
            vhost: "combined.example".to_owned(),
            user: user.clone(),
            bytes_in: 0,
            bytes_out: *bodies,
            requests: *requests,
        });
    }
    without_day(&rows)
}

#[test]
fn nginx_is_counted_to_the_byte() {
    let sandbox = Sandbox::new();
    let server = Server::start(&sandbox, Kind::Nginx, "");
    let (exact, combined) = (server.log("exact.log"), server.log("combined.log"));
    let format = format!("nginx:{}", Kind::Nginx.recommended());
    let config = sandbox.config(
        &(source(&[&exact], &format, "users = \"verified\"")
            + &source(
                &[&combined],
                "combined",
                "users = \"verified\"\nvhost = \"combined.example\"",
            )),
    );
    let daemon = sandbox.start(&["-c", text(&config)]);
    let passed = go(&server, Kind::Nginx);
    wait_for_these(&sandbox, &expected(&passed, &passed));
    server.stop();
    daemon.stop();
    wait_for_these(&sandbox, &expected(&passed, &passed));
}

#[test]
fn apache_is_counted_to_the_byte() {
    let sandbox = Sandbox::new();
    let server = Server::start(&sandbox, Kind::Apache, "");
    let (exact, combined) = (server.log("exact.log"), server.log("combined.log"));
    let format = format!("apache:{}", Kind::Apache.recommended());
    let config = sandbox.config(
        &(source(&[&exact], &format, "")
            + &source(
                &[&combined],
                &format!("apache:{}", Kind::Apache.combined()),
                "vhost = \"combined.example\"",
            )),
    );
    let daemon = sandbox.start(&["-c", text(&config)]);
    let passed = go(&server, Kind::Apache);
    wait_for_these(&sandbox, &expected(&passed, &passed));
    server.stop();
    daemon.stop();
    wait_for_these(&sandbox, &expected(&passed, &passed));
}

#[test]
fn what_apache_sends_on_a_connection_that_is_kept_alive_is_counted_to_the_byte() {
    let sandbox = Sandbox::new();
    let server = Server::start(&sandbox, Kind::Apache, "");
    let format = format!("apache:{}", Kind::Apache.recommended());
    let config = sandbox.config(&source(&[&server.log("exact.log")], &format, ""));
    let daemon = sandbox.start(&["-c", text(&config)]);
    let requests = kept_alive();
    let passed = Relay::new(server.address).exchange(&requests);
    let row = wait_until("all requests are counted", || {
        let rows = sandbox.rows();
        match rows.as_slice() {
            [row] if row.requests == requests.len() as u64 => Ok(row.clone()),
            _ => Err(rows),
        }
    });
    daemon.stop();
    assert_eq!(row.bytes_out, passed.bytes_out);
    let surplus = row.bytes_in - passed.bytes_in;
    assert!(
        surplus < 2 * row.requests,
        "{surplus} bytes too many in {row:?}"
    );
}

#[test]
fn lighttpd_is_counted_to_the_byte() {
    let sandbox = Sandbox::new();
    // It writes one log for each socket: one server for each format.
    let server = Server::start(&sandbox, Kind::Lighttpd, "exact");
    let other = Server::start(&sandbox, Kind::Lighttpd, "combined");
    let (exact, combined) = (server.log("exact.log"), other.log("combined.log"));
    let format = format!("lighttpd:{}", Kind::Lighttpd.recommended());
    let config = sandbox.config(
        &(source(&[&exact], &format, "")
            + &source(
                &[&combined],
                &format!("lighttpd:{}", Kind::Lighttpd.combined()),
                "vhost = \"combined.example\"",
            )),
    );
    let daemon = sandbox.start(&["-c", text(&config)]);
    let (passed, passed_other) = (go(&server, Kind::Lighttpd), go(&other, Kind::Lighttpd));
    server.write_out();
    other.write_out();
    wait_for_these(&sandbox, &expected(&passed, &passed_other));
    server.stop();
    other.stop();
    daemon.stop();
    wait_for_these(&sandbox, &expected(&passed, &passed_other));
}

#[test]
fn a_named_log_needs_no_config() {
    let sandbox = Sandbox::new();
    let server = Server::start(&sandbox, Kind::Apache, "");
    let format = format!("apache:{}", Kind::Apache.recommended());
    let daemon = sandbox.start(&["--format", &format, text(&server.log("exact.log"))]);
    let passed = go(&server, Kind::Apache);
    let rows = expected(&passed, &Passed::new());
    wait_for_these(&sandbox, &rows);
    daemon.stop();
    server.stop();
}

#[test]
fn what_arrives_while_the_daemon_is_stopped_is_counted_when_it_is_back() {
    let sandbox = Sandbox::new();
    let server = Server::start(&sandbox, Kind::Nginx, "");
    let log = server.log("exact.log");
    let config = sandbox.config(&source(
        &[&log],
        &format!("nginx:{}", Kind::Nginx.recommended()),
        "",
    ));
    let mut connection = Connection::open(server.address);
    let page = request("GET", "/index.html", "a.example", &[], b"");
    for round in 1..=3 {
        connection.ask(&page);
        let daemon = sandbox.start(&["-c", text(&config)]);
        connection.ask(&page);
        wait_until("both are counted", || {
            let requests = sandbox.requests();
            if requests == 2 * round {
                Ok(())
            } else {
                Err(requests)
            }
        });
        daemon.stop();
    }
}

#[test]
fn the_first_and_the_last_line_before_a_stop_are_counted() {
    let sandbox = Sandbox::new();
    let log = sandbox.write("access.log", "");
    let config = sandbox.config(&source(&[&log], support::log::FORMAT, ""));
    let content = support::log::lines(0, 3);
    let daemon = sandbox.start(&["-c", text(&config)]);
    for line in content.split_inclusive('\n') {
        append(&log, line);
    }
    sandbox.wait_for_rows(&sum([content.as_str()]));
    daemon.stop();
    assert_eq!(sandbox.stored_balance(), Balance::counted(3));
}
