//! SIGHUP: the config changes while logs are followed, and no line is lost or counted twice.

mod support;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use support::log::{FORMAT, lines, rows};
use support::{
    Balance, Daemon, Random, Row, Sandbox, append, source, text, wait_for_moment, wait_until,
};

/// Another format, whose numbers stand elsewhere.
const OTHER: &str = "nginx:log_format other '$msec $bytes_sent $request_length $status $host';";

/// One that names no site.
const SITELESS: &str =
    "nginx:log_format s '$msec $status $request_length $bytes_sent $upstream_addr \"$http_x\"';";

/// What the daemon says, once it follows its files.
fn status(sandbox: &Sandbox) -> Value {
    wait_until("the daemon runs", || {
        let ran = sandbox.ran(["status", "--output", "json"]);
        match ran.code == Some(0) && ran.json()["state"] == "running" {
            true => Ok(ran.json()),
            false => Err(ran),
        }
    })
}

/// Sends SIGHUP and waits until the daemon has dealt with it.
#[track_caller]
fn reload(sandbox: &Sandbox, daemon: &Daemon) -> Value {
    let heard = |daemon: &Daemon| {
        let said = daemon.said();
        let ends = ["the new config is in force", "the old one stays in force"];
        ends.map(|end| said.matches(end).count())
            .iter()
            .sum::<usize>()
    };
    let before = heard(daemon);
    daemon.signal(Signal::HUP);
    wait_until("the config is read again", || match heard(daemon) {
        now if now > before => Ok(()),
        _ => Err(daemon.said()),
    });
    wait_until("the reload is settled", || {
        let status = status(sandbox);
        match status["reload"]["result"] == "waiting" {
            true => Err(status),
            false => Ok(status["reload"].clone()),
        }
    })
}

/// The files that are followed, by their names, with their states.
fn files(sandbox: &Sandbox) -> Vec<(String, String)> {
    let status = status(sandbox);
    let files = status["files"].as_array().expect("files");
    let name = |file: &Value| {
        let path = PathBuf::from(file["path"].as_str().expect("a path"));
        path.file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned()
    };
    let state = |file: &Value| file["state"].as_str().expect("a state").to_owned();
    files.iter().map(|file| (name(file), state(file))).collect()
}

#[test]
fn reloads_under_load_lose_and_repeat_nothing() {
    let sandbox = Sandbox::new();
    let logs = [0, 1, 2, 3].map(|number| sandbox.write(&format!("logs/{number}.log"), ""));
    let all: Vec<_> = logs.iter().map(PathBuf::as_path).collect();
    let configs = [
        source(&all, FORMAT, ""),
        // The same, as two sources, with names of their own.
        source(&all[..2], FORMAT, "name = \"one\"") + &source(&all[2..], FORMAT, "name = \"two\""),
        // One log is not covered for a while.
        source(&all[..3], FORMAT, "") + "[class.none]\nnetworks = [\"192.0.2.0/24\"]\n",
        // A format more, that never fits.
        source(&all, OTHER, "").replace(
            &format!("format = '''{OTHER}'''"),
            &format!("format = ['''{FORMAT}''', '''{OTHER}''']"),
        ),
        // Faulty: the one before stays in force.
        source(&all, "nginx:$nonsense", ""),
    ];
    let config = sandbox.config(&configs[0]);
    let mut daemon = sandbox.start(&["-c", text(&config)]);
    let mut random = Random::new("reloads_under_load_lose_and_repeat_nothing");
    status(&sandbox);
    let done = AtomicBool::new(false);
    let written = thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut written = 0;
            while !done.load(Ordering::Relaxed) {
                for log in &logs {
                    append(log, lines(written, 25));
                    written += 25;
                }
                if written % 2_000 == 0 {
                    let log = &logs[(written / 2_000 % 4) as usize];
                    let rotated = log.with_extension(format!("log.{written}"));
                    fs::rename(log, rotated).expect("our own folder");
                }
                wait_for_moment(Instant::now() + Duration::from_millis(5));
            }
            written
        });
        for _ in 0..60 {
            sandbox.config(&configs[random.below(configs.len() as u64) as usize]);
            daemon.signal(Signal::HUP);
            let pause = Duration::from_millis(random.below(120));
            wait_for_moment(Instant::now() + pause);
            daemon.assert_running();
        }
        done.store(true, Ordering::Relaxed);
        writer.join().expect("no panic")
    });
    sandbox.config(&configs[0]);
    assert_eq!(reload(&sandbox, &daemon)["result"], "done");
    sandbox.wait_for_rows(&rows([lines(0, written).as_str()]));
    daemon.stop();
    assert_eq!(sandbox.rows(), rows([lines(0, written).as_str()]));
    assert_eq!(sandbox.stored_balance(), Balance::counted(written));
}

