use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use tempfile::TempDir;

use super::super::record::{Record, decode};
use super::super::{folder, is_over, segments};
use super::*;

/// A state directory, with a spool that is written at times that the test chooses.
struct Spool {
    state: TempDir,
}

/// What is in a spool.
#[derive(Debug, Default, PartialEq, Eq)]
struct Content {
    messages: Vec<String>,
    /// Minute, how many, why.
    losses: Vec<(i64, Option<u64>, String)>,
}

impl Content {
    fn lost(&self) -> u64 {
        self.losses
            .iter()
            .map(|loss| loss.1.expect("a number"))
            .sum()
    }
}

const NOW: i64 = 1_800_000_000;
const MINUTE: i64 = NOW / 60;

impl Spool {
    fn new() -> Self {
        Self {
            state: tempfile::tempdir().expect("a folder"),
        }
    }

    fn path(&self) -> PathBuf {
        folder(self.state.path(), "web")
    }

    fn writer(&self, max_spool_bytes: u64) -> Writer {
        Writer::open(&self.path(), Limits { max_spool_bytes }, NOW)
    }

    fn segments(&self) -> Vec<PathBuf> {
        let listed = segments(&self.path()).expect("the spool");
        listed.into_iter().map(|segment| segment.path).collect()
    }

    /// All of it; every line must be a record, each with another number.
    fn content(&self) -> Content {
        let mut content = Content::default();
        let mut numbers = std::collections::HashSet::new();
        for segment in self.segments() {
            let bytes = fs::read(segment).expect("a segment");
            let Some(records) = bytes.strip_suffix(b"\n") else {
                assert!(bytes.is_empty(), "a torn end");
                continue;
            };
            for line in records.split(|byte| *byte == b'\n') {
                assert!(numbers.insert(line[8..24].to_vec()), "one number twice");
                match decode(line).expect("a record") {
                    Record::Message { text, .. } => content
                        .messages
                        .push(String::from_utf8_lossy(text).into_owned()),
                    Record::Loss {
                        minute,
                        messages,
                        reason,
                    } => content.losses.push((minute, messages, reason.to_owned())),
                }
            }
        }
        content
    }
}

/// Appends so many messages of 100 bytes, with their numbers.
fn append(writer: &mut Writer, numbers: std::ops::Range<usize>) {
    for number in numbers {
        writer.append(None, format!("{number:0100}").as_bytes());
    }
}

fn is_locked(segment: &Path) -> bool {
    !is_over(&File::open(segment).expect("a segment")).expect("an answer")
}

#[test]
fn what_is_appended_is_in_a_locked_segment_until_the_end() {
    let spool = Spool::new();
    let mut writer = spool.writer(1 << 30);
    assert!(spool.path().is_dir() && spool.segments().is_empty());
    assert!(!writer.needs_tick());
    writer.append(Some("192.0.2.1".parse().expect("an address")), b"one\ntwo");
    writer.append(None, b"");
    assert!(spool.segments().is_empty() && writer.buffered_bytes() > 0);
    writer.write(NOW);
    writer.tick(NOW);
    let segments = spool.segments();
    assert!(segments.len() == 1 && is_locked(&segments[0]));
    assert_eq!(spool.content().messages, ["one two", ""]);
    assert_eq!(writer.close(NOW), []);
    assert_eq!(spool.segments(), segments);
    assert!(!is_locked(&segments[0]));
}

#[test]
fn modes_and_owners_do_not_depend_on_who_writes() {
    let spool = Spool::new();
    let is_root = rustix::process::geteuid().is_root();
    let owner = if is_root {
        (33, 34)
    } else {
        (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        )
    };
    std::os::unix::fs::chown(spool.state.path(), Some(owner.0), Some(owner.1)).expect("our own");
    let mut writer = spool.writer(1 << 30);
    append(&mut writer, 0..1);
    writer.write(NOW);
    let spools = spool.path();
    for (path, mode) in [
        (spools.parent().expect("a parent").to_owned(), 0o2770),
        (spools, 0o2770),
        (spool.segments().remove(0), 0o640),
    ] {
        let metadata = path.metadata().expect("it is there");
        assert_eq!(metadata.permissions().mode() & 0o7777, mode, "{path:?}");
        assert_eq!((metadata.uid(), metadata.gid()), owner, "{path:?}");
    }
}

