//! Verdicts into maps for nginx: a file of whole `map` blocks, to be included within `http {}` behind
//! those of the snippet, which have the same names and no lines.
//!
//! nginx keeps the keys of a map in buckets of 64 bytes, unless somebody sets another size, and
//! refuses the whole config for one key that does not fit. So long keys are regular expressions, in a
//! map of their own that short names never come to. A key is `host NAME`, `class CLASS NAME`,
//! `user USER` or `at USER NAME`; a name may be `*.suffix`.

use std::collections::BTreeMap;

use super::{CLASS_REFUSED, HOST_REFUSED, URL_REFUSED, USER_REFUSED};
use super::{class, host, is_plain_url, pattern, refused, user};
use crate::enforce::{Hosts, MapSet, OPEN, percent_encoded, with_query, word};
use crate::quota::rule::Consequence;
use crate::quota::verdict::{Closed, Subject, Verdicts};

/// The longest key of a hash, with something to spare.
const MAX_HASHED_BYTES: usize = 40;
/// What nginx takes for something else than a key, however it is quoted.
const SPECIAL: [&str; 4] = ["default", "hostnames", "include", "volatile"];

/// The host that is asked for, where a user's quota holds everywhere.
const ASKED_FOR: &str = "$tollkeeper_at";

/// The kinds of keys: the word that they begin with, and what nginx looks up.
pub(super) const KINDS: [(&str, &str); 4] = [
    ("host", "$host"),
    ("class", "$tollkeeper_class $host"),
    ("user", "$tollkeeper_user"),
    ("at", "$tollkeeper_user $host"),
];

/// All lines of these verdicts. The value is `deny-STATUS`, `slow-BYTES` or `to-URL`; in the URL,
/// `$tollkeeper_who` and `$tollkeeper_at` stand for what only nginx knows, matched by then.
#[must_use]
pub fn map(verdicts: &Verdicts, hosts: &Hosts) -> MapSet {
    let mut set = MapSet::default();
    for (subject, closed) in verdicts.iter() {
        match subject {
            Subject::Vhost(site) => each_host(&mut set, subject, closed, site, hosts, "host "),
            Subject::Class { vhost, class: name } => match class(name) {
                Some(class) => {
                    let start = format!("class {class} ");
                    each_host(&mut set, subject, closed, vhost, hosts, &start);
                }
                None => set.refused.push(refused(subject, CLASS_REFUSED)),
            },
            Subject::User { user: name, vhost } => match (user(name), vhost) {
                (None, _) => set.refused.push(refused(subject, USER_REFUSED)),
                (Some(user), None) => match value(closed, ASKED_FOR) {
                    Some(value) => drop(set.entries.insert(format!("user {user}"), value)),
                    None => set.refused.push(refused(subject, URL_REFUSED)),
                },
                (Some(user), Some(site)) => {
                    let start = format!("at {user} ");
                    each_host(&mut set, subject, closed, site, hosts, &start);
                }
            },
        }
    }
    set
}

fn each_host(
    set: &mut MapSet,
    subject: &Subject,
    closed: &Closed,
    site: &str,
    hosts: &Hosts,
    start: &str,
) {
    let Some(value) = value(closed, site) else {
        set.refused.push(refused(subject, URL_REFUSED));
        return;
    };
    let names = hosts.names_of(site);
    // A site that is called `*.example` is none; an alias of that kind is.
    let exact = names.exact.iter().map(|name| host(name));
    for name in exact.chain(names.wildcards.iter().map(|name| pattern(name))) {
        match name {
            Some(name) => drop(set.entries.insert(format!("{start}{name}"), value.clone())),
            None => set.refused.push(refused(subject, HOST_REFUSED)),
        }
    }
    // Others below a wildcard: closed or not, that is said in their own lines.
    for name in names.except.iter().filter_map(|name| pattern(name)) {
        let key = format!("{start}{name}");
        set.entries.entry(key).or_insert_with(|| OPEN.to_owned());
    }
}

