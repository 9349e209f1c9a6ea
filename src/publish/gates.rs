//! The gates of a config.

use super::Gate;
use crate::config::gate::Gates;

/// All of them.
#[must_use]
pub fn gates(gates: &Gates) -> Vec<Box<dyn Gate>> {
    let mut all: Vec<Box<dyn Gate>> = Vec::new();
    for gate in &gates.nginx {
        all.extend(super::nginx(gate, None));
    }
    all
}
