//! Client addresses into classes, by the longest network that holds them.

use std::net::{IpAddr, Ipv4Addr};

use crate::config::Class;

/// The configured classes, flattened into ranges that do not overlap.
#[derive(Debug, Clone, Default)]
pub struct Classes {
    names: Vec<String>,
    /// (first address as 128 bits, class of the range that begins there), sorted.
    ranges: Vec<(u128, Option<u16>)>,
}

impl Classes {
    /// Compiles the networks; where one lies in another, the longer prefix wins, and of equal ones
    /// the class that was named first.
    #[must_use]
    pub fn new(classes: &[Class]) -> Self {
        let names = classes.iter().map(|class| class.name.clone()).collect();
        let mut networks = Vec::new();
        for (index, class) in classes.iter().enumerate() {
            let Ok(index) = u16::try_from(index) else {
                break;
            };
            for network in &class.networks {
                let first = bits(network.network());
                let host_bits = u32::from(network.max_prefix_len() - network.prefix_len());
                let last = first
                    | 1_u128
                        .checked_shl(host_bits)
                        .map_or(u128::MAX, |size| size - 1);
                networks.push((first, last, index));
            }
        }
        // The widest first: each network overwrites its part of those it lies in.
        networks.sort_by_key(|&(first, last, index)| {
            (std::cmp::Reverse(last - first), std::cmp::Reverse(index))
        });
        let mut ranges = vec![(0, None)];
        for (first, last, index) in networks {
            paint(&mut ranges, first, last, index);
        }
        Self { names, ranges }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The class of a client as logged; `None` for names, and addresses in no class.
    #[must_use]
    pub fn of(&self, client: &[u8]) -> Option<u16> {
        let address: IpAddr = std::str::from_utf8(client).ok()?.parse().ok()?;
        let address = bits(address);
        let behind = self.ranges.partition_point(|&(first, _)| first <= address);
        self.ranges.get(behind.checked_sub(1)?)?.1
    }

    /// The first address of each range of one class, or of none, which goes up to the next; rising, as
    /// 128 bits, IPv4 addresses among the mapped ones.
    pub fn ranges(&self) -> impl Iterator<Item = (u128, Option<&str>)> {
        self.ranges
            .iter()
            .map(|&(first, class)| (first, class.map(|class| self.name(class))))
    }

    /// The name of a class.
    #[must_use]
    pub fn name(&self, class: u16) -> &str {
        self.names
            .get(usize::from(class))
            .map_or("", String::as_str)
    }
}

/// Gives `first..=last` to a class; what lay there is cut.
fn paint(ranges: &mut Vec<(u128, Option<u16>)>, first: u128, last: u128, class: u16) {
    let begins = ranges.partition_point(|&(at, _)| at < first);
    let ends = ranges.partition_point(|&(at, _)| at <= last);
    let behind = ranges[..ends].last().and_then(|&(_, class)| class);
    let mut new = vec![(first, Some(class))];
    let next_starts_there = last
        .checked_add(1)
        .is_none_or(|next| ranges.get(ends).is_some_and(|&(at, _)| at == next));
    if let Some(next) = last.checked_add(1).filter(|_| !next_starts_there) {
        new.push((next, behind));
    }
    ranges.splice(begins..ends, new);
}

/// IPv4 addresses take their place among the mapped ones, so that `::ffff:192.0.2.1` is 192.0.2.1.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => mapped(v4),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn mapped(address: Ipv4Addr) -> u128 {
    address.to_ipv6_mapped().to_bits()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn classes(given: &[(&str, &[&str])]) -> Classes {
        let all: Vec<Class> = given
            .iter()
            .map(|(name, networks)| Class {
                name: (*name).to_owned(),
                networks: networks
                    .iter()
                    .map(|network| network.parse().expect("a network"))
                    .collect(),
            })
            .collect();
        Classes::new(&all)
    }

    #[test]
    fn the_longest_network_wins() {
        let table = classes(&[
            ("campus", &["153.19.0.0/16", "2001:db8::/32"]),
            ("lab", &["153.19.7.0/24", "153.19.7.9/32"]),
            ("all", &["0.0.0.0/0"]),
        ]);
        let name = |client: &str| {
            table
                .of(client.as_bytes())
                .map(|class| table.name(class).to_owned())
        };
        for (client, expected) in [
            ("153.19.1.1", Some("campus")),
            ("153.19.7.1", Some("lab")),
            ("153.19.8.0", Some("campus")),
            ("153.20.0.0", Some("all")),
            ("255.255.255.255", Some("all")),
            ("::ffff:153.19.7.255", Some("lab")),
            ("2001:db8:ffff::1", Some("campus")),
            ("2001:db9::", None),
            ("host.example", None),
            ("", None),
        ] {
            assert_eq!(name(client).as_deref(), expected, "{client}");
        }
    }

    proptest! {
        /// Against the rule, read off the list one network after the other.
        #[test]
        fn equals_a_linear_scan(networks in proptest::collection::vec((any::<u16>(), 16_u8..=32, 0_u16..4), 0..40), probes in proptest::collection::vec(any::<u32>(), 50)) {
            let mut given: Vec<Class> = (0..4).map(|i| Class { name: i.to_string(), networks: Vec::new() }).collect();
            for (high, length, class) in &networks {
                let address = Ipv4Addr::from_bits(0x0a00_0000 | u32::from(*high) << 8);
                let network = ipnet::Ipv4Net::new(address, *length).expect("a length").trunc();
                given[usize::from(*class)].networks.push(network.into());
            }
            let table = Classes::new(&given);
            for probe in probes {
                let client = Ipv4Addr::from_bits(0x0a00_0000 | probe >> 8);
                let mut best: Option<(u8, u16)> = None;
                for (index, class) in given.iter().enumerate() {
                    for network in class.networks.iter().filter(|network| network.contains(&IpAddr::V4(client))) {
                        if best.is_none_or(|(length, _)| network.prefix_len() > length) {
                            best = Some((network.prefix_len(), index as u16));
                        }
                    }
                }
                prop_assert_eq!(table.of(client.to_string().as_bytes()), best.map(|(_, class)| class));
            }
        }
    }
}
