use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use super::*;
use crate::quota::rule::Consequence;
use crate::quota::verdict::{Closed, Subject};

/// A vhost `a/b` has the flag `a/b`, with the name of its quota in it.
fn render(verdicts: &Verdicts, _: &Hosts) -> FlagSet {
    let mut set = FlagSet::default();
    for (subject, closed) in verdicts.iter() {
        if let Subject::Vhost(path) = subject {
            set.flags.insert(path.clone(), closed.quota.clone());
        }
    }
    set
}

fn is_ours(path: &str) -> bool {
    path.starts_with("deny/") || path.starts_with("deep/")
}

/// Flags with their contents.
fn closed(flags: &[(&str, &str)], complete: bool) -> Verdicts {
    let closed = flags.iter().map(|(path, content)| {
        let closed = Closed {
            consequence: Consequence::Deny { status: 429 },
            quota: (*content).to_owned(),
            until: None,
        };
        (Subject::Vhost((*path).to_owned()), closed)
    });
    Verdicts {
        complete,
        ..Verdicts::of(closed)
    }
}

fn gate(folder: &Path) -> Flags {
    Flags::new(
        "test".to_owned(),
        folder.to_owned(),
        is_ours,
        Box::new(render),
    )
}

#[track_caller]
fn apply(gate: &mut Flags, verdicts: &Verdicts, now: Instant) -> Applied {
    let applied = gate.apply(verdicts, &Hosts::default(), now);
    assert_eq!(applied.failed, None);
    applied
}

/// All plain files below a folder with their contents, and all empty folders.
fn tree(folder: &Path) -> BTreeMap<String, String> {
    fn walk(folder: &Path, path: &str, tree: &mut BTreeMap<String, String>) {
        let mut is_empty = true;
        for entry in std::fs::read_dir(folder).expect("a folder") {
            is_empty = false;
            let entry = entry.expect("an entry");
            let below = format!("{path}{}", entry.file_name().to_string_lossy());
            if entry.file_type().expect("a type").is_dir() {
                walk(&entry.path(), &format!("{below}/"), tree);
            } else {
                tree.insert(
                    below,
                    std::fs::read_to_string(entry.path()).unwrap_or_default(),
                );
            }
        }
        if is_empty {
            tree.insert(path.to_owned(), "empty folder".to_owned());
        }
    }
    let mut tree = BTreeMap::new();
    walk(folder, "", &mut tree);
    tree
}

#[track_caller]
fn assert_tree(folder: &Path, expected: &[(&str, &str)]) {
    let expected = expected.iter().map(|&(p, c)| (p.to_owned(), c.to_owned()));
    assert_eq!(tree(folder), expected.collect());
}

#[test]
fn flags_come_and_go() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("gate/test");
    let now = Instant::now();
    let mut gate = gate(&root);
    let both = closed(&[("deny/a", ""), ("deep/x/b", ""), ("deny/c", "why")], true);
    let applied = apply(&mut gate, &both, now);
    assert_eq!((applied.changed, applied.standing), (3, 3));
    assert_tree(
        &root,
        &[("deny/a", ""), ("deep/x/b", ""), ("deny/c", "why")],
    );
    for (path, mode) in [
        ("deny", 0o755),
        ("deep/x", 0o755),
        ("deny/a", 0o644),
        ("deny/c", 0o644),
    ] {
        let found = std::fs::metadata(root.join(path)).expect("it is there");
        assert_eq!(found.permissions().mode() & 0o7777, mode, "{path}");
    }

    assert_eq!(apply(&mut gate, &both, now).changed, 0);
    let other = closed(&[("deny/a", "why"), ("deny/c", "")], true);
    let applied = apply(&mut gate, &other, now);
    assert_eq!((applied.changed, applied.standing), (3, 2));
    // The folder of a single flag went with it.
    assert_tree(
        &root,
        &[("deep/", "empty folder"), ("deny/a", "why"), ("deny/c", "")],
    );
    let applied = apply(&mut gate, &closed(&[], true), now);
    assert_eq!((applied.changed, applied.standing), (2, 0));
}

