//! Whatever is killed, whenever: each line is counted once.

mod support;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::log::{FORMAT, lines, rows};
use support::server::{Kind, PASSWORD, Server};
use support::wire::{Connection, basic, request};
use support::{
    Balance, Random, Row, Sandbox, append, source, text, wait_for, wait_for_moment, wait_until,
};

/// How often the daemon is killed in one test.
const KILLS: u64 = 10;
/// Rotated logs that are kept.
const MOST_ROTATIONS: u64 = 40;

/// As logrotate does it: the oldest first.
fn rotate(log: &Path) {
    let name = |number: u64| PathBuf::from(format!("{}.{number}", text(log)));
    let rotated = (1..MOST_ROTATIONS)
        .take_while(|&number| name(number).exists())
        .count() as u64;
    for number in (1..=rotated).rev() {
        fs::rename(name(number), name(number + 1)).expect("our own folder");
    }
    fs::rename(log, name(1)).expect("our own folder");
}

/// The log and all that it was rotated to.
fn whole_log(log: &Path) -> Vec<String> {
    let rotated =
        (1..=MOST_ROTATIONS).map(|number| PathBuf::from(format!("{}.{number}", text(log))));
    let paths = rotated
        .take_while(|path| path.exists())
        .chain([log.to_owned()]);
    paths
        .filter_map(|path| fs::read_to_string(path).ok())
        .collect()
}

/// Sums the recommended format of nginx, whose fields are: time, status, in, out, duration, client,
/// host, user.
fn sum(logs: &[String]) -> Vec<Row> {
    let plain: Vec<String> = logs
        .iter()
        .map(|log| {
            let line = |line: &str| {
                let f: Vec<&str> = line.splitn(8, ' ').collect();
                format!("{} {} {} {} {} {}\n", f[0], f[1], f[2], f[3], f[6], f[7])
            };
            log.lines().map(line).collect()
        })
        .collect();
    rows(plain.iter().map(String::as_str))
}

/// Asks for pages until told to stop.
fn load(address: SocketAddr, stop: &AtomicBool, hosts: [&str; 2]) {
    let own = basic("alice", PASSWORD);
    let requests = [
        request("GET", "/index.html", hosts[0], &[], b""),
        request("GET", "/private/page.html", hosts[1], &[&own], b""),
        request("GET", "/missing", hosts[0], &[], b""),
        request("HEAD", "/index.html", hosts[1], &[], b""),
    ];
    let mut connection = Connection::open(address);
    while !stop.load(Ordering::Relaxed) {
        for request in &requests {
            connection.ask(request);
        }
        // So fast is no site that this is about, and the test's sums have to be read by somebody.
        wait_for_moment(Instant::now() + Duration::from_millis(1));
    }
}

#[test]
fn killed_again_and_again_while_nginx_writes_and_its_log_is_rotated() {
    let mut random = Random::new("crash::nginx");
    let sandbox = Sandbox::new();
    let server = Server::start(&sandbox, Kind::Nginx, "");
    let log = server.log("exact.log");
    let config = sandbox.config(&source(
        &[&log],
        &format!("nginx:{}", Kind::Nginx.recommended()),
        "",
    ));
    let rotate_now = || {
        rotate(&log);
        server.reopen_logs();
        wait_for("nginx writes a new log", || log.exists());
    };
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let stop_when_done = StopOnDrop(&stop);
        scope.spawn(|| load(server.address, &stop, ["a.example", "b.example"]));
        scope.spawn(|| load(server.address, &stop, ["c.example", "a.example"]));
        for round in 0..KILLS {
            let mut daemon = sandbox.start(&["-c", text(&config)]);
            // A log that was rotated before the daemon was ever started is not its own.
            if round == 0 || random.percent(70) {
                wait_until_caught_up(&sandbox, &log);
            }
            let end = Instant::now() + Duration::from_millis(random.below(1_500));
            for _ in 0..random.below(3) {
                wait_for_moment(Instant::now() + Duration::from_millis(random.below(500)));
                rotate_now();
            }
            wait_for_moment(end);
            daemon.assert_running();
            if random.percent(80) {
                daemon.kill();
            } else {
                daemon.stop();
            }
            // Sometimes it is away while the log is rotated, more than once.
            for _ in 0..random.below(3) {
                rotate_now();
            }
        }
        drop(stop_when_done);
    });
    server.stop();
    check_all_is_counted(&sandbox, &config, &log, sum);
}

