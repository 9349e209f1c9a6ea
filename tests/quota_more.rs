//! Quotas of every kind through the whole of the program: lines of real servers in, answers of real
//! servers out.

mod support;

use std::fs;
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};
use support::gate::{
    Nginx, Node, SECONDS, faketime, fetch, logged, minutes_ago, now, request, sql,
};
use support::mariadb::{Database, MariaDb};
use support::server::PASSWORD;
use support::{Daemon, append, text, wait_for, wait_until};

/// What is asked for where ten thousand bytes are over too soon.
const BIG: usize = 300_000;

/// Where an answer leads.
#[track_caller]
fn location(answer: &str) -> &str {
    let mut lines = answer.lines();
    assert!(
        lines.next().unwrap_or_default().contains(" 302 "),
        "{answer}"
    );
    let location = lines.find_map(|line| line.strip_prefix("Location: "));
    location.unwrap_or_else(|| panic!("{answer}"))
}

#[test]
fn quotas_of_all_kinds_stand_beside_each_other() {
    let node = Node::new(
        None,
        "users = \"verified\"",
        r#"
[owner.carol]
vhosts = ["x.example", "y.example"]
[class.campus]
networks = ["127.0.0.2/32"]
[[quota]]
owner = "carol"
class = "campus"
limit = "45K"
period = "year"
exceeded = [{ deny = 503 }]
[[quota]]
vhost = "asked.example"
measure = "requests"
limit = "5"
period = "year"
[[quota]]
user = "alice"
vhosts = ["a.example", "b.example"]
limit = "35K"
period = "year"
[[quota]]
name = "gold"
user = "bob"
limit = "15K"
period = "year"
exceeded = [{ redirect = "https://panel.example/more?lang=en" }]
[[quota]]
name = "tried"
vhost = "tried.example"
limit = "5K"
period = "year"
report_only = true
"#,
    );
    let nginx = Nginx::start(&node);
    let daemon = node.start();

    // A class of an owner: of all its sites together, and of nobody else's clients.
    let campus = Ipv4Addr::new(127, 0, 0, 2);
    let ask_from_campus = |host| nginx.send_from(campus, &request(host, "/ten", None)).status;
    let mut served = 0;
    wait_until("the campus is refused on both", || {
        let seen = ["x.example", "y.example"].map(ask_from_campus);
        served += seen.iter().filter(|status| **status == 200).count();
        if seen == [503; 2] { Ok(()) } else { Err(seen) }
    });
    assert!(served >= 4, "{served} answers have not spent it");
    for host in ["x.example", "y.example"] {
        assert_eq!(nginx.ask(host, "/ten").status, 200, "{host}");
    }
    assert_eq!(ask_from_campus("z.example"), 200);

    // Requests.
    let mut served = 0;
    wait_until("it has been asked too often", || {
        match nginx.ask("asked.example", "/ten").status {
            429 => Ok(()),
            status => {
                served += 1;
                Err(status)
            }
        }
    });
    assert!(served >= 5, "{served} requests have not spent it");

    // A user on two sites.
    let ask = |host, user| nginx.ask_as(host, "/private/ten", (user, PASSWORD)).status;
    let mut served = 0;
    wait_until("she is refused on both", || {
        let seen = ["a.example", "b.example"].map(|host| ask(host, "alice"));
        served += seen.iter().filter(|status| **status == 200).count();
        if seen == [429; 2] { Ok(()) } else { Err(seen) }
    });
    assert!(served >= 3, "{served} answers have not spent it");
    for (host, user) in [("a.example", "bob"), ("c.example", "alice")] {
        assert_eq!(ask(host, user), 200, "{user} at {host}");
    }

    // One who is sent elsewhere.
    wait_until("he is sent elsewhere", || match ask("b.example", "bob") {
        302 => Ok(()),
        status => Err(status),
    });
    let request = request("c.example", "/private/ten", Some(("bob", PASSWORD)));
    let (answer, _) = fetch(nginx.address, &request);
    let led = location(&answer);
    assert!(
        led.starts_with("https://panel.example/more?lang=en&"),
        "{led}"
    );
    let (_, query) = led.split_once("lang=en&").expect("just seen");
    let mut parts: Vec<&str> = query.split('&').collect();
    parts.sort_unstable();
    assert_eq!(&parts[..2], ["quota=gold", "user=bob"], "{led}");

    // One that is only watched.
    for _ in 0..2 {
        assert_eq!(nginx.ask("tried.example", "/ten").status, 200);
    }
    let standing = wait_until("it is seen", || {
        match node.standing_of("vhost tried.example") {
            Some(standing) if standing["verdict"] == "exceeded" => Ok(standing),
            other => Err(other),
        }
    });
    assert_eq!(standing["quota"], "tried");
    wait_for("it is told", || daemon.said().contains("tried.example"));
    assert_eq!(nginx.ask("tried.example", "/ten").status, 200);
    let standing = node.standing();
    assert!(
        !standing.iter().any(|flag| flag.contains("tried")),
        "{standing:?}"
    );
    daemon.stop();
}

