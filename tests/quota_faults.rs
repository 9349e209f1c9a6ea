//! Gates while something is broken: the database, the daemon, the folder of flags, a hook, and clients
//! who call themselves what they like.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde_json::Value;
use support::gate::{Nginx, Node, SECONDS, logged};
use support::mariadb::{Database, MariaDb};
use support::proxy::{Harm, Proxy, When};
use support::{Random, Sandbox, append, pack, text, wait_for, wait_for_moment, wait_until};
use tollkeeper::config::MysqlUrl;

/// Every site on its own.
const EVERY_SITE: &str = "[[quota]]\nvhost = \"*\"\nlimit = \"1K\"\nperiod = \"year\"\n";

/// Lines in the log of a node.
fn spend(node: &Node, host: &str, bytes: u64) {
    append(&node.log(), logged(host, "-", bytes));
}

#[track_caller]
fn wait_for_closed(node: &Node, sites: &[&str]) {
    let expected: BTreeSet<String> = sites
        .iter()
        .map(|site| format!("deny-429/{site}"))
        .collect();
    wait_until("exactly these are closed", || {
        let standing = node.standing();
        match standing == expected {
            true => Ok(()),
            false => Err((standing, expected.clone())),
        }
    });
}

/// Whether the rows of the store have been weighed by this daemon.
fn is_weighed(status: &Value) -> bool {
    status["quotas"]["weighed"].is_i64() && status["quotas"]["error"].is_null()
}

#[test]
fn a_database_that_is_away_opens_nothing_and_keeps_nothing_open() {
    let server = MariaDb::start(&[]);
    let database = server.database();
    let node = Node::new(Some(&database), "", EVERY_SITE);
    let daemon = node.start();
    spend(&node, "a.example", 2_000);
    spend(&node, "b.example", 600);
    spend(&node, "open.example", 600);
    wait_for_closed(&node, &["a.example"]);
    node.wait_for_use("vhost open.example", 600);

    server.kill();
    let away = |status: &Value| status["quotas"]["error"].is_string();
    node.wait_for_status("it says that the database is away", away);
    // What this node counts is added to what it knew of the others.
    spend(&node, "b.example", 600);
    wait_for_closed(&node, &["a.example", "b.example"]);

    // The same, and it starts while the database is away.
    daemon.kill();
    let daemon = node.start();
    wait_for("it waits", || {
        daemon.said().contains("waiting until the store is there")
    });
    assert_eq!(node.standing().len(), 2, "{:?}", node.standing());
    server.begin();
    node.wait_for_status("all is known", is_weighed);
    spend(&node, "c.example", 2_000);
    wait_for_closed(&node, &["a.example", "b.example", "c.example"]);
    for (site, used) in [("a", 2_000), ("b", 1_200), ("c", 2_000), ("open", 600)] {
        node.wait_for_use(&format!("vhost {site}.example"), used);
    }
    node.does(&["quota", "reset", "a.example"]);
    wait_for_closed(&node, &["b.example", "c.example"]);

    // One that goes away and comes back under a daemon.
    server.kill();
    spend(&node, "d.example", 2_000);
    wait_for_closed(&node, &["b.example", "c.example", "d.example"]);
    server.begin();
    node.wait_for_use("vhost d.example", 2_000);
    spend(&node, "a.example", 2_000);
    let mut closed = vec!["a.example", "b.example", "c.example", "d.example"];
    wait_for_closed(&node, &closed);

    // One that hangs.
    node.wait_for_use("vhost a.example", 2_000);
    server.signal(Signal::STOP);
    spend(&node, "e.example", 2_000);
    closed.push("e.example");
    wait_for_closed(&node, &closed);
    daemon.kill();
    let mut daemon = node.start();
    leave_flag(&node, "old.example");
    spend(&node, "f.example", 2_000);
    // Longer than it takes to start.
    wait_for_moment(Instant::now() + Duration::from_secs(1));
    daemon.assert_running();
    wait_for_closed(&node, &[&closed[..], &["old.example"]].concat());
    server.signal(Signal::CONT);
    closed.push("f.example");
    wait_for_closed(&node, &closed);
    node.wait_for_use("vhost e.example", 2_000);
    daemon.stop();
}

