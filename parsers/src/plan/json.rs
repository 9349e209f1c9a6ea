//! JSON lines: one pass over the bytes, whatever the order of the keys.
//!
//! The keys that are read are a tree; what is under other keys is passed over. Nothing is built,
//! and nothing is allocated but where a key or a number has escapes in it. A line that is not one whole JSON object, to its last byte, is an error,
//! and so is one in which a key that is read stands twice: which of the two its writer meant cannot
//! be told. What JSON asks of a line is asked here too, but for two things that cannot make a line
//! mean something else: strings need not be UTF-8, and may hold the escapes `\a`, `\v`, `\e` and
//! `\xHH`, which servers write into "JSON" that is made of a format string.

mod reading;
mod scan;
mod value;

use super::{Body, Carried, EnvelopeVhost, Explained, Note, Plan, Reads};
use crate::error::{Expected, FormatError, LineError, Syntax};
use crate::format::{Clock, Field, Format, Json, Means, Requests, Server, Unit, time_of};
use crate::record::{Ignored, Line};
use crate::time::Time;

/// Objects and arrays within one another; deeper lines are errors.
const MAX_DEPTH: u32 = 32;
/// Keys that a format can read.
const MAX_KEYS: u32 = 64;
/// Keys that can stand for one meaning.
const MAX_CHOICES: usize = 100;

/// The keys that are read.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    root: Node,
    requests: Requests,
    /// The keys that only lines about a request have.
    signs: u64,
    /// What was received where the line does not say.
    absent_in: Option<u64>,
}

/// The keys of one object.
#[derive(Debug, Clone, Default)]
struct Node {
    children: Vec<Child>,
    /// A mark for each child; most of the other keys have another.
    marks: u64,
}

#[derive(Debug, Clone)]
struct Child {
    /// The first bytes of the key.
    word: u64,
    key: Box<[u8]>,
    /// What its value means.
    leaf: Option<Leaf>,
    /// What is read of its value if that is an object.
    below: Option<Node>,
}

#[derive(Debug, Clone)]
struct Leaf {
    take: Take,
    /// Of several values for one meaning the one with the lowest rank is taken.
    rank: u8,
    /// A bit of its own.
    bit: u64,
}

/// What is done with a value.
#[derive(Debug, Clone)]
enum Take {
    Vhost,
    User,
    Client,
    Method,
    Path,
    Time(Clock),
    In,
    Out,
    Status,
    Duration {
        unit: Unit,
        /// Caddy writes seconds or, if it is told to, nanoseconds; only seconds have a fraction.
        whole_is_unknown: bool,
    },
    /// Caddy's name for the log.
    Logger,
    /// Caddy's message.
    Message,
    /// How grave it is, which Traefik says of all that it writes.
    Level,
}

/// How many meanings there are.
const SLOTS: usize = 10;

impl Take {
    /// The meaning's number; those that need no choice have none.
    fn slot(&self) -> Option<usize> {
        Some(match self {
            Self::Vhost => 0,
            Self::User => 1,
            Self::Client => 2,
            Self::Method => 3,
            Self::Path => 4,
            Self::Time(_) => 5,
            Self::In => 6,
            Self::Out => 7,
            Self::Status => 8,
            Self::Duration { .. } => 9,
            Self::Logger | Self::Message | Self::Level => return None,
        })
    }
}

