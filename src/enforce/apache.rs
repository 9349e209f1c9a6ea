//! Apache httpd 2.4: flags that its config looks at with each request, and lines of a map that it
//! reads again when the file changes. Neither needs a reload.
//!
//! Sites are closed by `SetEnvIfExpr` and `<If>` in the config of the main server: that holds for all
//! vhosts, before any password is asked for and before any `.htaccess` is read. Names of users are
//! known only later, so they are asked for in a subrequest of mod_rewrite, which a vhost takes part in
//! only if it has a directive of mod_rewrite of its own.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::folder::{self, Scope, is_target, is_what, places, what};
use super::{Consequences, FlagSet, Hosts, MapSet, Refused};
use crate::config::gate::ApacheGate;
use crate::quota::rule::Consequence;
use crate::quota::verdict::Verdicts;

mod snippet;

/// Begins the map.
const HEADER: &str = "# Written by tollkeeper. What is changed here is written over.\n";

/// Verdicts into flags.
#[must_use]
pub fn flags(verdicts: &Verdicts, hosts: &Hosts) -> FlagSet {
    folder::flags(verdicts, hosts)
}

/// Whether a path below the folder of flags is one that [`flags`] can name.
#[must_use]
pub fn is_flag(path: &str) -> bool {
    folder::is_ours(path)
}

/// Verdicts into lines: `host/a.example`, `class/campus/a.example`, `user/alice` or
/// `at/a.example/alice`, and behind it `deny-429`, `slow-125000` or the whole target of a redirect.
#[must_use]
pub fn map(verdicts: &Verdicts, hosts: &Hosts) -> MapSet {
    let mut set = MapSet::default();
    for (subject, closed) in verdicts.iter() {
        let value = match &closed.consequence {
            Consequence::Redirect { url } => folder::target(url, subject, &closed.quota),
            Consequence::Deny { status } if !(400..=599).contains(status) => {
                Err(format!("{status} is no status to refuse with"))
            }
            other => Ok(what(other)),
        };
        let result = value.and_then(|value| {
            let places = places(subject, hosts)?;
            for (scope, place) in places.found {
                let key = format!("{}/{place}", keyword(scope));
                set.entries.insert(key, value.clone());
            }
            places.missing.map_or(Ok(()), Err)
        });
        if let Err(why) = result {
            let subject = subject.clone();
            set.refused.push(Refused { subject, why });
        }
    }
    set
}

/// What keys of a scope begin with.
fn keyword(scope: Scope) -> &'static str {
    match scope {
        Scope::Host => "host",
        Scope::Class => "class",
        Scope::User => "user",
        Scope::UserAt => "at",
    }
}

/// The lines as bytes of the file.
#[must_use]
pub fn write_map(set: &MapSet) -> Vec<u8> {
    let mut text = HEADER.to_owned();
    for (key, value) in &set.entries {
        text.extend([key.as_str(), " ", value, "\n"]);
    }
    text.into_bytes()
}

/// The lines of such a file; none that [`write_map`] cannot have written.
#[must_use]
pub fn read_map(bytes: &[u8]) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(bytes);
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    let ours = pairs.filter(|(key, value)| {
        // A key is a place below a folder, under another name.
        let place = key.split_once('/');
        let is_key = place.is_some_and(|(keyword_, place)| {
            Scope::ALL.iter().any(|&scope| {
                keyword(scope) == keyword_
                    && folder::is_ours(&format!("{}redirect/{place}", scope.prefix()))
            })
        });
        is_key && (*value != "redirect" && is_what(value) || is_target(value))
    });
    ours.map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

/// What to put into the config of the main server, outside of all `<VirtualHost>`: looks into the
/// folder of flags, or without one into the map. `consequences` are those that can come up; what others
/// do later is not seen until it is pasted anew. `classes`: the networks of all.
#[must_use]
pub fn snippet(
    gate: &ApacheGate,
    consequences: &Consequences,
    classes: &BTreeMap<String, Vec<IpNet>>,
) -> String {
    snippet::snippet(gate, consequences, classes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::verdict::{Closed, Subject};

    #[test]
    fn a_map_is_read_as_it_was_written() {
        let user = |user: &str, vhost: Option<&str>| Subject::User {
            user: user.to_owned(),
            vhost: vhost.map(str::to_owned),
        };
        let class = Subject::Class {
            vhost: "a.example".to_owned(),
            class: "campus".to_owned(),
        };
        let deny = Consequence::Deny { status: 429 };
        let slow = Consequence::Slow {
            bytes_per_second: 9,
        };
        let url = "https://pay.example/".to_owned();
        let closed = [
            (Subject::Vhost("a.example".to_owned()), deny.clone()),
            (Subject::Vhost("::1".to_owned()), slow),
            (class, deny.clone()),
            (user("alice", None), Consequence::Redirect { url }),
            (user("bob", Some("a.example")), deny.clone()),
            (user("a b", None), deny.clone()),
            (Subject::Vhost("a b".to_owned()), deny),
        ];
        let closed = closed.into_iter().map(|(subject, consequence)| {
            let quota = "q".to_owned();
            let until = None;
            (
                subject,
                Closed {
                    consequence,
                    quota,
                    until,
                },
            )
        });
        let verdicts = Verdicts::of(closed);
        let set = map(&verdicts, &Hosts::default());
        assert_eq!((set.entries.len(), set.refused.len()), (5, 2), "{set:?}");
        let bytes = write_map(&set);
        let expected = "class/campus/a.example deny-429\nhost/::1 slow-9\n";
        assert!(String::from_utf8_lossy(&bytes).contains("at/a.example/bob deny-429\n"));
        assert!(String::from_utf8_lossy(&bytes).contains(expected));
        assert_eq!(read_map(&bytes), set.entries);
        let hostile = b"\nhost/a b\nhost/../x deny-429\nhost/a redirect\nhost/a https://x/ y\nx/a deny-429\nuser/a deny-4290\n\xff\n";
        assert_eq!(read_map(hostile), BTreeMap::new());
    }

    #[test]
    fn a_status_that_apache_does_not_know_becomes_one_that_it_knows() {
        let gate = ApacheGate {
            flags: Some("/gate".into()),
            map: None,
        };
        let statuses = [509, 503].map(|status| Consequence::Deny { status });
        let text = snippet(&gate, &statuses.into_iter().collect(), &BTreeMap::new());
        assert!(text.contains("-f '/gate/deny-509/"), "{text}");
        assert!(
            !text.contains("Redirect 509") && !text.contains("R=509"),
            "{text}"
        );
        assert!(
            text.contains("Redirect 503\n") && text.contains("R=503"),
            "{text}"
        );
    }
}
