//! Syslog: what servers send, received at once and put into the spool of its source.
//!
//! ```text
//! sockets of datagrams: a thread each ─┐
//!                                      ├─ queue (bounded) ─ one thread that writes ─ spools
//! connections: one thread for all ─────┘
//! ```
//!
//! Receiving is apart from writing, so that a slow disk costs memory and not messages, and both are
//! apart from parsing, which follows the spool as it follows any log. What is promised: a message
//! that arrived is in a spool, or is counted as lost there with its minute and the reason.
//! Datagrams are lost when the kernel's buffer or the queue is full, which the kernel counts for UDP
//! and nobody for unix sockets; connections wait instead. Nothing that a sender does makes this grow
//! or stop, or fills the journal.

mod bind;
mod connection;
mod counters;
mod datagrams;
mod drops;
mod inherited;
mod listener;
mod published;
mod queue;
mod routes;
mod seldom;
mod senders;
mod spooler;
mod streams;
mod tls;

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio_rustls::TlsAcceptor;

use self::bind::Kind;
pub use self::counters::{ListenerSnapshot, Reason, SenderSnapshot, Snapshot, SourceSnapshot};
use self::datagrams::Receiver;
use self::drops::Booked;
pub use self::inherited::Inherited;
use self::inherited::{Keeper, listener_name};
use self::listener::{Listener, Settings};
pub use self::published::Counters;
use self::queue::Queue;
use self::routes::sources_of;
use self::senders::refuse_unguarded;
use self::spooler::Command;
use self::streams::{Adopted, Streams};
use crate::config::{Listen, SyslogSource};

/// Whether who is waited for still runs is looked at so often.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// What time it is, in seconds since 1970.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Why nothing can be received, and the remedy.
#[derive(Debug, thiserror::Error)]
#[error("{message}{}{help}", if .help.is_empty() { "" } else { "\n" })]
pub struct ReceptionError {
    message: String,
    help: String,
}

impl ReceptionError {
    fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: help.into(),
        }
    }

    fn system(doing: &str, error: &io::Error) -> Self {
        Self::new(format!("cannot {doing}: {error}"), "")
    }
}

/// Running reception. Dropped without [`Reception::stop`] it goes on.
#[derive(Debug)]
pub struct Reception {
    state_dir: PathBuf,
    queue: Arc<Queue>,
    keeper: Arc<Keeper>,
    inherited: Inherited,
    streams: Streams,
    spooler: JoinHandle<()>,
    /// Of sockets that the process before had.
    booked: Booked,
    sources: Vec<SyslogSource>,
    places: Vec<Place>,
    next_id: u32,
    counters: Arc<Counters>,
}

/// A listener, and what runs for it.
#[derive(Debug)]
struct Place {
    listener: Arc<Listener>,
    socket: Arc<OwnedFd>,
    /// For datagrams, once it runs.
    receiver: Option<Receiver>,
    receive_buffer_bytes: u32,
}

impl Reception {
    /// Binds what the sources listen on, or takes it over from systemd and from the process before,
    /// and begins to receive. Spools are made below the state directory.
    ///
    /// # Errors
    /// What cannot be listened on, and why. Nothing is left running then.
    pub fn start(
        sources: &[SyslogSource],
        state_dir: &Path,
        inherited: Inherited,
        clock: Clock,
    ) -> Result<Self, ReceptionError> {
        let failed = |error: io::Error| ReceptionError::system("begin to receive", &error);
        let queue = Arc::new(Queue::default());
        let keeper = Arc::new(inherited.keeper().map_err(failed)?);
        let streams = Streams::start(Arc::clone(&queue), Arc::clone(&keeper)).map_err(failed)?;
        let mut reception = Self {
            state_dir: state_dir.to_owned(),
            spooler: spooler::start(Arc::clone(&queue), clock).map_err(failed)?,
            queue,
            keeper,
            inherited,
            streams,
            booked: Booked::take(state_dir),
            sources: Vec::new(),
            places: Vec::new(),
            next_id: 0,
            counters: Arc::default(),
        };
        if let Err(error) = reception.reload(sources) {
            reception.stop();
            return Err(error);
        }
        // What an earlier config listened on is of no use to anybody.
        for (name, socket) in reception.inherited.take_rest() {
            reception.keeper.forget(&name);
            drop(socket);
        }
        for name in reception.inherited.names() {
            let listen = Listen::Systemd(name.to_owned());
            if !sources.iter().any(|source| source.listen.contains(&listen)) {
                tracing::warn!("systemd passes the socket {name:?}, and no source listens on it");
            }
        }
        Ok(reception)
    }

