//! Bytes of a log into the ledger and the balance: one walk over the lines of a chunk.
//!
//! Everything that is read is accounted for in the [`Outcome`]: counted, or named as not counted.
//! The lines of a run that does not parse, at the end of a chunk, are held apart: it is for the
//! caller to commit them as unparsed, or to leave them unread until a line that parses shows that
//! the format is right.

use memchr::{memchr, memrchr};
use tollkeeper_parsers::error::{Expected, LineError};
use tollkeeper_parsers::format::w3c::FIELDS;
use tollkeeper_parsers::framing::MAX_LINE_BYTES;
use tollkeeper_parsers::index::{Index, Text};
use tollkeeper_parsers::plan::{Carried, Plan};
use tollkeeper_parsers::record::{Line, Logged, Record};

use crate::account::balance::Balance;
use crate::account::day::{DayNumber, Days};
use crate::account::delta::Amount;
use crate::account::growth::{FullDays, Growth};
use crate::account::spent::Spent;
use crate::account::{Rules, SourceRules, Unattributed, credits_user, measure, name};
use crate::ledger::{Ledger, NO_USER, NameId, Sums};
use crate::source::spool::record;

mod cache;
#[cfg(test)]
mod tests;
mod watching;

use cache::{Cache, hashed};
use watching::Watching;

/// A file none of whose first lines parses is not in its format.
pub const MAX_UNPARSED_AT_START: u64 = 100;
/// Nor is what follows after so many lines in a row that do not parse.
pub const MAX_UNPARSED_IN_A_ROW: u64 = 1_000;
/// Ranges that one outcome names; further lines are only counted.
const MAX_RANGES: usize = 1_000;
/// Losses that one outcome names: a disk that writes nonsense is no reason to fill the store.
const MAX_LOSSES: usize = 4_000;
/// How much of a reason is kept: ours are short, and others may write into a spool too.
const MAX_REASON_CHARS: usize = 100;
/// Lines that did not parse, of which an outcome says why.
const MAX_FAILURES: usize = 5;
/// Bytes of a chunk that an index is made of at a time: it stays in the processor's first cache.
const PIECE_BYTES: usize = 32 << 10;

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
    fn book(&mut self, day: Option<DayNumber>) -> &mut Balance {
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

/// What a record of a loss says, in words.
fn said_lost(minute: i64, messages: Option<u64>, reason: &str) -> String {
    let at = minute.checked_mul(60);
    let at = at.and_then(|seconds| chrono::DateTime::from_timestamp(seconds, 0));
    let at = at.unwrap_or_default().format("%Y-%m-%d %H:%M");
    let reason: String = reason.chars().take(MAX_REASON_CHARS).collect();
    match messages {
        Some(1) => format!("{at} UTC: 1 message lost: {reason}"),
        Some(messages) => format!("{at} UTC: {messages} messages lost: {reason}"),
        None => format!("{at} UTC: messages lost, nobody knows how many: {reason}"),
    }
}

/// One chunk being read.
struct Walk<'w> {
    tally: &'w mut Tally,
    rules: &'w Rules,
    source: &'w SourceRules,
    progress: &'w mut Progress,
    site: NameId,
    /// Where its requests go, if not to the edge's rows.
    layer: Option<NameId>,
    /// Whether users are credited.
    credits: bool,
    /// Whether any account is watched.
    watches: bool,
    /// Whether a request may be counted elsewhere than for its vhost and user.
    has_parts: bool,
    now: i64,
    lines: u64,
    outcome: Outcome,
}

