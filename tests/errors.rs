//! What goes wrong is named, with the file and the remedy; the rest is done, and the code says so.

mod support;

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::log::{FORMAT, NOON, line, lines, rows};
use support::{Balance, Sandbox, gzip, text};

/// Imports a good log beside a bad file: the bad one is named, the good one counted, the code is 1.
#[track_caller]
fn check_beside_a_good_log(sandbox: &Sandbox, bad: &Path, words: &str) {
    let (first, second) = (lines(0, 100), lines(100, 100));
    let good = sandbox.write("good.log", &first);
    let also_good = sandbox.write("also-good.log", &second);
    let ran = sandbox.import_fails(&["--format", FORMAT, text(&good), text(bad), text(&also_good)]);
    let name = bad
        .file_name()
        .and_then(|name| name.to_str())
        .expect("a name");
    assert!(
        ran.stderr.contains(name),
        "{name} is not named:\n{}",
        ran.stderr
    );
    assert!(
        ran.stderr.contains(words),
        "{words:?} is not said:\n{}",
        ran.stderr
    );
    assert_eq!(ran.balance(), Balance::counted(200));
    assert_eq!(sandbox.rows(), rows([first.as_str(), &second]));
}

#[test]
fn a_missing_file() {
    let sandbox = Sandbox::new();
    check_beside_a_good_log(&sandbox, &sandbox.path("nothing.log"), "does not exist");
}

#[test]
fn a_folder() {
    let sandbox = Sandbox::new();
    let folder = sandbox.path("folder.log");
    fs::create_dir(&folder).expect("a new folder");
    check_beside_a_good_log(&sandbox, &folder, "directory");
}

#[test]
fn a_socket_a_device_and_a_pipe_never_block() {
    let sandbox = Sandbox::new();
    check_beside_a_good_log(&sandbox, Path::new("/dev/zero"), "not a regular file");
    let sandbox = Sandbox::new();
    let fifo = sandbox.path("fifo.log");
    let status = Command::new("mkfifo").arg(&fifo).status().expect("mkfifo");
    assert!(status.success());
    check_beside_a_good_log(&sandbox, &fifo, "not a regular file");
}

/// Runs the program as somebody who is not root: root may do everything.
fn as_somebody(sandbox: &Sandbox, arguments: &[&str], may_write: bool) -> support::Ran {
    let binary = sandbox.path("tollkeeper");
    fs::copy(env!("CARGO_BIN_EXE_tollkeeper"), &binary).expect("a copy");
    fs::create_dir_all(sandbox.state()).expect("a new folder");
    let mode = if may_write { 0o777 } else { 0o555 };
    fs::set_permissions(sandbox.state(), fs::Permissions::from_mode(mode)).expect("our own folder");
    let command = if rustix::process::geteuid().is_root() {
        let drop = [
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            text(&binary),
        ];
        sandbox.program(Path::new("setpriv"), [&drop, arguments].concat())
    } else {
        sandbox.program(&binary, arguments)
    };
    let ran = sandbox.ran_with_input(command, b"");
    fs::set_permissions(sandbox.state(), fs::Permissions::from_mode(0o755))
        .expect("our own folder");
    ran
}

#[test]
fn a_file_that_may_not_be_read() {
    let sandbox = Sandbox::new();
    let content = lines(0, 10);
    let good = sandbox.write("good.log", &content);
    let secret = sandbox.write("secret.log", lines(10, 10));
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).expect("our own file");
    let import = sandbox.import_args(&["--format", FORMAT, text(&secret), text(&good)]);
    let ran = as_somebody(&sandbox, &import, true).exited(1);
    assert!(
        ran.stderr.contains("secret.log") && ran.stderr.contains("permission"),
        "{}",
        ran.stderr
    );
    assert_eq!(ran.balance(), Balance::counted(10));
    assert_eq!(sandbox.rows(), rows([content.as_str()]));
}