/// Makes a flag as an earlier life has left it.
fn leave_flag(node: &Node, site: &str) {
    let folder = node.flags().join("deny-429");
    fs::create_dir_all(&folder).expect("our own folder");
    fs::write(folder.join(site), "").expect("a new file");
}

#[test]
fn at_a_start_nothing_opens_before_all_usage_is_known() {
    let database = MariaDb::shared().database();
    // Rows of minutes alone are locked: the daemon starts, and does not come to know what was used.
    let quota = EVERY_SITE.replace("year", "6H");
    let node = Node::new(Some(&database), "", &quota);
    let daemon = node.start();
    spend(&node, "a.example", 2_000);
    spend(&node, "half.example", 600);
    wait_for_closed(&node, &["a.example"]);
    node.wait_for_use("vhost half.example", 600);
    daemon.kill();

    leave_flag(&node, "old.example");
    let held = database
        .server
        .hold(&database.name, "LOCK TABLES bandwidth_minute WRITE;");
    let daemon = node.start();
    // Meanwhile lines are read, and what they spend closes.
    spend(&node, "new.example", 2_000);
    wait_for_closed(&node, &["a.example", "new.example", "old.example"]);
    // Half was spent before: that is not known yet.
    spend(&node, "half.example", 600);
    spend(&node, "later.example", 2_000);
    wait_for_closed(
        &node,
        &["a.example", "later.example", "new.example", "old.example"],
    );
    let status = node.status().expect("it answers");
    assert!(!is_weighed(&status), "{status}");
    drop(held);
    wait_for_closed(
        &node,
        &["a.example", "half.example", "later.example", "new.example"],
    );
    daemon.stop();
}

/// What was summed and not stored when the daemon was killed is in the log alone.
#[test]
fn a_crash_opens_nothing_for_a_moment() {
    let sandbox = Sandbox::new();
    let told = sandbox.path("told");
    let script = format!("cat >> {}", text(&told));
    let hook = format!("[hook]\ncommand = [\"/bin/sh\", \"-c\", \"{script}\"]\n");
    let node = Node::named("n", sandbox, None, "", "", &(hook + EVERY_SITE));
    let path = node.sandbox.path("tollkeeper.toml");
    let config = fs::read_to_string(&path).expect("our own file");
    let config = config.replace("report_interval = \"1s\"", "report_interval = \"1h\"");
    fs::write(&path, config).expect("our own file");
    spend(&node, "first.example", 1);
    let daemon = node.start();
    // The first rows are stored at once, all others in an hour.
    node.wait_for_use("vhost first.example", 1);
    // Much is to be read again before the line that closes the gate.
    let filler = logged("filler.example", "-", 0).repeat(50_000);
    append(&node.log(), filler + &logged("a.example", "-", 2_000));
    wait_for_closed(&node, &["a.example"]);
    daemon.kill();
    assert_eq!(node.used("vhost a.example"), 0, "it has been stored");
    let flag = || {
        let flag = node.flags().join("deny-429/a.example").metadata();
        let flag = flag.expect("it is closed");
        (flag.ino(), flag.mtime(), flag.mtime_nsec())
    };
    let before = flag();
    let daemon = node.start();
    node.wait_for_status("it has weighed what is stored", is_weighed);
    spend(&node, "b.example", 2_000);
    wait_for_closed(&node, &["a.example", "b.example"]);
    assert_eq!(flag(), before, "it was opened, and closed again");
    wait_until("it is told of", || {
        let told = fs::read_to_string(&told).unwrap_or_default();
        if told.contains("vhost b.example") {
            Ok(())
        } else {
            Err(told)
        }
    });
    let told = fs::read_to_string(&told).expect("it was told");
    assert!(!told.contains("\"verdict\":\"within\""), "{told}");
    daemon.stop();
    assert_eq!(node.used("vhost a.example"), 2_000);
}