#[test]
fn reloads_between_kills_lose_and_repeat_nothing() {
    let sandbox = Sandbox::new();
    let logs = [0, 1].map(|number| sandbox.write(&format!("logs/{number}.log"), ""));
    let both = source(&[&logs[0], &logs[1]], FORMAT, "");
    let apart = source(&[&logs[1]], FORMAT, "name = \"one\"")
        + &source(&[&logs[0]], FORMAT, "name = \"two\"");
    let configs = [both.clone(), apart, source(&[&logs[1]], FORMAT, "")];
    let mut random = Random::new("reloads_between_kills_lose_and_repeat_nothing");
    let config = sandbox.config(&both);
    let mut daemon = sandbox.start(&["-c", text(&config)]);
    status(&sandbox);
    let mut written = 0;
    for _ in 0..40 {
        for log in &logs {
            let count = 1 + random.below(400);
            append(log, lines(written, count));
            written += count;
        }
        sandbox.config(&configs[random.below(configs.len() as u64) as usize]);
        daemon.signal(Signal::HUP);
        wait_for_moment(Instant::now() + Duration::from_millis(random.below(80)));
        if random.percent(30) {
            daemon.kill();
            daemon = sandbox.start(&["-c", text(&config)]);
            status(&sandbox);
        }
    }
    sandbox.config(&both);
    assert_eq!(reload(&sandbox, &daemon)["result"], "done");
    sandbox.wait_for_rows(&rows([lines(0, written).as_str()]));
    daemon.stop();
    assert_eq!(sandbox.rows(), rows([lines(0, written).as_str()]));
    assert_eq!(sandbox.stored_balance(), Balance::counted(written));
}

#[test]
fn a_bad_config_keeps_the_old_one_and_says_why_with_its_place() {
    let sandbox = Sandbox::new();
    let log = sandbox.write("logs/a.log", lines(0, 10));
    let good = source(&[&log], FORMAT, "");
    let config = sandbox.config(&good);
    let daemon = sandbox.start(&["-c", text(&config)]);
    sandbox.wait_for_rows(&rows([lines(0, 10).as_str()]));

    for (sections, wrong) in [
        // Lines 1 and 2 are those of the sandbox.
        (
            format!("{good}nonsense = 1\n"),
            "tollkeeper.toml:7:1: unknown key \"nonsense\"",
        ),
        (source(&[&log], "nginx:$nonsense", ""), "tollkeeper.toml:5:"),
        (String::new(), "there is nothing to follow"),
        (
            format!("{good}[vhosts]\nknown_file = \"/nowhere/known\"\n"),
            "/nowhere/known",
        ),
        (
            format!("{good}[store]\nurl = \"sqlite:/elsewhere.db\"\n"),
            "the store cannot be changed",
        ),
    ] {
        sandbox.config(&sections);
        let reload = reload(&sandbox, &daemon);
        assert_eq!(reload["result"], "refused", "{sections}");
        let error = reload["error"].as_str().expect("a reason");
        assert!(error.contains(wrong), "{wrong}: {error}");
        assert!(daemon.said().contains(wrong), "{}", daemon.said());
    }
    let text_of_config = fs::read_to_string(&config).expect("our own file");
    fs::write(
        &config,
        text_of_config
            .replace("UTC", "Europe/Warsaw")
            .replace("[store]", "[vhosts]")
            .replace("url = \"sqlite:/elsewhere.db\"", ""),
    )
    .expect("our own file");
    let refused = reload(&sandbox, &daemon);
    let error = refused["error"].as_str().expect("a reason").to_owned();
    assert!(error.contains("the timezone cannot be changed"), "{error}");
    // The table says it too, though the config on disk cannot be used.
    sandbox.config("nonsense = 1\n");
    let ran = sandbox.ran(["status", "-c", text(&config)]).exited(0);
    assert!(
        ran.stdout.contains("the old config stays in force"),
        "{}",
        ran.stdout
    );

    append(&log, lines(10, 10));
    sandbox.wait_for_rows(&rows([lines(0, 20).as_str()]));
    sandbox.config(&good);
    assert_eq!(reload(&sandbox, &daemon)["result"], "done");
    append(&log, lines(20, 10));
    daemon.stop();
    assert_eq!(sandbox.rows(), rows([lines(0, 30).as_str()]));
}

