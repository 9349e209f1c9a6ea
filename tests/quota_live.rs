//! Quotas as people live with them: clients of a real nginx that spend them, operators who grant and
//! forgive, panels that write rows, and nodes that share a database.

mod support;

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::thread;
use std::time::Instant;

use rustix::process::Signal;
use serde_json::{Value, json};
use support::gate::{Answer, Nginx, Node, SECONDS, faketime, logged, minutes_ago, request, sql};
use support::mariadb::{Database, MariaDb};
use support::server::{Kind, PASSWORD};
use support::{Daemon, Sandbox, append, text, wait_for, wait_until};

/// A client that goes on until it is refused.
#[derive(Debug, Default, Clone, Copy)]
struct Spent {
    bytes_in: u64,
    bytes_out: u64,
}

impl Spent {
    fn add(&mut self, answer: Answer) -> u16 {
        self.bytes_in += answer.bytes_in;
        self.bytes_out += answer.bytes_out;
        answer.status
    }

    /// Asks until the answer has this status.
    #[track_caller]
    fn until(&mut self, status: u16, mut ask: impl FnMut() -> Answer) {
        wait_until(&format!("the answer is a {status}"), || {
            let seen = self.add(ask());
            if seen == status { Ok(()) } else { Err(seen) }
        });
    }

    fn with(mut self, answer: Answer) -> Self {
        self.add(answer);
        self
    }

    fn both(&self) -> u64 {
        self.bytes_in + self.bytes_out
    }
}

#[test]
fn a_site_is_served_until_its_quota_is_spent_and_its_neighbour_on_and_on() {
    let database = MariaDb::shared().database();
    for database in [None, Some(&database)] {
        let node = Node::new(
            database,
            "",
            r#"
[vhosts]
aliases = { "alias.example" = "a.example" }
[[quota]]
vhost = "a.example"
limit = "95K"
period = "year"
"#,
        );
        let nginx = Nginx::start(&node);
        let workers = nginx.workers();
        let daemon = node.start();
        let (mut site, mut neighbour) = (Spent::default(), Spent::default());
        site.until(429, || {
            assert_eq!(neighbour.add(nginx.ask("b.example", "/ten")), 200);
            nginx.ask("a.example", "/ten")
        });
        assert!(site.bytes_out > 95_000, "{site:?}: nothing had been spent");
        let port = nginx.address.port();
        for host in ["A.Example", "a.example.", "alias.example", "ALIAS.example"] {
            for host in [host.to_owned(), format!("{host}:{port}")] {
                assert_eq!(site.add(nginx.ask(&host, "/ten")), 429, "{host}");
            }
        }
        let absolute =
            b"GET http://a.EXAMPLE/ten HTTP/1.1\r\nHost: b.example\r\nConnection: close\r\n\r\n";
        assert_eq!(site.add(nginx.send(absolute)), 429);
        for host in ["b.example", "aa.example", "a.example.example", "a"] {
            let answer = nginx.ask(host, "/ten");
            assert_eq!(answer.status, 200, "{host}");
            if host == "b.example" {
                neighbour.add(answer);
            }
        }
        assert_eq!(nginx.workers(), workers, "there was no reload");
        node.wait_for_use("vhost a.example", site.bytes_out);
        assert_eq!(node.reported("a.example"), (site.bytes_in, site.bytes_out));
        let (bytes_in, bytes_out) = (neighbour.bytes_in, neighbour.bytes_out);
        wait_until("the neighbour is counted, too", || {
            let reported = node.reported("b.example");
            if reported == (bytes_in, bytes_out) {
                Ok(())
            } else {
                Err(reported)
            }
        });
        let shown = node.does(&["quota", "show", "a.example", "--output", "json"]);
        let shown: Value = serde_json::from_str(&shown).expect("JSON");
        assert_eq!(shown[0]["used"], site.bytes_out);
        assert_eq!(shown[0]["verdict"], "exceeded");
        assert!(
            !node
                .ran(&["quota", "show", "b.example"])
                .stdout
                .contains("b.example")
        );
        // What is on disk outlives the daemon.
        daemon.stop();
        assert_eq!(nginx.ask("a.example", "/ten").status, 429);
    }
}

