//! Verdicts into what web servers include: names of flags, lines of maps, and what to paste into
//! their config. Pure: touches no files.
//!
//! A name is written only where it is one that the server's grammar takes as it stands; others are
//! refused and listed, never escaped by luck.

use std::collections::{BTreeMap, BTreeSet};

use crate::quota::verdict::Subject;

pub mod haproxy;
pub mod hosts;
pub mod json;
pub mod list;

pub use hosts::Hosts;

/// Flags: empty files, each named by its path below the folder, such as `deny-429/example.org`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FlagSet {
    /// Those that shall be there, and their content: mostly nothing.
    pub flags: BTreeMap<String, String>,
    /// What cannot be written, and why.
    pub refused: Vec<Refused>,
}

/// The lines of a map.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MapSet {
    /// Each key with its value, in the order of the file.
    pub entries: BTreeMap<String, String>,
    /// What cannot be written, and why.
    pub refused: Vec<Refused>,
}

/// A subject that a server cannot be told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Whose gate stays open there.
    pub subject: Subject,
    /// Why, and what to do.
    pub why: String,
}

/// What a user's name must be before a server tests it against a folder: these bytes, the first not a
/// point or a dash, at most 64. With that no name leaves the folder or the header that it is written to.
#[must_use]
pub fn is_plain_user(user: &str) -> bool {
    let is_first = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'@';
    let is_inner = |byte: u8| is_first(byte) || byte == b'.' || byte == b'-';
    let bytes = user.as_bytes();
    bytes.len() <= 64
        && bytes.first().copied().is_some_and(is_first)
        && bytes.iter().all(|&b| is_inner(b))
}

/// All statuses, speeds and targets that verdicts can have: what a snippet has to be prepared for.
pub type Consequences = BTreeSet<crate::quota::rule::Consequence>;
