//! Verdicts into place: files beside their target, synced and renamed, only when changed; flags; the
//! runtime socket of a server; a request for its reload.
//!
//! | part | does |
//! |---|---|
//! | [`mod@file`] | a file into place, whole or not at all |
//! | [`flags`] | a folder with one file for each closed gate |
//! | [`map`] | one file with a line for each closed gate, and asking for the reload that it needs |
//! | [`reload`] | a request that root reload a server, and its answer |
//! | [`haproxy`] | a map file, and the runtime sockets of those that have read it |
//! | [`files`] | a plain list, and JSON, for anything else |

use std::time::Instant;

use crate::enforce::{Hosts, Refused};
use crate::quota::verdict::Verdicts;

pub mod file;
pub mod files;
pub mod flags;
mod gates;
pub mod haproxy;
pub mod map;
pub mod reload;

pub use gates::gates;

/// One place where a server is told.
pub trait Gate: Send {
    /// For messages: the server, and the path.
    fn name(&self) -> &str;

    /// Brings the server in line with the verdicts. Called when they have changed, and when
    /// [`Applied::again`] says so. While [`Verdicts::complete`] is not set, nothing that is closed on
    /// disk is opened. Never blocks for long: a server that does not answer is given up, and asked
    /// again later.
    fn apply(&mut self, verdicts: &Verdicts, hosts: &Hosts, now: Instant) -> Applied;

    /// [`Gate::apply`], where `old` was applied last and `hosts` are the same: who has just spent a quota
    /// should not wait until a hundred thousand others have been gone through.
    fn apply_news(
        &mut self,
        old: &Verdicts,
        new: &Verdicts,
        hosts: &Hosts,
        now: Instant,
    ) -> Applied {
        let _ = old;
        self.apply(new, hosts, now)
    }

    /// [`Gate::apply`], where nothing has changed since: whether all still stands there.
    fn look_after(&mut self, verdicts: &Verdicts, hosts: &Hosts, now: Instant) -> Applied {
        self.apply(verdicts, hosts, now)
    }
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Applied {
    /// Flags made or removed, and lines of maps that are other ones.
    pub changed: u64,
    /// Flags and lines that stand there now.
    pub standing: u64,
    /// What the server cannot be told.
    pub refused: Vec<Refused>,
    /// What failed: doing what, to what, and why. What was there before stands.
    pub failed: Option<String>,
    /// Call again then, whether or not anything has changed.
    pub again: Option<Instant>,
}
