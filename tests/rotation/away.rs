//! Rotated, packed or moved while the daemon was not running: what is left is found and read first.

use std::fs;
use std::path::PathBuf;

use super::{Site, pack_file, rename, truncate, wait_until_said};
use crate::support::log::{FORMAT, lines};
use crate::support::{PACKINGS, append, pack, source, text};

/// The log is rotated to one name, and a new one may be there or not.
fn check_rotated_to(ending: &str, packing: Option<&str>) {
    for with_new_log in [false, true] {
        let mut site = Site::away("");
        site.write_log(50);
        let rotated = site.rotate(ending);
        if let Some(packing) = packing {
            pack_file(&rotated, packing);
        }
        if with_new_log {
            site.write_log(30);
        }
        let daemon = site.start();
        site.check_to_the_end(daemon);
    }
}

#[test]
fn to_a_number() {
    check_rotated_to(".1", None);
}

#[test]
fn to_a_date() {
    check_rotated_to("-20261121", None);
}

#[test]
fn to_a_number_and_packed() {
    for packing in PACKINGS {
        check_rotated_to(".1", Some(packing));
    }
}

#[test]
fn to_a_date_and_packed() {
    for packing in PACKINGS {
        check_rotated_to("-20261121", Some(packing));
    }
}

#[test]
fn several_generations() {
    let mut site = Site::away("");
    site.write_log(10);
    site.rotate(".4");
    for ending in [".3", ".2", ".1"] {
        site.write_log(20);
        site.rotate(ending);
    }
    site.write_log(30);
    let daemon = site.start();
    site.check_to_the_end(daemon);
}

#[test]
fn several_generations_packed() {
    let mut site = Site::away("");
    site.write_log(10);
    pack_file(&site.rotate(".4"), "gz");
    for (ending, packing) in [(".3", "zst"), (".2", "xz"), (".1", "bz2")] {
        site.write_log(20);
        pack_file(&site.rotate(ending), packing);
    }
    site.write_log(30);
    let daemon = site.start();
    site.check_to_the_end(daemon);
}

#[test]
fn with_delaycompress() {
    // The file that was being read is packed already, the next one is not.
    let mut site = Site::away("");
    site.write_log(10);
    pack_file(&site.rotate(".2"), "gz");
    site.write_log(20);
    site.rotate(".1");
    site.write_log(30);
    let daemon = site.start();
    site.check_to_the_end(daemon);
    // As the name is reused: what was .1 and unpacked is .2.gz at the next start.
    let mut site = Site::away("");
    site.write_log(10);
    site.rotate(".1");
    site.write_log(20);
    let daemon = site.start();
    site.check();
    daemon.stop();
    let older = site.rotated(".2");
    rename(&site.rotated(".1"), &older);
    pack_file(&older, "gz");
    site.write_log(30);
    site.rotate(".1");
    site.write_log(30);
    let daemon = site.start();
    site.check_to_the_end(daemon);
}

/// With a source that names an `olddir`, and the path of that folder.
fn with_olddir(absolute: bool) -> (Site, PathBuf) {
    let mut site = Site::new("");
    let folder = site.sandbox.path("logs/rotated/old");
    fs::create_dir_all(&folder).expect("a new folder");
    let olddir = if absolute {
        text(&folder)
    } else {
        "rotated/old"
    };
    let more = format!("olddir = {olddir:?}");
    site.config = site.sandbox.config(&source(&[&site.log], FORMAT, &more));
    (site, folder)
}

#[test]
fn into_an_olddir() {
    for absolute in [false, true] {
        for packing in [None, Some("gz"), Some("zst")] {
            let (mut site, folder) = with_olddir(absolute);
            let daemon = site.start();
            site.check();
            daemon.stop();
            site.write_log(50);
            let rotated = folder.join("access.log.2");
            rename(&site.log, &rotated);
            if let Some(packing) = packing {
                pack_file(&rotated, packing);
            }
            // Begun and rotated while nobody looked.
            site.write_log(20);
            rename(&site.log, &folder.join("access.log.1"));
            site.write_log(30);
            let daemon = site.start();
            site.check_to_the_end(daemon);
        }
    }
}

#[test]
fn into_an_olddir_on_another_file_system_is_a_copy() {
    // logrotate copies there, so the inode is another one.
    let (mut site, folder) = with_olddir(true);
    let daemon = site.start();
    site.check();
    daemon.stop();
    site.write_log(50);
    fs::copy(&site.log, folder.join("access.log-20261121")).expect("our own folder");
    fs::remove_file(&site.log).expect("our own folder");
    site.write_log(30);
    let daemon = site.start();
    site.check_to_the_end(daemon);
}

#[test]
fn check_says_where_an_olddir_is_missing() {
    let (site, folder) = with_olddir(false);
    let ran = site
        .sandbox
        .ran(["check", "-c", text(&site.config)])
        .exited(0);
    assert!(
        ran.stdout.contains("olddir rotated/old too\n"),
        "{}",
        ran.stdout
    );
    fs::remove_dir(&folder).expect("our own folder");
    let ran = site
        .sandbox
        .ran(["check", "-c", text(&site.config)])
        .exited(0);
    let missing = format!("{} is no folder", text(&folder));
    assert!(ran.stdout.contains(&missing), "{}", ran.stdout);
}