/// A rotation that is being packed is read once it is whole, which one that was cut off never is.
#[test]
fn an_archive_that_was_cut_off_keeps_no_gate_closed() {
    let node = Node::new(None, "", EVERY_SITE);
    spend(&node, "a.example", 2_000);
    let daemon = node.start();
    wait_for_closed(&node, &["a.example"]);
    node.wait_for_use("vhost a.example", 2_000);
    daemon.kill();

    spend(&node, "b.example", 2_000);
    let whole = pack("gz", &fs::read(node.log()).expect("our own file"));
    let cut = &whole[..whole.len() - 9];
    let archive = node.log().with_extension("log.1.gz");
    fs::write(&archive, cut).expect("our own folder");
    fs::remove_file(node.log()).expect("our own file");
    spend(&node, "c.example", 2_000);
    leave_flag(&node, "old.example");
    let daemon = node.start();
    wait_for("it waits for the rest", || {
        daemon.said().contains("access.log.1.gz")
    });
    wait_for_closed(&node, &["a.example", "c.example"]);
    // It comes after all.
    append(&archive, &whole[cut.len()..]);
    wait_for_closed(&node, &["a.example", "b.example", "c.example"]);
    node.wait_for_use("vhost b.example", 2_000);
    daemon.stop();
    assert_eq!(node.used("vhost a.example"), 2_000);
}

#[test]
fn a_store_that_is_locked_at_a_start_opens_nothing() {
    let node = Node::new(None, "", EVERY_SITE);
    let daemon = node.start();
    spend(&node, "a.example", 2_000);
    wait_for_closed(&node, &["a.example"]);
    node.wait_for_use("vhost a.example", 2_000);
    daemon.stop();
    leave_flag(&node, "old.example");
    let path = node.sandbox.state().join("tollkeeper.db");
    let store = rusqlite::Connection::open(path).expect("the store");
    store.busy_timeout(SECONDS).expect("a number");
    let lock = "PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE;";
    store.execute_batch(lock).expect("nobody else has it");
    let mut daemon = node.start();
    // Longer than it takes to start.
    wait_for_moment(Instant::now() + Duration::from_secs(2));
    daemon.assert_running();
    assert!(node.is_closed("a.example") && node.is_closed("old.example"));
    drop(store);
    wait_for_closed(&node, &["a.example"]);
    node.wait_for_status("all is known", is_weighed);
    daemon.stop();
}

/// All but one byte of a limit is spent, by two nodes, while commits fail in every way and a node is
/// killed: a byte that were counted twice, for a moment only, would close the gate.
#[test]
fn what_is_on_its_way_into_the_store_is_counted_once() {
    const LIMIT: u64 = 1_000_000;
    let database = MariaDb::shared().database();
    let proxy = Proxy::start(database.server.port);
    let through_proxy = Database {
        server: database.server,
        name: database.name.clone(),
        url: MysqlUrl {
            port: proxy.port,
            ..database.url.clone()
        },
    };
    let quota = "[[quota]]\nvhost = \"just.example\"\nlimit = \"1M\"\nperiod = \"6H\"\n";
    let node = |name, database| Node::named(name, Sandbox::new(), Some(database), "", "", quota);
    let (first, second) = (node("n1", &through_proxy), node("n2", &database));
    let one = first.start();
    let mut two = second.start();
    let mut spent = 0;
    for round in 0..9 {
        let harm = [Harm::CutBefore, Harm::CutDuring, Harm::CutAfter][round % 3];
        proxy.plan(When::Commit, harm);
        wait_for("a commit is cut off", || {
            for node in [&first, &second] {
                let lines = logged("just.example", "-", 300).repeat(3);
                append(&node.log(), lines);
                spent += 900;
            }
            proxy.is_done()
        });
        if round % 3 == 1 {
            two.kill();
            two = second.start();
        }
    }
    assert!(spent < LIMIT, "{spent}");
    spend(&first, "just.example", LIMIT - 1 - spent);
    for node in [&first, &second] {
        node.wait_for_use("vhost just.example", LIMIT - 1);
        spend(node, "just.example", 0);
        assert_eq!(node.standing(), BTreeSet::new());
    }
    // By then both have weighed all of it.
    let snapshot = |node: &Node| {
        node.status()
            .map(|status| status["quotas"]["weighed"].as_i64())
    };
    for node in [&first, &second] {
        let before = snapshot(node).expect("it answers");
        node.wait_for_status("it is weighed again", |status| {
            status["quotas"]["weighed"].as_i64() > before
        });
        assert_eq!(node.standing(), BTreeSet::new());
    }
    let told = "SELECT COUNT(*) FROM tollkeeper_told WHERE percent = 100";
    assert_eq!(database.sql(told), "0", "{}\n{}", one.said(), two.said());
    spend(&second, "just.example", 1);
    for node in [&first, &second] {
        wait_for_closed(node, &["just.example"]);
    }
    assert_eq!(database.sql(told), "1");
    one.stop();
    two.stop();
}

