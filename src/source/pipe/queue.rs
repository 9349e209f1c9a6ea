//! What was read and is not yet written.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use memchr::memchr_iter;

/// What waits at most.
const MAX_BYTES: usize = 16 << 20;
/// What is kept for the next lines once it has been taken.
const MAX_SPARE_BYTES: usize = 1 << 20;

/// Lines on their way from one thread to another.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    came: Condvar,
}

/// What there is at one time.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// Whole lines.
    bytes: Vec<u8>,
    /// How many there was no room for.
    pub(super) dropped: u64,
    /// How many were too long.
    pub(super) too_long: u64,
    /// Nothing more comes.
    pub(super) has_ended: bool,
}

impl Waiting {
    /// The lines, without their newlines.
    pub(super) fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        memchr_iter(b'\n', &self.bytes).map(move |newline| {
            let line = &self.bytes[start..newline];
            start = newline + 1;
            line
        })
    }

    fn is_nothing(&self) -> bool {
        self.bytes.is_empty() && self.dropped == 0 && self.too_long == 0 && !self.has_ended
    }
}

impl Queue {
    /// Adds whole lines, each with its newline, if there is room.
    pub(super) fn push(&self, lines: &[u8], too_long: u64) {
        let mut waiting = self.lock();
        if waiting.bytes.len() + lines.len() <= MAX_BYTES {
            waiting.bytes.extend_from_slice(lines);
        } else {
            waiting.dropped += memchr_iter(b'\n', lines).count() as u64;
        }
        waiting.too_long += too_long;
        drop(waiting);
        self.came.notify_one();
    }

    /// Nothing more comes.
    pub(super) fn end(&self) {
        self.lock().has_ended = true;
        self.came.notify_one();
    }

    /// Takes all there is in exchange for what was taken before; waits for it, at most so long.
    pub(super) fn take(&self, taken: &mut Waiting, most: Option<Duration>) {
        taken.bytes.clear();
        taken.bytes.shrink_to(MAX_SPARE_BYTES);
        let spare = std::mem::take(&mut taken.bytes);
        let is_nothing = |waiting: &mut Waiting| waiting.is_nothing();
        let waiting = self.lock();
        let mut waiting = match most {
            Some(most) => {
                let woken = self.came.wait_timeout_while(waiting, most, is_nothing);
                woken.unwrap_or_else(PoisonError::into_inner).0
            }
            None => {
                let woken = self.came.wait_while(waiting, is_nothing);
                woken.unwrap_or_else(PoisonError::into_inner)
            }
        };
        let next = Waiting {
            bytes: spare,
            ..Waiting::default()
        };
        *taken = std::mem::replace(&mut waiting, next);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_counted() {
        let queue = Queue::default();
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        let lines = line.repeat(10);
        let mut pushed = 0;
        while pushed <= MAX_BYTES / line.len() + 100 {
            queue.push(&lines, 1);
            pushed += 10;
        }
        let mut taken = Waiting::default();
        queue.take(&mut taken, None);
        let fits = taken.lines().count();
        assert_eq!(
            fits + usize::try_from(taken.dropped).expect("a number"),
            pushed
        );
        assert!(fits * line.len() <= MAX_BYTES && taken.dropped >= 100);
        assert_eq!(usize::try_from(taken.too_long), Ok(pushed / 10));
        assert!(!taken.has_ended);
        // And there is room again.
        queue.push(b"a\n\nb\n", 0);
        queue.end();
        queue.take(&mut taken, None);
        assert_eq!(taken.lines().collect::<Vec<_>>(), [&b"a"[..], b"", b"b"]);
        assert!(taken.has_ended && taken.dropped == 0 && taken.too_long == 0);
        assert!(taken.bytes.capacity() <= MAX_SPARE_BYTES);
    }

    #[test]
    fn nothing_is_waited_for_as_long_as_is_said() {
        let queue = Queue::default();
        let mut taken = Waiting::default();
        queue.take(&mut taken, Some(Duration::ZERO));
        assert!(taken.is_nothing());
    }
}