/// Grants, resets, exemptions and rows of tables, each seen by the clients.
fn operators_open_and_close(database: Option<&Database<'_>>) {
    let node = Node::new(
        database,
        "",
        "[[quota]]\nname = \"a\"\nvhost = \"a.example\"\nlimit = \"40K\"\nperiod = \"year\"\n",
    );
    let nginx = Nginx::start(&node);
    let daemon = node.start();
    let mut spent = Spent::default();
    let site = |path: &'static str| nginx.ask("a.example", path);
    spent.until(429, || site("/ten"));

    let begin = Instant::now();
    node.does(&["quota", "grant", "a.example", "60K"]);
    // Whoever asks meanwhile spends what is granted: to be refused counts as well.
    wait_for("it is open", || !node.is_closed("a.example"));
    spent.until(200, || site("/ten"));
    assert!(begin.elapsed() < SECONDS, "{:?}", begin.elapsed());
    let before = spent.bytes_out;
    spent.until(429, || site("/ten"));
    assert!(spent.bytes_out > 100_000, "{before}: {spent:?}");

    // All that was used is forgiven; what was granted still holds.
    node.wait_for_use("vhost a.example", spent.bytes_out);
    let forgiven = spent.bytes_out;
    node.does(&["quota", "reset", "a.example"]);
    wait_for("it is open", || !node.is_closed("a.example"));
    spent.until(200, || site("/ten"));
    let standing = node.standing_of("vhost a.example").expect("it has a quota");
    assert_eq!(standing["limit"], 100_000);
    let before = spent.bytes_out;
    spent.until(429, || site("/ten"));
    assert!(spent.bytes_out - before > 80_000, "{before}: {spent:?}");
    assert_eq!(
        wait_until("all is in the store", || {
            let out = node.reported("a.example").1;
            if out == spent.bytes_out {
                Ok(out)
            } else {
                Err(out)
            }
        }),
        spent.bytes_out,
        "what is billed is never forgiven"
    );

    // What would open nothing does not say that it did.
    for (arguments, code, said) in [
        (["--until", "2020-01-31"], 2, "that day is over"),
        (["--quota", "typo"], 1, "no quota is called \"typo\""),
    ] {
        let arguments = [&["quota", "exempt", "a.example"], &arguments[..]].concat();
        let ran = node.ran(&arguments).exited(code);
        assert!(ran.stderr.contains(said), "{ran:?}");
    }
    node.does(&["quota", "exempt", "a.example"]);
    spent.until(200, || site("/ten"));
    for _ in 0..5 {
        assert_eq!(spent.add(site("/ten")), 200);
    }
    // It still counts.
    node.wait_for_use("vhost a.example", spent.bytes_out - forgiven);
    node.does(&["quota", "exempt", "a.example", "--end"]);
    spent.until(429, || site("/ten"));

    // A panel.
    let mut other = Spent::default();
    assert_eq!(other.add(nginx.ask("b.example", "/ten")), 200);
    let begin = Instant::now();
    sql(
        &node,
        database,
        "INSERT INTO quota (vhost, amount, period) VALUES ('b.example', '5K', 'year');",
    );
    other.until(429, || nginx.ask("b.example", "/ten"));
    assert!(begin.elapsed() < SECONDS, "{:?}", begin.elapsed());
    sql(
        &node,
        database,
        "INSERT INTO quota (vhost, amount, period) VALUES ('c.example', '5', 'year');",
    );
    let names_the_fault = |status: &Value| {
        let faults = status["quotas"]["faults"].as_array();
        let faults = faults.expect("a list").iter();
        faults.filter_map(Value::as_str).any(|fault| {
            fault.contains("table quota, row 2, column amount")
                && fault.contains("the unit is missing")
        })
    };
    node.wait_for_status("the fault is named", names_the_fault);
    let listed = node.ran(&["quota", "list"]).exited(0);
    assert!(
        listed.stderr.contains("table quota, row 2, column amount"),
        "{listed:?}"
    );
    assert!(listed.stdout.contains("sql:1"), "{listed:?}");
    for (host, status) in [("a.example", 429), ("b.example", 429), ("c.example", 200)] {
        assert_eq!(nginx.ask(host, "/ten").status, status, "{host}");
    }
    // Also by a daemon that finds it there.
    daemon.stop();
    let daemon = node.start();
    node.wait_for_status("the fault is named again", names_the_fault);
    assert_eq!(nginx.ask("b.example", "/ten").status, 429);
    sql(&node, database, "DELETE FROM quota;");
    other.until(200, || nginx.ask("b.example", "/ten"));
    let status = node.wait_for_status("no fault is left", |status| {
        status["quotas"]["faults"] == json!([])
    });
    assert_eq!(status["quotas"]["in_force"], 1);
    assert_eq!(nginx.ask("a.example", "/ten").status, 429);
    daemon.stop();
}

