//! API sketch, to be written whole.
use std::borrow::Cow;

/// How a server writes bytes that would break its log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Escape {
    /// As they are.
    None,
    /// `\xHH`, and C escapes, a backslash before quotes and backslashes.
    Backslash,
    /// As in a JSON string.
    Json,
}

impl Escape {
    /// What was meant.
    #[must_use]
    pub fn decode<'l>(self, bytes: &'l [u8]) -> Cow<'l, [u8]> { Cow::Borrowed(bytes) }
}

/// The stored and printed form of a name: UTF-8 without control characters; bytes outside UTF-8,
/// control characters, a backslash, a leading or trailing space as `\xhh`. Borrowed when nothing changes.
#[must_use]
pub fn name(bytes: &[u8]) -> Cow<'_, str> { String::from_utf8_lossy(bytes) }
