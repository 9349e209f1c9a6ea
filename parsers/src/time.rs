//! API sketch, to be written whole.

/// When a line says it was served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    /// Seconds since 1970-01-01 00:00 UTC.
    Instant(i64),
    /// A calendar time without a zone: seconds since 1970-01-01 00:00 on the clock of the server
    /// that wrote it, whose zone the caller knows.
    Local(i64),
}
