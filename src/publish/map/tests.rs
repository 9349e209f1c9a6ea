use std::sync::{Arc, Mutex};

use super::*;
use crate::quota::rule::Consequence;
use crate::quota::verdict::{Closed, Subject};

fn render(verdicts: &Verdicts, _: &Hosts) -> MapSet {
    let mut set = MapSet::default();
    for (subject, closed) in verdicts.iter() {
        if let Subject::Vhost(name) = subject {
            set.entries.insert(name.clone(), closed.quota.clone());
        }
    }
    set
}

fn write(set: &MapSet) -> Vec<u8> {
    let lines = set
        .entries
        .iter()
        .map(|(key, value)| format!("{key} {value}\n"));
    lines.collect::<String>().into_bytes()
}

fn read(bytes: &[u8]) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    lines
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn closed(lines: &[(&str, &str)], complete: bool) -> Verdicts {
    let closed = lines.iter().map(|(name, value)| {
        let closed = Closed {
            consequence: Consequence::Deny { status: 429 },
            quota: (*value).to_owned(),
            until: None,
        };
        (Subject::Vhost((*name).to_owned()), closed)
    });
    Verdicts {
        complete,
        ..Verdicts::of(closed)
    }
}

fn map(path: &std::path::Path) -> MapFile {
    MapFile::new(
        "test".to_owned(),
        path.to_owned(),
        Box::new(render),
        write,
        read,
    )
}

/// What the server answers, and how often it was asked.
#[derive(Clone)]
struct Asked(Arc<Mutex<(NudgeState, u32)>>);

impl Asked {
    fn new() -> Self {
        Self(Arc::new(Mutex::new((NudgeState::Done, 0))))
    }

    fn answers(&self, state: NudgeState) {
        self.0.lock().expect("no panic").0 = state;
    }

    fn times(&self) -> u32 {
        self.0.lock().expect("no panic").1
    }
}

impl Nudge for Asked {
    fn nudge(&mut self, now: Instant) -> NudgeState {
        let mut asked = self.0.lock().expect("no panic");
        asked.0 = NudgeState::Waiting(now + Duration::from_secs(1));
        asked.1 += 1;
        asked.0.clone()
    }

    fn poll(&mut self, _: Instant) -> NudgeState {
        self.0.lock().expect("no panic").0.clone()
    }
}

#[test]
fn lines_are_kept_until_all_usage_is_known() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("map");
    std::fs::write(&path, "a deny\nb deny\nopen -\nopen2 -\n").expect("a new file");
    let mut map = map(&path);
    let hosts = Hosts::default();
    let now = Instant::now();
    let first = closed(&[("a", "slow"), ("c", "deny"), ("open", "deny")], false);
    let applied = map.apply(&first, &hosts, now);
    assert_eq!((applied.changed, applied.standing), (2, 5));
    let text = || std::fs::read_to_string(&path).expect("it is there");
    assert_eq!(text(), "a deny\nb deny\nc deny\nopen deny\nopen2 -\n");
    map.apply(&closed(&[("a", "slow")], true), &hosts, now);
    assert_eq!(text(), "a slow\n");
}

#[test]
fn a_server_is_asked_only_when_the_file_has_changed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("map");
    let asked = Asked::new();
    let mut map = map(&path).with_nudge(Box::new(asked.clone()));
    let hosts = Hosts::default();
    let now = Instant::now();
    let one = closed(&[("a", "deny")], true);
    let applied = map.apply(&one, &hosts, now);
    assert_eq!(applied.again, Some(now + Duration::from_secs(1)));
    map.apply(&one, &hosts, now);
    assert_eq!(asked.times(), 1);
    asked.answers(NudgeState::Done);
    let applied = map.apply(&one, &hosts, now);
    assert_eq!((applied.failed, asked.times()), (None, 1));
    // Somebody has taken it away.
    std::fs::remove_file(&path).expect("it is there");
    map.apply(&one, &hosts, now);
    assert!(path.exists());
    assert_eq!(asked.times(), 2);
}

#[test]
fn what_a_server_refused_is_not_written_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("map");
    let asked = Asked::new();
    let mut map = map(&path).with_nudge(Box::new(asked.clone()));
    let hosts = Hosts::default();
    let now = Instant::now();
    let (good, bad) = (
        closed(&[("a", "deny")], true),
        closed(&[("b", "deny")], true),
    );
    map.apply(&good, &hosts, now);
    asked.answers(NudgeState::Done);
    map.apply(&bad, &hosts, now);
    // The one who reloads puts the last good one back, and says so.
    std::fs::write(&path, "a deny\n").expect("our own file");
    asked.answers(NudgeState::Refused("no".to_owned()));
    for _ in 0..3 {
        let applied = map.apply(&bad, &hosts, now);
        assert!(applied.failed.is_some_and(|failed| failed.contains("no")));
        assert_eq!(applied.standing, 1);
        assert_eq!(std::fs::read(&path).expect("it is there"), b"a deny\n");
    }
    assert_eq!(asked.times(), 2);
    let other = closed(&[("c", "deny")], true);
    let applied = map.apply(&other, &hosts, now);
    assert_eq!((applied.failed, asked.times()), (None, 3));
    assert_eq!(std::fs::read(&path).expect("it is there"), b"c deny\n");
    // What was refused once may be good later.
    asked.answers(NudgeState::Done);
    map.apply(&bad, &hosts, now);
    assert_eq!(asked.times(), 4);
}

#[test]
fn a_path_that_cannot_be_written_is_told_of() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("map");
    std::fs::create_dir(&path).expect("a new folder");
    let mut map = map(&path);
    let now = Instant::now();
    let applied = map.apply(&closed(&[("a", "deny")], true), &Hosts::default(), now);
    assert!(applied.failed.is_some());
    assert_eq!(applied.again, Some(now + RETRY));
    assert!(path.is_dir());
}
