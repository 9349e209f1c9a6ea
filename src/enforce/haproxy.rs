//! HAProxy: a map that it reads at its start and that its runtime socket changes while it runs.
//!
//! Keys say what they are of, so that no host that a client makes up is taken for a class or a user:
//!
//! ```text
//! vhost/example.org          deny-429
//! class/campus/example.org   https://pay.example/?quota=month&vhost=example.org
//! user/alice                 deny-503
//! user/alice/example.org     slow-125000
//! alias/*.example.org        example.org
//! alias/other.example.org    other.example.org
//! ```
//!
//! The last two lead from all names below a wildcard alias to the site, but for those that are others'.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ipnet::IpNet;

pub use self::snippet::{Needs, snippet};
use super::{Hosts, MapSet, Refused, is_plain_user, percent_encoded, with_query, word};
use crate::quota::verdict::{Subject, Verdicts};

mod snippet;

/// A line of the map file is read into a buffer of 16 KiB, and so is a command of the runtime socket: a
/// key and a value have to fit, and both have an end.
pub const MAX_WORD_BYTES: usize = 4 * 1024;

/// The lines of the map.
#[must_use]
pub fn map(verdicts: &Verdicts, hosts: &Hosts) -> MapSet {
    let mut set = MapSet::default();
    for (subject, closed) in verdicts.iter() {
        let value = word(&closed.consequence, |url| {
            redirect_target(url, subject, &closed.quota)
        });
        match lines(subject, value, hosts).and_then(checked) {
            Ok(lines) => set.entries.extend(lines),
            Err(why) => set.refused.push(Refused {
                subject: subject.clone(),
                why,
            }),
        }
    }
    set
}

type Line = (String, String);

/// The lines of a subject: one for each name that its site has.
fn lines(subject: &Subject, value: String, hosts: &Hosts) -> Result<Vec<Line>, String> {
    let refused = |what: &str| Err(format!("HAProxy is told of {what} alone"));
    let (start, vhost) = match subject {
        Subject::Vhost(vhost) => ("vhost/".to_owned(), Some(vhost)),
        Subject::Class { class, .. } if !is_label(class) => {
            return refused("classes of letters, digits and . _ -");
        }
        Subject::Class { vhost, class } => (format!("class/{class}/"), Some(vhost)),
        Subject::User { user, .. } if !is_plain_user(user) => {
            return refused("users of letters, digits and . _ @ -");
        }
        Subject::User { user, vhost: None } => (format!("user/{user}"), None),
        Subject::User { user, vhost } => (format!("user/{user}/"), vhost.as_ref()),
    };
    let Some(vhost) = vhost else {
        return Ok(vec![(start, value)]);
    };
    let names = hosts.names_of(vhost);
    let mut lines: Vec<Line> = Vec::with_capacity(names.exact.len());
    for wildcard in names.wildcards {
        lines.push((format!("alias/{wildcard}"), vhost.clone()));
    }
    for other in names.except {
        let site = match other.starts_with("*.") {
            true => hosts.billed(&other).to_owned(),
            false => other.clone(),
        };
        lines.push((format!("alias/{other}"), site));
    }
    for name in names.exact {
        lines.push((format!("{start}{name}"), value.clone()));
    }
    Ok(lines)
}

/// Nothing of these ends a line of the file or a command of the socket, or is a second one.
fn checked(lines: Vec<Line>) -> Result<Vec<Line>, String> {
    for word in lines.iter().flat_map(|(key, value)| [key, value]) {
        if word.len() > MAX_WORD_BYTES {
            return Err(format!("longer than {MAX_WORD_BYTES} bytes"));
        }
        if !is_word(word) {
            return Err("HAProxy takes no such name, or no such target, in a map".to_owned());
        }
    }
    Ok(lines)
}

/// Whether a key, a value or a path is one word to a map file and to the runtime socket: printable
/// ASCII without blanks, `;`, `\`, `<`, `>` and quotes, and not one of the socket's own marks, `@1`.
#[must_use]
pub fn is_word(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_graphic() && !br#";\<>"'`"#.contains(&byte);
    !text.is_empty() && !text.starts_with(['@', '#']) && text.bytes().all(is_inner)
}

/// A class: it stands between slashes, and in the file of networks.
fn is_label(class: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !class.is_empty() && class.bytes().all(is_inner)
}

/// Where a client is sent, with what there is to say of the account in its query: what there is not is
/// left out.
fn redirect_target(url: &str, subject: &Subject, quota: &str) -> String {
    let (user, vhost) = (subject.user(), subject.vhost());
    let pairs = [("user", user), ("quota", Some(quota)), ("vhost", vhost)];
    let encoded = pairs.map(|(name, value)| (name, value.map(percent_encoded)));
    let pairs = encoded.iter();
    let pairs = pairs.filter_map(|(name, value)| Some((*name, value.as_deref()?)));
    with_query(url, &pairs.collect::<Vec<_>>())
}

/// Where the networks of client classes are written, beside the map.
#[must_use]
pub fn networks_path(map: &Path) -> PathBuf {
    let mut path = map.as_os_str().to_owned();
    path.push(".networks");
    path.into()
}

/// The lines of that file: of several networks that a client is in, HAProxy takes the longest, as the
/// accounts do.
#[must_use]
pub fn networks(classes: &BTreeMap<String, Vec<IpNet>>) -> BTreeMap<String, String> {
    let classes = classes.iter().filter(|(class, _)| is_label(class));
    let lines = classes.flat_map(|(class, networks)| {
        let networks = networks.iter();
        networks.map(move |network| (network.trunc().to_string(), class.clone()))
    });
    lines.collect()
}

/// A map file.
#[must_use]
pub fn text(entries: &BTreeMap<String, String>) -> String {
    let mut text = String::from("# Written by tollkeeper.\n");
    for (key, value) in entries {
        text.extend([key, " ", value, "\n"]);
    }
    text
}

/// What stands in a map file.
#[must_use]
pub fn parse(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let entries = lines.filter_map(|line| line.split_once(' '));
    let words = entries.filter(|(key, value)| is_word(key) && is_word(value));
    words
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_ends_neither_a_line_nor_a_command() {
        for word in [
            "vhost/a.org",
            "https://x.example/?a=b&c=%20#d",
            "alias/*.a.org",
        ] {
            assert!(is_word(word), "{word}");
        }
        for text in [
            "", "a b", "a;b", "a\\", "a\n", "@1", "#a", "<<", "a\"b", "a'b", "\u{e9}",
        ] {
            assert!(!is_word(text), "{text:?}");
        }
    }

    #[test]
    fn a_file_is_read_as_it_was_written() {
        let networks_of = |networks: &[&str]| {
            let networks = networks.iter().map(|it| it.parse().expect("a network"));
            networks.collect::<Vec<IpNet>>()
        };
        let classes = [
            (
                "campus".to_owned(),
                networks_of(&["10.1.2.3/8", "2001:db8::/32"]),
            ),
            ("no class".to_owned(), networks_of(&["192.0.2.0/24"])),
        ];
        let networks = networks(&classes.into());
        let file = text(&networks);
        let expected = "# Written by tollkeeper.\n10.0.0.0/8 campus\n2001:db8::/32 campus\n";
        assert_eq!(file, expected);
        assert_eq!(parse(&file), networks);
        assert!(parse("\0\u{e9}\n a b\nkey\nevil; b\n").is_empty());
    }
}
