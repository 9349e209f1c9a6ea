//! A folder with one file for each closed gate.
//!
//! What stands there at the first look is taken as it is. Flags are made at once, and removed only
//! when all usage is known. Nothing outside the folder is touched, nor in it what is not named as our
//! flags are. If the folder is emptied or taken away, as `/run` is by a reboot, it is noticed within
//! seconds, and made again.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{self, AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::file::{FILE_MODE, enter, publish_at, step};
use super::{Applied, Gate};
use crate::enforce::{FlagSet, Hosts, Refused};
use crate::quota::verdict::Verdicts;

mod list;

use list::Stamps;

/// Verdicts into flags.
pub type Render = Box<dyn Fn(&Verdicts, &Hosts) -> FlagSet + Send>;

/// How often it is looked whether all flags are still there.
const WATCH: Duration = Duration::from_secs(5);
/// What somebody else has removed while we made or removed something is seen by a look at all flags, when
/// we have let them alone for so long;
const QUIET: Duration = Duration::from_secs(1);
/// or after so long, where we never do.
const LONGEST_UNSEEN: Duration = Duration::from_secs(60);
/// Such looks take a fiftieth of the time at most.
const LOOK_SHARE: u32 = 50;
/// After what has failed.
const RETRY: Duration = Duration::from_secs(2);
/// What was made is durable after so long: syncing makes others wait, and what a power cut takes is
/// made again at the next start.
const SYNC: Duration = Duration::from_secs(1);
/// So many folders are synced one by one; the file systems that we know write all names with one.
const MOST_SYNCS: usize = 16;

/// Flags are made and removed for so long in one go: a busy disk takes some tenths of a millisecond for
/// each, and who has spent a quota in the meantime should not wait for a hundred thousand.
const MOST_TIME: Duration = Duration::from_millis(500);
/// With more news than these, all flags are gone through.
const MOST_NEWS: usize = 1_000;
/// The clock is looked at after so many.
const BETWEEN_LOOKS: u64 = 64;

/// A folder of flags.
pub struct Flags {
    name: String,
    folder: PathBuf,
    /// Whether a path below the folder is one that a flag of ours can have.
    is_ours: fn(&str) -> bool,
    render: Render,
    /// What stands on disk, as far as we know: paths and contents. `None`: it has not been looked yet.
    standing: Option<BTreeMap<String, String>>,
    /// How the folders looked when we had last touched them.
    stamps: Stamps,
    watch_at: Option<Instant>,
    /// When we last made or removed something. `None`: not since all were looked at.
    changed_at: Option<Instant>,
    /// When all were looked at, and when they may be again.
    looked_at: Option<(Instant, Instant)>,
    /// Somebody else has been there, or may have been.
    is_suspect: bool,
    /// Folders in which names were made or removed since the last sync.
    unsynced: BTreeSet<String>,
    sync_at: Option<Instant>,
    most_time: Duration,
    /// What was refused at the last go.
    refused: Vec<Refused>,
    /// All that was wanted at the last go stands there, and nothing else.
    is_settled: bool,
}

impl Flags {
    /// `is_ours` says of a path below the folder whether it is one of the renderer's: what else lies
    /// there is left alone.
    #[must_use]
    pub fn new(name: String, folder: PathBuf, is_ours: fn(&str) -> bool, render: Render) -> Self {
        Self {
            name,
            folder,
            is_ours,
            render,
            standing: None,
            stamps: Stamps::default(),
            watch_at: None,
            changed_at: None,
            looked_at: None,
            is_suspect: false,
            unsynced: BTreeSet::new(),
            sync_at: None,
            most_time: MOST_TIME,
            refused: Vec::new(),
            is_settled: false,
        }
    }

    /// Takes from disk what stands there, if it is not known or somebody else may have changed it.
    fn look(&mut self, root: &OwnedFd, now: Instant) -> io::Result<BTreeMap<String, String>> {
        self.watch(root, now);
        if !self.is_suspect
            && let Some(standing) = self.standing.take()
        {
            return Ok(standing);
        }
        let begin = Instant::now();
        let (listed, stamps) = list::list(root, self.is_ours)?;
        self.stamps = stamps;
        self.is_suspect = false;
        self.changed_at = None;
        self.looked_at = Some((now, now + begin.elapsed() * LOOK_SHARE));
        Ok(listed)
    }

