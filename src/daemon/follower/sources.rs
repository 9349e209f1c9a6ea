//! Where the follower finds files, and how their lines are read: followed logs, and the spools of
//! streams.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tollkeeper_parsers::format::Spec;
use tollkeeper_parsers::plan::{Carried, EnvelopeVhost, Plan};
use tollkeeper_parsers::syslog::Envelope;

use crate::account;
use crate::config::glob::literal;
use crate::config::{COLUMNS_IN_STREAM, Config, FileSource, Layer, StreamVhost, Users};
use crate::detect;
use crate::source::find::Finder;
use crate::source::spool;
use crate::source::spool::record::{self, Record};

/// A source, as the config has it.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) name: String,
    pub(super) paths: Vec<String>,
    pub(super) finders: Vec<Finder>,
    pub(super) formats: Vec<Spec>,
    pub(super) users: Option<Users>,
    pub(super) vhost: Option<String>,
    pub(super) olddir: Option<PathBuf>,
    pub(super) layer: Layer,
    /// Its files are segments of a spool, which may hold so many bytes.
    pub(super) spool: Option<u64>,
    /// What of the envelopes names the site of lines that do not.
    pub(super) envelope_vhost: EnvelopeVhost,
    /// A line of its spool has parsed.
    pub(super) has_fit: bool,
    /// Its formats, compiled; once for each outcome of detecting those that were left to us.
    pub(super) plans: Vec<Compiled>,
}

/// The formats of a source, compiled.
#[derive(Clone)]
pub(super) struct Compiled {
    /// What was detected for each format that was left to us.
    detected: Vec<Spec>,
    pub(super) plans: Arc<[Plan]>,
}

impl Source {
    /// From the config.
    pub(super) fn of(config: &Config, state_dir: &Path) -> Vec<Self> {
        let files = config.file_sources.iter().map(Self::of_files);
        let syslog = config.syslog_sources.iter().map(|source| {
            let (envelope_vhost, vhost) = match &source.vhost {
                Some(StreamVhost::Name(name)) => (EnvelopeVhost::None, Some(name)),
                Some(StreamVhost::Host) => (EnvelopeVhost::Host, None),
                Some(StreamVhost::Tag) => (EnvelopeVhost::Tag, None),
                None => (EnvelopeVhost::None, None),
            };
            let formats = source.formats.iter();
            Self {
                formats: formats
                    .map(|spec| spec.clone().within(Envelope::Wire))
                    .collect(),
                users: source.users,
                vhost: vhost.cloned(),
                layer: source.layer.clone(),
                envelope_vhost,
                ..Self::of_spool(&source.name, state_dir, source.max_spool_bytes)
            }
        });
        let pipes = config.pipe_sources.iter().map(|source| Self {
            formats: source.formats.clone(),
            users: source.users,
            vhost: source.vhost.clone(),
            layer: source.layer.clone(),
            ..Self::of_spool(&source.name, state_dir, source.max_spool_bytes)
        });
        files.chain(syslog).chain(pipes).collect()
    }

    fn of_files(source: &FileSource) -> Self {
        let finders = source.paths.iter().filter_map(|path| Finder::new(path));
        Self {
            name: source.name.clone(),
            paths: source.paths.clone(),
            finders: finders.collect(),
            formats: source.formats.clone(),
            users: source.users,
            vhost: source.vhost.clone(),
            olddir: source.olddir.clone(),
            layer: source.layer.clone(),
            spool: None,
            envelope_vhost: EnvelopeVhost::None,
            has_fit: false,
            plans: Vec::new(),
        }
    }

    /// Without its formats.
    fn of_spool(name: &str, state_dir: &Path, max_bytes: u64) -> Self {
        let folder = spool::folder(state_dir, name);
        let segments = format!("{}/*.seg", literal(&folder.to_string_lossy()));
        Self {
            name: name.to_owned(),
            finders: Finder::new(&segments).into_iter().collect(),
            paths: vec![segments],
            formats: Vec::new(),
            users: None,
            vhost: None,
            olddir: None,
            layer: Layer::default(),
            spool: Some(max_bytes),
            envelope_vhost: EnvelopeVhost::None,
            has_fit: false,
            plans: Vec::new(),
        }
    }

    /// One that finds nothing any more, for the files that it has found.
    pub(super) fn retired(self) -> Self {
        Self {
            finders: Vec::new(),
            ..self
        }
    }

    pub(super) fn is_retired(&self) -> bool {
        self.finders.is_empty()
    }

    pub(super) fn finds(&self, path: &Path) -> bool {
        let mut finders = self.finders.iter();
        finders.any(|finder| finder.captures(path).is_some())
    }

    /// The plans for a file with these lines, and how they were chosen; else why there are none.
    /// `carried`: what the lines before them left, where the log names its columns.
    pub(super) fn plans_for(
        &mut self,
        bytes: &[u8],
        carried: &dyn Fn() -> io::Result<Carried>,
    ) -> Result<(Arc<[Plan]>, String), String> {
        let mut formats = self.formats.clone();
        let mut why = String::new();
        let mut detected = Vec::new();
        let sample = match self.spool {
            Some(_) => Cow::Owned(messages(bytes)),
            None => Cow::Borrowed(bytes),
        };
        for spec in formats.iter_mut().filter(|spec| spec.is_auto()) {
            let (found, note) = match self.spool {
                Some(_) => detect::detect(spec, &sample)?,
                None => detect::detect_at(spec, &sample, carried)?,
            };
            detected.push(found.clone());
            *spec = found;
            why = note;
        }
        let known = self.plans.iter().find(|known| known.detected == detected);
        if let Some(known) = known {
            return Ok((Arc::clone(&known.plans), why));
        }
        let plans = account::compile(&formats)
            .map_err(|(_, error)| format!("its format cannot be used: {error}"))?;
        if self.spool.is_some() && plans.iter().any(Plan::is_columnar) {
            return Err(COLUMNS_IN_STREAM.to_owned());
        }
        let plans: Arc<[Plan]> = match self.envelope_vhost {
            EnvelopeVhost::None => plans,
            from => plans
                .iter()
                .map(|plan| plan.clone().with_vhost_from(from))
                .collect(),
        };
        let ours = Arc::clone(&plans);
        self.plans.push(Compiled { detected, plans });
        Ok((ours, why))
    }
}

/// What was received, of these records.
fn messages(records: &[u8]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(records.len());
    for line in records.split(|byte| *byte == b'\n') {
        if let Ok(Record::Message { text, .. }) = record::decode(line) {
            lines.extend_from_slice(text);
            lines.push(b'\n');
        }
    }
    lines
}
