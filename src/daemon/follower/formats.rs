//! How the lines of a file are read: by the formats of its source, compiled once for all its files.

use std::sync::Arc;

use tollkeeper_parsers::plan::Plan;

use super::{Compiled, Follower, Source, shown};
use crate::account::{self, SourceRules};
use crate::daemon::tracked::Tracked;
use crate::detect;

impl Follower {
    /// How a file's lines are read: detected from these, where the operator left it to us. `None`: it
    /// cannot be told, which is said.
    pub(super) fn rules_of(
        &mut self,
        file: &mut Tracked,
        bytes: &[u8],
    ) -> Option<Arc<SourceRules>> {
        if let Some(rules) = &file.rules {
            return Some(Arc::clone(rules));
        }
        let source = &mut self.sources[file.source];
        match source.plans_for(bytes) {
            Ok((plans, why)) => {
                let vhost = file.vhost.as_deref();
                let folding = &self.rules.folding;
                let rules = SourceRules::with_plans(plans, source.users, vhost, folding);
                if !why.is_empty() {
                    tracing::info!("{}: {why}", shown(&file.path));
                }
                if rules.vhost.is_none() && !rules.plans.iter().any(Plan::has_vhost) {
                    self.say(&file.path.clone(), detect::NO_VHOST.to_owned());
                }
                let rules = Arc::new(rules);
                file.rules = Some(Arc::clone(&rules));
                Some(rules)
            }
            Err(why) => {
                self.say(&file.path.clone(), why);
                None
            }
        }
    }
}

impl Source {
    /// The plans for a file that begins with these lines, and how they were chosen; else why there
    /// are none.
    fn plans_for(&mut self, bytes: &[u8]) -> Result<(Arc<[Plan]>, String), String> {
        let mut formats = self.formats.clone();
        let mut why = String::new();
        let mut detected = Vec::new();
        for spec in formats.iter_mut().filter(|spec| spec.is_auto()) {
            let (found, note) = detect::detect(spec, bytes)?;
            detected.push(found.clone());
            *spec = found;
            why = note;
        }
        let known = self.plans.iter().find(|known| known.detected == detected);
        if let Some(known) = known {
            return Ok((Arc::clone(&known.plans), why));
        }
        let plans = account::compile(&formats)
            .map_err(|(_, error)| format!("its format cannot be used: {error}"))?;
        let ours = Arc::clone(&plans);
        self.plans.push(Compiled { detected, plans });
        Ok((ours, why))
    }
}
