//! `[class.NAME]`: clients that are told apart by their networks.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::table::Table;
use super::{Reader, parse_label};

/// `[class.NAME]`
#[derive(Debug, Clone)]
pub struct Class {
    /// Its name.
    pub name: String,
    /// Longest match wins.
    pub networks: Vec<IpNet>,
}

impl<'t> Reader<'_, 't> {
    pub(super) fn classes(&mut self, table: Table<'t>) -> Vec<Class> {
        let mut classes: Vec<Class> = Vec::new();
        let mut class_of: BTreeMap<IpNet, String> = BTreeMap::new();
        for (name, mut table) in table.named_tables(self.findings) {
            let place = table.span();
            let texts = table.some_strings("networks", self.findings);
            table.finish(self.findings);
            self.checked(name, parse_label);
            if texts.is_none() {
                let message = format!("the class {:?} has no networks", name.value);
                let help = "add networks = [\"192.0.2.0/24\"]";
                self.findings.report(place, message, help);
            }
            let mut networks = Vec::new();
            for text in texts.unwrap_or_default() {
                let Some(network) = self.checked(text, parse_network) else {
                    continue;
                };
                let earlier = class_of.insert(network, name.value.to_owned());
                if let Some(earlier) = earlier {
                    let message = format!("{network} is in the class {earlier:?} already");
                    let help = "a client has one class: take the network out of one of the lists";
                    self.findings.report(text.span(), message, help);
                }
                networks.push(network);
            }
            classes.push(Class {
                name: name.value.to_owned(),
                networks,
            });
        }
        classes.sort_by(|a, b| a.name.cmp(&b.name));
        classes
    }
}

pub(super) fn parse_network(text: &str) -> Result<IpNet, (String, String)> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    let network: IpNet = text.parse().map_err(|_| {
        let help = "write an address or a network, such as 192.0.2.0/24 or 2001:db8::/32";
        (format!("{text:?} is no network"), help.to_owned())
    })?;
    if network.trunc() != network {
        let message = format!("{text:?} has bits set behind its prefix");
        return Err((message, format!("did you mean {}?", network.trunc())));
    }
    Ok(network)
}
