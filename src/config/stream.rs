//! `[[source.syslog]]` and `[[source.pipe]]`: streams, whose lines arrive instead of lying in a file.
//!
//! Whoever can send lines can make somebody pay. So a listener that more than this machine can reach
//! names its senders, by their addresses or by their certificates, or the config does not load.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;

use ipnet::IpNet;
use tollkeeper_parsers::format::{Layout, Spec};
use tollkeeper_parsers::size;

use super::accepts::{Accepts, parse_facility, parse_pattern};
use super::diagnostic::Findings;
use super::listen::{Listen, parse_listen};
use super::table::{Table, Text};
use super::{Layer, Reader, Users, names, parse_absolute, parse_network, parse_users};

/// Why a log that names its own columns cannot come as a stream.
pub const COLUMNS_IN_STREAM: &str = "a log that names its own columns (#Fields) cannot be read from a stream: nothing says under which #Fields line a message stands";

/// `max_spool` where the config says nothing.
pub const DEFAULT_MAX_SPOOL_BYTES: u64 = 1 << 30;
/// `max_connections` where the config says nothing.
pub const DEFAULT_MAX_CONNECTIONS: u32 = 1_000;
/// `receive_buffer` where the config says nothing.
pub const DEFAULT_RECEIVE_BUFFER_BYTES: u32 = 8 << 20;

const SPOOL_BYTES: Range<u64> = 1 << 20..1 << 50;
const RECEIVE_BUFFER_BYTES: Range<u64> = 64 << 10..1 << 30;
const CONNECTIONS: Range<u64> = 1..1_000_001;

/// `[[source.syslog]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyslogSource {
    /// Names the source in the balance, and its folder in the spool.
    pub name: String,
    /// Where its messages arrive; other sources may listen there too.
    pub listen: Vec<Listen>,
    /// Tried in order, on what stands behind the envelope.
    pub formats: Vec<Spec>,
    /// Who vouches for user names; `None`: the format's default.
    pub users: Option<Users>,
    /// The site of lines that name none.
    pub vhost: Option<StreamVhost>,
    /// Which layer of servers sends.
    pub layer: Layer,
    /// Which messages of its listeners are its own.
    pub accepts: Accepts,
    /// Whose messages are taken; `None`: those of this machine, or, where certificates are asked
    /// for, of all who have one.
    pub allow: Option<Vec<IpNet>>,
    /// For its TLS listeners.
    pub tls: Option<StreamTls>,
    /// What its spool may hold on disk.
    pub max_spool_bytes: u64,
    /// Connections at a time, on each listener.
    pub max_connections: u32,
    /// What the kernel holds for us on a socket of datagrams.
    pub receive_buffer_bytes: u32,
}

/// `[[source.pipe]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipeSource {
    /// Names the source in the balance, and its folder in the spool.
    pub name: String,
    /// Tried in order.
    pub formats: Vec<Spec>,
    /// Who vouches for user names; `None`: the format's default.
    pub users: Option<Users>,
    /// The site of lines that name none, folded.
    pub vhost: Option<String>,
    /// Which layer of servers writes.
    pub layer: Layer,
    /// What its spool may hold on disk.
    pub max_spool_bytes: u64,
}

/// The site of lines that name none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamVhost {
    /// This one, folded.
    Name(String),
    /// `{host}`: the host that the envelope names.
    Host,
    /// `{tag}`: the tag that the envelope names.
    Tag,
}

/// Files (PEM) of a TLS listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamTls {
    /// Our certificate, and those between it and its authority.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Who vouches for clients; with this, each must show a certificate.
    pub client_ca: Option<PathBuf>,
}

/// The names that are taken, and what of each listener all its sources have to agree on.
#[derive(Debug, Default)]
pub(super) struct Taken {
    names: Vec<String>,
    /// By the place that is listened on, whatever is spoken there: the first that named it.
    places: BTreeMap<String, (Listen, SyslogSource)>,
}

impl Taken {
    /// Notes the name of a source, or reports that another has it.
    pub(super) fn name(&mut self, name: &str, place: Range<usize>, findings: &mut Findings) {
        if self.names.iter().any(|other| other == name) {
            let message = format!("another source has the name {name:?}");
            let help = "each has its own lines in the balance: give one of them a name";
            findings.report(place, message, help);
        }
        self.names.push(name.to_owned());
    }