fn value(closed: &Closed, vhost: &str) -> Option<String> {
    match &closed.consequence {
        Consequence::Redirect { url } if !is_plain_url(url) => None,
        plain => Some(word(plain, |url| {
            let quota = percent_encoded(&closed.quota);
            let vhost = match vhost {
                ASKED_FOR => ASKED_FOR.to_owned(),
                site => percent_encoded(site),
            };
            let query = [
                ("user", "$tollkeeper_who"),
                ("quota", &quota),
                ("vhost", &vhost),
            ];
            format!("to-{}", with_query(url, &query))
        })),
    }
}

/// The file.
#[must_use]
pub fn write_map(set: &MapSet) -> Vec<u8> {
    let mut text = "# Written by tollkeeper: what is changed here is lost.\n".to_owned();
    for (kind, looked_up) in KINDS {
        write_kind(&mut text, set, kind, looked_up);
    }
    text.into_bytes()
}

fn write_kind(text: &mut String, set: &MapSet, kind: &str, looked_up: &str) {
    let start = format!("{kind} ");
    let of_kind = set.entries.range(start.clone()..);
    let of_kind = of_kind.map_while(|(key, value)| Some((key.strip_prefix(&start)?, value)));
    let (hashed, mut matched): (Vec<_>, Vec<_>) = of_kind.partition(|(key, _)| is_hashed(key));
    // The first that matches counts: names before wildcards, and of these the longer ones.
    matched.sort_by_key(|(key, _)| (key.contains('*'), std::cmp::Reverse(key.len())));

    text.push_str(&format!(
        "map \"{looked_up}\" $tollkeeper_hashed_{kind} {{\n"
    ));
    if kind == "host" {
        text.push_str("    hostnames;\n");
    }
    text.push_str("    default \"\";\n");
    for (key, value) in hashed {
        let escape = if SPECIAL.contains(&key) { "\\\\" } else { "" };
        text.push_str(&format!("    \"{escape}{key}\" \"{value}\";\n"));
    }
    text.push_str("}\n");

    // Names of hosts that are short have no business with expressions. The wildcards of the other kinds
    // are all expressions, whatever the length of what they match.
    let has_wildcards = kind != "host" && matched.iter().any(|(key, _)| key.contains('*'));
    let least = match has_wildcards {
        true => 1,
        false => MAX_HASHED_BYTES + 1,
    };
    let (hashed, long) = (
        format!("$tollkeeper_hashed_{kind}"),
        format!("$tollkeeper_long_{kind}"),
    );
    let (matches, last, otherwise) = match kind {
        // A name that is long is looked for among the long ones first: it may be left open below a
        // wildcard.
        "host" => (format!("$tollkeeper_{kind}_verdict"), None, hashed.as_str()),
        // A name that is short may be left open below a wildcard.
        _ => (
            format!("$tollkeeper_matched_{kind}"),
            Some(format!("$tollkeeper_{kind}_verdict")),
            "\"\"",
        ),
    };
    text.push_str(&format!(
        "map \"{looked_up}\" {long} {{\n    default \"\";\n    \"~^.{{{least}}}\" \"{looked_up}\";\n}}\n\
         map {long} {matches} {{\n    default {otherwise};\n    \"\" {otherwise};\n"
    ));
    for (key, value) in matched {
        text.push_str(&format!("    \"{}\" \"{value}\";\n", expression(key)));
    }
    text.push_str("}\n");
    if let Some(last) = last {
        text.push_str(&format!(
            "map {hashed} {last} {{\n    default {hashed};\n    \"\" {matches};\n}}\n"
        ));
    }
}

/// Whether a key is looked up by its hash. In the map of hosts, `*.suffix` is cut into its labels for
/// that; elsewhere nginx has no wildcards.
fn is_hashed(key: &str) -> bool {
    match key.strip_prefix("*.") {
        Some(suffix) => suffix
            .split('.')
            .all(|label| label.len() <= MAX_HASHED_BYTES),
        None => key.len() <= MAX_HASHED_BYTES && !key.contains('*'),
    }
}

/// `~^\Qname\E\z`. A key holds no backslash.
fn expression(key: &str) -> String {
    let quoted = key.split('*').map(|part| match part {
        "" => String::new(),
        part => format!("\\Q{part}\\E"),
    });
    format!("~^{}\\z", quoted.collect::<Vec<_>>().join(".+"))
}

