//! Which preset a sample of lines is in.
//!
//! Every preset is a candidate: it reads the whole sample, in order, and what it made of each line
//! is kept. The one that fits the most lines is taken. Of those that fit equally many:
//!
//! - one whose lines all fit another too gives way to none: [`rules::ASKS_MORE`];
//! - those that would give the same rows are one choice, at the lowest of their grades;
//! - what is left is told apart by what the values look like: [`rules::tell`];
//! - or not at all: [`Detected::Ambiguous`].
//!
//! A preset is added by its name in [`PRESETS`], and by a rule only if its lines fit others too.

mod rules;

use std::fmt;

use super::w3c::FIELDS;
use super::{Layout, PRESETS, Spec};
use crate::host::{Host, fold};
use crate::plan::{Carried, Plan};
use crate::record::{Ignored, Line, Record};
use crate::syslog::{self, Envelope};
use crate::time::Time;

/// What a sample of lines looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Detected {
    /// One preset fits.
    Preset(Choice),
    /// Several fit and the rows would differ.
    Ambiguous {
        /// Their names.
        names: Vec<&'static str>,
        /// How to choose.
        why: String,
    },
    /// None fits.
    Nothing {
        /// The nearest preset and how far it got.
        why: String,
    },
}

/// The preset that fits, and how sure that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The preset's name.
    pub name: &'static str,
    /// What its lines stand in.
    pub envelope: Option<Envelope>,
    /// How sure it is.
    pub certainty: Certainty,
    /// Lines that were looked at: blank ones and comments are none.
    pub lines: usize,
    /// Lines that fit it.
    pub fit: usize,
    /// The other preset that fits the most lines, where one fits any.
    pub runner_up: Option<RunnerUp>,
    /// Why, in a sentence.
    pub why: String,
}

/// A preset that was not chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunnerUp {
    /// Its name.
    pub name: &'static str,
    /// Lines that fit it.
    pub fit: usize,
}

/// How sure a choice is, in rising order. A *rival* is another preset that would give other rows for
/// the sample, unless all lines of the chosen one are known to fit it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Certainty {
    /// More than half of the lines fit.
    Unsure,
    /// More than half of the lines fit, and no rival fits more than half as many; or what the values
    /// look like tells it from its rivals.
    Likely,
    /// At least ten lines fit, they are at least nine tenths of all, and no rival fits more than a
    /// tenth as many.
    Certain,
}

impl fmt::Display for Certainty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unsure => "unsure",
            Self::Likely => "likely",
            Self::Certain => "certain",
        })
    }
}

/// Fewer lines than this make nothing certain.
const LINES_FOR_CERTAINTY: usize = 10;

/// Tries the presets on a sample of whole lines. Where most of them stand in an envelope that a syslog
/// daemon wrote, that is taken off first: some would fit a preset with it, as parts of a user's name.
#[must_use]
pub fn detect(sample: &[&[u8]]) -> Detected {
    if let Some(detected) = by_its_header(sample) {
        return detected;
    }
    let lines = || sample.iter().filter(|line| is_looked_at(line));
    let written = lines().filter(|line| syslog::written(line).is_some());
    let are_written = written.count() * 2 > lines().count();
    judge(sample, are_written.then_some(Envelope::Written))
}

