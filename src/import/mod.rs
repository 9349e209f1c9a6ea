//! Accounts files once, each to its end: archives, old logs, standard input.
//!
//! Threads take turns to read ([`feed`]) and walk the lines, and the caller's own keeps the books
//! ([`books`]) in the order of the files and flushes. A plain file is committed as it goes, so that
//! an import that was killed goes on where it stopped; an archive or a stream is committed whole,
//! once its end has shown that it is sound.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tollkeeper_parsers::format::Spec;
use tollkeeper_parsers::plan::Carried;

use crate::account::balance::Balance;
use crate::account::delta::{Amount, Delta};
use crate::account::{Rules, SourceRules};
use crate::config::{Layer, Users};
use crate::ledger::{Ledger, Sums};
use crate::source::content::Fingerprint;
use crate::store::{Store, StoreError};
use crate::tally::{Failure, Outcome, Progress, Tally};

pub mod books;
pub mod feed;
pub mod unparsed;

use books::{Books, Pass};
use feed::{Current, End, Fed, Feed, Start};

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
            on_threads(feed, rules, options, meter, &mut books)?
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
    let mut tally = Tally::new(rules);
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
                if books.is_due(tally.ledger.len()) {
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

/// A place in the order of what is fed; of a file that one walker has for itself, in the file's.
type Place = (u64, u64);

/// What walkers hand to the keeper of the books.
enum Told {
    Fed(Fed),
    /// A block, what it came to, and the number of the walker.
    Walked(Box<(Walked, Sums, usize)>),
    /// The same of a file that the walker has for itself. The sums are those of all blocks since it
    /// told some.
    OfFile(Box<(Walked, Option<Sums>, usize)>),
    /// The end of such a file.
    EndOfFile(Box<(End, Sums, usize)>),
}

/// A walker that has a file for itself tells its sums when there are so many.
const MAX_UNTOLD_ACCOUNTS: usize = 50_000;

fn on_threads(
    feed: Feed<'_>,
    rules: &Rules,
    options: Options,
    meter: &Meter,
    books: &mut Books<'_, '_>,
) -> Result<Pass, ImportError> {
    let walkers = options.threads;
    let (tell, told) = mpsc::sync_channel::<(Place, Told)>(4 * walkers);
    let (pass_barrier, barrier) = mpsc::sync_channel::<()>(1);
    let feeding = Mutex::new(Feeding {
        feed,
        next: 0,
        barrier,
    });
    std::thread::scope(|scope| {
        for number in 0..walkers {
            let (tell, feeding) = (tell.clone(), &feeding);
            scope.spawn(move || {
                let mut walker = Walker {
                    number,
                    tally: Tally::new(rules),
                    rules,
                    now: options.now,
                    tell,
                    spare: Vec::new(),
                };
                // It ends where there is nothing more, or nobody listens.
                while walker.take_turn(feeding).is_some() {}
            });
        }
        // Whoever is left waiting for another ends when that other's end of the channel is gone.
        drop(tell);
        let mirrors = std::iter::repeat_with(Ledger::default).take(walkers);
        keep_books(told, mirrors.collect(), books, meter, pass_barrier)
    })
}

/// What the walkers take from in turn.
struct Feeding<'f> {
    feed: Feed<'f>,
    /// The number of what is fed next.
    next: u64,
    /// The keeper of the books says here that everything up to a barrier is committed.
    barrier: Receiver<()>,
}

/// What a walker takes.
enum Taken {
    Block(Box<Work>),
    File(Box<Current>),
}

impl Feeding<'_> {
    /// The next block or file, once all that was fed before it has been told; `None` at the end, or
    /// where nobody listens any more. `spare` is memory to use again.
    fn next(&mut self, tell: &SyncSender<(Place, Told)>, spare: Vec<u8>) -> Option<(u64, Taken)> {
        let mut spare = Some(spare);
        loop {
            let fed = self.feed.next(spare.take().unwrap_or_default())?;
            let number = self.next;
            self.next += 1;
            let is_barrier = matches!(fed, Fed::Barrier);
            match fed {
                Fed::Work(work) => return Some((number, Taken::Block(work))),
                Fed::File(file) => return Some((number, Taken::File(file))),
                other => tell.send(((number, 0), Told::Fed(other))).ok()?,
            }
            if is_barrier {
                self.barrier.recv().ok()?;
            }
        }
    }
}

/// A thread that reads and walks.
struct Walker<'w> {
    number: usize,
    tally: Tally,
    rules: &'w Rules,
    /// Seconds since 1970.
    now: i64,
    tell: SyncSender<(Place, Told)>,
    /// Memory for the next block.
    spare: Vec<u8>,
}

