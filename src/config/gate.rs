//! `[gate]`: where the web servers are told whose gate is closed.

use std::ops::RangeInclusive;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::table::{Table, Text};
use super::{Reader, duration_within};

/// `debounce` where the config says nothing.
pub const DEFAULT_DEBOUNCE: Duration = Duration::from_secs(2);
/// `reload_folder` where the config says nothing.
pub const DEFAULT_RELOAD_FOLDER: &str = "/run/tollkeeper/reload";

const DEBOUNCE: RangeInclusive<Duration> = Duration::from_millis(500)..=Duration::from_secs(3600);
const MAX_SERVER_BYTES: usize = 64;

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

/// What is written, and by which gate: each place belongs to one.
#[derive(Debug, Default)]
struct Places {
    taken: Vec<(PathBuf, &'static str)>,
}

impl Places {
    /// Notes a path, or says what stands in its way.
    fn take(&mut self, path: &Path, title: &'static str) -> Result<(), (String, String)> {
        let clash = self
            .taken
            .iter()
            .find(|(other, _)| path.starts_with(other) || other.starts_with(path));
        if let Some((other, owner)) = clash {
            let (path, other) = (path.display(), other.display());
            let help = "each gate has files and folders of its own, side by side: what it does not \
                        know in them it takes away";
            let message = match path.to_string() == other.to_string() {
                true => format!("{path} belongs to {owner} already"),
                false => format!("{path} and {other}, of {owner}, lie in one another"),
            };
            return Err((message, help.to_owned()));
        }
        self.taken.push((path.to_owned(), title));
        Ok(())
    }
}

impl<'t> Reader<'_, 't> {
    /// `[gate]`: of each kind many.
    pub(super) fn gates(&mut self, mut table: Table<'t>) -> Gates {
        let mut gates = Gates::default();
        let mut places = Places::default();
        for table in table.tables("nginx", self.findings) {
            let gate = self.nginx_gate(table, &mut places);
            gates.nginx.extend(gate);
        }
        for mut table in table.tables("apache", self.findings) {
            let (flags, map) = self.flags_and_map(&mut table, "[[gate.apache]]", &mut places);
            table.finish(self.findings);
            gates.apache.push(ApacheGate { flags, map });
        }
        for mut table in table.tables("lighttpd", self.findings) {
            let flags = self.place(&mut table, "flags", "[[gate.lighttpd]]", &mut places);
            self.require(&table, "flags", FLAGS_HELP);
            table.finish(self.findings);
            gates
                .lighttpd
                .extend(flags.map(|flags| LighttpdGate { flags }));
        }
        for table in table.tables("haproxy", self.findings) {
            let gate = self.haproxy_gate(table, &mut places);
            gates.haproxy.extend(gate);
        }
        gates.list = self.file_gates(&mut table, "list", "[[gate.list]]", &mut places);
        gates.json = self.file_gates(&mut table, "json", "[[gate.json]]", &mut places);
        table.finish(self.findings);
        gates
    }

    fn nginx_gate(&mut self, mut table: Table<'t>, places: &mut Places) -> Option<NginxGate> {
        let (flags, map) = self.flags_and_map(&mut table, "[[gate.nginx]]", places);
        let server = table.string("reload", self.findings);
        let folder = table.string("reload_folder", self.findings);
        let debounce = table.string("debounce", self.findings);
        for (text, needed, help) in [
            (server, "map", "flags need no reload: take the line out"),
            (
                folder,
                "reload",
                "add reload = \"nginx\", or take the line out",
            ),
            (
                debounce,
                "reload",
                "add reload = \"nginx\", or take the line out",
            ),
        ] {
            if let Some(text) = text
                && !table.has(needed)
            {
                let message = format!("this means nothing without {needed}");
                self.findings.report(text.span(), message, help);
            }
        }
        table.finish(self.findings);
        let server = server.and_then(|text| self.checked(text, parse_server));
        let folder = folder.and_then(|text| self.checked(text, parse_place));
        let debounce = debounce.and_then(|text| self.checked(text, parse_debounce));
        let reload = server.map(|server| ReloadRequest {
            server,
            folder: folder.unwrap_or_else(|| PathBuf::from(DEFAULT_RELOAD_FOLDER)),
            debounce: debounce.unwrap_or(DEFAULT_DEBOUNCE),
        });
        Some(NginxGate { flags, map, reload })
    }