#[test]
fn operators_open_and_close_with_the_embedded_store() {
    operators_open_and_close(None);
}

#[test]
fn operators_open_and_close_with_a_database() {
    operators_open_and_close(Some(&MariaDb::shared().database()));
}

#[test]
fn owners_and_classes_have_quotas_of_their_own() {
    let node = Node::new(
        None,
        "",
        r#"
[owner.dembol]
vhosts = ["xyz.example", "aga.example"]
[class.campus]
networks = ["127.0.0.2/32"]
[[quota]]
owner = "dembol"
limit = "55K"
period = "year"
[[quota]]
vhost = "c.example"
class = "campus"
limit = "35K"
period = "year"
exceeded = [{ at = 100, deny = 503 }]
"#,
    );
    let nginx = Nginx::start(&node);
    let daemon = node.start();
    // Each of the two alone has not spent it.
    let (mut xyz, mut aga) = (Spent::default(), Spent::default());
    wait_until("both are refused", || {
        let seen = [
            xyz.add(nginx.ask("xyz.example", "/ten")),
            aga.add(nginx.ask("aga.example", "/ten")),
        ];
        if seen == [429, 429] {
            Ok(())
        } else {
            Err(seen)
        }
    });
    assert!(xyz.bytes_out + aga.bytes_out > 55_000);
    assert_eq!(nginx.ask("z.example", "/ten").status, 200);
    node.wait_for_use("owner dembol", xyz.bytes_out + aga.bytes_out);

    let campus = Ipv4Addr::new(127, 0, 0, 2);
    let asked = request("c.example", "/ten", None);
    let (mut inside, mut outside) = (Spent::default(), Spent::default());
    inside.until(503, || {
        assert_eq!(outside.add(nginx.send(&asked)), 200);
        nginx.send_from(campus, &asked)
    });
    assert_eq!(outside.add(nginx.send(&asked)), 200);
    let elsewhere = nginx.send_from(campus, &request("z.example", "/ten", None));
    assert_eq!(elsewhere.status, 200);
    node.wait_for_use("class campus of c.example", inside.bytes_out);
    daemon.stop();
}

#[test]
fn owners_and_classes_may_stand_in_tables() {
    let node = Node::new(None, "", "");
    let daemon = node.start();
    node.wait_for_status("it runs", |status| status["state"] == "running");
    sql(
        &node,
        None,
        "INSERT INTO owner (owner, vhost) VALUES ('carol', 'x.example'), ('carol', 'y.example');
         INSERT INTO class (class, network) VALUES ('crawlers', '127.0.0.0/8');
         INSERT INTO quota (owner, amount, period) VALUES ('carol', '10K', 'year');
         INSERT INTO quota (vhost, class, amount, measure, period, exceeded) VALUES \
         ('*', 'crawlers', '5', 'requests', 'year', 'deny 503');",
    );
    node.wait_for_status("they are in force", |status| {
        status["quotas"]["in_force"] == 2
    });
    append(&node.log(), logged("x.example", "-", 6_000));
    append(&node.log(), logged("y.example", "-", 6_000));
    wait_for("both are closed", || {
        node.is_closed("x.example") && node.is_closed("y.example")
    });
    let flag = node.flags().join("class-deny-503/crawlers/z.example");
    wait_for("the class is closed", || {
        append(&node.log(), logged("z.example", "-", 10));
        flag.exists()
    });
    assert!(
        !node
            .flags()
            .join("class-deny-503/crawlers/x.example")
            .exists()
    );
    assert!(!node.is_closed("z.example"));
    // The next snippet knows the class and the status.
    let nginx = Nginx::start(&node);
    assert_eq!(nginx.ask("z.example", "/ten").status, 503);
    assert_eq!(nginx.ask("x.example", "/ten").status, 429);
    assert_eq!(nginx.ask("other.example", "/ten").status, 200);
    sql(&node, None, "DELETE FROM owner WHERE vhost = 'x.example';");
    wait_for("the rest is within", || {
        !node.is_closed("x.example") && !node.is_closed("y.example")
    });
    daemon.stop();
}

