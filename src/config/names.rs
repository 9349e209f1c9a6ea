//! Names of sites as operators write them, and the side files that hold many of them.
//!
//! What comes out is folded as the names of log lines are, so that the two can be compared.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::path::Path;

use tollkeeper_parsers::host::{self, Host};

use super::diagnostic::{ConfigError, Findings};
use crate::account::name;

/// Rows that stand for many names; no site can be called so.
pub const RESERVED: [&str; 4] = name::SPECIAL;

/// The largest side file that is read: a few million names.
const MAX_SIDE_FILE_BYTES: u64 = 256 << 20;

/// Folds the name of a site, as [`host::fold`] does for log lines, punycode included.
///
/// # Errors
/// Why it cannot be the name of a site.
pub fn fold(name: &str) -> Result<String, String> {
    let mut buffer = Vec::new();
    let refused = || format!("{name:?} cannot be the name of a host");
    if RESERVED.contains(&name.to_ascii_lowercase().as_str()) {
        return Err(format!("{name:?} is reserved for the rows of that name"));
    }
    match host::fold(name.as_bytes(), &mut buffer) {
        Host::Folded(folded) => Ok(folded.to_owned()),
        Host::Unicode(unicode) => match idna::domain_to_ascii(unicode) {
            Ok(ascii) if (1..=253).contains(&ascii.len()) => Ok(ascii),
            _ => Err(refused()),
        },
        Host::Missing | Host::Invalid => Err(refused()),
    }
}

/// Folds a name, or `*.` and a name: all sites below it.
///
/// # Errors
/// Why it cannot be either.
pub fn fold_pattern(name: &str) -> Result<String, String> {
    match name.strip_prefix("*.") {
        Some(suffix) => Ok(format!("*.{}", fold(suffix)?)),
        None if name.contains('*') => Err(format!(
            "{name:?}: a * can only stand in front, as in *.example.org"
        )),
        None => fold(name),
    }
}

/// The name without `www.` in front, where that leaves a name with a dot (`fold_www`).
#[must_use]
pub fn without_www(name: &str) -> &str {
    match name.strip_prefix("www.") {
        Some(site) if site.contains('.') => site,
        _ => name,
    }
}

/// What `name` is an alias of, in one step: the alias itself first, else the longest `*.suffix`.
#[must_use]
pub fn alias_of<'a>(aliases: &'a BTreeMap<String, String>, name: &str) -> Option<&'a str> {
    if let Some(site) = aliases.get(name) {
        return Some(site);
    }
    let mut rest = name;
    while let Some((_, suffix)) = rest.split_once('.') {
        if let Some(site) = aliases.get(&format!("*.{suffix}")) {
            return Some(site);
        }
        rest = suffix;
    }
    None
}

/// The site that a folded name is billed to, as [`crate::account::fold`] bills lines: what is an alias as
/// it stands, `www.` in front of it and all, is that of its site; else `www.` is folded away.
#[must_use]
pub fn billed<'a>(name: &'a str, rules: &'a super::VhostRules) -> &'a str {
    let bare = || match rules.fold_www {
        true => without_www(name),
        false => name,
    };
    let alias = |name| alias_of(&rules.aliases, name);
    alias(name).unwrap_or_else(|| alias(bare()).unwrap_or(bare()))
}

/// The name of a row: what is said of a folded name that is billed to another site would never hold.
///
/// # Errors
/// Whose alias it is, and what to write.
pub fn with_rows(name: &str, rules: &super::VhostRules) -> Result<String, (String, String)> {
    let site = billed(name, rules);
    let bare = match rules.fold_www {
        true => without_www(name),
        false => name,
    };
    if site != bare {
        let message = format!("{name:?} is an alias of {site:?}, which has the rows");
        return Err((message, format!("write {site:?}")));
    }
    Ok(site.to_owned())
}

/// Aliases that lead back to themselves.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("these aliases lead back to themselves: {}", .names.join(" → "))]
pub struct AliasLoop {
    /// The names, the first one again at the end.
    pub names: Vec<String>,
}

