//! Opens the files of an import one after the other, finds out what of each has been counted
//! before, and cuts the rest into blocks.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::{Input, Options, Work};
use crate::account::Rules;
use crate::recognise::Epochs;
use crate::store::{Store, StoreError};

mod file;
mod opening;

pub use file::{Current, End, OpenFile, Start};
use opening::NotRead;

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
}

/// For reports: `-` is standard input.
#[must_use]
pub fn shown(path: Option<&PathBuf>) -> String {
    path.map_or_else(
        || "-".to_owned(),
        |path| path.to_string_lossy().into_owned(),
    )
}