#[test]
fn what_is_imported_counts_for_a_daemon_that_runs() {
    // From days, and from minutes.
    let quota = |site, period: &str| {
        format!("[[quota]]\nvhost = \"{site}\"\nlimit = \"10K\"\nperiod = {period}\n")
    };
    let minutes = format!("\"6H\"\nanchor = \"{}\"", minutes_ago(60));
    let quotas = quota("a.example", "\"year\"") + &quota("m.example", &minutes);
    let node = Node::new(None, "", &quotas);
    let daemon = node.start();
    for site in ["a.example", "m.example"] {
        append(&node.log(), logged(site, "-", 9_000));
        node.wait_for_use(&format!("vhost {site}"), 9_000);
        assert!(!node.is_closed(site));
    }
    let other = node.sandbox.write(
        "other.log",
        ["a.example", "m.example"]
            .map(|site| logged(site, "-", 1_000))
            .concat(),
    );
    let format = format!("nginx:{}", Kind::Nginx.recommended());
    node.does(&["import", "--format", &format, text(&other)]);
    for site in ["a.example", "m.example"] {
        wait_for(&format!("{site} is closed"), || node.is_closed(site));
    }
    daemon.stop();
}

#[test]
fn users_have_quotas_where_the_server_checks_their_passwords() {
    for users in ["verified", "claimed"] {
        let node = Node::new(
            None,
            &format!("users = \"{users}\""),
            r#"
[[quota]]
user = "alice"
limit = "45K"
measure = "both"
period = "year"
[[quota]]
user = "carol"
vhosts = ["a.example", "b.example"]
limit = "25K"
period = "year"
[[quota]]
vhost = "marker.example"
limit = "1K"
period = "year"
"#,
        );
        let nginx = Nginx::start(&node);
        let daemon = node.start();
        let ask = |host, user, password| nginx.ask_as(host, "/private/ten", (user, password));
        let mut alice = Spent::default();
        // Whoever does not know the password spends nothing of hers.
        for _ in 0..300 {
            assert_eq!(ask("a.example", "alice", "wrong").status, 401);
        }
        for number in 0..8 {
            let host = ["a.example", "b.example"][number % 2];
            let answer = ask(host, "alice", PASSWORD);
            match answer.status {
                200 => drop(alice.add(answer)),
                429 if users == "verified" && alice.both() >= 45_000 => {}
                other => panic!("{other} after {alice:?}, {users}"),
            }
        }
        // What she asks for elsewhere does not count.
        for host in [
            "never.example",
            "never.example",
            "never.example",
            "a.example",
            "b.example",
        ] {
            assert_eq!(ask(host, "carol", PASSWORD).status, 200, "{host}");
        }
        let carol = ask("a.example", "carol", PASSWORD);
        assert_eq!(carol.status, 200);
        // All of that has been read when this is closed.
        Spent::default().until(429, || nginx.ask("marker.example", "/ten"));
        if users == "claimed" {
            assert_eq!(ask("a.example", "alice", PASSWORD).status, 200);
            assert_eq!(node.used("user alice"), 0);
            assert!(!node.standing().iter().any(|flag| flag.contains("alice")));
            daemon.stop();
            continue;
        }
        for host in ["a.example", "b.example", "never.example"] {
            assert_eq!(ask(host, "alice", PASSWORD).status, 429, "{host}");
            assert_eq!(ask(host, "bob", PASSWORD).status, 200, "{host}");
            assert_eq!(nginx.ask(host, "/ten").status, 200, "{host}");
            // Nobody spends what she gets next by being refused in her name.
            assert_eq!(ask(host, "alice", "wrong").status, 429, "{host}");
        }
        for (host, status) in [
            ("a.example", 429),
            ("b.example", 429),
            ("never.example", 200),
        ] {
            assert_eq!(ask(host, "carol", PASSWORD).status, status, "{host}");
        }
        node.wait_for_use("user carol", 3 * carol.bytes_out);
        node.wait_for_use("user alice", alice.both());
        daemon.stop();
        assert_eq!(node.used("user alice"), alice.both());
    }
}

