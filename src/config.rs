//! The config file, typed once. Past this room no string means something else.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use chrono_tz::Tz;
use ipnet::IpNet;
use tollkeeper_parsers::format::Spec;

/// Everything an operator can say.
#[derive(Debug)]
pub struct Config {
    /// Whose days the rows are. `None`: not said; the store's, or else the system's.
    pub timezone: Option<Tz>,
    /// How often the ledger is flushed.
    pub report_interval: Duration,
    /// Where the rows are. `None`: SQLite in the state directory.
    pub store: Option<StoreUrl>,
    /// Followed files.
    pub file_sources: Vec<FileSource>,
    /// Names of sites.
    pub vhosts: VhostRules,
    /// Owners, each with the folded names of their vhosts.
    pub owners: BTreeMap<String, Vec<String>>,
    /// Client classes, in the order of their names.
    pub classes: Vec<Class>,
}

/// Where the rows are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// The embedded store: one file.
    Sqlite(PathBuf),
}

/// `[[source.file]]`
#[derive(Debug, Clone)]
pub struct FileSource {
    /// Names the source in the balance; by default its first path pattern.
    pub name: String,
    /// Globs, absolute.
    pub paths: Vec<String>,
    /// Tried in order.
    pub formats: Vec<Spec>,
    /// Who vouches for user names; `None`: the format's default.
    pub users: Option<Users>,
    /// `vhost = "…"`, where `{1}` stands for what the first `*` of the glob matched.
    pub vhost: Option<String>,
}

/// Who vouches for the user names of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Users {
    /// The server logs a name only when it checked it.
    Verified,
    /// Whatever the client sent: rows, but never verdicts.
    Claimed,
    /// No user rows.
    None,
}

/// `[vhosts]`
#[derive(Debug, Clone, Default)]
pub struct VhostRules {
    /// Folded names, and `*.suffix` patterns; empty: all names are known.
    pub known: Vec<String>,
    /// More of them, one a line, re-read when the file changes.
    pub known_file: Option<PathBuf>,
    /// Folded alias to folded name.
    pub aliases: BTreeMap<String, String>,
    /// More of them, `alias name` a line, re-read when the file changes.
    pub aliases_file: Option<PathBuf>,
    /// Whether `www.` in front is the same site.
    pub fold_www: bool,
    /// First-ever vhost names a day; the rest goes to `_overflow`.
    pub max_new_vhosts_per_day: u64,
    /// First-ever users per vhost and day; the rest goes to `_overflow`.
    pub max_new_users_per_day: u64,
}

/// `[class.NAME]`
#[derive(Debug, Clone)]
pub struct Class {
    /// Its name.
    pub name: String,
    /// Longest match wins.
    pub networks: Vec<IpNet>,
}
