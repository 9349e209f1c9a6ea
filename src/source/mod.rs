//! Where lines come from: blocks of bytes, with the positions that they end at.

pub mod blocks;
pub mod content;
pub mod identity;
pub mod open;
pub mod position;