    /// Goes over to other sources. Sockets and connections that stay are not touched; those that go
    /// are read to their ends first. Certificates are read again.
    ///
    /// # Errors
    /// What cannot be listened on, and why. All goes on as it was then.
    pub fn reload(&mut self, sources: &[SyslogSource]) -> Result<(), ReceptionError> {
        let wanted = self.wanted(sources)?;
        let (mut kept, mut begun) = (Vec::new(), Vec::new());
        for (socket, settings, receive_buffer_bytes) in wanted {
            match socket {
                Socket::Kept(at) => kept.push((at, settings, receive_buffer_bytes)),
                Socket::New {
                    listen,
                    kind,
                    socket,
                } => {
                    let id = self.next_id;
                    self.next_id += 1;
                    let place = Place::new(id, listen, kind, socket, settings, &self.booked)?;
                    begun.push((place, receive_buffer_bytes));
                }
            }
        }

        // From here on nothing fails.
        let mut places: Vec<Option<Place>> = self.places.drain(..).map(Some).collect();
        let mut staying = Vec::new();
        for (at, settings, receive_buffer_bytes) in kept {
            if let Some(mut place) = places.get_mut(at).and_then(Option::take) {
                place.listener.set(settings);
                place.set_receive_buffer(receive_buffer_bytes);
                staying.push(place);
            }
        }
        let going: Vec<Place> = places.into_iter().flatten().collect();
        let earlier = std::mem::replace(&mut self.sources, sources.to_vec());
        let staying_listeners = listeners(&staying);
        let begun_listeners = begun.iter().map(|(place, _)| Arc::clone(&place.listener));
        let listeners: Vec<_> = staying_listeners
            .into_iter()
            .chain(begun_listeners)
            .collect();
        self.counters.publish(&listeners, &self.sources);

        // What goes is for the sources that it had, until it is read to its end.
        let mut interim = self.routes(&listeners, sources);
        self.add_routes(&mut interim, &going, &earlier);
        self.queue.command(Command::Install(interim));
        // What comes to a listener may be looked at before a command that was there first.
        wait_for_spooler(&self.queue, &self.spooler);
        for (mut place, receive_buffer_bytes) in begun {
            place.set_receive_buffer(receive_buffer_bytes);
            self.begin(&mut place);
            staying.push(place);
        }
        self.places = staying;
        for place in going {
            self.end(place);
        }
        let routes = self.routes(&listeners, sources);
        self.queue.command(Command::Install(routes));
        wait_for_spooler(&self.queue, &self.spooler);
        Ok(())
    }

    /// Takes what has arrived, in the kernel and in memory, into the spools, and ends. What systemd
    /// keeps for the next process goes on there.
    pub fn stop(mut self) {
        let goes_on = self.keeper.is_there();
        let mut places = std::mem::take(&mut self.places);
        for place in &mut places {
            if let Some(receiver) = place.receiver.take() {
                receiver.stop();
            }
        }
        self.streams.stop(goes_on);
        // With the sockets go the counts of what they dropped.
        wait_for_spooler(&self.queue, &self.spooler);
        if goes_on {
            leave_booked(&places, &self.state_dir);
        } else {
            for place in &places {
                place.listener.remove_file();
            }
        }
        self.queue.command(Command::End);
        if self.spooler.join().is_err() {
            tracing::error!("the thread that writes the spools has died");
        }
    }

