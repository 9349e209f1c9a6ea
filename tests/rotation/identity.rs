//! Which file is which: inodes that are used again, logs that begin alike, files put in another's
//! place. Among them the faults that other tools are known for, each with a sentence on what it
//! guards against.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::{Site, rename, truncate, wait_until_said, while_suspended};
use crate::support::log::{DAY, FORMAT, NOON, line, lines, rows};
use crate::support::{Balance, Row, Sandbox, append, source, text, wait_until};

/// Deletes a file and makes another one by the same name on the same inode.
fn recreate(path: &Path, content: &str) {
    let inode = path.metadata().expect("our own file").ino();
    fs::remove_file(path).expect("our own file");
    let mut others = Vec::new();
    for number in 0..1_000 {
        let mut file = File::create(path).expect("a new file");
        if file.metadata().expect("our own file").ino() == inode {
            file.write_all(content.as_bytes()).expect("room");
            for other in others {
                fs::remove_file(other).expect("our own file");
            }
            return;
        }
        // It is kept until the inode is free, so that each has another one.
        let other = path.with_file_name(format!("other-{number}"));
        rename(path, &other);
        others.push(other);
    }
    // Where inodes are not used again soon (tmpfs), a file that is emptied and filled again looks
    // nearly the same to the program.
    let mut file = File::create(path).expect("a new file");
    file.write_all(content.as_bytes()).expect("room");
}

/// The log is deleted while nobody looks, and another one lies on its inode, with so many lines.
fn check_inode_used_again(count: u64) {
    let mut site = Site::away("");
    let content = site.more(count);
    recreate(&site.log, &content);
    let daemon = site.start();
    site.check();
    site.write_log(10);
    site.check();
    daemon.stop();
    site.check();
}

/// Guards against taking a new file on a used inode for the old one, and waiting until it is longer.
#[test]
fn an_inode_used_again_by_the_same_name_with_less_than_was_read() {
    check_inode_used_again(20);
}

/// Guards against taking a new file on a used inode for the old one, so that its start is skipped.
#[test]
fn an_inode_used_again_by_the_same_name_with_more_than_was_read() {
    check_inode_used_again(500);
}

#[test]
fn an_inode_used_again_by_the_next_log_after_the_old_one_was_packed() {
    // Packing frees the inode; the next log gets it. The rest of the old one is in the archive.
    for count in [20, 500] {
        let mut site = Site::away("");
        site.write_log(30);
        let old = fs::read(&site.log).expect("our own file");
        let archive = site.rotated(".1.gz");
        fs::write(archive, crate::support::gzip(&old)).expect("a new file");
        let content = site.more(count);
        recreate(&site.log, &content);
        let daemon = site.start();
        site.check();
        site.write_log(10);
        site.check();
        daemon.stop();
        site.check();
    }
}

/// Guards against an offset that is kept for a path while the file behind it was replaced.
#[test]
fn a_file_replaced_while_stopped_is_read_from_its_start() {
    for count in [10, 2_000] {
        let mut site = Site::away("");
        let other = site.sandbox.path("logs/.new");
        site.write(&other, count);
        rename(&other, &site.log);
        let daemon = site.start();
        site.check();
        daemon.stop();
        // What was not read of the file that is gone, nobody can read.
        let gaps = site.sandbox.gaps();
        assert_eq!(gaps.len(), 1, "{gaps:?}");
    }
}

/// Guards against dropping the renamed file as soon as the new one appears, with its last lines unread.
#[test]
fn a_renamed_file_is_read_to_its_end_although_a_new_one_is_there() {
    let (mut site, daemon) = Site::followed("");
    while_suspended(&daemon, || {
        site.write_log(5_000);
        let rotated = site.rotate(".1");
        site.write_log(5_000);
        site.write(&rotated, 5_000);
    });
    site.check_to_the_end(daemon);
}

/// Guards against reading a truncated file again from its start although it still holds what was
/// counted: shortened to a part of itself, or only touched.
#[test]
fn a_file_that_still_holds_what_was_counted_is_not_counted_twice() {
    let mut site = Site::away("");
    // A power cut: the file system has lost its end.
    let content = fs::read_to_string(&site.log).expect("our own file");
    let half = content[..content.len() / 2].rfind('\n').expect("lines") + 1;
    let shortened = File::options().write(true).open(&site.log);
    shortened
        .and_then(|file| file.set_len(half as u64))
        .expect("our own file");
    let daemon = site.start();
    wait_until_said(&daemon, "going on from its end");
    site.write_log(10);
    site.check();
    // Only its time changes.
    let touched = File::options().write(true).open(&site.log);
    touched
        .and_then(|file| file.set_modified(std::time::SystemTime::now()))
        .expect("our own file");
    site.write_log(10);
    site.check();
    daemon.stop();
    site.check();
}

/// Guards against counting a truncated file twice: what is written after the truncation is new,
/// what was read before it stays counted once.
#[test]
fn a_truncated_file_is_counted_from_its_new_start_alone() {
    let (mut site, daemon) = Site::followed("");
    for count in [1, 50, 300] {
        truncate(&site.log);
        site.write_log(count);
        site.check();
    }
    daemon.stop();
    site.check();
}

