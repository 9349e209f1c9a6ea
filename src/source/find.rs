//! The files that a path pattern leads to.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

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

    /// The one path that it can match, where it has no wildcard.
    #[must_use]
    pub fn only(&self) -> Option<&Path> {
        self.literal.then_some(&*self.base)
    }

    /// Adds the paths that match now, and the folders in which others may appear, each as it was
    /// before it was looked into.
    pub fn find(&self, paths: &mut BTreeSet<PathBuf>, folders: &mut Folders) {
        if self.literal {
            if let Some(folder) = self.base.parent() {
                note(folders, folder);
            }
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
        folders: &mut Folders,
    ) {
        const MAX_DEPTH: usize = 32;
        note(folders, folder);
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

/// Folders, each as it was before it was looked into.
pub type Folders = BTreeMap<PathBuf, Stamp>;

/// What a folder that may hold logs was like. The time at which a folder was changed moves on with
/// each name that comes, goes or changes in it: while it is the same, and the same may look into it, so
/// are the names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// `None`: there is no such folder.
    seen: Option<Seen>,
    /// It was changed long before: another change would show.
    is_settled: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    inode: u64,
    changed: (i64, i64),
    /// Mode, owner and group: who may look into it.
    access: (u32, u32, u32),
}

impl Stamp {
    /// Of a folder as it is now.
    #[must_use]
    pub fn of(folder: &Path) -> Self {
        // Coarser than any file system's clock that is in use.
        const COARSEST: Duration = Duration::from_secs(2);
        let Ok(metadata) = folder.metadata() else {
            return Self {
                seen: None,
                is_settled: true,
            };
        };
        let changed = metadata.modified().ok();
        let age = changed.and_then(|changed| SystemTime::now().duration_since(changed).ok());
        Self {
            seen: Some(Seen {
                inode: metadata.ino(),
                changed: (metadata.mtime(), metadata.mtime_nsec()),
                access: (metadata.mode(), metadata.uid(), metadata.gid()),
            }),
            is_settled: age.is_some_and(|age| age > COARSEST),
        }
    }

    /// Its inode; `None`: there is no such folder.
    #[must_use]
    pub fn inode(&self) -> Option<u64> {
        self.seen.map(|seen| seen.inode)
    }

    /// Whether the folder has the same names in it as when this was taken, for certain.
    #[must_use]
    pub fn still_holds(&self, folder: &Path) -> bool {
        self.is_settled && !self.differs(folder)
    }

    /// Whether the folder is known to have changed since this was taken.
    #[must_use]
    pub fn differs(&self, folder: &Path) -> bool {
        Self::of(folder).seen != self.seen
    }
}

fn note(folders: &mut Folders, folder: &Path) {
    if !folders.contains_key(folder) {
        folders.insert(folder.to_owned(), Stamp::of(folder));
    }
}

/// The folder into which the rotations of a log are moved, as logrotate understands `olddir`: one that
/// is not absolute is meant from the log's own folder on.
#[must_use]
pub fn rotation_folder(olddir: &Path, log: &Path) -> PathBuf {
    log.parent().unwrap_or(Path::new("/")).join(olddir)
}

/// Whose log a file is.
#[derive(Debug)]
pub struct Owner<'c> {
    /// The source that follows it, or followed it before it was rotated.
    pub source: &'c FileSource,
    /// What the wildcards of the source's pattern match.
    pub captures: Vec<String>,
    /// The path that the pattern matches: the file's own, or that of the log before its rotation.
    pub log: PathBuf,
}

/// The source that follows a file, or followed it before it was rotated, beside itself or into an
/// `olddir`.
#[must_use]
pub fn source_of<'c>(sources: &'c [FileSource], path: &Path) -> Option<Owner<'c>> {
    let path = std::path::absolute(path).ok()?;
    let names = [before_rotation(&path), path.clone()];
    for log in names.into_iter().rev() {
        for source in sources {
            let captures = source
                .paths
                .iter()
                .filter_map(|pattern| Pattern::new(pattern).ok())
                .find_map(|pattern| pattern.captures(log.as_os_str().as_encoded_bytes()));
            if let Some(captures) = captures {
                return Some(Owner {
                    source,
                    captures,
                    log,
                });
            }
        }
    }
    sources.iter().find_map(|source| rotated_by(source, &path))
}