/// Follows aliases of aliases, so that one step is enough afterwards.
///
/// # Errors
/// Every alias that is part of a loop.
pub fn resolve_aliases(
    aliases: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, Vec<AliasLoop>> {
    let mut resolved = BTreeMap::new();
    let mut loops = Vec::new();
    let mut in_loops = BTreeSet::new();
    for (alias, first) in aliases {
        let mut way = vec![alias.as_str()];
        let mut site = first.as_str();
        loop {
            if let Some(at) = way.iter().position(|name| *name == site) {
                // One message for a loop, whichever of its names comes first.
                let fresh = way[at..].iter().all(|name| !in_loops.contains(name));
                if fresh {
                    in_loops.extend(way[at..].iter().copied());
                    way.push(site);
                    let names = way[at..].iter().map(|name| (*name).to_owned()).collect();
                    loops.push(AliasLoop { names });
                }
                break;
            }
            match alias_of(aliases, site) {
                // `*.example.org = "www.example.org"` covers its own target, which stays itself.
                Some(next) if next != site || aliases.contains_key(site) => {
                    way.push(site);
                    site = next;
                }
                _ => {
                    resolved.insert(alias.clone(), site.to_owned());
                    break;
                }
            }
        }
    }
    match loops.is_empty() {
        true => Ok(resolved),
        false => Err(loops),
    }
}

/// Reads a `known_file`: one name or `*.suffix` a line, `#` for comments. Folded, sorted, each once.
///
/// # Errors
/// The file cannot be read, or the lines that are no names, with their places.
pub fn read_known(path: &Path) -> Result<Vec<String>, ConfigError> {
    let text = read_text(path, MAX_SIDE_FILE_BYTES, "known_file")?;
    parse_known(&text, &path.display().to_string())
}

/// Reads an `aliases_file`: `alias name` a line, `#` for comments. Aliases of aliases are resolved.
///
/// # Errors
/// The file cannot be read, or the lines that are no aliases, with their places.
pub fn read_aliases(path: &Path) -> Result<BTreeMap<String, String>, ConfigError> {
    let text = read_text(path, MAX_SIDE_FILE_BYTES, "aliases_file")?;
    parse_aliases(&text, &path.display().to_string())
}

fn parse_known(text: &str, name: &str) -> Result<Vec<String>, ConfigError> {
    let mut findings = Findings::default();
    let mut known = BTreeSet::new();
    for words in lines(text) {
        if let Some(extra) = words.get(1) {
            findings.report(extra.clone(), "more than one name", "write one name a line");
        }
        match fold_pattern(&text[words[0].clone()]) {
            Ok(folded) => {
                known.insert(folded);
            }
            Err(message) => findings.report(words[0].clone(), message, ""),
        }
    }
    findings.into_result(known.into_iter().collect(), name, text)
}

fn parse_aliases(text: &str, name: &str) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut findings = Findings::default();
    let mut entries = Vec::new();
    for words in lines(text) {
        match words.as_slice() {
            [alias, site] => entries.push((alias.clone(), site.clone())),
            [alias] => {
                let message = "the name of the site is missing";
                findings.report(alias.end..alias.end, message, "write: alias name");
            }
            [.., extra] => {
                findings.report(extra.clone(), "more than two names", "write: alias name")
            }
            [] => {}
        }
    }
    let entries: Vec<_> = entries
        .into_iter()
        .map(|(alias, site)| {
            let texts = (&text[alias.clone()], &text[site.clone()]);
            (texts.0, alias, texts.1, site)
        })
        .collect();
    let aliases = fold_aliases(&entries, false, &mut findings);
    findings.into_result(aliases, name, text)
}

/// An alias and its site, each as written and where.
pub(super) type AliasEntry<'t> = (&'t str, Range<usize>, &'t str, Range<usize>);