/// Guards against taking two files for one because their first bytes are the same.
#[test]
fn two_logs_with_the_same_first_kilobytes_are_both_counted() {
    for length in [1_usize, 10, 100] {
        let sandbox = Sandbox::new();
        let same = line(NOON, 200, (1, 1), "a.example", "-").repeat(length);
        let one = sandbox.write("logs/one.log", [&same, &*lines(0, 10)].concat());
        let two = sandbox.write("logs/two.log", [&same, &*lines(10, 10)].concat());
        // And one that holds nothing else; of more than a kilobyte it could be a copy.
        let copies = if same.len() < 1_024 { 3 } else { 2 };
        if copies == 3 {
            sandbox.write("logs/three.log", &same);
        }
        let config = sandbox.config(&source(&[&sandbox.path("logs/*.log")], FORMAT, ""));
        let daemon = sandbox.start(&["-c", text(&config)]);
        let expected = [same.repeat(copies), lines(0, 20)].concat();
        sandbox.wait_for_rows(&rows([expected.as_str()]));
        append(&one, lines(20, 10));
        append(&two, lines(30, 10));
        let expected = [expected, lines(20, 20)].concat();
        sandbox.wait_for_rows(&rows([expected.as_str()]));
        daemon.stop();
        let count = expected.lines().count() as u64;
        assert_eq!(sandbox.stored_balance(), Balance::counted(count));
    }
}

/// Guards against mixing up sites whose logs begin with the same line in the same second, as they do
/// when a monitor asks all of them; also after all were rotated at midnight.
#[test]
fn the_same_first_line_in_2000_vhost_files_in_the_same_second() {
    const SITES: u64 = 2_000;
    const NUMBERS: &str = "nginx:log_format n '$msec $status $request_length $bytes_sent';";
    let first = format!("{NOON}.000 200 100 1000\n");
    let own = |site: u64| format!("{NOON}.000 200 1 {site}\n");
    let sandbox = Sandbox::new();
    let log = |site: u64| sandbox.path(format!("logs/s{site:04}.example.log"));
    fs::create_dir(sandbox.path("logs")).expect("a new folder");
    let write_all = |text: &dyn Fn(u64) -> String| {
        for site in 0..SITES {
            append(&log(site), text(site));
        }
    };
    // Times of the first line, of each site's own, and all bytes out of both.
    let check = |firsts: u64, owns: u64| {
        wait_until("all sites are counted", || {
            let rows = sandbox.rows();
            let is_so = |(site, row): (u64, &Row)| {
                row.day == DAY
                    && row.vhost == format!("s{site:04}.example")
                    && row.bytes_in == 100 * firsts + owns
                    && row.bytes_out == 1_000 * firsts + site * owns
                    && row.requests == firsts + owns
            };
            let right = (0..).zip(&rows).filter(|pair| is_so(*pair)).count() as u64;
            match right == SITES && rows.len() as u64 == SITES {
                true => Ok(()),
                false => Err((right, rows.len(), firsts, owns)),
            }
        });
        let expected = Balance::counted(SITES * (firsts + owns));
        assert_eq!(sandbox.stored_balance(), expected);
    };
    write_all(&|_| first.clone());
    let paths = source(&[&sandbox.path("logs/*.log")], NUMBERS, "vhost = \"{1}\"");
    let config = sandbox.config(&paths);
    let daemon = sandbox.start(&["-c", text(&config)]);
    check(1, 0);
    write_all(&own);
    check(1, 1);
    let rotate_all = |ending: &str| {
        for site in 0..SITES {
            let rotated = format!("{}{ending}", text(&log(site)));
            rename(&log(site), Path::new(&rotated));
        }
    };
    rotate_all(".2");
    write_all(&|_| first.clone());
    check(2, 1);
    daemon.stop();
    // And while nobody looks.
    write_all(&own);
    rotate_all(".1");
    write_all(&|_| first.clone());
    let daemon = sandbox.start(&["-c", text(&config)]);
    check(3, 2);
    daemon.stop();
    check(3, 2);
    assert_eq!(sandbox.gaps(), []);
}

#[test]
fn overlapping_patterns_and_sources_count_each_line_once() {
    let mut site = Site::new("");
    let folder = site.sandbox.path("logs");
    let all = folder.join("*");
    let logs = folder.join("*.log");
    let deep = site.sandbox.path("**/access.log*");
    let sections = source(&[&logs, &all], FORMAT, "") + &source(&[&deep, &logs], FORMAT, "");
    site.config = site.sandbox.config(&sections);
    let daemon = site.start();
    site.check();
    for ending in [".3", ".2", ".1"] {
        site.rotate(ending);
        site.write_log(20);
        site.check();
    }
    let old = super::pack_file(&site.rotated(".3"), "gz");
    rename(&old, &site.rotated(".4.gz"));
    site.write_log(20);
    site.check_to_the_end(daemon);
}