/// Fifteen seconds before midnight, on some day in the middle of a month, three sites have spent their
/// quotas. `hang`: what happens to the store before midnight.
fn midnight<H>(database: Option<&Database<'_>>, hang: impl Fn() -> H) {
    const MIDNIGHT: u64 = 1_805_241_600;
    let hosts = ["day.example", "minute.example", "month.example"];
    let quotas = hosts
        .iter()
        .zip(["day", "1M", "month"])
        .map(|(vhost, period)| {
            format!("[[quota]]\nvhost = \"{vhost}\"\nlimit = \"1K\"\nperiod = \"{period}\"\n")
        });
    let node = Node::new(database, "", &quotas.collect::<String>());
    let line = |at: u64, host: &str| {
        let line = logged(host, "-", 2_000);
        let (_, rest) = line.split_once('.').expect("a time");
        append(&node.log(), format!("{at}.{rest}"));
    };
    let closed = || hosts.map(|host| node.is_closed(host));
    let run = [&["run"], node.arguments().as_slice()].concat();
    let mut command = node.sandbox.tollkeeper(run);
    command
        .env("LD_PRELOAD", faketime())
        .env("FAKETIME", "@2027-03-16 23:59:45")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("DONT_FAKE_MONOTONIC", "1");
    let begin = Instant::now();
    let mut daemon = Daemon::of(&node.sandbox, command);
    for host in hosts {
        line(MIDNIGHT - 15, host);
    }
    wait_for("all are closed", || closed() == [true; 3]);
    wait_for("all is in the store", || node.reported(hosts[0]).1 == 2_000);
    let held = hang();
    assert!(begin.elapsed().as_secs() < 14, "midnight came first");
    wait_for("midnight has come", || {
        daemon.assert_running();
        closed() == [false, false, true]
    });
    assert!(begin.elapsed().as_secs() >= 13, "{:?}", begin.elapsed());
    // A line that comes late is of yesterday.
    line(MIDNIGHT - 1, hosts[0]);
    line(MIDNIGHT, hosts[1]);
    wait_for("the new minute is spent", || {
        closed() == [false, true, true]
    });
    drop(held);
    daemon.stop();
}

#[test]
fn a_new_period_opens_the_gates() {
    thread::scope(|scope| {
        scope.spawn(|| midnight(None, || ()));
        let database = MariaDb::shared().database();
        // The daemon waits for rows that nobody gives it.
        let lock = "LOCK TABLES bandwidth WRITE;";
        midnight(Some(&database), || {
            database.server.hold(&database.name, lock)
        });
    });
}

fn part_of_a_day_is_exact(database: Option<&Database<'_>>) {
    let quota = format!(
        "[[quota]]\nvhost = \"a.example\"\nlimit = \"200K\"\nperiod = \"6H\"\nanchor = \"{}\"\n",
        minutes_ago(60)
    );
    let node = Node::new(database, "", &quota);
    let nginx = Nginx::start(&node);
    let mut spent = Spent::default();
    for round in 0..6 {
        let daemon = node.start();
        for _ in 0..3 {
            assert_eq!(spent.add(nginx.ask("a.example", "/ten")), 200);
        }
        match round % 3 {
            // At once, in the middle of things, or when all is in the store.
            0 => daemon.kill(),
            1 => {
                wait_for("some of it is in the store", || {
                    node.used("vhost a.example") > 0
                });
                assert_eq!(spent.add(nginx.ask("a.example", "/ten")), 200);
                daemon.kill();
            }
            _ => daemon.stop(),
        }
    }
    assert_eq!(node.used("vhost a.example"), spent.bytes_out);
    let daemon = node.start();
    assert!(spent.bytes_out > 200_000 || !node.is_closed("a.example"));
    spent.until(429, || nginx.ask("a.example", "/ten"));
    assert!(spent.bytes_out > 200_000, "{spent:?}");
    daemon.kill();
    let daemon = node.start();
    node.wait_for_use("vhost a.example", spent.bytes_out);
    assert_eq!(nginx.ask("a.example", "/ten").status, 429);
    daemon.stop();
}

#[test]
fn part_of_a_day_is_exact_after_restarts_and_kills() {
    part_of_a_day_is_exact(None);
}

#[test]
fn part_of_a_day_is_exact_in_a_database() {
    part_of_a_day_is_exact(Some(&MariaDb::shared().database()));
}

