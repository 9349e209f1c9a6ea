//! What has been counted is not counted again, however often and by whatever name it comes.

mod support;

use std::fs;

use support::log::{DAY, FORMAT, NOON, line, lines, rows};
use support::{Balance, Row, Sandbox, append, source, text};

const F: [&str; 2] = ["--format", FORMAT];

fn import(sandbox: &Sandbox, more: &[&str]) -> Balance {
    sandbox.import(&[&F, more].concat()).balance()
}

/// The file after `-` is standard input.
fn import_stdin(sandbox: &Sandbox, content: &[u8]) -> Balance {
    let command = sandbox.tollkeeper(sandbox.import_args(&[F[0], F[1], "-"]));
    sandbox.ran_with_input(command, content).exited(0).balance()
}

const NOTHING: Balance = Balance {
    lines: 0,
    counted: 0,
    unparsed: 0,
    ignored: 0,
    unattributed: 0,
};

#[test]
fn the_same_log_twice() {
    let sandbox = Sandbox::new();
    let content = lines(0, 1_000);
    let log = sandbox.write("access.log", &content);
    assert_eq!(import(&sandbox, &[text(&log)]), Balance::counted(1_000));
    let again = sandbox.import(&[F[0], F[1], text(&log)]);
    assert_eq!(again.balance(), NOTHING);
    assert!(
        again.stderr.contains("--again"),
        "it says what to do:\n{}",
        again.stderr
    );
    assert_eq!(sandbox.rows(), rows([content.as_str()]));
}

#[test]
fn the_same_log_twice_in_one_import() {
    let sandbox = Sandbox::new();
    let content = lines(0, 1_000);
    let (log, copy) = (
        sandbox.write("access.log", &content),
        sandbox.write("copy/access.log", &content),
    );
    assert_eq!(
        import(&sandbox, &[text(&log), text(&copy), text(&log)]),
        Balance::counted(1_000)
    );
    assert_eq!(sandbox.rows(), rows([content.as_str()]));
}

#[test]
fn packed_after_plain_and_plain_after_packed() {
    for packed_first in [false, true] {
        let sandbox = Sandbox::new();
        let content = lines(0, 1_000);
        let plain = sandbox.write("access.log.1", &content);
        let packed = sandbox.write_gz("access.log.2.gz", &[content.as_bytes()]);
        let (first, second) = if packed_first {
            (&packed, &plain)
        } else {
            (&plain, &packed)
        };
        assert_eq!(import(&sandbox, &[text(first)]), Balance::counted(1_000));
        assert_eq!(import(&sandbox, &[text(second)]), NOTHING);
        assert_eq!(sandbox.rows(), rows([content.as_str()]));
    }
}

#[test]
fn renamed_and_copied() {
    let sandbox = Sandbox::new();
    let content = lines(0, 1_000);
    let log = sandbox.write("access.log", &content);
    import(&sandbox, &[text(&log)]);
    let renamed = sandbox.path("old.log");
    fs::rename(&log, &renamed).expect("our own folder");
    assert_eq!(import(&sandbox, &[text(&renamed)]), NOTHING);
    let copy = sandbox.write("elsewhere/some.log", &content);
    assert_eq!(import(&sandbox, &[text(&copy)]), NOTHING);
    assert_eq!(sandbox.rows(), rows([content.as_str()]));
}

#[test]
fn grown_since() {
    let sandbox = Sandbox::new();
    let (first, second) = (lines(0, 1_000), lines(1_000, 500));
    let log = sandbox.write("access.log", &first);
    import(&sandbox, &[text(&log)]);
    append(&log, &second);
    assert_eq!(import(&sandbox, &[text(&log)]), Balance::counted(500));
    // And once more, packed and rotated.
    let third = lines(1_500, 100);
    let whole = [first.as_str(), &second, &third].concat();
    let packed = sandbox.write_gz("access.log.1.gz", &[whole.as_bytes()]);
    assert_eq!(import(&sandbox, &[text(&packed)]), Balance::counted(100));
    assert_eq!(sandbox.rows(), rows([whole.as_str()]));
}

