//! What is lost and not yet written down.

use std::collections::BTreeMap;

/// Losses that are told apart. Further ones are added to the latest of their reason.
const MAX_LOSSES: usize = 1_000;

/// Messages that did not get into the spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// When, in minutes since 1970.
    pub minute: i64,
    /// How many, where that is known.
    pub messages: Option<u64>,
    /// Why, in a few words.
    pub reason: &'static str,
}

/// Losses, summed by minute and reason.
#[derive(Debug, Default)]
pub(super) struct Losses(BTreeMap<(&'static str, i64), Sum>);

#[derive(Debug, Default)]
struct Sum {
    messages: u64,
    /// There were more, nobody knows how many.
    unknown: bool,
}

impl Losses {
    pub(super) fn add(&mut self, loss: &Loss) {
        let mut key = (loss.reason, loss.minute);
        if self.0.len() >= MAX_LOSSES && !self.0.contains_key(&key) {
            let of_reason = (loss.reason, i64::MIN)..=(loss.reason, i64::MAX);
            if let Some((latest, _)) = self.0.range(of_reason).next_back() {
                key = *latest;
            }
        }
        let sum = self.0.entry(key).or_default();
        match loss.messages {
            Some(messages) => sum.messages = sum.messages.saturating_add(messages),
            None => sum.unknown = true,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there are some of an earlier minute than this.
    pub(super) fn before(&self, now_minute: i64) -> bool {
        self.0.keys().any(|(_, minute)| *minute != now_minute)
    }

    /// All of them. A minute can have both a number and more than that number.
    pub(super) fn list(&self) -> Vec<Loss> {
        let mut list = Vec::new();
        for (&(reason, minute), sum) in &self.0 {
            let loss = |messages| Loss {
                minute,
                messages,
                reason,
            };
            if sum.messages > 0 {
                list.push(loss(Some(sum.messages)));
            }
            if sum.unknown {
                list.push(loss(None));
            }
        }
        list
    }

    /// One that was in the list is written down.
    pub(super) fn remove(&mut self, loss: &Loss) {
        let key = (loss.reason, loss.minute);
        let Some(sum) = self.0.get_mut(&key) else {
            return;
        };
        match loss.messages {
            Some(messages) => sum.messages = sum.messages.saturating_sub(messages),
            None => sum.unknown = false,
        }
        if sum.messages == 0 && !sum.unknown {
            self.0.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(minute: i64, messages: Option<u64>, reason: &'static str) -> Loss {
        Loss {
            minute,
            messages,
            reason,
        }
    }

    #[test]
    fn losses_are_summed_by_minute_and_reason() {
        let mut losses = Losses::default();
        assert!(losses.is_empty() && !losses.before(5));
        for added in [
            loss(5, Some(2), "spool full"),
            loss(5, Some(3), "spool full"),
            loss(5, None, "spool full"),
            loss(6, Some(1), "spool full"),
            loss(5, Some(1), "too long"),
        ] {
            losses.add(&added);
        }
        assert!(losses.before(6));
        assert_eq!(
            losses.list(),
            [
                loss(5, Some(5), "spool full"),
                loss(5, None, "spool full"),
                loss(6, Some(1), "spool full"),
                loss(5, Some(1), "too long"),
            ]
        );
        for loss in losses.list() {
            assert!(!losses.is_empty());
            losses.remove(&loss);
        }
        assert!(losses.is_empty());
    }

    #[test]
    fn a_week_without_a_disk_does_not_fill_the_memory() {
        let mut losses = Losses::default();
        for minute in 0..10_000 {
            losses.add(&loss(minute, Some(1), "disk full"));
        }
        losses.add(&loss(20_000, Some(1), "too long"));
        let list = losses.list();
        assert_eq!(list.len(), MAX_LOSSES + 1);
        assert_eq!(list[MAX_LOSSES - 1], loss(999, Some(9_001), "disk full"));
        assert_eq!(list[MAX_LOSSES], loss(20_000, Some(1), "too long"));
    }
}
