//! `tollkeeper quota`: accounts as they are written, how they stand, as text, and the commands.

pub mod account;
mod forecast;
mod json;
mod run;
mod table;

use std::collections::HashMap;

use chrono_tz::Tz;

use crate::quota::rule::{Measure, Quota};
use crate::quota::verdict::Standing;

pub use forecast::spent_at;
pub use json::write_json;
pub use run::run;
pub use table::{write_list, write_show};

/// What is shown.
#[derive(Debug, Clone)]
pub struct View<'v> {
    standings: &'v [Standing],
    measures: HashMap<&'v str, Measure>,
    zone: Tz,
    now: i64,
}

impl<'v> View<'v> {
    /// How accounts stand, in the order in which they are shown; the quotas, which say what is measured;
    /// the store's zone, on whose clock instants are shown; now, in seconds since 1970.
    #[must_use]
    pub fn new(standings: &'v [Standing], quotas: &'v [Quota], zone: Tz, now: i64) -> Self {
        let measures = quotas.iter().map(|quota| (&*quota.name, quota.measure));
        Self {
            standings,
            measures: measures.collect(),
            zone,
            now,
        }
    }

    /// What is measured; `None`: no such quota is known any more.
    fn measure(&self, standing: &Standing) -> Option<Measure> {
        self.measures.get(&*standing.quota).copied()
    }
}

#[cfg(test)]
mod tests;
