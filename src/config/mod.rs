//! The config file, typed once. Past this room no string means something else.
//!
//! Unknown keys are refused, and every fault is reported with its place and its remedy, not only
//! the first. The file is walked by hand because a derived deserializer stops at the
//! first fault.

mod accepts;
mod diagnostic;
pub mod gate;
pub mod glob;
pub mod hook;
mod layer;
mod listen;
pub mod names;
pub mod quota;
pub mod store;
pub mod stream;
mod table;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use chrono_tz::Tz;
use ipnet::IpNet;
use tollkeeper_parsers::error::FormatError;
use tollkeeper_parsers::format::Spec;
use tollkeeper_parsers::plan::Plan;
use toml::de::DeTable;

pub use self::accepts::{Accepts, NamePattern};
pub use self::diagnostic::ConfigError;
use self::diagnostic::{Findings, span_in_literal};
use self::gate::Gates;
use self::glob::Pattern;
pub use self::hook::Hook;
pub use self::layer::{Layer, parse_layer};
pub use self::listen::{Listen, parse_listen};
pub use self::store::{MysqlUrl, StoreAccess, StoreUrl, parse_store_url};
use self::stream::Taken;
pub use self::stream::{COLUMNS_IN_STREAM, PipeSource, StreamVhost, SyslogSource};
use self::table::{Table, Text};
use crate::quota::rule::Quota;

/// The largest config that is read.
const MAX_CONFIG_BYTES: u64 = 16 << 20;

/// `report_interval` where the config says nothing.
pub const DEFAULT_REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// First-ever names a day where the config says nothing: `max_new_vhosts_per_day` and
/// `max_new_users_per_day`.
pub const DEFAULT_MAX_NEW_NAMES_PER_DAY: u64 = 10_000;

const MIN_REPORT_INTERVAL: Duration = Duration::from_secs(1);
const MAX_REPORT_INTERVAL: Duration = Duration::from_secs(3600);

