//! Which of the stored positions a file is, if any: one decision table, and nothing else.
//!
//! No single sign is trusted alone. Inodes are reused within seconds, and two thousand sites can
//! begin their logs with the same line; so a place counts only with the content, and a short piece
//! of content only with a place or a name.

use std::path::{Path, PathBuf};

use super::content::HEAD_BYTES;
use super::position::State;

/// What was found out about one stored position, looking at one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evidence {
    /// Bytes of the file that the position covers.
    pub offset: u64,
    /// The file lies where the position's did: the same inode, by its birth or its device.
    pub same_place: bool,
    /// The two are rotations of one log, by folder and name.
    pub same_log: bool,
    /// Whether the file's first `offset` bytes are the ones that were committed; `None` where the
    /// file is shorter.
    pub same_content: Option<bool>,
    /// Whether the file's head is the one that was committed.
    pub same_head: bool,
    /// Whether the position is still read.
    pub state: State,
}

/// What to do with a file that is to be read once, to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Once {
    /// Nothing of it is in the rows.
    New,
    /// All of it is, by this position.
    Counted(usize),
    /// The first bytes are; the rest is to be read.
    Continue(usize),
    /// It is a shorter, earlier state of a log that was read further.
    EarlierCopy(usize),
}

/// Decides for imports. `length`: of the content, decompressed.
///
/// | head | content up to the offset | length | other sign | then |
/// |---|---|---|---|---|
/// | same | same | equal | none needed | counted |
/// | same | same | longer | 1 KiB of content, or the place, or the log's name | continue |
/// | same | same | longer | none | new: logs may begin alike |
/// | same, 1 KiB | cannot say | shorter | place or the log's name | earlier copy |
/// | other cases | | | | new |
///
/// Of several, the position that covers most wins.
#[must_use]
pub fn decide_once(length: u64, candidates: &[Evidence]) -> Once {
    let mut best = Once::New;
    let mut covered = 0;
    for (index, evidence) in candidates.iter().enumerate() {
        if !evidence.same_head || evidence.offset == 0 {
            continue;
        }
        let related = evidence.same_place || evidence.same_log;
        let long = evidence.offset >= HEAD_BYTES;
        let decision = match evidence.same_content {
            Some(true) if evidence.offset == length => Once::Counted(index),
            Some(true) if long || related => Once::Continue(index),
            None if long && length >= HEAD_BYTES && related => Once::EarlierCopy(index),
            _ => continue,
        };
        let covers = evidence.offset.min(length);
        if covers > covered || best == Once::New {
            covered = covers;
            best = decision;
        }
    }
    best
}

/// What to do with a file that is to be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Followed {
    /// Nothing of it is in the rows.
    New,
    /// Read on from this position.
    Continue(usize),
    /// What this position speaks of was truncated or overwritten in place: retire it, and read the
    /// file from its start.
    Replaced(usize),
    /// The file ends before this position, and begins with the same bytes: it has lost its end (a
    /// power cut, a backup put back). What it still holds is counted; read on from its end.
    Shortened(usize),
}

/// Decides for followed files.
///
/// | place | content up to the offset | then |
/// |---|---|---|
/// | same | same | continue |
/// | same | the file is shorter, with the same head | shortened |
/// | same | other, or shorter with another head; position living | replaced |
/// | same | other; position not living | new: the inode was used again |
/// | other | same, 1 KiB or more, and the log's name | continue: moved or restored |
/// | other | anything else | new |
#[must_use]
pub fn decide_followed(candidates: &[Evidence]) -> Followed {
    let mut best = Followed::New;
    let mut covered = 0;
    for (index, evidence) in candidates.iter().enumerate() {
        let same = evidence.same_head && evidence.same_content == Some(true);
        let moved =
            evidence.same_log && evidence.offset >= HEAD_BYTES && evidence.state != State::Replaced;
        if same && (evidence.same_place || moved) && (evidence.offset >= covered) {
            covered = evidence.offset;
            best = Followed::Continue(index);
        } else if evidence.same_place && evidence.same_head && evidence.same_content.is_none() {
            if best == Followed::New {
                best = Followed::Shortened(index);
            }
        } else if evidence.same_place
            && !same
            && evidence.state == State::Living
            && best == Followed::New
        {
            best = Followed::Replaced(index);
        }
    }
    best
}

/// Whether two paths are rotations of one log: the same folder, and the same name once `.1`,
/// `-20261122`, `.2026-11-22`, `.gz` and their like are taken off.
#[must_use]
pub fn same_log(one: &Path, other: &Path) -> bool {
    one.parent() == other.parent() && stem(one) == stem(other)
}

/// The path that a rotated log had while it was written to, as its name tells.
#[must_use]
pub fn before_rotation(path: &Path) -> PathBuf {
    match stem(path) {
        Some(stem) => path.with_file_name(stem),
        None => path.to_owned(),
    }
}

