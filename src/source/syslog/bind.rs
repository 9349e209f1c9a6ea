//! Sockets: made, taken over, and given room.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use super::ReceptionError;
use crate::config::Listen;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1_024;

/// Whoever enters the folder may write to the socket, as with `/dev/log`: the workers of web servers
/// run as users of their own. The folder decides who that is.
const SOCKET_MODE: u32 = 0o666;

/// What a listening socket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Udp,
    UnixDatagram,
    Tcp,
    Tls,
    UnixStream,
}

impl Kind {
    pub(super) fn is_datagrams(self) -> bool {
        matches!(self, Self::Udp | Self::UnixDatagram)
    }
}

/// Makes the socket of a listener that is not systemd's. It does not block.
pub(super) fn bind(listen: &Listen) -> Result<OwnedFd, ReceptionError> {
    let bound = match listen {
        Listen::Udp(address) => bind_address(*address, SocketType::DGRAM),
        Listen::Tcp(address) | Listen::Tls(address) => bind_address(*address, SocketType::STREAM),
        Listen::Unix(path) => bind_path(path, SocketType::DGRAM),
        Listen::UnixStream(path) => bind_path(path, SocketType::STREAM),
        Listen::Systemd(name) => {
            let message = format!("systemd passes no socket of the name {name:?}");
            let help = "a socket unit needs Service=tollkeeper.service and FileDescriptorName=; what \
                        it is called without is the unit's own name";
            return Err(ReceptionError::new(message, help));
        }
    };
    bound.map_err(|error| {
        let help = match (error.kind(), listen) {
            (io::ErrorKind::AddrInUse, _) => {
                "another program listens there: stop it, or choose another place"
            }
            (io::ErrorKind::PermissionDenied, Listen::Unix(_) | Listen::UnixStream(_)) => {
                "the daemon's user must be able to write to the folder"
            }
            (io::ErrorKind::PermissionDenied, _) => {
                "ports below 1024 are root's: choose another one, or let a socket unit of systemd \
                 bind it, with listen = \"systemd:NAME\""
            }
            (io::ErrorKind::AddrNotAvailable, _) => "this machine does not have that address",
            (io::ErrorKind::NotFound, _) => "make the folder first",
            _ => "",
        };
        ReceptionError::new(format!("cannot listen on {listen}: {error}"), help)
    })
}

fn bind_address(address: SocketAddr, socket_type: SocketType) -> io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = socket(family, socket_type)?;
    if address.is_ipv6() {
        // So that [::] and 0.0.0.0 can stand beside each other, and senders have one address.
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if socket_type == SocketType::STREAM {
        // Old connections may linger; another listener is refused all the same. With datagrams it
        // would let others listen beside us.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    rustix::net::bind(&socket, &address)?;
    if socket_type == SocketType::STREAM {
        rustix::net::listen(&socket, BACKLOG)?;
    }
    Ok(socket)
}

fn bind_path(path: &Path, socket_type: SocketType) -> io::Result<OwnedFd> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => {
            let message = "something lies there that is no socket";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
        }
        Ok(_) if is_listened_on(path) => return Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = socket(AddressFamily::UNIX, socket_type)?;
    // Nobody can send by the final name before the mode is right, and what nobody listens on any
    // more is replaced in one step.
    let beside = beside(path);
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    rustix::net::bind(&socket, &SocketAddrUnix::new(&beside)?)?;
    std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(SOCKET_MODE))?;
    if socket_type == SocketType::STREAM {
        rustix::net::listen(&socket, BACKLOG)?;
    }
    std::fs::rename(&beside, path)?;
    Ok(socket)
}

/// A short name, as paths of sockets have to be.
fn beside(path: &Path) -> PathBuf {
    path.with_file_name(format!(".{:08x}", std::process::id()))
}

fn is_listened_on(path: &Path) -> bool {
    let datagrams = UnixDatagram::unbound().and_then(|socket| socket.connect(path));
    datagrams.is_ok() || UnixStream::connect(path).is_ok()
}

fn socket(family: AddressFamily, socket_type: SocketType) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(family, socket_type, flags, None)?)
}

