//! Opens the files of an import one after the other, finds out what of each has been counted
//! before, and cuts the rest into blocks.

use std::collections::HashSet;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tollkeeper_parsers::format::Spec;
use tollkeeper_parsers::plan::{Carried, Plan};

use super::{Input, Options, Work};
use crate::account::day::{self, DayNumber};
use crate::account::{Rules, SourceRules};
use crate::detect::{NO_VHOST, detect_at, may_name_vhost};
use crate::recognise::{self, Candidates, Epochs};
use crate::source::blocks::{Block, Blocks, LARGE_BLOCK_BYTES, LastLine, SMALL_BLOCK_BYTES};
use crate::source::columns;
use crate::source::content::{Fingerprint, HEAD_BYTES, Hasher, hash};
use crate::source::identity::{Once, decide_once};
use crate::source::open;
use crate::source::packed::{self, Packing};
use crate::source::position::{Place, State, Stored};
use crate::store::{Moves, Store, StoreError};
use crate::tally::Progress;

/// What the feed hands on.
pub enum Fed {
    /// A file begins.
    Open(Box<OpenFile>),
    /// Lines of it.
    Work(Box<Work>),
    /// All of it, for one thread to unpack and to walk, while others do so with the next.
    File(Box<Current>),
    /// What was read of it so far, a stream, is in the rows.
    Known(Box<Start>),
    /// It ends.
    End(End),
    /// Everything so far is to be committed before the next file can be recognised.
    Barrier,
    /// The store does not work.
    Failed(StoreError),
}

/// A file about to be read.
pub struct OpenFile {
    /// Its place among the inputs.
    pub index: usize,
    /// Things to tell the operator.
    pub notes: Vec<String>,
    /// Its position.
    pub start: Start,
    /// To be set when the rest need not be read.
    pub stop: Arc<AtomicBool>,
    /// The day of lines that have none, where no line before them has one.
    pub fallback_day: DayNumber,
    /// How its lines are read.
    pub source: Arc<SourceRules>,
}

/// Where reading begins, and what will be committed about it.
#[derive(Debug, Clone)]
pub struct Start {
    /// What the first checkpoint moves.
    pub moves: Moves,
    /// See [`Stored::scope`].
    pub scope: String,
    /// The path of the position.
    pub path: String,
    /// The place of the position.
    pub place: Option<Place>,
    /// What the file will be at its end.
    pub state: State,
    /// Of what was committed before.
    pub print: Fingerprint,
    /// What is known of the lines before.
    pub progress: Progress,
    /// Commit nothing of it before its end.
    pub whole: bool,
}

/// A file has ended.
pub struct End {
    /// Its place among the inputs.
    pub index: usize,
    /// Things to tell the operator.
    pub notes: Vec<String>,
    /// Why it could not be read, or not to its end.
    pub error: Option<String>,
    /// Whether that is because the command line asked for what makes no sense.
    pub misuse: bool,
    /// Bytes at its end that are no line yet.
    pub partial: u64,
    /// All of it had been counted before.
    pub already: bool,
}

impl End {
    fn of(index: usize) -> Self {
        Self {
            index,
            notes: Vec::new(),
            error: None,
            misuse: false,
            partial: 0,
            already: false,
        }
    }
}

/// The files of one pass.
pub struct Feed<'f> {
    inputs: &'f [Input],
    next: usize,
    rules: &'f Rules,
    options: Options,
    /// `None`: nothing is stored, so nothing is looked up.
    lookups: Option<Box<dyn Store>>,
    epochs: Arc<Epochs>,
    read: Arc<AtomicU64>,
    current: Option<Current>,
    /// Heads of the files that were read since the last barrier, by scope and length.
    fresh: HashSet<(String, u64, u128)>,
    after_barrier: bool,
    /// The start of standard input, once it has been read to look it up.
    stream_head: Option<Vec<u8>>,
}

/// A file that is being read.
pub struct Current {
    index: usize,
    blocks: Blocks<Box<dyn Read + Send>>,
    source: Arc<SourceRules>,
    progress: Progress,
    /// What the lines before the next block left for it, where the log names its columns.
    carried: Carried,
    stop: Arc<AtomicBool>,
    scope: String,
    /// Read already, for detection.
    first: Option<Block>,
    /// Positions that a stream may turn out to have, by rising offset.
    alike: Vec<Stored>,
    /// The stream has just been found to be this one, so far.
    known: Option<Box<Start>>,
    start: Start,
    has_ended: bool,
    /// It is handed on as a whole.
    is_handed_on: bool,
}