#[test]
fn a_store_that_may_not_be_written_is_named_and_stays_as_it_is() {
    let sandbox = Sandbox::new();
    let log = sandbox.write("access.log", lines(0, 10));
    sandbox.import(&["--format", FORMAT, text(&log)]);
    let more = sandbox.write("more.log", lines(10, 10));
    let import = sandbox.import_args(&["--format", FORMAT, text(&more)]);
    let refused = as_somebody(&sandbox, &import, false).exited(1);
    assert_eq!(refused.stdout, "");
    assert!(
        refused.stderr.contains("tollkeeper.db"),
        "{}",
        refused.stderr
    );
    assert_eq!(sandbox.requests(), 10);
    sandbox.import(&["--format", FORMAT, text(&more)]);
    assert_eq!(sandbox.requests(), 20);
}

#[test]
fn damaged_archives_are_counted_whole_or_not_at_all() {
    let content = lines(200, 5_000);
    let packed = gzip(content.as_bytes());
    let mut flipped = packed.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x55;
    let mut wrong_sum = packed.clone();
    let end = wrong_sum.len() - 5;
    wrong_sum[end] ^= 0x55;
    for (name, bytes) in [
        ("cut-short.gz", &packed[..packed.len() / 2]),
        ("without-trailer.gz", &packed[..packed.len() - 8]),
        ("without-last-byte.gz", &packed[..packed.len() - 1]),
        ("header-alone.gz", &packed[..10]),
        ("half-a-header.gz", &packed[..5]),
        ("flipped.gz", &flipped),
        ("wrong-sum.gz", &wrong_sum),
        (
            "garbage-behind.gz",
            &[packed.as_slice(), b"garbage"].concat(),
        ),
        (
            "second-member-cut.gz",
            &[packed.as_slice(), &gzip(lines(9_000, 100).as_bytes())[..30]].concat(),
        ),
    ] {
        let sandbox = Sandbox::new();
        let archive = sandbox.write(name, bytes);
        check_beside_a_good_log(&sandbox, &archive, "nothing of it was counted");
        // The sound one is counted afterwards.
        let sound = sandbox.write("sound.gz", &packed);
        let ran = sandbox.import(&["--format", FORMAT, text(&sound)]);
        assert_eq!(ran.balance(), Balance::counted(5_000), "{name}");
        assert_eq!(
            sandbox.rows(),
            rows([lines(0, 200).as_str(), &content]),
            "{name}"
        );
    }
}

#[test]
fn a_log_that_no_preset_fits_is_refused_with_a_remedy() {
    let sandbox = Sandbox::new();
    let log = sandbox.write("odd.log", "one two three\n".repeat(10));
    let ran = sandbox.import_fails(&["--format", "auto", text(&log)]);
    assert!(
        ran.stderr.contains("odd.log") && ran.stderr.contains("--format"),
        "{}",
        ran.stderr
    );
    assert_eq!(ran.balance(), Balance::default());
}

#[test]
fn a_place_that_cannot_be_written() {
    let sandbox = Sandbox::new();
    let log = sandbox.write("access.log", lines(0, 10));
    let file = sandbox.write("a-file", "");
    let below_a_file = file.join("state");
    for arguments in [
        vec![
            "import",
            "--state",
            "/proc/tollkeeper",
            "--format",
            FORMAT,
            text(&log),
        ],
        vec![
            "import",
            "--state",
            text(&below_a_file),
            "--format",
            FORMAT,
            text(&log),
        ],
        vec![
            "import",
            "--store",
            "sqlite:/proc/tollkeeper.db",
            "--format",
            FORMAT,
            text(&log),
        ],
        vec!["store", "init", "--state", "/proc/tollkeeper"],
    ] {
        let ran = sandbox.ran(&arguments).exited(1);
        assert_eq!(ran.stdout, "", "{arguments:?}");
        assert!(
            ran.stderr.contains("--state"),
            "{arguments:?} has no remedy:\n{}",
            ran.stderr
        );
    }
}

