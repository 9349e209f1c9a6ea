//! `[gate]`: where the web servers are told whose gate is closed.

use std::path::PathBuf;
use std::time::Duration;

/// All places.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Gates {
    /// `[[gate.nginx]]`
    pub nginx: Vec<NginxGate>,
    /// `[[gate.apache]]`
    pub apache: Vec<ApacheGate>,
    /// `[[gate.lighttpd]]`
    pub lighttpd: Vec<LighttpdGate>,
    /// `[[gate.haproxy]]`
    pub haproxy: Vec<HaproxyGate>,
    /// `[[gate.list]]`
    pub list: Vec<FileGate>,
    /// `[[gate.json]]`
    pub json: Vec<FileGate>,
}

/// nginx: flags need no reload, a map does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NginxGate {
    /// A folder of flags, absolute.
    pub flags: Option<PathBuf>,
    /// A file to include within `http {}`, absolute.
    pub map: Option<PathBuf>,
    /// How a reload is asked for; only with a map.
    pub reload: Option<ReloadRequest>,
}

/// How a reload is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReloadRequest {
    /// The instance of `tollkeeper-reload@`, such as `nginx`: letters, digits, `_`, `-`.
    pub server: String,
    /// The folder of requests and results, absolute; `/run/tollkeeper/reload` by default.
    pub folder: PathBuf,
    /// Between two reloads at least.
    pub debounce: Duration,
}

/// Apache httpd: neither needs a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApacheGate {
    /// A folder of flags, absolute.
    pub flags: Option<PathBuf>,
    /// A file for `RewriteMap … txt:`, absolute.
    pub map: Option<PathBuf>,
}

/// lighttpd: flags that mod_magnet looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LighttpdGate {
    /// A folder of flags, absolute.
    pub flags: PathBuf,
}

/// HAProxy: a map file that it reads at its start, and runtime sockets that change it while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HaproxyGate {
    /// The file, absolute.
    pub map: PathBuf,
    /// Sockets of level admin, absolute.
    pub sockets: Vec<PathBuf>,
}

/// A file of its own, for anything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileGate {
    /// Absolute.
    pub path: PathBuf,
}