    /// Looks, when it is time, whether all is as we have left it.
    fn watch(&mut self, root: &OwnedFd, now: Instant) {
        if self.watch_at.is_none_or(|when| now >= when) {
            self.watch_at = Some(now + WATCH);
            self.is_suspect |= !self.stamps.hold(root) || self.may_have_missed(now);
        }
    }

    /// Whether all flags are to be looked at, because a change of ours may have hidden somebody else's.
    fn may_have_missed(&self, now: Instant) -> bool {
        self.changed_at.is_some_and(|changed| {
            self.looked_at.is_none_or(|(at, again)| {
                now >= again && (now >= changed + QUIET || now >= at + LONGEST_UNSEEN)
            })
        })
    }

    fn sync(&mut self, root: &OwnedFd, now: Instant) -> io::Result<()> {
        if self.unsynced.is_empty() || self.sync_at.is_some_and(|when| now < when) {
            return Ok(());
        }
        self.sync_at = Some(now + SYNC);
        for path in std::mem::take(&mut self.unsynced).iter().take(MOST_SYNCS) {
            match open_below(root, path) {
                Ok(folder) => fs::fsync(&folder)?,
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(fs::fsync(root)?)
    }
}

impl Gate for Flags {
    fn name(&self) -> &str {
        &self.name
    }

    fn apply(&mut self, verdicts: &Verdicts, hosts: &Hosts, now: Instant) -> Applied {
        let FlagSet { mut flags, refused } = (self.render)(verdicts, hosts);
        self.refused = refused;
        self.is_settled = false;
        if !verdicts.complete
            && let Some(standing) = &self.standing
        {
            // Also where somebody has removed them in the meantime.
            add_missing(&mut flags, standing);
        }
        let looked = enter(&self.folder)
            .and_then(|root| self.look(&root, now).map(|standing| (root, standing)));
        let (root, standing) = match looked {
            Ok(looked) => looked,
            Err(error) => {
                let folder = self.folder.display();
                return Applied {
                    refused: self.refused.clone(),
                    failed: Some(format!("looking into {folder}: {error}")),
                    again: Some(now + RETRY),
                    ..Applied::default()
                };
            }
        };
        if !verdicts.complete {
            add_missing(&mut flags, &standing);
        }

        let mut change = Change::new(&root, standing, self.most_time);
        change.make(&flags);
        change.remove(&flags);
        self.is_settled = change.failed.is_none() && !change.is_cut_short;
        self.finish(&root, change, now)
    }

    fn apply_news(
        &mut self,
        old: &Verdicts,
        new: &Verdicts,
        hosts: &Hosts,
        now: Instant,
    ) -> Applied {
        let subjects = new.differing_from(old);
        let is_easy = self.is_settled && old.complete == new.complete;
        if !is_easy || subjects.len() > MOST_NEWS {
            return self.apply(new, hosts, now);
        }
        let Ok(root) = enter(&self.folder) else {
            return self.apply(new, hosts, now);
        };
        self.watch(&root, now);
        let standing = match self.is_suspect {
            true => None,
            false => self.standing.take(),
        };
        let Some(standing) = standing else {
            return self.apply(new, hosts, now);
        };
        let part = |of: &Verdicts| {
            let closed = subjects.iter().filter_map(|&subject| {
                let closed = of.closed.get(subject)?;
                Some((Arc::clone(subject), Arc::clone(closed)))
            });
            Verdicts {
                closed: closed.collect(),
                complete: of.complete,
            }
        };
        let was = (self.render)(&part(old), hosts);
        let is = (self.render)(&part(new), hosts);
        self.refused
            .retain(|refused| subjects.iter().all(|it| ***it != refused.subject));
        self.refused.extend(is.refused);
        let mut change = Change::new(&root, standing, self.most_time);
        change.make(&is.flags);
        let mut gone = was.flags;
        gone.retain(|path, _| !is.flags.contains_key(path));
        if new.complete {
            change.remove_all(gone.into_keys().collect());
        }
        // Whether somebody else wants what has been removed is seen when all are gone through.
        self.is_settled = change.failed.is_none() && !change.is_cut_short && change.removed == 0;
        self.finish(&root, change, now)
    }

    fn look_after(&mut self, verdicts: &Verdicts, hosts: &Hosts, now: Instant) -> Applied {
        let Ok(root) = enter(&self.folder) else {
            return self.apply(verdicts, hosts, now);
        };
        self.watch(&root, now);
        if self.is_suspect || !self.is_settled {
            return self.apply(verdicts, hosts, now);
        }
        let standing = self.standing.take().unwrap_or_default();
        let change = Change::new(&root, standing, self.most_time);
        self.finish(&root, change, now)
    }
}

impl Flags {
    /// Notes what has been done, and says how it stands.
    fn finish(&mut self, root: &OwnedFd, mut change: Change<'_>, now: Instant) -> Applied {
        let folder = self.folder.display().to_string();
        let mut applied = Applied {
            refused: self.refused.clone(),
            again: Some(now + WATCH),
            changed: change.changed,
            standing: change.standing.len() as u64,
            ..Applied::default()
        };
        if change.changed > 0 {
            self.changed_at = Some(now);
        }
        if change.is_cut_short {
            applied.again = Some(now);
        }
        for path in &change.touched {
            self.stamps.renew(root, path);
        }
        self.unsynced.append(&mut change.touched);
        if let Some((path, error)) = change.failed {
            let more = match change.failures {
                1 => String::new(),
                more => format!(", and {} more", more - 1),
            };
            applied.failed = Some(format!("{folder}/{path}: {error}{more}"));
            applied.again = applied.again.min(Some(now + RETRY));
        }
        self.standing = Some(change.standing);

        if let Err(error) = self.sync(root, now) {
            applied
                .failed
                .get_or_insert(format!("syncing {folder}: {error}"));
        }
        if !self.unsynced.is_empty() {
            applied.again = applied.again.min(self.sync_at);
        }
        applied
    }
}

fn add_missing(flags: &mut BTreeMap<String, String>, standing: &BTreeMap<String, String>) {
    for (path, content) in standing {
        if !flags.contains_key(path) {
            flags.insert(path.clone(), content.clone());
        }
    }
}

/// What is being done to a folder.
struct Change<'f> {
    root: &'f OwnedFd,
    /// The folder that was worked in last: names come sorted.
    open: Option<(String, OwnedFd)>,
    standing: BTreeMap<String, String>,
    touched: BTreeSet<String>,
    changed: u64,
    /// Of these, so many are gone.
    removed: u64,
    failures: u64,
    failed: Option<(String, io::Error)>,
    until: Instant,
    /// The rest has to wait for the next call.
    is_cut_short: bool,
}

impl<'f> Change<'f> {
    fn new(root: &'f OwnedFd, standing: BTreeMap<String, String>, most_time: Duration) -> Self {
        Self {
            root,
            open: None,
            standing,
            touched: BTreeSet::new(),
            changed: 0,
            removed: 0,
            failures: 0,
            failed: None,
            until: Instant::now() + most_time,
            is_cut_short: false,
        }
    }