/// Folds aliases and resolves them; reports what cannot be.
pub(super) fn fold_aliases(
    entries: &[AliasEntry<'_>],
    fold_www: bool,
    findings: &mut Findings,
) -> BTreeMap<String, String> {
    let mut aliases = BTreeMap::new();
    let mut places = BTreeMap::new();
    for (alias, alias_at, site, site_at) in entries {
        let folded_alias = fold_pattern(alias);
        let folded_site = if site.starts_with("*.") {
            Err(format!("{alias:?} is an alias of many sites, {site:?}"))
        } else {
            fold(site)
        };
        let (folded_alias, mut folded_site) = match (folded_alias, folded_site) {
            (Ok(alias), Ok(site)) => (alias, site),
            (alias, site) => {
                if let Err(message) = alias {
                    findings.report(alias_at.clone(), message, "");
                }
                if let Err(message) = site {
                    let help = "an alias belongs to one site: alias = \"site\"";
                    findings.report(site_at.clone(), message, help);
                }
                continue;
            }
        };
        if fold_www {
            folded_site = without_www(&folded_site).to_owned();
        }
        let earlier = aliases.insert(folded_alias.clone(), folded_site.clone());
        if let Some(earlier) = earlier.filter(|earlier| *earlier != folded_site) {
            let message = format!("{folded_alias:?} is already an alias of {earlier:?}");
            findings.report(alias_at.clone(), message, "an alias belongs to one site");
        }
        places.insert(folded_alias, alias_at.clone());
    }
    resolve_aliases(&aliases).unwrap_or_else(|loops| {
        for looped in loops {
            let place = looped.names.iter().find_map(|name| places.get(name));
            let help = "one of these is the site itself: remove its line";
            findings.report(place.cloned().unwrap_or(0..0), looped.to_string(), help);
        }
        BTreeMap::new()
    })
}

/// The words of every line that has any, comments taken off, as spans of the text.
fn lines(text: &str) -> impl Iterator<Item = Vec<Range<usize>>> + '_ {
    let mut start = 0;
    text.split_inclusive('\n').filter_map(move |line| {
        let line_start = start;
        start += line.len();
        let content = line.find('#').map_or(line, |at| &line[..at]);
        let words: Vec<_> = content
            .split_whitespace()
            .map(|word| {
                let at = line_start + (word.as_ptr() as usize - line.as_ptr() as usize);
                at..at + word.len()
            })
            .collect();
        (!words.is_empty()).then_some(words)
    })
}

