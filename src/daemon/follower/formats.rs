//! How the lines of a file are read: by the formats of its source, compiled once for all its files.

use std::sync::Arc;

use tollkeeper_parsers::plan::Carried;

use super::{Follower, shown};
use crate::account::SourceRules;
use crate::daemon::tracked::Tracked;
use crate::detect;
use crate::source::columns;

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
        let is_first = source.plans.is_empty();
        let offset = file.hasher.offset();
        match source.plans_for(bytes, &|| columns::at(&file.file, offset)) {
            Ok((plans, why)) => {
                let vhost = file.vhost.as_deref();
                let folding = &self.rules.folding;
                let mut rules = SourceRules::with_plans(plans, source.users, vhost, folding);
                rules.spooled = source.spool.is_some();
                rules.layer = source.layer.clone();
                match (why.is_empty(), file.is_segment) {
                    (true, _) => {}
                    (false, false) => tracing::info!("{}: {why}", shown(&file.path)),
                    // Once for all of its segments.
                    (false, true) if is_first => tracing::info!("{}: {why}", source.name),
                    (false, true) => {}
                }
                let nothing = Carried::default();
                if rules.vhost.is_none() && !detect::may_name_vhost(&rules.plans, bytes, &nothing) {
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
