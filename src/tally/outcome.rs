//! What became of the lines of a chunk: counted, or named as not counted.

use tollkeeper_parsers::error::LineError;

use crate::account::Unattributed;
use crate::account::balance::Balance;
use crate::account::day::DayNumber;

/// What reading a file carries from one chunk to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// The day of the last line that had one.
    pub last_day: Option<DayNumber>,
    /// Whether any line has parsed.
    pub fits: bool,
    /// Lines in a row, up to here, that did not parse.
    pub run: u64,
}

/// A range of the file that did not parse. `day`: of the line before it, where it had one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unparsed {
    /// First byte.
    pub start: u64,
    /// Behind the last.
    pub end: u64,
    /// Lines in it.
    pub lines: u64,
    /// The day of the lines before it.
    pub day: Option<DayNumber>,
}

/// Why a line did not parse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Where in the file the line begins.
    pub offset: u64,
    /// Lines of the chunk before it.
    pub line: u64,
    /// Which format of the list came furthest, and how far.
    pub format: usize,
    /// What it wanted there.
    pub error: LineError,
    /// The line, or its first bytes.
    pub text: Vec<u8>,
}

/// What became of a chunk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// By day; `None` for lines before the first that had one.
    pub balance: Vec<(Option<DayNumber>, Balance)>,
    /// Ranges that did not parse.
    pub unparsed: Vec<Unparsed>,
    /// Lines that did not parse beyond those ranges.
    pub dropped: u64,
    /// The run of lines at the end that does not parse, blank lines and comments in it included.
    pub held: Option<Held>,
    /// Bytes of the chunk that the above covers, held ones included.
    pub consumed: usize,
    /// Lines that did not parse, before the first that did.
    pub leading_run: u64,
    /// Whether any line parsed.
    pub any_parsed: bool,
    /// The first day met.
    pub first_day: Option<DayNumber>,
    /// Where the format was given up: the start of the run that is too long.
    pub does_not_fit: Option<u64>,
    /// The first lines that did not parse.
    pub failures: Vec<Failure>,
    /// The first reason why a request was charged to nobody.
    pub unattributed: Option<(u64, Unattributed)>,
    /// What a spool says was lost.
    pub losses: Vec<Lost>,
}

/// Something that a spool says was lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// Where the record begins that says so, or could not be read.
    pub offset: u64,
    /// What was lost, and why.
    pub what: String,
}

/// Lines at the end of a chunk that are not committed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Where in the file they begin.
    pub start: u64,
    /// What they would be booked as.
    pub balance: Balance,
    /// Their ranges.
    pub unparsed: Vec<Unparsed>,
    /// Lines beyond those ranges.
    pub dropped: u64,
}

impl Outcome {
    /// Lines accounted for, held ones not.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.balance
            .iter()
            .map(|(_, balance)| balance.read().lines)
            .sum()
    }

    /// Books the held lines as unparsed: the file ends here, or somebody decided.
    pub fn accept_held(&mut self, last_day: Option<DayNumber>) {
        if let Some(held) = self.held.take() {
            self.book(last_day).add(&held.balance);
            self.unparsed.extend(held.unparsed);
            self.dropped += held.dropped;
        }
    }

    #[inline]
    pub(super) fn book(&mut self, day: Option<DayNumber>) -> &mut Balance {
        let at = match self.balance.iter().rposition(|(of, _)| *of == day) {
            Some(at) => at,
            None => {
                self.balance.push((day, Balance::default()));
                self.balance.len() - 1
            }
        };
        &mut self.balance[at].1
    }
}