/// Reads a whole file of text.
pub(super) fn read_text(path: &Path, max_bytes: u64, what: &str) -> Result<String, ConfigError> {
    let name = path.display();
    let refused = |reason: &dyn std::fmt::Display| {
        ConfigError::new(format!("cannot read the {what} {name}: {reason}"))
    };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(max_bytes + 1).read_to_end(&mut bytes))
        .map_err(|error| refused(&error))?;
    if bytes.len() as u64 > max_bytes {
        return Err(refused(&format!("it is larger than {max_bytes} bytes")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..at]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
            + 1;
        refused(&format!("line {line} is not UTF-8 text"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::fold::Folding;
    use crate::config::VhostRules;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect()
    }

    #[test]
    fn aliases_of_aliases_are_resolved() {
        for (given, expected) in [
            (&[("a.org", "b.org")][..], &[("a.org", "b.org")][..]),
            (
                &[("a.org", "b.org"), ("b.org", "c.org")],
                &[("a.org", "c.org"), ("b.org", "c.org")],
            ),
            (
                &[("a.org", "x.b.org"), ("*.b.org", "c.org")],
                &[("a.org", "c.org"), ("*.b.org", "c.org")],
            ),
            (&[("*.b.org", "www.b.org")], &[("*.b.org", "www.b.org")]),
            (&[("*.b.org", "b.org")], &[("*.b.org", "b.org")]),
        ] {
            assert_eq!(resolve_aliases(&map(given)), Ok(map(expected)), "{given:?}");
        }
    }

    #[test]
    fn loops_are_named_once() {
        for (given, expected) in [
            (&[("a.org", "a.org")][..], &["a.org", "a.org"][..]),
            (
                &[("a.org", "b.org"), ("b.org", "a.org")],
                &["a.org", "b.org", "a.org"],
            ),
            (
                &[("0.org", "a.org"), ("a.org", "b.org"), ("b.org", "a.org")],
                &["a.org", "b.org", "a.org"],
            ),
            (
                &[("*.a.org", "x.b.org"), ("*.b.org", "x.a.org")],
                &["x.b.org", "x.a.org", "x.b.org"],
            ),
        ] {
            let loops = resolve_aliases(&map(given)).expect_err("a refusal");
            let names: Vec<_> = loops.iter().map(|looped| looped.names.as_slice()).collect();
            assert_eq!(names, [expected], "{given:?}");
        }
    }

    #[test]
    fn the_nearest_wildcard_wins() {
        let aliases = map(&[("*.org", "o"), ("*.a.org", "a"), ("x.a.org", "x")]);
        for (name, expected) in [
            ("x.a.org", Some("x")),
            ("y.a.org", Some("a")),
            ("z.y.a.org", Some("a")),
            ("a.org", Some("o")),
            ("org", None),
            ("a.com", None),
        ] {
            assert_eq!(alias_of(&aliases, name), expected, "{name}");
        }
    }

    #[test]
    fn www_is_taken_off_only_in_front_of_a_domain() {
        for (name, expected) in [
            ("www.example.org", "example.org"),
            ("www.org", "www.org"),
            ("example.org", "example.org"),
            ("wwww.example.org", "wwww.example.org"),
        ] {
            assert_eq!(without_www(name), expected);
        }
    }

    #[test]
    fn names_are_billed_as_lines_are() {
        let aliases = [
            ("*.cdn.example", "a.example"),
            ("www.b.example", "c.example"),
            ("d.example", "a.example"),
        ];
        let aliases = aliases.map(|(alias, site)| (alias.to_owned(), site.to_owned()));
        for fold_www in [true, false] {
            let folding = Folding::new([], aliases.clone(), fold_www);
            let rules = VhostRules {
                aliases: aliases.clone().into(),
                fold_www,
                ..VhostRules::default()
            };
            for name in [
                "a.example",
                "www.a.example",
                "b.example",
                "www.b.example",
                "www.d.example",
                "cdn.example",
                "www.cdn.example",
                "x.www.cdn.example",
            ] {
                assert_eq!(
                    billed(name, &rules),
                    folding.site(name.as_bytes()),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn side_files_are_folded() {
        let known = "# sites\nExample.ORG  # the first\n\n*.Example.org\nexample.org.\n";
        assert_eq!(
            parse_known(known, "known.txt"),
            Ok(vec!["*.example.org".to_owned(), "example.org".to_owned()])
        );
        let aliases = "www.example.org example.org\r\n*.cdn.example.org\tCDN.example.org\n";
        assert_eq!(
            parse_aliases(aliases, "aliases.txt"),
            Ok(map(&[
                ("www.example.org", "example.org"),
                ("*.cdn.example.org", "cdn.example.org")
            ]))
        );
    }

    #[test]
    fn faults_in_side_files_have_places() {
        let error =
            parse_known("a.org\n  b.org c.org\n_none\n", "known.txt").expect_err("a refusal");
        assert_eq!(
            error.to_string(),
            "known.txt:2:9: more than one name\n  b.org c.org\n        ^^^^^\nwrite one name a line\n\n\
             known.txt:3:1: \"_none\" is reserved for the rows of that name\n  _none\n  ^^^^^"
        );
        let error =
            parse_aliases("a.org\nb.org c.org d.org\n", "aliases.txt").expect_err("a refusal");
        assert_eq!(
            error.to_string(),
            "aliases.txt:1:6: the name of the site is missing\n  a.org\n       ^\nwrite: alias name\n\n\
             aliases.txt:2:13: more than two names\n  b.org c.org d.org\n              ^^^^^\nwrite: alias name"
        );
    }
}
