//! Accounts files once, each to its end: archives, old logs, standard input.
//!
//! Threads take turns to read ([`feed`]) and walk the lines, and the caller's own keeps the books
//! ([`books`]) in the order of the files and flushes. A plain file is committed as it goes, so that
//! an import that was killed goes on where it stopped; an archive or a stream is committed whole,
//! once its end has shown that it is sound.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tollkeeper_parsers::format::Spec;
use tollkeeper_parsers::plan::Carried;

use crate::account::balance::Balance;
use crate::account::delta::{Amount, Delta};
use crate::account::{Rules, SourceRules};
use crate::config::{Layer, Users};
use crate::ledger::Ledger;
use crate::source::content::Fingerprint;
use crate::store::{Store, StoreError};
use crate::tally::{Failure, Outcome, Progress, Tally};

pub mod books;
pub mod feed;
#[cfg(test)]
mod tests;
mod threads;
pub mod unparsed;

use books::{Books, Pass};
use feed::{Fed, Feed, Start};

/// What is imported, and how each file is to be read.
#[derive(Debug, Clone)]
pub struct Input {
    /// `None`: standard input.
    pub path: Option<PathBuf>,
    /// Tried in order; [`Spec::Auto`] alone: detected from the first lines.
    pub formats: Vec<Spec>,
    /// Whether user names are credited.
    pub users: Option<Users>,
    /// The site, given on the command line or taken from the file's name.
    pub vhost: Option<String>,
    /// Whether it was given on the command line: it is then wrong for a format that names the site.
    pub vhost_given: bool,
    /// Which layer of servers wrote it.
    pub layer: Layer,
    /// The log of a source that it is, or was before it was rotated.
    pub log: Option<PathBuf>,
}

/// How to import.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Count what has been counted before.
    pub again: bool,
    /// Threads that walk lines; with one, everything runs on the caller's.
    pub threads: usize,
    /// Seconds since 1970.
    pub now: i64,
}

/// Shared with whoever draws a progress bar.
#[derive(Debug, Default)]
pub struct Meter {
    /// Bytes of the files as they are on disk.
    pub bytes: Arc<AtomicU64>,
    /// Lines accounted for.
    pub lines: AtomicU64,
}

/// What became of one file.
#[derive(Debug, Clone, Default)]
pub struct FileReport {
    /// As it was named.
    pub name: String,
    /// What was said about it: detected format, where it was resumed, what was known already.
    pub notes: Vec<String>,
    /// Lines of it that this import accounted for.
    pub balance: Balance,
    /// Why it could not be read, or not to its end.
    pub error: Option<String>,
    /// Whether that is because the command line asked for what makes no sense.
    pub misuse: bool,
    /// Bytes at its end that are no line yet.
    pub partial: u64,
    /// The first lines that did not parse, with what the format wanted.
    pub failures: Vec<(Failure, String)>,
    /// Whether all of it had been counted before.
    pub already: bool,
}

/// What an import did.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// Every line read.
    pub balance: Balance,
    /// What was counted, at the edge.
    pub total: Amount,
    /// What was counted apart, by the layer behind the edge that logged it.
    pub layers: BTreeMap<String, Amount>,
    /// In the order of the inputs.
    pub files: Vec<FileReport>,
    /// The sums by vhost and day, where nothing was stored.
    pub rows: Vec<Delta>,
    /// The same of the layers behind the edge.
    pub layer_rows: Vec<Delta>,
    /// Keys that the database refused.
    pub refused: Vec<String>,
}

impl Summary {
    /// Adds what was counted apart.
    fn add_layers(&mut self, rows: &[Delta]) {
        for row in rows {
            let layer = self.layers.entry(row.part.to_string()).or_default();
            layer.add(row.amount);
        }
    }
}

/// Why an import stopped as a whole.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The store does not work.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Other processes moved the same positions again and again.
    #[error("other processes keep reading the same files; stop them, or try again later ({0})")]
    Contended(String),
    /// This import's row was removed from the store.
    #[error("the store no longer knows this import; run it again, nothing is counted twice")]
    Replaced,
}

/// How often in a row an import begins again from the stored positions, when others have moved them
/// and nothing of its own was committed.
const MAX_PASSES: u32 = 100;
/// The pause before it begins again grows by this, up to the longest.
const PAUSE_STEP: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Opens another connection to the same store, for the thread that looks files up.
pub type Connect<'c> = &'c (dyn Fn() -> Result<Box<dyn Store>, StoreError> + Sync);

