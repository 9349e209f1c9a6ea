//! A thread for each socket of datagrams, which does nothing but empty it.

use std::io::{self, IoSliceMut};
use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg};
use rustix::event::{EventfdFlags, PollFd, PollFlags};

use super::bind::Kind;
use super::counters::Reason;
use super::listener::{Listener, Settings};
use super::queue::{Arrived, Queue};

/// Datagrams that are read at a time, from UDP, where none is longer than 64 KiB;
const UDP_SLOTS: usize = 64;
const UDP_SLOT_BYTES: usize = 64 << 10;
/// and from unix sockets, where one can be as long as a message may be.
const UNIX_SLOTS: usize = 16;
const UNIX_SLOT_BYTES: usize = 256 << 10;

/// While it stops, the socket is read for so long at most: a sender that never ends is no reason
/// not to.
const DRAIN_WITHIN: Duration = Duration::from_secs(2);

/// A running thread.
#[derive(Debug)]
pub(super) struct Receiver {
    /// Written to, it ends.
    end: Arc<OwnedFd>,
    thread: JoinHandle<()>,
}

impl Receiver {
    /// Begins to read the socket, which does not block.
    ///
    /// # Errors
    /// As the system says.
    pub(super) fn start(
        listener: Arc<Listener>,
        socket: Arc<OwnedFd>,
        queue: Arc<Queue>,
    ) -> io::Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let end = Arc::new(rustix::event::eventfd(0, flags)?);
        let ended = Arc::clone(&end);
        let thread = std::thread::Builder::new()
            .name(format!("receive {}", listener.id))
            .spawn(move || run(&listener, &socket, &ended, &queue))?;
        Ok(Self { end, thread })
    }

    /// The thread.
    pub(super) fn thread(&self) -> &JoinHandle<()> {
        &self.thread
    }

    /// Reads what is there and ends.
    pub(super) fn stop(self) {
        // An eventfd takes eight bytes as long as its count fits.
        let _ = rustix::io::write(&*self.end, &1_u64.to_ne_bytes());
        if self.thread.join().is_err() {
            tracing::error!("a thread that receives datagrams has died");
        }
    }
}

fn run(listener: &Listener, socket: &OwnedFd, end: &OwnedFd, queue: &Queue) {
    const AFTER_ERROR: Duration = Duration::from_millis(100);
    let mut slots = Slots::of(listener.kind);
    loop {
        let mut watched = [
            PollFd::new(socket, PollFlags::IN),
            PollFd::new(end, PollFlags::IN),
        ];
        if rustix::event::poll(&mut watched, None).is_err() {
            continue;
        }
        let is_ended = !watched[1].revents().is_empty();
        let began = Instant::now();
        let settings = listener.settings();
        loop {
            match slots.receive(listener, &settings, socket, queue) {
                Ok(0) => break,
                Ok(_) if is_ended && began.elapsed() >= DRAIN_WITHIN => break,
                // A reload is noticed also by who never finds the socket empty.
                Ok(_) if !is_ended && began.elapsed() >= DRAIN_WITHIN => break,
                Ok(_) => {}
                Err(error) => {
                    listener.said.failed.say(|more| {
                        tracing::warn!("{}: cannot receive: {error}{more}", listener.listen);
                    });
                    std::thread::sleep(AFTER_ERROR);
                    break;
                }
            }
        }
        if is_ended {
            return;
        }
    }
}

/// Where datagrams are put by the kernel.
struct Slots {
    /// Zeroed by the system: what no datagram has reached costs no memory.
    area: Vec<u8>,
    slot_bytes: usize,
    headers: MultiHeaders<SockaddrStorage>,
    /// Of each that arrived: its length, and from whom; `None` where it was longer than its slot.
    arrived: Vec<(Option<usize>, Option<IpAddr>)>,
}

impl Slots {
    fn of(kind: Kind) -> Self {
        let (slots, slot_bytes) = match kind {
            Kind::Udp => (UDP_SLOTS, UDP_SLOT_BYTES),
            _ => (UNIX_SLOTS, UNIX_SLOT_BYTES),
        };
        Self {
            area: vec![0; slots * slot_bytes],
            slot_bytes,
            headers: MultiHeaders::preallocate(slots, None),
            arrived: Vec::with_capacity(slots),
        }
    }

    /// Reads as many datagrams as there are slots, or as there are, and hands them on. Returns how
    /// many.
    fn receive(
        &mut self,
        listener: &Listener,
        settings: &Settings,
        socket: &OwnedFd,
        queue: &Queue,
    ) -> io::Result<usize> {
        self.arrived.clear();
        let mut slots: Vec<_> = self
            .area
            .chunks_exact_mut(self.slot_bytes)
            .map(|slot| [IoSliceMut::new(slot)])
            .collect();
        let has_addresses = listener.kind == Kind::Udp;
        let flags = MsgFlags::MSG_DONTWAIT;
        match recvmmsg(
            socket.as_raw_fd(),
            &mut self.headers,
            &mut slots,
            flags,
            None,
        ) {
            Ok(messages) => {
                self.arrived.extend(messages.map(|message| {
                    let is_whole = !message.flags.contains(MsgFlags::MSG_TRUNC);
                    let sender = message.address.filter(|_| has_addresses);
                    (is_whole.then_some(message.bytes), sender.and_then(ip))
                }));
            }
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(0),
            Err(error) => return Err(error.into()),
        }
        self.hand_on(listener, settings, queue);
        Ok(self.arrived.len())
    }

    fn hand_on(&self, listener: &Listener, settings: &Settings, queue: &Queue) {
        let (mut not_allowed, mut too_long) = (0, 0);
        let datagrams = self
            .arrived
            .iter()
            .zip(self.area.chunks_exact(self.slot_bytes))
            .filter_map(|(&(length, origin), slot)| {
                if !settings.take(origin) {
                    not_allowed += 1;
                    listener.said.not_allowed.say(|more| {
                        let sender = origin.map_or("nobody".to_owned(), |ip| ip.to_string());
                        tracing::warn!(
                            "{}: {sender} is not allowed to send{more}",
                            listener.listen
                        );
                    });
                    return None;
                }
                let Some(length) = length else {
                    too_long += 1;
                    return None;
                };
                Some(Arrived {
                    listener: listener.id,
                    origin,
                    bytes: slot.get(..length)?,
                })
            });
        let lost = queue.push_datagrams(datagrams);
        let counts = &listener.counts;
        if not_allowed > 0 {
            counts.not_allowed.add(not_allowed);
        }
        if too_long > 0 {
            counts.lose(Reason::TooLong, too_long);
        }
        if lost > 0 {
            counts.lose(Reason::Memory, lost);
        }
    }
}

fn ip(address: SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|address| address.ip().into());
    let v6 = || address.as_sockaddr_in6().map(|address| address.ip().into());
    v4.or_else(v6).map(|ip: IpAddr| ip.to_canonical())
}