/// What somebody else has bound: systemd, or the daemon before us. `with_tls`: TCP is TLS.
pub(super) fn examine(socket: impl AsFd, with_tls: bool) -> io::Result<Kind> {
    let socket = socket.as_fd();
    let socket_type = sockopt::socket_type(socket)?;
    let domain = sockopt::socket_domain(socket)?;
    let unfit = |message: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    if socket_type == SocketType::STREAM && !sockopt::socket_acceptconn(socket)? {
        return unfit("it is one connection: Accept=no belongs into the socket unit");
    }
    let is_ip = domain == AddressFamily::INET || domain == AddressFamily::INET6;
    match (socket_type, domain) {
        (SocketType::DGRAM, _) if is_ip => Ok(Kind::Udp),
        (SocketType::STREAM, _) if is_ip && with_tls => Ok(Kind::Tls),
        (SocketType::STREAM, _) if is_ip => Ok(Kind::Tcp),
        (SocketType::DGRAM, AddressFamily::UNIX) => Ok(Kind::UnixDatagram),
        (SocketType::STREAM, AddressFamily::UNIX) => Ok(Kind::UnixStream),
        _ => unfit("it is neither datagrams nor a stream, of IP or unix"),
    }
}

/// The address of a socket of IP.
pub(super) fn address(socket: impl AsFd) -> Option<SocketAddr> {
    SocketAddr::try_from(rustix::net::getsockname(socket).ok()?).ok()
}

/// Asks the kernel to hold so many bytes for us, and says what stands in the way of it.
pub(super) fn set_receive_buffer(socket: impl AsFd, bytes: u32, listen: &Listen) {
    let socket = socket.as_fd();
    let wanted = bytes as usize;
    // For those who may, beyond the limit of the machine.
    let set = sockopt::set_socket_recv_buffer_size_force(socket, wanted)
        .or_else(|_| sockopt::set_socket_recv_buffer_size(socket, wanted));
    // The kernel says twice what may be asked for: half is its own bookkeeping.
    let granted = sockopt::socket_recv_buffer_size(socket).map_or(0, |bytes| bytes / 2);
    if set.is_err() || granted < wanted {
        tracing::warn!(
            "{listen}: the kernel holds {granted} bytes for us, not {wanted}: set sysctl \
             net.core.rmem_max={wanted}, or a smaller receive_buffer; a burst beyond it is lost"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(listen: &Listen) -> String {
        bind(listen).expect_err("a refusal").to_string()
    }

    #[test]
    fn a_path_is_taken_over_only_from_the_dead() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log.sock");
        for listen in [Listen::Unix(path.clone()), Listen::UnixStream(path.clone())] {
            let first = bind(&listen).expect("a socket");
            let mode = std::fs::metadata(&path)
                .expect("a file")
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, SOCKET_MODE);
            assert!(refusal(&listen).contains("another program listens there"));
            drop(first);
        }
        std::fs::remove_file(&path).expect("a file");
        std::fs::write(&path, "").expect("a file");
        assert!(refusal(&Listen::Unix(path.clone())).contains("no socket"));
        let files: Vec<_> = std::fs::read_dir(folder.path())
            .expect("a folder")
            .collect();
        assert_eq!(files.len(), 1, "{files:?}");
    }

    #[test]
    fn an_address_is_taken_once() {
        let any = Listen::Udp(SocketAddr::from(([127, 0, 0, 1], 0)));
        // The same port of the other protocol may be somebody's, or have been a moment ago.
        let mut taken = (0..100).map(|_| {
            let udp = bind(&any).expect("a socket");
            let address = address(&udp).expect("an address");
            (bind(&Listen::Tcp(address)), udp, address)
        });
        let (tcp, udp, address) = taken
            .find(|(tcp, ..)| tcp.is_ok())
            .expect("a port that both protocols have free");
        let tcp = tcp.expect("another protocol");
        assert!(refusal(&Listen::Udp(address)).contains("another program"));
        assert_eq!(examine(&udp, true).ok(), Some(Kind::Udp));
        assert_eq!(examine(&tcp, false).ok(), Some(Kind::Tcp));
        assert_eq!(examine(&tcp, true).ok(), Some(Kind::Tls));
        assert!(refusal(&Listen::Tls(address)).contains("another program"));
        let elsewhere = Listen::Udp(SocketAddr::from(([192, 0, 2, 1], 5514)));
        assert!(refusal(&elsewhere).contains("does not have that address"));
    }
}
