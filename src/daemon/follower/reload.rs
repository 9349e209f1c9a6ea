//! A new config while files are followed: what may change changes, and no line is lost or counted
//! twice.
//!
//! It comes into force between two batches: what was read under the old config is handed over first,
//! summed and named by the old rules. Files that are still covered stay open where they are. Files
//! that no source finds any more are read to their end by the rules that they had, committed and let
//! go; their positions stay in the store as living ones, so that a config which covers them again
//! goes on there.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::closed::ClosedFiles;
use super::siblings::Found;
use super::{Ended, Follower, MAX_LEDGER_ACCOUNTS, Source};
use crate::account::SourceRules;
use crate::account::class::Classes;
use crate::config::Config;
use crate::daemon::Names;
use crate::daemon::message::Weighed;
use crate::daemon::time;
use crate::daemon::tracked::{QUIET_INTERVAL, Tracked};
use crate::source::follow::Step;
use crate::source::identity::before_rotation;
use crate::source::position::State;

/// A config that has been read and checked, and is to come into force.
#[derive(Debug)]
pub struct NewConfig {
    /// The config.
    pub config: Config,
    /// Its names, side files included.
    pub names: Names,
    /// Told when it is in force.
    pub done: oneshot::Sender<()>,
}

impl Follower {
    /// Puts a config that waits into force, once no batch is on its way.
    pub(super) fn reload(&mut self, now: Instant) -> Result<(), Ended> {
        if self.in_flight.is_some() {
            return Ok(());
        }
        if let Some(Weighed { watched, classes }) = self.new_weighed.take() {
            // Sums name classes by their place in the list.
            self.flush(now)?;
            watched.let_in(&mut self.growth);
            self.rules.watched = watched;
            self.rules.classes = classes;
            self.tally.forget_names();
            if self.in_flight.is_some() {
                return Ok(());
            }
        }
        let Some(new) = self.new_config.take() else {
            return Ok(());
        };
        // What a stream that goes has left in its spool is counted by its own rules.
        if self.sources.iter().any(|source| source.spool.is_some()) {
            self.search_files();
        }
        // Sums name sites and classes by the rules under which they were read.
        self.flush(now)?;
        let NewConfig {
            config,
            names,
            done,
        } = new;
        self.rules.folding = names.folding;
        match &self.weighing {
            // It also knows the classes of the tables, and says when there are other ones.
            Some((weighing, _)) => weighing.reload(&config, names.hosts),
            None => self.rules.classes = Classes::new(&config.classes),
        }
        self.growth.set_caps(
            config.vhosts.max_new_vhosts_per_day,
            config.vhosts.max_new_users_per_day,
        );
        self.growth.know(names.known);
        self.tally.forget_names();
        self.side_files = super::side_files(&config);
        self.next_flush = self.next_flush.min(now + config.report_interval);
        self.config = config;
        self.resource();
        self.said.forget_all();
        self.make_spools();
        self.left.clear();
        self.counted.clear();
        // Files that the new sources find are taken up at once; so is what was being read when an
        // earlier config stopped covering it.
        self.search = true;
        self.first_search = true;
        self.no_search_before = now;
        tracing::info!("the new config is in force");
        // Whoever asked may have gone.
        let _ = done.send(());
        Ok(())
    }