/// A log that names its own columns, unless most of its lines are not in them. CloudFront's are told
/// by what only it has, and by their tabs.
fn by_its_header(sample: &[&[u8]]) -> Option<Detected> {
    let mut headers = sample.iter().filter(|line| line.starts_with(FIELDS));
    let header = headers.find_map(|line| super::w3c::read_header(line).ok())?;
    let names: [&'static str; 2] = match header.is_cloudfront() {
        true => ["cloudfront", "w3c"],
        false => ["w3c", "cloudfront"],
    };
    let candidates = names.map(|name| Candidate::new(name, None, sample));
    // Of two that fit alike, the first.
    let mut fits = candidates.into_iter().flatten();
    let first = fits.next()?;
    let chosen = fits.fold(
        first,
        |best, next| if next.fit > best.fit { next } else { best },
    );
    let (fit, lines) = (chosen.fit, chosen.read.len());
    if lines > 0 && fit * 2 <= lines {
        return None;
    }
    let by = match (chosen.name, header.is_cloudfront()) {
        ("w3c", _) => "",
        (_, true) => ", and has CloudFront's columns",
        (_, false) => ", and tabs stand between them",
    };
    let certainty = certainty(fit, lines, 0, true);
    Some(Detected::Preset(Choice {
        name: chosen.name,
        envelope: None,
        certainty,
        lines,
        fit,
        runner_up: None,
        why: format!(
            "its #Fields line names its columns{by}; {fit} of {lines} lines fit; {certainty}"
        ),
    }))
}

/// As [`detect`], for lines that stand in an envelope.
#[must_use]
pub fn detect_within(envelope: Envelope, sample: &[&[u8]]) -> Detected {
    judge(sample, Some(envelope))
}

/// Blank lines and comments are no evidence; a preset reads comments all the same, since they may
/// say what stands in the lines behind them.
fn is_looked_at(line: &[u8]) -> bool {
    !line.trim_ascii().is_empty() && line.first() != Some(&b'#')
}

/// A preset, and what it made of the sample.
struct Candidate {
    name: &'static str,
    plan: Plan,
    /// For each line that was looked at: what it would add to the rows, if it fits.
    read: Vec<Option<Row>>,
    fit: usize,
}

/// What a line adds to the rows; nothing, if it is no request.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row(Option<Charged>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Charged {
    site: Site,
    user: Option<Vec<u8>>,
    time: Option<Time>,
    bytes_in: Option<u64>,
    bytes_out: Option<u64>,
    status: Option<u16>,
}

/// Which row a line's vhost goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Site {
    /// The line names none.
    Missing,
    /// What it names is no host, though it may have a host's dots.
    Invalid { has_dot: bool },
    /// Folded.
    Named(String),
}

impl Candidate {
    fn new(name: &'static str, envelope: Option<Envelope>, sample: &[&[u8]]) -> Option<Self> {
        let Ok(Spec::Format(format)) = Spec::parse(name) else {
            return None;
        };
        let is_json = matches!(format.layout, Layout::Json(_));
        let plan = Plan::compile(&format).ok()?;
        let plan = match envelope {
            Some(envelope) => plan.within(envelope),
            None => plan,
        };
        let mut carried = Carried::default();
        let mut read = Vec::new();
        for line in sample {
            let row = match plan.read_for_account(*line, &mut carried) {
                // An object without the keys that make one of these servers' lines would do as well.
                Ok(Line::Record(record))
                    if is_json && (record.time.is_none() || record.bytes_out.is_none()) =>
                {
                    None
                }
                Ok(Line::Record(record)) => Some(Row(Some(Charged::new(&record)))),
                Ok(Line::Ignored(Ignored::Http2Connection | Ignored::NotARequest)) => {
                    Some(Row(None))
                }
                Ok(Line::Ignored(Ignored::Blank | Ignored::Comment)) | Err(_) => None,
            };
            if is_looked_at(line) {
                read.push(row);
            }
        }
        // Lines that are no requests are evidence only among some that are.
        let has_requests = read.iter().flatten().any(|Row(charged)| charged.is_some());
        let fit = if has_requests {
            read.iter().flatten().count()
        } else {
            0
        };
        Some(Self {
            name,
            plan,
            read,
            fit,
        })
    }

    fn gives_the_rows_of(&self, other: &Self) -> bool {
        self.read == other.read
    }

    /// The requests that it read.
    fn charged(&self) -> impl Iterator<Item = &Charged> {
        self.read
            .iter()
            .flatten()
            .filter_map(|Row(charged)| charged.as_ref())
    }
}

