//! Verdicts into place: files beside their target, synced and renamed, only when changed; flags; the
//! runtime socket of a server; a request for its reload.
//!
//! | part | does |
//! |---|---|
//! | [`mod@file`] | a file into place, whole or not at all |
//! | [`flags`] | a folder with one file for each closed gate |
//! | [`map`] | one file with a line for each closed gate, and asking for the reload that it needs |

use std::time::Instant;

use crate::config::gate::NginxGate;
use crate::enforce;
use crate::enforce::{Hosts, Refused};
use crate::quota::verdict::Verdicts;

pub mod file;
pub mod flags;
pub mod map;

/// One place where a server is told.
pub trait Gate: Send {
    /// For messages: the server, and the path.
    fn name(&self) -> &str;

    /// Brings the server in line with the verdicts. Called when they have changed, and when
    /// [`Applied::again`] says so. While [`Verdicts::complete`] is not set, nothing that is closed on
    /// disk is opened. Never blocks for long: a server that does not answer is given up, and asked
    /// again later.
    fn apply(&mut self, verdicts: &Verdicts, hosts: &Hosts, now: Instant) -> Applied;
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

/// The gates of nginx: flags, a map, or both. `nudge` asks for the reload that a map needs.
#[must_use]
pub fn nginx(gate: &NginxGate, nudge: Option<Box<dyn map::Nudge>>) -> Vec<Box<dyn Gate>> {
    let mut gates: Vec<Box<dyn Gate>> = Vec::new();
    if let Some(folder) = &gate.flags {
        let name = format!("nginx {}", folder.display());
        let render = Box::new(enforce::nginx::flags);
        let flags = flags::Flags::new(name, folder.clone(), enforce::nginx::is_flag, render);
        gates.push(Box::new(flags));
    }
    if let Some(path) = &gate.map {
        let name = format!("nginx {}", path.display());
        let (write, read) = (enforce::nginx::write_map, enforce::nginx::read_map);
        let map = map::MapFile::new(
            name,
            path.clone(),
            Box::new(enforce::nginx::map),
            write,
            read,
        );
        gates.push(Box::new(match nudge {
            Some(nudge) => map.with_nudge(nudge),
            None => map,
        }));
    }
    gates
}