/// A gate of JSON beside the flags.
fn json_gate(sandbox: &Sandbox) -> (PathBuf, String) {
    let path = sandbox.path("closed.json");
    let section = format!("[[gate.json]]\npath = {path:?}\n");
    (path, section)
}

/// The sites in it; `None`: it is not there. Never anything that is no JSON.
fn sites_in(path: &Path) -> Option<BTreeSet<String>> {
    let content = fs::read_to_string(path).ok()?;
    let json: Value =
        serde_json::from_str(&content).unwrap_or_else(|error| panic!("{error}: {content}"));
    let closed = json["closed"].as_array().expect("a list");
    let sites = closed.iter().filter_map(|gate| gate["vhost"].as_str());
    Some(sites.map(str::to_owned).collect())
}

/// What the status says of the gate that fails.
fn failing(status: &Value) -> Vec<String> {
    let gates = status["gates"].as_array().expect("a list").iter();
    gates
        .filter(|gate| gate["error"].is_string())
        .map(|gate| format!("{}: {}", gate["name"], gate["error"]))
        .collect()
}

#[test]
fn a_folder_that_cannot_be_written_is_named_and_holds_up_nobody() {
    let sandbox = Sandbox::new();
    let (json, section) = json_gate(&sandbox);
    let node = Node::named("n", sandbox, None, "", "", &(section + EVERY_SITE));
    // A file where the folder should be.
    node.sandbox.write("gate/nginx", "in the way");
    let daemon = node.start();
    spend(&node, "a.example", 2_000);
    let status = node.wait_for_status("the gate is named", |status| failing(status).len() == 1);
    assert!(failing(&status)[0].contains("gate/nginx"), "{status}");
    wait_for("the other gate is told", || {
        sites_in(&json).is_some_and(|sites| sites.contains("a.example"))
    });
    fs::remove_file(node.flags()).expect("our own file");
    wait_for_closed(&node, &["a.example"]);
    node.wait_for_status("all is well", |status| failing(status).is_empty());
    let said = daemon.said();
    assert_eq!(said.matches("looking into").count(), 1, "said once: {said}");
    daemon.stop();
}

/// A file system of memory; gone with the value.
struct Mounted(PathBuf);

impl Mounted {
    /// `None`: this machine does not let us.
    fn new(path: &Path, options: &str) -> Option<Self> {
        fs::create_dir_all(path).expect("our own folder");
        let mounted = Self(path.to_owned());
        match mounted.mount(&format!("mode=755,{options}")) {
            true => Some(mounted),
            false => {
                std::mem::forget(mounted);
                eprintln!("nothing can be mounted here: that part is left out");
                None
            }
        }
    }

    fn mount(&self, options: &str) -> bool {
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(&self.0);
        mount.output().is_ok_and(|output| output.status.success())
    }

