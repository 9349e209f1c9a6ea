//! Where syslog arrives: `udp://127.0.0.1:5514` and its kin.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::table::nearest;

/// The longest path that a unix socket can have.
const MAX_SOCKET_PATH_BYTES: usize = 107;

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
}