#[test]
fn nothing_opens_until_all_usage_is_known() {
    let folder = tempfile::tempdir().expect("a folder");
    let now = Instant::now();
    let earlier = closed(&[("deny/a", ""), ("deny/b", "old")], true);
    apply(&mut gate(folder.path()), &earlier, now);

    let mut gate = gate(folder.path());
    let applied = apply(&mut gate, &closed(&[], false), now);
    assert_eq!((applied.changed, applied.standing), (0, 2));
    let applied = apply(&mut gate, &closed(&[("deny/c", "")], false), now);
    assert_eq!((applied.changed, applied.standing), (1, 3));
    assert_tree(
        folder.path(),
        &[("deny/a", ""), ("deny/b", "old"), ("deny/c", "")],
    );
    // Also when somebody takes them away before that.
    std::fs::remove_dir_all(folder.path().join("deny")).expect("our own folder");
    let applied = apply(&mut gate, &closed(&[], false), now + WATCH);
    assert_eq!(applied.changed, 3);
    assert_tree(
        folder.path(),
        &[("deny/a", ""), ("deny/b", "old"), ("deny/c", "")],
    );

    apply(&mut gate, &closed(&[("deny/b", "old")], true), now + WATCH);
    assert_tree(folder.path(), &[("deny/b", "old")]);
}

#[test]
fn a_folder_that_was_emptied_is_filled_again() {
    let above = tempfile::tempdir().expect("a folder");
    let folder = above.path().join("run/gate");
    let mut now = Instant::now();
    let mut gate = gate(&folder);
    let verdicts = closed(&[("deny/a", ""), ("deep/x/b", "")], true);
    let expected = [("deny/a", ""), ("deep/x/b", "")];
    apply(&mut gate, &verdicts, now);
    let takes_away: [(&str, u64); 4] = [
        ("run", 2),
        ("run/gate/deny", 1),
        ("run/gate/deep/x", 1),
        ("run/gate", 2),
    ];
    for (gone, flags) in takes_away {
        std::fs::remove_dir_all(above.path().join(gone)).expect("our own folder");
        let applied = gate.apply(&verdicts, &Hosts::default(), now);
        let again = applied.again.expect("a time to look again");
        assert!(again <= now + WATCH, "{gone}");
        now += WATCH;
        assert_eq!(apply(&mut gate, &verdicts, now).changed, flags, "{gone}");
        assert_tree(&folder, &expected);
    }
    // One that somebody else made is removed, too.
    std::fs::write(folder.join("deny/z"), "").expect("a new file");
    now += WATCH;
    assert_eq!(apply(&mut gate, &verdicts, now).changed, 1);
    assert_tree(&folder, &expected);
    // Nobody was there: nothing is listed, and nothing is changed.
    now += WATCH;
    assert_eq!(apply(&mut gate, &verdicts, now).changed, 0);
}

/// Between the flag that we make and our look at how we have left the folder.
#[test]
fn what_somebody_removes_while_we_work_is_made_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let now = Instant::now();
    let mut gate = gate(folder.path());
    let both = closed(&[("deny/a", ""), ("deny/b", "")], true);
    apply(&mut gate, &both, now);
    std::fs::remove_dir_all(folder.path().join("deny")).expect("our own folder");
    let root = enter(folder.path()).expect("it is there");
    gate.stamps.renew(&root, "deny");
    assert!(gate.stamps.hold(&root), "it looks as we have left it");
    let applied = gate.look_after(&both, &Hosts::default(), now + WATCH);
    assert_eq!((applied.failed, applied.changed), (None, 2));
    assert_tree(folder.path(), &[("deny/a", ""), ("deny/b", "")]);

    // Also where there is always something to do.
    std::fs::remove_file(folder.path().join("deny/b")).expect("a flag");
    gate.stamps.renew(&root, "deny");
    let (mut old, mut at) = (both, now + WATCH);
    for step in 0..13 {
        let other = format!("deny/{step}");
        let new = closed(&[("deny/a", ""), ("deny/b", ""), (&other, "")], true);
        at += WATCH;
        gate.apply_news(&old, &new, &Hosts::default(), at);
        old = new;
    }
    assert!(folder.path().join("deny/b").exists());
    // Left alone, all are looked at once.
    gate.look_after(&old, &Hosts::default(), at + WATCH);
    assert_eq!(gate.changed_at, None);
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let elsewhere = tempfile::tempdir().expect("a folder");
    let write = |path: &str| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a new folder");
        std::fs::write(path, "").expect("a new file");
    };
    for path in ["README", "other/a", "deny/stale", "deny/.tmp", "a/b/c/d/e"] {
        write(path);
    }
    // What a kill between writing and renaming has left.
    write("deny/.x.0123456789abcdef.tollkeeper");
    std::fs::write(elsewhere.path().join("theirs"), "").expect("a new file");
    symlink(elsewhere.path(), folder.path().join("deep")).expect("a new link");
    symlink("/etc/passwd", folder.path().join("deny/link")).expect("a new link");

    let mut gate = gate(folder.path());
    let verdicts = closed(&[("deep/x", ""), ("deny/a", ""), ("deny/link", "")], true);
    let applied = gate.apply(&verdicts, &Hosts::default(), Instant::now());
    let failed = applied.failed.expect("two are not to be made");
    assert!(
        failed.contains("deep/x") && failed.contains("1 more"),
        "{failed}"
    );
    assert_eq!(applied.standing, 1);
    let names: Vec<String> = tree(folder.path()).into_keys().collect();
    let expected = [
        "README",
        "a/b/c/d/e",
        "deep",
        "deny/.tmp",
        "deny/a",
        "deny/link",
        "other/a",
    ];
    // `.tmp` is in a folder of ours.
    let expected: Vec<&str> = expected
        .into_iter()
        .filter(|name| *name != "deny/.tmp")
        .collect();
    assert_eq!(names, expected);
    assert_tree(elsewhere.path(), &[("theirs", "")]);
}