    /// The name of a thread that has ended, which none does by itself.
    #[must_use]
    pub fn ended_thread(&self) -> Option<String> {
        let receivers = self.places.iter().filter_map(|it| it.receiver.as_ref());
        let receivers = receivers.map(Receiver::thread);
        let threads = receivers.chain([self.streams.thread(), &self.spooler]);
        let mut ended = threads.filter(|thread| thread.is_finished());
        ended
            .next()
            .map(|it| it.thread().name().unwrap_or_default().to_owned())
    }

    /// What it has seen, to be asked from any thread and for as long as anybody likes.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// The addresses that are listened on, in the order of the counters' listeners; `None` for unix
    /// sockets.
    #[must_use]
    pub fn addresses(&self) -> Vec<Option<std::net::SocketAddr>> {
        self.places
            .iter()
            .map(|place| place.listener.address)
            .collect()
    }

    /// The sockets of the new config, each there already or made now.
    fn wanted(
        &mut self,
        sources: &[SyslogSource],
    ) -> Result<Vec<(Socket, Settings, u32)>, ReceptionError> {
        let mut wanted = Vec::new();
        let mut done: Vec<&Listen> = Vec::new();
        for listen in sources.iter().flat_map(|source| &source.listen) {
            if done.contains(&listen) {
                continue;
            }
            done.push(listen);
            let here = sources_of(sources, listen);
            let Some(first) = here.first() else {
                continue;
            };
            let has_tls = match listen {
                Listen::Tls(_) => true,
                Listen::Systemd(_) => first.tls.is_some(),
                _ => false,
            };
            for socket in self.sockets(listen, has_tls)? {
                let (kind, descriptor) = match &socket {
                    Socket::Kept(at) => {
                        let place = &self.places[*at];
                        (place.listener.kind, &place.socket)
                    }
                    Socket::New { kind, socket, .. } => (*kind, socket),
                };
                refuse_unguarded(listen, kind, descriptor, &here)?;
                let tls: Option<TlsAcceptor> = match (&first.tls, kind) {
                    (Some(files), Kind::Tls) => Some(tls::acceptor(files)?),
                    _ => None,
                };
                let settings = Settings::of(&here, kind, tls);
                wanted.push((socket, settings, first.receive_buffer_bytes));
            }
        }
        Ok(wanted)
    }

    /// All sockets of a listener: several can have one name of systemd.
    fn sockets(&mut self, listen: &Listen, has_tls: bool) -> Result<Vec<Socket>, ReceptionError> {
        let is_same = |place: &Place| {
            let listener = &place.listener;
            let is_tls = listener.kind == Kind::Tls;
            let can_be_tls = matches!(listener.kind, Kind::Tcp | Kind::Tls);
            listener.listen == *listen && (!can_be_tls || is_tls == has_tls)
        };
        let there = self.places.iter().enumerate();
        let there: Vec<_> = there.filter(|(_, place)| is_same(place)).collect();
        if !there.is_empty() {
            return Ok(there.into_iter().map(|(at, _)| Socket::Kept(at)).collect());
        }
        let sockets: Vec<Arc<OwnedFd>> = match listen {
            Listen::Systemd(name) => self.inherited.named(name).map(Arc::clone).collect(),
            _ => self
                .inherited
                .take_listener(listen)
                .or_else(|| self.spoken_otherwise(listen))
                .into_iter()
                .collect(),
        };
        let sockets = match sockets.is_empty() {
            true => vec![Arc::new(bind::bind(listen)?)],
            false => sockets,
        };
        let examined = sockets.into_iter().map(|socket| {
            let kind = bind::examine(&socket, has_tls).map_err(|error| {
                ReceptionError::system(&format!("receive on the socket of {listen}"), &error)
            })?;
            let listen = listen.clone();
            Ok(Socket::New {
                listen,
                kind,
                socket,
            })
        });
        examined.collect()
    }

    /// The socket of a listener that will speak TLS, or will not any more.
    fn spoken_otherwise(&self, listen: &Listen) -> Option<Arc<OwnedFd>> {
        let (Listen::Tcp(address) | Listen::Tls(address)) = listen else {
            return None;
        };
        let is_there = |place: &&Place| match &place.listener.listen {
            Listen::Tcp(other) | Listen::Tls(other) => other == address,
            _ => false,
        };
        let place = self.places.iter().find(is_there)?;
        Some(Arc::clone(&place.socket))
    }

