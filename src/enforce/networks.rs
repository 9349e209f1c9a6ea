//! The networks of client classes, for servers that do not look for the longest match by themselves.

use std::collections::BTreeMap;

use ipnet::IpNet;

use crate::account::class::Classes;
use crate::config::Class;

/// All networks with their classes, the widest first, so that of all that hold an address the last
/// one counts; of equal ones the last is that of the class that sorts first. A network of IPv6 that
/// holds all mapped addresses comes with that of all IPv4 ones, one of mapped addresses as one of IPv4.
pub(super) fn widest_first(classes: &BTreeMap<String, Vec<IpNet>>) -> Vec<(IpNet, &str)> {
    let mut all: Vec<(u8, IpNet, &str)> = Vec::new();
    // Sorting is stable.
    for (class, networks) in classes.iter().rev() {
        for network in networks {
            match network {
                IpNet::V4(v4) => all.push((96 + v4.prefix_len(), *network, class)),
                IpNet::V6(v6) => {
                    let length = v6.prefix_len();
                    let mapped = v6.network().to_ipv4_mapped();
                    let inside = mapped.zip(length.checked_sub(96));
                    match inside.map(|(address, length)| ipnet::Ipv4Net::new(address, length)) {
                        Some(Ok(v4)) => all.push((length, v4.into(), class)),
                        _ => {
                            all.push((length, *network, class));
                            let first = std::net::Ipv4Addr::UNSPECIFIED;
                            if length < 96 && v6.contains(&first.to_ipv6_mapped()) {
                                all.push((length, ipnet::Ipv4Net::default().into(), class));
                            }
                        }
                    }
                }
            }
        }
    }
    all.sort_by_key(|&(length, _, _)| length);
    all.into_iter()
        .map(|(_, net, class)| (net, class))
        .collect()
}

/// The first address of each range that belongs to one class, or to none, up to the next; as numbers
/// of 128 bits, IPv4 addresses mapped, rising.
pub(super) fn ranges(classes: &BTreeMap<String, Vec<IpNet>>) -> Vec<(u128, Option<String>)> {
    let classes: Vec<Class> = classes
        .iter()
        .map(|(name, networks)| Class {
            name: name.clone(),
            networks: networks.clone(),
        })
        .collect();
    let compiled = Classes::new(&classes);
    let mut ranges: Vec<(u128, Option<String>)> = compiled
        .ranges()
        .map(|(at, class)| (at, class.map(str::to_owned)))
        .collect();
    ranges.dedup_by(|next, before| next.1 == before.1);
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_that_holds_an_address_is_the_longest() {
        let classes = BTreeMap::from([
            ("all", vec!["::/0", "10.1.0.0/16"]),
            (
                "lab",
                vec![
                    "10.1.2.0/24",
                    "::ffff:10.1.3.0/120",
                    "10.1.0.0/16",
                    "2001:db8::/32",
                ],
            ),
        ]);
        let classes = classes
            .into_iter()
            .map(|(name, nets)| {
                let nets = nets.iter().map(|net| net.parse().expect("a network"));
                (name.to_owned(), nets.collect())
            })
            .collect();
        let listed: Vec<String> = widest_first(&classes)
            .iter()
            .map(|(net, class)| format!("{class} {net}"))
            .collect();
        assert_eq!(
            listed,
            [
                "all ::/0",
                "all 0.0.0.0/0",
                "lab 2001:db8::/32",
                "lab 10.1.0.0/16",
                "all 10.1.0.0/16",
                "lab 10.1.2.0/24",
                "lab 10.1.3.0/24",
            ]
        );
        let ranges = ranges(&classes);
        let names: Vec<&str> = ranges
            .iter()
            .filter_map(|(_, class)| class.as_deref())
            .collect();
        assert_eq!(names, ["all", "lab", "all", "lab", "all"], "{ranges:x?}");
    }
}