#[test]
fn a_spool_that_is_there_keeps_its_mode_and_is_no_link() {
    let spool = Spool::new();
    let elsewhere = tempfile::tempdir().expect("a folder");
    fs::create_dir(spool.state.path().join("spool")).expect("a new folder");
    fs::set_permissions(
        spool.state.path().join("spool"),
        fs::Permissions::from_mode(0o700),
    )
    .expect("our own");
    std::os::unix::fs::symlink(elsewhere.path(), spool.path()).expect("a link");
    let mut writer = spool.writer(1 << 30);
    append(&mut writer, 0..3);
    writer.tick(NOW);
    assert!(matches!(writer.refusal(), Some(Refusal::System { .. })));
    assert_eq!(fs::read_dir(elsewhere.path()).expect("a folder").count(), 0);
    let mode = spool
        .path()
        .parent()
        .expect("a parent")
        .metadata()
        .expect("it is there")
        .mode();
    assert_eq!(mode & 0o7777, 0o700);
    // Once it is a folder, all goes well.
    fs::remove_file(spool.path()).expect("our own");
    writer.tick(NOW + 1);
    append(&mut writer, 3..5);
    writer.tick(NOW + 1);
    assert_eq!(writer.refusal(), None);
    assert_eq!(writer.close(NOW + 1), []);
    let content = spool.content();
    assert_eq!((content.messages.len(), content.lost()), (2, 3));
}

#[test]
fn a_segment_ends_when_it_is_large_or_old_and_nothing_comes() {
    let spool = Spool::new();
    let mut writer = spool.writer(160_000);
    // An eighth of the cap.
    append(&mut writer, 0..140);
    writer.write(NOW);
    assert!(is_locked(&spool.segments()[0]));
    append(&mut writer, 140..160);
    writer.write(NOW);
    assert!(!is_locked(&spool.segments()[0]));
    append(&mut writer, 160..161);
    writer.write(NOW);
    assert_eq!(spool.segments().len(), 2);
    // As long as something comes, it goes on.
    for second in 1..100 {
        append(&mut writer, 0..1);
        writer.tick(NOW + second);
    }
    assert!(is_locked(&spool.segments()[1]) && spool.segments().len() == 2);
    writer.tick(NOW + 100);
    assert!(!is_locked(&spool.segments()[1]));
    assert!(!writer.needs_tick());
    // A young one stays, whatever comes; and a clock that is set back makes it old.
    append(&mut writer, 0..1);
    writer.write(NOW + 200);
    for second in 200..260 {
        writer.tick(NOW + second);
    }
    assert!(is_locked(&spool.segments()[2]));
    writer.tick(NOW);
    assert!(!is_locked(&spool.segments()[2]));
    assert_eq!(spool.content().messages.len(), 161 + 99 + 1);
}

#[test]
fn no_more_than_the_cap_is_written_and_the_rest_is_counted() {
    let spool = Spool::new();
    let mut writer = spool.writer(20_000);
    for second in 0..10 {
        append(&mut writer, 0..100);
        writer.write(NOW + second);
        writer.tick(NOW + second);
    }
    assert_eq!(
        writer.refusal(),
        Some(&Refusal::SpoolFull {
            max_spool_bytes: 20_000
        })
    );
    let bytes: u64 = segments(&spool.path())
        .expect("the spool")
        .iter()
        .map(|one| one.bytes)
        .sum();
    assert!((19_800..=20_000).contains(&bytes), "{bytes}");
    let content = spool.content();
    assert_eq!(content.losses, []);
    // All can be deleted, and then there is room again.
    for segment in spool.segments() {
        assert!(!is_locked(&segment));
        fs::remove_file(segment).expect("our own");
    }
    writer.tick(NOW + 10);
    assert_eq!(writer.refusal(), None);
    append(&mut writer, 0..2);
    assert_eq!(writer.close(NOW + 11), []);
    let after = spool.content();
    assert_eq!(after.messages.len(), 2);
    assert_eq!(content.messages.len() as u64 + after.lost(), 1_000);
    assert_eq!(
        after.losses,
        [(MINUTE, Some(after.lost()), "spool full".to_owned())]
    );
}

