//! The files that a path pattern leads to.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::identity::before_rotation;
use crate::config::FileSource;
use crate::config::glob::Pattern;

/// A pattern, ready to be looked for again and again.
#[derive(Debug, Clone)]
pub struct Finder {
    whole: Pattern,
    /// Patterns of the folders on the way, from the base on.
    folders: Vec<Pattern>,
    /// The pattern has `**`, or a brace that may span folders: all of them are walked.
    deep: bool,
    /// The part before the first wildcard.
    base: PathBuf,
    literal: bool,
}

impl Finder {
    /// `None`: the pattern cannot be used.
    #[must_use]
    pub fn new(pattern: &str) -> Option<Self> {
        let whole = Pattern::new(pattern).ok()?;
        let wild = pattern.find(['*', '?', '[', '{', '\\']);
        let base = match wild {
            Some(at) => &pattern[..pattern[..at].rfind('/').unwrap_or(0)],
            None => pattern,
        };
        let mut folders = Vec::new();
        let deep = pattern.contains("**") || pattern.contains('{');
        if !deep {
            let ends = pattern
                .match_indices('/')
                .map(|(at, _)| at)
                .filter(|&at| at > base.len());
            folders = ends
                .filter_map(|end| Pattern::new(&pattern[..end]).ok())
                .collect();
        }
        let base = if base.is_empty() { "/" } else { base };
        Some(Self {
            whole,
            folders,
            deep,
            base: PathBuf::from(base),
            literal: wild.is_none(),
        })
    }

    /// What each wildcard matched.
    #[must_use]
    pub fn captures(&self, path: &Path) -> Option<Vec<String>> {
        self.whole.captures(path.as_os_str().as_encoded_bytes())
    }

    /// Adds the paths that match now, and the folders in which others may appear.
    pub fn find(&self, paths: &mut BTreeSet<PathBuf>, folders: &mut BTreeSet<PathBuf>) {
        if self.literal {
            folders.extend(self.base.parent().map(Path::to_owned));
            if self.base.symlink_metadata().is_ok() {
                paths.insert(self.base.clone());
            }
            return;
        }
        self.walk(&self.base, 0, paths, folders);
    }

    fn walk(
        &self,
        folder: &Path,
        depth: usize,
        paths: &mut BTreeSet<PathBuf>,
        folders: &mut BTreeSet<PathBuf>,
    ) {
        const MAX_DEPTH: usize = 32;
        folders.insert(folder.to_owned());
        let Ok(entries) = std::fs::read_dir(folder) else {
            return;
        };
        for entry in entries.flatten() {
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            let path = entry.path();
            let bytes = path.as_os_str().as_encoded_bytes();
            if kind.is_dir() {
                let leads_on = match self.folders.get(depth) {
                    Some(pattern) => pattern.is_match(bytes),
                    None => self.deep,
                };
                if leads_on && depth < MAX_DEPTH {
                    self.walk(&path, depth + 1, paths, folders);
                }
            } else if self.whole.is_match(bytes) {
                paths.insert(path);
            }
        }
    }
}

/// The source that follows a file, or followed it before it was rotated; and what the wildcards of
/// its pattern match.
#[must_use]
pub fn source_of<'c>(
    sources: &'c [FileSource],
    path: &Path,
) -> Option<(&'c FileSource, Vec<String>)> {
    let path = std::path::absolute(path).ok()?;
    let names = [before_rotation(&path), path];
    for path in names.iter().rev() {
        for source in sources {
            let captures = source
                .paths
                .iter()
                .filter_map(|pattern| Pattern::new(pattern).ok())
                .find_map(|pattern| pattern.captures(path.as_os_str().as_encoded_bytes()));
            if let Some(captures) = captures {
                return Some((source, captures));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_lead_to_files_and_to_the_folders_where_others_may_appear() {
        let root = tempfile::tempdir().expect("a folder");
        let at = |path: &str| root.path().join(path);
        for folder in ["www/a/logs", "www/b/logs", "www/a/htdocs/logs", "var"] {
            std::fs::create_dir_all(at(folder)).expect("a folder");
        }
        for file in [
            "www/a/logs/access.log",
            "www/b/logs/access.log",
            "www/b/logs/error.log",
            "var/x.log",
        ] {
            std::fs::write(at(file), "").expect("a file");
        }
        let find = |pattern: &str| {
            let (mut paths, mut folders) = (BTreeSet::new(), BTreeSet::new());
            let pattern = format!("{}/{pattern}", root.path().display());
            Finder::new(&pattern)
                .expect("a pattern")
                .find(&mut paths, &mut folders);
            let short = |path: &PathBuf| {
                path.strip_prefix(root.path())
                    .expect("inside")
                    .display()
                    .to_string()
            };
            (
                paths.iter().map(short).collect::<Vec<_>>(),
                folders.iter().map(short).collect::<Vec<_>>(),
            )
        };
        let (paths, folders) = find("www/*/logs/access*.log");
        assert_eq!(paths, ["www/a/logs/access.log", "www/b/logs/access.log"]);
        assert_eq!(
            folders,
            ["www", "www/a", "www/a/logs", "www/b", "www/b/logs"]
        );
        assert_eq!(find("var/*.log").0, ["var/x.log"]);
        assert_eq!(find("var/x.log").0, ["var/x.log"]);
        assert_eq!(find("var/y.log"), (vec![], vec!["var".to_owned()]));
        assert_eq!(find("**/x.log").0, ["var/x.log"]);
        assert_eq!(
            find("{var,www/b/logs}/[xe]*.log").0,
            ["var/x.log", "www/b/logs/error.log"]
        );
    }

    #[test]
    fn rotated_files_belong_to_the_source_that_followed_them() {
        let source = |name: &str, path: &str| FileSource {
            name: name.to_owned(),
            paths: vec![path.to_owned()],
            formats: Vec::new(),
            users: None,
            vhost: None,
        };
        let sources = [
            source("sites", "/var/log/*.access.log"),
            source("all", "/var/log/**"),
        ];
        for (path, name, captured) in [
            ("/var/log/a.access.log", "sites", "a"),
            ("/var/log/a.access.log.1", "all", "a.access.log.1"),
            ("/var/log/x/y", "all", "x/y"),
        ] {
            let (found, captures) = source_of(&sources, Path::new(path)).expect(path);
            assert_eq!(
                (found.name.as_str(), captures[0].as_str()),
                (name, captured)
            );
        }
        let sites = &sources[..1];
        for path in [
            "/var/log/a.access.log.1",
            "/var/log/a.access.log-20261122.gz",
        ] {
            let (found, captures) = source_of(sites, Path::new(path)).expect(path);
            assert_eq!((found.name.as_str(), captures[0].as_str()), ("sites", "a"));
        }
        assert!(source_of(sites, Path::new("/var/log/a.error.log")).is_none());
    }
}