#[test]
fn killed_again_and_again_with_one_rotation_in_between() {
    let mut random = Random::new("crash::one");
    let sandbox = Sandbox::new();
    let server = Server::start(&sandbox, Kind::Nginx, "");
    let log = server.log("exact.log");
    let config = sandbox.config(&source(
        &[&log],
        &format!("nginx:{}", Kind::Nginx.recommended()),
        "",
    ));
    let rotate_now = || {
        rotate(&log);
        server.reopen_logs();
        wait_for("nginx writes a new log", || log.exists());
    };
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let stop_when_done = StopOnDrop(&stop);
        scope.spawn(|| load(server.address, &stop, ["a.example", "b.example"]));
        for _ in 0..KILLS {
            let mut daemon = sandbox.start(&["-c", text(&config)]);
            wait_until_caught_up(&sandbox, &log);
            let end = Instant::now() + Duration::from_millis(random.below(1_500));
            let while_running = random.percent(60);
            if while_running {
                rotate_now();
            }
            wait_for_moment(end);
            daemon.assert_running();
            daemon.kill();
            if !while_running {
                rotate_now();
            }
        }
        drop(stop_when_done);
    });
    server.stop();
    check_all_is_counted(&sandbox, &config, &log, sum);
}

/// Waits until all that stands in the logs now is committed, and something is.
fn wait_until_caught_up(sandbox: &Sandbox, log: &Path) {
    let lines: usize = whole_log(log)
        .iter()
        .map(|log| log.matches('\n').count())
        .sum();
    wait_until("all lines so far are counted", || {
        let requests = sandbox.requests();
        if requests >= lines.max(1) as u64 {
            Ok(())
        } else {
            Err((requests, lines))
        }
    });
}

/// Starts the daemon a last time: what it then has is what stands in the logs.
fn check_all_is_counted(
    sandbox: &Sandbox,
    config: &Path,
    log: &Path,
    sum: impl Fn(&[String]) -> Vec<Row>,
) {
    let logs = whole_log(log);
    let expected = sum(&logs);
    let daemon = sandbox.start(&["-c", text(config)]);
    sandbox.wait_for_rows(&expected);
    daemon.stop();
    assert_eq!(sandbox.rows(), expected);
    let count = logs.iter().map(|log| log.lines().count() as u64).sum();
    assert_eq!(sandbox.stored_balance(), Balance::counted(count));
}

/// Ends the load even where the test fails.
struct StopOnDrop<'s>(&'s AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn killed_while_many_logs_are_written_and_rotated_at_any_time() {
    kill_while_many_logs_are_written("crash::many", true);
}

#[test]
fn killed_while_many_logs_are_written_and_rotated_once_between_starts() {
    kill_while_many_logs_are_written("crash::many_once", false);
}

fn kill_while_many_logs_are_written(test: &str, at_any_time: bool) {
    let mut random = Random::new(test);
    let sandbox = Sandbox::new();
    let logs: Vec<PathBuf> = (0..8)
        .map(|number| sandbox.write(&format!("logs/{number}.log"), ""))
        .collect();
    let config = sandbox.config(&source(&[&sandbox.path("logs/*.log")], FORMAT, ""));
    let mut next = 0;
    for log in &logs {
        next += write_some(&mut random, log, next);
    }
    for round in 0..KILLS {
        let mut daemon = sandbox.start(&["-c", text(&config)]);
        // A log that was rotated before the daemon was ever started is not its own.
        if round == 0 || !at_any_time {
            wait_until("all lines so far are counted", || {
                let requests = sandbox.requests();
                if requests == next {
                    Ok(())
                } else {
                    Err((requests, next))
                }
            });
        }
        let mut may_rotate = vec![true; logs.len()];
        let end = Instant::now() + Duration::from_millis(random.below(1_500));
        while Instant::now() < end {
            for (log, may_rotate) in logs.iter().zip(&mut may_rotate) {
                next += write_some(&mut random, log, next);
                let too_many =
                    PathBuf::from(format!("{}.{}", text(log), MOST_ROTATIONS - 1)).exists();
                if *may_rotate && !too_many && random.percent(2) {
                    rotate(log);
                    append(log, "");
                    *may_rotate = at_any_time;
                }
            }
            wait_for_moment(Instant::now() + Duration::from_millis(2));
        }
        daemon.assert_running();
        daemon.kill();
        for log in &logs {
            next += write_some(&mut random, log, next);
        }
    }
    let all: Vec<String> = logs.iter().flat_map(|log| whole_log(log)).collect();
    let expected = rows(all.iter().map(String::as_str));
    let daemon = sandbox.start(&["-c", text(&config)]);
    sandbox.wait_for_rows(&expected);
    daemon.stop();
    assert_eq!(sandbox.stored_balance(), Balance::counted(next));
}