/// What is to be read of a file.
struct Content<'c> {
    blocks: Blocks<Box<dyn Read + Send>>,
    /// What the lines before left, where the log names its columns. To find out may mean to read all of
    /// them, so it is asked only where that is so.
    carried: &'c dyn Fn() -> io::Result<Carried>,
}

impl Current {
    /// What comes next of it. `spare` is memory for a block.
    pub fn go_on(&mut self, spare: Vec<u8>) -> Fed {
        if let Some(start) = self.known.take() {
            return Fed::Known(start);
        }
        let mut end = End::of(self.index);
        let stopped = self.stop.load(Ordering::Relaxed);
        let next = match self.first.take() {
            _ if stopped => Ok(None),
            Some(first) => Ok(Some(first)),
            None => self.blocks.next(spare),
        };
        match next {
            Ok(Some(block)) => {
                let work = Work {
                    block,
                    source: Arc::clone(&self.source),
                    progress: self.progress,
                    carried: self.carried.clone(),
                };
                if work.source.plans.iter().any(Plan::is_columnar) {
                    self.carried.pass(work.block.lines());
                }
                self.recognise(&work.block.print, false);
                self.progress = Progress {
                    fits: true,
                    ..Progress::default()
                };
                return Fed::Work(Box::new(work));
            }
            Ok(None) if !std::mem::replace(&mut self.has_ended, true) => {
                let print = self.blocks.print();
                if print.offset < HEAD_BYTES {
                    self.recognise(&print, true);
                }
                return self.go_on(Vec::new());
            }
            Ok(None) => {
                end.partial = if stopped { 0 } else { self.blocks.partial() };
            }
            Err(error) => end.error = Some(words(&error)),
        }
        Fed::End(end)
    }

    /// Whether a stream that has been read so far is one that was counted so far. Two logs may begin
    /// alike: a short beginning is taken for the same log only where it is all there is.
    fn recognise(&mut self, print: &Fingerprint, has_ended: bool) {
        let same = |stored: &&Stored| {
            let enough = has_ended || print.offset >= HEAD_BYTES;
            enough && stored.print.offset == print.offset && stored.print.content == print.content
        };
        if let Some(stored) = self.alike.iter().find(same) {
            self.known = Some(Box::new(self.start.continuing(stored, 0)));
        }
    }
}

impl Start {
    /// The same file, from where a position ends. `epoch`: at which it was looked up.
    fn continuing(&self, stored: &Stored, epoch: u64) -> Self {
        let mut start = self.clone();
        start.moves = Moves::of(stored, epoch);
        start.progress.last_day = stored.last_day.map(day::number);
        start.progress.fits = stored.last_day.is_some();
        start.print = stored.print;
        start.state = stored.state;
        start.path.clone_from(&stored.path);
        start.place = stored.place;
        start
    }
}

/// Why a file is not read.
enum NotRead {
    /// It cannot be, or not now.
    Error(String),
    /// The command line does not fit it.
    Misuse(&'static str),
    /// All of it is in the rows.
    Already { note: String, partial: u64 },
    /// What was read before must be committed first.
    AfterBarrier,
    /// The store does not work.
    Store(StoreError),
}

impl From<StoreError> for NotRead {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<io::Error> for NotRead {
    fn from(error: io::Error) -> Self {
        Self::Error(words(&error))
    }
}

impl<'f> Feed<'f> {
    /// Of the inputs from `first` on.
    pub fn new(
        inputs: &'f [Input],
        first: usize,
        rules: &'f Rules,
        options: Options,
        lookups: Option<Box<dyn Store>>,
        epochs: Arc<Epochs>,
        read: Arc<AtomicU64>,
    ) -> Self {
        Self {
            inputs,
            next: first,
            rules,
            options,
            lookups,
            epochs,
            read,
            current: None,
            fresh: HashSet::new(),
            after_barrier: false,
            stream_head: None,
        }
    }