#[test]
fn an_earlier_copy_of_a_log_that_was_read_further() {
    let sandbox = Sandbox::new();
    let whole = lines(0, 1_000);
    let log = sandbox.write("access.log", &whole);
    import(&sandbox, &[text(&log)]);
    let earlier = &whole[..whole[..whole.len() / 2].rfind('\n').expect("lines") + 1];
    let backup = sandbox.write("access.log.1", earlier);
    assert_eq!(import(&sandbox, &[text(&backup)]), NOTHING);
    assert_eq!(sandbox.rows(), rows([whole.as_str()]));
}

#[test]
fn two_archives_glued_together() {
    let sandbox = Sandbox::new();
    let (monday, tuesday) = (lines(0, 1_000), lines(1_000, 1_000));
    let glued = sandbox.write_gz("week.log.gz", &[monday.as_bytes(), tuesday.as_bytes()]);
    assert_eq!(import(&sandbox, &[text(&glued)]), Balance::counted(2_000));
    let plain = sandbox.write("week.log", [monday.as_str(), &tuesday].concat());
    assert_eq!(import(&sandbox, &[text(&plain)]), NOTHING);
    assert_eq!(sandbox.rows(), rows([monday.as_str(), &tuesday]));
}

#[test]
fn standard_input_after_the_file_and_the_file_after_it() {
    let content = lines(0, 1_000);
    let expected = rows([content.as_str()]);
    let sandbox = Sandbox::new();
    let log = sandbox.write("access.log", &content);
    assert_eq!(import(&sandbox, &[text(&log)]), Balance::counted(1_000));
    assert_eq!(import_stdin(&sandbox, content.as_bytes()), NOTHING);
    assert_eq!(sandbox.rows(), expected);

    let sandbox = Sandbox::new();
    let log = sandbox.write("access.log", &content);
    assert_eq!(
        import_stdin(&sandbox, content.as_bytes()),
        Balance::counted(1_000)
    );
    assert_eq!(import_stdin(&sandbox, content.as_bytes()), NOTHING);
    assert_eq!(import(&sandbox, &[text(&log)]), NOTHING);
    assert_eq!(sandbox.rows(), expected);
}

#[test]
fn import_of_a_log_that_is_followed() {
    let sandbox = Sandbox::new();
    let content = lines(0, 1_000);
    let log = sandbox.write("access.log", &content);
    let config = sandbox.config(&source(&[&log], FORMAT, ""));
    let daemon = sandbox.start(&["-c", text(&config)]);
    let expected = rows([content.as_str()]);
    sandbox.wait_for_rows(&expected);
    assert_eq!(import(&sandbox, &[text(&log)]), NOTHING);
    let packed = sandbox.write_gz("access.log.1.gz", &[content.as_bytes()]);
    assert_eq!(import(&sandbox, &[text(&packed)]), NOTHING);
    // The daemon goes on where it was.
    let more = lines(1_000, 10);
    append(&log, &more);
    sandbox.wait_for_rows(&rows([content.as_str(), &more]));
    daemon.stop();
}

#[test]
fn following_a_log_that_was_imported() {
    let sandbox = Sandbox::new();
    let content = lines(0, 1_000);
    let log = sandbox.write("access.log", &content);
    import(&sandbox, &[text(&log)]);
    let more = lines(1_000, 500);
    append(&log, &more);
    let config = sandbox.config(&source(&[&log], FORMAT, ""));
    let daemon = sandbox.start(&["-c", text(&config)]);
    sandbox.wait_for_rows(&rows([content.as_str(), &more]));
    daemon.stop();
    assert_eq!(sandbox.stored_balance(), Balance::counted(1_500));
}