#[test]
fn a_ladder_is_climbed_step_by_step() {
    let node = Node::new(
        None,
        "",
        r#"
[[quota]]
name = "steps"
vhost = "a.example"
limit = "10M"
period = "year"
exceeded = [
    { at = 100, speed = "100kB/s" },
    { at = 120, redirect = "https://panel.example/more" },
    { at = 150, deny = 503 },
]
"#,
    );
    let nginx = Nginx::start(&node);
    let big = node.sandbox.path("nginx/www/big");
    fs::write(big, vec![b'x'; BIG]).expect("a new file");
    let daemon = node.start();
    let ask = |host| fetch(nginx.address, &request(host, "/big", None));
    let spend = |bytes| append(&node.log(), logged("a.example", "-", bytes));
    assert!(ask("a.example").1 < 1.0);
    spend(10_000_000);
    wait_for("a flag stands", || !node.standing().is_empty());
    let (answer, seconds) = ask("a.example");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.len() > BIG);
    // Three, within 15 % both ways, and what a busy machine takes.
    assert!((2.55..6.0).contains(&seconds), "{seconds}");
    let (answer, seconds) = ask("b.example");
    assert!(answer.len() > BIG && seconds < 1.5, "{seconds}");
    spend(2_000_000);
    wait_for("it is sent elsewhere", || {
        nginx.ask("a.example", "/ten").status == 302
    });
    let (answer, _) = ask("a.example");
    let led = location(&answer);
    assert!(led.starts_with("https://panel.example/more?"), "{led}");
    for part in ["quota=steps", "vhost=a.example"] {
        assert!(led.contains(part), "{led}");
    }
    assert!(
        answer.to_lowercase().contains("cache-control: no-store"),
        "{answer}"
    );
    spend(3_000_000);
    wait_for("it is refused", || {
        nginx.ask("a.example", "/ten").status == 503
    });
    // And all the way down again.
    node.does(&["quota", "grant", "a.example", "90M"]);
    wait_for("it is served", || {
        nginx.ask("a.example", "/ten").status == 200
    });
    assert!(ask("a.example").1 < 1.5);
    assert_eq!(nginx.ask("b.example", "/ten").status, 200);
    daemon.stop();
}

