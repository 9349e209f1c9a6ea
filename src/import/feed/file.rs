//! A file of an import, from what is known of it when it is opened to what it came to.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tollkeeper_parsers::plan::{Carried, Plan};

use super::{Fed, Work};
use crate::account::SourceRules;
use crate::account::day::{self, DayNumber};
use crate::source::blocks::{Block, Blocks};
use crate::source::content::{Fingerprint, HEAD_BYTES};
use crate::source::position::{Place, State, Stored};
use crate::store::Moves;
use crate::tally::Progress;

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
    pub(super) fn of(index: usize) -> Self {
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

/// A file that is being read.
pub struct Current {
    pub(super) index: usize,
    pub(super) blocks: Blocks<Box<dyn Read + Send>>,
    pub(super) source: Arc<SourceRules>,
    pub(super) progress: Progress,
    /// What the lines before the next block left for it, where the log names its columns.
    pub(super) carried: Carried,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) scope: String,
    /// Read already, for detection.
    pub(super) first: Option<Block>,
    /// Positions that a stream may turn out to have, by rising offset.
    pub(super) alike: Vec<Stored>,
    /// The stream has just been found to be this one, so far.
    pub(super) known: Option<Box<Start>>,
    pub(super) start: Start,
    pub(super) has_ended: bool,
    /// It is handed on as a whole.
    pub(super) is_handed_on: bool,
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
    pub(super) fn continuing(&self, stored: &Stored, epoch: u64) -> Self {
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

pub(super) fn words(error: &io::Error) -> String {
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