/// Everything an operator can say.
#[derive(Debug, Clone)]
pub struct Config {
    /// Whose days the rows are. `None`: not said; the store's, or else the system's.
    pub timezone: Option<Tz>,
    /// How often the ledger is flushed.
    pub report_interval: Duration,
    /// How many log files are held open. `None`: as many as the system grants.
    pub max_held_files: Option<u64>,
    /// Where the rows are. `None`: SQLite in the state directory.
    pub store: Option<StoreUrl>,
    /// How to get in there.
    pub store_access: StoreAccess,
    /// Followed files.
    pub file_sources: Vec<FileSource>,
    /// Syslog, in the order of the file: the first that accepts a message takes it.
    pub syslog_sources: Vec<SyslogSource>,
    /// What programs write into a pipe.
    pub pipe_sources: Vec<PipeSource>,
    /// Names of sites.
    pub vhosts: VhostRules,
    /// Owners, each with the folded names of their vhosts.
    pub owners: BTreeMap<String, Vec<String>>,
    /// Client classes, in the order of their names.
    pub classes: Vec<Class>,
    /// Quotas, each with a name of its own; that of mod_leech's table, where there is one, is the last.
    pub quotas: Vec<Quota>,
    /// Where the web servers are told.
    pub gates: Gates,
    /// What is told of changes.
    pub hook: Option<Hook>,
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
    /// Where logrotate moves the rotations: absolute, or from each log's own folder on.
    pub olddir: Option<PathBuf>,
    /// Which layer of servers wrote the logs.
    pub layer: Layer,
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
#[derive(Debug, Clone)]
pub struct VhostRules {
    /// Folded names, and `*.suffix` patterns; empty: all names are known.
    pub known: Vec<String>,
    /// More of them, one a line, re-read when the file changes.
    pub known_file: Option<PathBuf>,
    /// Folded alias, or `*.suffix`, to folded name; aliases of aliases are resolved.
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

impl Default for Config {
    /// What an empty file says.
    fn default() -> Self {
        Self {
            timezone: None,
            report_interval: DEFAULT_REPORT_INTERVAL,
            max_held_files: None,
            store: None,
            store_access: StoreAccess::default(),
            file_sources: Vec::new(),
            syslog_sources: Vec::new(),
            pipe_sources: Vec::new(),
            vhosts: VhostRules::default(),
            owners: BTreeMap::new(),
            classes: Vec::new(),
            quotas: Vec::new(),
            gates: Gates::default(),
            hook: None,
        }
    }
}

impl Default for VhostRules {
    fn default() -> Self {
        Self {
            known: Vec::new(),
            known_file: None,
            aliases: BTreeMap::new(),
            aliases_file: None,
            fold_www: false,
            max_new_vhosts_per_day: DEFAULT_MAX_NEW_NAMES_PER_DAY,
            max_new_users_per_day: DEFAULT_MAX_NEW_NAMES_PER_DAY,
        }
    }
}

impl VhostRules {
    /// These rules and what the side files add to them, as they stand now. What the config itself
    /// says goes over what `aliases_file` says.
    ///
    /// # Errors
    /// A file cannot be read or understood, its aliases and those of the config make a loop, or
    /// `known_file` names no site, which would let every name be known.
    pub fn with_files(&self) -> Result<Self, ConfigError> {
        let mut rules = self.clone();
        let site = |name: String| match self.fold_www {
            true => names::without_www(&name).to_owned(),
            false => name,
        };
        if let Some(path) = &self.known_file {
            let known = names::read_known(path)?;
            if known.is_empty() && self.known.is_empty() {
                let message = format!("the known_file {} names no site", path.display());
                return Err(ConfigError::new(message));
            }
            rules.known.extend(known.into_iter().map(site));
            rules.known.sort();
            rules.known.dedup();
        }
        if let Some(path) = &self.aliases_file {
            let mut aliases = names::read_aliases(path)?;
            for name in aliases.values_mut() {
                *name = site(std::mem::take(name));
            }
            aliases.extend(self.aliases.clone());
            rules.aliases = names::resolve_aliases(&aliases).map_err(|loops| {
                let loops: Vec<_> = loops.iter().map(ToString::to_string).collect();
                let loops = loops.join("\n");
                ConfigError::new(format!("{} and the config: {loops}", path.display()))
            })?;
        }
        Ok(rules)
    }
}

impl Config {
    /// Whether no lines come from anywhere.
    #[must_use]
    pub fn has_no_source(&self) -> bool {
        self.file_sources.is_empty()
            && self.syslog_sources.is_empty()
            && self.pipe_sources.is_empty()
    }

    /// The layer of each source, by its name.
    pub fn layers(&self) -> impl Iterator<Item = (&str, &Layer)> {
        let files = self.file_sources.iter().map(|it| (&*it.name, &it.layer));
        let syslog = self.syslog_sources.iter().map(|it| (&*it.name, &it.layer));
        let pipes = self.pipe_sources.iter().map(|it| (&*it.name, &it.layer));
        files.chain(syslog).chain(pipes)
    }

    /// This config, with the names of sites that its side files have now.
    ///
    /// # Errors
    /// See [`VhostRules::with_files`].
    pub fn with_side_files(&self) -> Result<Self, ConfigError> {
        let vhosts = self.vhosts.with_files()?;
        Ok(Self {
            vhosts,
            ..self.clone()
        })
    }

    /// Reads a config file.
    ///
    /// # Errors
    /// The file cannot be read, or all that is wrong in it.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = names::read_text(path, MAX_CONFIG_BYTES, "config")?;
        Self::parse(&text, &path.display().to_string())
    }