/// What a hook was told, in its order.
fn told(path: &Path) -> Vec<Value> {
    let told = fs::read_to_string(path).unwrap_or_default();
    // A last line may be on its way.
    let whole = told.rfind('\n').map_or("", |end| &told[..end]);
    let lines = whole.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// A hook that keeps what it is told.
fn hook(sandbox: &Sandbox) -> String {
    let told = sandbox.path("told");
    let script = format!("cat >> {}", text(&told));
    format!("[hook]\ncommand = [\"/bin/sh\", \"-c\", \"{script}\"]\n")
}

fn count(told: &[Value], account: &str, threshold: u64) -> usize {
    let is_it = |one: &&Value| one["account"] == account && one["threshold"] == threshold;
    told.iter().filter(is_it).count()
}

#[test]
fn a_hook_is_told_once_of_each_threshold() {
    let sandbox = Sandbox::new();
    let hook = hook(&sandbox);
    let quota = "[[quota]]\nvhost = \"*\"\nlimit = \"30K\"\nperiod = \"year\"\nwarn = [50]\n";
    let node = Node::named("n1", sandbox, None, "", "", &(hook + quota));
    let path = node.sandbox.path("told");
    let mut daemon = node.start();
    let spend = |host: &str, bytes: u64| {
        append(&node.log(), logged(host, "-", bytes));
    };
    spend("a.example", 16_000);
    let warned = wait_until("it is told of the warning", || {
        match told(&path).as_slice() {
            [one] => Ok(one.clone()),
            other => Err(other.to_vec()),
        }
    });
    for (key, expected) in [
        ("quota", json!("vhost * year out 30K")),
        ("account", json!("vhost a.example")),
        ("measure", json!("out")),
        ("was", json!("within")),
        ("verdict", json!("warned")),
        ("threshold", json!(50)),
        ("consequence", Value::Null),
        ("used", json!(16_000)),
        ("limit", json!(30_000)),
        ("percent", json!(53)),
        ("granted", json!(0)),
        ("exempt", json!(false)),
    ] {
        assert_eq!(warned[key], expected, "{key} of {warned}");
    }
    for key in ["begins", "ends", "at"] {
        let time = warned[key].as_str().expect("a time");
        chrono::DateTime::parse_from_rfc3339(time).expect("a time");
    }
    spend("a.example", 16_000);
    let closed = wait_until("it is told of the closing", || {
        match told(&path).as_slice() {
            [_, two] => Ok(two.clone()),
            other => Err(other.to_vec()),
        }
    });
    assert_eq!(closed["was"], "warned");
    assert_eq!(closed["verdict"], "exceeded");
    assert_eq!(closed["consequence"], json!({ "deny": 429 }));
    // Neither more of it nor a new life is news.
    for (round, host) in ["b.example", "c.example"].into_iter().enumerate() {
        spend("a.example", 1_000);
        node.wait_for_use("vhost a.example", 33_000 + 1_000 * round as u64);
        match round {
            0 => daemon.kill(),
            _ => daemon.stop(),
        }
        daemon = node.start();
        spend(host, 40_000);
        let account = format!("vhost {host}");
        wait_until("another one is told of", || {
            let told = told(&path);
            if count(&told, &account, 100) == 1 {
                Ok(())
            } else {
                Err(told)
            }
        });
    }
    let told = told(&path);
    for threshold in [50, 100] {
        assert_eq!(count(&told, "vhost a.example", threshold), 1, "{told:?}");
    }
    daemon.stop();
}

#[test]
fn nodes_share_quotas_and_one_of_them_tells() {
    let database = MariaDb::shared().database();
    let nodes: Vec<Node> = ["n1", "n2"]
        .into_iter()
        .map(|name| {
            let sandbox = Sandbox::new();
            let hook = hook(&sandbox);
            let quota = "[[quota]]\nvhost = \"*\"\nlimit = \"100K\"\nperiod = \"year\"\n";
            Node::named(name, sandbox, Some(&database), "", "", &(hook + quota))
        })
        .collect();
    let servers: Vec<Nginx> = nodes.iter().map(Nginx::start).collect();
    let daemons: Vec<Daemon> = nodes.iter().map(Node::start).collect();
    for node in &nodes {
        node.wait_for_status("it runs", |status| status["state"] == "running");
    }
    let mut spent = Spent::default();
    for _ in 0..5 {
        for nginx in &servers {
            assert_eq!(spent.add(nginx.ask("a.example", "/ten")), 200);
        }
    }
    assert!(spent.bytes_out > 100_000);
    let begin = Instant::now();
    wait_until("both are closed", || {
        let closed: Vec<bool> = nodes
            .iter()
            .map(|node| node.is_closed("a.example"))
            .collect();
        if closed == [true; 2] {
            Ok(())
        } else {
            Err(closed)
        }
    });
    // Two intervals of a second, and what a busy machine takes.
    assert!(begin.elapsed() < SECONDS, "{:?}", begin.elapsed());
    for nginx in &servers {
        assert_eq!(spent.add(nginx.ask("a.example", "/ten")), 429);
        assert_eq!(nginx.ask("b.example", "/ten").status, 200);
    }
    nodes[0].wait_for_use("vhost a.example", spent.bytes_out);

    // What either is told of afterwards.
    let told = |node: &Node| told(&node.sandbox.path("told"));
    for (number, nginx) in servers.iter().enumerate() {
        let host = format!("marker-{number}.example");
        Spent::default().until(429, || nginx.ask(&host, "/ten"));
        for node in &nodes {
            wait_for("both are closed to the marker", || node.is_closed(&host));
        }
        let account = format!("vhost {host}");
        wait_until("it is told of", || {
            let all = nodes.iter().map(|node| count(&told(node), &account, 100));
            let all: Vec<usize> = all.collect();
            if all.iter().sum::<usize>() == 1 {
                Ok(())
            } else {
                Err(all)
            }
        });
    }
    for account in ["vhost a.example", "vhost marker-0.example"] {
        let all = nodes.iter().map(|node| count(&told(node), account, 100));
        assert_eq!(all.sum::<usize>(), 1, "{account}");
    }
    let noted = database.sql("SELECT COUNT(*) FROM tollkeeper_told WHERE percent = 100");
    assert_eq!(noted, "3");
    for daemon in daemons {
        daemon.stop();
    }
}

#[test]
fn the_table_of_mod_leech_is_added_to_and_obeyed() {
    let database = MariaDb::shared().database();
    database.sql(
        "CREATE TABLE users (user VARCHAR(32) NOT NULL PRIMARY KEY, logins BIGINT, bytes BIGINT, \
         maxlogins BIGINT, maxbytes BIGINT); \
         INSERT INTO users (user, bytes, maxbytes) VALUES \
         ('alice', 7, 45000), ('bob', NULL, NULL), ('zero', 0, 0);",
    );
    let node = Node::named(
        "n",
        Sandbox::new(),
        Some(&database),
        "users_table = \"users\"\n",
        "users = \"verified\"",
        "",
    );
    let grants = node.does(&["store", "grants"]);
    let (_, counting) = grants.split_once(";\n").expect("several statements");
    database.sql(counting);
    let nginx = Nginx::start(&node);
    let daemon = node.start();
    let ask = |user| nginx.ask_as("a.example", "/private/ten", (user, PASSWORD));
    let (mut alice, mut bob) = (Spent::default(), Spent::default());
    wait_until("she is refused", || {
        assert_eq!(bob.add(ask("bob")), 200);
        let answer = ask("alice");
        match answer.status {
            200 => Err(alice.add(answer)),
            _ => Ok(()),
        }
    });
    assert_eq!(ask("alice").status, 429);
    assert!(alice.bytes_out > 45_000 - 7, "{alice:?}");
    let row = |user: &str| {
        database.sql(&format!(
            "SELECT bytes, logins, maxlogins, maxbytes FROM users WHERE user = '{user}'"
        ))
    };
    wait_until("the table has it all", || {
        let rows = [row("alice"), row("bob")];
        let expected = [
            format!("{}\tNULL\tNULL\t45000", alice.bytes_out + 7),
            format!("{}\tNULL\tNULL\tNULL", bob.bytes_out),
        ];
        if rows == expected {
            Ok(())
        } else {
            Err((rows, expected))
        }
    });
    // 0 is no limit either.
    database.sql("UPDATE users SET maxbytes = 0 WHERE user = 'bob'");
    database.sql("UPDATE users SET bytes = 0 WHERE user = 'alice'");
    alice = wait_until("she may again", || {
        let answer = ask("alice");
        match answer.status {
            200 => Ok(Spent::default().with(answer)),
            other => Err(other),
        }
    });
    assert_eq!(bob.add(ask("bob")), 200);
    daemon.kill();
    let daemon = node.start();
    wait_until("exactly that is in the table", || {
        let rows = [row("alice"), row("bob")];
        let expected = [
            format!("{}\tNULL\tNULL\t45000", alice.bytes_out),
            format!("{}\tNULL\tNULL\t0", bob.bytes_out),
        ];
        if rows == expected {
            Ok(())
        } else {
            Err((rows, expected))
        }
    });
    assert_eq!(database.sql("SELECT COUNT(*) FROM users"), "3");
    assert_eq!(row("zero"), "0\tNULL\tNULL\t0");
    daemon.stop();
}

#[test]
fn what_the_snippet_prints_is_what_nginx_accepts() {
    let sandbox = Sandbox::new();
    let map = sandbox.path("gate/nginx.map");
    let sections = format!("[[gate.nginx]]\nmap = {map:?}\n");
    let node = Node::named(
        "n",
        sandbox,
        None,
        "",
        "",
        &(sections
            + r#"
[class."VIP clients"]
networks = ["10.0.0.0/8", "2001:db8::/32"]
[[quota]]
vhost = "a.example"
limit = "10K"
period = "month"
exceeded = [{ at = 100, speed = "1Mbps" }, { at = 150, redirect = "https://panel.example/over?x=1&y=%20" }, { at = 200, deny = 503 }]
[[quota]]
vhost = "*"
class = "VIP clients"
name = "hostile \"; } $x"
limit = "1K"
period = "month"
exceeded = [{ at = 100, redirect = "https://panel.example/vip" }, { at = 110, deny = 451 }]
"#),
    );
    // Of two gates there are two pieces; the first is pasted.
    let both = node.does(&["snippet", "nginx"]);
    let pieces = both.matches("# 1. Into http { }").count();
    assert_eq!(pieces, 2, "{both}");
    let nginx = Nginx::start_with(&node, |snippet| {
        let at = snippet.rfind("# 1. Into http { }").expect("two pieces");
        snippet[..at].to_owned()
    });
    assert_eq!(nginx.ask("b.example", "/ten").status, 200);
    let daemon = node.start();
    let append = |bytes| {
        append(&node.log(), logged("a.example", "-", bytes));
    };
    append(15_500);
    // Not before: what is served would count.
    wait_for("it is closed", || !node.standing().is_empty());
    wait_for("it is sent away", || {
        nginx.ask("a.example", "/ten").status == 302
    });
    append(5_500);
    wait_for("it is refused", || {
        nginx.ask("a.example", "/ten").status == 503
    });
    daemon.stop();
}

#[test]
fn a_signal_takes_a_quota_from_the_config() {
    let node = Node::new(
        None,
        "",
        "[[quota]]\nvhost = \"a.example\"\nlimit = \"25K\"\nperiod = \"year\"\n",
    );
    let nginx = Nginx::start(&node);
    let daemon = node.start();
    let mut spent = Spent::default();
    spent.until(429, || nginx.ask("a.example", "/ten"));
    let path = node.sandbox.path("tollkeeper.toml");
    let config = fs::read_to_string(&path).expect("our own file");
    fs::write(&path, config.replace("25K", "90K")).expect("our own file");
    daemon.signal(Signal::HUP);
    wait_for("it is open", || !node.is_closed("a.example"));
    spent.until(200, || nginx.ask("a.example", "/ten"));
    spent.until(429, || nginx.ask("a.example", "/ten"));
    assert!(spent.bytes_out > 90_000, "{spent:?}");
    let aliased = "[vhosts]\naliases = { \"b.example\" = \"a.example\" }\n[[quota]]";
    let other = config.replace("25K", "90K").replace("[[quota]]", aliased);
    assert_eq!(nginx.ask("b.example", "/ten").status, 200);
    fs::write(&path, other).expect("our own file");
    daemon.signal(Signal::HUP);
    wait_for("the alias is refused", || {
        nginx.ask("b.example", "/ten").status == 429
    });
    fs::write(&path, config.replace("25K", "no limit at all")).expect("our own file");
    daemon.signal(Signal::HUP);
    wait_for("it is refused", || daemon.said().contains("is not used"));
    assert_eq!(nginx.ask("a.example", "/ten").status, 429);
    let (start, _) = config.split_once("[[quota]]").expect("there is one");
    fs::write(&path, start).expect("our own file");
    daemon.signal(Signal::HUP);
    spent.until(200, || nginx.ask("a.example", "/ten"));
    fs::write(&path, &config).expect("our own file");
    daemon.signal(Signal::HUP);
    spent.until(429, || nginx.ask("a.example", "/ten"));
    daemon.stop();
    // Also where a quota goes while no daemon runs.
    fs::write(&path, start).expect("our own file");
    let daemon = node.start();
    spent.until(200, || nginx.ask("a.example", "/ten"));
    daemon.stop();
}
