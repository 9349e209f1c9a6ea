//! `[[source.syslog]]` and `[[source.pipe]]`: streams, whose lines arrive instead of lying in a file.
//!
//! Whoever can send lines can make somebody pay. So a listener that more than this machine can reach
//! names its senders, by their addresses or by their certificates, or the config does not load.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::path::PathBuf;

use ipnet::IpNet;
use tollkeeper_parsers::format::Spec;

use super::diagnostic::Findings;
use super::table::{Table, Text, nearest};
use super::{Reader, Users, names, parse_absolute, parse_network, parse_users};

/// `max_spool` where the config says nothing.
pub const DEFAULT_MAX_SPOOL_BYTES: u64 = 1 << 30;
/// `max_connections` where the config says nothing.
pub const DEFAULT_MAX_CONNECTIONS: u32 = 1_000;
/// `receive_buffer` where the config says nothing.
pub const DEFAULT_RECEIVE_BUFFER_BYTES: u32 = 8 << 20;

const SPOOL_BYTES: Range<u64> = 1 << 20..1 << 50;
const RECEIVE_BUFFER_BYTES: Range<u64> = 64 << 10..1 << 30;
const CONNECTIONS: Range<u64> = 1..1_000_001;

/// The longest path that a unix socket can have.
const MAX_SOCKET_PATH_BYTES: usize = 107;

/// The names of the facilities, by their numbers (RFC 5424, as rsyslog and syslog-ng call them).
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
    "ftp", "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4",
    "local5", "local6", "local7",
];

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
    /// What its spool may hold on disk.
    pub max_spool_bytes: u64,
}

/// Where messages arrive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Listen {
    /// Datagrams.
    Udp(SocketAddr),
    /// Connections.
    Tcp(SocketAddr),
    /// Encrypted connections.
    Tls(SocketAddr),
    /// Datagrams on this machine: what `/dev/log` is.
    Unix(PathBuf),
    /// Connections on this machine.
    UnixStream(PathBuf),
    /// What systemd passes under this name, of whatever kind it is; with TLS where the source has
    /// a certificate and it is TCP.
    Systemd(String),
}

impl Listen {
    /// Whether datagrams arrive here. What systemd passes may be either.
    #[must_use]
    pub fn is_datagrams(&self) -> bool {
        matches!(self, Self::Udp(_) | Self::Unix(_))
    }

    /// Whether connections are made to it. What systemd passes may be either.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        matches!(self, Self::Tcp(_) | Self::Tls(_) | Self::UnixStream(_))
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(address) => write!(f, "udp://{address}"),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Tls(address) => write!(f, "tls://{address}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::UnixStream(path) => write!(f, "unix-stream://{}", path.display()),
            Self::Systemd(name) => write!(f, "systemd:{name}"),
        }
    }
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

/// Which messages a source takes, by their envelopes. An empty list takes all; a message without
/// the part that a list asks for is not taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accepts {
    /// Compared byte by byte.
    pub tags: Vec<NamePattern>,
    /// Their numbers.
    pub facilities: Vec<u8>,
    /// Upper and lower case are the same.
    pub hosts: Vec<NamePattern>,
}

impl Accepts {
    /// Whether a message with this envelope is taken.
    #[must_use]
    pub fn take(&self, facility: Option<u8>, host: Option<&[u8]>, tag: Option<&[u8]>) -> bool {
        let tag_fits = self.tags.is_empty()
            || tag.is_some_and(|tag| self.tags.iter().any(|pattern| pattern.matches(tag)));
        let facility_fits = self.facilities.is_empty()
            || facility.is_some_and(|facility| self.facilities.contains(&facility));
        let host_fits = self.hosts.is_empty()
            || host.is_some_and(|host| {
                let mut patterns = self.hosts.iter();
                patterns.any(|pattern| pattern.matches_ignoring_case(host))
            });
        tag_fits && facility_fits && host_fits
    }

    /// Whether everything is taken.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.tags.is_empty() && self.facilities.is_empty() && self.hosts.is_empty()
    }
}

/// A name in which `*` stands for any bytes, also none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamePattern(String);

impl NamePattern {
    /// A pattern, as it stands in the config.
    #[must_use]
    pub fn new(pattern: &str) -> Self {
        Self(pattern.to_owned())
    }

    /// Whether the pattern is this name.
    #[must_use]
    pub fn matches(&self, name: &[u8]) -> bool {
        wildcard(self.0.as_bytes(), name, |a, b| a == b)
    }

