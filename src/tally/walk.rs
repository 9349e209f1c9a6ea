//! One line after the other of a chunk, each into the ledger and the balance.

use tollkeeper_parsers::error::{Expected, LineError};
use tollkeeper_parsers::format::w3c::FIELDS;
use tollkeeper_parsers::framing::MAX_LINE_BYTES;
use tollkeeper_parsers::index::Text;
use tollkeeper_parsers::plan::Plan;
use tollkeeper_parsers::record::{Line, Logged, Record};

use super::cache::hashed;
use super::outcome::{Failure, Held, Lost, Outcome, Progress, Unparsed};
use super::{MAX_UNPARSED_AT_START, MAX_UNPARSED_IN_A_ROW, Tally};
use crate::account::balance::Balance;
use crate::account::day::DayNumber;
use crate::account::delta::Amount;
use crate::account::{Rules, SourceRules, Unattributed, credits_user, measure, name};
use crate::ledger::{NO_USER, NameId};
use crate::source::spool::record;

/// Ranges that one outcome names; further lines are only counted.
const MAX_RANGES: usize = 1_000;
/// Losses that one outcome names: a disk that writes nonsense is no reason to fill the store.
const MAX_LOSSES: usize = 4_000;
/// How much of a reason is kept: ours are short, and others may write into a spool too.
const MAX_REASON_CHARS: usize = 100;
/// Lines that did not parse, of which an outcome says why.
const MAX_FAILURES: usize = 5;

/// One chunk being read.
pub(super) struct Walk<'w> {
    pub(super) tally: &'w mut Tally,
    pub(super) rules: &'w Rules,
    pub(super) source: &'w SourceRules,
    pub(super) progress: &'w mut Progress,
    pub(super) site: NameId,
    /// Where its requests go, if not to the edge's rows.
    pub(super) layer: Option<NameId>,
    /// Whether users are credited.
    pub(super) credits: bool,
    /// Whether any account is watched.
    pub(super) watches: bool,
    /// Whether a request may be counted elsewhere than for its vhost and user.
    pub(super) has_parts: bool,
    pub(super) now: i64,
    pub(super) lines: u64,
    pub(super) outcome: Outcome,
}

impl Walk<'_> {
    /// Names a line that is longer than any that is read. Clients can cause it, so it says nothing
    /// about the format.
    #[cold]
    pub(super) fn too_long(&mut self, line: &[u8], offset: u64, bytes: u64) {
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
    pub(super) fn record(&mut self, line: &[u8], offset: u64) -> bool {
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
    pub(super) fn line<'l>(&mut self, line: impl Into<Text<'l>>, offset: u64, bytes: u64) -> bool {
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