impl Walker<'_> {
    /// Walks the next block or file. Whoever is free reads, so what is read lies in the cache of the
    /// processor that walks it.
    fn take_turn(&mut self, feeding: &Mutex<Feeding<'_>>) -> Option<()> {
        let mut feeding = feeding.lock().unwrap_or_else(PoisonError::into_inner);
        let (number, taken) = feeding.next(&self.tell, std::mem::take(&mut self.spare))?;
        drop(feeding);
        match taken {
            Taken::Block(work) => {
                let walked = self.walk(*work);
                let told = Told::Walked(Box::new((walked, self.tally.hand_over(), self.number)));
                self.tell.send(((number, 0), told)).ok()
            }
            Taken::File(file) => self.file(number, *file),
        }
    }

    /// Walks all of a file.
    fn file(&mut self, number: u64, mut file: Current) -> Option<()> {
        for place in 0.. {
            let told = match file.go_on(std::mem::take(&mut self.spare)) {
                Fed::Work(work) => {
                    let walked = self.walk(*work);
                    let is_much = self.tally.ledger.len() >= MAX_UNTOLD_ACCOUNTS;
                    let sums = is_much.then(|| self.tally.hand_over());
                    Told::OfFile(Box::new((walked, sums, self.number)))
                }
                Fed::End(end) => {
                    let told = (end, self.tally.hand_over(), self.number);
                    let told = Told::EndOfFile(Box::new(told));
                    return self.tell.send(((number, place), told)).ok();
                }
                // Only of streams, and between files.
                Fed::Known(_) | Fed::Open(_) | Fed::Barrier | Fed::Failed(_) | Fed::File(_) => {
                    continue;
                }
            };
            self.tell.send(((number, place), told)).ok()?;
        }
        None
    }

    fn walk(&mut self, work: Work) -> Walked {
        let walked = walk(&mut self.tally, self.rules, &work, self.now);
        self.spare = work.block.into_spare();
        walked
    }
}

/// `mirrors`: for each walker, a ledger that knows the names that it has told. A walker takes blocks
/// in their order, so what it tells arrives here in its own order too.
fn keep_books(
    told: Receiver<(Place, Told)>,
    mut mirrors: Vec<Ledger>,
    books: &mut Books<'_, '_>,
    meter: &Meter,
    pass_barrier: SyncSender<()>,
) -> Result<Pass, ImportError> {
    let mut early = std::collections::BTreeMap::new();
    let mut next: Place = (0, 0);
    for (place, told) in told {
        early.insert(place, told);
        while let Some(told) = early.remove(&next) {
            next = match told {
                Told::OfFile(_) => (next.0, next.1 + 1),
                Told::Fed(_) | Told::Walked(_) | Told::EndOfFile(_) => (next.0 + 1, 0),
            };
            let pass = match told {
                Told::OfFile(walked) => {
                    let (walked, sums, walker) = *walked;
                    let is_counted = books.walked(&walked, meter);
                    match sums {
                        Some(sums) => {
                            let mirror = &mut mirrors[walker];
                            mirror.receive(sums);
                            if is_counted {
                                books.take_in(mirror)?
                            } else {
                                Pass::Done
                            }
                        }
                        None => Pass::Done,
                    }
                }
                Told::EndOfFile(end) => {
                    let (end, sums, walker) = *end;
                    let mirror = &mut mirrors[walker];
                    mirror.receive(sums);
                    books.end(end, mirror)?
                }
                Told::Walked(walked) => {
                    let (walked, sums, walker) = *walked;
                    let mirror = &mut mirrors[walker];
                    mirror.receive(sums);
                    if books.walked(&walked, meter) {
                        books.take_in(mirror)?
                    } else {
                        Pass::Done
                    }
                }
                Told::Fed(Fed::Open(file)) => {
                    books.open(*file);
                    Pass::Done
                }
                Told::Fed(Fed::Known(start)) => {
                    books.known(*start, &mut Ledger::default());
                    Pass::Done
                }
                Told::Fed(Fed::End(end)) => books.end(end, &mut Ledger::default())?,
                Told::Fed(Fed::Barrier) => {
                    let pass = books.flush()?;
                    let _ = pass_barrier.send(());
                    pass
                }
                Told::Fed(Fed::Failed(error)) => return Err(error.into()),
                Told::Fed(Fed::Work(_) | Fed::File(_)) => Pass::Done,
            };
            if let Pass::Overtaken { .. } = pass {
                return Ok(pass);
            }
        }
    }
    books.flush()
}
