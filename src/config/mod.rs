//! The config file, typed once. Past this room no string means something else.
//!
//! Unknown keys are refused, and every fault is reported with its place and its remedy, not only
//! the first. The file is walked by hand because a derived deserializer stops at the
//! first fault.

mod accepts;
mod class;
mod diagnostic;
mod file;
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
mod vhosts;

use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use chrono_tz::Tz;
use tollkeeper_parsers::error::FormatError;
use tollkeeper_parsers::format::Spec;
use tollkeeper_parsers::plan::Plan;
use toml::de::DeTable;

pub use self::accepts::{Accepts, NamePattern};
pub use self::class::Class;
use self::class::parse_network;
pub use self::diagnostic::ConfigError;
use self::diagnostic::{Findings, span_in_literal};
pub use self::file::{FileSource, Users, parse_users};
use self::gate::Gates;
pub use self::hook::Hook;
pub use self::layer::{Layer, parse_layer};
pub use self::listen::{Listen, parse_listen};
pub use self::store::{MysqlUrl, StoreAccess, StoreUrl, parse_store_url};
use self::stream::Taken;
pub use self::stream::{COLUMNS_IN_STREAM, PipeSource, StreamVhost, SyslogSource};
use self::table::{Table, Text};
pub use self::vhosts::VhostRules;
use self::vhosts::owned_vhost;
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

/// What a source, an owner or a class may be called.
fn parse_label(name: &str) -> Result<(), (String, String)> {
    const MAX_LABEL_BYTES: usize = 255;
    if name.is_empty() || name.len() > MAX_LABEL_BYTES || name.chars().any(char::is_control) {
        let help = format!("one to {MAX_LABEL_BYTES} bytes, no control characters");
        return Err((format!("{name:?} cannot be a name here"), help));
    }
    Ok(())
}
