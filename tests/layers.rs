//! Layers behind the edge: what is counted apart, by whom, and where it is shown.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::{Value, json};
use support::log::{DAY, FORMAT, NOON, line, lines, rows};
use support::usage::{Store, Sums, by_vhost};
use support::{Balance, Sandbox, append, source, text, wait_for, wait_until};

/// A config with a log at the edge and one behind it, with a class of clients; and the logs.
fn two_logs(sandbox: &Sandbox) -> (PathBuf, PathBuf, PathBuf) {
    let combined = |host: &str, bytes: u64| {
        format!(
            "{host}:80 192.0.2.1 - alice [15/Jun/2024:12:00:00 +0000] \"GET / HTTP/1.1\" 200 {bytes} \"-\" \"-\"\n"
        )
    };
    let edge = sandbox.write("logs/edge.log", combined("a.example", 100).repeat(3));
    let inner = combined("a.example", 60) + &combined("b.example", 7);
    let inner = sandbox.write("logs/inner.log", inner);
    let config = sandbox.config(
        &(source(&[&edge], "vhost_combined", "name = \"edge\"")
            + &source(
                &[&inner],
                "vhost_combined",
                "name = \"inner\"\nlayer = \"backend\"",
            )
            + "[class.campus]\nnetworks = [\"192.0.2.0/24\"]\n[owner.bob]\nvhosts = [\"b.example\"]\n"),
    );
    (config, edge, inner)
}

#[test]
fn an_import_counts_a_file_in_the_layer_of_its_source() {
    let sandbox = Sandbox::new();
    let (config, edge, inner) = two_logs(&sandbox);
    // Rotated, and packed.
    let old = sandbox.write_gz("logs/inner.log.1.gz", &[&fs::read(&inner).expect("a log")]);
    fs::write(&inner, "").expect("our own file");
    let files = [text(&edge), text(&old)];
    let config = ["-c", text(&config)];

    let dry = sandbox.import(&[&config, files.as_slice(), &["--dry-run"]].concat());
    let row = |vhost: &str, bytes: u64| json!({"day": DAY, "vhost": vhost, "layer": "backend", "in": 0, "out": bytes, "requests": 1});
    assert_eq!(
        dry.json()["layer_rows"],
        json!([row("a.example", 60), row("b.example", 7)])
    );
    assert_eq!(
        dry.json()["rows"],
        json!([{"day": DAY, "vhost": "a.example", "in": 0, "out": 300, "requests": 3}])
    );

    let ran = sandbox.import(&[&config, files.as_slice()].concat());
    assert_eq!(ran.balance(), Balance::counted(5));
    let said = ran.json();
    assert_eq!((&said["out"], &said["requests"]), (&json!(300), &json!(3)));
    assert_eq!(
        said["layers"],
        json!({"backend": {"in": 0, "out": 67, "requests": 2}})
    );
    assert_eq!(
        sandbox.report(&["--by", "day,vhost"]),
        [json!({"day": DAY, "vhost": "a.example", "in": 0, "out": 300, "requests": 3})]
    );
    // In whatever layer it is imported again, it has been counted.
    for layer in ["edge", "backend", "php"] {
        let again = sandbox.import(&[&config, files.as_slice(), &["--layer", layer]].concat());
        assert_eq!(again.balance(), Balance::default(), "{layer}");
        assert_eq!(again.json()["layers"], json!({}));
    }
    // Users, classes and the edge know nothing of what is behind it.
    let users = sandbox.report(&["--by", "vhost,user"]);
    assert_eq!(
        users,
        [json!({"vhost": "a.example", "user": "alice", "in": 0, "out": 300, "requests": 3})]
    );
    let classes = sandbox.report(&[&config, ["--by", "vhost,class"].as_slice()].concat());
    assert_eq!(
        classes,
        [json!({"vhost": "a.example", "class": "campus", "in": 0, "out": 300, "requests": 3})]
    );
    let owners = ["--by", "owner,layer"];
    assert_eq!(
        sandbox.report(&[config, owners].concat()),
        [
            json!({"owner": null, "layer": "backend", "in": 0, "out": 60, "requests": 1}),
            json!({"owner": null, "layer": "edge", "in": 0, "out": 300, "requests": 3}),
            json!({"owner": "bob", "layer": "backend", "in": 0, "out": 7, "requests": 1}),
        ]
    );
}