fn stem(path: &Path) -> Option<&str> {
    let mut name = path.file_name()?.to_str()?;
    for ending in [".gz", ".zst", ".bz2", ".xz"] {
        name = name.strip_suffix(ending).unwrap_or(name);
    }
    let digits_at_end = name.len()
        - name
            .trim_end_matches(|c: char| c.is_ascii_digit() || c == '-' || c == '_')
            .len();
    let without = &name[..name.len() - digits_at_end];
    let rotated =
        digits_at_end > 0 && (without.ends_with('.') || name[without.len()..].starts_with('-'));
    Some(if rotated {
        without.trim_end_matches('.')
    } else {
        name
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(offset: u64, same_content: Option<bool>) -> Evidence {
        Evidence {
            offset,
            same_place: false,
            same_log: false,
            same_content,
            same_head: true,
            state: State::Finished,
        }
    }

    #[test]
    fn imports() {
        let placed = |given: Evidence| Evidence {
            same_place: true,
            ..given
        };
        let named = |given: Evidence| Evidence {
            same_log: true,
            ..given
        };
        for (what, length, candidate, expected) in [
            (
                "the same log, whole",
                100,
                evidence(100, Some(true)),
                Once::Counted(0),
            ),
            (
                "the same log, grown",
                9_000,
                evidence(5_000, Some(true)),
                Once::Continue(0),
            ),
            (
                "another log with the same first line",
                9_000,
                evidence(100, Some(true)),
                Once::New,
            ),
            (
                "the same short log, grown",
                9_000,
                placed(evidence(100, Some(true))),
                Once::Continue(0),
            ),
            (
                "its archive",
                9_000,
                named(evidence(100, Some(true))),
                Once::Continue(0),
            ),
            (
                "another log",
                9_000,
                evidence(5_000, Some(false)),
                Once::New,
            ),
            (
                "an earlier copy beside it",
                4_000,
                named(evidence(5_000, None)),
                Once::EarlierCopy(0),
            ),
            (
                "a shorter log of another site",
                4_000,
                evidence(5_000, None),
                Once::New,
            ),
            (
                "an inode used again",
                4_000,
                placed(evidence(3_000, Some(false))),
                Once::New,
            ),
            (
                "nothing was committed",
                4_000,
                placed(evidence(0, Some(true))),
                Once::New,
            ),
        ] {
            assert_eq!(decide_once(length, &[candidate]), expected, "{what}");
        }
        let other_head = Evidence {
            same_head: false,
            same_place: true,
            ..evidence(100, Some(true))
        };
        assert_eq!(decide_once(100, &[other_head]), Once::New);
    }

    #[test]
    fn the_position_that_covers_most_wins() {
        let both = [
            evidence(2_000, Some(true)),
            evidence(8_000, Some(true)),
            evidence(4_000, Some(true)),
        ];
        assert_eq!(decide_once(9_000, &both), Once::Continue(1));
        assert_eq!(decide_once(8_000, &both), Once::Counted(1));
    }

    #[test]
    fn followed_files() {
        let living = |same_place, same_content| Evidence {
            same_place,
            state: State::Living,
            ..evidence(5_000, same_content)
        };
        assert_eq!(decide_followed(&[]), Followed::New);
        assert_eq!(
            decide_followed(&[living(true, Some(true))]),
            Followed::Continue(0)
        );
        assert_eq!(
            decide_followed(&[living(true, Some(false))]),
            Followed::Replaced(0)
        );
        assert_eq!(
            decide_followed(&[living(true, None)]),
            Followed::Shortened(0)
        );
        let emptied = Evidence {
            same_head: false,
            ..living(true, None)
        };
        assert_eq!(decide_followed(&[emptied]), Followed::Replaced(0));
        assert_eq!(decide_followed(&[living(false, Some(true))]), Followed::New);
        let moved = Evidence {
            same_log: true,
            ..living(false, Some(true))
        };
        assert_eq!(decide_followed(&[moved]), Followed::Continue(0));
        let reused = Evidence {
            state: State::Finished,
            ..living(true, Some(false))
        };
        assert_eq!(decide_followed(&[reused]), Followed::New);
    }

    #[test]
    fn rotations_of_one_log() {
        for (one, other, expected) in [
            ("/l/access.log", "/l/access.log.1", true),
            ("/l/access.log.2.gz", "/l/access.log", true),
            ("/l/access.log-20261122", "/l/access.log", true),
            ("/l/access.log-20261122-1700.zst", "/l/access.log.14", true),
            ("/l/access.log.2026-11-22", "/l/access.log", true),
            ("/l/access.log", "/m/access.log", false),
            ("/l/site1.log", "/l/site2.log", false),
            ("/l/site1", "/l/site2", false),
            ("/l/a.example", "/l/a.example.1", true),
        ] {
            assert_eq!(
                same_log(Path::new(one), Path::new(other)),
                expected,
                "{one} {other}"
            );
        }
    }
}