    /// Understands the text of a config; `name` stands in front of messages.
    ///
    /// # Errors
    /// All that is wrong in it. Where the text is no TOML, that alone.
    pub fn parse(text: &str, name: &str) -> Result<Self, ConfigError> {
        let mut findings = Findings::default();
        let (table, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            for error in errors {
                findings.report(error.span().unwrap_or(0..0), error.message(), "");
            }
            return findings.into_result(Self::default(), name, text);
        }
        let mut reader = Reader {
            text,
            findings: &mut findings,
        };
        let config = reader.config(Table::root(&table));
        findings.into_result(config, name, text)
    }
}

/// The sections of the file, each into its type.
struct Reader<'f, 't> {
    text: &'t str,
    findings: &'f mut Findings,
}

impl<'t> Reader<'_, 't> {
    fn config(&mut self, mut root: Table<'t>) -> Config {
        let mut config = Config::default();
        if let Some(text) = root.string("timezone", self.findings) {
            config.timezone = self.checked(text, parse_timezone);
        }
        if let Some(text) = root.string("report_interval", self.findings) {
            let interval = self.checked(text, parse_report_interval);
            config.report_interval = interval.unwrap_or(DEFAULT_REPORT_INTERVAL);
        }
        config.max_held_files = root.count("max_held_files", self.findings);
        if let Some(store) = root.table("store", self.findings) {
            let place = store.span();
            (config.store, config.store_access) = self.store(store);
            let users_table = config.store_access.users_table.as_deref();
            if let Some(name) = users_table.filter(|name| quota::could_be_ours(name)) {
                let message =
                    format!("users_table: {name:?} is a table of our own, or could become one");
                let help = "write the name of mod_leech's table";
                self.findings.report(place, message, help);
            }
        }
        if let Some(source) = root.table("source", self.findings) {
            self.sources(source, &mut config);
        }
        if let Some(vhosts) = root.table("vhosts", self.findings) {
            config.vhosts = self.vhosts(vhosts);
        }
        if let Some(owners) = root.table("owner", self.findings) {
            config.owners = self.owners(owners, &config.vhosts);
        }
        if let Some(classes) = root.table("class", self.findings) {
            config.classes = self.classes(classes);
        }
        if let Some(hook) = root.table("hook", self.findings) {
            config.hook = self.hook(hook);
        }
        if let Some(gates) = root.table("gate", self.findings) {
            config.gates = self.gates(gates);
        }
        let quotas = root.tables("quota", self.findings);
        let leech = root.table("leech", self.findings);
        config.quotas = self.quotas(quotas, leech, &config);
        root.finish(self.findings);
        config
    }

    /// `[source]`: of each kind many, no two of one name.
    fn sources(&mut self, mut table: Table<'t>, config: &mut Config) {
        let mut taken = Taken::default();
        for file in table.tables("file", self.findings) {
            let place = file.span();
            if let Some(source) = self.file_source(file) {
                taken.name(&source.name, place, self.findings);
                config.file_sources.push(source);
            }
        }
        for syslog in table.tables("syslog", self.findings) {
            let source = self.syslog_source(syslog, &mut taken);
            config.syslog_sources.extend(source);
        }
        for pipe in table.tables("pipe", self.findings) {
            let source = self.pipe_source(pipe, &mut taken);
            config.pipe_sources.extend(source);
        }
        table.finish(self.findings);
    }

    fn file_source(&mut self, mut table: Table<'t>) -> Option<FileSource> {
        let place = table.span();
        let name = table.string("name", self.findings);
        let paths = table.some_strings("paths", self.findings);
        let formats = table.some_strings("format", self.findings);
        let users = table.string("users", self.findings);
        let vhost = table.string("vhost", self.findings);
        let olddir = table.string("olddir", self.findings);
        let layer = self.layer(&mut table);
        table.finish(self.findings);

        if let Some(name) = name {
            self.checked(name, parse_label);
        }
        let mut patterns = Vec::new();
        match &paths {
            None => {
                let help = "add paths = [\"/var/log/…\"]";
                self.findings
                    .report(place.clone(), "this source has no paths", help);
            }
            Some(texts) => {
                for text in texts {
                    match Pattern::new(text.value) {
                        Ok(pattern) => patterns.push(pattern),
                        Err(error) => {
                            let span = self.inside(*text, error.span);
                            self.findings.report(span, error.message, error.help);
                        }
                    }
                }
            }
        }
        let specs = match formats {
            None => vec![Spec::Auto],
            Some(texts) => texts.iter().filter_map(|text| self.format(*text)).collect(),
        };
        let users = users.and_then(|text| self.checked(text, parse_users));
        let vhost = vhost.and_then(|text| self.vhost_template(text, &patterns));
        let olddir = olddir.and_then(|text| self.checked(text, parse_olddir));
        let paths: Vec<String> = paths?.iter().map(|text| text.value.to_owned()).collect();
        let name = name
            .map(|text| text.value.to_owned())
            .or_else(|| paths.first().cloned());
        Some(FileSource {
            name: name?,
            paths,
            formats: specs,
            users,
            vhost,
            olddir,
            layer,
        })
    }