#[test]
fn the_command_line_goes_over_the_config() {
    let sandbox = Sandbox::new();
    let (config, edge, inner) = two_logs(&sandbox);
    let config = ["-c", text(&config)];
    let as_edge = ["--layer", "edge", text(&inner)];
    sandbox.import(&[&config, as_edge.as_slice()].concat());
    let as_php = ["--layer", "php", text(&edge)];
    let ran = sandbox.ran([&["import"], config.as_slice(), &as_php].concat());
    let said = ran.exited(0).stdout;
    assert!(
        said.contains("counted: 0 requests, 0 B in, 0 B out\n"),
        "{said}"
    );
    assert!(
        said.contains("counted apart, in layer php: 3 requests, 0 B in, 300 B out\n"),
        "{said}"
    );
    assert_eq!(
        sandbox.report(&["--by", "layer,vhost"]),
        [
            json!({"layer": "edge", "vhost": "a.example", "in": 0, "out": 60, "requests": 1}),
            json!({"layer": "edge", "vhost": "b.example", "in": 0, "out": 7, "requests": 1}),
            json!({"layer": "php", "vhost": "a.example", "in": 0, "out": 300, "requests": 3}),
        ]
    );
}

#[test]
fn lines_that_are_read_again_are_counted_in_their_layer() {
    let sandbox = Sandbox::new();
    let good = line(NOON, 200, (1, 2), "a.example", "-");
    let other = "a.example 40 1718452800 200\n";
    let log = sandbox.write("a.log", good.clone() + other + &good);
    let import = ["--layer", "backend", "--format", FORMAT];
    sandbox.import(&[&import, [text(&log)].as_slice()].concat());
    let format = "nginx:$host $bytes_sent $msec $status";
    let again = ["--unparsed", "--layer", "backend", "--format", format];
    let again = sandbox.import(&[&again, [text(&log)].as_slice()].concat());
    assert_eq!(
        again.json()["layers"],
        json!({"backend": {"in": 0, "out": 40, "requests": 1}})
    );
    assert_eq!(sandbox.rows(), []);
    assert_eq!(
        sandbox.report(&["--layer", "backend"]),
        [json!({"day": DAY, "vhost": "a.example", "in": 2, "out": 44, "requests": 3})]
    );
}

#[test]
fn reports_of_layers_in_every_output() {
    let sandbox = Sandbox::new();
    let (config, edge, inner) = two_logs(&sandbox);
    sandbox.import(&["-c", text(&config), text(&edge), text(&inner)]);
    let ran = |arguments: &[&str]| sandbox.ran([&["report"], arguments].concat());
    let csv = ran(&["--by", "vhost,layer", "--output", "csv"]).exited(0);
    assert_eq!(
        csv.stdout,
        "vhost,layer,in,out,requests\n\
         a.example,backend,0,60,1\n\
         a.example,edge,0,300,3\n\
         b.example,backend,0,7,1\n"
    );
    let table = ran(&["--layer", "backend", "--by", "vhost"]).exited(0);
    assert_eq!(
        table.stdout,
        "vhost      in  out  requests\n\
         a.example   0   60         1\n\
         b.example   0    7         1\n\
         total       0   67         2\n"
    );
    let one = ["--layer", "backend", "--vhost", "b.example"];
    assert_eq!(
        sandbox.report(&[one.as_slice(), &["--by", "vhost,layer"]].concat()),
        [json!({"vhost": "b.example", "layer": "backend", "in": 0, "out": 7, "requests": 1})]
    );
    // The edge, said aloud, has its users.
    let users = ["--by", "vhost,user", "--layer", "edge"];
    assert_eq!(sandbox.report(&users).len(), 1);
    let edge = ["--by", "layer", "--layer", "edge"];
    assert_eq!(
        sandbox.report(&edge),
        [json!({"layer": "edge", "in": 0, "out": 300, "requests": 3})]
    );
    assert_eq!(sandbox.report(&["--layer", "nobody"]), [] as [Value; 0]);
    assert_eq!(
        sandbox.report(&["--layer", "backend", "--to", "2024-06-14"]),
        [] as [Value; 0]
    );
    for wrong in [
        &["--layer", "backend", "--by", "user"][..],
        &["--layer", "backend", "--by", "day,class"],
        &["--by", "layer,user"],
        &["--by", "class,vhost,layer"],
    ] {
        let refused = ran(wrong).exited(2).stderr;
        assert!(
            refused.contains("the rows of a layer have no users and no classes"),
            "{refused}"
        );
    }
    let refused = ran(&["--layer", "Backend"]).exited(2).stderr;
    assert!(
        refused.contains("cannot be the name of a layer"),
        "{refused}"
    );
}