/// A panel sets and changes quotas, owners and classes in the middle of everything.
fn tables_hold_in_the_middle_of_a_period(database: Option<&Database<'_>>) {
    let node = Node::new(database, "", "");
    let daemon = node.start();
    let spend = |host, bytes| append(&node.log(), logged(host, "-", bytes));
    for host in ["a.example", "b.example", "x.example", "y.example"] {
        spend(host, 7_000);
    }
    for host in ["a.example", "b.example", "x.example", "y.example"] {
        wait_for("it is in the store", || node.reported(host).1 == 7_000);
    }
    let day = chrono::DateTime::from_timestamp(i64::try_from(now()).expect("soon"), 0);
    let begins_midday = !day
        .expect("a time")
        .format("%H:%M")
        .to_string()
        .starts_with("00:");
    let sql = |statements: &str| sql(&node, database, statements);
    let begin = Instant::now();
    sql(&format!(
        "INSERT INTO quota (id, vhost, amount, period) VALUES (1, 'a.example', '5K', 'month');
         INSERT INTO quota (id, vhost, amount, period, anchor) VALUES (2, 'b.example', '5K', '6H', '{}');
         INSERT INTO owner (owner, vhost) VALUES ('carol', 'x.example'), ('carol', 'y.example');
         INSERT INTO class (class, network) VALUES ('near', '127.0.0.0/8');
         INSERT INTO quota (id, owner, amount, period) VALUES (3, 'carol', '10K', 'month');
         INSERT INTO quota (id, vhost, class, amount, period) VALUES (4, '*', 'near', '20K', 'year');",
        minutes_ago(30)
    ));
    // What the period has used already counts, where there are rows.
    for host in ["a.example", "x.example", "y.example"] {
        wait_for("it is closed at once", || node.is_closed(host));
    }
    assert!(begin.elapsed() < SECONDS, "{:?}", begin.elapsed());
    // Where there are none, it is said.
    assert!(!node.is_closed("b.example"));
    if begins_midday {
        let standing = node.standing_of("vhost b.example").expect("it has a quota");
        assert_eq!(
            (&standing["used"], &standing["uncounted"]),
            (&json!(0), &json!(7_000))
        );
        wait_for("the daemon says so", || {
            let said = daemon.said();
            said.lines()
                .any(|line| line.contains("vhost b.example, quota sql:2") && line.contains("7000"))
        });
        assert!(
            !daemon
                .said()
                .contains("vhost a.example, quota sql:1: its period")
        );
    }
    spend("b.example", 5_000);
    wait_for("it is closed", || node.is_closed("b.example"));
    // New lines have the new class.
    spend("z.example", 25_000);
    let flag = node.flags().join("class-deny-429/near/z.example");
    wait_for("the class is refused there", || flag.exists());

    let rows = |by: &str| {
        let ran = node.ran(&["report", "--by", by, "--output", "json"]);
        let Value::Array(rows) = ran.exited(0).json() else {
            panic!("no array");
        };
        rows
    };
    let of = |rows: &[Value], key: &str, name: Value| {
        let row = rows.iter().find(|row| row[key] == name);
        row.map(|row| row["out"].clone())
    };
    wait_until("the report has the class", || {
        let rows = rows("class");
        let sum: u64 = rows
            .iter()
            .filter(|row| row["class"] == "near")
            .filter_map(|row| row["out"].as_u64())
            .sum();
        if sum == 30_000 { Ok(()) } else { Err(rows) }
    });
    assert_eq!(
        of(&rows("owner"), "owner", json!("carol")),
        Some(json!(14_000))
    );
    assert_eq!(
        of(&rows("owner"), "owner", Value::Null),
        Some(json!(44_000))
    );

    // More of it, and less.
    sql(
        "UPDATE quota SET amount = '9K' WHERE id = 1; DELETE FROM owner WHERE vhost = 'y.example';",
    );
    for host in ["a.example", "x.example", "y.example"] {
        wait_for("it is open", || !node.is_closed(host));
    }
    assert_eq!(node.used("owner carol"), 7_000);
    sql("UPDATE quota SET amount = '6K' WHERE id = 1; DELETE FROM class;");
    wait_for("it is closed again", || node.is_closed("a.example"));
    wait_for("without the class there is no quota of it", || {
        !flag.exists()
    });
    let listed = node.ran(&["quota", "list"]).exited(0);
    assert!(
        listed.stderr.contains("table quota, row 4, column class"),
        "{listed:?}"
    );
    daemon.stop();
}

#[test]
fn tables_hold_in_the_middle_of_a_period_with_the_embedded_store() {
    tables_hold_in_the_middle_of_a_period(None);
}

#[test]
fn tables_hold_in_the_middle_of_a_period_with_a_database() {
    tables_hold_in_the_middle_of_a_period(Some(&MariaDb::shared().database()));
}