#[test]
fn following_a_log_that_another_node_imported() {
    let sandbox = Sandbox::new();
    let content = lines(0, 1_000);
    let log = sandbox.write("access.log", &content);
    import(&sandbox, &["--node", "elsewhere", text(&log)]);
    let config = sandbox.config(&source(&[&log], FORMAT, ""));
    let mut written = content;
    for first in [1_000, 2_000, 3_000] {
        let more = lines(first, 500);
        append(&log, &more);
        written.push_str(&more);
        let daemon = sandbox.start(&["-c", text(&config)]);
        sandbox.wait_for_rows(&rows([written.as_str()]));
        daemon.stop();
        // It is this node's to follow, whoever reads it meanwhile.
        assert_eq!(
            import(&sandbox, &["--node", "elsewhere", text(&log)]),
            NOTHING
        );
    }
    std::fs::rename(&log, sandbox.path("access.log.1")).expect("renamed");
    let daemon = sandbox.start(&["-c", text(&config)]);
    let more = lines(4_000, 500);
    append(&log, &more);
    written.push_str(&more);
    sandbox.wait_for_rows(&rows([written.as_str()]));
    daemon.stop();
}

#[test]
fn a_machine_that_gets_another_name_goes_on_where_it_was() {
    let sandbox = Sandbox::new();
    let log = sandbox.write("access.log", "");
    let config = sandbox.config(&source(&[&log], FORMAT, ""));
    let mut written = String::new();
    for (round, node) in ["old", "new", "new", "old"].into_iter().enumerate() {
        let more = lines(round as u64 * 1_000, 500);
        append(&log, &more);
        written.push_str(&more);
        let daemon = sandbox.start(&["-c", text(&config), "--node", node]);
        sandbox.wait_for_rows(&rows([written.as_str()]));
        daemon.stop();
    }
    assert_eq!(sandbox.stored_balance(), Balance::counted(2_000));
}

#[test]
fn again_counts_it_twice_and_only_then() {
    let sandbox = Sandbox::new();
    let content = lines(0, 1_000);
    let log = sandbox.write("access.log", &content);
    import(&sandbox, &[text(&log)]);
    assert_eq!(
        import(&sandbox, &["--again", text(&log)]),
        Balance::counted(1_000)
    );
    assert_eq!(sandbox.rows(), rows([content.as_str(), &content]));
    assert_eq!(import(&sandbox, &[text(&log)]), NOTHING);
    assert_eq!(sandbox.rows(), rows([content.as_str(), &content]));
}

#[test]
fn a_dry_run_stores_nothing() {
    let sandbox = Sandbox::new();
    let content = lines(0, 1_000);
    let log = sandbox.write("access.log", &content);
    for _ in 0..2 {
        assert_eq!(
            import(&sandbox, &["--dry-run", text(&log)]),
            Balance::counted(1_000)
        );
        assert_eq!(sandbox.report(&[]).len(), 0);
    }
    assert!(
        !sandbox.state().exists(),
        "not even the state directory is made"
    );
    assert_eq!(import(&sandbox, &[text(&log)]), Balance::counted(1_000));
    assert_eq!(sandbox.rows(), rows([content.as_str()]));
}

#[test]
fn many_logs_that_begin_alike_are_all_counted() {
    let sandbox = Sandbox::new();
    // The monitoring asks every site first, so all logs begin with the same line; some hold no more.
    let first = line(NOON, 200, (100, 1_000), "-", "-");
    let mut logs = Vec::new();
    let mut expected = Vec::new();
    for site in 0..20 {
        let more = if site % 4 == 0 {
            String::new()
        } else {
            line(NOON + site, 200, (1, site), "-", "-")
        };
        logs.push(sandbox.write(
            &format!("logs/site{site}.example.log"),
            format!("{first}{more}"),
        ));
        expected.push(Row {
            day: DAY.to_owned(),
            vhost: format!("site{site}.example"),
            user: None,
            bytes_in: 100 + u64::from(!more.is_empty()),
            bytes_out: 1_000 + if more.is_empty() { 0 } else { site },
            requests: 1 + u64::from(!more.is_empty()),
        });
    }
    expected.sort();
    // The format names no vhost; the file's name does.
    let format = "nginx:$msec $status $request_length $bytes_sent - \"$remote_user\"";
    let all = sandbox.path("logs/*.log");
    let config = sandbox.config(&source(&[&all], format, "vhost = \"{1}\""));
    let daemon = sandbox.start(&["-c", text(&config)]);
    sandbox.wait_for_rows(&expected);
    daemon.stop();
    // And by import, each for its site: it knows them all.
    for (site, log) in logs.iter().enumerate() {
        let vhost = format!("site{site}.example");
        let ran = sandbox.import(&["--format", format, "--vhost", &vhost, text(log)]);
        assert_eq!(ran.balance(), NOTHING, "{vhost}");
    }
    assert_eq!(sandbox.rows(), expected);
}