#[test]
fn no_flag_leaves_the_folder() {
    let above = tempfile::tempdir().expect("a folder");
    let folder = above.path().join("gate");
    let bad = [
        "../x",
        "deny/../../x",
        "/etc/x",
        "deny//x",
        "deny/.",
        "deny/a\0",
        "",
    ];
    let flags: Vec<(&str, &str)> = bad.iter().map(|path| (*path, "")).collect();
    let applied = gate(&folder).apply(&closed(&flags, true), &Hosts::default(), Instant::now());
    assert!(applied.failed.is_some());
    assert_eq!((applied.changed, applied.standing), (0, 0));
    assert_tree(above.path(), &[("gate/", "empty folder")]);
}

#[test]
fn one_that_fails_is_told_of_and_the_others_stand() {
    let folder = tempfile::tempdir().expect("a folder");
    let now = Instant::now();
    let in_the_way = folder.path().join("deny/b");
    std::fs::create_dir_all(&in_the_way).expect("a new folder");
    let mut gate = gate(folder.path());
    let verdicts = closed(&[("deny/a", ""), ("deny/b", ""), ("deny/c", "")], true);
    let applied = gate.apply(&verdicts, &Hosts::default(), now);
    assert!(
        applied
            .failed
            .is_some_and(|failed| failed.contains("deny/b"))
    );
    assert_eq!(applied.standing, 2);
    assert_eq!(applied.again, Some(now + RETRY));

    std::fs::remove_dir(in_the_way).expect("our own folder");
    assert_eq!(apply(&mut gate, &verdicts, now + RETRY).changed, 1);
    assert_tree(
        folder.path(),
        &[("deny/a", ""), ("deny/b", ""), ("deny/c", "")],
    );
}

#[test]
fn what_stands_already_is_not_touched() {
    let folder = tempfile::tempdir().expect("a folder");
    let now = Instant::now();
    let verdicts = closed(&[("deny/a", ""), ("deny/b", "why")], true);
    apply(&mut gate(folder.path()), &verdicts, now);
    let inodes = || {
        ["deny/a", "deny/b"].map(|path| {
            let found = std::fs::metadata(folder.path().join(path)).expect("it is there");
            (found.ino(), found.mtime_nsec())
        })
    };
    let before = inodes();
    assert_eq!(apply(&mut gate(folder.path()), &verdicts, now).changed, 0);
    assert_eq!(inodes(), before);
}