#[test]
fn status_and_check_show_the_layer_of_a_source() {
    let sandbox = Sandbox::new();
    let (config, _, inner) = two_logs(&sandbox);
    let daemon = sandbox.start(&["-c", text(&config)]);
    let layers = |json: &Value| -> Vec<(Value, Value)> {
        let sources = json["sources"].as_array().cloned().unwrap_or_default();
        let sources = sources.into_iter();
        sources
            .map(|source| (source["name"].clone(), source["layer"].clone()))
            .collect()
    };
    let expected = [
        (json!("edge"), json!("edge")),
        (json!("inner"), json!("backend")),
    ];
    wait_until("both sources are there", || {
        let found = layers(&sandbox.ran(["status", "--output", "json"]).json());
        if found == expected {
            Ok(())
        } else {
            Err(found)
        }
    });
    let table = sandbox.ran(["status"]).exited(0).stdout;
    let columns = |source: &str| -> Vec<String> {
        let row = table.lines().find(|line| line.starts_with(source));
        let row = row.unwrap_or_else(|| panic!("{table}"));
        row.split_whitespace().take(3).map(str::to_owned).collect()
    };
    assert_eq!(columns("source "), ["source", "layer", "files"]);
    assert_eq!(columns("edge "), ["edge", "edge", "1"]);
    assert_eq!(columns("inner "), ["inner", "backend", "1"]);
    // A stop reads and commits what there is.
    daemon.stop();
    let stopped = sandbox.ran(["status", "-c", text(&config), "--output", "json"]);
    assert_eq!(layers(&stopped.exited(1).json()), expected);

    let says = "layer backend: counted apart from the edge's rows, and not billed";
    let check = sandbox.ran(["check", "-c", text(&config)]).exited(0).stdout;
    assert!(check.contains(&format!("note: inner: {says}\n")), "{check}");
    assert!(!check.contains("edge: layer"), "{check}");
    let check = ["check", "-c", text(&config), text(&inner)];
    let stdout = sandbox.ran(check).exited(0).stdout;
    assert!(stdout.contains(says), "{stdout}");
    let json = sandbox.ran([check.as_slice(), &["--output", "json"]].concat());
    assert_eq!(json.exited(0).json()["layer"], json!("backend"));
}

#[test]
fn a_source_that_becomes_a_layer_is_one_from_then_on() {
    let sandbox = Sandbox::new();
    let log = sandbox.write("a.log", lines(0, 100));
    let config = |layer: &str| sandbox.config(&source(&[&log], FORMAT, layer));
    let store = Store {
        sandbox: &sandbox,
        database: None,
    };
    let path = config("");
    let daemon = sandbox.start(&["-c", text(&path)]);
    sandbox.wait_for_rows(&rows([lines(0, 100).as_str()]));
    config("layer = \"backend\"");
    daemon.signal(Signal::HUP);
    wait_for("the new config is in force", || {
        let status = sandbox.ran(["status", "--output", "json"]).json();
        status["reload"]["result"] == "done"
    });
    append(&log, lines(100, 50));
    let inner = by_vhost(&lines(100, 50));
    wait_until("the rest is in the layer", || {
        let found = store.sums(&["--layer", "backend"]);
        if found == inner { Ok(()) } else { Err(found) }
    });
    daemon.stop();
    // And back, over a restart.
    let path = config("layer = \"edge\"");
    append(&log, lines(150, 25));
    let daemon = sandbox.start(&["-c", text(&path)]);
    let edge = lines(0, 100) + &lines(150, 25);
    sandbox.wait_for_rows(&rows([edge.as_str()]));
    daemon.stop();
    assert_eq!(store.sums(&["--layer", "backend"]), inner);
    assert_eq!(sandbox.stored_balance(), Balance::counted(175));
}

