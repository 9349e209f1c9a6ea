//! `tollkeeper snippet SERVER`: what to paste into a web server's config.

use std::path::PathBuf;
use std::process::ExitCode;

use super::args::Server;
use super::{Failure, Settings, complain, open, print};
use crate::config::gate::{ApacheGate, HaproxyGate, LighttpdGate, NginxGate};
use crate::config::{Config, quota};
use crate::enforce::{apache, consequences, haproxy, lighttpd, nginx, redirects};
use crate::excerpt::printable;
use crate::quota::rule::{Quota, Rules, Who};
use crate::store::StoreError;
use crate::usage::said::Said;

/// Where gates are where the config has none.
const DEFAULT_FOLDER: &str = "/var/lib/tollkeeper/gate";

/// Prints it: for every gate of the server that the config has, else for one in the usual place.
///
/// # Errors
/// When the store cannot be used, or nobody reads the output.
pub(super) fn run(server: Server, settings: &Settings) -> Result<ExitCode, Failure> {
    let config = settings.config.with_side_files()?;
    let rules = rules(&config, settings)?;
    let (consequences, targets) = (consequences(&rules), redirects(&rules));
    let limits_users = |quota: &Quota| matches!(quota.who, Who::User { .. } | Who::Leech(_));
    let needs = haproxy::Needs {
        classes: !rules.classes.is_empty(),
        users: rules.quotas.iter().any(limits_users),
        wildcards: config
            .vhosts
            .aliases
            .keys()
            .any(|name| name.starts_with('*')),
        consequences: consequences.clone(),
    };
    let gates = &settings.config.gates;
    let place = |name: &str| PathBuf::from(DEFAULT_FOLDER).join(name);
    let snippets: Vec<String> = match server {
        Server::Nginx => or_usual(&gates.nginx, || NginxGate {
            flags: Some(place("nginx")),
            map: None,
            reload: None,
        })
        .iter()
        .map(|gate| nginx::snippet(gate, &consequences, &targets, &rules.classes))
        .collect(),
        Server::Apache => or_usual(&gates.apache, || ApacheGate {
            flags: Some(place("apache")),
            map: None,
        })
        .iter()
        .map(|gate| apache::snippet(gate, &consequences, &rules.classes))
        .collect(),
        Server::Lighttpd => or_usual(&gates.lighttpd, || LighttpdGate {
            flags: place("lighttpd"),
        })
        .iter()
        .map(|gate| lighttpd::snippet(gate, &consequences, &rules.classes))
        .collect(),
        Server::Haproxy => or_usual(&gates.haproxy, || HaproxyGate {
            map: place("haproxy.map"),
            sockets: vec![PathBuf::from("/run/haproxy/admin.sock")],
        })
        .iter()
        .map(|gate| haproxy::snippet(gate, &needs))
        .collect(),
    };
    print(&snippets.join("\n"))?;
    Ok(ExitCode::SUCCESS)
}

fn or_usual<G: Clone>(gates: &[G], usual: impl FnOnce() -> G) -> Vec<G> {
    if !gates.is_empty() {
        return gates.to_vec();
    }
    complain(
        "the config has no gate of this server: this is for the usual place; docs/gates has the lines",
    );
    vec![usual()]
}

/// The quotas of the config, and of the tables where the store answers.
fn rules(config: &Config, settings: &Settings) -> Result<Rules, Failure> {
    let said = match open::existing_store(settings) {
        Ok(Some(mut store)) => store.said(),
        Ok(None) => Ok(Said::default()),
        Err(error) => Err(error),
    };
    let said = match said {
        Ok(said) => said,
        Err(error @ StoreError::Unavailable { .. }) => {
            complain(&format!(
                "{error}; going on without the quotas of its tables"
            ));
            Said::default()
        }
        Err(error) => return Err(anyhow::Error::new(error).into()),
    };
    let (rules, faults) = quota::rules(config, &said);
    for fault in &faults {
        complain(&printable(fault));
    }
    Ok(rules)
}
