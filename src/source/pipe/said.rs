//! When something is said about how it goes: once when it goes badly, once when it goes well again.

use std::time::{Duration, Instant};

use crate::source::spool::Refusal;

/// It has to go well for so long before that is said: a spool at its cap is now full, now not.
const WELL: Duration = Duration::from_secs(10);

/// How it goes, if not well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State<'w> {
    /// Nothing is written.
    Refused(&'w Refusal),
    /// What is written takes so long that not all is.
    Slow,
}

/// What was said last.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// What is wrong, in a few words.
    wrong: Option<&'static str>,
    /// Since when it has not been, as far as is known.
    well_since: Option<Instant>,
}

impl Said {
    /// What to say now.
    pub(super) fn now(&mut self, state: Option<State<'_>>, now: Instant) -> Option<String> {
        let Some(state) = state else {
            self.wrong?;
            let since = *self.well_since.get_or_insert(now);
            if now.duration_since(since) < WELL {
                return None;
            }
            *self = Self::default();
            return Some("all is written again; what was dropped is counted".to_owned());
        };
        self.well_since = None;
        let (reason, why) = match state {
            State::Refused(refusal) => (refusal.reason(), refusal.to_string()),
            State::Slow => ("slow", "the disk is slower than what comes".to_owned()),
        };
        if self.wrong == Some(reason) {
            return None;
        }
        self.wrong = Some(reason);
        Some(format!("messages are dropped and counted: {why}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_is_said_once() {
        let start = Instant::now();
        let mut said = Said::default();
        let mut look = |state, second| {
            let news = said.now(state, start + Duration::from_secs(second));
            news.map(|news| news.split([':', ';']).next().unwrap_or_default().to_owned())
        };
        let full = Refusal::SpoolFull {
            max_spool_bytes: 1 << 20,
        };
        let full = Some(State::Refused(&full));
        let worse = Some("messages are dropped and counted".to_owned());
        let better = Some("all is written again".to_owned());
        for (state, second, expected) in [
            (None, 0, None),
            (full, 1, worse.clone()),
            (full, 2, None),
            (None, 3, None),
            (full, 12, None),
            (None, 13, None),
            (None, 22, None),
            (None, 23, better),
            (None, 50, None),
            (full, 51, worse.clone()),
            (Some(State::Slow), 52, worse),
        ] {
            assert_eq!(look(state, second), expected, "{second}");
        }
    }
}