    fn remount(&self, options: &str) {
        assert!(self.mount(&format!("remount,{options}")), "{options}");
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

#[test]
fn a_folder_that_is_full_or_read_only_is_told_as_soon_as_it_can_be() {
    let sandbox = Sandbox::new();
    let (json, section) = json_gate(&sandbox);
    let node = Node::named("n", sandbox, None, "", "", &(section + EVERY_SITE));
    // The root, `nginx`, `deny-429`, three flags.
    let Some(mounted) = Mounted::new(&node.sandbox.path("gate"), "size=64k,nr_inodes=6") else {
        return;
    };
    let daemon = node.start();
    spend(&node, "a.example", 2_000);
    wait_for_closed(&node, &["a.example"]);

    mounted.remount("ro");
    spend(&node, "b.example", 2_000);
    let status = node.wait_for_status("it is named", |status| failing(status).len() == 1);
    assert!(failing(&status)[0].contains("Read-only"), "{status}");
    wait_for("the other gate is told", || {
        sites_in(&json).is_some_and(|sites| sites.contains("b.example"))
    });
    mounted.remount("rw");
    wait_for_closed(&node, &["a.example", "b.example"]);
    node.wait_for_status("all is well", |status| failing(status).is_empty());

    let sites: Vec<String> = (0..20).map(|number| format!("s{number}.example")).collect();
    for site in &sites {
        spend(&node, site, 2_000);
    }
    let status = node.wait_for_status("it is named", |status| failing(status).len() == 1);
    assert!(failing(&status)[0].contains("No space left"), "{status}");
    wait_for("the other gate is told", || {
        sites_in(&json).is_some_and(|sites| sites.len() == 22)
    });
    assert!(node.is_closed("a.example") && node.is_closed("b.example"));
    mounted.remount("nr_inodes=1000");
    let all: Vec<&str> = ["a.example", "b.example"]
        .into_iter()
        .chain(sites.iter().map(String::as_str))
        .collect();
    wait_for_closed(&node, &all);
    node.wait_for_status("all is well", |status| failing(status).is_empty());
    daemon.stop();
}

#[test]
fn a_folder_that_is_lost_is_made_again() {
    let node = Node::new(None, "", EVERY_SITE);
    let gate = node.sandbox.path("gate");
    let mut daemon = node.start();
    spend(&node, "a.example", 2_000);
    spend(&node, "b.example", 2_000);
    let both = ["a.example", "b.example"];
    wait_for_closed(&node, &both);
    // As /run is after a reboot.
    fs::remove_dir_all(&gate).expect("our own folder");
    wait_for_closed(&node, &both);
    fs::remove_dir_all(node.flags().join("deny-429")).expect("our own folder");
    wait_for_closed(&node, &both);
    fs::remove_file(node.flags().join("deny-429/b.example")).expect("a flag");
    wait_for_closed(&node, &both);
    for is_killed in [false, true] {
        match is_killed {
            true => daemon.kill(),
            false => daemon.stop(),
        }
        assert_eq!(node.standing().len(), 2, "flags outlive the daemon");
        fs::remove_dir_all(&gate).expect("our own folder");
        daemon = node.start();
        wait_for_closed(&node, &both);
    }
    daemon.stop();
}

#[test]
fn kills_in_the_middle_of_changes_leave_no_half_flag() {
    let mut random = Random::new("kills_in_the_middle_of_changes");
    let sandbox = Sandbox::new();
    let (json, section) = json_gate(&sandbox);
    let node = Node::named("n", sandbox, None, "", "", &(section + EVERY_SITE));
    node.does(&["store", "init"]);
    let store = rusqlite::Connection::open(node.sandbox.state().join("tollkeeper.db"));
    let store = store.expect("the store");
    store.busy_timeout(support::DEADLINE).expect("a number");
    let mut spent: BTreeMap<String, u64> = BTreeMap::new();
    let mut exempt = BTreeSet::new();
    for _ in 0..12 {
        let daemon = node.start();
        let end = Instant::now() + Duration::from_millis(50 + random.below(500));
        while Instant::now() < end {
            let site = format!("s{}.example", random.below(40));
            match random.percent(70) {
                true => {
                    let bytes = 300 + random.below(900);
                    spend(&node, &site, bytes);
                    *spent.entry(site).or_default() += bytes;
                }
                false if exempt.contains(&site) => {
                    let delete = "DELETE FROM quota_exempt WHERE name = ?";
                    store.execute(delete, [&site]).expect("it is well formed");
                    exempt.remove(&site);
                }
                false => {
                    let insert =
                        "INSERT INTO quota_exempt (account_kind, name) VALUES ('vhost', ?)";
                    store.execute(insert, [&site]).expect("it is well formed");
                    exempt.insert(site);
                }
            }
            wait_for_moment(Instant::now() + Duration::from_millis(random.below(20)));
        }
        daemon.kill();
        // Whole or not at all, at any moment.
        let _ = sites_in(&json);
    }
    let daemon = node.start();
    let is_closed = |(site, bytes): &(&String, &u64)| **bytes >= 1_000 && !exempt.contains(*site);
    let closed: Vec<&str> = spent
        .iter()
        .filter(is_closed)
        .map(|(site, _)| &**site)
        .collect();
    assert!(
        !closed.is_empty() && closed.len() < spent.len(),
        "{spent:?}, {exempt:?}"
    );
    wait_for_closed(&node, &closed);
    wait_until("the other gate says the same", || {
        let sites = sites_in(&json).unwrap_or_default();
        if sites.iter().eq(&closed) {
            Ok(())
        } else {
            Err((sites, closed.clone()))
        }
    });
    for flag in node.standing() {
        let content = fs::read(node.flags().join(&flag)).expect("a flag");
        assert!(content.is_empty(), "{flag}: {content:?}");
    }
    let entries = fs::read_dir(node.sandbox.path(".")).expect("our own folder");
    for entry in entries.map(|entry| entry.expect("an entry").file_name()) {
        let name = entry.to_string_lossy().into_owned();
        assert!(!name.starts_with('.'), "{name} was left behind");
    }
    for (site, bytes) in &spent {
        node.wait_for_use(&format!("vhost {site}"), *bytes);
    }
    daemon.stop();
}

/// Hosts as nginx writes them into its log, whatever a client sends.
const HOSTILE_HOSTS: [&str; 24] = [
    r"evil\x22;}",
    "../../etc/passwd",
    r"a\x0Ab",
    r"\x0a",
    "*",
    "*.example",
    "~regex",
    "~^.*$",
    r"b\xC3\xBCcher.example",
    "..",
    ".",
    "a/../../b",
    "$host",
    "${remote_user}",
    "-rf",
    "#",
    ";",
    "{",
    r"\x00",
    "%2e%2e%2fpasswd",
    "_none",
    "_overflow",
    "_other",
    "_invalid",
];
const HOSTILE_USERS: [&str; 14] = [
    r"evil\x22;}",
    "../../etc/passwd",
    r"a\x0Ab",
    "*",
    "~regex",
    "..",
    ".",
    "$remote_user",
    "a b",
    r"\x00",
    "-rf",
    "_overflow",
    r"\xFF\xFE",
    r"x\x5C\x22",
];

#[test]
fn names_that_clients_make_up_harm_nobody() {
    let sandbox = Sandbox::new();
    let gate = |name: &str| sandbox.path(Path::new("gate").join(name));
    let mut sections = String::new();
    for (section, key, name) in [
        ("gate.nginx", "map", "nginx.map"),
        ("gate.apache", "flags", "apache"),
        ("gate.apache", "map", "apache.map"),
        ("gate.lighttpd", "flags", "lighttpd"),
        ("gate.list", "path", "closed.txt"),
        ("gate.json", "path", "closed.json"),
    ] {
        let _ = writeln!(sections, "[[{section}]]\n{key} = {:?}", gate(name));
    }
    sections += EVERY_SITE;
    sections += "[[quota]]\nuser = \"*\"\nlimit = \"1K\"\nperiod = \"year\"\n";
    let folder = sandbox.path("gate");
    let node = Node::named("n", sandbox, None, "", "users = \"verified\"", &sections);
    let daemon = node.start();
    let long = "h".repeat(300);
    let label = format!("{}.example", "l".repeat(63));
    let mut lines = logged("neighbour.example", "-", 500);
    for host in HOSTILE_HOSTS.into_iter().chain([&*long]) {
        lines += &logged(host, "-", 2_000);
    }
    for user in HOSTILE_USERS.into_iter().chain([&*long, "alice"]) {
        lines += &logged("users.example", user, 2_000);
    }
    for host in [
        "UPPER.Example",
        "xn--bcher-kva.example",
        &label,
        "marker.example",
    ] {
        lines += &logged(host, "-", 2_000);
    }
    append(&node.log(), lines);
    wait_for("the last line is weighed", || {
        node.is_closed("marker.example")
    });
    wait_for("all gates are told", || {
        let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
        ["nginx.map", "apache.map", "closed.txt", "closed.json"]
            .iter()
            .all(|name| read(name).contains("marker.example"))
            && folder.join("lighttpd/deny-429/marker.example").exists()
            && folder.join("apache/deny-429/marker.example").exists()
    });
    for host in ["upper.example", "xn--bcher-kva.example", &label] {
        assert!(node.is_closed(host), "{host}: {:?}", node.standing());
    }
    assert!(
        node.standing().contains("user-deny-429/alice"),
        "{:?}",
        node.standing()
    );

    // Of what they made up nothing is in a name, and what is in a file means nothing there.
    let mut found = Vec::new();
    walk(&folder, &mut found);
    assert!(found.len() > 12, "{found:?}");
    for path in &found {
        let below = text(path.strip_prefix(&folder).expect("it is below"));
        let top = below.split('/').next().expect("a name");
        let is_known = [
            "nginx",
            "nginx.map",
            "apache",
            "apache.map",
            "lighttpd",
            "closed.txt",
            "closed.json",
        ]
        .contains(&top);
        assert!(is_known, "{below}");
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/@".contains(&byte);
        assert!(below.bytes().all(is_plain), "{below:?}");
        for word in [
            "evil", "passwd", "regex", "remote", "hhhh", "-rf", "overflow", "none",
        ] {
            assert!(!below.contains(word), "{below}");
        }
    }
    for name in ["nginx.map", "apache.map", "closed.txt"] {
        let content = fs::read_to_string(folder.join(name)).expect("a file");
        for word in [
            "evil",
            "passwd",
            "regex",
            "remote_user",
            "hhhh",
            "-rf",
            "_overflow",
        ] {
            assert!(!content.contains(word), "{name}: {word}: {content}");
        }
        let special = if name == "nginx.map" { "" } else { "\";{}$\\*" };
        assert!(
            !content.contains(|c| special.contains(c)),
            "{name}: {content}"
        );
    }
    let sites = sites_in(&folder.join("closed.json")).expect("it is there");
    assert!(sites.contains("marker.example"));
    assert!(!sites.iter().any(|site| site.starts_with('_')), "{sites:?}");
    assert!(!folder.join("../etc").exists());
    // Each gate has its own thread.
    node.wait_for_status("the flags say whom they cannot close", |status| {
        status["gates"][0]["refused"].as_u64() >= Some(5)
    });
    let neighbour = node
        .standing_of("vhost neighbour.example")
        .expect("it has used some");
    assert_eq!(neighbour["verdict"], "within");
    node.wait_for_use("vhost neighbour.example", 500);

    // nginx takes the map as it is.
    let nginx = Nginx::start_with(&node, |snippet| {
        let at = snippet.rfind("# 1. Into http { }").expect("two pieces");
        snippet[at..].to_owned()
    });
    for (host, status) in [
        ("upper.example", 429),
        ("xn--bcher-kva.example", 429),
        (&*label, 429),
        ("neighbour.example", 200),
        ("else.example", 200),
        ("evil\";}", 200),
        ("~regex", 200),
        ("*", 200),
        ("_overflow", 200),
    ] {
        assert_eq!(nginx.ask(host, "/ten").status, status, "{host}");
    }
    daemon.stop();
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            walk(&path, found);
        }
        found.push(path);
    }
}

