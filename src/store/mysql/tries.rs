//! Trying again: how often, how long, and with which pauses.

use std::time::{Duration, Instant};

use super::trouble::{Remedy, Trouble};

/// How often a transaction that got in the way of others is tried again, without more patience.
pub(super) const MAX_TRIES: u32 = 6;
/// And for how long at most, as each try may wait for a lock.
const MAX_TRYING: Duration = Duration::from_secs(15);
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How often, and since when, something is tried.
pub(super) struct Tries {
    began: Instant,
    pub(super) count: u32,
    told: bool,
}

impl Tries {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            count: 0,
            told: false,
        }
    }

    /// Whether to try again; waits a little first.
    pub(super) fn again(
        &mut self,
        trouble: &Trouble,
        patience: Duration,
        tell: impl FnOnce(&str),
    ) -> bool {
        self.count += 1;
        let patient = self.began.elapsed() < patience;
        let again = match trouble.remedy() {
            Remedy::Again => {
                patient || (self.count < MAX_TRIES && self.began.elapsed() < MAX_TRYING)
            }
            // The connection may have been closed long ago, without anything being wrong.
            Remedy::Later => patient || self.count < 2,
            Remedy::Setting => patient,
            Remedy::Row | Remedy::None => false,
        };
        if !again {
            return false;
        }
        if patient && self.count == MAX_TRIES && !self.told {
            self.told = true;
            let minutes = patience.as_secs().div_ceil(60);
            tell(&format!("{trouble}; trying again for {minutes} minutes"));
        }
        let pause = FIRST_PAUSE * 2_u32.saturating_pow(self.count.min(16) - 1);
        let pause = pause.min(LONGEST_PAUSE);
        if trouble.remedy() != Remedy::Later || self.count > 1 {
            std::thread::sleep(pause / 2 + pause * u32::from(crate::store::random() as u8) / 255);
        }
        true
    }
}