#[test]
fn many_are_made_in_several_goes() {
    let folder = tempfile::tempdir().expect("a folder");
    let paths: Vec<String> = (0..BETWEEN_LOOKS * 3)
        .map(|n| format!("deny/site-{n}.example"))
        .collect();
    let flags: Vec<(&str, &str)> = paths.iter().map(|path| (path.as_str(), "")).collect();
    let mut gate = gate(folder.path());
    gate.most_time = Duration::ZERO;
    let now = Instant::now();
    for verdicts in [closed(&flags, true), closed(&[], true)] {
        for goes_on in [true, true, false] {
            let applied = apply(&mut gate, &verdicts, now);
            assert_eq!(applied.changed, BETWEEN_LOOKS);
            assert_eq!(applied.again == Some(now), goes_on);
        }
    }
    assert_tree(folder.path(), &[("deny/", "empty folder")]);
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(40))]

    /// Told by what differs, a folder ends as if it had been told all: at once where flags come, and with
    /// the next look where some of two names for one are gone.
    #[test]
    fn news_come_to_the_same_as_all(
        steps in proptest::collection::vec(
            (proptest::collection::btree_map(0_u8..8, 0_u8..3, 0..8), proptest::bool::weighted(0.9)),
            1..8,
        ),
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("gate");
        let mut gate = gate(&root);
        let now = Instant::now();
        let mut old: Option<Verdicts> = None;
        let mut standing: BTreeMap<String, String> = BTreeMap::new();
        for (flags, complete) in &steps {
            let flags: Vec<(String, String)> = flags
                .iter()
                .map(|(name, content)| (format!("deny/{name}"), "x".repeat(usize::from(*content))))
                .collect();
            let borrowed: Vec<(&str, &str)> = flags.iter().map(|(p, c)| (&**p, &**c)).collect();
            let new = closed(&borrowed, *complete);
            let hosts = Hosts::default();
            let applied = match &old {
                Some(old) => gate.apply_news(old, &new, &hosts, now),
                None => gate.apply(&new, &hosts, now),
            };
            proptest::prop_assert_eq!(applied.failed, None);
            if *complete {
                standing.clear();
            }
            standing.extend(flags);
            let mut found = tree(&root);
            found.retain(|_, content| content != "empty folder");
            proptest::prop_assert_eq!(&found, &standing);
            let looked = gate.look_after(&new, &hosts, now);
            proptest::prop_assert_eq!(looked.failed, None);
            proptest::prop_assert_eq!(looked.standing, standing.len() as u64);
            old = Some(new);
        }
    }

    /// What differs, against a look at each.
    #[test]
    fn what_differs_is_found(
        old in proptest::collection::btree_map(0_u8..20, 0_u8..3, 0..20),
        new in proptest::collection::btree_map(0_u8..20, 0_u8..3, 0..20),
    ) {
        let made = |of: &BTreeMap<u8, u8>| {
            let flags: Vec<(String, String)> =
                of.iter().map(|(name, content)| (name.to_string(), content.to_string())).collect();
            let borrowed: Vec<(&str, &str)> = flags.iter().map(|(p, c)| (&**p, &**c)).collect();
            closed(&borrowed, true)
        };
        let expected: BTreeSet<Subject> = (0..20_u8)
            .filter(|name| old.get(name) != new.get(name))
            .map(|name| Subject::Vhost(name.to_string()))
            .collect();
        let (old, new) = (made(&old), made(&new));
        let found = new.differing_from(&old).into_iter();
        let found: BTreeSet<Subject> = found.map(|subject| (**subject).clone()).collect();
        proptest::prop_assert_eq!(found, expected);
    }
}

#[test]
fn a_flag_that_two_subjects_want_is_back_after_the_next_look() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("gate");
    // Both sites answer to one name.
    let shared = |verdicts: &Verdicts, _: &Hosts| {
        let mut set = FlagSet::default();
        if !verdicts.closed.is_empty() {
            set.flags.insert("deny/shared".to_owned(), String::new());
        }
        set
    };
    let mut gate = Flags::new("test".to_owned(), root.clone(), is_ours, Box::new(shared));
    let (both, one) = (
        closed(&[("a", ""), ("b", "")], true),
        closed(&[("a", "")], true),
    );
    let now = Instant::now();
    apply(&mut gate, &both, now);
    let hosts = Hosts::default();
    drop(gate.apply_news(&both, &one, &hosts, now));
    drop(gate.look_after(&one, &hosts, now));
    assert_tree(&root, &[("deny/shared", "")]);
}
