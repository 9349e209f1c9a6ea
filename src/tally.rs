//! Bytes of a log into the ledger and the balance: one walk over the lines of a chunk.
//!
//! Everything that is read is accounted for in the [`Outcome`]: counted, or named as not counted.
//! The lines of a run that does not parse, at the end of a chunk, are held apart: it is for the
//! caller to commit them as unparsed, or to leave them unread until a line that parses shows that
//! the format is right.

use memchr::{memchr, memrchr};
use tollkeeper_parsers::framing::MAX_LINE_BYTES;
use tollkeeper_parsers::index::Index;
use tollkeeper_parsers::plan::{Carried, Plan};

use crate::account::day::Days;
use crate::account::growth::{FullDays, Growth};
use crate::account::spent::Spent;
use crate::account::{Rules, SourceRules, name};
use crate::ledger::{Ledger, NameId, Sums};

mod cache;
mod outcome;
#[cfg(test)]
mod tests;
mod walk;
mod watching;

use cache::Cache;
pub use outcome::{Failure, Held, Lost, Outcome, Progress, Unparsed};
use walk::Walk;
use watching::Watching;

/// A file none of whose first lines parses is not in its format.
pub const MAX_UNPARSED_AT_START: u64 = 100;
/// Nor is what follows after so many lines in a row that do not parse.
pub const MAX_UNPARSED_IN_A_ROW: u64 = 1_000;
/// Bytes of a chunk that an index is made of at a time: it stays in the processor's first cache.
const PIECE_BYTES: usize = 32 << 10;

/// Sums lines into its ledger.
#[derive(Debug)]
pub struct Tally {
    /// What has been summed.
    pub ledger: Ledger,
    /// What the lines of the file before the next chunk left for those in it. Whoever reads a file
    /// whose plans are columnar puts it here before each chunk.
    pub carried: Carried,
    days: Days,
    vhosts: Cache,
    users: Cache,
    none: NameId,
    index: Index,
    watching: Watching,
    full: FullDays,
    /// Vhosts that were refused, where that is to be judged later; nothing else is refused then.
    refused: Option<Vec<u64>>,
}

impl Tally {
    /// With an empty ledger.
    #[must_use]
    pub fn new(rules: &Rules) -> Self {
        Self::with(rules, false)
    }

    /// The same, for somebody who calls [`Tally::take_spent`] again and again.
    #[must_use]
    pub fn telling(rules: &Rules) -> Self {
        Self::with(rules, true)
    }

    fn with(rules: &Rules, tells: bool) -> Self {
        let mut ledger = Ledger::default();
        let none = ledger.name(name::NONE);
        Self {
            ledger,
            carried: Carried::default(),
            days: Days::new(rules.zone),
            vhosts: Cache::default(),
            users: Cache::default(),
            none,
            index: Index::default(),
            watching: Watching::new(rules, tells),
            full: FullDays::default(),
            refused: None,
        }
    }

    /// The same for one of several, who asks [`Tally::refused_rightly`] once all before is known, and walks
    /// the same lines again by [`Tally::keeping`] if need be.
    #[must_use]
    pub fn refusing_for_now(mut self, full: FullDays) -> Self {
        self.refused = Some(Vec::new());
        self.refusing(full)
    }

    /// Whether what has been refused since the last call was rightly so, if anything was.
    pub fn refused_rightly(&mut self) -> bool {
        match &mut self.refused {
            Some(refused) if !refused.is_empty() => {
                let rightly = self.full.would_still_refuse(refused);
                refused.clear();
                rightly
            }
            _ => true,
        }
    }

    /// Whether anything has been refused of which that is to be asked.
    #[must_use]
    pub fn has_refused(&self) -> bool {
        let refused = self.refused.as_ref();
        refused.is_some_and(|refused| !refused.is_empty())
    }

    /// Forgets what has been summed, and walks anew, keeping all names.
    pub fn keeping<T>(&mut self, walk: impl FnOnce(&mut Self) -> T) -> T {
        self.ledger.discard();
        self.keeping_on(walk)
    }

    /// Walks on, keeping all names.
    pub fn keeping_on<T>(&mut self, walk: impl FnOnce(&mut Self) -> T) -> T {
        let full = std::mem::take(&mut self.full);
        let walked = walk(self);
        self.full = full;
        walked
    }

