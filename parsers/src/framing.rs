//! API sketch, to be written whole.

/// The longest line that is read, in bytes, newline not counted. Longer ones are unparsed.
pub const MAX_LINE_BYTES: usize = 65_536;