/// At least one line, in pieces that do not end where lines end; gives their number.
fn write_some(random: &mut Random, log: &Path, first: u64) -> u64 {
    let count = 1 + random.below(20);
    let content = lines(first, count);
    let cut = usize::try_from(random.below(content.len() as u64 + 1)).expect("a short log");
    append(log, &content[..cut]);
    append(log, &content[cut..]);
    count
}

/// Starts an import of a log, kills it when some of it is in the store, and says whether it was in
/// the middle.
fn kill_import(sandbox: &Sandbox, log: &Path, threads: &str, count: u64) -> bool {
    let before = sandbox.requests();
    let mut import = sandbox
        .tollkeeper([
            "import",
            "--threads",
            threads,
            "--format",
            FORMAT,
            text(log),
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program runs");
    wait_until("some of it is counted, or all", || {
        let ended = import.try_wait().expect("our own child").is_some();
        if ended || sandbox.requests() > before {
            Ok(())
        } else {
            Err("nothing yet")
        }
    });
    // Ended already, where the machine was too fast.
    let _ = import.kill();
    import.wait().expect("our own child");
    (1..count).contains(&(sandbox.requests() - before))
}

/// A log so long that an import of it can be killed in the middle, and was, in a new sandbox; `start`
/// may start a daemon in it first.
fn killed_import<T>(threads: &str, start: impl Fn(&Sandbox) -> T) -> (Sandbox, T, PathBuf, String) {
    let mut count = 1_000_000;
    loop {
        let sandbox = Sandbox::new();
        let started = start(&sandbox);
        let content = lines(0, count);
        let log = sandbox.write("big.log", &content);
        if kill_import(&sandbox, &log, threads, count) {
            return (sandbox, started, log, content);
        }
        count *= 2;
        assert!(count <= 16_000_000, "no import can be killed in the middle");
    }
}

#[test]
fn an_import_that_was_killed_goes_on_where_it_stopped() {
    for threads in ["1", "2"] {
        let (sandbox, (), log, content) = killed_import(threads, |_| ());
        let counted = sandbox.requests();
        let ran = sandbox.import(&["--format", FORMAT, text(&log)]);
        assert_eq!(
            ran.balance(),
            Balance::counted(content.lines().count() as u64 - counted)
        );
        assert_eq!(sandbox.rows(), rows([content.as_str()]));
    }
}

#[test]
fn an_import_that_was_killed_beside_a_daemon_goes_on_where_it_stopped() {
    let followed = |sandbox: &Sandbox| {
        let log = sandbox.write("followed.log", lines(50_000_000, 100));
        let config = sandbox.config(&source(&[&log], FORMAT, ""));
        let daemon = sandbox.start(&["-c", text(&config)]);
        sandbox.wait_for_rows(&rows([lines(50_000_000, 100).as_str()]));
        (daemon, log)
    };
    let (sandbox, (daemon, followed), log, content) = killed_import("2", followed);
    append(&followed, lines(50_000_100, 100));
    sandbox.import(&["--format", FORMAT, text(&log)]);
    sandbox.wait_for_rows(&rows([content.as_str(), &lines(50_000_000, 200)]));
    daemon.stop();
    assert_eq!(
        sandbox.stored_balance(),
        Balance::counted(content.lines().count() as u64 + 200)
    );
}

#[test]
fn an_archive_whose_import_was_killed_is_counted_once() {
    let mut random = Random::new("crash::archive");
    let sandbox = Sandbox::new();
    let content = lines(0, 300_000);
    let archive = sandbox.write_gz("big.log.gz", &[content.as_bytes()]);
    for _ in 0..5 {
        let mut import = sandbox
            .tollkeeper(["import", "--format", FORMAT, text(&archive)])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program runs");
        wait_for_moment(Instant::now() + Duration::from_millis(random.below(1_000)));
        let _ = import.kill();
        import.wait().expect("our own child");
    }
    sandbox.import(&["--format", FORMAT, text(&archive)]);
    assert_eq!(sandbox.rows(), rows([content.as_str()]));
    assert_eq!(sandbox.stored_balance(), Balance::counted(300_000));
}
