//! Quotas of every kind through the whole of the program: lines of real servers in, answers of real
//! servers out.

mod support;
mod webs;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rustix::process::Signal;
use serde_json::{Value, json};
use support::gate::{Nginx, Node, SECONDS, TEN, logged, now, request};
use support::mariadb::{Database, MariaDb};
use support::server::{Kind, PASSWORD};
use support::{Daemon, append, send, source, text, wait_for, wait_until};
use webs::Web;

/// What is asked for where ten thousand bytes are over too soon.
const BIG: usize = 300_000;

/// Runs statements as a panel does.
fn sql(node: &Node, database: Option<&Database<'_>>, statements: &str) {
    match database {
        Some(database) => drop(database.sql(statements)),
        None => {
            let path = node.sandbox.state().join("tollkeeper.db");
            let store = rusqlite::Connection::open(path).expect("the store");
            store.busy_timeout(SECONDS).expect("a number");
            store.execute_batch(statements).expect("it is well formed");
        }
    }
}

/// All of an answer, and the seconds that it took.
fn fetch(address: SocketAddr, request: &[u8]) -> (String, f64) {
    let begin = Instant::now();
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.write_all(request).expect("it reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("it answers");
    let seconds = begin.elapsed().as_secs_f64();
    (String::from_utf8(answer).expect("text"), seconds)
}

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

/// `YYYY-MM-DD HH:MM` so many minutes ago.
fn minutes_ago(minutes: u64) -> String {
    let seconds = i64::try_from(now() - minutes * 60).expect("soon");
    let at = chrono::DateTime::from_timestamp(seconds, 0).expect("a time");
    at.format("%Y-%m-%d %H:%M").to_string()
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

/// Sets the clock of a program.
fn faketime() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").expect("Linux").flatten();
    let mut libraries = folders
        .map(|folder| folder.path().join("faketime/libfaketime.so.1"))
        .chain([PathBuf::from("/usr/lib/faketime/libfaketime.so.1")]);
    let found = libraries.find(|library| library.exists());
    found.expect("libfaketime (tests/run installs it)")
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

/// Clients of a server of whatever kind download until the quota of a site is spent; `ask`: the status
/// of the answer for a host, from which [`TEN`] bytes come where it is served.
fn is_served_until_it_is_spent(node: &Node, ask: impl Fn(&str) -> u16) {
    let mut served = 0;
    wait_until("it is refused", || {
        assert_eq!(ask("b.example"), 200);
        match ask("a.example") {
            429 => Ok(()),
            status => {
                assert_eq!(status, 200);
                served += TEN;
                Err((served, node.used("vhost a.example")))
            }
        }
    });
    assert!(
        served >= 95_000 - 2 * TEN,
        "{served} bytes have not spent it"
    );
    for host in ["A.EXAMPLE", "a.example.", "alias.example", "a.example"] {
        assert_eq!(ask(host), 429, "{host}");
    }
    for host in ["b.example", "aa.example", "a.example.org"] {
        assert_eq!(ask(host), 200, "{host}");
    }
    let used = wait_until("all of it is in the store", || {
        match node.used("vhost a.example") {
            used if used >= served => Ok(used),
            used => Err((used, served)),
        }
    });
    assert!(used >= 95_000);
    node.does(&["quota", "grant", "a.example", "100M"]);
    wait_for("it is served again", || ask("a.example") == 200);
    let standing = node.standing_of("vhost a.example").expect("it has a quota");
    assert_eq!(standing["granted"], 100_000_000);
    assert_eq!(ask("b.example"), 200);
}

/// A quota, beside what a server needs.
fn with_quota(sections: &str) -> String {
    sections.to_owned()
        + r#"
[vhosts]
aliases = { "alias.example" = "a.example" }
[[quota]]
vhost = "a.example"
limit = "95K"
period = "year"
"#
}

fn serve_ten(folder: &Path) {
    let ten = vec![b'x'; usize::try_from(TEN).expect("it is small")];
    fs::write(folder.join("www/ten"), ten).expect("a new file");
}

fn ask_web(web: &Web, host: &str) -> u16 {
    web.ask("/ten", &["-H", &format!("Host: {host}")]).status
}

#[test]
fn apache_serves_until_a_quota_is_spent() {
    let sandbox = support::Sandbox::new();
    let (log, flags) = (
        sandbox.path("server/access.log"),
        sandbox.path("gate/apache"),
    );
    let format = format!("apache:{}", Kind::Apache.recommended());
    let gate = format!("[[gate.apache]]\nflags = {flags:?}\n");
    let sections = with_quota(&(source(&[&log], &format, "") + &gate));
    let node = Node::named("n", sandbox, None, "", "", &sections);
    let snippet = node.does(&["snippet", "apache"]);
    let modules = [
        "mpm_event",
        "authn_core",
        "authz_core",
        "mime",
        "alias",
        "setenvif",
        "env",
        "headers",
        "rewrite",
        "ratelimit",
        "unixd",
        "logio",
        "filter",
        "authz_host",
        "auth_basic",
    ];
    let modules: String = modules
        .iter()
        .map(|name| format!("/usr/lib/apache2/modules/mod_{name}.so"))
        .zip(modules)
        .filter(|(path, _)| Path::new(path).exists())
        .map(|(path, name)| format!("LoadModule {name}_module {path}\n"))
        .collect();
    let web = Web::start(
        &node.sandbox,
        "/usr/sbin/apache2",
        &["-DFOREGROUND", "-f"],
        |folder, port| {
            serve_ten(folder);
            let (text, format) = (text(folder), Kind::Apache.recommended());
            format!(
                "ServerRoot {text}\nDefaultRuntimeDir {text}\nPidFile {text}/apache.pid\n\
                 ErrorLog {text}/error.log\nServerName main.example\nUser www-data\nGroup www-data\n{modules}\
                 StartServers 1\nServerLimit 1\nThreadsPerChild 8\nMaxRequestWorkers 8\n\
                 TypesConfig /dev/null\nListen 127.0.0.1:{port}\n\
                 {format}\nCustomLog {text}/access.log tk\n{snippet}\nDocumentRoot {text}/www\n\
                 <VirtualHost *:{port}>\nServerName b.example\n</VirtualHost>\n\
                 <VirtualHost *:{port}>\nServerName a.example\nServerAlias alias.example\n</VirtualHost>\n\
                 <Directory {text}/www>\nRequire all granted\n</Directory>\n"
            )
        },
    );
    let daemon = node.start();
    is_served_until_it_is_spent(&node, |host| ask_web(&web, host));
    daemon.stop();
}

#[test]
fn lighttpd_serves_until_a_quota_is_spent() {
    let sandbox = support::Sandbox::new();
    let (log, flags) = (
        sandbox.path("server/access.log"),
        sandbox.path("gate/lighttpd"),
    );
    let format = format!("lighttpd:{}", Kind::Lighttpd.recommended());
    let gate = format!("[[gate.lighttpd]]\nflags = {flags:?}\n");
    let sections = with_quota(&(source(&[&log], &format, "") + &gate));
    let node = Node::named("n", sandbox, None, "", "", &sections);
    let snippet = node.does(&["snippet", "lighttpd"]);
    // Two files, of which the second begins where the script does.
    let at = snippet.find("-- ---- ").expect("the script");
    let (config, script) = snippet.split_at(at);
    let web = Web::start(
        &node.sandbox,
        "/usr/sbin/lighttpd",
        &["-D", "-f"],
        |folder, port| {
            serve_ten(folder);
            let (text, format) = (text(folder), Kind::Lighttpd.recommended());
            let path = folder.join("tollkeeper.lua");
            fs::write(&path, script).expect("a new file");
            let config: String = config
                .lines()
                .map(|line| match line.starts_with("magnet.") {
                    true => format!("magnet.attract-raw-url-to = ( {path:?} )\n"),
                    false => format!("{line}\n"),
                })
                .collect();
            format!(
                "server.document-root = \"{text}/www\"\nserver.errorlog = \"{text}/error.log\"\n\
             server.bind = \"127.0.0.1\"\nserver.port = {port}\nserver.modules = ( \"mod_accesslog\" )\n\
             mimetype.assign = ( \"\" => \"text/plain\" )\naccesslog.filename = \"{text}/access.log\"\n\
             {format}\n{config}"
            )
        },
    );
    let daemon = node.start();
    is_served_until_it_is_spent(&node, |host| ask_web(&web, host));
    daemon.stop();
}

/// HAProxy, which answers by itself and says so to the daemon.
struct Haproxy {
    child: Child,
    address: SocketAddr,
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        send(&self.child, Signal::TERM);
        self.child.wait().expect("our own child");
    }
}

#[test]
fn haproxy_serves_until_a_quota_is_spent() {
    let sandbox = support::Sandbox::new();
    let (map, admin) = (sandbox.path("gate/haproxy.map"), sandbox.path("admin.sock"));
    let free = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let syslog = free.local_addr().expect("our own port");
    drop(free);
    let format = r#"log-format "%trg %ST %U %B %Ta %ci %hr %{+Q}r""#;
    let sections = format!(
        "[[source.syslog]]\nname = \"haproxy\"\nlisten = \"udp://{syslog}\"\nformat = '''haproxy:{format}'''\n\
         [[gate.haproxy]]\nmap = {map:?}\nsockets = [{admin:?}]\n"
    );
    let node = Node::named("n", sandbox, None, "", "", &with_quota(&sections));
    let snippet = node.does(&["snippet", "haproxy"]);
    let daemon = node.start();
    // HAProxy does not start without the map.
    wait_for("the map is there", || map.exists());
    let ten = node.sandbox.write(
        "ten",
        vec![b'x'; usize::try_from(TEN).expect("it is small")],
    );
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = free.local_addr().expect("our own port");
    drop(free);
    let config = format!(
        "global\n    stats socket {} mode 600 level admin\n\
         defaults\n    mode http\n    timeout client 30s\n    timeout server 30s\n    timeout connect 5s\n\
         frontend web\n    bind {address}\n    log {syslog} len 65535 format rfc5424 local0\n\
         \x20   capture request header Host len 255\n    {format}\n{snippet}\n\
         \x20   http-request return status 200 content-type text/plain file {}\n",
        text(&admin),
        text(&ten)
    );
    let path = node.sandbox.write("haproxy.cfg", config);
    let said = node.sandbox.path("haproxy.said");
    let child = Command::new("/usr/sbin/haproxy")
        .args(["-db", "-f", text(&path)])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(&said).expect("a new file"))
        .spawn()
        .expect("HAProxy is installed by tests/run");
    let mut haproxy = Haproxy { child, address };
    wait_until("HAProxy listens", || {
        let ended = haproxy.child.try_wait().expect("our own child");
        assert!(ended.is_none(), "{:?}", fs::read_to_string(&said));
        TcpStream::connect(haproxy.address).and(UnixStream::connect(&admin))
    });
    is_served_until_it_is_spent(&node, |host| {
        let (answer, _) = fetch(haproxy.address, &request(host, "/ten", None));
        let status = answer.get(9..12).and_then(|status| status.parse().ok());
        status.unwrap_or_else(|| panic!("{answer:?}"))
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