/// The one log of a source that a file in its `olddir` is a rotation of. Several may have that name:
/// then nobody can tell.
fn rotated_by<'c>(source: &'c FileSource, path: &Path) -> Option<Owner<'c>> {
    let olddir = source.olddir.as_deref()?;
    let folder = path.parent()?.canonicalize().ok()?;
    let name = before_rotation(path);
    let finders: Vec<Finder> = source.paths.iter().filter_map(|p| Finder::new(p)).collect();
    let (mut logs, mut folders) = (BTreeSet::new(), Folders::new());
    for finder in &finders {
        finder.find(&mut logs, &mut folders);
        // A log that is not there at the moment can still be told by its whole path.
        logs.extend(finder.literal.then(|| finder.base.clone()));
    }
    let mut mine = logs.into_iter().filter(|log| {
        let there = || rotation_folder(olddir, log).canonicalize().ok();
        log.file_name() == name.file_name() && there().as_ref() == Some(&folder)
    });
    let log = mine.next().filter(|_| mine.next().is_none())?;
    let captures = finders.iter().find_map(|finder| finder.captures(&log))?;
    Some(Owner {
        source,
        captures,
        log,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Layer;

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
            let (mut paths, mut folders) = (BTreeSet::new(), Folders::new());
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
                folders.keys().map(short).collect::<Vec<_>>(),
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
    fn a_folder_that_changes_no_longer_bears_its_stamp() {
        let folder = tempfile::tempdir().expect("a folder");
        let fresh = Stamp::of(folder.path());
        // What comes in the same tick of the clock would not show.
        assert!(!fresh.still_holds(folder.path()) && !fresh.differs(folder.path()));
        let long_ago = SystemTime::now() - Duration::from_secs(60);
        let open = std::fs::File::open(folder.path()).expect("our own folder");
        open.set_modified(long_ago).expect("our own folder");
        let settled = Stamp::of(folder.path());
        assert!(settled.still_holds(folder.path()));
        std::fs::write(folder.path().join("new.log"), "").expect("our own folder");
        assert!(settled.differs(folder.path()) && !settled.still_holds(folder.path()));
        let path = folder.path().to_owned();
        drop(folder);
        assert!(settled.differs(&path));
        assert!(Stamp::of(&path).still_holds(&path), "there is still none");
    }

    #[test]
    fn rotated_files_belong_to_the_source_that_followed_them() {
        let source = |name: &str, path: &str| FileSource {
            name: name.to_owned(),
            paths: vec![path.to_owned()],
            formats: Vec::new(),
            users: None,
            vhost: None,
            olddir: None,
            layer: Layer::EDGE,
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
            let found = source_of(&sources, Path::new(path)).expect(path);
            assert_eq!(
                (found.source.name.as_str(), found.captures[0].as_str()),
                (name, captured)
            );
        }
        let sites = &sources[..1];
        for path in [
            "/var/log/a.access.log.1",
            "/var/log/a.access.log-20261122.gz",
        ] {
            let found = source_of(sites, Path::new(path)).expect(path);
            assert_eq!(
                (found.source.name.as_str(), found.captures[0].as_str()),
                ("sites", "a")
            );
            assert_eq!(found.log, Path::new("/var/log/a.access.log"));
        }
        assert!(source_of(sites, Path::new("/var/log/a.error.log")).is_none());
    }

    #[test]
    fn rotated_files_in_an_olddir_belong_to_the_one_log_of_that_name() {
        let root = tempfile::tempdir().expect("a folder");
        let at = |path: &str| root.path().join(path);
        for folder in ["a/logs/old", "b/logs/old", "all"] {
            std::fs::create_dir_all(at(folder)).expect("a folder");
        }
        for log in ["a/logs/x.log", "b/logs/x.log", "b/logs/y.log"] {
            std::fs::write(at(log), "").expect("a file");
        }
        let source = |olddir: &Path| FileSource {
            name: "sites".to_owned(),
            paths: vec![format!("{}/*/logs/*.log", root.path().display())],
            formats: Vec::new(),
            users: None,
            vhost: None,
            olddir: Some(olddir.to_owned()),
            layer: Layer::EDGE,
        };
        let owner = |olddir: &Path, path: &str| {
            let sources = [source(olddir)];
            source_of(&sources, &at(path)).map(|owner| (owner.captures, owner.log))
        };
        for (olddir, path, expected) in [
            (Path::new("old"), "b/logs/old/x.log.1", Some("b/logs/x.log")),
            (
                Path::new("../logs/old"),
                "a/logs/old/x.log-20261122.zst",
                Some("a/logs/x.log"),
            ),
            (Path::new("old"), "b/logs/old/z.log.1", None),
            (&at("all"), "all/y.log.1.xz", Some("b/logs/y.log")),
            (&at("all"), "all/x.log.1.xz", None),
        ] {
            let found = owner(olddir, path).map(|(_, log)| log);
            assert_eq!(found, expected.map(at), "{path}");
        }
        let (captures, _) = owner(Path::new("old"), "b/logs/old/x.log.1").expect("b's");
        assert_eq!(captures, ["b", "x"]);
    }
}