pub(super) fn compile(format: &Format, json: &Json) -> Result<Plan, FormatError> {
    let find = |wanted: fn(&Means) -> bool| json.fields.iter().find(|field| wanted(&field.means));
    let whole = |message: &str, help: &str| FormatError {
        span: format.span.clone(),
        message: message.into(),
        help: Some(help.into()),
    };
    let (wire_in, body_in) = (
        find(|means| *means == Means::In),
        find(|means| *means == Means::BodyIn),
    );
    let (wire_out, body) = (
        find(|means| *means == Means::Out),
        find(|means| *means == Means::Body),
    );
    for (wire, body) in [(wire_in, body_in), (wire_out, body)] {
        if let (Some(_), Some(body)) = (wire, body) {
            return Err(FormatError {
                span: body.span.clone(),
                message: "bytes on the wire and bytes of bodies cannot both be summed".into(),
                help: Some("leave out the one that counts bodies alone".into()),
            });
        }
    }
    if wire_out.is_none() && body.is_none() {
        return Err(whole(
            "the format has no number of bytes sent",
            "add out=KEY for a number of bytes on the wire, or body=KEY for one without the heads",
        ));
    }
    let Some(time) = find(|means| matches!(means, Means::Time(_))) else {
        return Err(whole("the format has no time", "add time=KEY"));
    };
    let mut notes = Vec::new();
    if let Means::Time(Clock::Pattern(pattern)) = &time.means
        && matches!(time_of(pattern), Some(Time::Local(_)))
    {
        notes.push(Note::NoZone);
    }
    let mut tree = Tree::default();
    for field in &json.fields {
        tree.add(field, json.requests)?;
    }
    if json.requests == Requests::CaddyAccess {
        tree.add_path(&["logger".to_owned()], Take::Logger, 0);
        tree.add_path(&["msg".to_owned()], Take::Message, 0);
    }
    if json.requests == Requests::AnyKey {
        tree.add_path(&["level".to_owned()], Take::Level, 0);
    }
    Ok(Plan {
        body: Body::Json(Keys {
            root: tree.root,
            requests: json.requests,
            signs: tree.signs,
            absent_in: wire_in.is_none().then_some(0),
        }),
        tells_http2: false,
        reads: Reads {
            vhost: find(|means| *means == Means::Vhost).is_some(),
            user: find(|means| *means == Means::User).is_some(),
            status: find(|means| *means == Means::Status).is_some(),
            wire_in: wire_in.is_some(),
            wire_out: wire_out.is_some(),
            both: false,
        },
        notes,
        envelope_vhost: EnvelopeVhost::None,
        format: format.clone(),
    })
}

#[derive(Default)]
struct Tree {
    root: Node,
    keys: u32,
    signs: u64,
}

impl Tree {
    fn add(&mut self, field: &Field, requests: Requests) -> Result<(), FormatError> {
        let fail = |message: String, help: &str| {
            Err(FormatError {
                span: field.span.clone(),
                message,
                help: Some(help.into()),
            })
        };
        let take = match &field.means {
            Means::Time(clock) => Take::Time(clock.clone()),
            Means::In | Means::BodyIn => Take::In,
            Means::Out | Means::Body => Take::Out,
            Means::Vhost => Take::Vhost,
            Means::User => Take::User,
            Means::Client => Take::Client,
            Means::Status => Take::Status,
            Means::Duration(unit) => Take::Duration {
                unit: *unit,
                whole_is_unknown: requests == Requests::CaddyAccess,
            },
            Means::Method => Take::Method,
            Means::Path => Take::Path,
        };
        for (rank, path) in (0..).zip(&field.paths) {
            if self.keys == MAX_KEYS || field.paths.len() > MAX_CHOICES {
                return fail(
                    format!("more than {MAX_KEYS} keys"),
                    "leave out those that your server does not write",
                );
            }
            if path.len() > MAX_DEPTH as usize {
                return fail(
                    format!("a key more than {MAX_DEPTH} objects deep"),
                    "such lines are not read",
                );
            }
            let is_sign = match requests {
                Requests::All => false,
                Requests::CaddyAccess => path.first().is_some_and(|key| key == "request"),
                Requests::AnyKey => !matches!(take, Take::Time(_)),
            };
            let Some(bit) = self.add_path(path, take.clone(), rank) else {
                return fail(
                    format!("the key {} is read twice", path.join(".")),
                    "a key can have one meaning",
                );
            };
            if is_sign {
                self.signs |= bit;
            }
        }
        Ok(())
    }

    /// The new leaf's bit; none if there is a leaf already.
    fn add_path(&mut self, path: &[String], take: Take, rank: u8) -> Option<u64> {
        let (last, above) = path.split_last()?;
        let mut node = &mut self.root;
        for key in above {
            node = node.child(key).below.get_or_insert_default();
        }
        let child = node.child(last);
        if child.leaf.is_some() {
            return None;
        }
        let bit = 1_u64.checked_shl(self.keys).unwrap_or(0);
        self.keys += 1;
        child.leaf = Some(Leaf { take, rank, bit });
        Some(bit)
    }
}

