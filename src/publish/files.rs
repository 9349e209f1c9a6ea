//! Files of their own, for anything else: a plain list, and JSON.

use super::map::MapFile;
use crate::config::gate::FileGate;
use crate::enforce::{json, list};

/// A plain list of hosts.
#[must_use]
pub fn plain_list(gate: &FileGate) -> MapFile {
    MapFile::new(
        format!("list {}", gate.path.display()),
        gate.path.clone(),
        Box::new(list::map),
        list::write,
        list::read,
    )
}

/// JSON with all that is closed.
#[must_use]
pub fn all_as_json(gate: &FileGate) -> MapFile {
    MapFile::new(
        format!("json {}", gate.path.display()),
        gate.path.clone(),
        Box::new(json::map),
        json::write,
        json::read,
    )
}