impl Charged {
    fn new(record: &Record<'_>) -> Self {
        let credits = record
            .status
            .is_some_and(|status| (200..300).contains(&status) || status == 304);
        let user = record.user.filter(|_| credits);
        let mut buffer = Vec::new();
        let vhost = record.vhost.map(|vhost| vhost.decode());
        let vhost = vhost.unwrap_or_default();
        let site = match fold(&vhost, &mut buffer) {
            Host::Missing => Site::Missing,
            Host::Invalid => Site::Invalid {
                has_dot: vhost.contains(&b'.'),
            },
            Host::Folded(name) | Host::Unicode(name) => Site::Named(name.to_owned()),
        };
        Self {
            site,
            user: user.map(|user| user.decode().into_owned()),
            time: record.time,
            bytes_in: record.bytes_in,
            bytes_out: record.bytes_out,
            status: record.status,
        }
    }
}

fn judge(sample: &[&[u8]], envelope: Option<Envelope>) -> Detected {
    let Some(first) = sample.iter().find(|line| is_looked_at(line)) else {
        let why = "there are no lines to judge by".into();
        return Detected::Nothing { why };
    };
    let candidates: Vec<Candidate> = PRESETS
        .iter()
        .filter(|name| !rules::NOT_TRIED.contains(name))
        .filter_map(|name| Candidate::new(name, envelope, sample))
        .collect();
    let lines = candidates.first().map_or(0, |first| first.read.len());
    let most = candidates.iter().map(|one| one.fit).max().unwrap_or(0);
    if most == 0 {
        let why = nearest(&candidates, first);
        return Detected::Nothing { why };
    }
    let behind = match envelope {
        Some(Envelope::Written) => ", behind what a syslog daemon wrote before each,",
        Some(Envelope::Wire) | None => "",
    };
    let share = format!("{most} of {lines} lines{behind}");
    let best: Vec<&Candidate> = candidates.iter().filter(|one| one.fit == most).collect();
    if most * 2 <= lines {
        let why = format!("{} comes nearest, and fits only {share}", best[0].name);
        return Detected::Nothing { why };
    }
    match choose(best) {
        Chosen::One { chosen, told } => {
            Detected::Preset(choice(chosen, told, &candidates, envelope, &share))
        }
        Chosen::None { among, because } => ambiguous(&among, envelope, &share, because),
    }
}

/// What comes of those that fit equally many lines.
enum Chosen<'c> {
    One {
        chosen: &'c Candidate,
        /// What told it from others.
        told: Option<&'static str>,
    },
    None {
        among: Vec<&'c Candidate>,
        because: &'static str,
    },
}

/// Chooses among those that fit equally many lines; there is at least one.
fn choose(best: Vec<&Candidate>) -> Chosen<'_> {
    let gives_way = |less: &Candidate| {
        let mut others = best.iter();
        others.any(|more| rules::asks_more(more.name, less.name))
    };
    let mut among: Vec<&Candidate> = best.iter().copied().filter(|one| !gives_way(one)).collect();
    let told = match rules::tell(&among) {
        rules::Told::One { name, because } => {
            among.retain(|one| one.name == name);
            Some(because)
        }
        rules::Told::Nothing => None,
        rules::Told::Doubt { because } => return Chosen::None { among, because },
    };
    match among.iter().min_by_key(|one| one.plan.grade()) {
        Some(chosen) if among.iter().all(|one| one.gives_the_rows_of(chosen)) => {
            Chosen::One { chosen, told }
        }
        _ => Chosen::None {
            among,
            because: "the rows would differ",
        },
    }
}