#[test]
fn a_store_that_is_no_store_is_left_alone() {
    let sandbox = Sandbox::new();
    let log = sandbox.write("access.log", lines(0, 10));
    let other = sandbox.write(
        "other.db",
        "this is no database, and somebody needs it".repeat(100),
    );
    let before = fs::read(&other).expect("our own file");
    let url = format!("sqlite:{}", text(&other));
    let ran = sandbox
        .ran(["import", "--store", &url, "--format", FORMAT, text(&log)])
        .exited(1);
    assert!(ran.stderr.contains("other.db"), "{}", ran.stderr);
    sandbox.ran(["report", "--store", &url]).exited(1);
    assert_eq!(fs::read(&other).expect("our own file"), before);
}

#[test]
fn a_full_disk_loses_nothing() {
    let sandbox = Sandbox::new();
    // A row for each line, so that the store must grow.
    let content: String = (0..20_000)
        .map(|n| line(NOON + n, 200, (1, 2), &format!("site{n}.example"), "-"))
        .collect();
    let log = sandbox.write("access.log", &content);
    let config = sandbox.config("[vhosts]\nmax_new_vhosts_per_day = 1_000_000\n");
    // No file may grow beyond 100 KiB: as on a full disk, and without anybody's privileges.
    let limited = format!(
        "trap '' XFSZ; ulimit -f 200; exec '{}' import --output json -c '{}' --format '{}' '{}'",
        env!("CARGO_BIN_EXE_tollkeeper"),
        text(&config),
        FORMAT.replace('\'', r"'\''"),
        text(&log),
    );
    let ran = sandbox
        .ran_with_input(sandbox.program(Path::new("/bin/sh"), ["-c", &limited]), b"")
        .exited(1);
    assert!(ran.stderr.contains("tollkeeper.db"), "{}", ran.stderr);
    let counted = sandbox.requests();
    assert!(counted < 20_000, "it was not full");
    let ran = sandbox.import(&["-c", text(&config), "--format", FORMAT, text(&log)]);
    assert_eq!(ran.balance(), Balance::counted(20_000 - counted));
    assert_eq!(sandbox.rows(), rows([content.as_str()]));
    assert_eq!(sandbox.stored_balance(), Balance::counted(20_000));
}

/// A store with so many rows that no pipe holds the report.
fn big_store() -> Sandbox {
    let sandbox = Sandbox::new();
    let content: String = (0..9_000)
        .map(|n| line(NOON + n, 200, (1, 2), &format!("site{n}.example"), "-"))
        .collect();
    let log = sandbox.write("access.log", content);
    sandbox.import(&["--format", FORMAT, text(&log)]);
    sandbox
}

#[test]
fn nobody_reading_the_report_ends_it_quietly() {
    let sandbox = big_store();
    for output in ["table", "json", "csv"] {
        let mut child = sandbox
            .tollkeeper(["report", "--output", output])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("an exit");
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    }
}

#[test]
fn a_report_that_cannot_be_written_is_an_error() {
    let sandbox = big_store();
    for output in ["table", "json", "csv"] {
        let full = File::options()
            .write(true)
            .open("/dev/full")
            .expect("/dev/full");
        let command = sandbox
            .tollkeeper(["report", "--output", output])
            .stdout(full)
            .output()
            .expect("an exit");
        assert_eq!(command.status.code(), Some(1), "{output}");
        let said = String::from_utf8_lossy(&command.stderr);
        assert!(said.contains("standard output"), "{output}: {said}");
    }
}