#[test]
fn a_stopped_source_resumes_with_a_fitting_format_and_counts_all_its_lines() {
    let sandbox = Sandbox::new();
    let log = sandbox.write("logs/a.log", lines(0, 300));
    let config = sandbox.config(&source(&[&log], "combined", ""));
    let daemon = sandbox.start(&["-c", text(&config)]);
    let stopped = || vec![("a.log".to_owned(), "stopped".to_owned())];
    wait_until("the format does not fit", || match files(&sandbox) {
        seen if seen == stopped() => Ok(()),
        seen => Err(seen),
    });
    append(&log, lines(300, 50));
    assert_eq!(sandbox.rows(), []);

    sandbox.config(&source(&[&log], FORMAT, ""));
    assert_eq!(reload(&sandbox, &daemon)["result"], "done");
    sandbox.wait_for_rows(&rows([lines(0, 350).as_str()]));
    assert_eq!(files(&sandbox), [("a.log".to_owned(), "living".to_owned())]);
    daemon.stop();
    assert_eq!(sandbox.stored_balance(), Balance::counted(350));
}

#[test]
fn while_the_store_is_away_a_reload_waits_for_it_and_says_so() {
    let sandbox = Sandbox::new();
    let log = sandbox.write("logs/a.log", lines(0, 100));
    let config = sandbox.config(&source(&[&log], FORMAT, "name = \"old\""));
    let daemon = sandbox.start(&["-c", text(&config)]);
    sandbox.wait_for_rows(&rows([lines(0, 100).as_str()]));
    let store =
        rusqlite::Connection::open(sandbox.state().join("tollkeeper.db")).expect("the store");
    store.busy_timeout(support::DEADLINE).expect("a number");
    store
        .execute_batch("ALTER TABLE bandwidth RENAME TO away")
        .expect("the table");
    append(&log, lines(100, 100));
    wait_until("the store is away", || match status(&sandbox) {
        seen if seen["store"]["answers"] == false => Ok(()),
        seen => Err(seen),
    });
    // Two configs, of which the later one counts.
    for (number, name) in ["never", "new"].iter().enumerate() {
        sandbox.config(&source(&[&log], FORMAT, &format!("name = \"{name}\"")));
        daemon.signal(Signal::HUP);
        let heard = || daemon.said().matches("reading the config again").count();
        wait_until("it is read", || match status(&sandbox) {
            seen if heard() > number && seen["reload"]["result"] == "waiting" => Ok(()),
            seen => Err(seen),
        });
    }
    append(&log, lines(200, 100));
    assert_eq!(status(&sandbox)["sources"][0]["name"], "old");
    store
        .execute_batch("ALTER TABLE away RENAME TO bandwidth")
        .expect("the table");
    sandbox.wait_for_rows(&rows([lines(0, 300).as_str()]));
    // It comes into force once the batch is settled, a moment after its rows are there.
    wait_until("it is in force", || match status(&sandbox) {
        seen if seen["reload"]["result"] == "done" => Ok(()),
        seen => Err(seen),
    });
    assert_eq!(status(&sandbox)["sources"][0]["name"], "new");
    daemon.stop();
    assert_eq!(sandbox.stored_balance(), Balance::counted(300));
}

#[test]
fn a_log_whose_format_could_not_be_told_is_read_once_it_is_said() {
    let sandbox = Sandbox::new();
    let log = sandbox.write("logs/a.log", lines(0, 300));
    let config = sandbox.config(&source(&[&log], "auto", ""));
    let daemon = sandbox.start(&["-c", text(&config)]);
    wait_until("the format is not told", || match files(&sandbox) {
        seen if seen == [("a.log".to_owned(), "waiting".to_owned())] => Ok(()),
        seen => Err(seen),
    });
    sandbox.config(&source(&[&log], FORMAT, ""));
    assert_eq!(reload(&sandbox, &daemon)["result"], "done");
    sandbox.wait_for_rows(&rows([lines(0, 300).as_str()]));
    daemon.stop();
    assert_eq!(sandbox.stored_balance(), Balance::counted(300));
}

