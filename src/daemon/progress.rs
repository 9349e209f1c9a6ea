//! Whether the daemon gets on: what systemd's watchdog is fed by.
//!
//! The thread that reads the files makes progress with each turn and with each read that comes back,
//! the one with the store whenever a try comes back. Where either has made none for too long, the watchdog is
//! not fed, and systemd starts the daemon anew; nothing is lost by that. A store that is away is no
//! hang: each try that fails is progress.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::source::open;

/// What both threads have done last.
#[derive(Debug)]
pub struct Progress {
    marks: Mutex<Marks>,
}

#[derive(Debug, Clone, Copy)]
struct Marks {
    /// When the follower's present turn began, or it went to sleep.
    turn: Instant,
    /// When it was last seen to get on.
    followed: Instant,
    /// How many reads had come back by then.
    reads: u64,
    /// When the flusher's present try began; `None`: it waits, for a batch or for the next try.
    flusher: Option<Instant>,
}

impl Progress {
    /// Both begin now.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            marks: Mutex::new(Marks {
                turn: now,
                followed: now,
                reads: 0,
                flusher: None,
            }),
        }
    }

    /// The follower begins a turn.
    pub fn turn(&self, now: Instant) {
        let mut marks = self.marks();
        marks.turn = now;
        marks.followed = now;
    }

    /// The follower gets on within a turn.
    pub fn gets_on(&self, now: Instant) {
        self.marks().followed = now;
    }

    /// The flusher begins a try, or one has ended, well or not.
    pub fn flusher(&self, tries: bool, now: Instant) {
        self.marks().flusher = tries.then_some(now);
    }

    /// When the follower's present turn began.
    #[must_use]
    pub fn turn_began(&self) -> Instant {
        self.marks().turn
    }

    /// Whether both have got on within `patience`.
    pub fn is_alive(&self, now: Instant, patience: Duration) -> bool {
        self.judge(now, patience, open::reads_done())
    }

    fn judge(&self, now: Instant, patience: Duration, reads: u64) -> bool {
        let mut marks = self.marks();
        if reads != marks.reads {
            marks.reads = reads;
            marks.followed = now;
        }
        let is_recent = |mark: Instant| now.saturating_duration_since(mark) <= patience;
        is_recent(marks.followed) && marks.flusher.is_none_or(is_recent)
    }

    fn marks(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_follower_that_hangs_in_a_read_is_no_progress() {
        let start = Instant::now();
        let progress = Progress::new(start);
        progress.turn(at(start, 10));
        assert!(progress.judge(at(start, 70), PATIENCE, 0));
        assert!(!progress.judge(at(start, 71), PATIENCE, 0), "it hangs");
        progress.turn(at(start, 80));
        assert!(progress.judge(at(start, 81), PATIENCE, 0), "it came back");
    }

    #[test]
    fn a_long_turn_that_reads_is_progress() {
        let start = Instant::now();
        let progress = Progress::new(start);
        for minute in 1..=60 {
            assert!(progress.judge(at(start, minute * 60), PATIENCE, minute));
        }
        assert_eq!(progress.turn_began(), start, "it is one turn all the time");
        assert!(!progress.judge(at(start, 3_661), PATIENCE, 60));
    }

    #[test]
    fn a_flusher_that_hangs_is_no_progress_and_one_that_tries_again_is() {
        let start = Instant::now();
        let progress = Progress::new(start);
        let turns_on = |seconds| {
            progress.turn(at(start, seconds));
            progress.judge(at(start, seconds), PATIENCE, 0)
        };
        assert!(turns_on(1_000), "a flusher with nothing to do may wait");
        progress.flusher(true, at(start, 1_000));
        assert!(turns_on(1_060));
        assert!(!turns_on(1_061), "the store's thread hangs");
        // The store is away: each try fails, and the next one begins.
        for seconds in 1_062..1_200 {
            progress.flusher(true, at(start, seconds));
            assert!(turns_on(seconds));
            progress.flusher(false, at(start, seconds));
        }
        assert!(turns_on(9_999), "the pause between two tries may be long");
    }
}
