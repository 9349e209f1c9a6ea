//! What a line calls the site into the site that is billed.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use hashbrown::HashTable;
use tollkeeper_parsers::host::{self, Host};

use super::name;

/// The operator's names of sites, ready to be asked.
#[derive(Debug, Clone, Default)]
pub struct Folding {
    /// Empty: every name is known.
    known: Names,
    aliases: HashMap<String, String>,
    /// `*.suffix` to name, longest suffix first.
    wildcard_aliases: Vec<(String, String)>,
    fold_www: bool,
    /// Hashes of the names that are aliases.
    renamed: HashTable<u64>,
}

#[derive(Debug, Clone, Default)]
struct Names {
    exact: HashSet<String>,
    /// Suffixes, dot in front.
    suffixes: Vec<String>,
}

impl Folding {
    /// From folded names: `known` may hold `*.suffix`, `aliases` map names or `*.suffix` to names.
    pub fn new(
        known: impl IntoIterator<Item = String>,
        aliases: impl IntoIterator<Item = (String, String)>,
        fold_www: bool,
    ) -> Self {
        let mut folding = Self {
            fold_www,
            ..Self::default()
        };
        for name in known {
            match name.strip_prefix('*') {
                Some(suffix) => folding.known.suffixes.push(suffix.to_owned()),
                None => drop(folding.known.exact.insert(name)),
            }
        }
        for (alias, target) in aliases {
            match alias.strip_prefix('*') {
                Some(suffix) => folding.wildcard_aliases.push((suffix.to_owned(), target)),
                None => drop(folding.aliases.insert(alias, target)),
            }
        }
        for alias in folding.aliases.keys() {
            let hash = name::hash(alias.as_bytes());
            folding.renamed.insert_unique(hash, hash, |hash| *hash);
        }
        folding
            .wildcard_aliases
            .sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.len()));
        folding
    }

    /// The name of the row that a host name, as logged (escapes undone), is billed to.
    #[must_use]
    pub fn site(&self, logged: &[u8]) -> String {
        self.fold(logged, &mut Vec::new()).into_owned()
    }

    /// [`Folding::site`], with memory to fold in, so that it takes none of its own.
    pub fn fold<'n>(&'n self, logged: &[u8], buffer: &'n mut Vec<u8>) -> Cow<'n, str> {
        match host::fold(logged, buffer) {
            Host::Missing => Cow::Borrowed(name::NONE),
            Host::Invalid => Cow::Borrowed(name::INVALID),
            Host::Folded(folded) => Cow::Borrowed(self.billed(folded)),
            Host::Unicode(unicode) => match punycode(unicode) {
                Some(ascii) => Cow::Owned(self.billed(&ascii).to_owned()),
                None => Cow::Borrowed(name::INVALID),
            },
        }
    }

    /// Whether a name is billed as it is logged, as far as a quick look tells; `hash`: that of the name.
    /// Not where only known names have rows.
    #[inline]
    #[must_use]
    pub fn keeps(&self, logged: &[u8], hash: u64) -> bool {
        let is_alias = || self.renamed.find(hash, |alias| *alias == hash).is_some();
        let mut suffixes = self.wildcard_aliases.iter();
        self.known.is_empty()
            && !(self.fold_www && logged.starts_with(b"www."))
            && (self.renamed.is_empty() || !is_alias())
            && !suffixes.any(|(suffix, _)| logged.ends_with(suffix.as_bytes()))
            && host::is_folded(logged)
    }

    fn billed<'n>(&'n self, folded: &'n str) -> &'n str {
        let mut site = self.alias(folded).unwrap_or(folded);
        if self.fold_www
            && site == folded
            && let Some(bare) = folded
                .strip_prefix("www.")
                .filter(|bare| bare.contains('.'))
        {
            site = self.alias(bare).unwrap_or(bare);
        }
        if self.known.holds(site) {
            site
        } else {
            name::OTHER
        }
    }

    fn alias(&self, folded: &str) -> Option<&str> {
        if self.aliases.is_empty() && self.wildcard_aliases.is_empty() {
            return None;
        }
        let exact = self.aliases.get(folded);
        let wildcard = || {
            self.wildcard_aliases
                .iter()
                .find(|(suffix, _)| is_under(folded, suffix))
                .map(|(_, to)| to)
        };
        exact.or_else(wildcard).map(String::as_str)
    }
}

