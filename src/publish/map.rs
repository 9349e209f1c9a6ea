//! One file with a line for each closed gate, and asking for the reload that it may need.
//!
//! Published only when it is another one ([`super::file`]). Until all usage is known, the lines that
//! stand on disk are kept. Whoever reloads the server may refuse what was written, and put back what
//! was there before: then the file is not written again before there is something else to write.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::file::{FILE_MODE, publish, read};
use super::{Applied, Gate};
use crate::enforce::{Hosts, MapSet, OPEN};
use crate::quota::verdict::Verdicts;

/// Verdicts into lines.
pub type Render = Box<dyn Fn(&Verdicts, &Hosts) -> MapSet + Send>;

/// How often it is looked whether the file is still there.
const WATCH: Duration = Duration::from_secs(5);
/// After what has failed.
const RETRY: Duration = Duration::from_secs(2);

/// Asks a server to read its files again. Gives up nothing of its own accord: what was asked for too
/// soon after the last time is asked for when [`Nudge::poll`] is called at the time that it named.
pub trait Nudge: Send {
    /// The file is another one.
    fn nudge(&mut self, now: Instant) -> NudgeState;

    /// How far it is. Called at the time that the last state named, and at other times.
    fn poll(&mut self, now: Instant) -> NudgeState;
}

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NudgeState {
    /// The server has read what was last written, or nothing was asked for.
    Done,
    /// It has not yet; poll then.
    Waiting(Instant),
    /// The server refused what was written, and what was there before was put back; said once, and
    /// again until the next [`Nudge::nudge`].
    Refused(String),
    /// It could not be asked, or nobody answers; it is asked again. The file stands as written.
    Failed(String, Instant),
}

/// A map file.
pub struct MapFile {
    name: String,
    path: PathBuf,
    render: Render,
    write: fn(&MapSet) -> Vec<u8>,
    read: fn(&[u8]) -> BTreeMap<String, String>,
    nudge: Option<Box<dyn Nudge>>,
    /// The lines that stand on disk, as far as we know.
    standing: Option<BTreeMap<String, String>>,
    /// What a server refused.
    refused: Option<BTreeMap<String, String>>,
}

impl MapFile {
    /// `write` gives the file's bytes; `read` the lines of such bytes, none that it does not
    /// understand.
    #[must_use]
    pub fn new(
        name: String,
        path: PathBuf,
        render: Render,
        write: fn(&MapSet) -> Vec<u8>,
        read: fn(&[u8]) -> BTreeMap<String, String>,
    ) -> Self {
        Self {
            name,
            path,
            render,
            write,
            read,
            nudge: None,
            standing: None,
            refused: None,
        }
    }

    /// The server has to be asked to read the file again.
    #[must_use]
    pub fn with_nudge(mut self, nudge: Box<dyn Nudge>) -> Self {
        self.nudge = Some(nudge);
        self
    }

    /// The lines that are on disk; none if there is no file.
    fn on_disk(&self) -> io::Result<BTreeMap<String, String>> {
        let bytes = read(&self.path)?;
        Ok(bytes.map_or_else(BTreeMap::new, |bytes| (self.read)(&bytes)))
    }

    /// Writes what is not refused; whether the file is another one now.
    fn write(&self, set: &MapSet) -> io::Result<bool> {
        publish(&self.path, &(self.write)(set), FILE_MODE)
    }

    /// The server may have refused what was written last.
    fn heed(&mut self, state: NudgeState, applied: &mut Applied) {
        match state {
            NudgeState::Done => {}
            NudgeState::Waiting(when) => applied.again = applied.again.min(Some(when)),
            NudgeState::Failed(why, when) => {
                applied.failed.get_or_insert(why);
                applied.again = applied.again.min(Some(when));
            }
            NudgeState::Refused(why) => {
                if self.refused.is_none() {
                    // What stands there now is read anew.
                    self.refused = self.standing.take();
                }
                let path = self.path.display();
                applied.failed.get_or_insert(format!(
                    "{path}: the server refused it, and what was there before was put back: {why}"
                ));
            }
        }
    }
}

impl Gate for MapFile {
    fn name(&self) -> &str {
        &self.name
    }

    fn apply(&mut self, verdicts: &Verdicts, hosts: &Hosts, now: Instant) -> Applied {
        let mut applied = Applied {
            again: Some(now + WATCH),
            ..Applied::default()
        };
        // First of all: what was refused is not what stands there now.
        if let Some(state) = self.nudge.as_mut().map(|nudge| nudge.poll(now)) {
            self.heed(state, &mut applied);
        }
        let mut set = (self.render)(verdicts, hosts);
        applied.refused = std::mem::take(&mut set.refused);
        let known = match self.standing.take() {
            Some(standing) => Ok(standing),
            None => self.on_disk(),
        };
        let standing = match known {
            Ok(standing) => standing,
            Err(error) => {
                applied.failed = Some(format!("reading {}: {error}", self.path.display()));
                applied.again = Some(now + RETRY);
                return applied;
            }
        };
        if !verdicts.complete {
            // What is closed stays closed, in the way that it is.
            for (key, value) in &standing {
                match value.as_str() {
                    OPEN => drop(
                        set.entries
                            .entry(key.clone())
                            .or_insert_with(|| value.clone()),
                    ),
                    _ => drop(set.entries.insert(key.clone(), value.clone())),
                }
            }
        }
        let is_refused = self.refused.as_ref() == Some(&set.entries);
        if is_refused {
            self.standing = Some(standing);
        } else {
            match self.write(&set) {
                Ok(changed) => {
                    applied.changed = differences(&standing, &set.entries);
                    self.standing = Some(set.entries);
                    if changed {
                        self.refused = None;
                        // What was wrong with the one before is past.
                        applied.failed = None;
                        if let Some(state) = self.nudge.as_mut().map(|nudge| nudge.nudge(now)) {
                            self.heed(state, &mut applied);
                        }
                    }
                }
                Err(error) => {
                    applied.failed = Some(format!("writing {}: {error}", self.path.display()));
                    applied.again = Some(now + RETRY);
                    self.standing = Some(standing);
                }
            }
        }
        applied.standing = self.standing.as_ref().map_or(0, |lines| lines.len() as u64);
        applied
    }
}

/// How many lines are in one alone, or not the same in both.
fn differences(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> u64 {
    let added = after
        .iter()
        .filter(|(key, value)| before.get(*key) != Some(value));
    let removed = before.keys().filter(|key| !after.contains_key(*key));
    added.count() as u64 + removed.count() as u64
}

#[cfg(test)]
mod tests;