    /// The same, where upper and lower case are one.
    #[must_use]
    pub fn matches_ignoring_case(&self, name: &[u8]) -> bool {
        wildcard(self.0.as_bytes(), name, |a, b| a.eq_ignore_ascii_case(&b))
    }
}

/// Where a mismatch comes, the last `*` takes one byte more: no recursion, and never more than the
/// product of both lengths.
fn wildcard(pattern: &[u8], name: &[u8], same: impl Fn(u8, u8) -> bool) -> bool {
    let (mut at, mut taken) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while taken < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at + 1, taken));
                at += 1;
            }
            Some(byte) if same(*byte, name[taken]) => {
                at += 1;
                taken += 1;
            }
            _ => {
                let Some((after, from)) = star else {
                    return false;
                };
                star = Some((after, from + 1));
                at = after;
                taken = from + 1;
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
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
        let max_spool_bytes = self.max_spool(&mut table);
        table.finish(self.findings);
        Some(PipeSource {
            name: name?,
            formats,
            users,
            vhost,
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
                formats.extend(self.format(text));
            }
        }
        formats
    }

    /// Here `syslog:` has its place: a syslog daemon may be who writes into the pipe.
    fn pipe_formats(&mut self, table: &mut Table<'t>) -> Vec<Spec> {
        match table.some_strings("format", self.findings) {
            Some(texts) => texts
                .into_iter()
                .filter_map(|text| self.format(text))
                .collect(),
            None => vec![Spec::Auto],
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
fn parse_stream_name(name: &str) -> Result<String, (String, String)> {
    const MAX_NAME_BYTES: usize = 64;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let starts_well = name
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    if !starts_well || name.len() > MAX_NAME_BYTES || !name.bytes().all(allowed) {
        let help = format!(
            "it names a folder: a letter or digit, then letters, digits, dots, dashes and \
             underscores, {MAX_NAME_BYTES} in all"
        );
        return Err((format!("{name:?} cannot be the name of a stream"), help));
    }
    Ok(name.to_owned())
}

/// `udp://ADDRESS:PORT` and its kin, or `systemd:NAME`.
///
/// # Errors
/// What is wrong with it, and the remedy.
pub fn parse_listen(text: &str) -> Result<Listen, (String, String)> {
    const SCHEMES: [&str; 6] = ["udp", "tcp", "tls", "unix", "unix-stream", "systemd"];
    let help = "write udp://127.0.0.1:5514, tcp://, tls://, unix:///run/x.sock, \
                unix-stream:///run/x.sock, or systemd:NAME";
    let refused = |message: String| (message, help.to_owned());
    let (scheme, rest) = text
        .split_once(':')
        .ok_or_else(|| refused(format!("{text:?} is no place to listen on")))?;
    if scheme == "systemd" {
        return parse_systemd(rest).map(Listen::Systemd);
    }
    if !SCHEMES.contains(&scheme) {
        let message = format!("{text:?}: nothing is spoken that is called {scheme:?}");
        return Err(match nearest(scheme, SCHEMES.into_iter()) {
            Some(nearest) => (message, format!("did you mean {nearest:?}?")),
            None => refused(message),
        });
    }
    let rest = rest
        .strip_prefix("//")
        .ok_or_else(|| refused(format!("{text:?}: {scheme}: is followed by two slashes")))?;
    match scheme {
        "unix" => parse_socket_path(rest).map(Listen::Unix),
        "unix-stream" => parse_socket_path(rest).map(Listen::UnixStream),
        "udp" => parse_address(scheme, rest).map(Listen::Udp),
        "tcp" => parse_address(scheme, rest).map(Listen::Tcp),
        _ => parse_address(scheme, rest).map(Listen::Tls),
    }
}

fn parse_address(scheme: &str, text: &str) -> Result<SocketAddr, (String, String)> {
    let whole = || format!("{scheme}://{text}");
    if let Ok(address) = text.parse::<SocketAddr>() {
        if address.port() == 0 {
            let help = "write a port between 1 and 65535".to_owned();
            return Err((format!("{:?}: 0 is no port", whole()), help));
        }
        return Ok(address);
    }
    let (default_port, bare) = (
        if scheme == "tls" { 6514 } else { 514 },
        text.trim_start_matches('[').trim_end_matches(']'),
    );
    if let Ok(address) = bare.parse::<IpAddr>() {
        let help = format!(
            "did you mean {scheme}://{}?",
            SocketAddr::new(address, default_port)
        );
        return Err((format!("{:?} names no port", whole()), help));
    }
    if text.is_empty() || text.starts_with([':', '*']) {
        let help =
            format!("for all addresses write {scheme}://0.0.0.0:{default_port}, and [::] for IPv6");
        return Err((format!("{:?} names no address", whole()), help));
    }
    let help = format!(
        "write it in digits, as in {scheme}://127.0.0.1:{default_port} or [::1]:{default_port}"
    );
    Err((format!("{:?} is no address and port", whole()), help))
}

fn parse_socket_path(text: &str) -> Result<PathBuf, (String, String)> {
    let help = "three slashes and the path of the socket: unix:///run/tollkeeper/log.sock";
    let refused = |message: String| Err((message, help.to_owned()));
    if !text.starts_with('/') {
        return refused(format!("the path {text:?} is not absolute"));
    }
    if text.len() > MAX_SOCKET_PATH_BYTES {
        return refused(format!(
            "the path of a socket has at most {MAX_SOCKET_PATH_BYTES} bytes, this one {}",
            text.len()
        ));
    }
    if text.ends_with('/') || text.contains('\0') {
        return refused(format!("{text:?} cannot be the path of a socket"));
    }
    Ok(PathBuf::from(text))
}

/// As systemd's `FileDescriptorName=` takes it.
fn parse_systemd(name: &str) -> Result<String, (String, String)> {
    let usable = |byte: u8| byte.is_ascii_graphic() && byte != b':';
    if name.is_empty() || name.len() > 255 || !name.bytes().all(usable) {
        let help = "write the FileDescriptorName= of the socket unit, or the unit's own name: \
                    systemd:tollkeeper.socket";
        let message = format!("{name:?} is no name that systemd gives a socket");
        return Err((message, help.into()));
    }
    // Under these the daemon keeps its own sockets with systemd over a restart.
    if name.starts_with("tollkeeper-") {
        let help = "give the socket unit another FileDescriptorName=".to_owned();
        let message = format!("{name:?}: names that begin with tollkeeper- are the daemon's own");
        return Err((message, help));
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

fn parse_pattern(text: &str) -> Result<NamePattern, (String, String)> {
    const MAX_PATTERN_BYTES: usize = 255;
    let usable = |byte: u8| byte.is_ascii_graphic();
    if text.is_empty() || text.len() > MAX_PATTERN_BYTES || !text.bytes().all(usable) {
        let help = "write it as the envelope has it; * stands for any characters".to_owned();
        return Err((format!("{text:?} stands in no envelope"), help));
    }
    Ok(NamePattern::new(text))
}

fn parse_facility(text: &str) -> Result<u8, (String, String)> {
    let by_name = FACILITIES.iter().position(|name| *name == text);
    let number = by_name.or_else(|| {
        let number: usize = text.parse().ok()?;
        (number < FACILITIES.len()).then_some(number)
    });
    number
        .and_then(|number| u8::try_from(number).ok())
        .ok_or_else(|| {
            let help = match nearest(text, FACILITIES.into_iter()) {
                Some(nearest) => format!("did you mean {nearest:?}?"),
                None => "write a name, such as \"local7\", or a number from 0 to 23".into(),
            };
            (format!("unknown facility {text:?}"), help)
        })
}

/// A size with its unit: `B`; `K`, `M`, `G`, `T` by 1,000; `Ki`, `Mi`, `Gi`, `Ti` by 1,024; with
/// or without a `B` behind.
///
/// # Errors
/// What is wrong with it, and the remedy.
pub fn parse_size(text: &str) -> Result<u64, (String, String)> {
    let help = "write it with a unit, such as \"512MiB\" or \"1GiB\"";
    let refused = |message: String| (message, help.to_owned());
    let end = text
        .find(|char: char| !char.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = (&text[..end], text[end..].trim_start());
    let number: u64 = digits
        .parse()
        .map_err(|_| refused(format!("{text:?} is no size")))?;
    let factor: u64 = match unit.strip_suffix('B').unwrap_or(unit) {
        "" if unit == "B" => 1,
        "" => return Err(refused(format!("the size {text:?} has no unit"))),
        "K" | "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => return Err(refused(format!("{text:?}: unknown unit {unit:?}"))),
    };
    number
        .checked_mul(factor)
        .ok_or_else(|| refused(format!("{text:?} is out of bounds")))
}

/// What a spool may hold on disk.
///
/// # Errors
/// What is wrong with it, and the remedy.
pub fn parse_max_spool(text: &str) -> Result<u64, (String, String)> {
    parse_size_within(text, &SPOOL_BYTES)
}

fn parse_size_within(text: &str, bounds: &Range<u64>) -> Result<u64, (String, String)> {
    let bytes = parse_size(text)?;
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
    fn listeners_are_written_as_they_are_read() {
        for text in [
            "udp://127.0.0.1:5514",
            "udp://[::1]:514",
            "tcp://0.0.0.0:601",
            "tls://192.0.2.1:6514",
            "unix:///run/tollkeeper/log.sock",
            "unix-stream:///run/tollkeeper/log.stream",
            "systemd:tollkeeper.socket",
        ] {
            let listen = parse_listen(text).expect(text);
            assert_eq!(listen.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_listener_has_a_remedy() {
        for (text, remedy) in [
            ("udp://127.0.0.1", "udp://127.0.0.1:514?"),
            ("tls://[::1]", "tls://[::1]:6514?"),
            ("tls://::1", "tls://[::1]:6514?"),
            ("udp://*:514", "udp://0.0.0.0:514"),
            ("udp://:514", "udp://0.0.0.0:514"),
            ("udp://localhost:514", "in digits"),
            ("udp://127.0.0.1:0", "between 1 and 65535"),
            ("udp://127.0.0.1:99999", "in digits"),
            ("udp:127.0.0.1:514", "udp://"),
            ("upd://127.0.0.1:514", "\"udp\"?"),
            ("514", "udp://"),
            ("unix://run/x", "three slashes"),
            ("unix:///", "three slashes"),
            ("systemd:", "FileDescriptorName="),
            ("systemd:a:b", "FileDescriptorName="),
            ("systemd:tollkeeper-udp", "FileDescriptorName="),
        ] {
            let (message, help) = parse_listen(text).expect_err(text);
            assert!(help.contains(remedy), "{text}: {message}: {help}");
        }
    }

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [
            ("1B", Some(1)),
            ("64K", Some(64_000)),
            ("64KB", Some(64_000)),
            ("64KiB", Some(65_536)),
            ("8Mi", Some(8 << 20)),
            ("1 GiB", Some(1 << 30)),
            ("2G", Some(2_000_000_000)),
            ("1024", None),
            ("", None),
            ("GiB", None),
            ("-1GiB", None),
            ("1.5GiB", None),
            ("1gib", None),
            ("99999999999999999999GiB", None),
            ("99999999TiB", None),
        ] {
            assert_eq!(parse_size(text).ok(), bytes, "{text:?}");
        }
    }

    #[test]
    fn wildcards_stand_for_any_bytes() {
        for (pattern, name, expected) in [
            ("web1", "web1", true),
            ("web1", "WEB1", false),
            ("web1", "web10", false),
            ("web*", "web", true),
            ("web*", "web10", true),
            ("*.example.org", "a.b.example.org", true),
            ("*.example.org", "example.org", false),
            ("*a*b", "aab", true),
            ("*a*b", "aba", false),
            ("*", "", true),
            ("**", "x", true),
            ("a*b*c", "a-b-b-c", true),
        ] {
            let matched = NamePattern::new(pattern).matches(name.as_bytes());
            assert_eq!(matched, expected, "{pattern} {name}");
        }
        assert!(NamePattern::new("Web*").matches_ignoring_case(b"wEB1"));
    }

    #[test]
    fn a_message_is_taken_by_its_envelope() {
        let accepts = Accepts {
            tags: vec![NamePattern::new("nginx")],
            facilities: vec![23],
            hosts: vec![NamePattern::new("web*")],
        };
        let host = Some(b"WEB1".as_slice());
        let tag = Some(b"nginx".as_slice());
        assert!(accepts.take(Some(23), host, tag));
        assert!(!accepts.take(Some(22), host, tag));
        assert!(!accepts.take(None, host, tag));
        assert!(!accepts.take(Some(23), None, tag));
        assert!(!accepts.take(Some(23), host, None));
        assert!(!accepts.take(Some(23), host, Some(b"Nginx")));
        assert!(Accepts::default().take(None, None, None));
    }
}