#[test]
fn logs_that_are_alike_line_by_line_are_two_logs_while_both_are_written() {
    let sandbox = Sandbox::new();
    let write = |log: &str, first: u64| sandbox.write(log, lines(first, 300));
    let (edge, inner) = (write("nginx/access.log", 0), write("apache2/access.log", 0));
    let source_of = |log: &Path, more: &str| source(&[log], FORMAT, more);
    let path = sandbox.config(&source_of(&edge, ""));
    let store = Store {
        sandbox: &sandbox,
        database: None,
    };
    let daemon = sandbox.start(&["-c", text(&path)]);
    sandbox.wait_for_rows(&rows([lines(0, 300).as_str()]));
    // The inner one is met when all that it holds has been counted at the edge.
    sandbox.config(&(source_of(&edge, "") + &source_of(&inner, "layer = \"backend\"")));
    daemon.signal(Signal::HUP);
    let counted = |what: &str, log: &str| {
        let expected = (by_vhost(log), by_vhost(log));
        wait_until(what, || {
            let found = (store.sums(&[]), store.sums(&["--layer", "backend"]));
            if found == expected {
                Ok(())
            } else {
                Err(found)
            }
        });
    };
    counted("both are counted", &lines(0, 300));
    daemon.stop();
    append(&inner, lines(300, 50));
    append(&edge, lines(300, 50));
    let daemon = sandbox.start(&["-c", text(&path)]);
    counted("both are read on", &lines(0, 350));
    daemon.stop();
}

#[test]
fn streams_have_layers_too() {
    let sandbox = Sandbox::new();
    let socket = sandbox.path("log.sock");
    let more = |name: &str, layer: &str| {
        format!("name = {name:?}\nlayer = {layer:?}\nformat = '''{FORMAT}'''\n")
    };
    let config = sandbox.config(&format!(
        "[[source.pipe]]\n{}[[source.syslog]]\nlisten = \"unix://{}\"\n{}",
        more("web", "php"),
        text(&socket),
        more("sent", "backend"),
    ));
    let (piped, sent) = (lines(0, 300), lines(1_000, 20));
    let pipe = sandbox.tollkeeper(["pipe", "web"]);
    sandbox.ran_with_input(pipe, piped.as_bytes()).exited(0);
    let daemon = sandbox.start(&["-c", text(&config)]);
    wait_for("it listens", || socket.exists());
    let sender = std::os::unix::net::UnixDatagram::unbound().expect("a socket");
    for line in sent.lines() {
        let message = format!("<190>Jun 15 12:00:00 web1 nginx: {line}");
        let sent = sender.send_to(message.as_bytes(), &socket);
        sent.expect("a listener");
    }
    let store = Store {
        sandbox: &sandbox,
        database: None,
    };
    let expected = (by_vhost(&piped), by_vhost(&sent));
    wait_until("both are counted apart", || {
        let found = (
            store.sums(&["--layer", "php"]),
            store.sums(&["--layer", "backend"]),
        );
        if found == expected {
            Ok(())
        } else {
            Err(found)
        }
    });
    daemon.stop();
    assert_eq!(sandbox.rows(), []);
}