#[test]
fn logs_of_many_sites_with_the_same_first_kilobyte_are_all_counted() {
    let sandbox = Sandbox::new();
    let first = line(NOON, 200, (100, 1_000), "a.example", "-").repeat(100);
    let logs: Vec<_> = (0..5)
        .map(|number| {
            sandbox.write(
                &format!("{number}.log"),
                format!("{first}{}", lines(number, 1)),
            )
        })
        .collect();
    let paths: Vec<&str> = logs.iter().map(|log| text(log)).collect();
    assert_eq!(import(&sandbox, &paths), Balance::counted(505));
    assert_eq!(import(&sandbox, &paths), NOTHING);
}

#[test]
fn unparsed_lines_are_read_again_with_a_better_format() {
    let sandbox = Sandbox::new();
    let with_user = |number: u64| {
        line(
            NOON + number,
            200,
            (number, 10 * number),
            "a.example",
            "alice",
        )
    };
    let without = |number: u64| {
        format!(
            "{}.000 200 {number} {} a.example\n",
            NOON + number,
            10 * number
        )
    };
    // A stretch in another format, two garbage lines in it, and single lines here and there.
    let mut content = String::new();
    for number in 0..300 {
        content += &match number {
            100..150 | 7 | 200 => without(number),
            _ => with_user(number),
        };
        if number == 120 || number == 250 {
            content += "garbage\n";
        }
    }
    let log = sandbox.write("access.log", &content);
    let first = import(&sandbox, &[text(&log)]);
    assert_eq!(
        first,
        Balance {
            lines: 302,
            counted: 248,
            unparsed: 54,
            ..Balance::default()
        }
    );

    let other = "nginx:$msec $status $request_length $bytes_sent $host";
    let again = sandbox
        .import(&["--unparsed", "--format", other, text(&log)])
        .balance();
    assert_eq!(
        again,
        Balance {
            lines: 54,
            counted: 52,
            unparsed: 2,
            ..Balance::default()
        }
    );
    let stored = sandbox.stored_balance();
    assert_eq!(
        stored,
        Balance {
            lines: 302,
            counted: 300,
            unparsed: 2,
            ..Balance::default()
        }
    );
    let sums = sandbox.report(&["--by", "vhost"]);
    assert_eq!(sums.len(), 1);
    assert_eq!(sums[0]["in"], (0..300).sum::<u64>());
    assert_eq!(sums[0]["out"], 10 * (0..300).sum::<u64>());
    assert_eq!(sums[0]["requests"], 300);

    // Only what still does not parse is left.
    let once_more = sandbox
        .import(&["--unparsed", "--format", other, text(&log)])
        .balance();
    assert_eq!(
        once_more,
        Balance {
            lines: 2,
            unparsed: 2,
            ..Balance::default()
        }
    );
    assert_eq!(sandbox.stored_balance(), stored);
}

#[test]
fn unparsed_lines_are_found_again_in_the_archive() {
    let sandbox = Sandbox::new();
    let odd = format!("{NOON}.000 200 1 2 b.example\n");
    let content = [lines(0, 200), odd.repeat(3), lines(200, 200)].concat();
    let log = sandbox.write("access.log", &content);
    assert_eq!(import(&sandbox, &[text(&log)]).unparsed, 3);
    fs::remove_file(&log).expect("our own file");
    let packed = sandbox.write_gz("access.log.1.gz", &[content.as_bytes()]);
    let format = "nginx:$msec $status $request_length $bytes_sent $host";
    let again = sandbox
        .import(&["--unparsed", "--format", format, text(&packed)])
        .balance();
    assert_eq!(again, Balance::counted(3));
    assert_eq!(sandbox.stored_balance(), Balance::counted(403));
}