#[test]
fn an_import_from_the_olddir_is_recognised_as_that_log() {
    // So short that no content tells it apart, and of a site that the path names alone.
    let (mut site, folder) = with_olddir(false);
    fs::remove_file(&site.log).expect("our own file");
    site.written = 0;
    site.write_log(3);
    let daemon = site.start();
    site.check();
    daemon.stop();
    site.write_log(2);
    let rotated = folder.join("access.log.1");
    rename(&site.log, &rotated);
    let packed = pack_file(&rotated, "zst");
    site.sandbox
        .import(&["-c", text(&site.config), text(&packed)]);
    site.check();
}

#[test]
fn two_logs_of_one_name_in_one_olddir_are_not_mixed_up() {
    let mut site = Site::new("");
    let other = site.sandbox.path("other/access.log");
    fs::create_dir(site.sandbox.path("other")).expect("a new folder");
    site.write(&other, 10);
    let folder = site.sandbox.path("old");
    fs::create_dir(&folder).expect("a new folder");
    let more = format!("olddir = {:?}", text(&folder));
    let paths = source(&[&site.log, &other], FORMAT, &more);
    site.config = site.sandbox.config(&paths);
    let daemon = site.start();
    site.check();
    daemon.stop();
    // The file itself is known by its inode, wherever it lies.
    site.write_log(10);
    rename(&site.log, &folder.join("access.log.1"));
    site.write_log(10);
    let daemon = site.start();
    site.check();
    // But whose this is nobody can say.
    append(&folder.join("access.log.2"), lines(5_000, 10));
    wait_until_said(&daemon, "nobody can tell");
    daemon.stop();
    site.check();
}

#[test]
fn an_empty_log_that_was_known_fills_and_is_packed() {
    let mut site = Site::new("");
    fs::write(&site.log, "").expect("our own file");
    site.written = 0;
    let daemon = site.start();
    wait_until_said(&daemon, "following");
    daemon.stop();
    site.write_log(20);
    pack_file(&site.rotate(".1"), "gz");
    site.write_log(20);
    let daemon = site.start();
    site.check_to_the_end(daemon);
}

#[test]
fn archives_from_before_a_log_was_followed_are_history() {
    let mut site = Site::new("");
    let hour = std::time::SystemTime::now() - std::time::Duration::from_secs(3_600);
    for (number, packing) in (1..).zip(PACKINGS) {
        let old = site.rotated(&format!(".{number}"));
        append(&old, lines(10_000 * number, 100));
        let file = fs::File::options().write(true).open(&old);
        file.and_then(|file| file.set_modified(hour))
            .expect("our own file");
        pack_file(&old, packing);
    }
    let daemon = site.start();
    site.check();
    site.write_log(20);
    site.check_to_the_end(daemon);
}

#[test]
fn a_log_that_is_nowhere_any_more_is_a_gap() {
    let mut site = Site::away("");
    let size = site.log.metadata().expect("our own file").len();
    fs::remove_file(&site.log).expect("our own file");
    site.write_log(20);
    let daemon = site.start();
    site.check();
    daemon.stop();
    let gaps = site.sandbox.gaps();
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert_eq!((&*gaps[0].0, gaps[0].1), (text(&site.log), size));
}

#[test]
fn a_line_that_was_begun_at_the_stop_is_finished_in_the_renamed_file() {
    let mut site = Site::new("");
    let line = site.more(1);
    let (start, end) = line.split_at(20);
    append(&site.log, start);
    site.written -= 1;
    let daemon = site.start();
    site.check();
    daemon.stop();
    append(&site.log, end);
    site.written += 1;
    site.write_log(5);
    site.rotate(".1");
    site.write_log(5);
    let daemon = site.start();
    site.check_to_the_end(daemon);
}

#[test]
fn a_line_that_was_begun_at_the_stop_is_finished_in_the_archive() {
    for is_finished in [true, false] {
        let mut site = Site::new("");
        let line = site.more(1);
        let (start, end) = line.split_at(line.len() - 1);
        append(&site.log, start);
        site.written -= 1;
        let daemon = site.start();
        site.check();
        daemon.stop();
        // At the end of an archive a line counts also without its newline.
        append(&site.log, if is_finished { end } else { "" });
        site.written += 1;
        pack_file(&site.rotate(".1"), "xz");
        site.write_log(5);
        let daemon = site.start();
        site.check_to_the_end(daemon);
    }
}

#[test]
fn copytruncate_while_away_and_the_copy_packed() {
    let mut site = Site::away("");
    site.write_log(30);
    let copy = site.rotated(".1");
    fs::copy(&site.log, &copy).expect("our own folder");
    pack_file(&copy, "zst");
    truncate(&site.log);
    site.write_log(40);
    let daemon = site.start();
    site.check();
    daemon.stop();
    site.check();
}

#[test]
fn glued_archives_are_read_to_their_last_member() {
    let mut site = Site::away("");
    let start = fs::read(&site.log).expect("our own file");
    let (middle, end) = (site.more(20), site.more(20));
    let members = [&start[..], middle.as_bytes(), end.as_bytes()];
    let packed: Vec<u8> = members.iter().flat_map(|part| pack("gz", part)).collect();
    fs::remove_file(&site.log).expect("our own file");
    fs::write(site.rotated(".1.gz"), packed).expect("a new file");
    let daemon = site.start();
    site.check_to_the_end(daemon);
}
