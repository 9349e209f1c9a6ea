//! What has been said about which path, so that it is said once: again only when there is something
//! else to say. Bounded: customers choose how many files there are.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Of so many paths, at least the latest half is remembered.
const MAX_SAID: usize = 10_000;

/// The latest words about each path.
#[derive(Debug, Default)]
pub(super) struct Said {
    recent: HashMap<PathBuf, String>,
    /// What was recent before; forgotten when `recent` is full again.
    older: HashMap<PathBuf, String>,
}

impl Said {
    /// Whether this is news. It is not, the next time.
    pub(super) fn is_news(&mut self, path: &Path, what: &str) -> bool {
        if self.of(path) == Some(what) {
            return false;
        }
        if self.recent.len() >= MAX_SAID / 2 {
            self.older = std::mem::take(&mut self.recent);
        }
        self.older.remove(path);
        self.recent.insert(path.to_owned(), what.to_owned());
        true
    }

    /// The last that was said about a path.
    pub(super) fn of(&self, path: &Path) -> Option<&str> {
        let said = self.recent.get(path).or_else(|| self.older.get(path));
        said.map(String::as_str)
    }

    /// It is no longer so.
    pub(super) fn forget(&mut self, path: &Path) {
        self.recent.remove(path);
        self.older.remove(path);
    }

    /// Whatever there is to say may be said again.
    pub(super) fn forget_all(&mut self) {
        *self = Self::default();
    }

    /// All that is remembered.
    pub(super) fn all(&self) -> impl Iterator<Item = (&Path, &str)> {
        let both = self.recent.iter().chain(&self.older);
        both.map(|(path, what)| (path.as_path(), what.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_are_said_once_and_new_things_always() {
        let mut said = Said::default();
        let path = Path::new("/logs/a.log");
        for (what, is_news) in [("x", true), ("x", false), ("y", true), ("x", true)] {
            assert_eq!(said.is_news(path, what), is_news);
        }
        said.forget(path);
        assert!(said.is_news(path, "x"));
    }

    #[test]
    fn however_many_paths_there_are_news_are_said_and_the_memory_is_bounded() {
        let mut said = Said::default();
        for number in 0..3 * MAX_SAID {
            let path = PathBuf::from(number.to_string());
            assert!(said.is_news(&path, "x"));
            assert!(!said.is_news(&path, "x"), "{number} has just been said");
            assert!(said.all().count() <= MAX_SAID);
        }
    }
}