impl Names {
    fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.suffixes.is_empty()
    }

    fn holds(&self, site: &str) -> bool {
        self.is_empty()
            || self.exact.contains(site)
            || self.suffixes.iter().any(|suffix| is_under(site, suffix))
    }
}

/// Whether a name has at least one label in front of `.suffix`.
fn is_under(name: &str, dotted_suffix: &str) -> bool {
    name.len() > dotted_suffix.len() && name.ends_with(dotted_suffix)
}

/// A name with letters outside ASCII as DNS has it (UTS 46, as browsers do).
fn punycode(unicode: &str) -> Option<String> {
    let ascii = idna::domain_to_ascii_cow(unicode.as_bytes(), idna::AsciiDenyList::URL).ok()?;
    let mut buffer = Vec::new();
    match host::fold(ascii.as_bytes(), &mut buffer) {
        Host::Folded(folded) => Some(folded.to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn folding(known: &[&str], aliases: &[(&str, &str)], fold_www: bool) -> Folding {
        let aliases = aliases
            .iter()
            .map(|(alias, name)| ((*alias).to_owned(), (*name).to_owned()));
        Folding::new(owned(known), aliases, fold_www)
    }

    #[test]
    fn names_are_billed_to_their_site() {
        let all = folding(
            &[],
            &[
                ("www.example.org", "example.org"),
                ("*.cdn.example", "cdn.example"),
                ("*.eu.cdn.example", "eu.example"),
            ],
            false,
        );
        for (logged, site) in [
            ("example.org", "example.org"),
            ("WWW.Example.ORG.:8080", "example.org"),
            ("www.other.example", "www.other.example"),
            ("a.cdn.example", "cdn.example"),
            ("a.b.cdn.example", "cdn.example"),
            ("a.eu.cdn.example", "eu.example"),
            ("cdn.example", "cdn.example"),
            ("żółw.example", "xn--w-uga1v8h.example"),
            ("[2001:DB8::1]:80", "2001:db8::1"),
            ("", "_none"),
            ("_", "_none"),
            ("-", "_none"),
            ("_none", "_invalid"),
            ("_overflow", "_invalid"),
            ("a b", "_invalid"),
            ("*", "_invalid"),
            ("../../etc/passwd", "_invalid"),
        ] {
            assert_eq!(all.site(logged.as_bytes()), site, "{logged}");
        }
        assert_eq!(all.site(b"\xff\xfe.example"), "_invalid");
    }

    #[test]
    fn what_is_not_known_is_other() {
        let some = folding(
            &["example.org", "*.free.example"],
            &[("old.example", "example.org")],
            false,
        );
        for (logged, site) in [
            ("example.org", "example.org"),
            ("old.example", "example.org"),
            ("a.free.example", "a.free.example"),
            ("free.example", "_other"),
            ("www.example.org", "_other"),
            ("", "_none"),
            ("a b", "_invalid"),
        ] {
            assert_eq!(some.site(logged.as_bytes()), site, "{logged}");
        }
    }

    #[test]
    fn www_in_front_can_be_the_same_site() {
        let www = folding(
            &[],
            &[
                ("example.com", "example.org"),
                ("www.special.example", "shop.example"),
            ],
            true,
        );
        for (logged, site) in [
            ("www.a.example", "a.example"),
            ("www.example.com", "example.org"),
            ("www.special.example", "shop.example"),
            ("www.example", "www.example"),
            ("www", "www"),
        ] {
            assert_eq!(www.site(logged.as_bytes()), site, "{logged}");
        }
    }
}
