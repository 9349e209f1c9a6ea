//! An import on several threads: they take turns to read and walk, and the caller's own keeps the
//! books.
//!
//! What is read is numbered, and what comes of it is told with its number, in whatever order it is
//! done; the keeper of the books takes it in the order in which it was read.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Condvar, Mutex, PoisonError};

use super::books::{Books, Pass};
use super::feed::{Current, End, Fed, Feed};
use super::{ImportError, Meter, Options, Walked, Work, walk};
use crate::account::Rules;
use crate::ledger::{Ledger, Sums};
use crate::tally::Tally;

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

/// Ranges of lines that do not parse, which are told of a file before its turn; the text of one such
/// line weighs as much as a hundred of them.
const MAX_FAULTS_AHEAD: usize = 20_000;
/// A walker that has a file for itself tells its sums when there are so many.
const MAX_UNTOLD_ACCOUNTS: usize = 50_000;

pub(super) fn on_threads(
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
    let turn = Turn::default();
    let tallies: Vec<Tally> = (0..walkers).map(|_| books.tally(rules, false)).collect();
    std::thread::scope(|scope| {
        for (number, tally) in tallies.into_iter().enumerate() {
            let (tell, feeding, turn) = (tell.clone(), &feeding, &turn);
            scope.spawn(move || {
                let mut walker = Walker {
                    number,
                    tally,
                    rules,
                    now: options.now,
                    tell,
                    turn,
                    spare: Vec::new(),
                };
                // It ends where there is nothing more, or nobody listens.
                while walker.take_turn(feeding).is_some() {}
            });
        }
        // Whoever is left waiting for another ends when that other's end of the channel is gone.
        drop(tell);
        let mirrors = std::iter::repeat_with(Ledger::default).take(walkers);
        // However the books are closed, nobody is left waiting.
        let _ended = Ended(&turn);
        keep_books(told, mirrors.collect(), books, meter, pass_barrier, &turn)
    })
}

/// Whose turn it is: what the keeper of the books waits for.
#[derive(Default)]
struct Turn {
    number: Mutex<u64>,
    moved: Condvar,
}

impl Turn {
    fn is(&self, number: u64) {
        *self.number.lock().unwrap_or_else(PoisonError::into_inner) = number;
        self.moved.notify_all();
    }

    /// Waits until it is the turn of this number.
    fn wait_for(&self, number: u64) {
        let turn = self.number.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.moved.wait_while(turn, |turn| *turn < number);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

/// Lets everybody go on when it is dropped.
struct Ended<'t>(&'t Turn);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.is(u64::MAX);
    }
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
    turn: &'w Turn,
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
                let walked = self.walk_in_turn(number, *work);
                let told = Told::Walked(Box::new((walked, self.tally.hand_over(), self.number)));
                self.tell.send(((number, 0), told)).ok()
            }
            Taken::File(file) => self.file(number, *file),
        }
    }

    /// Walks all of a file. Sums are told once it is its turn: those of files that wait for one before
    /// them are in the walkers' ledgers, which are bounded, and nowhere else.
    fn file(&mut self, number: u64, mut file: Current) -> Option<()> {
        let mut faults = 0;
        for place in 0.. {
            let told = match file.go_on(std::mem::take(&mut self.spare)) {
                Fed::Work(work) => {
                    let walked = self.walk(*work);
                    // Clients can make every other line one that does not parse.
                    faults += walked.outcome.unparsed.len() + 100 * walked.outcome.failures.len();
                    if faults > MAX_FAULTS_AHEAD {
                        self.turn.wait_for(number);
                    }
                    let is_much = self.tally.ledger.len() >= MAX_UNTOLD_ACCOUNTS;
                    let sums = is_much.then(|| {
                        self.turn.wait_for(number);
                        self.tally.hand_over()
                    });
                    Told::OfFile(Box::new((walked, sums, self.number)))
                }
                Fed::End(end) => {
                    self.turn.wait_for(number);
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

    /// Walks a block of a file that others walk, too. What was refused may have got a row by those before.
    fn walk_in_turn(&mut self, number: u64, work: Work) -> Walked {
        let mut walked = walk(&mut self.tally, self.rules, &work, self.now);
        if self.tally.has_refused() {
            self.turn.wait_for(number);
            if !self.tally.refused_rightly() {
                let (rules, now) = (self.rules, self.now);
                walked = self.tally.keeping(|tally| walk(tally, rules, &work, now));
            }
        }
        self.spare = work.block.into_spare();
        walked
    }

    /// Walks a block of a file that nobody else walks, before it is its turn.
    fn walk(&mut self, work: Work) -> Walked {
        let (rules, now) = (self.rules, self.now);
        let walked = self
            .tally
            .keeping_on(|tally| walk(tally, rules, &work, now));
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
    turn: &Turn,
) -> Result<Pass, ImportError> {
    let mut early = BTreeMap::new();
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
            turn.is(next.0);
        }
    }
    books.flush()
}
