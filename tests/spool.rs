//! Spools of streams under the daemon: records are counted once, and segments go when all of them is
//! committed.

mod support;

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::Signal;
use support::log::{FORMAT, lines, rows};
use support::{Balance, Sandbox, text, wait_for, wait_for_moment, wait_until};
use tollkeeper::source::spool::{self, Limits, Writer};

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.expect("after 1970").as_secs().cast_signed()
}

/// A `[[source.pipe]]` with the format of the logs made here.
fn pipe(name: &str) -> String {
    format!("[[source.pipe]]\nname = {name:?}\nformat = '''{FORMAT}'''\n")
}

fn folder(sandbox: &Sandbox) -> PathBuf {
    spool::folder(&sandbox.state(), "web")
}

fn writer(sandbox: &Sandbox) -> Writer {
    let folder = folder(sandbox);
    fs::create_dir_all(folder.parent().expect("a folder above")).expect("a folder");
    Writer::open(&folder, Limits::default(), now())
}

/// Appends each line of a log as a message.
fn append(writer: &mut Writer, log: &str) {
    for line in log.lines() {
        writer.append(None, line.as_bytes());
    }
    writer.write(now());
}

fn segments(sandbox: &Sandbox) -> Vec<PathBuf> {
    let segments = spool::segments(&folder(sandbox)).expect("a folder");
    segments.into_iter().map(|segment| segment.path).collect()
}

fn wait_until_all_is_deleted(sandbox: &Sandbox) {
    wait_until("all segments are deleted", || match segments(sandbox) {
        left if left.is_empty() => Ok(()),
        left => Err(left),
    });
}

/// Rows of positions that the store has.
fn positions(sandbox: &Sandbox) -> i64 {
    let store = rusqlite::Connection::open(sandbox.state().join("tollkeeper.db"));
    let count = store
        .expect("the store")
        .query_row("SELECT count(*) FROM position", [], |row| row.get(0));
    count.expect("a number")
}

#[test]
fn records_are_counted_and_segments_deleted() {
    let sandbox = Sandbox::new();
    let config = sandbox.config(&pipe("web"));
    let daemon = sandbox.start(&["-c", text(&config)]);
    let (mut one, mut two) = (writer(&sandbox), writer(&sandbox));
    let (first, second) = (lines(0, 1_000), lines(1_000, 500));
    append(&mut one, &first);
    append(&mut two, &second);
    sandbox.wait_for_rows(&rows([first.as_str(), &second]));
    assert_eq!(segments(&sandbox).len(), 2, "both are being written");
    let third = lines(2_000, 10);
    append(&mut one, &third);
    assert_eq!(one.close(now()), []);
    assert_eq!(two.close(now()), []);
    sandbox.wait_for_rows(&rows([first.as_str(), &second, &third]));
    wait_until_all_is_deleted(&sandbox);
    wait_for("their rows are forgotten", || positions(&sandbox) == 0);
    daemon.stop();
    assert_eq!(sandbox.stored_balance(), Balance::counted(1_510));
    assert_eq!(sandbox.gaps(), []);
}

#[test]
fn what_came_while_the_daemon_was_away_is_counted_at_its_start() {
    let sandbox = Sandbox::new();
    let config = sandbox.config(&pipe("web"));
    let mut all = String::new();
    for round in 0..3 {
        let mut writer = writer(&sandbox);
        let log = lines(round * 1_000, 300);
        append(&mut writer, &log);
        all.push_str(&log);
        assert_eq!(writer.close(now()), []);
    }
    let daemon = sandbox.start(&["-c", text(&config)]);
    sandbox.wait_for_rows(&rows([all.as_str()]));
    // A stop ends only when what can go has gone.
    daemon.stop();
    assert_eq!(segments(&sandbox), [] as [PathBuf; 0]);
    assert_eq!(positions(&sandbox), 0);
}

