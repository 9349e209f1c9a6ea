//! Odd files and odd content: empty, tiny, unreadable, no files at all, lines that nobody can read.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use super::{Site, truncate, wait_until_said};
use crate::support::log::{DAY, FORMAT, NOON, line, lines, rows};
use crate::support::{Balance, Daemon, Row, Sandbox, append, source, text, wait_for};

/// A line of 30 bytes, of the site `ab`.
fn tiny(number: u64) -> String {
    let line = line(NOON + number, 200, (1, 2), "ab", "-");
    assert_eq!(line.len(), 30);
    line
}

#[test]
fn files_of_0_and_30_bytes() {
    let sandbox = Sandbox::new();
    let empty = sandbox.write("logs/empty.log", "");
    let small = sandbox.write("logs/small.log", tiny(0));
    // Thirty bytes that are no line yet.
    let begun = sandbox.write("logs/begun.log", &lines(0, 1)[..30]);
    let config = sandbox.config(&source(&[&sandbox.path("logs/*.log")], FORMAT, ""));
    let mut written = tiny(0);
    let daemon = sandbox.start(&["-c", text(&config)]);
    sandbox.wait_for_rows(&rows([written.as_str()]));
    for (log, more) in [
        (&empty, tiny(1)),
        (&small, tiny(2)),
        (&begun, lines(0, 1)[30..].to_owned()),
    ] {
        append(log, &more);
    }
    written += &[tiny(1), tiny(2), lines(0, 1)].concat();
    sandbox.wait_for_rows(&rows([written.as_str()]));
    daemon.stop();
    // Rotated with so little in them, packed and not, while nobody looks; and empty ones follow.
    for (log, ending) in [(&empty, ".1"), (&small, "-20261121")] {
        append(log, tiny(3 + written.len() as u64));
        written += &tiny(3 + written.len() as u64);
        let rotated = format!("{}{ending}", text(log));
        fs::rename(log, &rotated).expect("our own folder");
        super::pack_file(Path::new(&rotated), "gz");
        fs::write(log, "").expect("a new file");
    }
    let daemon = sandbox.start(&["-c", text(&config)]);
    sandbox.wait_for_rows(&rows([written.as_str()]));
    daemon.stop();
    let count = written.lines().count() as u64;
    assert_eq!(sandbox.stored_balance(), Balance::counted(count));
    assert_eq!(sandbox.gaps(), []);
}

/// The daemon as somebody who is not root: root may read everything.
fn start_as_somebody(sandbox: &Sandbox, config: &Path) -> Daemon {
    let binary = sandbox.path("tollkeeper");
    fs::copy(env!("CARGO_BIN_EXE_tollkeeper"), &binary).expect("a copy");
    fs::create_dir_all(sandbox.state()).expect("a new folder");
    fs::set_permissions(sandbox.state(), Permissions::from_mode(0o777)).expect("our own folder");
    let arguments = ["run", "-c", text(config)];
    let command = if rustix::process::geteuid().is_root() {
        let drop = ["--reuid=65534", "--regid=65534", "--clear-groups"];
        let all = [&drop[..], &[text(&binary)], &arguments].concat();
        sandbox.program(Path::new("setpriv"), all)
    } else {
        sandbox.program(&binary, arguments)
    };
    Daemon::of(sandbox, command)
}

#[test]
fn a_file_without_read_permission_that_gets_it_later() {
    let sandbox = Sandbox::new();
    let open = sandbox.write("logs/open.log", lines(0, 10));
    let secret = sandbox.write("logs/secret.log", lines(10, 10));
    fs::set_permissions(&secret, Permissions::from_mode(0o000)).expect("our own file");
    let hidden = sandbox.write("hidden/deep/access.log", lines(20, 10));
    let folder = sandbox.path("hidden");
    fs::set_permissions(&folder, Permissions::from_mode(0o700)).expect("our own folder");
    let (all, deep) = (sandbox.path("logs/*.log"), sandbox.path("hidden/*/*.log"));
    let config = sandbox.config(&source(&[&all, &deep], FORMAT, ""));
    if !rustix::process::geteuid().is_root() {
        // A folder of our own is hidden from ourselves only without any permission.
        fs::set_permissions(&folder, Permissions::from_mode(0o000)).expect("our own folder");
    }
    let daemon = start_as_somebody(&sandbox, &config);
    wait_until_said(&daemon, "secret.log: not followed");
    sandbox.wait_for_rows(&rows([lines(0, 10).as_str()]));
    fs::set_permissions(&secret, Permissions::from_mode(0o644)).expect("our own file");
    sandbox.wait_for_rows(&rows([lines(0, 20).as_str()]));
    fs::set_permissions(&folder, Permissions::from_mode(0o755)).expect("our own folder");
    sandbox.wait_for_rows(&rows([lines(0, 30).as_str()]));
    // What is open already is read on, whoever may open it now.
    fs::set_permissions(&open, Permissions::from_mode(0o000)).expect("our own file");
    if rustix::process::geteuid().is_root() {
        append(&open, lines(30, 10));
        sandbox.wait_for_rows(&rows([lines(0, 40).as_str()]));
    }
    append(&hidden, lines(40, 10));
    let counted = sandbox.requests();
    wait_for("the last lines are counted", || {
        sandbox.requests() >= counted.max(40)
    });
    daemon.stop();
}

