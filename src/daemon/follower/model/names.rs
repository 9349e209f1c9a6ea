//! What happens to the names of logs: renamed, rotated, switched, deleted, linked.

use std::fs;
use std::path::{Path, PathBuf};

use super::world::{Log, Name, Scheme, World};

impl World {
    pub(super) fn rename(&mut self, from: &Path, to: &Path, tells: bool) {
        let Some(mut name) = self.names.remove(from) else {
            return;
        };
        fs::rename(from, to).expect("our own folder");
        name.tells = tells;
        if let Some(old) = self.names.insert(to.to_owned(), name) {
            self.unlinked(old.inode);
        }
        self.names_changed();
    }

    pub(super) fn unlink(&mut self, path: &Path) {
        if let Some(name) = self.names.remove(path) {
            fs::remove_file(path).expect("our own file");
            self.names_changed();
            self.unlinked(name.inode);
        }
    }

    pub(super) fn unlinked(&mut self, inode: usize) {
        let log = self.inodes[inode].log;
        self.logs[log].no_more_alike |= self.inodes[inode].is_alike;
        self.may_have_gaps = true;
        self.done.deleted += 1;
    }

    /// Files of a log that begin alike can be told apart only as long as all of them are there.
    pub(super) fn may_end(&self, inode: usize) -> bool {
        let of_log = |it: &&Name| {
            let other = &self.inodes[it.inode];
            other.is_alike && other.log == self.inodes[inode].log
        };
        !self.inodes[inode].is_alike || self.names.values().filter(of_log).count() < 2
    }

    pub(super) fn rotation_folder(&self, log: usize) -> PathBuf {
        match self.logs[log].scheme {
            Scheme::OldDir => self.folder.join("logs/old"),
            _ => self.folder.join("logs"),
        }
    }

    /// The rotations of a log, the oldest first, each with its number and what follows it.
    pub(super) fn rotations(&self, log: usize) -> Vec<(u32, String, PathBuf)> {
        let of: &Log = &self.logs[log];
        let dash = if of.scheme == Scheme::Dates { '-' } else { '.' };
        let start = format!(
            "{}{dash}",
            of.path.file_name().unwrap_or_default().display()
        );
        let folder = self.rotation_folder(log);
        let mut found = Vec::new();
        for path in self
            .names
            .keys()
            .filter(|path| path.parent() == Some(&folder))
        {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let Some(rest) = name.strip_prefix(&start) else {
                continue;
            };
            let (number, ending) = match rest.split_once('.') {
                Some((number, ending)) => (number, format!(".{ending}")),
                None => (rest, String::new()),
            };
            if let Ok(number) = number.parse() {
                found.push((number, ending, path.clone()));
            }
        }
        found.sort();
        if of.scheme != Scheme::Dates {
            found.reverse();
        }
        found
    }

    /// Makes room for the next rotation; returns its name. `None`: not now.
    pub(super) fn next_rotation(&mut self, log: usize) -> Option<PathBuf> {
        let of = &self.logs[log];
        let name = of.path.file_name()?.to_str()?.to_owned();
        let folder = self.rotation_folder(log);
        match of.scheme {
            Scheme::Link => None,
            Scheme::Dates => {
                self.logs[log].generation += 1;
                let date = 20_260_100 + self.logs[log].generation;
                Some(folder.join(format!("{name}-{date}")))
            }
            Scheme::Numbers | Scheme::OldDir => {
                if self.packing.is_some() {
                    return None;
                }
                for (number, ending, path) in self.rotations(log) {
                    let to = folder.join(format!("{name}.{}{ending}", number + 1));
                    self.rename(&path, &to, true);
                }
                Some(folder.join(format!("{name}.1")))
            }
        }
    }

    /// Rotates; `stays`: a worker goes on writing to the old file.
    pub(super) fn rotate(&mut self, log: usize, stays: bool, create: bool, alike: bool) {
        if self.logs[log].scheme == Scheme::Link {
            return self.switch(log, stays, alike);
        }
        let path = self.logs[log].path.clone();
        if !self.names.contains_key(&path) {
            return;
        }
        let Some(to) = self.next_rotation(log) else {
            return;
        };
        self.rename(&path, &to, true);
        self.done.rotations += 1;
        self.leave(log, stays);
        if create {
            self.create(log, alike);
        }
    }

    /// The writer goes to a new file; `stays`: a worker stays with the old one.
    pub(super) fn leave(&mut self, log: usize, stays: bool) {
        if !stays {
            self.finish(log, None);
        }
        let writer = self.logs[log].writer.take();
        self.logs[log].old.extend(writer.filter(|_| stays));
    }

    pub(super) fn switch(&mut self, log: usize, stays: bool, alike: bool) {
        let Some(writer) = &self.logs[log].writer else {
            return;
        };
        let before = writer.inode;
        for name in self.names.values_mut().filter(|it| it.inode == before) {
            name.tells = false;
        }
        self.leave(log, stays);
        self.may_have_gaps = true;
        self.done.switched += 1;
        self.create(log, alike);
    }

    /// Renames the log to what is no name of a rotation.
    pub(super) fn put_aside(&mut self, log: usize, stays: bool) {
        let path = self.logs[log].path.clone();
        if self.names.contains_key(&path) {
            self.logs[log].generation += 1;
            let name = format!("aside-{}.bak", self.logs[log].generation * 10);
            let to = path.with_file_name(format!("{log}-{name}"));
            self.rename(&path, &to, false);
            self.may_have_gaps = true;
            self.leave(log, stays);
        }
    }

    pub(super) fn delete(&mut self, log: usize, stays: bool) {
        let path = self.logs[log].path.clone();
        let inode = self.names.get(&path).map(|name| name.inode);
        if inode.is_some_and(|inode| self.may_end(inode)) {
            self.unlink(&path);
            self.leave(log, stays);
        }
    }

    /// The oldest rotation is deleted.
    pub(super) fn prune(&mut self, log: usize) {
        let rotations = self.rotations(log);
        let Some((_, _, path)) = rotations.first().filter(|_| self.packing.is_none()) else {
            return;
        };
        let inode = self.names[path].inode;
        if self.may_end(inode) {
            self.end_workers(inode);
            self.unlink(path);
        }
    }

    /// A second name, which the source finds too.
    pub(super) fn link(&mut self, log: usize) {
        let second = self.folder.join("logs/linked.log");
        if self.names.contains_key(&second) {
            return self.unlink(&second);
        }
        let name = self.names.get(&self.logs[log].path).copied();
        // Its second name is that of another log.
        let name = name.filter(|name| !self.inodes[name.inode].needs_name);
        if let Some(name) = name.filter(|_| self.logs[log].path.ends_with("all.log")) {
            fs::hard_link(&self.logs[log].path, &second).expect("a new link");
            self.names.insert(second, name);
            self.inodes[name.inode].had_names = true;
            self.names_changed();
        }
    }
}