#[test]
fn nothing_is_lost_or_counted_twice_however_often_the_daemon_is_killed() {
    let sandbox = Sandbox::new();
    let config = sandbox.config(&pipe("web"));
    let mut all = String::new();
    let mut writers = vec![writer(&sandbox), writer(&sandbox), writer(&sandbox)];
    let end = Instant::now() + Duration::from_secs(12);
    let mut round = 0;
    while Instant::now() < end {
        let daemon = sandbox.start(&["-c", text(&config)]);
        let killed = Instant::now() + Duration::from_millis(100 + 173 * (round % 11));
        while Instant::now() < killed {
            let log = lines(all.len() as u64, 50);
            let which = (round % 3) as usize;
            append(&mut writers[which], &log);
            all.push_str(&log);
            if round.is_multiple_of(2) {
                let ended = std::mem::replace(&mut writers[which], writer(&sandbox));
                assert_eq!(ended.close(now()), []);
            }
            wait_for_moment(Instant::now() + Duration::from_millis(30));
            round += 1;
        }
        daemon.kill();
    }
    for writer in writers {
        assert_eq!(writer.close(now()), []);
    }
    let daemon = sandbox.start(&["-c", text(&config)]);
    sandbox.wait_for_rows(&rows([all.as_str()]));
    wait_until_all_is_deleted(&sandbox);
    daemon.stop();
    assert_eq!(sandbox.rows(), rows([all.as_str()]));
    assert_eq!(sandbox.gaps(), []);
}

#[test]
fn a_torn_record_is_a_gap_and_what_is_whole_is_counted() {
    let sandbox = Sandbox::new();
    let config = sandbox.config(&pipe("web"));
    let log = lines(0, 100);
    for tail in ["0123456789abcdef", "0123456789abcdef\n", "\0\0\0\0\0\0\0\0"] {
        let mut writer = writer(&sandbox);
        append(&mut writer, &log);
        assert_eq!(writer.close(now()), []);
        let segment = segments(&sandbox).pop().expect("a segment");
        let mut segment = fs::OpenOptions::new()
            .append(true)
            .open(segment)
            .expect("a segment");
        segment.write_all(tail.as_bytes()).expect("written");
        drop(segment);
        let daemon = sandbox.start(&["-c", text(&config)]);
        wait_until_all_is_deleted(&sandbox);
        daemon.stop();
    }
    assert_eq!(sandbox.rows(), rows([log.as_str(); 3]));
    let gaps = sandbox.gaps();
    let reasons: Vec<&str> = gaps.iter().map(|(_, _, reason)| reason.as_str()).collect();
    assert_eq!(
        reasons,
        [
            "16 bytes of a record that was not written to its end",
            "a torn record",
            "8 bytes of a record that was not written to its end",
        ]
    );
    assert!(
        gaps.iter()
            .all(|(path, ..)| path == text(&folder(&sandbox))),
        "{gaps:?}"
    );
}

#[test]
fn losses_are_gaps_of_their_minute() {
    let sandbox = Sandbox::new();
    let config = sandbox.config(&pipe("web"));
    let mut writer = writer(&sandbox);
    let log = lines(0, 10);
    append(&mut writer, &log);
    let minute = 1_718_452_800 / 60;
    writer.lose(minute, Some(17), "the receive buffer was full");
    writer.lose(minute + 1, None, "the sender went away");
    assert_eq!(writer.close(now()), []);
    let daemon = sandbox.start(&["-c", text(&config)]);
    wait_until_all_is_deleted(&sandbox);
    daemon.stop();
    let gaps = sandbox.gaps();
    let mut reasons: Vec<&str> = gaps.iter().map(|(_, _, reason)| reason.as_str()).collect();
    reasons.sort_unstable();
    assert_eq!(
        reasons,
        [
            "2024-06-15 12:00 UTC: 17 messages lost: the receive buffer was full",
            "2024-06-15 12:01 UTC: messages lost, nobody knows how many: the sender went away",
        ]
    );
    assert_eq!(sandbox.rows(), rows([log.as_str()]));
    assert_eq!(sandbox.stored_balance(), Balance::counted(10));
    let status = sandbox.ran(["status"]);
    assert!(
        status.stdout.contains("17 messages lost"),
        "{}",
        status.stdout
    );
}

