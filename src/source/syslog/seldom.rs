//! Messages that clients can cause, said seldom: nothing they do fills the journal.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const BETWEEN: Duration = Duration::from_secs(60);

/// Lets one message through in a minute.
#[derive(Debug, Default)]
pub(super) struct Seldom(Mutex<Said>);

#[derive(Debug, Default)]
struct Said {
    last: Option<Instant>,
    kept_back: u64,
}

impl Seldom {
    /// Says it, or notes that it was not said. What is said gets the count of those before.
    pub(super) fn say(&self, say: impl FnOnce(&str)) {
        self.say_at(Instant::now(), say);
    }

    fn say_at(&self, now: Instant, say: impl FnOnce(&str)) {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if said
            .last
            .is_some_and(|last| now.saturating_duration_since(last) < BETWEEN)
        {
            said.kept_back += 1;
            return;
        }
        said.last = Some(now);
        let kept_back = std::mem::take(&mut said.kept_back);
        drop(said);
        match kept_back {
            0 => say(""),
            _ => say(&format!(
                " (and {kept_back} times more since the last message of this kind)"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_message_a_minute_with_the_count_of_the_others() {
        let seldom = Seldom::default();
        let start = Instant::now();
        let mut said = Vec::new();
        for second in [0, 1, 30, 59, 60, 61, 200] {
            seldom.say_at(start + Duration::from_secs(second), |more| {
                said.push((second, more.to_owned()));
            });
        }
        let more = |count| format!(" (and {count} times more since the last message of this kind)");
        assert_eq!(said, [(0, String::new()), (60, more(3)), (200, more(1))]);
    }
}
