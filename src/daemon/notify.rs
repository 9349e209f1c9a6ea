//! What systemd is told: ready, reloading, stopping, alive, and one line for `systemctl status`.
//! Without systemd nobody is told, and nothing fails.

use std::time::Duration;

use sd_notify::NotifyState;

use crate::excerpt::printable;

/// Characters of a status line.
const MAX_STATUS_CHARS: usize = 300;

/// Whether anybody listens.
#[must_use]
pub fn is_wanted() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// How long systemd waits for a sign of life before it starts the daemon anew; `None`: it does not.
#[must_use]
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// The start, or a reload, is done.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The config is being read again.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// The end has begun.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// The daemon gets on.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// The start takes longer, and gets on.
pub fn starting_on(longer: Duration) {
    let longer = u32::try_from(longer.as_micros()).unwrap_or(u32::MAX);
    tell(&[NotifyState::ExtendTimeoutUsec(longer)]);
}

/// One line for `systemctl status`.
pub fn status(line: &str) {
    let line: String = printable(line).chars().take(MAX_STATUS_CHARS).collect();
    tell(&[NotifyState::Status(&line)]);
}

fn tell(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(what) {
        tracing::debug!("systemd cannot be told: {error}");
    }
}