    /// Notes where a source listens, or reports what does not go together there.
    fn listener(
        &mut self,
        listen: &Listen,
        source: &SyslogSource,
        place: Range<usize>,
        findings: &mut Findings,
    ) {
        let shared = match listen {
            Listen::Udp(address) => format!("udp {address}"),
            Listen::Tcp(address) | Listen::Tls(address) => format!("tcp {address}"),
            Listen::Unix(path) | Listen::UnixStream(path) => path.display().to_string(),
            Listen::Systemd(name) => format!("systemd {name}"),
        };
        let Some((earlier, other)) = self.places.get(&shared) else {
            let first = (listen.clone(), source.clone());
            self.places.insert(shared, first);
            return;
        };
        let differing = if earlier != listen {
            Some("protocol")
        } else if other.tls != source.tls && matches!(listen, Listen::Tls(_) | Listen::Systemd(_)) {
            Some("TLS settings")
        } else if !listen.is_connected()
            && other.receive_buffer_bytes != source.receive_buffer_bytes
        {
            Some("receive_buffer")
        } else if !listen.is_datagrams() && other.max_connections != source.max_connections {
            Some("max_connections")
        } else {
            None
        };
        if let Some(differing) = differing {
            let message = format!(
                "{:?} listens on {earlier} with another {differing}",
                other.name
            );
            let help = "sources that share a listener say the same of it: tags, facilities, hosts and \
                        allow tell their messages apart";
            findings.report(place, message, help);
        }
    }
}