#[test]
fn a_line_of_a_megabyte_and_the_lines_behind_it() {
    let (mut site, daemon) = Site::followed("");
    let mut unparsed = 0;
    for length in [1 << 20, 5 << 20, (16 << 20) + 1] {
        append(&site.log, vec![b'x'; length / 2]);
        append(&site.log, vec![b'x'; length - length / 2]);
        append(&site.log, "\n");
        unparsed += 1;
        site.write_log(10);
        let expected = rows([lines(0, site.written).as_str()]);
        site.sandbox.wait_for_rows(&expected);
    }
    daemon.stop();
    let expected = Balance {
        lines: site.written + unparsed,
        counted: site.written,
        unparsed,
        ..Balance::default()
    };
    assert_eq!(site.sandbox.stored_balance(), expected);
}

#[test]
fn nul_bytes_and_crlf() {
    let (mut site, daemon) = Site::followed("");
    // What ext4 leaves of a file after a power cut.
    append(&site.log, [vec![0; 5_000], b"\n".to_vec()].concat());
    let crlf = site.more(20).replace('\n', "\r\n");
    append(&site.log, crlf);
    append(&site.log, "\0\n\r\n");
    site.write_log(10);
    let expected = rows([lines(0, site.written).as_str()]);
    site.sandbox.wait_for_rows(&expected);
    daemon.stop();
    let expected = Balance {
        lines: site.written + 3,
        counted: site.written,
        unparsed: 2,
        ignored: 1,
        ..Balance::default()
    };
    assert_eq!(site.sandbox.stored_balance(), expected);
}

#[test]
fn a_fifo_a_socket_a_folder_and_links_of_customers_in_a_log_folder() {
    let mut site = Site::new("");
    let folder = site.sandbox.path("logs");
    let fifo = folder.join("fifo.log");
    let made = Command::new("mkfifo").arg(&fifo).status();
    assert!(made.expect("mkfifo").success());
    let _socket = UnixListener::bind(folder.join("socket.log")).expect("a new socket");
    fs::create_dir(folder.join("folder.log")).expect("a new folder");
    let link = |target: &Path, name: &str| {
        let link = folder.join(name);
        std::os::unix::fs::symlink(target, &link).expect("a file system with links");
        link
    };
    link(&folder.join("nothing"), "dangling.log");
    link(&folder.join("loop.log"), "loop.log");
    link(Path::new("/dev/zero"), "device.log");
    if rustix::process::geteuid().is_root() {
        // A customer's link to what is not his.
        let secret = site.sandbox.write("secret", lines(90_000, 10));
        let link = link(&secret, "customer.log");
        std::os::unix::fs::lchown(link, Some(65_534), Some(65_534)).expect("root may");
    }
    // As rotations of a log, too.
    let rotated = site.rotated(".1");
    let made = Command::new("mkfifo").arg(&rotated).status();
    assert!(made.expect("mkfifo").success());
    let _archive = UnixListener::bind(site.rotated(".2.gz")).expect("a new socket");
    let all = folder.join("*.log");
    site.config = site.sandbox.config(&source(&[&all], FORMAT, ""));
    let daemon = site.start();
    site.check();
    wait_until_said(&daemon, "socket.log");
    site.write_log(10);
    site.check();
    daemon.stop();
    site.check();
}