    /// `layer`, which a source of any kind may have.
    fn layer(&mut self, table: &mut Table<'t>) -> Layer {
        let text = table.string("layer", self.findings);
        let layer = text.and_then(|text| self.checked(text, parse_layer));
        layer.unwrap_or_default()
    }

    fn format(&mut self, text: Text<'t>) -> Option<Spec> {
        match parse_format(text.value) {
            Ok(spec) => Some(spec),
            Err(error) => {
                let span = self.inside(text, error.span);
                let help = error.help.unwrap_or_default();
                self.findings.report(span, error.message, help);
                None
            }
        }
    }

    /// A name of a host, folded; or one with captures, as it stands.
    fn vhost_template(&mut self, text: Text<'t>, patterns: &[Pattern]) -> Option<String> {
        let references = match glob::template_references(text.value) {
            Ok(references) => references,
            Err((span, message)) => {
                let span = self.inside(text, span);
                let help = "{1} stands for what the first wildcard of the path matched";
                self.findings.report(span, message, help);
                return None;
            }
        };
        let fewest = patterns.iter().map(Pattern::capture_count).min();
        for (number, span) in &references {
            if fewest.is_some_and(|fewest| *number > fewest) {
                let span = self.inside(text, span.clone());
                let message = format!("no capture {number} in every path of this source");
                let help = "each *, **, ? and {a,b} of a path is a capture, counted from the left";
                self.findings.report(span, message, help);
                return None;
            }
        }
        // What the captures will be nobody knows; the rest must be able to stand in a name.
        let most = references
            .iter()
            .map(|(number, _)| *number)
            .max()
            .unwrap_or(0);
        let sample = glob::expand_vhost(text.value, &vec!["x".to_owned(); most])?;
        match names::fold(&sample) {
            Ok(folded) if references.is_empty() => Some(folded),
            Ok(_) => Some(text.value.to_owned()),
            Err(_) => {
                let message = format!("{:?} cannot be the name of a host", text.value);
                self.findings.report(text.span(), message, "");
                None
            }
        }
    }

    fn vhosts(&mut self, mut table: Table<'t>) -> VhostRules {
        let mut rules = VhostRules {
            fold_www: table.boolean("fold_www", self.findings).unwrap_or_default(),
            ..VhostRules::default()
        };
        for text in table.strings("known", self.findings).unwrap_or_default() {
            if let Some(mut name) = self.checked(text, |name| {
                names::fold_pattern(name).map_err(|message| (message, String::new()))
            }) {
                if rules.fold_www {
                    name = names::without_www(&name).to_owned();
                }
                if !rules.known.contains(&name) {
                    rules.known.push(name);
                }
            }
        }
        if let Some(aliases) = table.table("aliases", self.findings) {
            let entries: Vec<_> = aliases
                .named_strings(self.findings)
                .into_iter()
                .map(|(alias, site)| (alias.value, alias.span(), site.value, site.span()))
                .collect();
            rules.aliases = names::fold_aliases(&entries, rules.fold_www, self.findings);
        }
        let file = table.string("known_file", self.findings);
        rules.known_file = file.and_then(|text| self.checked(text, parse_absolute));
        let file = table.string("aliases_file", self.findings);
        rules.aliases_file = file.and_then(|text| self.checked(text, parse_absolute));
        if let Some(max) = table.count("max_new_vhosts_per_day", self.findings) {
            rules.max_new_vhosts_per_day = max;
        }
        if let Some(max) = table.count("max_new_users_per_day", self.findings) {
            rules.max_new_users_per_day = max;
        }
        table.finish(self.findings);
        rules
    }

