//! Where lines come from: blocks of bytes, with the positions that they end at.

pub mod blocks;
pub mod columns;
pub mod content;
pub mod find;
pub mod follow;
pub mod identity;
pub mod open;
pub mod packed;
pub mod pipe;
pub mod position;
pub mod spool;
pub mod syslog;
