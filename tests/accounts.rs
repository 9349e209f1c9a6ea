//! Who pays: names folded, known, capped; users claimed and verified; owners and classes.

mod support;

use std::fmt::Write as _;

use support::log::{DAY, FORMAT, NOON, line};
use support::{Balance, Row, Sandbox, source, text};

/// One request for each host; gives the vhosts of the rows with their requests.
fn vhosts(config: &str, hosts: &[&str]) -> Vec<(String, u64)> {
    let sandbox = Sandbox::new();
    let config = sandbox.config(config);
    let content: String = hosts
        .iter()
        .map(|host| line(NOON, 200, (1, 1), host, "-"))
        .collect();
    let log = sandbox.write("access.log", content);
    sandbox.import(&["-c", text(&config), "--format", FORMAT, text(&log)]);
    by_vhost(&sandbox)
}

fn by_vhost(sandbox: &Sandbox) -> Vec<(String, u64)> {
    let rows = sandbox.report(&["--by", "vhost"]);
    rows.iter()
        .map(|row| {
            (
                row["vhost"].as_str().expect("a name").to_owned(),
                row["requests"].as_u64().expect("a number"),
            )
        })
        .collect()
}

fn are(found: &[(String, u64)], expected: &[(&str, u64)]) {
    let found: Vec<(&str, u64)> = found
        .iter()
        .map(|(name, requests)| (name.as_str(), *requests))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn spellings_of_one_name_are_one_site() {
    let hosts = [
        "a.example",
        "A.EXAMPLE",
        "a.example.",
        "a.example:8080",
        "A.Example.:80",
    ];
    are(&vhosts("", &hosts), &[("a.example", 5)]);
    are(
        &vhosts("", &["[2001:DB8::1]:80", "[2001:db8:0::1]"]),
        &[("2001:db8::1", 2)],
    );
    are(
        &vhosts("", &["www.a.example", "a.example"]),
        &[("a.example", 1), ("www.a.example", 1)],
    );
    are(
        &vhosts(
            "[vhosts]\nfold_www = true",
            &["www.a.example", "a.example", "www.org"],
        ),
        &[("a.example", 2), ("www.org", 1)],
    );
}

#[test]
fn aliases_are_billed_to_their_site() {
    let rules = "[vhosts]\naliases = { \"img.example\" = \"a.example\", \"*.cdn.example\" = \"a.example\", \"old.example\" = \"img.example\" }";
    let hosts = [
        "a.example",
        "img.example",
        "x.cdn.example",
        "y.x.cdn.example",
        "cdn.example",
        "OLD.example:443",
    ];
    are(
        &vhosts(rules, &hosts),
        &[("a.example", 5), ("cdn.example", 1)],
    );
}

#[test]
fn names_that_are_not_known_share_a_row() {
    let rules = "[vhosts]\nknown = [\"a.example\", \"*.b.example\"]";
    let hosts = [
        "a.example",
        "x.b.example",
        "b.example",
        "forged.example",
        "-",
        "..",
        "x.a.example",
    ];
    are(
        &vhosts(rules, &hosts),
        &[
            ("_invalid", 1),
            ("_none", 1),
            ("_other", 3),
            ("a.example", 1),
            ("x.b.example", 1),
        ],
    );
}

#[test]
fn names_may_come_from_files() {
    let sandbox = Sandbox::new();
    let known = sandbox.write("known", "# ours\na.example\n");
    let aliases = sandbox.write("aliases", "img.example a.example\n");
    let config = sandbox.config(&format!(
        "[vhosts]\nknown_file = {:?}\naliases_file = {:?}",
        text(&known),
        text(&aliases)
    ));
    let content: String = ["a.example", "img.example", "x.example"]
        .map(|host| line(NOON, 200, (1, 1), host, "-"))
        .concat();
    let log = sandbox.write("access.log", content);
    sandbox.import(&["-c", text(&config), "--format", FORMAT, text(&log)]);
    are(&by_vhost(&sandbox), &[("_other", 1), ("a.example", 2)]);
}

#[test]
fn special_rows_cannot_be_named() {
    let hosts = [
        "_none",
        "_other",
        "_invalid",
        "_overflow",
        "_NONE:80",
        "_overflow.",
    ];
    are(&vhosts("", &hosts), &[("_invalid", 6)]);
    // nginx logs its server_name where there is no good Host.
    are(&vhosts("", &["_", "-"]), &[("_none", 2)]);

    let sandbox = Sandbox::new();
    let users = ["_none", "_other", "_invalid", "_overflow"];
    let content: String = users
        .map(|user| line(NOON, 200, (1, 1), "a.example", user))
        .concat();
    let log = sandbox.write("access.log", content);
    sandbox.import(&["--format", FORMAT, text(&log)]);
    let stored: Vec<_> = sandbox
        .rows()
        .into_iter()
        .map(|row| row.user.expect("a user"))
        .collect();
    assert_eq!(
        stored,
        [r"\x5finvalid", r"\x5fnone", r"\x5fother", r"\x5foverflow"]
    );
}

#[test]
fn a_flood_of_names_shares_a_row_and_the_cap_survives_a_restart() {
    let sandbox = Sandbox::new();
    let config = sandbox.config("[vhosts]\nmax_new_vhosts_per_day = 5\nknown = [\"*.example\"]\n");
    let import = |name: &str, hosts: &[String], time: u64| {
        let content: String = hosts
            .iter()
            .map(|host| line(time, 200, (1, 1), host, "-"))
            .collect();
        let log = sandbox.write(name, content);
        sandbox.import(&["-c", text(&config), "--format", FORMAT, text(&log)]);
    };
    // What counts against a day's cap is kept for some 400 days.
    let yesterday = std::time::UNIX_EPOCH
        .elapsed()
        .expect("a clock behind 1970")
        .as_secs()
        - 86_400;
    let flood = |from: u64, to: u64| {
        (from..to)
            .map(|n| format!("f{n}.example"))
            .collect::<Vec<_>>()
    };
    import("first.log", &flood(0, 3), yesterday);
    // Another process: two more are new, the rest is too many.
    import("second.log", &flood(0, 10), yesterday + 1);
    are(
        &by_vhost(&sandbox),
        &[
            ("_overflow", 5),
            ("f0.example", 2),
            ("f1.example", 2),
            ("f2.example", 2),
            ("f3.example", 1),
            ("f4.example", 1),
        ],
    );
    // Names that have rows are never capped, nor does another day know of it.
    import("third.log", &flood(0, 6), yesterday + 2);
    import("fourth.log", &flood(20, 25), yesterday - 86_400);
    let rows = by_vhost(&sandbox);
    assert_eq!(rows[0], ("_overflow".to_owned(), 6));
    assert_eq!(rows.len(), 11);
}

#[test]
fn users_of_a_vhost_are_capped_too() {
    let sandbox = Sandbox::new();
    let config = sandbox.config("[vhosts]\nmax_new_users_per_day = 2\n");
    let mut content = String::new();
    for host in ["a.example", "b.example"] {
        for user in 0..5 {
            content += &line(NOON, 200, (1, 1), host, &format!("user{user}"));
        }
    }
    let log = sandbox.write("access.log", content);
    sandbox.import(&["-c", text(&config), "--format", FORMAT, text(&log)]);
    let rows = sandbox.rows();
    let rows: Vec<_> = rows
        .iter()
        .map(|row| (row.vhost.as_str(), row.user.as_deref(), row.requests))
        .collect();
    assert_eq!(
        rows,
        [
            ("a.example", Some("_overflow"), 3),
            ("a.example", Some("user0"), 1),
            ("a.example", Some("user1"), 1),
            ("b.example", Some("_overflow"), 3),
            ("b.example", Some("user0"), 1),
            ("b.example", Some("user1"), 1),
        ]
    );
}

#[test]
fn users_are_credited_on_success_alone_and_only_if_asked() {
    let statuses = [200, 206, 301, 302, 304, 400, 401, 403, 404, 416, 429, 500];
    let content: String = statuses
        .map(|status| line(NOON, status, (1, 10), "a.example", "alice"))
        .concat();
    for (users, credited) in [("claimed", 3), ("verified", 3), ("none", 0)] {
        let sandbox = Sandbox::new();
        let log = sandbox.write("access.log", &content);
        sandbox.import(&["--users", users, "--format", FORMAT, text(&log)]);
        let row = |user: Option<&str>, requests| Row {
            day: DAY.to_owned(),
            vhost: "a.example".to_owned(),
            user: user.map(str::to_owned),
            bytes_in: requests,
            bytes_out: 10 * requests,
            requests,
        };
        let mut expected = vec![row(None, 12 - credited)];
        if credited > 0 {
            expected.push(row(Some("alice"), credited));
        }
        assert_eq!(sandbox.rows(), expected, "{users}");
        // The vhost has it all.
        assert_eq!(sandbox.report(&[])[0]["requests"], 12, "{users}");
    }
}

#[test]
fn dash_and_nothing_are_no_user() {
    let sandbox = Sandbox::new();
    let content =
        line(NOON, 200, (1, 1), "a.example", "-") + &line(NOON, 200, (1, 1), "a.example", "");
    let log = sandbox.write("access.log", content);
    sandbox.import(&["--format", FORMAT, text(&log)]);
    let rows = sandbox.rows();
    assert_eq!(
        (rows.len(), rows[0].user.as_deref(), rows[0].requests),
        (1, None, 2)
    );
}

#[test]
fn hostile_names_are_printed_safely() {
    let sandbox = Sandbox::new();
    let mut content = String::new();
    let names = [
        (r"\x1B[2J\x07", r"\x1b[2J\x07"),
        (r"\x22quoted\x22", "\"quoted\""),
        (r"back\x5Cslash", r"back\x5cslash"),
        (r"\xFF\xFE", r"\xff\xfe"),
        (r"\xC5\xBC\xC3\xB3\xC5\x82\xC4\x87", "żółć"),
        (" lead", r"\x20lead"),
        ("trail ", r"trail\x20"),
        (r"\x00", r"\x00"),
        (r"\x0Anew line", r"\x0anew line"),
        ("=cmd()", "=cmd()"),
        ("a,b;c", "a,b;c"),
        // Written in the stored form by the client: the backslash keeps them apart.
        (r"\x5Cx1b[2J\x5Cx07", r"\x5cx1b[2J\x5cx07"),
    ];
    for (logged, _) in names {
        let _ = write!(content, "{}", line(NOON, 200, (1, 1), "a.example", logged));
    }
    let log = sandbox.write("access.log", content);
    assert_eq!(
        sandbox.import(&["--format", FORMAT, text(&log)]).balance(),
        Balance::counted(names.len() as u64)
    );
    let mut expected: Vec<&str> = names.iter().map(|(_, stored)| *stored).collect();
    expected.sort_unstable();
    let rows = sandbox.rows();
    let stored: Vec<&str> = rows
        .iter()
        .map(|row| row.user.as_deref().expect("a user"))
        .collect();
    assert_eq!(stored, expected);
    for output in ["table", "json", "csv"] {
        let ran = sandbox
            .ran(["report", "--by", "user", "--output", output])
            .exited(0);
        assert!(
            ran.stdout.chars().all(|c| c == '\n' || !c.is_control()),
            "{output}:\n{:?}",
            ran.stdout
        );
        assert!(ran.stdout.lines().count() >= names.len(), "{output}");
    }
}

#[test]
fn hostile_hosts_are_invalid_or_safe() {
    let sandbox = Sandbox::new();
    let long = "n".repeat(4096);
    let hosts = [
        "evil\\x22;}",
        "*",
        "../../etc/passwd",
        "a..example",
        &long,
        "\\xFF.example",
        "${HOSTNAME}",
        "user@a.example",
    ];
    let content: String = hosts
        .iter()
        .map(|host| line(NOON, 200, (1, 1), host, "-"))
        .collect();
    let log = sandbox.write("access.log", content);
    sandbox.import(&["--format", FORMAT, text(&log)]);
    are(&by_vhost(&sandbox), &[("_invalid", 8)]);
}

#[test]
fn a_user_too_long_for_its_column_is_invalid() {
    let sandbox = Sandbox::new();
    let content = line(NOON, 200, (1, 1), "a.example", &"u".repeat(255))
        + &line(NOON, 200, (1, 1), "a.example", &"u".repeat(256));
    let log = sandbox.write("access.log", content);
    sandbox.import(&["--format", FORMAT, text(&log)]);
    let users: Vec<_> = sandbox
        .rows()
        .into_iter()
        .filter_map(|row| row.user)
        .collect();
    assert_eq!(users, ["_invalid".to_owned(), "u".repeat(255)]);
}

#[test]
fn owners_and_classes_are_in_the_report() {
    let sandbox = Sandbox::new();
    let config = sandbox.config(
        "[owner.carol]\nvhosts = [\"a.example\", \"b.example\"]\n\
         [class.campus]\nnetworks = [\"192.0.2.0/24\", \"2001:db8::/32\"]\n\
         [class.lab]\nnetworks = [\"192.0.2.128/25\"]\n",
    );
    let combined = |client: &str, host: &str, bytes: u64| {
        format!(
            "{host}:80 {client} - - [15/Jun/2024:12:00:00 +0000] \"GET / HTTP/1.1\" 200 {bytes} \"-\" \"-\"\n"
        )
    };
    let content = [
        combined("192.0.2.1", "a.example", 1),
        combined("192.0.2.200", "a.example", 10),
        combined("2001:db8::7", "b.example", 100),
        combined("198.51.100.1", "b.example", 1_000),
        combined("192.0.2.1", "c.example", 10_000),
    ]
    .concat();
    let log = sandbox.write("access.log", content);
    sandbox.import(&[
        "-c",
        text(&config),
        "--format",
        "vhost_combined",
        text(&log),
    ]);
    let out = |by: &str, key: &str| -> Vec<(Option<String>, u64)> {
        let rows = sandbox.report(&["-c", text(&config), "--by", by]);
        rows.iter()
            .map(|row| {
                (
                    row[key].as_str().map(str::to_owned),
                    row["out"].as_u64().expect("a number"),
                )
            })
            .collect()
    };
    assert_eq!(
        out("owner", "owner"),
        [(None, 10_000), (Some("carol".to_owned()), 1_111)]
    );
    let classes = sandbox.report(&["-c", text(&config), "--by", "class,vhost"]);
    let classes: Vec<_> = classes
        .iter()
        .map(|row| {
            (
                row["class"].as_str(),
                row["vhost"].as_str().expect("a name"),
                row["out"].as_u64().expect("a number"),
            )
        })
        .collect();
    assert_eq!(
        classes,
        [
            (None, "b.example", 1_000),
            (Some("campus"), "a.example", 1),
            (Some("campus"), "b.example", 100),
            (Some("campus"), "c.example", 10_000),
            (Some("lab"), "a.example", 10),
        ]
    );
}

#[test]
fn the_vhost_comes_from_the_command_line_or_the_files_name_where_the_format_has_none() {
    let combined =
        "192.0.2.1 - - [15/Jun/2024:12:00:00 +0000] \"GET / HTTP/1.1\" 200 7 \"-\" \"-\"\n";
    let sandbox = Sandbox::new();
    let log = sandbox.write("a.log", combined);
    sandbox.import(&[
        "--format",
        "combined",
        "--vhost",
        "WWW.Shop.Example.",
        text(&log),
    ]);
    are(&by_vhost(&sandbox), &[("www.shop.example", 1)]);

    let sandbox = Sandbox::new();
    let log = sandbox.write("a.log", combined);
    let ran = sandbox.import(&["--format", "combined", text(&log)]);
    are(&by_vhost(&sandbox), &[("_none", 1)]);
    assert!(
        ran.stderr.contains("--vhost"),
        "it says what to do:\n{}",
        ran.stderr
    );
    // Lines that name their site cannot be given another.
    sandbox
        .ran([
            "import",
            "--format",
            "vhost_combined",
            "--vhost",
            "b.example",
            text(&log),
        ])
        .exited(2);

    let sandbox = Sandbox::new();
    sandbox.write("logs/one.example.access.log", combined);
    sandbox.write("logs/two.example.access.log", combined);
    let config = sandbox.config(&source(
        &[&sandbox.path("logs/*.access.log")],
        "combined",
        "vhost = \"{1}\"",
    ));
    let daemon = sandbox.start(&["-c", text(&config)]);
    support::wait_until("both are counted", || {
        let rows = by_vhost(&sandbox);
        if rows.len() == 2 { Ok(()) } else { Err(rows) }
    });
    daemon.stop();
    are(
        &by_vhost(&sandbox),
        &[("one.example", 1), ("two.example", 1)],
    );
}

#[test]
fn the_report_asks_by_any_spelling() {
    let sandbox = Sandbox::new();
    let config = sandbox.config("[vhosts]\naliases = { \"img.example\" = \"a.example\" }");
    let content =
        line(NOON, 200, (1, 1), "a.example", "-") + &line(NOON, 200, (1, 1), "b.example", "-");
    let log = sandbox.write("access.log", content);
    sandbox.import(&["-c", text(&config), "--format", FORMAT, text(&log)]);
    for name in ["a.example", "A.EXAMPLE.", "img.example"] {
        let rows = sandbox.report(&["-c", text(&config), "--vhost", name]);
        assert_eq!(
            (rows.len(), rows[0]["vhost"].as_str()),
            (1, Some("a.example")),
            "{name}"
        );
    }
}

#[test]
fn the_report_has_its_keys_in_order() {
    let sandbox = Sandbox::new();
    let log = sandbox.write("access.log", line(NOON, 200, (1, 2), "a.example", "alice"));
    sandbox.import(&["--format", FORMAT, text(&log)]);
    let report = |by: &str, output: &str| {
        sandbox
            .ran(["report", "--by", by, "--output", output])
            .exited(0)
            .stdout
    };
    let row = "{\"day\":\"2024-06-15\",\"vhost\":\"a.example\",\"user\":\"alice\",\"in\":1,\"out\":2,\"requests\":1}";
    assert_eq!(report("user", "json"), format!("[\n{row}\n]\n"));
    assert_eq!(
        report("vhost,day", "csv"),
        "vhost,day,in,out,requests\na.example,2024-06-15,1,2,1\n"
    );
    let table = report("day,vhost", "table");
    assert!(
        table.lines().next().is_some_and(|header| header
            .split_whitespace()
            .eq(["day", "vhost", "in", "out", "requests"])),
        "{table}"
    );
}