/// Imports into a store.
///
/// # Errors
/// When the store fails; a file that cannot be read is no error, but told in its report.
pub fn run(
    inputs: &[Input],
    rules: &Rules,
    options: Options,
    meter: &Meter,
    mut books: Books<'_, '_>,
    connect: Option<Connect<'_>>,
) -> Result<Summary, ImportError> {
    let mut first = 0;
    let (mut passes, mut flushes) = (0, 0);
    while first < inputs.len() {
        let lookups = connect.map(|connect| connect()).transpose()?;
        let feed = Feed::new(
            inputs,
            first,
            rules,
            options,
            lookups,
            books.epochs(),
            Arc::clone(&meter.bytes),
        );
        let pass = if options.threads <= 1 {
            on_one_thread(feed, rules, options, meter, &mut books)?
        } else {
            threads::on_threads(feed, rules, options, meter, &mut books)?
        };
        match pass {
            Pass::Done => break,
            Pass::Overtaken { first: again, what } => {
                passes = if books.flushes() > flushes {
                    1
                } else {
                    passes + 1
                };
                flushes = books.flushes();
                if passes == MAX_PASSES {
                    return Err(ImportError::Contended(what));
                }
                // The other one is given time to get ahead, instead of being raced.
                std::thread::sleep((PAUSE_STEP * passes).min(LONGEST_PAUSE));
                first = again;
            }
        }
    }
    Ok(books.close())
}

/// What is said where the first part of a file is in the rows.
fn resumed(start: &Start) -> String {
    let (offset, path) = (start.print.offset, &start.path);
    format!("the first {offset} bytes had been counted already, from {path}")
}

/// A block on its way to a walker.
pub struct Work {
    /// Lines, where they begin, and the hashes around them.
    pub block: crate::source::blocks::Block,
    /// How to read them.
    pub source: Arc<SourceRules>,
    /// What is known of the lines before.
    pub progress: Progress,
    /// What they left for those in the block.
    pub carried: Carried,
}

/// A block walked.
pub struct Walked {
    /// What became of its lines.
    pub outcome: Outcome,
    /// Up to where it is accounted for.
    pub print: Fingerprint,
    /// Where it begins.
    pub base: u64,
    /// What was known before it.
    pub began: Progress,
    /// What is known after it.
    pub progress: Progress,
}

/// Walks a block; what is summed goes to the tally's ledger.
fn walk(tally: &mut Tally, rules: &Rules, work: &Work, now: i64) -> Walked {
    let block = &work.block;
    let mut progress = work.progress;
    let mut print = block.print;
    let outcome = if block.lines().is_empty() {
        Tally::pass_over(&progress, block.base, block.covers)
    } else {
        tally.carried = work.carried.clone();
        let mut outcome = tally.read(
            rules,
            &work.source,
            &mut progress,
            block.lines(),
            block.base,
            now,
        );
        match outcome.does_not_fit {
            Some(start) => {
                let mut hasher = block.before.clone();
                hasher.update(&block.lines()[..(start.max(block.base) - block.base) as usize]);
                print = hasher.fingerprint();
            }
            None => outcome.accept_held(progress.last_day),
        }
        outcome
    };
    Walked {
        outcome,
        print,
        base: block.base,
        began: work.progress,
        progress,
    }
}

fn on_one_thread(
    mut feed: Feed<'_>,
    rules: &Rules,
    options: Options,
    meter: &Meter,
    books: &mut Books<'_, '_>,
) -> Result<Pass, ImportError> {
    let mut tally = books.tally(rules, true);
    // What is summed is handed over as between threads, so that names are forgotten in the same way.
    let mut mirror = Ledger::default();
    let mut spare = Vec::new();
    while let Some(fed) = feed.next(std::mem::take(&mut spare)) {
        let pass = match fed {
            Fed::Open(file) => {
                books.open(*file);
                Pass::Done
            }
            Fed::Work(mut work) => {
                if let Some(progress) = books.progress() {
                    work.progress = progress;
                }
                let walked = walk(&mut tally, rules, &work, options.now);
                spare = work.block.into_spare();
                books.walked(&walked, meter);
                if books.is_due(&tally.ledger) {
                    mirror.receive(tally.hand_over());
                    books.take_in(&mut mirror)?
                } else {
                    Pass::Done
                }
            }
            Fed::Known(start) => {
                mirror.receive(tally.hand_over());
                books.known(*start, &mut mirror);
                Pass::Done
            }
            Fed::End(end) => {
                mirror.receive(tally.hand_over());
                books.end(end, &mut mirror)?
            }
            Fed::Barrier => books.flush()?,
            Fed::File(file) => {
                feed.take_back(*file);
                Pass::Done
            }
            Fed::Failed(error) => return Err(error.into()),
        };
        if let Pass::Overtaken { .. } = pass {
            return Ok(pass);
        }
    }
    books.flush()
}