impl<'t> Reader<'_, 't> {
    /// One `[[source.syslog]]`
    pub(super) fn syslog_source(
        &mut self,
        mut table: Table<'t>,
        taken: &mut Taken,
    ) -> Option<SyslogSource> {
        let place = table.span();
        let name = self.stream_name(&mut table, taken);
        let listen = table.some_strings("listen", self.findings);
        let formats = self.syslog_formats(&mut table);
        let users = table.string("users", self.findings);
        let users = users.and_then(|text| self.checked(text, parse_users));
        let vhost = table.string("vhost", self.findings);
        let vhost = vhost.and_then(|text| self.checked(text, parse_stream_vhost));
        let layer = self.layer(&mut table);
        let tags = table.strings("tags", self.findings);
        let facilities = table.words("facilities", self.findings);
        let hosts = table.strings("hosts", self.findings);
        let accepts = Accepts {
            tags: self.list(tags, parse_pattern),
            facilities: self.list(facilities, parse_facility),
            hosts: self.list(hosts, parse_pattern),
        };
        let allow = table.some_strings("allow", self.findings);
        let allow = allow.map(|texts| self.list(Some(texts), parse_network));
        let has_tls_keys = table.has("tls_certificate") || table.has("tls_key");
        let tls = self.stream_tls(&mut table);
        let max_spool_bytes = self.max_spool(&mut table);
        let buffer = table.string("receive_buffer", self.findings);
        let buffer = buffer.and_then(|text| {
            self.checked(text, |text| parse_size_within(text, &RECEIVE_BUFFER_BYTES))
        });
        let connections = table.count_within("max_connections", &CONNECTIONS, self.findings);
        table.finish(self.findings);

        if listen.is_none() {
            let help = "add listen = \"udp://127.0.0.1:5514\"";
            let message = "this source does not say where it listens";
            self.findings.report(place.clone(), message, help);
        }
        let listeners: Vec<_> = listen?
            .into_iter()
            .filter_map(|text| Some((self.checked(text, parse_listen)?, text)))
            .collect();
        let source = SyslogSource {
            name: name?,
            listen: listeners.iter().map(|(listen, _)| listen.clone()).collect(),
            formats,
            users,
            vhost,
            layer,
            accepts,
            allow,
            tls,
            max_spool_bytes,
            max_connections: connections
                .and_then(|count| u32::try_from(count).ok())
                .unwrap_or(DEFAULT_MAX_CONNECTIONS),
            receive_buffer_bytes: buffer
                .and_then(|bytes| u32::try_from(bytes).ok())
                .unwrap_or(DEFAULT_RECEIVE_BUFFER_BYTES),
        };
        if source.tls.is_none() && !has_tls_keys {
            self.tls_is_missing(&listeners);
        }
        self.stream_listeners(&source, &listeners, place, taken);
        Some(source)
    }

    /// One `[[source.pipe]]`
    pub(super) fn pipe_source(
        &mut self,
        mut table: Table<'t>,
        taken: &mut Taken,
    ) -> Option<PipeSource> {
        let name = self.stream_name(&mut table, taken);
        let formats = self.pipe_formats(&mut table);
        let users = table.string("users", self.findings);
        let users = users.and_then(|text| self.checked(text, parse_users));
        let vhost = table.string("vhost", self.findings);
        let vhost = vhost.and_then(|text| {
            self.checked(text, |name| {
                names::fold(name).map_err(|message| (message, String::new()))
            })
        });
        let layer = self.layer(&mut table);
        let max_spool_bytes = self.max_spool(&mut table);
        table.finish(self.findings);
        Some(PipeSource {
            name: name?,
            formats,
            users,
            vhost,
            layer,
            max_spool_bytes,
        })
    }

    /// The name, which a stream must have: its spool is found by it again.
    fn stream_name(&mut self, table: &mut Table<'t>, taken: &mut Taken) -> Option<String> {
        let place = table.span();
        let Some(text) = table.string("name", self.findings) else {
            let message = "this source has no name";
            let help = "add name = \"…\": what has arrived waits on disk in a folder of that name";
            if !table.has("name") {
                self.findings.report(place, message, help);
            }
            return None;
        };
        let name = self.checked(text, parse_stream_name)?;
        taken.name(&name, text.span(), self.findings);
        Some(name)
    }

    fn syslog_formats(&mut self, table: &mut Table<'t>) -> Vec<Spec> {
        let Some(texts) = table.some_strings("format", self.findings) else {
            return vec![Spec::Auto];
        };
        let mut formats = Vec::with_capacity(texts.len());
        for text in texts {
            if text.value.trim_start().starts_with("syslog:") {
                let message = "what a stream carries stands behind its envelope already";
                let help = "take syslog: out: it is for files that a syslog daemon wrote";
                let span = self.inside(text, 0.."syslog:".len());
                self.findings.report(span, message, help);
            } else {
                formats.extend(self.stream_format(text));
            }
        }
        formats
    }

    /// Here `syslog:` has its place: a syslog daemon may be who writes into the pipe.
    fn pipe_formats(&mut self, table: &mut Table<'t>) -> Vec<Spec> {
        match table.some_strings("format", self.findings) {
            Some(texts) => texts
                .into_iter()
                .filter_map(|text| self.stream_format(text))
                .collect(),
            None => vec![Spec::Auto],
        }
    }

    /// The parts of a spool are deleted once they are counted, and with them the line that says what
    /// the columns of those to come mean.
    fn stream_format(&mut self, text: Text<'t>) -> Option<Spec> {
        let spec = self.format(text)?;
        match &spec {
            Spec::Format(format) if matches!(format.layout, Layout::Columns(_)) => {
                let help = "have the server write to a file, and follow it with [[source.file]]";
                self.findings.report(text.span(), COLUMNS_IN_STREAM, help);
                None
            }
            _ => Some(spec),
        }
    }

    fn max_spool(&mut self, table: &mut Table<'t>) -> u64 {
        table
            .string("max_spool", self.findings)
            .and_then(|text| self.checked(text, parse_max_spool))
            .unwrap_or(DEFAULT_MAX_SPOOL_BYTES)
    }

    fn stream_tls(&mut self, table: &mut Table<'t>) -> Option<StreamTls> {
        let mut path = |reader: &mut Self, key| {
            let text = table.string(key, reader.findings)?;
            Some((reader.checked(text, parse_absolute)?, text))
        };
        let certificate = path(self, "tls_certificate");
        let key = path(self, "tls_key");
        let client_ca = path(self, "tls_client_ca");
        let lacking = match (&certificate, &key) {
            (Some((_, text)), None) => Some((text, "the certificate needs its key", "tls_key")),
            (None, Some((_, text))) => {
                Some((text, "the key needs its certificate", "tls_certificate"))
            }
            (None, None) => client_ca.as_ref().map(|(_, text)| {
                let message = "to ask for certificates, the listener needs one of its own";
                (text, message, "tls_certificate and tls_key")
            }),
            (Some(_), Some(_)) => None,
        };
        if let Some((text, message, missing)) = lacking {
            let help = format!("add {missing}");
            self.findings.report(text.span(), message, help);
        }
        Some(StreamTls {
            certificate: certificate?.0,
            key: key?.0,
            client_ca: client_ca.map(|(path, _)| path),
        })
    }

    fn tls_is_missing(&mut self, listeners: &[(Listen, Text<'t>)]) {
        for (listen, text) in listeners {
            if matches!(listen, Listen::Tls(_)) {
                let message = format!("{listen} needs a certificate");
                let help = "add tls_certificate = \"/…/cert.pem\" and tls_key = \"/…/key.pem\"";
                self.findings.report(text.span(), message, help);
            }
        }
    }

    /// What the listeners of a source must have, and must not share.
    fn stream_listeners(
        &mut self,
        source: &SyslogSource,
        listeners: &[(Listen, Text<'t>)],
        place: Range<usize>,
        taken: &mut Taken,
    ) {
        let mut has_use_for_tls = false;
        for (at, (listen, text)) in listeners.iter().enumerate() {
            let twice = listeners[..at].iter().any(|(earlier, _)| earlier == listen);
            if twice {
                let message = format!("{listen} stands here twice");
                self.findings.report(text.span(), message, "take one out");
                continue;
            }
            taken.listener(listen, source, text.span(), self.findings);
            has_use_for_tls |= matches!(listen, Listen::Tls(_) | Listen::Systemd(_));
            if let Some(address) = unguarded(listen, source) {
                let message = format!(
                    "{listen} can be reached from elsewhere, and whoever sends lines there makes \
                     somebody pay"
                );
                let senders = match address.is_ipv4() {
                    true => "192.0.2.0/24",
                    false => "2001:db8::/32",
                };
                let help = format!(
                    "name the senders, as in allow = [\"{senders}\"]; or listen on 127.0.0.1, or ask \
                     for certificates: tls:// with tls_client_ca"
                );
                self.findings.report(text.span(), message, help);
            }
        }
        if source.tls.is_some() && !has_use_for_tls {
            let message = "tls_certificate is for listeners with TLS, and this source has none";
            let help = "write tls://ADDRESS:PORT in listen, or take the certificate out";
            self.findings.report(place, message, help);
        }
    }

    /// Those of a list that can be used; the others are reported.
    fn list<T>(
        &mut self,
        texts: Option<Vec<Text<'t>>>,
        parse: impl Fn(&str) -> Result<T, (String, String)>,
    ) -> Vec<T> {
        texts
            .unwrap_or_default()
            .into_iter()
            .filter_map(|text| self.checked(text, &parse))
            .collect()
    }
}

/// The address of a listener that others can reach, and for which nothing says who they are.
fn unguarded<'l>(listen: &'l Listen, source: &SyslogSource) -> Option<&'l SocketAddr> {
    let certified = || {
        let tls = source.tls.as_ref();
        tls.is_some_and(|tls| tls.client_ca.is_some())
    };
    match listen {
        _ if source.allow.is_some() => None,
        Listen::Tls(_) if certified() => None,
        Listen::Udp(address) | Listen::Tcp(address) | Listen::Tls(address) => {
            (!address.ip().is_loopback()).then_some(address)
        }
        Listen::Unix(_) | Listen::UnixStream(_) | Listen::Systemd(_) => None,
    }
}

/// What a stream may be called: its spool is a folder of that name.
///
/// # Errors
/// What is wrong with it, and the remedy.
pub fn parse_stream_name(name: &str) -> Result<String, (String, String)> {
    const MAX_NAME_BYTES: usize = 64;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let starts_well = name
        .as_bytes()
        .first()
        .is_some_and(u8::is_ascii_alphanumeric);
    if !starts_well || name.len() > MAX_NAME_BYTES || !name.bytes().all(is_plain) {
        let help = format!(
            "it names a folder: a letter or digit, then letters, digits, dots, dashes and \
             underscores, {MAX_NAME_BYTES} in all"
        );
        return Err((format!("{name:?} cannot be the name of a stream"), help));
    }
    Ok(name.to_owned())
}

fn parse_stream_vhost(text: &str) -> Result<StreamVhost, (String, String)> {
    match text {
        "{host}" => Ok(StreamVhost::Host),
        "{tag}" => Ok(StreamVhost::Tag),
        _ if text.contains(['{', '}']) => {
            let help = "write a name, or \"{host}\" or \"{tag}\" for that of the envelope";
            let message = format!("{text:?} is neither a name nor a part of the envelope");
            Err((message, help.into()))
        }
        name => names::fold(name)
            .map(StreamVhost::Name)
            .map_err(|message| (message, String::new())),
    }
}

/// What a spool may hold on disk.
///
/// # Errors
/// What is wrong with it, and the remedy.
pub fn parse_max_spool(text: &str) -> Result<u64, (String, String)> {
    parse_size_within(text, &SPOOL_BYTES)
}

fn parse_size_within(text: &str, bounds: &Range<u64>) -> Result<u64, (String, String)> {
    let bytes =
        size::bytes(text).map_err(|error| (error.message, error.help.unwrap_or_default()))?;
    if !bounds.contains(&bytes) {
        let message = format!("{text:?} is out of bounds");
        let help = format!(
            "at least {} KiB, less than {} GiB",
            bounds.start >> 10,
            bounds.end >> 30
        );
        return Err((message, help));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_sources_are_names_of_folders() {
        for name in ["web", "a", "0", "Web-1.example_org", &"x".repeat(64)] {
            assert!(parse_stream_name(name).is_ok(), "{name}");
        }
        for name in [
            "",
            ".",
            "..",
            ".web",
            "-web",
            "_web",
            "a/b",
            "a b",
            "a\n",
            "ä",
            "a\0",
            &"x".repeat(65),
        ] {
            assert!(parse_stream_name(name).is_err(), "{name:?}");
        }
    }
}