/// What is said of the chosen one.
fn choice(
    chosen: &Candidate,
    told: Option<&'static str>,
    candidates: &[Candidate],
    envelope: Option<Envelope>,
    share: &str,
) -> Choice {
    let others = || candidates.iter().filter(|one| one.name != chosen.name);
    let next = others().reduce(|best, next| if next.fit > best.fit { next } else { best });
    let next = next.filter(|one| one.fit > 0);
    let rivals = others()
        .filter(|one| !rules::asks_more(chosen.name, one.name) && !one.gives_the_rows_of(chosen));
    let rival = rivals.map(|one| one.fit).max().unwrap_or(0);
    let certainty = certainty(chosen.fit, chosen.read.len(), rival, told.is_some());
    let reasons = [told, rules::remark(chosen.name)].into_iter().flatten();
    let reasons: String = reasons.flat_map(|reason| [", ", reason]).collect();
    let next_in_words = match next {
        None => "no other preset fits any".to_owned(),
        Some(next) => {
            let same = if next.gives_the_rows_of(chosen) {
                ", with the same rows"
            } else {
                ""
            };
            format!("next is {}, which fits {}{same}", next.name, next.fit)
        }
    };
    Choice {
        name: chosen.name,
        envelope,
        certainty,
        lines: chosen.read.len(),
        fit: chosen.fit,
        runner_up: next.map(|next| RunnerUp {
            name: next.name,
            fit: next.fit,
        }),
        why: format!(
            "{share} fit {}{reasons}; {certainty}, {next_in_words}",
            chosen.name
        ),
    }
}

/// By the rule that [`Certainty`] states.
fn certainty(fit: usize, lines: usize, rival: usize, is_told: bool) -> Certainty {
    let are_enough = fit >= LINES_FOR_CERTAINTY && fit * 10 >= lines * 9;
    if are_enough && rival * 10 <= fit {
        Certainty::Certain
    } else if is_told || rival * 2 <= fit {
        Certainty::Likely
    } else {
        Certainty::Unsure
    }
}

fn ambiguous(
    best: &[&Candidate],
    envelope: Option<Envelope>,
    share: &str,
    because: &str,
) -> Detected {
    let names: Vec<&'static str> = best.iter().map(|one| one.name).collect();
    let prefix = match envelope {
        Some(Envelope::Written) => "syslog:",
        Some(Envelope::Wire) | None => "",
    };
    let formats = best
        .iter()
        .map(|one| format!("\"{prefix}{}\" for {}", one.name, rules::writers(one.name)));
    let formats: Vec<String> = formats.collect();
    Detected::Ambiguous {
        why: format!(
            "{share} fit each of {}, and {because}; set format = {}",
            names.join(", "),
            formats.join(", ")
        ),
        names,
    }
}

/// The preset that gets furthest into the first line.
fn nearest(candidates: &[Candidate], line: &[u8]) -> String {
    // Between tabs; the object behind it is written for people.
    if memchr::memmem::find(line, b"\thandled request\t{").is_some() {
        return "these lines are of Caddy's console encoder, which quotes nothing that clients send: write \"format json\" into the Caddyfile's log block".into();
    }
    let is_read = |one: &&Candidate| matches!(one.plan.read(line), Ok(Line::Record(_)));
    if let Some(one) = candidates.iter().find(is_read) {
        return format!(
            "the lines are {}'s, but have no usable time or no number of bytes sent: let the server log both",
            one.name
        );
    }
    if line.first() == Some(&b'{') {
        return "no preset fits; the lines are JSON, with neither Caddy's keys nor Traefik's: name the keys, as in json:time=KEY,out=KEY,vhost=KEY,user=KEY,status=KEY".into();
    }
    let furthest = candidates
        .iter()
        .filter_map(|one| Some((one.plan.read(line).err()?, one)))
        .reduce(|best, next| if next.0.at > best.0.at { next } else { best });
    match furthest {
        Some((error, one)) => {
            format!(
                "no preset fits; {} comes nearest in the first line: {}",
                one.name,
                one.plan.describe(&error)
            )
        }
        None => "no preset fits".into(),
    }
}

#[cfg(test)]
mod tests;
