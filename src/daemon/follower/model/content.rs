//! What happens to the content of logs: copied, truncated, replaced, packed.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::world::{Name, Packing, Scheme, World, Writer};

impl World {
    /// `early`: the daemon looks before the first byte is copied.
    pub(super) fn copy(&mut self, from: &Path, to: &Path, tells: bool, early: bool) -> usize {
        let file = File::options().append(true).create(true).open(to);
        let mut file = file.expect("a new file");
        if early {
            file.set_modified(self.now()).expect("our own file");
            self.names_changed();
            self.look();
        }
        let content = fs::read(from).expect("our own file");
        file.write_all(&content).expect("room");
        file.set_modified(self.now()).expect("our own file");
        let log = self.inodes[self.names[from].inode].log;
        let inode = self.add_inode(&file, log);
        self.inodes[inode].is_alike = self.inodes[self.names[from].inode].is_alike;
        self.names.insert(to.to_owned(), Name { inode, tells });
        self.names_changed();
        inode
    }

    pub(super) fn move_lines(&mut self, from: usize, to: usize) {
        for line in self.lines.iter_mut().filter(|line| line.inode == from) {
            line.inode = to;
        }
    }

    /// The daemon looks, and what it found is committed.
    fn look(&mut self) {
        self.machine.pass(Duration::from_secs(6));
        self.machine.tell();
        self.machine.turn();
        self.machine.commit();
        self.moment();
    }

    /// Copies the log to its next rotation and truncates it. `look`: the daemon looks between; `early`:
    /// and when the copy is still empty.
    pub(super) fn copytruncate(&mut self, log: usize, look: bool, early: bool) {
        let path = self.logs[log].path.clone();
        let Some(name) = self.names.get(&path).copied() else {
            return;
        };
        let names = self.names.values().filter(|it| it.inode == name.inode);
        if !self.may_end(name.inode) || self.logs[log].writer.is_none() || names.count() > 1 {
            return;
        }
        let Some(to) = self.next_rotation(log) else {
            return;
        };
        self.finish(log, None);
        self.end_workers(name.inode);
        let copy = self.copy(&path, &to, true, early);
        if look {
            self.moment();
            self.machine.turn();
            self.moment();
        }
        self.truncate_file(log, name.inode);
        self.move_lines(name.inode, copy);
    }

    /// Truncates the log; what was not counted is gone.
    pub(super) fn truncate(&mut self, log: usize) {
        let name = self.names.get(&self.logs[log].path).copied();
        let Some(name) = name.filter(|name| self.may_end(name.inode)) else {
            return;
        };
        if self.logs[log].writer.is_none() {
            return;
        }
        self.finish(log, None);
        self.end_workers(name.inode);
        for line in self.lines.iter_mut().filter(|it| it.inode == name.inode) {
            line.must = false;
        }
        self.truncate_file(log, name.inode);
    }

    pub(super) fn truncate_file(&mut self, log: usize, inode: usize) {
        if let Some(writer) = &self.logs[log].writer {
            writer.file.set_len(0).expect("our own file");
            writer.file.set_modified(self.now()).expect("our own file");
        }
        self.logs[log].no_more_alike |= self.inodes[inode].is_alike;
        self.inodes[inode].is_alike = false;
        self.inodes[inode].needs_name = true;
        self.may_have_gaps = true;
        self.done.truncated += 1;
    }

    /// A copy takes the place of the log, as an editor does it.
    pub(super) fn replace(&mut self, log: usize, look: bool, early: bool) {
        let path = self.logs[log].path.clone();
        let Some(name) = self.names.get(&path).copied() else {
            return;
        };
        // By another name it would be a short log that begins like this one.
        let names = self.names.values().filter(|it| it.inode == name.inode);
        if self.logs[log].scheme == Scheme::Link
            || self.logs[log].writer.is_none()
            || self.inodes[name.inode].is_alike
            || names.count() > 1
        {
            return;
        }
        self.finish(log, None);
        self.end_workers(name.inode);
        let beside = path.with_file_name(format!("edited-{log}"));
        let copy = self.copy(&path, &beside, false, early);
        if look {
            self.moment();
            self.machine.turn();
            self.moment();
        }
        self.inodes[copy].needs_name = true;
        self.rename(&beside, &path, true);
        self.move_lines(name.inode, copy);
        let file = File::options().append(true).open(&path);
        let file = file.expect("our own file");
        self.logs[log].writer = Some(Writer { file, inode: copy });
    }

    /// Begins to pack a rotation; `at_once`: and does it.
    pub(super) fn pack(&mut self, log: usize, youngest: bool, at_once: bool) {
        if self.packing.is_some() {
            return self.finish_packing();
        }
        let plain = self.rotations(log).into_iter();
        let mut plain = plain.filter(|(_, ending, _)| ending.is_empty());
        let chosen = if youngest {
            plain.next_back()
        } else {
            plain.next()
        };
        let Some((_, _, plain)) = chosen else { return };
        let inode = self.names[&plain].inode;
        let names = self.names.values().filter(|it| it.inode == inode);
        // Packers leave alone what has several names.
        if !self.may_end(inode) || names.count() > 1 || self.inodes[inode].had_names {
            return;
        }
        // It is about to go, and could not be told from one that begins alike.
        self.logs[log].no_more_alike |= self.inodes[inode].is_alike;
        self.end_workers(inode);
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let content = fs::read(&plain).expect("our own file");
        encoder.write_all(&content).expect("memory");
        let content = encoder.finish().expect("memory");
        let packed = PathBuf::from(format!("{}.gz", plain.display()));
        fs::write(&packed, &content[..content.len() / 2]).expect("room");
        self.packing = Some(Packing {
            plain,
            packed,
            content,
        });
        let begun = File::options()
            .append(true)
            .open(&self.packing.as_ref().expect("set").packed);
        begun
            .and_then(|file| file.set_modified(self.now()))
            .expect("our own file");
        self.names_changed();
        if at_once {
            self.finish_packing();
        }
    }

    pub(super) fn finish_packing(&mut self) {
        let Some(packing) = self.packing.take() else {
            return;
        };
        let Packing {
            plain,
            packed,
            content,
        } = packing;
        let from = self.names[&plain].inode;
        let modified = plain.metadata().and_then(|there| there.modified());
        let file = File::options().append(true).open(&packed);
        let mut file = file.expect("our own file");
        file.write_all(&content[content.len() / 2..]).expect("room");
        file.set_modified(modified.expect("a time"))
            .expect("our own file");
        let inode = self.add_inode(&file, self.inodes[from].log);
        self.inodes[inode].is_packed = true;
        self.names.insert(packed, Name { inode, tells: true });
        // A position of which nothing was counted is not found again in an empty archive.
        let is_empty = plain.metadata().is_ok_and(|there| there.len() == 0);
        let gaps = self.may_have_gaps || is_empty;
        self.unlink(&plain);
        self.may_have_gaps = gaps;
        self.done.packed += 1;
        self.move_lines(from, inode);
    }
}