    /// Makes those that are missing, or have another content.
    fn make(&mut self, flags: &BTreeMap<String, String>) {
        for (path, content) in flags {
            if self.standing.get(path) == Some(content) {
                continue;
            }
            if self.is_enough() {
                return;
            }
            match self.make_one(path, content) {
                Ok(()) => {
                    self.standing.insert(path.clone(), content.clone());
                    self.changed += 1;
                }
                Err(error) => {
                    let is_hopeless = is_hopeless(&error);
                    self.fail(path, error);
                    if is_hopeless {
                        return;
                    }
                }
            }
        }
    }

    fn make_one(&mut self, path: &str, content: &str) -> io::Result<()> {
        let (parent, name) = split(path)?;
        self.enter(parent)?;
        let folder = self.open.as_ref().map_or(self.root, |(_, open)| open);
        if content.is_empty() && !self.standing.contains_key(path) {
            make_empty(folder, name)?;
        } else {
            publish_at(
                folder.as_fd(),
                OsStr::new(name),
                content.as_bytes(),
                FILE_MODE,
            )?;
        }
        self.touch(parent);
        Ok(())
    }

    /// Removes those that are not wanted.
    fn remove(&mut self, flags: &BTreeMap<String, String>) {
        let unwanted = self
            .standing
            .keys()
            .filter(|path| !flags.contains_key(*path));
        self.remove_all(unwanted.cloned().collect());
    }