    /// What comes next; `None` when all is read. `spare` is memory for a block.
    pub fn next(&mut self, spare: Vec<u8>) -> Option<Fed> {
        if let Some(current) = self.current.take() {
            return Some(self.go_on(current, spare));
        }
        let index = self.next;
        let input = self.inputs.get(index)?;
        self.next += 1;
        let mut end = End::of(index);
        match self.open(index, input) {
            Ok(open) => {
                self.after_barrier = false;
                return Some(Fed::Open(Box::new(open)));
            }
            Err(NotRead::AfterBarrier) => {
                self.next = index;
                self.after_barrier = true;
                self.fresh.clear();
                return Some(Fed::Barrier);
            }
            Err(NotRead::Store(error)) => return Some(Fed::Failed(error)),
            Err(NotRead::Error(error)) => end.error = Some(error),
            Err(NotRead::Misuse(error)) => {
                end.error = Some(error.to_owned());
                end.misuse = true;
            }
            Err(NotRead::Already { note, partial }) => {
                end.notes.push(note);
                end.partial = partial;
                end.already = true;
            }
        }
        self.after_barrier = false;
        Some(Fed::End(end))
    }

    fn go_on(&mut self, mut current: Current, spare: Vec<u8>) -> Fed {
        if current.is_handed_on {
            return Fed::File(Box::new(current));
        }
        let fed = current.go_on(spare);
        if let Fed::End(_) = fed {
            let print = current.blocks.print();
            self.fresh
                .insert((current.scope, print.head_len, print.head));
        } else {
            self.current = Some(current);
        }
        fed
    }

    /// Goes on with a file that was handed on as a whole, block by block.
    pub fn take_back(&mut self, file: Current) {
        self.current = Some(Current {
            is_handed_on: false,
            ..file
        });
    }

    fn open(&mut self, index: usize, input: &Input) -> Result<OpenFile, NotRead> {
        let scope = input.vhost.clone().unwrap_or_default();
        match &input.path {
            None => self.open_stream(index, input, scope),
            Some(path) => self.open_file(index, input, path, scope),
        }
    }

    /// A stream can be read once: what it may be is looked up by its head, and found out where each
    /// such position ends.
    fn open_stream(
        &mut self,
        index: usize,
        input: &Input,
        scope: String,
    ) -> Result<OpenFile, NotRead> {
        let mut stdin = Metered {
            inner: io::stdin(),
            read: Arc::clone(&self.read),
        };
        let head = match self.stream_head.take() {
            Some(head) => head,
            None => recognise::head(&mut stdin)?,
        };
        let epoch = self.epoch(&scope)?;
        let mut alike = Vec::new();
        if !self.options.again {
            if self.is_fresh(&scope, &head) && !self.after_barrier {
                self.stream_head = Some(head);
                return Err(NotRead::AfterBarrier);
            }
            if let Some(store) = self.lookups.as_deref_mut() {
                alike = recognise::alike(store, &scope, &head, 0, None)?;
                alike.retain(|stored| stored.print.offset > 0);
                alike.sort_by_key(|stored| stored.print.offset);
            }
        }
        let hasher = self.hasher();
        let start = Start {
            moves: Moves::New { epoch },
            scope,
            path: "-".to_owned(),
            place: None,
            state: State::Finished,
            print: hasher.fingerprint(),
            progress: Progress::default(),
            whole: true,
        };
        let stream: Box<dyn Read + Send> = Box::new(io::Cursor::new(head).chain(stdin));
        let mut blocks = Blocks::new(stream, hasher, LastLine::Counts, self.block_bytes());
        blocks.stop_at(alike.iter().map(|stored| stored.print.offset).collect());
        let fallback = self.day_of(self.options.now);
        let from_its_start = || Ok(Carried::default());
        let notes = Vec::new();
        let content = Content {
            blocks,
            carried: &from_its_start,
        };
        let open = self.begin(index, input, start, content, notes, fallback)?;
        if let Some(current) = &mut self.current {
            current.alike = alike;
        }
        Ok(open)
    }