#[test]
fn slices_open_and_windows_slide_while_nothing_is_asked() {
    const MIDNIGHT: u64 = 1_805_241_600;
    let node = Node::new(
        None,
        "",
        r#"
[[quota]]
vhost = "slice.example"
limit = "2K"
period = "2M"
anchor = "2027-03-16 23:59"
slice = "1M"
[[quota]]
vhost = "soon.example"
limit = "10K"
rolling = "2M"
[[quota]]
vhost = "late.example"
limit = "10K"
rolling = "2M"
reopen = 50
"#,
    );
    let line = |at: u64, host: &str, bytes: u64| {
        let line = logged(host, "-", bytes);
        let (_, rest) = line.split_once('.').expect("a time");
        append(&node.log(), format!("{at}.{rest}"));
    };
    let hosts = ["slice.example", "soon.example", "late.example"];
    let closed = || hosts.map(|host| node.is_closed(host));
    let set_clock = |command: &mut Command, at: &str| {
        command
            .env("LD_PRELOAD", faketime())
            .env("FAKETIME", at)
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("DONT_FAKE_MONOTONIC", "1");
    };
    let run = [&["run"], node.arguments().as_slice()].concat();
    let mut command = node.sandbox.tollkeeper(run);
    set_clock(&mut command, "@2027-03-16 23:59:42");
    let begin = Instant::now();
    let mut daemon = Daemon::of(&node.sandbox, command);
    // Of the two windows, four of ten thousand bytes leave them at midnight.
    for host in ["soon.example", "late.example"] {
        line(MIDNIGHT - 70, host, 4_000);
        line(MIDNIGHT - 18, host, 6_500);
    }
    line(MIDNIGHT - 18, "slice.example", 1_500);
    wait_until("all are closed", || {
        let closed = closed();
        if closed == [true; 3] {
            Ok(())
        } else {
            Err(closed)
        }
    });
    assert!(begin.elapsed().as_secs() < 17, "midnight came first");
    wait_for("the slice opens, and one of the windows", || {
        daemon.assert_running();
        closed() == [false, false, true]
    });
    assert!(begin.elapsed().as_secs() >= 15, "{:?}", begin.elapsed());
    // What was left of the first slice is in the second.
    line(MIDNIGHT + 1, "slice.example", 499);
    line(MIDNIGHT + 1, "soon.example", 4_000);
    wait_for("the window is full again", || {
        closed() == [false, true, true]
    });
    line(MIDNIGHT + 2, "slice.example", 1);
    wait_for("the second slice is spent", || closed() == [true; 3]);
    let list = [
        &["quota", "list", "--output", "json"],
        node.arguments().as_slice(),
    ]
    .concat();
    wait_until("it is all in the store", || {
        let mut command = node.sandbox.tollkeeper(&list);
        set_clock(&mut command, "@2027-03-17 00:00:30");
        let output = command.output().expect("it runs");
        let rows: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let mut seen = Vec::new();
        for row in rows.as_array().expect("an array") {
            seen.push((
                row["account"].clone(),
                row["used"].clone(),
                row["limit"].clone(),
            ));
        }
        let expected = [
            ("vhost late.example", 6_500, 10_000),
            ("vhost slice.example", 2_000, 2_000),
            ("vhost soon.example", 10_500, 10_000),
        ];
        let expected =
            expected.map(|(account, used, limit)| (json!(account), json!(used), json!(limit)));
        seen.sort_by_key(|row| row.0.to_string());
        if seen == expected { Ok(()) } else { Err(seen) }
    });
    daemon.stop();
}

#[test]
fn check_says_what_each_quota_comes_to() {
    let quotas = r#"
[owner.carol]
vhosts = ["x.example", "y.example"]
[class.campus]
networks = ["127.0.0.2/32"]
[[quota]]
name = "steps"
vhost = "a.example"
limit = "100G"
period = "month"
billing_day = 15
warn = [80, 95]
exceeded = [{ at = 100, speed = "1Mbps" }, { at = 120, redirect = "https://p.example/" }, { at = 150, deny = 503 }]
[[quota]]
name = "window"
owner = "carol"
class = "campus"
measure = "requests"
limit = "1000"
rolling = "90M"
report_only = true
[[quota]]
name = "hers"
user = "alice"
vhosts = ["a.example", "b.example"]
measure = "both"
limit = "4G"
period = "4W"
slice = "1W"
exceeded = []
"#;
    for (users, counts) in [("claimed", false), ("none", false), ("verified", true)] {
        let node = Node::new(None, &format!("users = {users:?}"), quotas);
        let said = node.does(&["check"]);
        for expected in [
            "quota \"steps\": the site a.example may send 100 GB a month, from day 15 on; warns at 80 %, 95 %; \
             from 100 % on each response is slowed down to 125 kB a second; from 120 % on requests are sent to \
             https://p.example/; from 150 % on requests are refused with 503\n",
            "quota \"window\": the owner carol with its 2 sites, for clients of the class campus, may answer 1000 requests",
            "quota \"hers\": the user alice on a.example and b.example together may send and receive 4.00 GB together \
             in each 28 days, counted from 2024-01-01 00:00, of which each 7 days open a share; closes nothing\n",
        ] {
            assert!(said.contains(expected), "{expected}\n{said}");
        }
        let never = said.contains("quota \"hers\" never counts anything");
        assert_eq!(never, !counts, "{users}: {said}");
        assert!(!said.contains("no quota closes anything"), "{said}");
    }
    let sandbox = support::Sandbox::new();
    let config =
        sandbox.config("[[quota]]\nvhost = \"a.example\"\nlimit = \"1G\"\nperiod = \"day\"\n");
    let said = sandbox.ran(["check", "-c", text(&config)]).exited(0).stdout;
    assert!(said.contains("no quota closes anything"), "{said}");
}