    /// Does not keep the names that these days refuse: what they have goes to the overflow at once. For one
    /// who walks alone: others may have met a name, on a day with room, of which nobody knows yet.
    #[must_use]
    pub fn refusing(mut self, full: FullDays) -> Self {
        self.full = full;
        self
    }

    /// What the lines of watched accounts have spent since the last call, in the order of arrival, by
    /// vhost, user, class and minute; the same may be there more than once. The ledger holds all of it,
    /// too.
    ///
    /// `growth` is asked about the names as [`Ledger::take`] will ask about them: a vhost beyond the
    /// day's cap, which has no row of its own, is not told. What a user spends there is, under the name
    /// of the row that it goes to.
    pub fn take_spent(&mut self, growth: &mut Growth) -> Vec<Spent> {
        self.watching.take_spent(growth)
    }

    /// Hands over what has been summed; names are kept for the lines to come.
    pub fn hand_over(&mut self) -> Sums {
        let (sums, forgotten) = self.ledger.hand_over();
        if forgotten {
            self.forget_names();
        }
        sums
    }

    /// Forgets the numbers of names: the ledger has forgotten them, or the rules have changed.
    pub fn forget_names(&mut self) {
        self.vhosts = Cache::default();
        self.users = Cache::default();
        self.none = self.ledger.name(name::NONE);
        self.watching.forget_names();
    }

    /// Reads whole lines. `base` is where in the file the chunk begins; a last line without a
    /// newline is read like any other, so the caller cuts it off unless the file ends with it.
    /// `now`: seconds since 1970.
    pub fn read(
        &mut self,
        rules: &Rules,
        source: &SourceRules,
        progress: &mut Progress,
        chunk: &[u8],
        base: u64,
        now: i64,
    ) -> Outcome {
        self.full.look();
        let site = source.vhost.as_deref().map(|site| self.ledger.name(site));
        let layer = source.layer.inner().map(|layer| self.ledger.name(layer));
        let watches = self.watching.follow(rules) && layer.is_none();
        let mut walk = Walk {
            site: site.unwrap_or(self.none),
            layer,
            credits: source.credit_users && layer.is_none(),
            watches,
            has_parts: watches || layer.is_some() || !rules.classes.is_empty(),
            tally: self,
            rules,
            source,
            progress,
            now,
            lines: 0,
            outcome: Outcome::default(),
        };
        let mut at = 0;
        let mut index = std::mem::take(&mut walk.tally.index);
        let is_indexed = source.plans.iter().any(Plan::wants_index) && !source.spooled;
        'chunk: while at < chunk.len() {
            let piece = &chunk[at..piece_end(chunk, at)];
            let mut lines = if is_indexed {
                index.lines(piece)
            } else {
                Index::none(piece)
            };
            let start = at;
            while let Some(line) = lines.next() {
                let end = start + lines.offset();
                let (offset, bytes) = (base + at as u64, (end - at) as u64);
                let run_too_long = if line.bytes().len() > MAX_LINE_BYTES {
                    walk.too_long(&chunk[at..end], offset, bytes);
                    false
                } else if source.spooled {
                    walk.record(line.bytes(), offset)
                } else {
                    walk.line(line, offset, bytes)
                };
                at = end;
                walk.lines += 1;
                if run_too_long {
                    let start = walk.outcome.held.take().map_or(base, |held| held.start);
                    walk.outcome.does_not_fit = Some(start);
                    break 'chunk;
                }
            }
        }
        walk.tally.index = index;
        let mut outcome = walk.outcome;
        if watches {
            self.watching.settle(&mut self.ledger, &rules.classes);
        }
        outcome.consumed = at;
        outcome
    }

    /// Accounts for one line that is longer than a block, of which nothing was kept.
    #[must_use]
    pub fn pass_over(progress: &Progress, base: u64, bytes: u64) -> Outcome {
        let day = progress.last_day;
        let mut outcome = Outcome::default();
        outcome.book(day).unparsed.line(bytes);
        outcome.unparsed.push(Unparsed {
            start: base,
            end: base + bytes,
            lines: 1,
            day,
        });
        outcome
    }
}

/// Where the piece of a chunk ends that begins at `at`: behind a newline, if there is one.
fn piece_end(chunk: &[u8], at: usize) -> usize {
    let aim = (at + PIECE_BYTES).min(chunk.len());
    match memrchr(b'\n', &chunk[at..aim]) {
        Some(newline) => at + newline + 1,
        None => memchr(b'\n', &chunk[aim..]).map_or(chunk.len(), |newline| aim + newline + 1),
    }
}