impl Walk<'_> {
    /// Names a line that is longer than any that is read. Clients can cause it, so it says nothing
    /// about the format.
    #[cold]
    fn too_long(&mut self, line: &[u8], offset: u64, bytes: u64) {
        let error = LineError {
            at: MAX_LINE_BYTES,
            expected: Expected::ShorterLine,
        };
        if line.starts_with(FIELDS) {
            self.tally.carried.forget_columns();
        }
        self.fail(line, offset, 0, error);
        self.book_unparsed(offset, bytes, false);
    }

    /// Reads one record of a spool: what was received, or what was lost. The header is no part of the
    /// log, and neither is a record of a loss.
    fn record(&mut self, line: &[u8], offset: u64) -> bool {
        let what = match record::decode(line) {
            Ok(record::Record::Message { text, .. }) => {
                return self.line(text, offset, text.len() as u64 + 1);
            }
            Ok(record::Record::Loss {
                minute,
                messages,
                reason,
            }) => said_lost(minute, messages, reason),
            Err(broken) => broken.to_string(),
        };
        match self.outcome.losses.len() {
            MAX_LOSSES => self.outcome.losses.push(Lost {
                offset,
                what: "more was lost than is named".to_owned(),
            }),
            named if named > MAX_LOSSES => {}
            _ => self.outcome.losses.push(Lost { offset, what }),
        }
        false
    }

    /// Reads one line; `true` when the format is to be given up.
    fn line<'l>(&mut self, line: impl Into<Text<'l>>, offset: u64, bytes: u64) -> bool {
        let line = line.into();
        let mut furthest: Option<(usize, LineError)> = None;
        if line.bytes().first() == Some(&b'#') && self.source.plans.len() > 1 {
            // Another format of the list may take it for a comment.
            self.tally.carried.note(line.bytes());
        }
        for (index, plan) in self.source.plans.iter().enumerate() {
            // Records are large: this one stays where it is.
            let read = plan.read_for_account(line, &mut self.tally.carried);
            match &read {
                Ok(Line::Record(record)) => {
                    self.parsed();
                    let names_vhost = plan.names_vhost(&self.tally.carried);
                    // A name that is no host's gives way to the one that is set.
                    let has_name = names_vhost || self.source.vhost.is_none();
                    let named = record.vhost.as_ref().filter(|_| has_name);
                    let site = if names_vhost {
                        self.tally.none
                    } else {
                        self.site
                    };
                    if let Err(reason) = self.charge(record, plan, named, site, bytes) {
                        let missing = plan.missing_column(&self.tally.carried);
                        let reason = missing.map_or(reason, Unattributed::NoColumn);
                        self.unattributed(reason, offset, bytes);
                    }
                    return false;
                }
                Ok(Line::Ignored(_)) => {
                    let day = self.progress.last_day;
                    match &mut self.outcome.held {
                        Some(held) => held.balance.ignored.line(bytes),
                        None => self.outcome.book(day).ignored.line(bytes),
                    }
                    return false;
                }
                Err(error) => {
                    if furthest.is_none_or(|(_, best)| error.at > best.at) {
                        furthest = Some((index, *error));
                    }
                }
            }
        }
        if let Some((format, error)) = furthest {
            self.fail(line.bytes(), offset, format, error);
        }
        self.progress.run += 1;
        self.book_unparsed(offset, bytes, true);
        let most = if self.progress.fits {
            MAX_UNPARSED_IN_A_ROW
        } else {
            MAX_UNPARSED_AT_START
        };
        // Among what is sent to a stream there may be whole logs of another kind.
        let may_be_noise = self.source.spooled && self.progress.fits;
        self.source.gives_up && !may_be_noise && self.progress.run >= most
    }

    /// A line parsed: the format is right, and what was held was the clients' doing.
    fn parsed(&mut self) {
        if !self.outcome.any_parsed {
            self.outcome.any_parsed = true;
            self.outcome.leading_run = self.progress.run;
        }
        self.progress.fits = true;
        self.progress.run = 0;
        if self.outcome.held.is_some() {
            self.outcome.accept_held(self.progress.last_day);
        }
    }

    #[cold]
    fn unattributed(&mut self, reason: Unattributed, offset: u64, bytes: u64) {
        self.outcome.unattributed.get_or_insert((offset, reason));
        let day = self.progress.last_day;
        self.outcome.book(day).unattributed.line(bytes);
    }

    #[inline(always)]
    fn charge(
        &mut self,
        record: &Record<'_>,
        plan: &Plan,
        named: Option<&Logged<'_>>,
        site: NameId,
        bytes: u64,
    ) -> Result<(), Unattributed> {
        let (day, bytes_in, bytes_out) = measure(record, &mut self.tally.days, self.now)?;
        self.progress.last_day = Some(day);
        if self.outcome.first_day.is_none() {
            self.outcome.first_day = Some(day);
        }
        let amount = Amount {
            bytes_in,
            bytes_out,
            requests: 1,
        };
        let vhost = match named {
            Some(logged) => self.vhost(day, logged),
            None => site,
        };
        let user = match &record.user {
            Some(logged) if self.credits && credits_user(record.status) => {
                self.user(day, vhost, logged)
            }
            _ => NO_USER,
        };
        let is_claimed = user != NO_USER && !self.source.vouches(plan);
        if self.has_parts {
            self.charge_parts(record, day, (vhost, user, is_claimed), amount);
        } else if is_claimed {
            self.tally.ledger.add_claimed(day, vhost, user, amount);
        } else {
            self.tally.ledger.add(day, vhost, user, amount);
        }
        self.outcome.book(Some(day)).counted.line(bytes);
        Ok(())
    }

    /// A request to a layer behind the edge is no part of what the edge has; one to the edge may be
    /// part of what a class of clients has, or of what is watched.
    fn charge_parts(
        &mut self,
        record: &Record<'_>,
        day: DayNumber,
        (vhost, user, is_claimed): (NameId, NameId, bool),
        amount: Amount,
    ) {
        let ledger = &mut self.tally.ledger;
        if let Some(layer) = self.layer {
            ledger.add_layer(day, vhost, layer, amount);
            return;
        }
        if is_claimed {
            ledger.add_claimed(day, vhost, user, amount);
        } else {
            ledger.add(day, vhost, user, amount);
        }
        let classes = &self.rules.classes;
        let client = record.client.filter(|_| !classes.is_empty());
        let class = client.and_then(|client| classes.of(client));
        if let Some(class) = class {
            ledger.add_class(day, vhost, class, amount);
        }
        if self.watches {
            // What is merely claimed to be a user's is nobody's here.
            let user = if is_claimed { NO_USER } else { user };
            let at = (day, record.time);
            let watching = &mut self.tally.watching;
            watching.note(ledger, at, (vhost, user, class), amount);
        }
    }

    #[inline(always)]
    fn vhost(&mut self, day: DayNumber, logged: &Logged<'_>) -> NameId {
        match self.tally.vhosts.recent(logged) {
            Some(vhost) => vhost,
            None => self.vhost_met_before(day, logged),
        }
    }

    /// The number of a vhost that was not met just now, or never.
    #[inline(never)]
    fn vhost_met_before(&mut self, day: DayNumber, logged: &Logged<'_>) -> NameId {
        let Tally {
            ledger,
            vhosts,
            full,
            refused,
            ..
        } = &mut *self.tally;
        let folding = &self.rules.folding;
        let number = vhosts.number(logged, |hash, buffer| {
            let layer = self.layer.and_then(|layer| ledger.text(layer));
            // What has been met since the last look may have a row by now.
            let is_refused = |vhost: u64| {
                let is_refused = match layer {
                    None => full.refuses_vhost(day, vhost),
                    Some(layer) => refused.is_none() && full.refuses_in_layer(day, layer, vhost),
                };
                is_refused && !ledger.may_know(vhost)
            };
            // In a flood nearly all names end here.
            let is_refused_so = is_refused(hash);
            if is_refused_so && folding.keeps(logged.bytes, hash) {
                refused.iter_mut().for_each(|refused| refused.push(hash));
                return None;
            }
            let text = logged.decode();
            let text = folding.fold(&text, buffer);
            let name = hashed(logged, hash, &text);
            let is_refused = match name.hash == hash {
                true => is_refused_so,
                false => is_refused(name.hash),
            };
            if is_refused {
                refused
                    .iter_mut()
                    .for_each(|refused| refused.push(name.hash));
                return None;
            }
            Some(ledger.name(name))
        });
        number.unwrap_or_else(|| ledger.overflow())
    }

    #[inline(always)]
    fn user(&mut self, day: DayNumber, vhost: NameId, logged: &Logged<'_>) -> NameId {
        match self.tally.users.recent(logged) {
            Some(user) => user,
            None => self.user_met_before(day, vhost, logged),
        }
    }

    #[inline(never)]
    fn user_met_before(&mut self, day: DayNumber, vhost: NameId, logged: &Logged<'_>) -> NameId {
        let Tally {
            ledger,
            users,
            full,
            refused,
            ..
        } = &mut *self.tally;
        let number = users.number(logged, |hash, _| {
            let named = logged.decode();
            let text = name::user(&named);
            let name = hashed(logged, hash, &text);
            let of = ledger.hashed(vhost);
            let is_refused = refused.is_none()
                && of.is_some_and(|of| full.refuses_user(day, of, name))
                && !ledger.may_know(name.hash);
            (!is_refused).then(|| ledger.name(name))
        });
        number.unwrap_or_else(|| ledger.overflow())
    }

    fn fail(&mut self, line: &[u8], offset: u64, format: usize, error: LineError) {
        if self.outcome.failures.len() < MAX_FAILURES {
            let shown = line[..line.len().min(4_096)].to_vec();
            self.outcome.failures.push(Failure {
                offset,
                line: self.lines,
                format,
                error,
                text: shown,
            });
        }
    }

    fn book_unparsed(&mut self, offset: u64, bytes: u64, holds: bool) {
        let day = self.progress.last_day;
        if holds && self.outcome.held.is_none() {
            let held = Held {
                start: offset,
                balance: Balance::default(),
                unparsed: Vec::new(),
                dropped: 0,
            };
            self.outcome.held = Some(held);
        }
        let ranges_so_far = self.outcome.unparsed.len();
        let (balance, ranges, dropped) = match &mut self.outcome.held {
            Some(held) => (&mut held.balance, &mut held.unparsed, &mut held.dropped),
            None => {
                self.outcome.book(day);
                let at = self
                    .outcome
                    .balance
                    .iter()
                    .rposition(|(of, _)| *of == day)
                    .unwrap_or(0);
                (
                    &mut self.outcome.balance[at].1,
                    &mut self.outcome.unparsed,
                    &mut self.outcome.dropped,
                )
            }
        };
        balance.unparsed.line(bytes);
        let full = ranges_so_far + ranges.len() >= MAX_RANGES;
        match ranges.last_mut() {
            Some(last) if last.end == offset && last.day == day => {
                last.end += bytes;
                last.lines += 1;
            }
            _ if full => *dropped += 1,
            _ => ranges.push(Unparsed {
                start: offset,
                end: offset + bytes,
                lines: 1,
                day,
            }),
        }
    }
}
