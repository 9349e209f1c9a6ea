//! What the config says and what stands in the tables of the store, together.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::row::{quota_of_row, told};
use super::words::Known;
use crate::config::{Config, VhostRules, owned_vhost, parse_label, parse_network};
use crate::quota::rule::Rules;
use crate::usage::said::Said;

/// Faults that are told of; tables can have millions of rows.
const MAX_FAULTS: usize = 50;

/// Everything that is weighed, and what is wrong with rows of the tables, those among them that could
/// not even be read ([`Said::faults`]); at most 50, and how many more there are. A row at fault is left out,
/// as if it were not there; where config and table contradict each other, the config holds.
#[must_use]
pub fn rules(config: &Config, said: &Said) -> (Rules, Vec<String>) {
    let mut faults = said.faults.clone();
    let owners = owners(&config.owners, said, &config.vhosts, &mut faults);
    let classes = classes(config, said, &mut faults);
    let known = Known {
        owners: owners.keys().map(String::as_str).collect(),
        classes: classes.keys().map(String::as_str).collect(),
        vhosts: &config.vhosts,
    };
    let mut quotas = config.quotas.clone();
    for row in &said.quotas {
        match quota_of_row(row, &known) {
            Ok(quota) => quotas.push(quota),
            Err(told) => faults.extend(told),
        }
    }
    let more = faults.len().saturating_sub(MAX_FAULTS);
    if more > 0 {
        faults.truncate(MAX_FAULTS);
        faults.push(format!("{more} more of these"));
    }
    let rules = Rules {
        quotas,
        owners,
        classes,
    };
    (rules, faults)
}

fn owners(
    of_config: &BTreeMap<String, Vec<String>>,
    said: &Said,
    vhosts: &VhostRules,
    faults: &mut Vec<String>,
) -> BTreeMap<String, Vec<String>> {
    let mut owners = of_config.clone();
    let mut owner_of: BTreeMap<String, String> = BTreeMap::new();
    for (owner, vhosts) in of_config {
        owner_of.extend(vhosts.iter().map(|vhost| (vhost.clone(), owner.clone())));
    }
    let rows: BTreeSet<_> = said.owners.iter().collect();
    for (owner, vhost) in rows {
        let place = format!("owner {owner:?} and vhost {vhost:?}");
        let mut fault = |column: &str, (message, help): (String, String)| {
            faults.push(told("owner", &place, column, &message, &help));
        };
        if let Err(refusal) = parse_label(owner) {
            fault("owner", refusal);
            continue;
        }
        let site = match owned_vhost(vhost, vhosts) {
            Ok(site) => site,
            Err(refusal) => {
                fault("vhost", refusal);
                continue;
            }
        };
        match owner_of.get(&site) {
            Some(other) if other == owner => {}
            Some(other) => {
                let message = format!("{site:?} is owned by {other:?} already");
                let help = match of_config.contains_key(other) {
                    true => {
                        "a site has one owner, and the config holds: delete the row, or change the config"
                    }
                    false => "a site has one owner: delete one of the two rows",
                };
                fault("vhost", (message, help.to_owned()));
            }
            None => {
                owner_of.insert(site.clone(), owner.clone());
                owners.entry(owner.clone()).or_default().push(site);
            }
        }
    }
    owners
}

fn classes(config: &Config, said: &Said, faults: &mut Vec<String>) -> BTreeMap<String, Vec<IpNet>> {
    let mut classes: BTreeMap<String, Vec<IpNet>> = BTreeMap::new();
    let mut class_of: BTreeMap<IpNet, String> = BTreeMap::new();
    for class in &config.classes {
        classes.insert(class.name.clone(), class.networks.clone());
        let networks = class.networks.iter();
        class_of.extend(networks.map(|network| (*network, class.name.clone())));
    }
    let of_config: BTreeSet<String> = classes.keys().cloned().collect();
    let rows: BTreeSet<_> = said.classes.iter().collect();
    for (class, network) in rows {
        let place = format!("class {class:?} and network {network:?}");
        let mut fault = |column: &str, (message, help): (String, String)| {
            faults.push(told("class", &place, column, &message, &help));
        };
        if let Err(refusal) = parse_label(class) {
            fault("class", refusal);
            continue;
        }
        let network = match parse_network(network.trim()) {
            Ok(network) => network,
            Err(refusal) => {
                fault("network", refusal);
                continue;
            }
        };
        match class_of.get(&network) {
            Some(other) if other == class => {}
            Some(other) => {
                let message = format!("{network} is in the class {other:?} already");
                let help = match of_config.contains(other) {
                    true => {
                        "a client has one class, and the config holds: delete the row, or change the config"
                    }
                    false => "a client has one class: delete one of the two rows",
                };
                fault("network", (message, help.to_owned()));
            }
            None => {
                class_of.insert(network, class.clone());
                classes.entry(class.clone()).or_default().push(network);
            }
        }
    }
    classes
}
