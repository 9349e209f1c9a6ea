//! What the lines of a log leave for those behind them.

use crate::time::Clf;

/// What the lines of one log leave for those behind them.
#[derive(Debug, Clone, Default)]
pub struct Carried {
    /// The date of the line before.
    pub(super) clf: Clf,
}