    fn owners(&mut self, table: Table<'t>, rules: &VhostRules) -> BTreeMap<String, Vec<String>> {
        let mut owners = BTreeMap::new();
        let mut owner_of: BTreeMap<String, String> = BTreeMap::new();
        for (owner, mut table) in table.named_tables(self.findings) {
            let place = table.span();
            let texts = table.some_strings("vhosts", self.findings);
            table.finish(self.findings);
            self.checked(owner, parse_label);
            if texts.is_none() {
                let message = format!("the owner {:?} has no vhosts", owner.value);
                let help = "add vhosts = [\"example.org\"]";
                self.findings.report(place, message, help);
            }
            let mut vhosts = Vec::new();
            for text in texts.unwrap_or_default() {
                let Some(vhost) = self.checked(text, |name| owned_vhost(name, rules)) else {
                    continue;
                };
                let earlier = owner_of.insert(vhost.clone(), owner.value.to_owned());
                if let Some(earlier) = earlier {
                    let message = format!("{vhost:?} is owned by {earlier:?} already");
                    let help = "a site has one owner: take it out of one of the lists";
                    self.findings.report(text.span(), message, help);
                }
                vhosts.push(vhost);
            }
            owners.insert(owner.value.to_owned(), vhosts);
        }
        owners
    }

    fn classes(&mut self, table: Table<'t>) -> Vec<Class> {
        let mut classes: Vec<Class> = Vec::new();
        let mut class_of: BTreeMap<IpNet, String> = BTreeMap::new();
        for (name, mut table) in table.named_tables(self.findings) {
            let place = table.span();
            let texts = table.some_strings("networks", self.findings);
            table.finish(self.findings);
            self.checked(name, parse_label);
            if texts.is_none() {
                let message = format!("the class {:?} has no networks", name.value);
                let help = "add networks = [\"192.0.2.0/24\"]";
                self.findings.report(place, message, help);
            }
            let mut networks = Vec::new();
            for text in texts.unwrap_or_default() {
                let Some(network) = self.checked(text, parse_network) else {
                    continue;
                };
                let earlier = class_of.insert(network, name.value.to_owned());
                if let Some(earlier) = earlier {
                    let message = format!("{network} is in the class {earlier:?} already");
                    let help = "a client has one class: take the network out of one of the lists";
                    self.findings.report(text.span(), message, help);
                }
                networks.push(network);
            }
            classes.push(Class {
                name: name.value.to_owned(),
                networks,
            });
        }
        classes.sort_by(|a, b| a.name.cmp(&b.name));
        classes
    }

    /// Parses a string, or reports why it cannot be and what to do.
    fn checked<T>(
        &mut self,
        text: Text<'t>,
        parse: impl FnOnce(&str) -> Result<T, (String, String)>,
    ) -> Option<T> {
        match parse(text.value) {
            Ok(value) => Some(value),
            Err((message, help)) => {
                self.findings.report(text.span(), message, help);
                None
            }
        }
    }

    /// Where bytes of a string's value stand in the file.
    fn inside(&self, text: Text<'t>, inner: Range<usize>) -> Range<usize> {
        let span = text.span();
        let literal = self.text.get(span.clone()).unwrap_or_default();
        span_in_literal(literal, text.value, inner, span.start)
    }
}

/// A preset's name, `auto`, or `SERVER:FORMAT`; one that can be compiled, so that a format which
/// cannot be accounted is refused before the first line.
///
/// # Errors
/// Where it cannot be used, why, and the remedy.
pub fn parse_format(text: &str) -> Result<Spec, FormatError> {
    compilable(Spec::parse(text)?)
}

fn compilable(spec: Spec) -> Result<Spec, FormatError> {
    if let Spec::Format(format) = &spec {
        Plan::compile(format)?;
    }
    Ok(spec)
}

