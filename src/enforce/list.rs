//! A plain list for anything else: the hosts whose gate is closed to everybody, a name a line, sorted,
//! with all aliases; a wildcard alias stands there as `*.suffix`.
//!
//! A list has one thing to say, so it holds those that are refused or sent elsewhere. Sites that are
//! slowed down are not in it, nor are classes and users: the JSON has them all.

use std::collections::BTreeMap;

use super::{Hosts, MapSet, Refused};
use crate::quota::rule::Consequence;
use crate::quota::verdict::{Subject, Verdicts};

/// The names, each with nothing.
#[must_use]
pub fn map(verdicts: &Verdicts, hosts: &Hosts) -> MapSet {
    let mut set = MapSet::default();
    for (subject, closed) in verdicts.iter() {
        let names = match (subject, &closed.consequence) {
            (_, Consequence::Slow { .. }) => Err("a list does not say to slow down"),
            (Subject::Vhost(vhost), _) => Ok(hosts.names_of(vhost)),
            (Subject::Class { .. }, _) => Err("a list has whole sites, no classes"),
            (Subject::User { .. }, _) => Err("a list has sites, no users"),
        };
        let lines = names.and_then(|names| {
            let lines: Vec<String> = names.exact.into_iter().chain(names.wildcards).collect();
            let all = lines.iter().all(|line| is_line(line));
            all.then_some(lines).ok_or("no host has such a name")
        });
        match lines {
            Ok(lines) => {
                let lines = lines.into_iter().map(|line| (line, String::new()));
                set.entries.extend(lines);
            }
            Err(why) => set.refused.push(Refused {
                subject: subject.clone(),
                why: format!("{why}; the JSON has it"),
            }),
        }
    }
    set
}

/// A name or an address, as accounts have it, or `*.suffix`.
fn is_line(line: &str) -> bool {
    let name = line.strip_prefix("*.").unwrap_or(line);
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
    !name.is_empty() && name.bytes().all(is_inner)
}

/// The file.
#[must_use]
pub fn write(set: &MapSet) -> Vec<u8> {
    let names = set.entries.keys();
    names
        .flat_map(|name| [name.as_bytes(), b"\n"].concat())
        .collect()
}

/// The names in a file.
#[must_use]
pub fn read(bytes: &[u8]) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(bytes);
    let names = text.lines().filter(|line| is_line(line));
    names.map(|name| (name.to_owned(), String::new())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::verdict::Closed;

    fn closed(consequence: Consequence) -> Closed {
        Closed {
            consequence,
            quota: "q".to_owned(),
            until: None,
        }
    }

    #[test]
    fn sites_that_are_closed_to_all_with_their_aliases() {
        let aliases = [("alias.org", "b.org"), ("*.b.org", "b.org")];
        let aliases = aliases.map(|(alias, site)| (alias.to_owned(), site.to_owned()));
        let hosts = Hosts::new(aliases.into(), false);
        let deny = || closed(Consequence::Deny { status: 429 });
        let slow = closed(Consequence::Slow {
            bytes_per_second: 1,
        });
        let vhost = |name: &str| Subject::Vhost(name.to_owned());
        let class = Subject::Class {
            vhost: "c.org".to_owned(),
            class: "campus".to_owned(),
        };
        let verdicts = Verdicts::of([
            (vhost("b.org"), deny()),
            (vhost("2001:db8::1"), deny()),
            (vhost("a.org"), slow),
            (vhost("evil\nname"), deny()),
            (class, deny()),
        ]);
        let set = map(&verdicts, &hosts);
        let bytes = write(&set);
        let expected = "*.b.org\n2001:db8::1\nalias.org\nb.org\n";
        assert_eq!(String::from_utf8_lossy(&bytes), expected);
        assert_eq!(set.refused.len(), 3);
        assert_eq!(read(&bytes), set.entries);
    }
}