#[test]
fn unparsed_lines_of_a_followed_log_are_read_again_while_it_is_followed() {
    let sandbox = Sandbox::new();
    let odd = format!("{NOON}.000 200 1 2 b.example\n");
    let log = sandbox.write(
        "access.log",
        [lines(0, 200), odd.repeat(3), lines(200, 200)].concat(),
    );
    let config = sandbox.config(&source(&[&log], FORMAT, ""));
    let daemon = sandbox.start(&["-c", text(&config)]);
    let content = lines(0, 400);
    sandbox.wait_for_rows(&rows([content.as_str()]));
    let format = "nginx:$msec $status $request_length $bytes_sent $host";
    let again = sandbox.import(&["--unparsed", "--format", format, text(&log)]);
    assert_eq!(again.balance(), Balance::counted(3));
    append(&log, lines(400, 100));
    let with_user = odd.replace('\n', " \"-\"\n").repeat(3);
    sandbox.wait_for_rows(&rows([lines(0, 500).as_str(), &with_user]));
    daemon.stop();
    assert_eq!(sandbox.stored_balance(), Balance::counted(503));
}

#[test]
fn a_stream_that_has_grown_is_counted_from_where_it_was() {
    let sandbox = Sandbox::new();
    assert_eq!(
        import_stdin(&sandbox, lines(0, 100).as_bytes()),
        Balance::counted(100)
    );
    assert_eq!(
        import_stdin(&sandbox, lines(0, 130).as_bytes()),
        Balance::counted(30)
    );
    let log = sandbox.write("access.log", lines(0, 150));
    assert_eq!(import(&sandbox, &[text(&log)]), Balance::counted(20));
    assert_eq!(
        import_stdin(&sandbox, lines(0, 151).as_bytes()),
        Balance::counted(1)
    );
    assert_eq!(sandbox.rows(), rows([lines(0, 151).as_str()]));
    assert_eq!(sandbox.stored_balance(), Balance::counted(151));
}

#[test]
fn names_are_still_right_behind_what_was_counted_of_a_stream() {
    for threads in ["1", "2"] {
        let sandbox = Sandbox::new();
        let (before, all) = (lines(0, 100), lines(0, 150));
        for (content, expected) in [(&before, 100), (&all, 50)] {
            let arguments = [F[0], F[1], "--threads", threads, "-"];
            let command = sandbox.tollkeeper(sandbox.import_args(&arguments));
            let ran = sandbox.ran_with_input(command, content.as_bytes());
            assert_eq!(ran.exited(0).balance(), Balance::counted(expected));
        }
        assert_eq!(sandbox.rows(), rows([all.as_str()]), "{threads} threads");
    }
}

#[test]
fn streams_that_begin_with_the_same_line_are_two() {
    let sandbox = Sandbox::new();
    let first = lines(0, 1);
    assert_eq!(
        import_stdin(&sandbox, first.as_bytes()),
        Balance::counted(1)
    );
    let other = first.clone() + &lines(50, 20);
    assert_eq!(
        import_stdin(&sandbox, other.as_bytes()),
        Balance::counted(21)
    );
    assert_eq!(import_stdin(&sandbox, first.as_bytes()), NOTHING);
}

#[test]
fn unparsed_lines_of_a_log_that_was_counted_again_are_all_read_again() {
    let sandbox = Sandbox::new();
    let log = sandbox.write("access.log", lines(0, 10) + "bad\nworse\n" + &lines(10, 10));
    import(&sandbox, &[text(&log)]);
    import(&sandbox, &["--again", text(&log)]);
    assert_eq!(sandbox.stored_balance().unparsed, 4);
    let again = sandbox.import(&[F[0], F[1], "--unparsed", text(&log)]);
    assert_eq!(again.balance().unparsed, 4, "{}", again.stderr);
    assert_eq!(sandbox.stored_balance().unparsed, 4);
}