#[test]
fn a_grant_of_a_window_holds_as_long_as_the_window_is() {
    let node = Node::new(
        None,
        "",
        "[[quota]]\nvhost = \"a.example\"\nlimit = \"10K\"\nrolling = \"2H\"\n",
    );
    let daemon = node.start();
    let spend = |bytes| append(&node.log(), logged("a.example", "-", bytes));
    spend(10_000);
    wait_for("it is closed", || node.is_closed("a.example"));
    node.wait_for_use("vhost a.example", 10_000);
    let before = now();
    let said = node.does(&["quota", "grant", "a.example", "5K"]);
    let until = (before..=now()).map(|at| {
        let at = chrono::DateTime::from_timestamp(i64::try_from(at).expect("soon") + 7_200, 0);
        at.expect("a time")
            .format("until %Y-%m-%d %H:%M")
            .to_string()
    });
    assert!(until.clone().any(|until| said.contains(&until)), "{said}");
    wait_for("it is open", || !node.is_closed("a.example"));
    let standing = node.standing_of("vhost a.example").expect("it has a quota");
    assert_eq!(
        (&standing["limit"], &standing["granted"]),
        (&json!(15_000), &json!(5_000))
    );
    assert_eq!(standing["ends"], Value::Null);
    spend(4_999);
    node.wait_for_use("vhost a.example", 14_999);
    assert!(!node.is_closed("a.example"));
    spend(1);
    wait_for("it is closed again", || node.is_closed("a.example"));
    daemon.stop();
}

#[test]
fn nodes_agree_within_two_intervals() {
    const INTERVAL: u64 = 6;
    let database = MariaDb::shared().database();
    let nodes = ["n1", "n2"].map(|name| {
        let quota = "[[quota]]\nvhost = \"*\"\nlimit = \"100K\"\nperiod = \"year\"\n";
        let sandbox = support::Sandbox::new();
        let node = Node::named(name, sandbox, Some(&database), "", "", quota);
        let path = node.sandbox.path("tollkeeper.toml");
        let config = fs::read_to_string(&path).expect("our own file");
        let longer = format!("report_interval = \"{INTERVAL}s\"");
        fs::write(&path, config.replace("report_interval = \"1s\"", &longer))
            .expect("our own file");
        node
    });
    let daemons = nodes.each_ref().map(Node::start);
    for node in &nodes {
        node.wait_for_status("it has weighed", |status| {
            !status["quotas"]["weighed"].is_null()
        });
    }
    // Neither alone has spent it, so each has to hear of the other.
    let begin = Instant::now();
    for node in &nodes {
        append(&node.log(), logged("a.example", "-", 60_000));
    }
    wait_for("both are closed", || {
        nodes.iter().all(|node| node.is_closed("a.example"))
    });
    let took = begin.elapsed().as_secs_f64();
    // Less than three of them, on a machine that is busy with other tests.
    let most = (INTERVAL * 2) as f64 + 4.0;
    assert!(took < most, "{took}");
    for daemon in daemons {
        daemon.stop();
    }
}

/// The blocks of a page that are fenced as SQL and change something.
fn statements(page: &str) -> Vec<String> {
    let path = support::repository().join(page);
    let page = fs::read_to_string(path).expect("a page of the documentation");
    let blocks = page.split("```sql\n").skip(1);
    let blocks = blocks.map(|block| block.split("```").next().unwrap_or_default().to_owned());
    blocks
        .filter(|block| !block.to_lowercase().starts_with("create"))
        .collect()
}

