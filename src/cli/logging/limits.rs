//! So many messages of a kind a minute, and then how many more there were. A kind is a place in the
//! program, and the first words where one place says several things. Clients write log lines and
//! choose host names, customers name files: none of them may fill the journal.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;

/// So many of a kind
const MOST: u32 = 60;
/// within this time.
const WINDOW: Duration = Duration::from_secs(60);
/// Kinds that are told apart; further ones share one limit.
const MAX_KINDS: usize = 1_000;
/// Characters of a message that a summary repeats.
const MAX_SAMPLE_CHARS: usize = 300;

/// What has been said of late.
#[derive(Debug)]
pub(crate) struct Limits<K = (Identifier, String)> {
    windows: Mutex<HashMap<Option<K>, Window>>,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    passed: u32,
    held_back: u64,
    sample: String,
}

impl<K> Default for Limits<K> {
    fn default() -> Self {
        Self {
            windows: Mutex::new(HashMap::new()),
        }
    }
}

impl<K: Hash + Eq> Limits<K> {
    /// Whether a message may pass.
    pub(super) fn admits(&self, kind: K, message: &str, now: Instant) -> bool {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = Some(kind);
        let has_room = windows.len() < MAX_KINDS || windows.contains_key(&kind);
        let window = windows
            .entry(kind.filter(|_| has_room))
            .or_insert_with(|| Window {
                began: now,
                passed: 0,
                held_back: 0,
                sample: String::new(),
            });
        // What is held back is told before the window begins again.
        if window.held_back == 0 && now.saturating_duration_since(window.began) >= WINDOW {
            (window.began, window.passed) = (now, 0);
        }
        if window.passed < MOST {
            window.passed += 1;
            return true;
        }
        if window.held_back == 0 {
            window.sample = message.chars().take(MAX_SAMPLE_CHARS).collect();
        }
        window.held_back += 1;
        false
    }

    /// How many of which were held back, of the windows that have ended; of all, where `all` says so.
    pub(super) fn ended(&self, now: Instant, all: bool) -> Vec<(u64, String)> {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ended = Vec::new();
        windows.retain(|_, window| {
            let goes_on = now.saturating_duration_since(window.began) < WINDOW;
            if goes_on && !all {
                return true;
            }
            if window.held_back > 0 {
                ended.push((window.held_back, std::mem::take(&mut window.sample)));
            }
            false
        });
        ended
    }
}

impl Limits {
    /// Says how much was held back in the minutes that have ended; in all, where `all` says so.
    pub(crate) fn summarise(&self, all: bool) {
        for (count, sample) in self.ended(Instant::now(), all) {
            tracing::warn!("… and {} more like this: {sample}", grouped(count));
        }
    }
}

/// With a comma after each three figures.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_its_size_is_told() {
        let limits = Limits::<u32>::default();
        let start = Instant::now();
        let passed = (0..1_294)
            .filter(|_| limits.admits(1, "flood", start))
            .count();
        assert_eq!(passed, 60);
        assert!(limits.admits(2, "another kind", start));
        assert!(limits.ended(start, false).is_empty(), "not yet");
        let later = start + WINDOW;
        assert!(!limits.admits(1, "flood", later), "first the summary");
        assert_eq!(limits.ended(later, false), [(1_235, "flood".to_owned())]);
        assert!(limits.admits(1, "flood", later));
        assert!(limits.ended(later + WINDOW, false).is_empty());
    }

    #[test]
    fn what_is_held_back_at_the_end_is_told() {
        let limits = Limits::<u32>::default();
        let start = Instant::now();
        for _ in 0..61 {
            limits.admits(1, "x", start);
        }
        assert_eq!(limits.ended(start, true), [(1, "x".to_owned())]);
    }

    #[test]
    fn a_slow_trickle_is_never_cut() {
        let limits = Limits::<u32>::default();
        let start = Instant::now();
        for second in 0..1_000 {
            assert!(limits.admits(1, "x", start + Duration::from_secs(second)));
        }
    }

    #[test]
    fn kinds_are_bounded() {
        let limits = Limits::<u32>::default();
        let start = Instant::now();
        let passed = (0..100_000).filter(|kind| limits.admits(*kind, "x", start));
        assert_eq!(passed.count(), 1_000 + 60);
    }

    #[test]
    fn numbers_are_grouped() {
        for (count, expected) in [
            (1, "1"),
            (999, "999"),
            (1_234, "1,234"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped(count), expected);
        }
    }
}