#[test]
fn a_format_that_changes_in_mid_file() {
    let sandbox = Sandbox::new();
    let new_line = |number: u64| format!("200 {number} {} {NOON}.000 ab\n", 2 * number);
    let new_lines =
        |first: u64, count: u64| (first..first + count).map(new_line).collect::<String>();
    let log = sandbox.write("access.log", lines(0, 100));
    let formats = [
        FORMAT,
        "nginx:log_format n '$status $request_length $bytes_sent $msec $host';",
    ];
    let list = format!("format = ['''{}''', '''{}''']", formats[0], formats[1]);
    let config = sandbox.config(&format!(
        "[[source.file]]\npaths = [{:?}]\n{list}\n",
        text(&log)
    ));
    let daemon = sandbox.start(&["-c", text(&config)]);
    sandbox.wait_for_rows(&rows([lines(0, 100).as_str()]));
    append(&log, new_lines(0, 3_000));
    // And both at once, as long as old workers go on.
    append(
        &log,
        lines(100, 10) + &new_lines(3_000, 10) + &lines(110, 10),
    );
    let mut expected = rows([lines(0, 120).as_str()]);
    expected.push(Row {
        day: DAY.to_owned(),
        vhost: "ab".to_owned(),
        user: None,
        bytes_in: (0..3_010).sum(),
        bytes_out: 2 * (0..3_010).sum::<u64>(),
        requests: 3_010,
    });
    expected.sort();
    sandbox.wait_for_rows(&expected);
    daemon.stop();
    assert_eq!(sandbox.stored_balance(), Balance::counted(3_130));
}

/// A new format that the config does not know yet: what is in it waits, rotated or packed, until the
/// config has it.
#[test]
fn a_format_that_does_not_fit_waits_through_rotation_and_packing() {
    const OTHER: &str = "nginx:$status $request_length $bytes_sent $msec $host";
    let new_lines = |count: u64| {
        let line = |number: u64| format!("200 {number} {number} {NOON}.000 ab\n");
        (0..count).map(line).collect::<String>()
    };
    for packing in [None, Some("zst")] {
        let mut site = Site::new("");
        let daemon = site.start();
        site.check();
        append(&site.log, new_lines(2_000));
        wait_until_said(&daemon, "format does not fit");
        daemon.stop();
        site.check();
        let rotated = site.rotate(".1");
        if let Some(packing) = packing {
            super::pack_file(&rotated, packing);
        }
        site.write_log(10);
        // Still nobody knows it.
        let daemon = site.start();
        site.check();
        daemon.stop();
        let list = format!(
            "paths = [{:?}]\nformat = ['''{FORMAT}''', '''{OTHER}''']",
            text(&site.log)
        );
        site.config = site.sandbox.config(&format!("[[source.file]]\n{list}\n"));
        let daemon = site.start();
        let mut expected = rows([lines(0, site.written).as_str()]);
        expected.push(Row {
            day: DAY.to_owned(),
            vhost: "ab".to_owned(),
            user: None,
            bytes_in: (0..2_000).sum(),
            bytes_out: (0..2_000).sum(),
            requests: 2_000,
        });
        expected.sort();
        site.sandbox.wait_for_rows(&expected);
        daemon.stop();
        let expected = Balance::counted(site.written + 2_000);
        assert_eq!(site.sandbox.stored_balance(), expected, "{packing:?}");
        assert_eq!(site.sandbox.gaps(), [], "{packing:?}");
    }
}

/// The same where nobody named a format, and none is found.
#[test]
fn an_archive_that_no_preset_fits_waits_for_a_format() {
    let mut site = Site::new("");
    site.config = site.sandbox.config(&source(&[&site.log], "auto", ""));
    fs::write(&site.log, "").expect("our own file");
    let daemon = site.start();
    wait_until_said(&daemon, "following");
    daemon.stop();
    site.written = 0;
    site.write_log(100);
    super::pack_file(&site.rotate(".1"), "gz");
    let daemon = site.start();
    wait_until_said(&daemon, "access.log.1.gz: ");
    daemon.stop();
    assert_eq!(site.sandbox.requests(), 0);
    site.config = site.sandbox.config(&source(&[&site.log], FORMAT, ""));
    let daemon = site.start();
    site.check_to_the_end(daemon);
}

#[test]
fn a_file_that_is_emptied_and_stays_empty() {
    let (mut site, daemon) = Site::followed("");
    truncate(&site.log);
    wait_for("that is noticed", || !site.sandbox.gaps().is_empty());
    daemon.stop();
    let daemon = site.start();
    site.check();
    site.write_log(10);
    site.check();
    daemon.stop();
    site.check();
}
