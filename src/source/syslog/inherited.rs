//! Sockets that outlive us: those that systemd binds for us, and those that it keeps while we start
//! anew.
//!
//! The names of the latter begin with `tollkeeper-` and hold a hash of the listener they belong
//! to. What systemd keeps it gives to the next process, until it is told to forget it or the other
//! side hangs up. It keeps as many as the unit's `FileDescriptorStoreMax=` says; the others are
//! closed with us, as all are without systemd.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::Arc;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix,
};
use xxhash_rust::xxh3::xxh3_64;

use crate::config::Listen;

const OURS: &str = "tollkeeper-";

/// What was passed to this process, and who may keep sockets for the next.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<(String, Arc<OwnedFd>)>,
    manager: Option<PathBuf>,
}

impl Inherited {
    /// Nothing, and nobody.
    #[must_use]
    pub fn nothing() -> Self {
        Self::default()
    }

    /// These sockets by their names, and the socket of the service manager.
    #[must_use]
    pub fn new(sockets: Vec<(String, OwnedFd)>, manager: Option<PathBuf>) -> Self {
        let sockets = sockets
            .into_iter()
            .map(|(name, socket)| (name, Arc::new(socket)))
            .collect();
        Self { sockets, manager }
    }

    /// What systemd has passed (`LISTEN_FDS`), and where it can be told what to keep
    /// (`NOTIFY_SOCKET`). To be called once, before files are opened.
    ///
    /// # Errors
    /// The environment does not fit what was passed.
    pub fn from_environment() -> io::Result<Self> {
        let mut sockets = Vec::new();
        for (number, name) in sd_notify::listen_fds_with_names()? {
            sockets.push((name, owned(number)?));
        }
        let manager = std::env::var_os("NOTIFY_SOCKET").map(PathBuf::from);
        Ok(Self::new(sockets, manager))
    }

    pub(super) fn keeper(&self) -> io::Result<Keeper> {
        let Some(manager) = &self.manager else {
            return Ok(Keeper { manager: None });
        };
        let address = match manager.as_os_str().as_bytes() {
            [b'@', name @ ..] => SocketAddrUnix::new_abstract_name(name)?,
            _ => SocketAddrUnix::new(manager)?,
        };
        let socket = UnixDatagram::unbound()?;
        Ok(Keeper {
            manager: Some((socket, address)),
        })
    }

    /// The sockets of this name. They stay here too, for a reload.
    pub(super) fn named<'i>(&'i self, name: &'i str) -> impl Iterator<Item = &'i Arc<OwnedFd>> {
        let mut sockets = self.sockets.iter();
        std::iter::from_fn(move || sockets.find(|(other, _)| other == name).map(|(_, fd)| fd))
    }

    /// The socket that an earlier process of ours listened on there.
    pub(super) fn take_listener(&mut self, listen: &Listen) -> Option<Arc<OwnedFd>> {
        let name = listener_name(listen);
        let at = self.sockets.iter().position(|(other, _)| *other == name)?;
        Some(self.sockets.swap_remove(at).1)
    }

    /// The connections that an earlier process of ours had, with their names.
    pub(super) fn take_connections(&mut self, listen: &Listen) -> Vec<(String, OwnedFd)> {
        let prefix = connection_prefix(listen);
        self.take(|name| name.starts_with(&prefix))
    }

    /// What else an earlier process of ours has left, which nobody has any use for.
    pub(super) fn take_rest(&mut self) -> Vec<(String, OwnedFd)> {
        self.take(|name| name.starts_with(OURS))
    }

    /// Names of sockets that are not ours.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let names = self.sockets.iter().map(|(name, _)| name.as_str());
        names.filter(|name| !name.starts_with(OURS))
    }

    fn take(&mut self, is_wanted: impl Fn(&str) -> bool) -> Vec<(String, OwnedFd)> {
        let (wanted, others) = std::mem::take(&mut self.sockets)
            .into_iter()
            .partition(|(name, _)| is_wanted(name));
        self.sockets = others;
        let wanted: Vec<(String, Arc<OwnedFd>)> = wanted;
        wanted
            .into_iter()
            .filter_map(|(name, socket)| Some((name, Arc::into_inner(socket)?)))
            .collect()
    }
}

/// Under which name a listening socket is kept.
pub(super) fn listener_name(listen: &Listen) -> String {
    format!("{OURS}listener-{:016x}", hash(listen))
}

/// Under which name a connection is kept. Its cookie is never used again while the machine runs.
pub(super) fn connection_name(listen: &Listen, connection: impl AsFd) -> io::Result<String> {
    let cookie = rustix::net::sockopt::socket_cookie(connection)?;
    Ok(format!("{}{cookie:x}", connection_prefix(listen)))
}

fn connection_prefix(listen: &Listen) -> String {
    format!("{OURS}connection-{:016x}-", hash(listen))
}

fn hash(listen: &Listen) -> u64 {
    xxh3_64(listen.to_string().as_bytes())
}

/// Asks the service manager to keep sockets for the next process. Nothing is waited for and nothing
/// fails: what is not kept is closed with us.
#[derive(Debug)]
pub(super) struct Keeper {
    manager: Option<(UnixDatagram, SocketAddrUnix)>,
}

impl Keeper {
    /// Whether anybody is asked.
    pub(super) fn is_there(&self) -> bool {
        self.manager.is_some()
    }

    pub(super) fn keep(&self, name: &str, socket: impl AsFd) {
        let state = format!("FDSTORE=1\nFDNAME={name}\n");
        let sockets = [socket.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if control.push(SendAncillaryMessage::ScmRights(&sockets)) {
            self.tell(&state, &mut control);
        }
    }

    pub(super) fn forget(&self, name: &str) {
        let state = format!("FDSTOREREMOVE=1\nFDNAME={name}\n");
        self.tell(&state, &mut SendAncillaryBuffer::default());
    }

    fn tell(&self, state: &str, control: &mut SendAncillaryBuffer<'_, '_, '_>) {
        let Some((socket, address)) = &self.manager else {
            return;
        };
        let state = [IoSlice::new(state.as_bytes())];
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        if let Err(error) = rustix::net::sendmsg_addr(socket, address, &state, control, flags) {
            tracing::debug!("systemd keeps no socket: {error}");
        }
    }
}

/// A descriptor that was passed to us, as one of our own.
///
/// There is no safe way to take over a number, so it is sent to ourselves, which makes it anew; the
/// number is closed then. A number that is none is an error.
fn owned(number: RawFd) -> io::Result<OwnedFd> {
    let (sender, receiver) = UnixDatagram::pair()?;
    sendmsg::<()>(
        sender.as_raw_fd(),
        &[IoSlice::new(b".")],
        &[ControlMessage::ScmRights(&[number])],
        MsgFlags::empty(),
        None,
    )?;
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [IoSliceMut::new(&mut byte)];
    rustix::net::recvmsg(&receiver, &mut bytes, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let passed = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    nix::unistd::close(number)?;
    passed.ok_or_else(|| io::Error::other("a descriptor that was passed has gone"))
}