    /// Gives each file the source that finds it now.
    fn resource(&mut self) {
        let mut found = Found::new();
        let files = self.files.iter();
        let logs: HashMap<u64, PathBuf> = files
            .map(|(id, file)| (*id, self.log_of(file.source, &file.path, &mut found)))
            .collect();
        let old = std::mem::replace(&mut self.sources, Source::of(&self.config, &self.state_dir));
        let mut retired: Vec<Option<usize>> = vec![None; old.len()];
        let mut files = std::mem::take(&mut self.files);
        let now = time::now();
        for (id, file) in &mut files {
            let before = file.source;
            // In an olddir it is the name of its log that tells.
            let log = logs
                .get(id)
                .filter(|_| self.source_of(&file.path).is_none());
            let name = log.unwrap_or(&file.path).clone();
            if let Some(source) = self.source_of(&name) {
                file.leaving = false;
                if file.ends == Some(State::Living) {
                    file.ends = None;
                }
                file.source = source;
                self.renew_rules(file, &old[before], &name);
                if file.stopped.take().is_some() {
                    file.progress.run = 0;
                }
                file.look_again(now);
            } else {
                // It keeps its source, which finds nothing any more, as long as it is held.
                file.leaving = true;
                file.source = self.retire(before, &old, &mut retired);
            }
        }
        self.files = files;
        // All of them is committed: they are taken up again, by the source that finds them now.
        self.closed = ClosedFiles::default();
        let mut archives = std::mem::take(&mut self.archives);
        if let Some((before, log)) = archives.resource(|log| self.source_of(log)) {
            let now = self.source_of(&log);
            let now = now.unwrap_or_else(|| self.retire(before, &old, &mut retired));
            archives.read_for(now);
        }
        self.archives = archives;
    }

    /// The place among the sources of one that finds nothing any more.
    fn retire(&mut self, before: usize, old: &[Source], retired: &mut [Option<usize>]) -> usize {
        *retired[before].get_or_insert_with(|| {
            self.sources.push(old[before].clone().retired());
            self.sources.len() - 1
        })
    }

    /// The rules of a file whose source may have changed. A format that was detected stays where the
    /// operator left it to us before and after: of later lines alone it could not always be told.
    fn renew_rules(&mut self, file: &mut Tracked, old: &Source, name: &Path) {
        let vhost = self.vhost_of(file.source, name);
        let new = &self.sources[file.source];
        let is_as_before = new.formats == old.formats && new.envelope_vhost == old.envelope_vhost;
        let kept = file.rules.take().filter(|_| is_as_before);
        file.rules = kept.map(|rules| {
            let site = vhost.as_ref();
            Arc::new(SourceRules {
                vhost: site.map(|site| self.rules.folding.site(site.as_bytes())),
                credit_users: new.users != Some(crate::config::Users::None),
                users: new.users,
                layer: new.layer.clone(),
                ..SourceRules::clone(&rules)
            })
        });
        if vhost == file.vhost {
            return;
        }
        file.vhost = vhost;
        file.restate = true;
        // It is looked up in another scope from now on; where that cannot be asked, the store finds
        // out at the next flush, and everything is looked up again.
        let scope = file.scope();
        if let Ok(epoch) = self.epochs.look(self.lookups.as_mut(), &scope) {
            file.epoch = epoch;
            if let Some(looked) = file.moves.epoch_mut() {
                *looked = epoch;
            }
        }
    }

    /// The first source that finds a path, or found it before it was rotated.
    pub(super) fn source_of(&self, path: &Path) -> Option<usize> {
        let log = before_rotation(path);
        let finds = |path: &Path| self.sources.iter().position(|source| source.finds(path));
        finds(path).or_else(|| finds(&log))
    }

    /// Reads the files that no source finds any more to their end, and lets them go.
    pub(super) fn leave_files(&mut self, now: Instant) {
        if !self.sources.iter().any(Source::is_retired) {
            return;
        }
        let is_leaving = |file: &Tracked| file.leaving && file.ends.is_none();
        let leaving: Vec<u64> = self
            .files
            .iter()
            .filter(|(_, file)| is_leaving(file))
            .map(|(id, _)| *id)
            .collect();
        for id in leaving {
            if self.tally.ledger.len() >= MAX_LEDGER_ACCOUNTS {
                return;
            }
            let Some(file) = self.files.get_mut(&id) else {
                continue;
            };
            let is_stopped = file.stopped.is_some();
            file.look_again(now);
            if matches!(file.look(now, QUIET_INTERVAL), Ok(Step::BeginAgain)) {
                self.begin_again(id);
                continue;
            }
            let is_done = is_stopped || self.read(id, now, false);
            if let Some(file) = self.files.get_mut(&id).filter(|_| is_done) {
                file.ends = Some(State::Living);
            }
        }
    }
}
