//! The perfect count, and what the store has.
//!
//! A line must be counted once as long as its bytes can be reached by what is guaranteed; once they
//! cannot, it may be counted or not, and is never counted twice.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;

use super::machine::Kill;
use super::world::{Inode, Line, World};

impl World {
    /// The daemon is stopped in order, or killed while it stops. A stop in order has counted also what
    /// is held alone, and by no name.
    pub(super) fn stop(&mut self, kill: Option<(usize, Kill)>) -> Result<(), String> {
        let mut held_alone = Vec::new();
        for line in self.lines.iter().filter(|line| line.must && line.is_whole) {
            let is_named = self.names.values().any(|name| name.inode == line.inode);
            if !is_named && self.machine.holds(&self.inodes[line.inode].place) {
                held_alone.push(line.key.clone());
            }
        }
        if self.machine.stop(kill) {
            let counted = self.machine.counted();
            if let Some(key) = held_alone.iter().find(|key| !counted.contains_key(*key)) {
                return Err(format!(
                    "{key} was held by the daemon that stopped, and is not counted"
                ));
            }
        }
        Ok(())
    }

    /// What cannot be reached any more need not be counted.
    pub(super) fn review(&mut self) {
        for inode in 0..self.inodes.len() {
            let concerned = |line: &Line| line.inode == inode && line.must;
            if self.lines.iter().any(concerned) && !self.is_reachable(inode) {
                for line in self.lines.iter_mut().filter(|line| line.inode == inode) {
                    line.must = false;
                }
            }
        }
    }

    pub(super) fn is_reachable(&mut self, inode: usize) -> bool {
        let mut names = self.names.values().filter(|name| name.inode == inode);
        let is_named = names.clone().next().is_some();
        if names.any(|name| name.tells) {
            return true;
        }
        let place = self.inodes[inode].place;
        if self.inodes[inode].is_packed {
            return false;
        }
        let is_held = self.machine.is_running() && self.machine.holds(&place);
        match (is_named, self.few_held || !self.machine.is_running()) {
            // By its inode alone nobody knows what it came to hold.
            (true, true) => {
                is_held
                    || !self.inodes[inode].needs_name
                        && !self.machine.ends(&place)
                        && self.machine.knows(&place)
            }
            (true, false) => is_held,
            (false, true) => false,
            (false, false) => is_held,
        }
    }

    /// Nothing is counted that was not written, and nothing twice.
    pub(super) fn check_not_too_much(&mut self) -> Result<(), String> {
        let written = self.written();
        for (key, times) in self.machine.counted() {
            let most = written.get(&key).map_or(0, |(_, most)| *most);
            if times > most {
                return Err(format!(
                    "{key} is counted {times} times, written {most} times"
                ));
            }
        }
        Ok(())
    }

    /// Of each line, how often it must be counted at least and at most.
    pub(super) fn written(&self) -> BTreeMap<String, (u64, u64)> {
        let mut written: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for line in self.lines.iter().filter(|line| line.is_whole) {
            let times = written.entry(line.key.clone()).or_default();
            times.0 += u64::from(line.must && !self.may_be_copy(line.inode));
            times.1 += 1;
        }
        written
    }

    /// What holds nothing but what others of its log begin with is taken for a copy of them.
    pub(super) fn may_be_copy(&self, inode: usize) -> bool {
        let of: &Inode = &self.inodes[inode];
        let lines = self.lines.iter();
        let is_short = lines.filter(|it| it.inode == inode && it.is_whole).count() < 2;
        let mut others = self.inodes.iter().enumerate();
        is_short
            && of.is_alike
            && others.any(|(other, it)| other != inode && it.is_alike && it.log == of.log)
    }

    /// All that must be counted is, once; the totals and the balance are those of the lines.
    pub(super) fn check(&mut self) -> Result<(), String> {
        self.check_not_too_much()?;
        let counted = self.machine.counted();
        let mut missing = Vec::new();
        for (key, (least, _)) in self.written() {
            let times = counted.get(&key).copied().unwrap_or(0);
            if times < least {
                missing.push(format!("{key} ({times} of {least})"));
            }
        }
        if !missing.is_empty() {
            let gaps = self.machine.gaps();
            return Err(format!(
                "not counted: {}\ngaps: {gaps:#?}",
                missing.join(", ")
            ));
        }
        let sent: BTreeMap<&str, u64> = self
            .lines
            .iter()
            .map(|line| (&*line.key, line.sent))
            .collect();
        let mut totals: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for (key, times) in &counted {
            let vhost = key.split(' ').next().unwrap_or_default().to_owned();
            let total = totals.entry(vhost).or_default();
            total.0 += sent.get(&**key).copied().unwrap_or(0) * times;
            total.1 += times;
        }
        let stored = self.machine.totals();
        if stored != totals {
            return Err(format!("rows are {stored:?}, users come to {totals:?}"));
        }
        let lines: u64 = counted.values().sum();
        let balance = self.machine.balance();
        if balance != (lines, 0) {
            return Err(format!(
                "the balance is {balance:?}, the rows have {lines} lines"
            ));
        }
        let gaps = self.machine.gaps();
        // Of files that were closed, a gap can be told that is none.
        if !self.may_have_gaps && !self.few_held && !gaps.is_empty() {
            return Err(format!("nothing was lost, and there are gaps: {gaps:#?}"));
        }
        self.done.commits = self.machine.commits;
        self.done.overtaken = self.machine.overtaken;
        self.done.must = self
            .lines
            .iter()
            .filter(|it| it.must && it.is_whole)
            .count() as u64;
        Ok(())
    }

    /// Where `MODEL_SAY` is set, says after each event how everything is.
    pub(super) fn say(&mut self, what: &str) {
        if std::env::var_os("MODEL_SAY").is_some() {
            let positions = self.machine.positions();
            eprintln!("== {what}\n{}{positions}", self.listing());
        }
    }

    /// What lies in the folders, for whoever reads of a failure.
    pub(super) fn listing(&self) -> String {
        let mut listing = String::new();
        for (path, name) in &self.names {
            let inode = path.metadata().map_or(0, |there| there.ino());
            let lines = self.lines.iter().filter(|line| line.inode == name.inode);
            let lines: Vec<&str> = lines.map(|line| &*line.key).collect();
            let path = path.strip_prefix(&self.folder).unwrap_or(path);
            listing += &format!("{} inode {inode}: {}\n", path.display(), lines.join(", "));
        }
        listing
    }
}
