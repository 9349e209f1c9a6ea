//! Which of the stored positions a file is, if any: one decision table, and nothing else.
//!
//! No single sign is trusted alone. Inodes are reused within seconds, and two thousand sites can
//! begin their logs with the same line; so a place counts only with the content, and a short piece
//! of content only with a place or a name.

use std::path::{Path, PathBuf};

use super::content::HEAD_BYTES;
use super::packed::ENDINGS;
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
    /// The two lie in one folder.
    pub same_folder: bool,
    /// Whether the file's first `offset` bytes are the ones that were committed; `None` where the
    /// file is shorter.
    pub same_content: Option<bool>,
    /// Whether the file's head is the one that was committed.
    pub same_head: bool,
    /// Whether the position is still read.
    pub state: State,
    /// The position's file was last seen at this very path.
    pub same_path: bool,
    /// The position's file still lies where it was, and is another one than this.
    pub elsewhere: bool,
    /// The position's file lies beside this one and holds what it did, and this is another log that
    /// begins with it, and no copy; not asked where there is 1 KiB of content.
    pub another: bool,
    /// The position's file is held open and being read.
    pub held: bool,
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
/// | nothing is committed | | | the place, and living | continue |
/// | other cases | | | | new |
///
/// Of several, the position that covers most wins.
#[must_use]
pub fn decide_once(length: u64, candidates: &[Evidence]) -> Once {
    let mut best = Once::New;
    let mut covered = 0;
    for (index, evidence) in candidates.iter().enumerate() {
        if evidence.offset == 0 {
            // Taken up by a daemon that has not come to commit anything of it.
            if evidence.same_place && evidence.state == State::Living && best == Once::New {
                best = Once::Continue(index);
            }
            continue;
        }
        if !evidence.same_head {
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
        if covers > covered {
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
    /// It has taken the place of a file that is still held, and begins with the same bytes: read on
    /// behind them, under a position of its own.
    Behind(usize),
    /// It is a copy of a file that is still read, or an earlier state of one: leave it alone.
    Copy,
    /// What this position speaks of was truncated or overwritten in place: retire it, and read the
    /// file from its start.
    Replaced(usize),
    /// The file ends before this position, and begins with the same bytes: it has lost its end (a
    /// power cut, a backup put back). What it still holds is counted; read on from its end.
    Shortened(usize),
}

/// Decides for followed files. The first row that fits one of the candidates; of several candidates
/// the one that covers most. Where nothing was committed, the content says more than the place: an
/// empty file may have been the beginning of a copy.
///
/// | place | content up to the offset | other sign | then |
/// |---|---|---|---|
/// | same | same | | continue |
/// | same | the file is shorter, with the same head | | shortened |
/// | other | same | same log, or same folder and 1 KiB; its file is held, and in its place | copy |
/// | other | same, less than 1 KiB | its own file lies beside it, and this is another log | new: the next log |
/// | other | same | same log; its file is held, but no longer in its place | behind |
/// | other | same | same log or path, or 1 KiB of content; not held, nor living elsewhere | continue; rather than behind, where it covers more |
/// | other | the file is shorter, with the same head of 1 KiB | same path | shortened |
/// | other | the file is shorter, with the same head of 1 KiB | same log | copy: an earlier state |
/// | same | nothing was committed yet; position living | | continue |
/// | same | other, or shorter with another head; position living | | replaced |
/// | anything else | | | new: logs may begin alike |
#[must_use]
pub fn decide_followed(candidates: &[Evidence]) -> Followed {
    let decisions = candidates
        .iter()
        .enumerate()
        .filter_map(|(index, evidence)| {
            let (rank, decision) = decide_one(index, evidence)?;
            Some((rank, std::cmp::Reverse(evidence.offset), decision))
        });
    decisions
        .min_by_key(|&(rank, covers, _)| (rank, covers))
        .map_or(Followed::New, |(_, _, decision)| decision)
}

/// What one position says of a file, with the row of the table.
fn decide_one(index: usize, evidence: &Evidence) -> Option<(u8, Followed)> {
    let begun = evidence.offset > 0;
    let same = begun && evidence.same_head && evidence.same_content == Some(true);
    let shorter = begun && evidence.same_head && evidence.same_content.is_none();
    let long = evidence.offset >= HEAD_BYTES;
    if evidence.same_place {
        return match evidence.state {
            _ if same => Some((0, Followed::Continue(index))),
            State::Living if !begun => Some((5, Followed::Continue(index))),
            _ if shorter => Some((1, Followed::Shortened(index))),
            State::Living => Some((6, Followed::Replaced(index))),
            State::Finished | State::Replaced => None,
        };
    }
    if evidence.another && !long {
        return None;
    }
    let related = evidence.same_log || evidence.same_path;
    let beside = related || (evidence.same_folder && long);
    let lives_elsewhere = evidence.elsewhere && evidence.state == State::Living;
    match evidence.held {
        true if same && beside && evidence.elsewhere => Some((2, Followed::Copy)),
        true if same && related => Some((3, Followed::Behind(index))),
        false if same && lives_elsewhere && beside => Some((2, Followed::Copy)),
        // Of these two, what covers most says what was counted.
        false if same && !lives_elsewhere && (related || long) => {
            Some((3, Followed::Continue(index)))
        }
        _ if shorter && long && evidence.same_path => Some((4, Followed::Shortened(index))),
        _ if shorter && long && evidence.same_log => Some((4, Followed::Copy)),
        _ => None,
    }
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

/// The path that a packed file had before it was packed, as its name tells; `None`: by its name it is
/// not packed.
#[must_use]
pub fn before_packing(path: &Path) -> Option<PathBuf> {
    let is_packed = path
        .extension()
        .and_then(|ending| ending.to_str())
        .is_some_and(|ending| ENDINGS.contains(&ending));
    is_packed.then(|| path.with_extension(""))
}

fn stem(path: &Path) -> Option<&str> {
    let mut name = path.file_name()?.to_str()?;
    while let Some((rest, ending)) = name.rsplit_once('.')
        && ENDINGS.contains(&ending)
    {
        name = rest;
    }
    let digits_at_end = name.len()
        - name
            .trim_end_matches(|c: char| c.is_ascii_digit() || c == '-' || c == '_')
            .len();
    let without = &name[..name.len() - digits_at_end];
    // A dot before any number; a dash only before what can be a date: site-1 and site-2 are two logs.
    const DATE_CHARS: usize = 6;
    let dated = name[without.len()..].starts_with('-') && digits_at_end > DATE_CHARS;
    let rotated = digits_at_end > 0 && (without.ends_with('.') || dated);
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
            same_path: false,
            same_folder: false,
            elsewhere: false,
            another: false,
            held: false,
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
        let living = |same_content| Evidence {
            state: State::Living,
            ..evidence(5_000, same_content)
        };
        let (same, other, shorter) = (living(Some(true)), living(Some(false)), living(None));
        let placed = |given: Evidence| Evidence {
            same_place: true,
            ..given
        };
        let named = |given: Evidence| Evidence {
            same_log: true,
            ..given
        };
        let held = |given: Evidence| Evidence {
            held: true,
            ..given
        };
        let elsewhere = |given: Evidence| Evidence {
            elsewhere: true,
            ..given
        };
        let beside = |given: Evidence| Evidence {
            same_folder: true,
            ..given
        };
        let short = |given: Evidence| Evidence {
            offset: 100,
            ..given
        };
        let finished = |given: Evidence| Evidence {
            state: State::Finished,
            ..given
        };
        let at_path = |given: Evidence| Evidence {
            same_path: true,
            ..given
        };
        let another = |given: Evidence| Evidence {
            another: true,
            ..given
        };
        let empty = Evidence {
            same_head: false,
            offset: 0,
            ..living(Some(true))
        };
        let emptied = Evidence {
            same_head: false,
            ..shorter
        };
        for (what, candidate, expected) in [
            ("the file", placed(same), Followed::Continue(0)),
            (
                "taken up, but nothing committed",
                placed(empty),
                Followed::Continue(0),
            ),
            ("its end is lost", placed(shorter), Followed::Shortened(0)),
            (
                "truncated and filled again",
                placed(other),
                Followed::Replaced(0),
            ),
            ("emptied", placed(emptied), Followed::Replaced(0)),
            (
                "its inode, used again",
                placed(finished(other)),
                Followed::New,
            ),
            (
                "a copy of what is followed",
                named(held(elsewhere(same))),
                Followed::Copy,
            ),
            (
                "a copy by another name",
                beside(held(elsewhere(same))),
                Followed::Copy,
            ),
            (
                "another log in the folder",
                short(beside(held(elsewhere(same)))),
                Followed::New,
            ),
            (
                "a short copy",
                short(named(held(elsewhere(same)))),
                Followed::Copy,
            ),
            (
                "put in its place by an editor",
                at_path(held(same)),
                Followed::Behind(0),
            ),
            (
                "moved while nobody looked",
                named(same),
                Followed::Continue(0),
            ),
            (
                "the next log, which begins with all that the short one held",
                another(short(named(same))),
                Followed::New,
            ),
            (
                "the same, and the old one is held",
                another(short(at_path(held(same)))),
                Followed::New,
            ),
            (
                "put in its place by an editor that keeps the old one",
                another(at_path(held(same))),
                Followed::Behind(0),
            ),
            (
                "imported from elsewhere",
                elsewhere(finished(same)),
                Followed::Continue(0),
            ),
            (
                "a short import of another log",
                short(finished(same)),
                Followed::New,
            ),
            (
                "put back by a backup, shorter",
                at_path(shorter),
                Followed::Shortened(0),
            ),
            (
                "another site's log, alike so far",
                elsewhere(same),
                Followed::New,
            ),
            ("the same, and held", held(elsewhere(same)), Followed::New),
            ("another log", named(other), Followed::New),
        ] {
            assert_eq!(decide_followed(&[candidate]), expected, "{what}");
        }
        assert_eq!(decide_followed(&[]), Followed::New);
        let both = [
            named(held(elsewhere(same))),
            placed(short(same)),
            placed(same),
        ];
        assert_eq!(decide_followed(&both), Followed::Continue(2));
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
            ("/l/site-1", "/l/site-2", false),
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