#[test]
fn a_log_that_is_no_longer_covered_is_read_to_its_end_and_goes_on_there_later() {
    let sandbox = Sandbox::new();
    let [kept, left] = ["kept", "left"].map(|name| sandbox.write(&format!("logs/{name}.log"), ""));
    let both = source(&[&kept, &left], FORMAT, "");
    let one = source(&[&kept], FORMAT, "");
    let config = sandbox.config(&both);
    let daemon = sandbox.start(&["-c", text(&config)]);
    wait_until("both are followed", || match files(&sandbox).len() {
        2 => Ok(()),
        count => Err(count),
    });
    sandbox.config(&one);
    // What is there when the config changes is counted.
    append(&left, lines(0, 10_000));
    assert_eq!(reload(&sandbox, &daemon)["result"], "done");
    sandbox.wait_for_rows(&rows([lines(0, 10_000).as_str()]));
    wait_until("it is let go", || match files(&sandbox) {
        seen if seen == [("kept.log".to_owned(), "living".to_owned())] => Ok(()),
        seen => Err(seen),
    });
    // What comes then is not, until it is covered again.
    append(&left, lines(10_000, 100));
    append(&kept, lines(20_000, 100));
    sandbox.wait_for_rows(&rows([lines(0, 10_000).as_str(), &lines(20_000, 100)]));
    sandbox.config(&both);
    assert_eq!(reload(&sandbox, &daemon)["result"], "done");
    sandbox.wait_for_rows(&rows([lines(0, 10_100).as_str(), &lines(20_000, 100)]));
    daemon.stop();
    assert_eq!(sandbox.stored_balance(), Balance::counted(10_200));
}

#[test]
fn a_log_rotated_while_it_was_not_covered_is_finished_first() {
    let sandbox = Sandbox::new();
    let [kept, left] = ["kept", "left"].map(|name| sandbox.write(&format!("logs/{name}.log"), ""));
    let config = sandbox.config(&source(&[&kept, &left], FORMAT, ""));
    let daemon = sandbox.start(&["-c", text(&config)]);
    append(&left, lines(0, 100));
    sandbox.wait_for_rows(&rows([lines(0, 100).as_str()]));
    sandbox.config(&source(&[&kept], FORMAT, ""));
    assert_eq!(reload(&sandbox, &daemon)["result"], "done");
    wait_until("it is let go", || match files(&sandbox).len() {
        1 => Ok(()),
        count => Err(count),
    });
    append(&left, lines(100, 100));
    fs::rename(&left, left.with_extension("log.1")).expect("our own folder");
    append(&left, lines(200, 100));
    sandbox.config(&source(&[&kept, &left], FORMAT, ""));
    assert_eq!(reload(&sandbox, &daemon)["result"], "done");
    sandbox.wait_for_rows(&rows([lines(0, 300).as_str()]));
    daemon.stop();
    assert_eq!(sandbox.stored_balance(), Balance::counted(300));
}

#[test]
fn logs_in_an_olddir_stay_with_their_source_and_later_ones_are_found() {
    let sandbox = Sandbox::new();
    let log = sandbox.write("logs/a.example/access.log", lines(0, 10));
    let all = sandbox.path("logs/*/access.log");
    let more = "vhost = \"{1}\"\nolddir = \"old\"";
    let config = sandbox.config(&source(&[&all], SITELESS, more));
    let site = |count: u64| {
        let row = |row: Row| (row.vhost, row.requests);
        let rows: Vec<_> = sandbox.rows().into_iter().map(row).collect();
        match rows == [("a.example".to_owned(), count)] {
            true => Ok(()),
            false => Err(rows),
        }
    };
    let daemon = sandbox.start(&["-c", text(&config)]);
    wait_until("the log is counted", || site(10));
    let old = sandbox.path("logs/a.example/old");
    fs::create_dir(&old).expect("our own folder");
    let rotate = |number: u64| {
        let rotated = old.join(format!("access.log-2026010{number}"));
        fs::rename(&log, &rotated).expect("our own file");
        rotated
    };
    let first = rotate(1);
    append(&log, lines(100, 10));
    wait_until("both are counted", || site(20));

    assert_eq!(reload(&sandbox, &daemon)["result"], "done");
    // An old worker still has the rotated one.
    append(&first, lines(200, 10));
    wait_until("its last lines are counted", || site(30));
    assert!(files(&sandbox).iter().all(|(_, state)| state != "leaving"));
    daemon.signal(Signal::STOP);
    for number in 2..5 {
        append(&log, lines(300 * number, 10));
        rotate(number);
    }
    append(&log, lines(5_000, 10));
    daemon.signal(Signal::CONT);
    wait_until("what began and was rotated meanwhile is counted", || {
        site(70)
    });
    assert!(!daemon.said().contains("several logs"), "{}", daemon.said());
    daemon.stop();
}