/// The lines of such a file. What it does not understand is left out.
#[must_use]
pub fn read_map(bytes: &[u8]) -> BTreeMap<String, String> {
    let mut entries = BTreeMap::new();
    let mut kind = "";
    for line in String::from_utf8_lossy(bytes).lines() {
        if line.starts_with("map ") {
            let is_of = |(kind, _): &&(&str, &str)| {
                ["hashed", "matched"]
                    .map(|what| format!(" $tollkeeper_{what}_{kind} "))
                    .iter()
                    .any(|variable| line.contains(variable))
                    || line.contains(&format!(" $tollkeeper_{kind}_verdict "))
            };
            kind = KINDS.iter().find(is_of).map_or("", |(kind, _)| kind);
        }
        let Some((key, value)) = line_of(line).filter(|_| !kind.is_empty()) else {
            continue;
        };
        let key = match key
            .strip_prefix("~^")
            .and_then(|key| key.strip_suffix("\\z"))
        {
            Some(expression) => expression
                .replace("\\E.+\\Q", "*")
                .replace(".+\\Q", "*")
                .replace("\\Q", "")
                .replace("\\E", ""),
            None => key.trim_start_matches('\\').to_owned(),
        };
        if !key.is_empty() {
            entries.insert(format!("{kind} {key}"), value.to_owned());
        }
    }
    entries
}

/// `    "key" "value";`
fn line_of(line: &str) -> Option<(&str, &str)> {
    let quoted = line.strip_prefix("    \"")?.strip_suffix("\";")?;
    quoted.split_once("\" \"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enforce::nginx::tests_support::verdicts;

    #[test]
    fn a_file_is_read_as_it_was_written() {
        let long = ["a".repeat(50), "b".repeat(50), "example".to_owned()].join(".");
        let aliases = [
            ("*.c.example", "a.example".to_owned()),
            ("*.d.c.example", "other.example".to_owned()),
            ("e.c.example", "other.example".to_owned()),
            (&format!("*.{long}"), "a.example".to_owned()),
        ];
        let aliases = aliases.map(|(alias, site)| (alias.to_owned(), site));
        let hosts = Hosts::new(aliases.into(), false);
        let deny = Consequence::Deny { status: 503 };
        let url = "https://x.example/?a=1#b".to_owned();
        let vhost = |name: &str| Subject::Vhost(name.to_owned());
        let at = |user: &str, vhost: Option<&str>| Subject::User {
            user: user.to_owned(),
            vhost: vhost.map(str::to_owned),
        };
        let campus = Subject::Class {
            vhost: "a.example".to_owned(),
            class: "on campus".to_owned(),
        };
        let set = map(
            &verdicts([
                (vhost("a.example"), deny.clone()),
                (vhost("default"), deny.clone()),
                (
                    vhost(&long),
                    Consequence::Slow {
                        bytes_per_second: 7,
                    },
                ),
                (campus, deny.clone()),
                (at("alice", None), Consequence::Redirect { url }),
                (at("bob", Some("d.example")), deny.clone()),
                (vhost("evil\";}"), deny.clone()),
                (at("x y", None), deny),
            ]),
            &hosts,
        );
        assert_eq!(set.refused.len(), 2, "{:?}", set.refused);
        let line = |key: &str| set.entries.get(key).map(String::as_str);
        assert_eq!(line("host a.example"), Some("deny-503"));
        assert_eq!(line("host *.c.example"), Some("deny-503"));
        assert_eq!(line("host *.d.c.example"), Some(OPEN));
        assert_eq!(line("host e.c.example"), Some(OPEN));
        assert_eq!(line(&format!("host {long}")), Some("slow-7"));
        assert_eq!(line("class on%20campus *.c.example"), Some("deny-503"));
        assert_eq!(line("class on%20campus e.c.example"), Some(OPEN));
        assert_eq!(line("at bob d.example"), Some("deny-503"));
        let target =
            "to-https://x.example/?a=1&user=$tollkeeper_who&quota=q%201&vhost=$tollkeeper_at#b";
        assert_eq!(line("user alice"), Some(target));
        assert_eq!(read_map(&write_map(&set)), set.entries);
        assert_eq!(read_map(&write_map(&MapSet::default())), BTreeMap::new());
        assert_eq!(read_map(b"\xff\xfe garbage"), BTreeMap::new());
    }
}
