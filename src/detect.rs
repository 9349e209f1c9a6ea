//! Which preset a log is written in, by its first lines.

use std::io;

use memchr::memchr_iter;
use tollkeeper_parsers::format::{self, Choice, Detected, Spec};
use tollkeeper_parsers::plan::{Carried, Plan};
use tollkeeper_parsers::syslog::Envelope;

/// Lines of a file that detection looks at.
const SAMPLE_LINES: usize = 200;

/// What is said where all lines of a file go to the row of those that name no site.
pub const NO_VHOST: &str = "its format names no site, so all of it goes to the row _none; name the site with --vhost \
     NAME (vhost = \"NAME\" in the config), or log it in the format";

/// A preset that was chosen, and how.
pub struct Chosen {
    /// The preset, with what its lines stand in.
    pub spec: Spec,
    /// Its name, as `--format` takes it.
    pub name: String,
    /// How sure it is, and by what.
    pub choice: Choice,
}

impl Chosen {
    /// What was chosen, why, and how sure that is.
    #[must_use]
    pub fn note(&self) -> String {
        format!("format {}: {}", self.name, self.choice.why)
    }
}

/// As [`choose`]: the preset, and what to say of the choice.
///
/// # Errors
/// Why none can be chosen, and what to do.
pub fn detect(spec: &Spec, start: &[u8]) -> Result<(Spec, String), String> {
    choose(spec, start).map(|chosen| (chosen.spec.clone(), chosen.note()))
}

/// Chooses a preset from the first lines of a log, for a format that is left to us.
///
/// # Errors
/// Why none can be chosen, and what to do.
pub fn choose(spec: &Spec, start: &[u8]) -> Result<Chosen, String> {
    let mut lines: Vec<&[u8]> = Vec::new();
    let mut begin = 0;
    for end in memchr_iter(b'\n', start).take(SAMPLE_LINES) {
        lines.push(&start[begin..end]);
        begin = end + 1;
    }
    if lines.is_empty() {
        lines.push(start);
    }
    let detected = match spec {
        Spec::AutoWithin(envelope) => format::detect_within(*envelope, &lines),
        Spec::Auto | Spec::Format(_) => format::detect(&lines),
    };
    match detected {
        Detected::Preset(choice) => {
            let spec = Spec::parse(choice.name).map_err(|error| error.to_string())?;
            let prefix = match choice.envelope {
                Some(Envelope::Written) => "syslog:",
                Some(Envelope::Wire) | None => "",
            };
            let spec = match choice.envelope {
                Some(envelope) => spec.within(envelope),
                None => spec,
            };
            let name = format!("{prefix}{}", choice.name);
            Ok(Chosen { spec, name, choice })
        }
        Detected::Ambiguous { names, why } => Err(format!(
            "its format could be {}: {why}\nname one with --format, or paste the format from the server's config",
            names.join(" or ")
        )),
        Detected::Nothing { why } => Err(format!(
            "its format is none of the presets: {why}\n\
             paste it from the server's config: --format 'nginx:log_format …', 'apache:LogFormat …', \
             'lighttpd:accesslog.format = …', 'squid:logformat …' or 'varnishncsa:…'{}",
            match spec {
                Spec::AutoWithin(Envelope::Wire) => "",
                _ => "; with syslog: before it, if a syslog daemon wrote the log",
            }
        )),
    }
}

/// As [`detect`], from lines in the middle of a log: it may name its columns in front of them, as
/// `carried` tells, which is asked only where the lines alone do not show what they are.
///
/// # Errors
/// Why no preset can be chosen, and what to do.
pub fn detect_at(
    spec: &Spec,
    start: &[u8],
    carried: &dyn Fn() -> io::Result<Carried>,
) -> Result<(Spec, String), String> {
    detect(spec, start).or_else(|why| {
        let carried = carried().map_err(|error| error.to_string())?;
        match carried.header() {
            Some(header) => detect(spec, &[header.as_bytes(), b"\n", start].concat()),
            None => Err(why),
        }
    })
}

/// Whether lines may name the site. Where a log names its columns that is told by them: by those that
/// the lines before `start` left, or that stand in it; where there are none yet, they may.
#[must_use]
pub fn may_name_vhost(plans: &[Plan], start: &[u8], carried: &Carried) -> bool {
    let mut carried = carried.clone();
    carried.pass(start);
    let columns = |plan: &Plan| plan.with_columns(carried.header()?.as_bytes());
    plans.iter().any(|plan| {
        let by_columns = || columns(plan).is_none_or(|columns| columns.has_vhost());
        plan.has_vhost() || plan.is_columnar() && by_columns()
    })
}