#[test]
fn another_name_of_the_site_holds_for_what_comes_and_a_restart_counts_nothing_twice() {
    let format = "nginx:log_format one '$msec $status $request_length $bytes_sent';";
    let line = |seconds: u64| format!("{}.000 200 10 100\n", support::log::NOON + seconds);
    let sandbox = Sandbox::new();
    let log = sandbox.write("logs/a.log", line(1));
    let config = sandbox.config(&source(&[&log], format, "vhost = \"old.example\""));
    let daemon = sandbox.start(&["-c", text(&config)]);
    let requests = |expected: &[(&str, u64)]| {
        wait_until("the rows are the expected ones", || {
            let seen: Vec<_> = sandbox
                .rows()
                .into_iter()
                .map(|row| (row.vhost, row.requests))
                .collect();
            let expected = expected
                .iter()
                .map(|(vhost, requests)| ((*vhost).to_owned(), *requests));
            match expected.eq(seen.clone()) {
                true => Ok(()),
                false => Err(seen),
            }
        });
    };
    requests(&[("old.example", 1)]);
    sandbox.config(&source(&[&log], format, "vhost = \"new.example\""));
    assert_eq!(reload(&sandbox, &daemon)["result"], "done");
    append(&log, line(2));
    requests(&[("new.example", 1), ("old.example", 1)]);
    daemon.stop();
    let daemon = sandbox.start(&["-c", text(&config)]);
    append(&log, line(3));
    requests(&[("new.example", 2), ("old.example", 1)]);
    // The same where the config changes while the daemon is away.
    daemon.stop();
    sandbox.config(&source(&[&log], format, "vhost = \"third.example\""));
    let daemon = sandbox.start(&["-c", text(&config)]);
    append(&log, line(4));
    requests(&[("new.example", 2), ("old.example", 1), ("third.example", 1)]);
    daemon.stop();
    assert_eq!(sandbox.stored_balance(), Balance::counted(4));
}

#[test]
fn names_classes_and_caps_change_without_a_restart() {
    let format =
        "nginx:log_format c '$msec $status $request_length $bytes_sent $remote_addr $host';";
    let line = |number: u64, host: &str| {
        let time = support::log::NOON + number;
        format!("{time}.000 200 10 100 192.0.2.7 {host}\n")
    };
    let sandbox = Sandbox::new();
    let log = sandbox.write("logs/a.log", line(1, "www.a.example"));
    let sections = |more: &str| source(&[&log], format, "") + more;
    let config = sandbox.config(&sections("[class.one]\nnetworks = [\"192.0.2.0/24\"]\n"));
    let daemon = sandbox.start(&["-c", text(&config)]);
    let by_class = |expected: &[(&str, Option<&str>)]| {
        wait_until("the rows are the expected ones", || {
            let rows = sandbox.report(&["--by", "vhost,class"]);
            let seen: Vec<_> = rows
                .iter()
                .map(|row| {
                    (
                        row["vhost"].as_str().expect("a name"),
                        row["class"].as_str(),
                    )
                })
                .collect();
            match seen == expected {
                true => Ok(()),
                false => Err(rows.clone()),
            }
        });
    };
    by_class(&[("www.a.example", Some("one"))]);
    sandbox.config(&sections(
        "[class.a]\nnetworks = [\"198.51.100.0/24\"]\n[class.two]\nnetworks = [\"192.0.2.0/24\"]\n\
         [vhosts]\nfold_www = true\nmax_new_vhosts_per_day = 2\n",
    ));
    assert_eq!(reload(&sandbox, &daemon)["result"], "done");
    append(&log, line(2, "www.a.example"));
    by_class(&[("a.example", Some("two")), ("www.a.example", Some("one"))]);
    append(&log, line(3, "b.example"));
    by_class(&[
        ("_overflow", Some("two")),
        ("a.example", Some("two")),
        ("www.a.example", Some("one")),
    ]);
    daemon.stop();
}
