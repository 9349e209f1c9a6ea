//! A site into all the names that a server may be asked for it by.

use std::collections::BTreeMap;

/// The names of sites, as the config has them. A gate that knows one of them is passed by another.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hosts {
    /// Folded alias, or `*.suffix`, to the folded site that is billed for it.
    aliases: BTreeMap<String, String>,
    /// The same the other way round: each site with its aliases, those without a star first.
    of_site: BTreeMap<String, Vec<String>>,
    /// Each suffix of a `*.suffix` and each plain alias, labels turned round, so that what lies below
    /// a suffix stands behind it: `org.example.www`.
    turned: BTreeMap<String, String>,
    /// Whether `www.` in front is the same site.
    fold_www: bool,
}

/// The names of a site.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Names {
    /// Names that are billed to the site, folded; itself among them, unless it is an alias of another.
    pub exact: Vec<String>,
    /// `*.suffix`: all names below the suffix, of any depth, are the site's, but for those that are
    /// aliases of others.
    pub wildcards: Vec<String>,
    /// Aliases of other sites that lie below one of the wildcards: names, and `*.longer.suffix`.
    /// Whoever writes a wildcard has to leave these open.
    pub except: Vec<String>,
}

impl Hosts {
    /// From folded aliases, or `*.suffix`, each with the folded site that is billed for it.
    #[must_use]
    pub fn new(aliases: BTreeMap<String, String>, fold_www: bool) -> Self {
        let mut of_site: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (alias, site) in &aliases {
            of_site.entry(site.clone()).or_default().push(alias.clone());
        }
        let has_wildcards = aliases.keys().any(|alias| alias.starts_with("*."));
        let turned = match has_wildcards {
            true => aliases.keys().map(|a| (turned(a), a.clone())).collect(),
            // Nobody asks.
            false => BTreeMap::new(),
        };
        Self {
            aliases,
            of_site,
            turned,
            fold_www,
        }
    }

    /// All names of a site.
    #[must_use]
    pub fn names_of(&self, site: &str) -> Names {
        let mut names = Names::default();
        let aliases = self.of_site.get(site).map_or(&[][..], Vec::as_slice);
        for alias in aliases.iter().filter(|alias| alias.starts_with("*.")) {
            names.wildcards.push(alias.clone());
            names.except.extend(self.others_below(alias, site));
        }
        let plain = aliases.iter().filter(|alias| !alias.starts_with("*."));
        for name in std::iter::once(site).chain(plain.map(String::as_str)) {
            names.exact.push(name.to_owned());
            if self.fold_www && name.contains('.') {
                names.exact.push(format!("www.{name}"));
            }
        }
        names.exact.sort_unstable();
        names.exact.dedup();
        names.except.sort_unstable();
        names.except.dedup();
        // A site that is an alias today has rows from the time before.
        names.exact.retain(|name| self.billed(name) == site);
        names
    }

    /// The site that a folded name is billed to.
    #[must_use]
    pub fn billed<'n>(&'n self, name: &'n str) -> &'n str {
        if let Some(site) = self.alias(name) {
            return site;
        }
        match name.strip_prefix("www.") {
            Some(bare) if self.fold_www && bare.contains('.') => self.alias(bare).unwrap_or(bare),
            _ => name,
        }
    }

    fn alias(&self, name: &str) -> Option<&str> {
        if let Some(site) = self.aliases.get(name) {
            return Some(site);
        }
        if self.turned.is_empty() {
            return None;
        }
        let mut rest = name;
        while let Some((_, suffix)) = rest.split_once('.') {
            if let Some(site) = self.aliases.get(&format!("*.{suffix}")) {
                return Some(site);
            }
            rest = suffix;
        }
        None
    }

    /// Aliases of other sites below a `*.suffix`.
    fn others_below<'h>(
        &'h self,
        wildcard: &str,
        site: &'h str,
    ) -> impl Iterator<Item = String> + 'h {
        // `org.example.`: with it begins all that lies below, and `org.example.*` itself.
        let mut start = turned(wildcard);
        start.pop();
        let end = start.clone();
        self.turned
            .range(start..)
            .take_while(move |(turned, _)| turned.starts_with(&end))
            .filter(move |(_, alias)| self.aliases.get(*alias).is_some_and(|of| of != site))
            .map(|(_, alias)| alias.clone())
    }
}

/// `*.example.org` into `org.example.*`.
fn turned(name: &str) -> String {
    let mut labels: Vec<&str> = name.split('.').collect();
    labels.reverse();
    labels.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::fold::Folding;

    fn hosts(aliases: &[(&str, &str)], fold_www: bool) -> Hosts {
        let aliases = aliases.iter().map(|&(a, s)| (a.to_owned(), s.to_owned()));
        Hosts::new(aliases.collect(), fold_www)
    }

    #[track_caller]
    fn check(hosts: &Hosts, site: &str, exact: &[&str], wildcards: &[&str], except: &[&str]) {
        let names = hosts.names_of(site);
        assert_eq!(names.exact, exact, "exact names of {site}");
        assert_eq!(names.wildcards, wildcards, "wildcards of {site}");
        assert_eq!(names.except, except, "others below the wildcards of {site}");
    }

    #[test]
    fn a_site_has_all_its_names() {
        let none = hosts(&[], false);
        check(&none, "a.example", &["a.example"], &[], &[]);
        let hosts = hosts(
            &[
                ("b.example", "a.example"),
                ("*.a.example", "a.example"),
                ("*.deep.a.example", "d.example"),
                ("shop.a.example", "shop.example"),
                ("too.a.example", "a.example"),
                ("nota.example", "shop.example"),
                ("was.example", "a.example"),
            ],
            true,
        );
        check(
            &hosts,
            "a.example",
            &[
                "a.example",
                "b.example",
                "too.a.example",
                "was.example",
                "www.a.example",
                "www.b.example",
                "www.too.a.example",
                "www.was.example",
            ],
            &["*.a.example"],
            &["*.deep.a.example", "shop.a.example"],
        );
        check(&hosts, "was.example", &[], &[], &[]);
        check(&hosts, "localhost", &["localhost"], &[], &[]);
        let deep = ["d.example", "www.d.example"];
        check(&hosts, "d.example", &deep, &["*.deep.a.example"], &[]);
        // `www.shop.a.example` is one of the wildcard's.
        let shop = [
            "nota.example",
            "shop.a.example",
            "shop.example",
            "www.nota.example",
            "www.shop.example",
        ];
        check(&hosts, "shop.example", &shop, &[], &[]);
    }

    #[test]
    fn names_are_billed_as_lines_are() {
        let aliases = [
            ("*.a.example", "a.example"),
            ("*.b.a.example", "b.example"),
            ("c.a.example", "c.example"),
            ("www.e.example", "f.example"),
        ];
        let names = [
            "a.example",
            "x.a.example",
            "x.b.a.example",
            "b.a.example",
            "c.a.example",
            "www.c.a.example",
            "www.e.example",
            "www.g.example",
            "www.g",
            "e.example",
        ];
        for fold_www in [false, true] {
            let hosts = hosts(&aliases, fold_www);
            let owned = aliases.map(|(a, s)| (a.to_owned(), s.to_owned()));
            let folding = Folding::new([], owned, fold_www);
            for name in names {
                assert_eq!(hosts.billed(name), folding.site(name.as_bytes()), "{name}");
            }
        }
    }
}
