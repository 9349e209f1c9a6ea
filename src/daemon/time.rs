//! What time it is for the follower. Tests that play histories set it.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Now, for what is measured.
pub(crate) fn now() -> Instant {
    #[cfg(test)]
    if let Some((now, _)) = set::get() {
        return now;
    }
    Instant::now()
}

/// Seconds since 1970, for what is compared with the times of files and of lines.
pub(crate) fn clock() -> i64 {
    #[cfg(test)]
    if let Some((_, clock)) = set::get() {
        return clock;
    }
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs().cast_signed())
}

/// A time that stands still until it is set again, for one thread.
#[cfg(test)]
pub(crate) mod set {
    use std::cell::Cell;
    use std::time::Instant;

    thread_local! {
        static TIME: Cell<Option<(Instant, i64)>> = const { Cell::new(None) };
    }

    pub(super) fn get() -> Option<(Instant, i64)> {
        TIME.get()
    }

    /// `None`: the system's again.
    pub(crate) fn to(time: Option<(Instant, i64)>) {
        TIME.set(time);
    }
}