    fn open_file(
        &mut self,
        index: usize,
        input: &Input,
        path: &Path,
        scope: String,
    ) -> Result<OpenFile, NotRead> {
        let (file, metadata) = open::regular(path)?;
        let packing = packed::packing(&file)?;
        let place = (packing == Packing::Plain).then(|| Place::of(&metadata));
        let last_line = if packing == Packing::Plain {
            LastLine::Waits
        } else {
            LastLine::Counts
        };
        let name = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let mut start = Start {
            moves: Moves::New { epoch: 0 },
            scope,
            path: name.to_string_lossy().into_owned(),
            place,
            state: State::Finished,
            print: Hasher::new(self.seed()).fingerprint(),
            progress: Progress::default(),
            whole: packing != Packing::Plain || self.options.again,
        };
        let mut hasher = self.hasher();
        let mut notes = Vec::new();
        let mut known_head = None;
        if self.options.again {
            start.moves = Moves::New {
                epoch: self.epoch(&start.scope)?,
            };
            // The place stays with the position that the file already has.
            start.place = None;
        } else if self.lookups.is_some() {
            let head = recognise::head(&mut *packed::content(
                file.try_clone()?,
                packing,
                0,
                Arc::default(),
            )?)?;
            known_head = Some((head.len() as u64, hash(self.seed(), &head)));
            let reopen = || packed::content_ahead(file.try_clone()?, packing, 0, Arc::default());
            let names: Vec<&Path> = [&*name].into_iter().chain(input.log.as_deref()).collect();
            match self.recognise(&head, &reopen, &names, &start, last_line)? {
                Recognised::New { epoch } => start.moves = Moves::New { epoch },
                Recognised::Continue {
                    stored,
                    resumed,
                    epoch,
                } => {
                    let place = start.place;
                    start = start.continuing(&stored, epoch);
                    if start.place.is_none() {
                        start.place = place;
                        start.path = name.to_string_lossy().into_owned();
                    }
                    if start.print.offset > 0 {
                        notes.push(super::resumed(&start));
                    }
                    hasher = *resumed;
                }
            }
        }
        let (again, offset) = (file.try_clone()?, hasher.offset());
        let stream = packed::content_ahead(file, packing, offset, Arc::clone(&self.read))?;
        let modified = metadata
            .modified()
            .ok()
            .and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        let fallback =
            self.day_of(modified.map_or(self.options.now, |since| since.as_secs().cast_signed()));
        // To unpack is what takes the time: while another file is to come, one thread does it for all
        // of this one. It is committed as a whole, so what others read meanwhile waits for it.
        let is_handed_on =
            packing != Packing::Plain && self.options.threads > 1 && self.next < self.inputs.len();
        if is_handed_on && let Some((length, head)) = known_head {
            self.fresh.insert((start.scope.clone(), length, head));
        }
        let open = self.begin(
            index,
            input,
            start,
            Content {
                blocks: Blocks::new(stream, hasher, last_line, self.block_bytes()),
                carried: &|| columns::at(&again, offset),
            },
            notes,
            fallback,
        )?;
        if let Some(current) = &mut self.current {
            current.is_handed_on = is_handed_on;
        }
        Ok(open)
    }

    fn begin(
        &mut self,
        index: usize,
        input: &Input,
        start: Start,
        content: Content<'_>,
        mut notes: Vec<String>,
        fallback_day: DayNumber,
    ) -> Result<OpenFile, NotRead> {
        let Content {
            mut blocks,
            carried,
        } = content;
        let mut formats = input.formats.clone();
        let mut first = None;
        if formats.iter().any(Spec::is_auto) {
            first = blocks.next(Vec::new())?;
            let sample = first.as_ref().map_or(&[][..], Block::lines);
            if !sample.is_empty() {
                for spec in formats.iter_mut().filter(|spec| spec.is_auto()) {
                    let (detected, note) =
                        detect_at(spec, sample, carried).map_err(NotRead::Error)?;
                    *spec = detected;
                    if !notes.contains(&note) {
                        notes.push(note);
                    }
                }
            }
        }
        let mut source = SourceRules::new(
            &formats,
            input.users,
            input.vhost.as_deref(),
            &self.rules.folding,
        )
        .map_err(|(_, error)| NotRead::Error(format!("its format cannot be used: {error}")))?;
        let names_site = source.plans.iter().any(Plan::has_vhost);
        if source.vhost.is_some() && names_site && input.vhost_given {
            return Err(NotRead::Misuse(
                "its format names the site in each line, so --vhost cannot be used with it: leave it out",
            ));
        }
        let carried = match source.plans.iter().any(Plan::is_columnar) {
            true => carried()?,
            false => Carried::default(),
        };
        let sample = first.as_ref().map_or(&[][..], Block::lines);
        let may_name_site = may_name_vhost(&source.plans, sample, &carried);
        if source.vhost.is_none() && !may_name_site && !source.plans.is_empty() {
            notes.push(NO_VHOST.to_owned());
        }
        source.layer = input.layer.clone();
        let source = Arc::new(source);
        let stop = Arc::new(AtomicBool::new(false));
        self.current = Some(Current {
            index,
            blocks,
            source: Arc::clone(&source),
            progress: start.progress,
            carried,
            stop: Arc::clone(&stop),
            scope: start.scope.clone(),
            first,
            alike: Vec::new(),
            known: None,
            start: start.clone(),
            has_ended: false,
            is_handed_on: false,
        });
        Ok(OpenFile {
            index,
            notes,
            start,
            stop,
            fallback_day,
            source,
        })
    }

