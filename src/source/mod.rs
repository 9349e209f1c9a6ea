//! Where lines come from: chunks of bytes, with the positions that they end at.

pub mod content;
pub mod position;