#[test]
fn the_sql_of_the_documentation_is_understood() {
    let database = MariaDb::shared().database();
    for database in [None, Some(&database)] {
        let node = Node::new(database, "users = \"verified\"", "");
        node.does(&["store", "init"]);
        let blocks = statements("docs/quotas.md");
        assert_eq!(blocks.len(), 2, "{blocks:?}");
        // Before the lines that change and delete what those above have made.
        let (made, changed) = blocks[0]
            .split_once("-- more, less, none")
            .expect("it is there");
        sql(&node, database, made);
        let listed = |expected: &[&str]| {
            let ran = node.ran(&["quota", "list", "--output", "json"]).exited(0);
            assert_eq!(ran.stderr, "", "{database:?}");
            let rows = ran.json();
            let rows = rows.as_array().expect("an array").iter();
            let seen: Vec<String> = rows
                .map(|row| format!("{} {}", row["quota"], row["account"]).replace('"', ""))
                .collect();
            assert_eq!(seen, expected);
        };
        listed(&[
            "sql:1 vhost example.org",
            "sql:3 user alice",
            "sql:4 owner carol",
            "sql:5 class crawlers of example.org",
        ]);
        sql(&node, database, &blocks[1]);
        let shown = node.does(&["quota", "show", "example.org", "--output", "json"]);
        let shown: Value = serde_json::from_str(&shown).expect("JSON");
        assert_eq!(
            shown[0]["limit"]
                .as_u64()
                .map(|limit| limit % 5_000_000_000),
            Some(0)
        );
        sql(&node, database, changed);
        let shown = node.does(&["quota", "show", "example.org", "--output", "json"]);
        assert!(shown.contains("\"quota\":\"sql:1\""), "{shown}");
        listed(&[
            "sql:1 vhost example.org",
            "sql:3 user alice",
            "sql:4 owner carol",
            "sql:5 class crawlers of example.org",
        ]);
    }
}

#[test]
fn there_is_a_snippet_without_a_gate_and_one_for_each() {
    let sandbox = support::Sandbox::new();
    let quota = "[[quota]]\nvhost = \"a.example\"\nlimit = \"1G\"\nperiod = \"day\"\n\
                 exceeded = [{ deny = 503 }]\n";
    let config = sandbox.config(quota);
    for (server, place) in [
        ("nginx", "gate/nginx"),
        ("apache", "gate/apache"),
        ("lighttpd", "gate/lighttpd"),
        ("haproxy", "gate/haproxy.map"),
    ] {
        let ran = sandbox
            .ran(["snippet", server, "-c", text(&config)])
            .exited(0);
        let place = format!("/var/lib/tollkeeper/{place}");
        assert!(ran.stdout.contains(&place), "{server}: {ran:?}");
        assert!(ran.stdout.contains("503"), "{server}: {ran:?}");
        assert!(
            ran.stderr.contains("the config has no gate of this server"),
            "{ran:?}"
        );
    }
    let gates = ["one", "two"].map(|name| {
        let flags = sandbox.path(format!("gate/{name}"));
        let other = sandbox.path(format!("gate/{name}-lighttpd"));
        format!("[[gate.apache]]\nflags = {flags:?}\n[[gate.lighttpd]]\nflags = {other:?}\n")
    });
    let config = sandbox.config(&(gates.concat() + quota));
    for (server, ending) in [("apache", ""), ("lighttpd", "-lighttpd")] {
        let ran = sandbox
            .ran(["snippet", server, "-c", text(&config)])
            .exited(0);
        assert_eq!(ran.stderr, "");
        for name in ["one", "two"] {
            let flags = sandbox.path(format!("gate/{name}{ending}"));
            assert!(ran.stdout.contains(text(&flags)), "{server}: {ran:?}");
        }
    }
}

#[test]
fn check_says_who_can_read_a_gate() {
    use std::os::unix::fs::PermissionsExt as _;
    let passwd = fs::read_to_string("/etc/passwd").expect("Linux");
    assert!(
        passwd.contains("www-data:"),
        "the web servers of Debian have a user"
    );
    let node = Node::new(None, "", "");
    let flags = node.flags();
    assert!(
        node.does(&["check"])
            .contains("is not there yet; the daemon makes it")
    );
    let daemon = node.start();
    wait_for("the folder is there", || flags.is_dir());
    daemon.stop();
    let said = node.does(&["check"]);
    let line = said.lines().find(|line| line.contains(": can be read by "));
    assert!(line.is_some_and(|line| line.contains("www-data")), "{said}");
    let folder = node.sandbox.path("gate");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).expect("our own folder");
    let said = node.does(&["check"]);
    assert!(said.contains("www-data cannot read it"), "{said}");
    assert!(
        said.contains(&format!("{} keeps it out", text(&folder))),
        "{said}"
    );
}