#[test]
fn lines_that_do_not_parse_are_counted_as_such() {
    let sandbox = Sandbox::new();
    let config = sandbox.config(&pipe("web"));
    let mut writer = writer(&sandbox);
    let log = lines(0, 200);
    append(&mut writer, &log);
    for line in ["", "no such line", "\r", "\u{0}\u{1b}[31m"] {
        writer.append(None, line.as_bytes());
    }
    assert_eq!(writer.close(now()), []);
    let daemon = sandbox.start(&["-c", text(&config)]);
    wait_until_all_is_deleted(&sandbox);
    daemon.stop();
    let balance = sandbox.stored_balance();
    assert_eq!(
        (balance.counted, balance.ignored, balance.unparsed),
        (200, 2, 2)
    );
}

#[test]
fn a_format_that_does_not_fit_keeps_the_spool_until_one_does() {
    let sandbox = Sandbox::new();
    let wrong = "[[source.pipe]]\nname = \"web\"\nformat = \"combined\"\n";
    let config = sandbox.config(wrong);
    let mut writer = writer(&sandbox);
    let log = lines(0, 2_000);
    append(&mut writer, &log);
    assert_eq!(writer.close(now()), []);
    let daemon = sandbox.start(&["-c", text(&config)]);
    wait_for("the daemon says so", || {
        let status = sandbox.ran(["status", "--output", "json"]).json();
        status["sources"][0]["attention"] == 1
    });
    assert_eq!(segments(&sandbox).len(), 1);
    sandbox.config(&pipe("web"));
    daemon.signal(Signal::HUP);
    sandbox.wait_for_rows(&rows([log.as_str()]));
    wait_until_all_is_deleted(&sandbox);
    daemon.stop();
    assert_eq!(sandbox.stored_balance(), Balance::counted(2_000));
}

#[test]
fn a_source_that_is_taken_out_of_the_config_keeps_its_spool() {
    let sandbox = Sandbox::new();
    let config = sandbox.config(&(pipe("web") + &pipe("other")));
    let daemon = sandbox.start(&["-c", text(&config)]);
    let mut writer = writer(&sandbox);
    let (first, second) = (lines(0, 100), lines(1_000, 100));
    append(&mut writer, &first);
    sandbox.wait_for_rows(&rows([first.as_str()]));
    sandbox.config(&pipe("other"));
    daemon.signal(Signal::HUP);
    wait_for("the source is gone", || {
        let status = sandbox.ran(["status", "--output", "json"]).json();
        status["sources"]
            .as_array()
            .is_some_and(|sources| sources.len() == 1)
    });
    append(&mut writer, &second);
    assert_eq!(writer.close(now()), []);
    sandbox.config(&(pipe("web") + &pipe("other")));
    daemon.signal(Signal::HUP);
    sandbox.wait_for_rows(&rows([first.as_str(), &second]));
    wait_until_all_is_deleted(&sandbox);
    daemon.stop();
}

#[test]
fn the_format_of_a_stream_is_detected() {
    let sandbox = Sandbox::new();
    let config = sandbox.config("[[source.pipe]]\nname = \"web\"\n");
    let mut writer = writer(&sandbox);
    for number in 0..40 {
        let line = format!(
            "a.example:80 192.0.2.1 - - [15/Jun/2024:12:00:{number:02} +0000] \"GET / HTTP/1.1\" 200 100 \"-\" \"x\""
        );
        writer.append(None, line.as_bytes());
    }
    assert_eq!(writer.close(now()), []);
    let daemon = sandbox.start(&["-c", text(&config)]);
    wait_until_all_is_deleted(&sandbox);
    daemon.stop();
    let row = &sandbox.rows()[0];
    assert_eq!(
        (row.vhost.as_str(), row.bytes_out, row.requests),
        ("a.example", 4_000, 40)
    );
}

/// Lines of another kind, as many as a file that is followed is given up for.
fn noise(writer: &mut Writer, count: usize) {
    for number in 0..count {
        writer.append(None, format!("[error] {number}: no such file").as_bytes());
    }
    writer.write(now());
}