    fn begin(&mut self, place: &mut Place) {
        let listener = &place.listener;
        if !matches!(listener.listen, Listen::Systemd(_)) {
            let name = listener_name(&listener.listen);
            self.keeper.keep(&name, &place.socket);
        }
        let begun = if listener.kind.is_datagrams() {
            let socket = Arc::clone(&place.socket);
            Receiver::start(Arc::clone(listener), socket, Arc::clone(&self.queue))
                .map(|receiver| place.receiver = Some(receiver))
        } else {
            let connections = self.inherited.take_connections(&listener.listen);
            let connections = connections
                .into_iter()
                .map(|(name, socket)| Adopted { name, socket })
                .collect();
            place.socket.try_clone().map(|socket| {
                let listener = Arc::clone(listener);
                self.streams.listen(listener, socket, connections);
            })
        };
        if let Err(error) = begun {
            tracing::error!("{}: cannot receive: {error}", listener.listen);
        }
    }

    /// Reads a listener to its end, for good.
    fn end(&self, place: Place) {
        let listener = place.listener;
        match place.receiver {
            Some(receiver) => receiver.stop(),
            None => self.streams.close(&listener),
        }
        // With the socket goes the count of what it dropped.
        wait_for_spooler(&self.queue, &self.spooler);
        let is_used = |other: &Place| Arc::ptr_eq(&other.socket, &place.socket);
        if !self.places.iter().any(is_used) {
            self.keeper.forget(&listener_name(&listener.listen));
            listener.remove_file();
        }
    }
}

/// Leaves for the next process what is booked of the drops of its sockets.
fn leave_booked(places: &[Place], state_dir: &Path) {
    let mut booked = Booked::default();
    for place in places
        .iter()
        .filter(|place| place.listener.kind == Kind::Udp)
    {
        let drops = place.listener.drops.load(Ordering::Relaxed);
        booked.note(&place.socket, drops);
    }
    booked.leave(state_dir);
}

/// Waits until all that was in the queue is in the spools.
fn wait_for_spooler(queue: &Queue, spooler: &JoinHandle<()>) {
    let (told, is_told) = mpsc::channel();
    queue.command(Command::Tell(told));
    // One that has died leaves the question where it is.
    while is_told.recv_timeout(BETWEEN_LOOKS) == Err(RecvTimeoutError::Timeout)
        && !spooler.is_finished()
    {}
}

/// A socket of the new config.
enum Socket {
    /// Of this place.
    Kept(usize),
    New {
        listen: Listen,
        kind: Kind,
        socket: Arc<OwnedFd>,
    },
}

impl Place {
    fn new(
        id: u32,
        listen: Listen,
        kind: Kind,
        socket: Arc<OwnedFd>,
        settings: Settings,
        booked: &Booked,
    ) -> Result<Self, ReceptionError> {
        let failed = |error| ReceptionError::system(&format!("use the socket of {listen}"), &error);
        let inode = drops::inode(&socket).map_err(failed)?;
        let address = bind::address(&socket);
        let listener = Listener::new(id, listen, kind, address, inode, settings);
        let drops = drops::udp_drops().unwrap_or_default();
        let dropped = drops.get(&inode).copied().unwrap_or_default();
        let booked = booked.of(&socket, dropped);
        listener.drops.store(booked, Ordering::Relaxed);
        Ok(Self {
            listener: Arc::new(listener),
            socket,
            receiver: None,
            receive_buffer_bytes: 0,
        })
    }

    fn set_receive_buffer(&mut self, bytes: u32) {
        let is_set = self.receive_buffer_bytes == bytes;
        if !is_set && self.listener.kind.is_datagrams() {
            bind::set_receive_buffer(&self.socket, bytes, &self.listener.listen);
        }
        self.receive_buffer_bytes = bytes;
    }
}

fn listeners(places: &[Place]) -> Vec<Arc<Listener>> {
    let listeners = places.iter().map(|place| Arc::clone(&place.listener));
    listeners.collect()
}