#[test]
fn bad_options_exit_with_2_and_touch_nothing() {
    let sandbox = Sandbox::new();
    let log = sandbox.write("access.log", lines(0, 10));
    let log = text(&log);
    for arguments in [
        vec!["import"],
        vec!["import", "--format", "nonsense", log],
        vec!["import", "--format", "apache:%h %Z", log],
        vec!["import", "--format", "nginx:$host", log],
        vec!["import", "--format", "json:time=ts", log],
        vec!["import", "--format", "json:time=ts,out=a b", log],
        vec!["import", "--timezone", "Mars/Olympus", log],
        vec!["import", "--users", "some", log],
        vec!["import", "--again", "--unparsed", log],
        vec!["import", "--no-such-option", log],
        vec!["report", "--by", "weather"],
        vec!["report", "--from", "2024-02-30"],
        vec!["report", "--from", "2024-02-02", "--to", "2024-02-01"],
        vec!["store"],
        vec!["bill"],
        vec![],
    ] {
        let ran = sandbox.ran(&arguments).exited(2);
        assert_eq!(ran.stdout, "", "{arguments:?}");
        assert!(!ran.stderr.is_empty(), "{arguments:?}");
        assert!(
            !sandbox.state().exists(),
            "{arguments:?} made a state directory"
        );
    }
}

#[test]
fn a_bad_format_is_shown_with_its_place() {
    let sandbox = Sandbox::new();
    let ran = sandbox
        .ran(["check", "--format", "apache:%h %Z %b"])
        .exited(2);
    assert!(
        ran.stderr.contains("%Z") && ran.stderr.contains("^^"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_bad_config_is_78_for_the_daemon_and_1_for_the_rest() {
    let sandbox = Sandbox::new();
    let config = sandbox.write("bad.toml", "timezone = \"UTC\"\nreprot_interval = \"1s\"\n");
    for (command, code) in [("run", 78), ("report", 1), ("check", 1)] {
        let ran = sandbox.ran([command, "-c", text(&config)]).exited(code);
        assert!(
            ran.stderr.contains("bad.toml:2:1"),
            "{command}: {}",
            ran.stderr
        );
        assert!(
            ran.stderr.contains("report_interval"),
            "{command}: {}",
            ran.stderr
        );
    }
}

#[test]
fn results_go_to_standard_output_and_nothing_else_does() {
    let sandbox = Sandbox::new();
    let log = sandbox.write("access.log", lines(0, 100));
    let ran = sandbox.import(&[
        "--format",
        FORMAT,
        text(&log),
        text(&sandbox.write("empty.log", "")),
    ]);
    assert!(ran.json().is_object());
    for arguments in [&["store", "init"][..], &["report", "--output", "csv"]] {
        sandbox.ran(arguments).exited(0);
    }
    let nothing = Sandbox::new();
    let report = nothing.ran(["report", "--output", "json"]).exited(0);
    assert_eq!(report.stdout, "[]\n");
    assert!(!nothing.state().exists(), "looking changes nothing");
}

#[test]
fn store_init_makes_a_store_once_and_says_so_twice() {
    let sandbox = Sandbox::new();
    sandbox
        .ran(["store", "init", "--timezone", "Europe/Warsaw"])
        .exited(0);
    let store: PathBuf = sandbox.state().join("tollkeeper.db");
    assert!(store.exists());
    sandbox
        .ran(["store", "init", "--timezone", "Europe/Warsaw"])
        .exited(0);
    sandbox
        .ran(["store", "init", "--timezone", "UTC"])
        .exited(1);
    assert_eq!(sandbox.rows(), []);
}

#[test]
fn a_password_in_a_url_is_refused_and_not_repeated() {
    let sandbox = Sandbox::new();
    for url in [
        "mysql://tollkeeper:hunter2@127.0.0.1/traffic",
        "mysql://tollkeeper:hunter2@127.0.0.1",
        "postgres://tollkeeper:hunter2@127.0.0.1/traffic",
    ] {
        let ran = sandbox.ran(["report", "--store", url]).exited(2);
        assert!(ran.stderr.contains("--store"), "{}", ran.stderr);
        assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
        let config = sandbox.config(&format!("[store]\nurl = \"{url}\"\n"));
        let ran = sandbox.ran(["report", "-c", text(&config)]);
        assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
    }
}
