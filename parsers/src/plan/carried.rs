//! What the lines of a log leave for those behind them.

use super::columns::Known;
use crate::time::{Clf, LastText};

/// What the lines of one log leave for those behind them. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Carried {
    /// The date of the line before.
    pub(super) clf: Clf,
    /// The same, of a strftime format.
    pub(super) pattern: LastText,
    /// What the columns mean.
    pub(super) known: Known,
}

impl Carried {
    /// Takes note of the `#Fields` lines among these whole lines, for the lines behind them. Other
    /// lines are not looked at.
    pub fn pass(&mut self, lines: &[u8]) {
        self.known.pass(lines);
    }

    /// Takes note of one line, if it begins with `#Fields:`.
    pub fn note(&mut self, line: &[u8]) {
        // Why it cannot be read is told where it is read as a line.
        let _ = self.known.note(line);
    }

    /// A line that begins with `#Fields:` was too long to be read: until the next one nobody knows
    /// what the columns mean.
    pub fn forget_columns(&mut self) {
        self.known = Known::Unreadable;
    }

    /// The `#Fields` line that is in force, if one is that can be read.
    #[must_use]
    pub fn header(&self) -> Option<&str> {
        self.known.header().map(|header| &*header.line)
    }
}