/// A name of the IANA database.
///
/// # Errors
/// What is wrong with it, and the remedy.
pub fn parse_timezone(name: &str) -> Result<Tz, (String, String)> {
    Tz::from_str(name).map_err(|_| {
        let all = || chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name());
        let help = match table::nearest(name, all()) {
            Some(nearest) => format!("did you mean {nearest:?}?"),
            None => {
                "write a name of the IANA database, such as \"Europe/Warsaw\" or \"UTC\"".into()
            }
        };
        (format!("unknown time zone {name:?}"), help)
    })
}

/// `verified`, `claimed` or `none`.
///
/// # Errors
/// What is wrong with it, and the remedy.
pub fn parse_users(users: &str) -> Result<Users, (String, String)> {
    match users {
        "verified" => Ok(Users::Verified),
        "claimed" => Ok(Users::Claimed),
        "none" => Ok(Users::None),
        _ => {
            let help = "\"verified\": the server checks every name that it logs; \"claimed\": it \
                        logs what the client sent; \"none\": no rows of users";
            Err((format!("unknown users {users:?}"), help.into()))
        }
    }
}

fn parse_report_interval(text: &str) -> Result<Duration, (String, String)> {
    let help = "write it with a unit, between \"1s\" and \"1h\", such as \"10s\"";
    duration_within(text, MIN_REPORT_INTERVAL..=MAX_REPORT_INTERVAL, help)
}

fn duration_within(
    text: &str,
    bounds: RangeInclusive<Duration>,
    help: &str,
) -> Result<Duration, (String, String)> {
    let duration = humantime::parse_duration(text)
        .map_err(|error| (format!("{text:?} is no duration: {error}"), help.to_owned()))?;
    if !bounds.contains(&duration) {
        return Err((format!("{text:?} is out of bounds"), help.to_owned()));
    }
    Ok(duration)
}

fn parse_absolute(path: &str) -> Result<PathBuf, (String, String)> {
    if !path.starts_with('/') {
        let message = format!("the path {path:?} is not absolute");
        return Err((message, "write it from the root: /etc/tollkeeper/…".into()));
    }
    Ok(PathBuf::from(path))
}

/// A folder as logrotate's `olddir` names it, which has no wildcards either.
fn parse_olddir(path: &str) -> Result<PathBuf, (String, String)> {
    let help = "write the folder as logrotate has it: /var/log/old, or old for one beside each log";
    let refused = |message: String| Err((message, help.to_owned()));
    if path.is_empty() {
        return refused("olddir names no folder".to_owned());
    }
    if path.contains(['*', '?', '[', '{', '\0']) {
        return refused(format!("olddir {path:?}: takes no wildcards"));
    }
    Ok(PathBuf::from(path))
}

/// What a source, an owner or a class may be called.
fn parse_label(name: &str) -> Result<(), (String, String)> {
    const MAX_LABEL_BYTES: usize = 255;
    if name.is_empty() || name.len() > MAX_LABEL_BYTES || name.chars().any(char::is_control) {
        let help = format!("one to {MAX_LABEL_BYTES} bytes, no control characters");
        return Err((format!("{name:?} cannot be a name here"), help));
    }
    Ok(())
}

fn parse_network(text: &str) -> Result<IpNet, (String, String)> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    let network: IpNet = text.parse().map_err(|_| {
        let help = "write an address or a network, such as 192.0.2.0/24 or 2001:db8::/32";
        (format!("{text:?} is no network"), help.to_owned())
    })?;
    if network.trunc() != network {
        let message = format!("{text:?} has bits set behind its prefix");
        return Err((message, format!("did you mean {}?", network.trunc())));
    }
    Ok(network)
}

fn owned_vhost(name: &str, rules: &VhostRules) -> Result<String, (String, String)> {
    if name.starts_with("*.") {
        let help = "name each site".to_owned();
        return Err((format!("{name:?}: an owner has sites, not patterns"), help));
    }
    let vhost = names::fold(name).map_err(|message| (message, String::new()))?;
    names::with_rows(&vhost, rules)
}