    fn haproxy_gate(&mut self, mut table: Table<'t>, places: &mut Places) -> Option<HaproxyGate> {
        let map = self.place(&mut table, "map", "[[gate.haproxy]]", places);
        self.require(&table, "map", MAP_HELP);
        let texts = table.some_strings("sockets", self.findings);
        if texts.is_none() {
            let help = "add sockets = [\"/run/haproxy/admin.sock\"]: without one HAProxy would read \
                        the map only when it starts";
            self.findings
                .report(table.span(), "this gate has no sockets", help);
        }
        table.finish(self.findings);
        let mut sockets = Vec::new();
        for text in texts.unwrap_or_default() {
            let Some(socket) = self.checked(text, parse_place) else {
                continue;
            };
            if sockets.contains(&socket) {
                let message = format!("{} stands here twice", socket.display());
                self.findings
                    .report(text.span(), message, "take one of them out");
            }
            sockets.push(socket);
        }
        Some(HaproxyGate { map: map?, sockets })
    }

    fn file_gates(
        &mut self,
        table: &mut Table<'t>,
        key: &'static str,
        title: &'static str,
        places: &mut Places,
    ) -> Vec<FileGate> {
        let mut gates = Vec::new();
        for mut table in table.tables(key, self.findings) {
            let path = self.place(&mut table, "path", title, places);
            self.require(&table, "path", PATH_HELP);
            table.finish(self.findings);
            gates.extend(path.map(|path| FileGate { path }));
        }
        gates
    }

    /// `flags`, `map`, or both.
    fn flags_and_map(
        &mut self,
        table: &mut Table<'t>,
        title: &'static str,
        places: &mut Places,
    ) -> (Option<PathBuf>, Option<PathBuf>) {
        let flags = self.place(table, "flags", title, places);
        let map = self.place(table, "map", title, places);
        if !table.has("flags") && !table.has("map") {
            let message = "this gate has neither flags nor a map";
            self.findings.report(table.span(), message, FLAGS_HELP);
        }
        (flags, map)
    }

    fn require(&mut self, table: &Table<'t>, key: &str, help: &str) {
        if !table.has(key) {
            let message = format!("this gate has no {key}");
            self.findings.report(table.span(), message, help);
        }
    }

    fn place(
        &mut self,
        table: &mut Table<'t>,
        key: &'static str,
        title: &'static str,
        places: &mut Places,
    ) -> Option<PathBuf> {
        let text: Text<'t> = table.string(key, self.findings)?;
        let path = self.checked(text, parse_place)?;
        self.checked(text, |_| places.take(&path, title))?;
        Some(path)
    }
}

const FLAGS_HELP: &str = "add flags = \"/var/lib/tollkeeper/gate/…\"";
const MAP_HELP: &str = "add map = \"/var/lib/tollkeeper/gate/….map\"";
const PATH_HELP: &str = "add path = \"/var/lib/tollkeeper/gate/…\"";

/// A path that can stand in the configs of all servers as it is.
fn parse_place(text: &str) -> Result<PathBuf, (String, String)> {
    let refused = |why: &str, help: &str| Err((format!("{text:?}: {why}"), help.to_owned()));
    if !text.starts_with('/') {
        return refused("the path is not absolute", "write it from the root");
    }
    let is_plain =
        |character: &char| character.is_ascii_alphanumeric() || "/._-+@:=,~".contains(*character);
    if let Some(bad) = text.chars().find(|character| !is_plain(character)) {
        let why = format!("{bad:?} cannot stand in the configs of web servers");
        let help = "write a path of letters, digits and . _ - + @ : = , ~";
        return refused(&why, help);
    }
    let path = Path::new(text);
    let is_straight = path
        .components()
        .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    // What the components leave out: doubled slashes, points, a slash at the end.
    if text == "/" || !is_straight || path.components().collect::<PathBuf>().as_os_str() != text {
        let help = "write it without //, /./, /../ and a slash at its end";
        return refused("the path is not a straight one", help);
    }
    Ok(path.to_owned())
}

/// The instance of a unit.
fn parse_server(text: &str) -> Result<String, (String, String)> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    if !(1..=MAX_SERVER_BYTES).contains(&text.len()) || !text.bytes().all(is_plain) {
        let help = format!(
            "write what stands behind tollkeeper-reload@, such as \"nginx\": letters, digits, dashes and \
             underscores, {MAX_SERVER_BYTES} at most"
        );
        return Err((format!("{text:?} cannot be reloaded"), help));
    }
    Ok(text.to_owned())
}

fn parse_debounce(text: &str) -> Result<Duration, (String, String)> {
    let help = "write it with a unit, between \"500ms\" and \"1h\", such as \"2s\"";
    duration_within(text, DEBOUNCE, help)
}
