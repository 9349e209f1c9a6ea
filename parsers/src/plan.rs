//! API sketch, to be written whole.
use crate::error::{FormatError, LineError};
use crate::format::Format;
use crate::record::Line;

/// How exact a format can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// Bytes of bodies alone; heads are missing.
    BodyOnly,
    /// What was sent, on the wire; nothing of what was received.
    OutOnly,
    /// Both directions, on the wire.
    Exact,
}

/// A compiled format.
#[derive(Debug, Clone)]
pub struct Plan {}

impl Plan {
    /// Compiles.
    pub fn compile(_format: &Format) -> Result<Self, FormatError> {
        Ok(Self {})
    }
    /// Reads one line (without its newline; a final CR is not part of the line).
    pub fn read<'l>(&self, _line: &'l [u8]) -> Result<Line<'l>, LineError> {
        Err(LineError { at: 0, expected: crate::error::Expected::Number })
    }
    /// How exact the numbers can be.
    pub fn describe(&self, error: &LineError) -> String { error.to_string() }
    /// x
    pub fn grade(&self) -> Grade {
        Grade::Exact
    }
    /// Whether the format names the vhost.
    pub fn has_vhost(&self) -> bool { true }
    /// Whether the format names the user.
    pub fn has_user(&self) -> bool { true }
    /// Whether the format gives the status.
    pub fn has_status(&self) -> bool { true }
}
