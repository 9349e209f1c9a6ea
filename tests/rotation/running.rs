//! Rotated while the daemon runs, whether it looks, is busy, or is suspended.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{Site, pack_file, rename, truncate, while_suspended};
use crate::support::log::{FORMAT, lines, rows};
use crate::support::{Balance, Sandbox, append, source, text, wait_for};

#[test]
fn renamed_and_deleted_within_one_poll() {
    let (mut site, daemon) = Site::followed("");
    for _ in 0..10 {
        site.write_log(10);
        let rotated = site.rotate(".1");
        site.write_log(10);
        site.write(&rotated, 10);
        fs::remove_file(&rotated).expect("our own file");
        // What was begun is held, and is to be known before the next one goes the same way.
        site.check();
    }
    site.check_to_the_end(daemon);
}

#[test]
fn two_and_three_rotations_while_behind() {
    for rotations in [2, 3] {
        let (mut site, daemon) = Site::followed("");
        while_suspended(&daemon, || {
            for number in (1..=rotations).rev() {
                site.write_log(1_000);
                site.rotate(&format!(".{number}"));
            }
            site.write_log(1_000);
        });
        site.check_to_the_end(daemon);
    }
}

#[test]
fn a_suspended_machine_on_which_logs_were_rotated_and_packed() {
    let (mut site, daemon) = Site::followed("");
    while_suspended(&daemon, || {
        site.write_log(100);
        let first = site.rotate(".4");
        site.write(&first, 10);
        pack_file(&first, "gz");
        site.write_log(100);
        pack_file(&site.rotate("-20261121"), "xz");
        site.write_log(100);
        site.rotate(".1");
        site.write_log(100);
    });
    site.write_log(10);
    site.check_to_the_end(daemon);
}

#[test]
fn a_writer_that_keeps_the_old_file_long_after_the_rename() {
    // When it is let go is decided by source::follow, where an hour takes no time; here, that
    // nothing else makes it be dropped: searches, other rotations, packing of older ones, flushes.
    let (mut site, daemon) = Site::followed("");
    let mut writer = fs::File::options()
        .append(true)
        .open(&site.log)
        .expect("the log");
    let first = site.rotate(".1");
    site.write_log(10);
    site.check();
    for round in 0..3 {
        rename(&site.rotated(".1"), &site.rotated(".2"));
        rename(&site.log.clone(), &site.rotated(".1"));
        site.write_log(10);
        site.check();
        rename(&site.rotated(".2"), &first);
        let late = site.more(10);
        std::io::Write::write_all(&mut writer, late.as_bytes()).expect("room in the log");
        site.check();
        rename(&first, &site.rotated(&format!(".{}", 5 + round)));
        rename(&site.rotated(&format!(".{}", 5 + round)), &first);
    }
    drop(writer);
    site.check_to_the_end(daemon);
}

#[test]
fn a_forked_writer_goes_on_with_the_file_that_it_inherited() {
    let (mut site, daemon) = Site::followed("");
    let inherited = fs::File::options().append(true).open(&site.log);
    let go = site.sandbox.path("go");
    let late = site.more(200);
    let late = site.sandbox.write("late", late);
    let mut writer = Command::new("sh")
        .args(["-c", "until [ -e \"$0\" ]; do sleep 0.02; done; cat \"$1\""])
        .args([&go, &late])
        .stdout(Stdio::from(inherited.expect("the log")))
        .spawn()
        .expect("a shell");
    site.rotate(".1");
    site.write_log(10);
    let without_late = [lines(0, 100), lines(300, 10)].concat();
    site.sandbox.wait_for_rows(&rows([without_late.as_str()]));
    fs::write(&go, "").expect("a new file");
    assert!(writer.wait().expect("our own child").success());
    site.check_to_the_end(daemon);
}

