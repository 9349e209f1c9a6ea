//! What was seen of a followed file into what to do about it. Touches nothing.

use std::time::Duration;

/// A renamed or deleted file is read on until it has been quiet for so long: old workers of the web
/// server may go on writing to it.
pub const QUIET_BEFORE_RETIRING: Duration = Duration::from_secs(3_600);

/// What its path leads to now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtPath {
    /// The file that we hold.
    Ours,
    /// Another file, or nothing.
    Other,
}

/// What one look at a file showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// What its path leads to.
    pub at_path: AtPath,
    /// How long it is.
    pub size: u64,
    /// How far it has been read.
    pub offset: u64,
    /// Whether size or time of change differ from what the last read left.
    pub changed: bool,
    /// Whether the bytes before the offset are still the ones that were read; not asked where nothing
    /// has changed.
    pub tail_is_ours: bool,
    /// For how long it has not grown.
    pub quiet: Duration,
    /// It is a segment of a spool that nobody writes any more: what it holds now is all of it.
    pub is_over: bool,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Wait,
    /// Read from the offset on.
    Read,
    /// What was read has been truncated or overwritten: begin again at the start, as a new file.
    BeginAgain,
    /// Nobody writes to it any more: read what is left, and let it go.
    Retire,
}

/// Decides.
#[must_use]
pub fn decide(seen: &Seen) -> Step {
    if seen.size < seen.offset || (seen.changed && !seen.tail_is_ours) {
        return Step::BeginAgain;
    }
    // What is left of it is read in the same step, and is the last of it.
    if seen.is_over {
        return Step::Retire;
    }
    if seen.changed && seen.size > seen.offset {
        return Step::Read;
    }
    if seen.at_path == AtPath::Other && seen.quiet >= QUIET_BEFORE_RETIRING {
        return Step::Retire;
    }
    Step::Wait
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions() {
        let still = Seen {
            at_path: AtPath::Ours,
            size: 100,
            offset: 100,
            changed: false,
            tail_is_ours: true,
            quiet: Duration::ZERO,
            is_over: false,
        };
        let old = Duration::from_secs(3_600);
        for (what, seen, expected) in [
            ("nothing happened", still, Step::Wait),
            (
                "it has grown",
                Seen {
                    size: 101,
                    changed: true,
                    ..still
                },
                Step::Read,
            ),
            (
                "nobody writes to it any more",
                Seen {
                    size: 101,
                    changed: true,
                    is_over: true,
                    ..still
                },
                Step::Retire,
            ),
            (
                "it was truncated",
                Seen {
                    size: 0,
                    changed: true,
                    ..still
                },
                Step::BeginAgain,
            ),
            (
                "it was truncated and filled again beyond the offset",
                Seen {
                    size: 500,
                    changed: true,
                    tail_is_ours: false,
                    ..still
                },
                Step::BeginAgain,
            ),
            (
                "it was overwritten to the same length",
                Seen {
                    changed: true,
                    tail_is_ours: false,
                    ..still
                },
                Step::BeginAgain,
            ),
            (
                "only its time changed",
                Seen {
                    changed: true,
                    ..still
                },
                Step::Wait,
            ),
            (
                "it was renamed a moment ago",
                Seen {
                    at_path: AtPath::Other,
                    ..still
                },
                Step::Wait,
            ),
            (
                "renamed, and its writer has been silent for ten minutes",
                Seen {
                    at_path: AtPath::Other,
                    quiet: Duration::from_secs(600),
                    ..still
                },
                Step::Wait,
            ),
            (
                "then it writes again",
                Seen {
                    at_path: AtPath::Other,
                    size: 101,
                    changed: true,
                    quiet: Duration::from_secs(600),
                    ..still
                },
                Step::Read,
            ),
            (
                "renamed, quiet for nearly an hour",
                Seen {
                    at_path: AtPath::Other,
                    quiet: Duration::from_secs(3_599),
                    ..still
                },
                Step::Wait,
            ),
            (
                "renamed, and still written",
                Seen {
                    at_path: AtPath::Other,
                    size: 101,
                    changed: true,
                    quiet: old,
                    ..still
                },
                Step::Read,
            ),
            (
                "renamed and quiet",
                Seen {
                    at_path: AtPath::Other,
                    quiet: old,
                    ..still
                },
                Step::Retire,
            ),
            (
                "quiet, but in its place",
                Seen {
                    quiet: old,
                    ..still
                },
                Step::Wait,
            ),
            (
                "an unfinished line is no reason to read again",
                Seen { size: 150, ..still },
                Step::Wait,
            ),
        ] {
            assert_eq!(decide(&seen), expected, "{what}");
        }
    }
}
