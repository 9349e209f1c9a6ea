//! Logs that name their columns themselves: their formats are explained by the `#Fields` lines that
//! stand in the log.

use std::collections::BTreeSet;

use tollkeeper_parsers::format::w3c::{FIELDS, read_header};
use tollkeeper_parsers::format::{Layout, Spec};
use tollkeeper_parsers::plan::Plan;

use super::super::check::CheckReport;
use super::describe_plan;

/// Headers of one log that are explained.
const MAX_HEADERS: usize = 8;

/// The `#Fields` lines of a log.
pub(super) struct Headers {
    plans: Vec<Plan>,
    seen: BTreeSet<String>,
    name_vhost: bool,
}

/// Whether a format leaves it to the log what its columns mean.
pub(super) fn is_columnar(spec: &Spec) -> bool {
    matches!(spec, Spec::Format(format) if matches!(format.layout, Layout::Columns(_)))
}

impl Headers {
    pub(super) fn new(specs: &[Spec]) -> Self {
        let plans = specs.iter().filter_map(|spec| match spec {
            Spec::Format(format) => Plan::compile(format).ok(),
            Spec::Auto | Spec::AutoWithin(_) => None,
        });
        Self {
            plans: plans.collect(),
            seen: BTreeSet::new(),
            name_vhost: false,
        }
    }

    /// Explains those of these lines that were not met before.
    pub(super) fn describe(&mut self, report: &mut CheckReport, lines: &[u8]) {
        if self.plans.is_empty() {
            return;
        }
        for line in lines.split(|byte| *byte == b'\n') {
            if !line.starts_with(FIELDS) || self.seen.len() == MAX_HEADERS {
                continue;
            }
            let Ok(header) = read_header(line) else {
                continue;
            };
            if !self.seen.insert(header.line.clone()) {
                continue;
            }
            for plan in self.plans.iter().filter_map(|plan| plan.with_columns(line)) {
                self.name_vhost |= plan.has_vhost();
                describe_plan(report, &plan, header.line.clone());
            }
        }
    }

    /// Whether there was any.
    pub(super) fn are_found(&self) -> bool {
        !self.seen.is_empty()
    }

    /// Whether one of them names the site.
    pub(super) fn name_vhost(&self) -> bool {
        self.name_vhost
    }
}