#[test]
fn a_flood_of_forged_names_fills_no_folder() {
    const FORGED: u64 = 20_000;
    const CAP: usize = 500;
    let quota = "[[quota]]\nvhost = \"*.free.example\"\nlimit = \"1B\"\nperiod = \"year\"\n";
    let vhosts = format!("[vhosts]\nmax_new_vhosts_per_day = {CAP}\n");
    let node = Node::new(None, "", &(vhosts + quota));
    let daemon = node.start();
    // Who was there before keeps its row, and its quota.
    spend(&node, "real.free.example", 2_000);
    wait_for_closed(&node, &["real.free.example"]);
    let mut lines = String::new();
    for number in 0..FORGED {
        lines += &logged(&format!("f{number}.free.example"), "-", 1_000);
    }
    append(&node.log(), lines);
    spend(&node, "real.free.example", 500);
    wait_until("all is counted", || {
        let counted = node.sandbox.requests();
        if counted == FORGED + 2 {
            Ok(())
        } else {
            Err(counted)
        }
    });
    wait_until("the gates are told", || match node.standing().len() {
        standing if standing == CAP => Ok(()),
        other => Err(other),
    });
    let (_, overflow) = node.reported("_overflow");
    assert_eq!(overflow, (FORGED + 1 - CAP as u64) * 1_000);
    assert_eq!(node.used("vhost real.free.example"), 2_500);
    let memory = fs::read_to_string(format!("/proc/{}/status", daemon.id())).expect("Linux");
    let line = memory
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .expect("a size");
    let kibibytes: u64 = line
        .split_whitespace()
        .nth(1)
        .and_then(|n| n.parse().ok())
        .expect("kB");
    assert!(kibibytes < 200_000, "{line}");
    assert_eq!(node.standing().len(), CAP);
    daemon.stop();
}