    /// Removes these, as far as they stand.
    fn remove_all(&mut self, unwanted: Vec<String>) {
        for path in unwanted {
            if self.is_enough() {
                return;
            }
            match self.remove_one(&path) {
                Ok(()) => {
                    self.standing.remove(&path);
                    self.changed += 1;
                    self.removed += 1;
                }
                Err(error) => {
                    let is_hopeless = error.kind() == io::ErrorKind::ReadOnlyFilesystem;
                    self.fail(&path, error);
                    if is_hopeless {
                        return;
                    }
                }
            }
        }
    }

    fn remove_one(&mut self, path: &str) -> io::Result<()> {
        let (parent, name) = split(path)?;
        if self.open.as_ref().is_none_or(|(open, _)| open != parent) {
            match open_below(self.root, parent) {
                Ok(folder) => self.open = Some((parent.to_owned(), folder)),
                Err(Errno::NOENT) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        let folder = self.open.as_ref().map_or(self.root, |(_, open)| open);
        match fs::unlinkat(folder, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        self.touch(parent);
        // The folder of a host goes with its last flag; it is not empty while there are others.
        if parent.contains('/') {
            let _ = fs::unlinkat(self.root, parent, AtFlags::REMOVEDIR);
            self.open = None;
        }
        Ok(())
    }

    /// Opens the folder of a flag; makes it if need be.
    fn enter(&mut self, path: &str) -> io::Result<()> {
        if self.open.as_ref().is_some_and(|(open, _)| open == path) {
            return Ok(());
        }
        let mut folder = enter_at(self.root)?;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            folder = step(folder.as_fd(), OsStr::new(name))?;
        }
        self.open = Some((path.to_owned(), folder));
        Ok(())
    }

    /// Whether it has taken long enough.
    fn is_enough(&mut self) -> bool {
        let looks = self.changed > 0 && self.changed.is_multiple_of(BETWEEN_LOOKS);
        self.is_cut_short |= looks && Instant::now() >= self.until;
        self.is_cut_short
    }

    fn touch(&mut self, folder: &str) {
        if !self.touched.contains(folder) {
            self.touched.insert(folder.to_owned());
        }
    }

    fn fail(&mut self, path: &str, error: io::Error) {
        self.failures += 1;
        self.failed.get_or_insert((path.to_owned(), error));
    }
}

/// The folder below ours, and the name in it. No way leads out.
fn split(path: &str) -> io::Result<(&str, &str)> {
    let is_name = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
    if !path.split('/').all(is_name) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is no name of a flag",
        ));
    }
    Ok(path.rsplit_once('/').unwrap_or(("", path)))
}

fn make_empty(folder: &OwnedFd, name: &str) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(FILE_MODE);
    match fs::openat(folder, name, flags, mode) {
        // Whatever the umask says.
        Ok(file) => Ok(fs::fchmod(&file, mode)?),
        // Somebody has made it, or something else: let that be looked at.
        Err(Errno::EXIST) => {
            publish_at(folder.as_fd(), OsStr::new(name), b"", FILE_MODE).map(|_| ())
        }
        Err(error) => Err(error.into()),
    }
}

fn enter_at(folder: &OwnedFd) -> io::Result<OwnedFd> {
    Ok(open_below(folder, "")?)
}

/// Opens a folder below ours, not through symbolic links.
fn open_below(root: &OwnedFd, path: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut folder = fs::openat(root, ".", flags, Mode::empty())?;
    for name in path.split('/').filter(|name| !name.is_empty()) {
        folder = fs::openat(&folder, name, flags, Mode::empty())?;
    }
    Ok(folder)
}

/// What fails once fails for all others.
fn is_hopeless(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::PermissionDenied
    )
}

#[cfg(test)]
mod tests;