#[test]
fn noise_in_a_stream_costs_no_line_of_the_log() {
    let sandbox = Sandbox::new();
    let config = sandbox.config(&pipe("web"));
    let (first, second) = (lines(0, 500), lines(1_000, 500));
    // The noise comes first: alone in its segment it could be a format that does not fit.
    let mut only_noise = writer(&sandbox);
    noise(&mut only_noise, 150);
    append(&mut only_noise, &first);
    assert_eq!(only_noise.close(now()), []);
    let daemon = sandbox.start(&["-c", text(&config)]);
    wait_for("the daemon says so", || {
        let status = sandbox.ran(["status", "--output", "json"]).json();
        status["sources"][0]["attention"] == 1
    });
    let mut mixed = writer(&sandbox);
    append(&mut mixed, &second);
    noise(&mut mixed, 2_500);
    append(&mut mixed, &second);
    assert_eq!(mixed.close(now()), []);
    wait_until_all_is_deleted(&sandbox);
    daemon.stop();
    assert_eq!(sandbox.rows(), rows([first.as_str(), &second, &second]));
    assert_eq!(sandbox.gaps(), []);
    let balance = sandbox.stored_balance();
    assert_eq!((balance.counted, balance.unparsed), (1_500, 2_650));
}

#[test]
fn a_segment_of_nothing_but_a_torn_record_is_a_gap() {
    let sandbox = Sandbox::new();
    let config = sandbox.config(&pipe("web"));
    let mut writer = writer(&sandbox);
    append(&mut writer, &lines(0, 1));
    assert_eq!(writer.close(now()), []);
    let segment = &segments(&sandbox)[0];
    let whole = fs::read(segment).expect("a segment");
    fs::write(segment, &whole[..whole.len() / 2]).expect("a torn one");
    let daemon = sandbox.start(&["-c", text(&config)]);
    wait_until_all_is_deleted(&sandbox);
    daemon.stop();
    let gaps = sandbox.gaps();
    assert_eq!(gaps.len(), 1, "{gaps:?}");
}

#[test]
fn thousands_of_segments_are_counted() {
    const SEGMENTS: u64 = 6_000;
    let sandbox = Sandbox::new();
    let config = sandbox.config(&pipe("web"));
    let folder = folder(&sandbox);
    fs::create_dir_all(&folder).expect("a folder");
    let other = folder.join("notes.seg");
    fs::write(&other, "no segment\n").expect("a file");
    let log = lines(0, SEGMENTS);
    let mut writer = writer(&sandbox);
    append(&mut writer, &log);
    assert_eq!(writer.close(now()), []);
    // Each record in a segment of its own.
    let all = segments(&sandbox).remove(0);
    let records = fs::read_to_string(&all).expect("a segment");
    fs::remove_file(&all).expect("removed");
    for (number, record) in records.lines().enumerate() {
        let name = format!("{number:016x}-00000000.seg");
        fs::write(folder.join(name), format!("{record}\n")).expect("a segment");
    }
    let daemon = sandbox.start(&["-c", text(&config)]);
    wait_until_all_is_deleted(&sandbox);
    daemon.stop();
    assert_eq!(sandbox.rows(), rows([log.as_str()]));
    assert_eq!(positions(&sandbox), 0);
    assert!(other.exists(), "what has not the name of a segment is none");
}

#[test]
fn what_others_write_into_a_spool_does_not_fill_the_store() {
    let sandbox = Sandbox::new();
    let config = sandbox.config(&pipe("web"));
    let reason: &'static str = "no reason at all ".repeat(10_000).leak();
    let mut writer = writer(&sandbox);
    writer.lose(now() / 60, Some(3), reason);
    assert_eq!(writer.close(now()), []);
    let daemon = sandbox.start(&["-c", text(&config)]);
    wait_until_all_is_deleted(&sandbox);
    daemon.stop();
    let gaps = sandbox.gaps();
    assert_eq!(gaps.len(), 1);
    assert!(format!("{gaps:?}").len() < 1_000);
}