#[test]
fn a_hook_that_hangs_or_fails_holds_up_no_gate() {
    let sandbox = Sandbox::new();
    let started = sandbox.path("started");
    let script = format!("echo $$ >> {}; exec sleep 600", text(&started));
    let hook =
        format!("[hook]\ncommand = [\"/bin/sh\", \"-c\", \"{script}\"]\ntimeout = \"10m\"\n");
    let node = Node::named("n", sandbox, None, "", "", &(hook + EVERY_SITE));
    let daemon = node.start();
    spend(&node, "a.example", 2_000);
    let hanging = || fs::read_to_string(&started).unwrap_or_default();
    wait_for("it hangs", || hanging().ends_with('\n'));
    let sites: Vec<String> = (0..150)
        .map(|number| format!("s{number:03}.example"))
        .collect();
    let begin = Instant::now();
    for site in &sites {
        spend(&node, site, 2_000);
    }
    let all: Vec<&str> = ["a.example"]
        .into_iter()
        .chain(sites.iter().map(String::as_str))
        .collect();
    wait_for_closed(&node, &all);
    assert!(begin.elapsed() < SECONDS, "{:?}", begin.elapsed());
    // Nor does it keep the tables of operators from being read.
    node.does(&["quota", "exempt", "s000.example"]);
    wait_for("it is opened", || !node.is_closed("s000.example"));
    assert_eq!(hanging().lines().count(), 1, "one at a time");
    daemon.stop();
    let id = hanging().trim().parse().ok().and_then(Pid::from_raw);
    // It may have ended with the daemon.
    let _ = rustix::process::kill_process(id.expect("its id"), Signal::KILL);

    for command in ["[\"/bin/false\"]", "[\"/nowhere/at/all\"]"] {
        let hook = format!("[hook]\ncommand = {command}\n");
        let node = Node::new(None, "", &(hook + EVERY_SITE));
        let daemon = node.start();
        spend(&node, "a.example", 2_000);
        wait_for_closed(&node, &["a.example"]);
        wait_for("the failure is named", || {
            daemon.said().contains("the hook /")
        });
        spend(&node, "b.example", 2_000);
        wait_for_closed(&node, &["a.example", "b.example"]);
        daemon.stop();
    }
}