    /// Finds the position that a file has, if any.
    fn recognise(
        &mut self,
        head: &[u8],
        reopen: &dyn Fn() -> io::Result<Box<dyn Read + Send>>,
        names: &[&Path],
        start: &Start,
        last_line: LastLine,
    ) -> Result<Recognised, NotRead> {
        let epoch = self.epoch(&start.scope)?;
        let seed = self.seed();
        if self.is_fresh(&start.scope, head) && !self.after_barrier {
            return Err(NotRead::AfterBarrier);
        }
        let Some(store) = self.lookups.as_deref_mut() else {
            return Ok(Recognised::New { epoch });
        };
        let alike = recognise::alike(store, &start.scope, head, 0, start.place)?;
        if alike.is_empty() {
            return Ok(Recognised::New { epoch });
        }
        let waits = last_line == LastLine::Waits;
        let found: Candidates =
            recognise::compare(seed, alike, &mut *reopen()?, names, start.place, waits)?;
        let named = |index: usize| found.stored[index].clone();
        let again = "count it once more with --again";
        match decide_once(found.length, &found.evidence) {
            Once::New => Ok(Recognised::New { epoch }),
            Once::Counted(index) => Err(NotRead::Already {
                note: format!("counted already, from {}; {again}", named(index).path),
                partial: found.read - found.length,
            }),
            Once::EarlierCopy(index) => Err(NotRead::Already {
                note: format!(
                    "is an earlier state of {}, which is counted further; {again}",
                    named(index).path
                ),
                partial: 0,
            }),
            Once::Continue(index) => match found.hashers[index].clone() {
                Some(hasher) => Ok(Recognised::Continue {
                    stored: Box::new(named(index)),
                    resumed: Box::new(hasher),
                    epoch,
                }),
                None => Ok(Recognised::New { epoch }),
            },
        }
    }

    /// Whether a file that begins like this one was read since the last barrier: what it came to
    /// must be committed before this one can be looked up.
    fn is_fresh(&self, scope: &str, head: &[u8]) -> bool {
        let seed = self.seed();
        self.fresh.iter().any(|(of, length, fresh)| {
            let start = head.get(..*length as usize);
            of == scope && start.is_some_and(|start| hash(seed, start) == *fresh)
        })
    }

    fn epoch(&mut self, scope: &str) -> Result<u64, StoreError> {
        match self.lookups.as_deref_mut() {
            Some(store) => self.epochs.look(store, scope),
            None => Ok(0),
        }
    }

    fn block_bytes(&self) -> usize {
        if self.options.threads <= 1 {
            SMALL_BLOCK_BYTES
        } else {
            LARGE_BLOCK_BYTES
        }
    }

    /// At the start of a file. Of what is not stored nothing is looked up later.
    fn hasher(&self) -> Hasher {
        match self.lookups {
            Some(_) => Hasher::new(self.seed()),
            None => Hasher::counting(),
        }
    }

    fn seed(&self) -> u64 {
        self.lookups.as_ref().map_or(0, |store| store.seed())
    }

    fn day_of(&self, seconds: i64) -> DayNumber {
        let instant = tollkeeper_parsers::time::Time::Instant(seconds);
        day::Days::new(self.rules.zone)
            .of(instant)
            .unwrap_or_default()
    }
}

enum Recognised {
    New {
        epoch: u64,
    },
    Continue {
        stored: Box<Stored>,
        resumed: Box<Hasher>,
        epoch: u64,
    },
}

fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "does not exist".to_owned(),
        io::ErrorKind::PermissionDenied if error.get_ref().is_none() => {
            "may not be read (permission denied); run as root, or as a member of the group that owns it".to_owned()
        }
        io::ErrorKind::UnexpectedEof => {
            "is no whole archive: it ends before its data does; nothing of it was counted"
                .to_owned()
        }
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
            format!("is damaged ({error}); nothing of it was counted")
        }
        _ => error.to_string(),
    }
}

struct Metered<R> {
    inner: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// For reports: `-` is standard input.
#[must_use]
pub fn shown(path: Option<&PathBuf>) -> String {
    path.map_or_else(
        || "-".to_owned(),
        |path| path.to_string_lossy().into_owned(),
    )
}