#[test]
fn a_symlink_that_is_switched_to_a_new_file_and_back() {
    let sandbox = Sandbox::new();
    let monday = sandbox.write("data/monday.log", lines(0, 100));
    let tuesday = sandbox.path("data/tuesday.log");
    fs::create_dir(sandbox.path("logs")).expect("a new folder");
    let log = sandbox.path("logs/access.log");
    let switch_to = |target: &Path| {
        let new = sandbox.path("logs/.new");
        symlink(target, &new).expect("a file system with links");
        rename(&new, &log);
    };
    switch_to(&monday);
    let config = sandbox.config(&source(&[&log], FORMAT, ""));
    let daemon = sandbox.start(&["-c", text(&config)]);
    sandbox.wait_for_rows(&rows([lines(0, 100).as_str()]));
    append(&tuesday, lines(100, 10));
    switch_to(&tuesday);
    // A worker that has not opened it again yet.
    append(&monday, lines(110, 10));
    append(&tuesday, lines(120, 10));
    sandbox.wait_for_rows(&rows([lines(0, 130).as_str()]));
    append(&monday, lines(130, 10));
    sandbox.wait_for_rows(&rows([lines(0, 140).as_str()]));
    switch_to(&monday);
    append(&monday, lines(140, 10));
    sandbox.wait_for_rows(&rows([lines(0, 150).as_str()]));
    daemon.stop();
    // And while nobody looks.
    append(&monday, lines(150, 10));
    switch_to(&tuesday);
    append(&tuesday, lines(160, 10));
    let daemon = sandbox.start(&["-c", text(&config)]);
    // The file that the link led to is found beside the one that it leads to now.
    sandbox.wait_for_rows(&rows([lines(0, 170).as_str()]));
    append(&tuesday, lines(170, 10));
    switch_to(&monday);
    append(&monday, lines(180, 10));
    sandbox.wait_for_rows(&rows([lines(0, 190).as_str()]));
    daemon.stop();
    assert_eq!(sandbox.stored_balance(), Balance::counted(190));
    assert_eq!(sandbox.gaps(), []);
}

#[test]
fn copytruncate_with_a_refill_beyond_the_old_offset() {
    for packed in [false, true] {
        let (mut site, daemon) = Site::followed("");
        while_suspended(&daemon, || {
            site.write_log(30);
            let copy = site.rotated(".1");
            fs::copy(&site.log, &copy).expect("our own folder");
            truncate(&site.log);
            site.write_log(500);
            if packed {
                pack_file(&copy, "gz");
            }
        });
        site.check();
        site.write_log(10);
        site.check();
        // Whether anything was lost between copy and truncation nobody can tell: that is recorded.
        let gaps = site.sandbox.gaps();
        assert_eq!(gaps.len(), 1, "{gaps:?}");
        assert!(gaps[0].2.contains("copytruncate"), "{gaps:?}");
        daemon.stop();
        site.check();
    }
}

#[test]
fn into_an_olddir_and_packed_there() {
    let mut site = Site::new("");
    let folder = site.sandbox.path("logs/old");
    fs::create_dir(&folder).expect("a new folder");
    site.config = site
        .sandbox
        .config(&source(&[&site.log], FORMAT, "olddir = \"old\""));
    let daemon = site.start();
    site.check();
    for number in 1..4 {
        site.write_log(10);
        let rotated = folder.join(format!("access.log.{number}"));
        rename(&site.log, &rotated);
        site.write_log(10);
        site.write(&rotated, 10);
        pack_file(&rotated, "zst");
        site.check();
    }
    // Begun and packed between two looks, in the other folder.
    while_suspended(&daemon, || {
        site.write_log(10);
        rename(&site.log, &folder.join("access.log.7"));
        site.write_log(10);
        let rotated = folder.join("access.log.6");
        rename(&site.log, &rotated);
        pack_file(&rotated, "xz");
        site.write_log(10);
        rename(&site.log, &folder.join("access.log.5"));
        site.write_log(10);
    });
    site.check_to_the_end(daemon);
}

#[test]
fn a_folder_that_appears_later_and_is_rotated_away_as_a_whole() {
    let sandbox = Sandbox::new();
    let config = sandbox.config(&source(&[&sandbox.path("home/*/logs/*.log")], FORMAT, ""));
    let daemon = sandbox.start(&["-c", text(&config)]);
    let first = sandbox.write("home/one/logs/access.log", lines(0, 10));
    sandbox.wait_for_rows(&rows([lines(0, 10).as_str()]));
    // The folder is renamed: its logs are found by their new path, and go on.
    rename(&sandbox.path("home/one"), &sandbox.path("home/two"));
    let moved = sandbox.path("home/two/logs/access.log");
    append(&moved, lines(10, 10));
    sandbox.wait_for_rows(&rows([lines(0, 20).as_str()]));
    sandbox.write("home/one/logs/access.log", lines(20, 10));
    sandbox.wait_for_rows(&rows([lines(0, 30).as_str()]));
    append(&first, lines(30, 10));
    append(&moved, lines(40, 10));
    sandbox.wait_for_rows(&rows([lines(0, 50).as_str()]));
    daemon.stop();
    assert_eq!(sandbox.stored_balance(), Balance::counted(50));
    assert_eq!(sandbox.gaps(), []);
}

#[test]
fn last_lines_before_a_deletion_are_read() {
    let (mut site, daemon) = Site::followed("");
    for _ in 0..4 {
        site.write_log(20);
        fs::remove_file(&site.log).expect("our own file");
        wait_for("they are counted", || {
            site.sandbox.requests() == site.written
        });
        site.write_log(20);
        site.check();
    }
    site.check_to_the_end(daemon);
}