impl Node {
    fn child(&mut self, key: &str) -> &mut Child {
        let found = self
            .children
            .iter()
            .position(|child| *child.key == *key.as_bytes());
        let index = found.unwrap_or_else(|| {
            let word = scan::key_word(key.as_bytes(), 0, key.len());
            self.marks |= scan::mark(word);
            self.children.push(Child {
                word,
                key: key.as_bytes().into(),
                leaf: None,
                below: None,
            });
            self.children.len() - 1
        });
        &mut self.children[index]
    }
}

/// Reads one line.
#[inline]
pub(super) fn read<'l>(
    keys: &Keys,
    line: &'l [u8],
    carried: &mut Carried,
) -> Result<Line<'l>, LineError> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.iter().all(u8::is_ascii_whitespace) {
        return Ok(Line::Ignored(Ignored::Blank));
    }
    match reading::read(keys, line, carried) {
        Err(_) if line.first() == Some(&b'#') => Ok(Line::Ignored(Ignored::Comment)),
        read => read,
    }
}

/// What to do about lines that are no JSON.
pub(super) fn remedy(server: Server, error: &LineError) -> Option<&'static str> {
    Some(match (server, error.expected) {
        (Server::Caddy, Expected::Time) => {
            "a time_format of your own is read so: json:time:\"%F %T %Z\"=ts,body=size,vhost=request.host,…"
        }
        (Server::Caddy, Expected::Json(Syntax::Object)) => {
            "of Caddy's encoders json is read, by itself or in filter: write \"format json\" into the Caddyfile's log block, for the console encoder quotes nothing that clients send"
        }
        (Server::Traefik, Expected::Json(Syntax::Object)) => {
            "of Traefik's formats json is read: set accessLog.format to json, for common quotes nothing that clients send"
        }
        _ => return None,
    })
}

pub(super) fn explain(server: Server, json: &Json) -> Vec<Explained> {
    let fields = json.fields.iter().map(|field| Explained {
        written: field.written.clone(),
        span: field.span.clone(),
        meaning: meaning(&field.means),
        footnote: footnote(server, json, &field.means),
    });
    fields.collect()
}

fn meaning(means: &Means) -> &'static str {
    match means {
        Means::Time(_) => "the time",
        Means::In => "bytes received, on the wire",
        Means::Out => "bytes sent, on the wire",
        Means::BodyIn => "bytes received, bodies alone",
        Means::Body => "bytes sent, bodies alone",
        Means::Vhost => "the vhost",
        Means::User => "the user",
        Means::Client => "the client",
        Means::Status => "the status",
        Means::Duration(_) => "the duration",
        Means::Method => "the method",
        Means::Path => "the path",
    }
}

fn footnote(server: Server, json: &Json, means: &Means) -> Option<&'static str> {
    Some(match (server, means) {
        (Server::Caddy, Means::Time(_)) => {
            "of the request's end; without a zone it is in UTC, as Caddy writes it unless time_local is set"
        }
        (Server::Caddy, Means::Body) => {
            "leaves out the heads, and counts what the kernel had taken to send of an aborted download; Caddy logs no wire bytes"
        }
        (Server::Caddy, Means::BodyIn) => "not before Caddy 2.7; 0 where it is absent",
        (Server::Caddy, Means::User) => "Caddy logs a name only when it checked the password",
        (Server::Caddy | Server::Traefik, Means::Vhost) => "as the client sent it",
        (Server::Traefik, Means::Time(Clock::Told { .. })) => "of the request's start",
        (Server::Traefik, Means::Body) => "leaves out the heads; Traefik logs no wire bytes",
        (Server::Traefik, Means::BodyIn) => "leaves out the heads; 0 where it is absent",
        (Server::Traefik, Means::User) => "on a 401 it is whatever the client sent",
        (Server::Any, Means::Body) if json.fields.iter().any(|field| field.paths.len() > 8) => {
            "whether these keys count heads cannot be told: json:out=KEY says that yours does"
        }
        (_, Means::BodyIn) => "0 where it is absent",
        (_, Means::Time(Clock::Told { utc: false })) => {
            "a text without a zone is taken for the configured time zone"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
