//! The thread that weighs: what is spent, against what may be.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use super::clerk::Errand;
use super::gatekeeper::Gatekeeper;
use crate::account::spent::Spent;
use crate::daemon::clock;
use crate::excerpt::printable;
use crate::quota::engine::Engine;
use crate::quota::rule::Rules;
use crate::usage::said::Overrides;
use crate::usage::snapshot::{Needs, Snapshot};

/// A clock that is set is noticed within this.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Messages that are weighed before verdicts are told, however many have gathered.
const MOST_AT_ONCE: usize = 64;
/// The store is not asked for all rows more often, whatever is missing.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Accounts of which is said what their quota leaves out.
const MAX_LEFT_OUT: usize = 20;

/// What the weigher is told.
#[derive(Debug)]
pub enum Weigh {
    /// Lines were summed.
    Spent(Vec<Spent>),
    /// All that was told so far is in the batch with this number.
    Taken(u64),
    /// What is not in the batches up to this one is read again.
    StartOver(u64),
    /// Whether all that stands in the logs has been summed: while not, usage is too low, whatever the
    /// store knows.
    Level(bool),
    /// What the next snapshot is to hold.
    Needs(Sender<Option<Wanted>>),
    /// The store's rows.
    Snapshot(Box<Snapshot>),
    /// Other rules.
    Rules(Box<Rules>),
    /// Other grants and exemptions.
    Overrides(Overrides),
    /// It is over.
    Stop,
}

/// What is asked of the store.
#[derive(Debug)]
pub struct Wanted {
    /// The rows.
    pub needs: Needs,
    /// The oldest minute of which a row is weighed; `None`: none is.
    pub oldest_minute: Option<i64>,
}

/// Weighs until it is told to stop, or nobody is left to tell it anything.
pub(super) fn run(
    engine: &mut Engine,
    messages: &Receiver<Weigh>,
    gatekeeper: &Arc<Gatekeeper>,
    clerk: &Sender<Errand>,
) {
    // What a process before this one had summed and not flushed is read again first.
    engine.set_behind(true, clock());
    gatekeeper.tell(engine.verdicts());
    let mut told = engine.version();
    let mut looked: Option<Instant> = None;
    // Whether there are quotas of which nobody has said what they leave out.
    let mut are_new = true;
    loop {
        let until_tick = engine.next_tick().map_or(LONGEST_WAIT, |at| {
            let seconds = u64::try_from(at - clock()).unwrap_or(0);
            Duration::from_secs(seconds)
        });
        let mut next = match messages.recv_timeout(until_tick.min(LONGEST_WAIT)) {
            Ok(message) => Some(message),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let now = clock();
        // What has gathered is weighed together: verdicts are told once.
        let mut weighed = 0;
        while let Some(message) = next.take() {
            weighed += 1;
            match message {
                Weigh::Stop => return,
                Weigh::Needs(reply) => drop(reply.send(wanted(engine, now))),
                Weigh::Rules(rules) => {
                    engine.set_rules(*rules, now);
                    are_new = true;
                }
                Weigh::Snapshot(snapshot) => {
                    let is_full = snapshot.needs.full;
                    engine.snapshot(*snapshot, now);
                    if is_full && std::mem::take(&mut are_new) {
                        say_what_is_left_out(engine);
                    }
                }
                other => weigh(engine, other, now),
            }
            if weighed < MOST_AT_ONCE {
                next = messages.try_recv().ok();
            }
        }
        if engine.next_tick().is_none_or(|at| at <= now) {
            engine.tick(now);
            let is_due = looked.is_none_or(|at| at.elapsed() >= LOOK_INTERVAL);
            if is_due && engine.needs(now).is_some_and(|needs| needs.full) {
                looked = Some(Instant::now());
                let _ = clerk.send(Errand::Look);
            }
        }
        let version = engine.version();
        if version != told {
            told = version;
            gatekeeper.tell(engine.verdicts());
        }
        let changes = engine.take_changes();
        if !changes.is_empty() {
            let _ = clerk.send(Errand::Changes(changes));
        }
    }
}

/// A quota that is set in the middle of a period cannot count what no row tells the minute of.
fn say_what_is_left_out(engine: &Engine) {
    let mut left_out = engine.left_out();
    for standing in left_out.by_ref().take(MAX_LEFT_OUT) {
        tracing::warn!(
            "{}, quota {}: its period began with {} that are not counted, as no row tells their minute",
            printable(&standing.account.described()),
            printable(&standing.quota),
            standing.uncounted
        );
    }
    let more = left_out.count();
    if more > 0 {
        tracing::warn!("{more} more of these: quota list shows them as uncounted");
    }
}

fn wanted(engine: &mut Engine, now: i64) -> Option<Wanted> {
    let needs = engine.needs(now)?;
    Some(Wanted {
        needs,
        oldest_minute: engine.oldest_minute(),
    })
}

fn weigh(engine: &mut Engine, message: Weigh, now: i64) {
    match message {
        Weigh::Spent(spent) => engine.spend(spent, now),
        Weigh::Taken(seq) => engine.taken(seq),
        Weigh::StartOver(seq) => engine.start_over(seq, now),
        Weigh::Overrides(overrides) => engine.set_overrides(overrides, now),
        Weigh::Level(is_level) => engine.set_behind(!is_level, now),
        Weigh::Needs(_) | Weigh::Snapshot(_) | Weigh::Rules(_) | Weigh::Stop => {}
    }
}