#[test]
fn at_the_cap_the_losses_of_each_minute_are_written_all_the_same() {
    let spool = Spool::new();
    let mut writer = spool.writer(10_000);
    let mut appended = 0;
    for second in 0..180 {
        append(&mut writer, 0..10);
        appended += 10;
        writer.tick(NOW + second);
    }
    let content = spool.content();
    let minutes: Vec<_> = content.losses.iter().map(|loss| loss.0).collect();
    assert_eq!(minutes, [MINUTE, MINUTE + 1]);
    // In one segment; it stays open.
    assert_eq!(
        spool
            .segments()
            .iter()
            .filter(|segment| is_locked(segment))
            .count(),
        1
    );
    // The last minute is written at the end.
    assert_eq!(writer.close(NOW + 180), []);
    let content = spool.content();
    assert_eq!(content.messages.len() as u64 + content.lost(), appended);
    assert!(content.losses.iter().all(|loss| loss.2 == "spool full"));
}

#[test]
fn messages_too_long_and_losses_of_others_are_written_down() {
    let spool = Spool::new();
    let mut writer = spool.writer(1 << 30);
    writer.append(None, &[b'x'; MAX_MESSAGE_BYTES + 1]);
    writer.append(None, &[b'x'; MAX_MESSAGE_BYTES]);
    writer.lose(MINUTE - 3, None, "socket buffer full");
    writer.tick(NOW);
    assert_eq!(
        spool.content().losses,
        [
            (MINUTE, Some(1), "message too long".to_owned()),
            (MINUTE - 3, None, "socket buffer full".to_owned())
        ]
    );
    assert_eq!(spool.content().messages.len(), 1);
    assert_eq!(writer.close(NOW), []);
}

#[test]
fn a_folder_that_is_deleted_is_made_again() {
    let spool = Spool::new();
    let mut writer = spool.writer(1 << 30);
    append(&mut writer, 0..5);
    writer.tick(NOW);
    fs::remove_dir_all(spool.state.path().join("spool")).expect("our own");
    append(&mut writer, 0..5);
    writer.tick(NOW + 1);
    append(&mut writer, 5..7);
    writer.tick(NOW + 2);
    let content = spool.content();
    assert_eq!(content.messages.len(), 2);
    assert_eq!(
        content.losses,
        [(MINUTE, None, "segment deleted while written".to_owned())]
    );
    // Between two segments nothing is lost by it.
    writer.tick(NOW + 3);
    writer.tick(NOW + 100);
    assert!(!writer.needs_tick());
    fs::remove_dir_all(spool.state.path().join("spool")).expect("our own");
    append(&mut writer, 0..4);
    assert_eq!(writer.close(NOW + 101), []);
    let content = spool.content();
    assert_eq!((content.messages.len(), content.losses), (4, Vec::new()));
}

#[test]
fn two_writers_side_by_side() {
    let spool = Spool::new();
    let (mut one, mut other) = (spool.writer(1 << 30), spool.writer(1 << 30));
    for round in 0..10 {
        append(&mut one, 0..10);
        append(&mut other, 0..10);
        one.write(NOW + round);
        other.write(NOW + round);
    }
    let segments = spool.segments();
    assert!(segments.len() == 2 && segments.iter().all(|segment| is_locked(segment)));
    assert_eq!(one.close(NOW), []);
    assert_eq!(
        segments.iter().filter(|segment| is_locked(segment)).count(),
        1
    );
    assert_eq!(other.close(NOW), []);
    assert_eq!(spool.content().messages.len(), 200);
}

#[test]
fn what_fits_is_cut_at_a_record() {
    for (records, most, expected) in [
        (&b"aa\nbb\n"[..], 100, 6),
        (b"aa\nbb\n", 6, 6),
        (b"aa\nbb\n", 5, 3),
        (b"aa\nbb\n", 3, 3),
        (b"aa\nbb\n", 2, 0),
        (b"aa\nbb\n", 0, 0),
        (b"aa\nbb\n", u64::MAX, 6),
    ] {
        assert_eq!(whole_records(records, most), expected);
    }
}
