//! Opening a file: what of it has been counted, how its lines are read, and from where.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tollkeeper_parsers::format::Spec;
use tollkeeper_parsers::plan::{Carried, Plan};

use super::file::{Current, OpenFile, Start, words};
use super::{Feed, Input};
use crate::account::SourceRules;
use crate::account::day::{self, DayNumber};
use crate::detect::{NO_VHOST, detect_at, may_name_vhost};
use crate::recognise::{self, Candidates};
use crate::source::blocks::{Block, Blocks, LARGE_BLOCK_BYTES, LastLine, SMALL_BLOCK_BYTES};
use crate::source::columns;
use crate::source::content::{Hasher, hash};
use crate::source::identity::{Once, decide_once};
use crate::source::open;
use crate::source::packed::{self, Packing};
use crate::source::position::{Place, State, Stored};
use crate::store::{Moves, StoreError};
use crate::tally::Progress;

/// Why a file is not read.
pub(super) enum NotRead {
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

/// What is to be read of a file.
struct Content<'c> {
    blocks: Blocks<Box<dyn Read + Send>>,
    /// What the lines before left, where the log names its columns. To find out may mean to read all of
    /// them, so it is asked only where that is so.
    carried: &'c dyn Fn() -> io::Result<Carried>,
}

impl Feed<'_> {
    pub(super) fn open(&mut self, index: usize, input: &Input) -> Result<OpenFile, NotRead> {
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
                        notes.push(crate::import::resumed(&start));
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
