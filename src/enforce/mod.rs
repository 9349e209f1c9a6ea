//! Verdicts into what web servers include: names of flags, lines of maps, and what to paste into
//! their config. Pure: touches no files.
//!
//! A name is written only where it is one that the server's grammar takes as it stands; others are
//! refused and listed, never escaped by luck.

use std::collections::{BTreeMap, BTreeSet};

use crate::quota::rule::{Consequence, Rules};
use crate::quota::verdict::Subject;

pub mod apache;
mod folder;
pub mod haproxy;
pub mod hosts;
pub mod json;
pub mod lighttpd;
pub mod list;
mod networks;
pub mod nginx;

pub use hosts::Hosts;

/// Flags: empty files, each named by its path below the folder, such as `deny-429/example.org`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FlagSet {
    /// Those that shall be there, and their content: mostly nothing.
    pub flags: BTreeMap<String, String>,
    /// What cannot be written, and why.
    pub refused: Vec<Refused>,
}

/// The lines of a map.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MapSet {
    /// Each key with its value, in the order of the file.
    pub entries: BTreeMap<String, String>,
    /// What cannot be written, and why.
    pub refused: Vec<Refused>,
}

/// The value of a name that is left open below a wildcard that is closed.
pub const OPEN: &str = "-";

/// A subject that a server cannot be told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Whose gate stays open there.
    pub subject: Subject,
    /// Why, and what to do.
    pub why: String,
}

/// What flags and maps call a consequence: `deny-429`, `slow-125000` (bytes a second). What a redirect
/// is called differs, and is made of its URL.
fn word(consequence: &Consequence, of_redirect: impl FnOnce(&str) -> String) -> String {
    match consequence {
        Consequence::Deny { status } => format!("deny-{status}"),
        Consequence::Slow { bytes_per_second } => format!("slow-{bytes_per_second}"),
        Consequence::Redirect { url } => of_redirect(url),
    }
}

/// What a user's name must be before a server tests it against a folder: these bytes, the first not a
/// point or a dash, at most 64. With that no name leaves the folder or the header that it is written to.
#[must_use]
pub fn is_plain_user(user: &str) -> bool {
    let is_first = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'@';
    let is_inner = |byte: u8| is_first(byte) || byte == b'.' || byte == b'-';
    let bytes = user.as_bytes();
    bytes.len() <= 64
        && bytes.first().copied().is_some_and(is_first)
        && bytes.iter().all(|&b| is_inner(b))
}

/// All statuses, speeds and targets that verdicts can have: what a snippet has to be prepared for.
pub type Consequences = BTreeSet<Consequence>;

/// Each target of a redirect with the quota that sends there: what a snippet has to know where the
/// server sees no more of a verdict than that a flag is there.
pub type Redirects = BTreeSet<(String, String)>;

/// What the quotas of these rules can come to. Those that only report close nothing.
#[must_use]
pub fn consequences(rules: &Rules) -> Consequences {
    let closing = rules.quotas.iter().filter(|quota| !quota.report_only);
    let rungs = closing.flat_map(|quota| &quota.exceeded);
    rungs.map(|rung| rung.consequence.clone()).collect()
}

/// Where the quotas of these rules can send to.
#[must_use]
pub fn redirects(rules: &Rules) -> Redirects {
    let mut redirects = Redirects::new();
    for quota in rules.quotas.iter().filter(|quota| !quota.report_only) {
        for rung in &quota.exceeded {
            if let Consequence::Redirect { url } = &rung.consequence {
                redirects.insert((url.clone(), quota.name.clone()));
            }
        }
    }
    redirects
}

/// A URL with more in its query; the values as they are. What stands behind a `#` stays last.
#[must_use]
pub fn with_query(url: &str, pairs: &[(&str, &str)]) -> String {
    let (base, fragment) = match url.find('#') {
        Some(at) => url.split_at(at),
        None => (url, ""),
    };
    let mut longer = base.to_owned();
    for (key, value) in pairs {
        let joint = match longer.find('?') {
            None => "?",
            Some(_) if longer.ends_with(['?', '&']) => "",
            Some(_) => "&",
        };
        for part in [joint, key, "=", value] {
            longer.push_str(part);
        }
    }
    longer.push_str(fragment);
    longer
}

/// As it stands in a query: all but letters, digits and `-._~` as `%XX`.
#[must_use]
pub fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for &byte in text.as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_the_account_is_added_to_the_query() {
        let pairs = [("user", "a"), ("quota", "b%20c")];
        for (url, expected) in [
            (
                "https://x.example/",
                "https://x.example/?user=a&quota=b%20c",
            ),
            ("https://x.example", "https://x.example?user=a&quota=b%20c"),
            (
                "https://x.example/?y=1",
                "https://x.example/?y=1&user=a&quota=b%20c",
            ),
            (
                "https://x.example/?",
                "https://x.example/?user=a&quota=b%20c",
            ),
            (
                "https://x.example/#top",
                "https://x.example/?user=a&quota=b%20c#top",
            ),
        ] {
            assert_eq!(with_query(url, &pairs), expected);
        }
        assert_eq!(
            percent_encoded("a b&c=d\r\n%\u{17c}"),
            "a%20b%26c%3Dd%0D%0A%25%C5%BC"
        );
    }

    #[test]
    fn plain_users_leave_no_folder() {
        for user in [
            "a",
            "alice",
            "a.b-c_d@e.example",
            "@x",
            "_",
            &"a".repeat(64),
        ] {
            assert!(is_plain_user(user), "{user}");
        }
        for user in [
            "",
            ".",
            "..",
            "-a",
            "../a",
            "a/b",
            "a b",
            "a\n",
            "\u{17c}",
            &"a".repeat(65),
        ] {
            assert!(!is_plain_user(user), "{user}");
        }
    }
}