#[test]
fn forged_names_behind_the_edge_push_no_site_off_its_row() {
    let sandbox = Sandbox::new();
    let config = sandbox.config("[vhosts]\nmax_new_vhosts_per_day = 3\n");
    // The counts of a day are remembered for a year.
    let time = std::time::UNIX_EPOCH.elapsed().expect("a clock").as_secs() - 86_400;
    let log = |name: &str, hosts: &[&str]| {
        let lines = hosts.iter().map(|host| line(time, 200, (1, 2), host, "-"));
        sandbox.write(name, lines.collect::<String>())
    };
    let import = |log: &Path, more: &[&str]| {
        let arguments = ["-c", text(&config), "--format", FORMAT, text(log)];
        sandbox.import(&[&arguments, more].concat());
    };
    let inner = ["--layer", "backend"];
    import(&log("1.log", &["x1.example", "x2.example"]), &inner);
    // The count survives the process.
    import(
        &log("2.log", &["x3.example", "x4.example", "x5.example"]),
        &inner,
    );
    import(
        &log(
            "3.log",
            &["a.example", "b.example", "c.example", "d.example"],
        ),
        &[],
    );
    // What has a row at the edge has one behind it.
    import(
        &log("4.log", &["a.example", "c.example", "x1.example"]),
        &inner,
    );
    let store = Store {
        sandbox: &sandbox,
        database: None,
    };
    let names = |sums: Sums| -> Vec<(String, u64)> {
        let sums = sums.into_iter();
        sums.map(|(vhost, [_, _, requests])| (vhost, requests))
            .collect()
    };
    let row = |vhost: &str, requests| (vhost.to_owned(), requests);
    assert_eq!(
        names(store.sums(&[])),
        [
            row("_overflow", 1),
            row("a.example", 1),
            row("b.example", 1),
            row("c.example", 1),
        ]
    );
    assert_eq!(
        names(store.sums(&inner)),
        [
            row("_overflow", 2),
            row("a.example", 1),
            row("c.example", 1),
            row("x1.example", 2),
            row("x2.example", 1),
            row("x3.example", 1),
        ]
    );
}

#[test]
fn a_store_of_an_older_version_says_what_to_do_and_is_upgraded() {
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.state()).expect("a folder");
    let store = sandbox.state().join("tollkeeper.db");
    let connection = rusqlite::Connection::open(&store).expect("a new file");
    connection
        .execute_batch(include_str!("../sql/sqlite/schema-1.sql"))
        .and_then(|()| {
            connection.execute_batch(&format!(
                "INSERT INTO meta VALUES ('timezone', 'UTC'), ('seed', '00000000000000ff'); \
                 INSERT INTO bandwidth VALUES ('a.example', '{DAY}', 1, 2, 3); \
                 PRAGMA user_version = 1;"
            ))
        })
        .expect("a store");
    drop(connection);
    let log = sandbox.write("a.log", line(NOON, 200, (1, 2), "a.example", "-"));
    let arguments = ["--format", FORMAT, "--layer", "backend", text(&log)];
    let import = || sandbox.ran([&["import"], arguments.as_slice()].concat());
    let run = ["run", "--format", FORMAT, text(&log)];
    for refused in [import(), sandbox.ran(run)] {
        assert_ne!(refused.code, Some(0));
        assert!(
            refused.stderr.contains("run `tollkeeper store upgrade`"),
            "{}",
            refused.stderr
        );
    }
    let edge = [json!({"day": DAY, "vhost": "a.example", "in": 1, "out": 2, "requests": 3})];
    assert_eq!(sandbox.report(&[]), edge);
    let layers = sandbox.ran(["report", "--by", "layer"]).exited(1).stderr;
    assert!(
        layers.contains("run `tollkeeper store upgrade`"),
        "{layers}"
    );

    let shown = sandbox
        .ran(["store", "upgrade", "--dry-run"])
        .exited(0)
        .stdout;
    assert!(shown.contains("CREATE TABLE bandwidth_layer ("), "{shown}");
    import().exited(1);
    let upgraded = sandbox.ran(["store", "upgrade"]).exited(0).stdout;
    assert!(upgraded.starts_with(&shown), "{upgraded}");
    assert!(
        upgraded.contains("is ready; its days are those of UTC"),
        "{upgraded}"
    );
    let again = sandbox.ran(["store", "upgrade"]).exited(0).stdout;
    assert!(!again.contains("CREATE"), "{again}");
    import().exited(0);
    assert_eq!(sandbox.report(&[]), edge);
    assert_eq!(
        sandbox.report(&["--layer", "backend"]),
        [json!({"day": DAY, "vhost": "a.example", "in": 1, "out": 2, "requests": 1})]
    );
}
