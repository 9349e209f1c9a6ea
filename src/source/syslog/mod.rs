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
mod queue;
mod seldom;
mod senders;
mod spooler;
mod streams;
mod tls;

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;

use tokio_rustls::TlsAcceptor;

use self::bind::Kind;
use self::counters::SourceCounts;
pub use self::counters::{ListenerSnapshot, Reason, SenderSnapshot, Snapshot, SourceSnapshot};
use self::datagrams::Receiver;
pub use self::inherited::Inherited;
use self::inherited::{Keeper, listener_name};
use self::listener::{Listener, Settings};
use self::queue::Queue;
use self::senders::Senders;
use self::spooler::{Command, ListenerRoutes, Route, Routes, SourceSpool};
use self::streams::{Adopted, Streams};
use crate::config::{Listen, SyslogSource};
use crate::source::spool::{self, Limits};

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

/// What reception has seen, for whoever asks, from any thread.
#[derive(Debug, Default)]
pub struct Counters(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    listeners: Vec<Arc<Listener>>,
    sources: Vec<(String, Arc<SourceCounts>)>,
}

impl Counters {
    /// How it is now. Listeners and sources that a reload took out are gone from it.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let counted = self.counted();
        let listeners = counted.listeners.iter();
        let sources = counted.sources.iter();
        Snapshot {
            listeners: listeners
                .map(|listener| listener.counts.snapshot(listener.listen.to_string()))
                .collect(),
            sources: sources
                .map(|(name, counts)| counts.snapshot(name))
                .collect(),
        }
    }

    /// The counts of a source, which begin anew where it is new.
    fn source(&self, name: &str) -> Arc<SourceCounts> {
        let counted = self.counted();
        let mut sources = counted.sources.iter();
        let found = sources.find(|(other, _)| other == name);
        found
            .map(|(_, counts)| Arc::clone(counts))
            .unwrap_or_default()
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
                    let place = Place::new(id, listen, kind, socket, settings)?;
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
        self.publish(&listeners);

        // What goes is for the sources that it had, until it is read to its end.
        let mut interim = self.routes(&listeners, sources);
        self.add_routes(&mut interim, &going, &earlier);
        self.queue.command(Command::Install(interim));
        // What comes to a listener may be looked at before a command that was there first.
        wait_for_spooler(&self.queue);
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
        wait_for_spooler(&self.queue);
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
        wait_for_spooler(&self.queue);
        for place in places.iter().filter(|_| !goes_on) {
            place.listener.remove_file();
        }
        self.queue.command(Command::End);
        if self.spooler.join().is_err() {
            tracing::error!("the thread that writes the spools has died");
        }
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
        wait_for_spooler(&self.queue);
        let is_used = |other: &Place| Arc::ptr_eq(&other.socket, &place.socket);
        if !self.places.iter().any(is_used) {
            self.keeper.forget(&listener_name(&listener.listen));
            listener.remove_file();
        }
    }

    fn publish(&self, listeners: &[Arc<Listener>]) {
        let sources = self.sources.iter();
        let sources = sources
            .map(|source| (source.name.clone(), self.counters.source(&source.name)))
            .collect();
        *self.counters.counted() = Counted {
            listeners: listeners.to_vec(),
            sources,
        };
    }

    fn routes(&self, listeners: &[Arc<Listener>], sources: &[SyslogSource]) -> Routes {
        let mut routes = Routes::default();
        for source in sources {
            routes.sources.push(self.spool_of(source));
        }
        for listener in listeners {
            routes
                .listeners
                .push(routes_of(listener, sources, &routes.sources));
        }
        routes
    }

    /// Adds listeners that go, with the sources that they had.
    fn add_routes(&self, routes: &mut Routes, going: &[Place], earlier: &[SyslogSource]) {
        for source in earlier {
            if !routes.sources.iter().any(|other| other.name == source.name) {
                routes.sources.push(self.spool_of(source));
            }
        }
        for place in going {
            let listener = &place.listener;
            routes
                .listeners
                .push(routes_of(listener, earlier, &routes.sources));
        }
    }

    fn spool_of(&self, source: &SyslogSource) -> SourceSpool {
        SourceSpool {
            name: source.name.clone(),
            folder: spool::folder(&self.state_dir, &source.name),
            limits: Limits {
                max_spool_bytes: source.max_spool_bytes,
            },
            counts: self.counters.source(&source.name),
        }
    }
}

/// Until the spooler is through with what has come so far.
fn wait_for_spooler(queue: &Queue) {
    let (told, is_told) = mpsc::channel();
    queue.command(Command::Tell(told));
    // It fails only where the thread has died, which shows when it is joined.
    let _ = is_told.recv();
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
    ) -> Result<Self, ReceptionError> {
        let failed = |error| ReceptionError::system(&format!("use the socket of {listen}"), &error);
        let inode = drops::inode(&socket).map_err(failed)?;
        let address = bind::address(&socket);
        let listener = Listener::new(id, listen, kind, address, inode, settings);
        // What another process has seen of it is not ours to book.
        let drops = drops::udp_drops().unwrap_or_default();
        let dropped = drops.get(&inode).copied().unwrap_or_default();
        listener.drops.store(dropped, Ordering::Relaxed);
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

/// The sources that listen there, in their order.
fn sources_of<'s>(sources: &'s [SyslogSource], listen: &Listen) -> Vec<&'s SyslogSource> {
    let sources = sources.iter();
    sources
        .filter(|source| source.listen.contains(listen))
        .collect()
}

fn routes_of(
    listener: &Arc<Listener>,
    sources: &[SyslogSource],
    spools: &[SourceSpool],
) -> ListenerRoutes {
    let here = sources_of(sources, &listener.listen).into_iter();
    let routes = here.filter_map(|source| {
        Some(Route {
            source: spools.iter().position(|spool| spool.name == source.name)?,
            senders: Senders::of(source, listener.kind),
            accepts: source.accepts.clone(),
        })
    });
    ListenerRoutes {
        listener: Arc::clone(listener),
        routes: routes.collect(),
    }
}

/// What the config refuses where it can know the address.
fn refuse_unguarded(
    listen: &Listen,
    kind: Kind,
    socket: &OwnedFd,
    sources: &[&SyslogSource],
) -> Result<(), ReceptionError> {
    let Some(address) = bind::address(socket).filter(|address| !address.ip().is_loopback()) else {
        return Ok(());
    };
    let asks_for_certificates = |source: &SyslogSource| {
        let tls = source.tls.as_ref();
        kind == Kind::Tls && tls.is_some_and(|tls| tls.client_ca.is_some())
    };
    let mut sources = sources.iter();
    match sources.find(|source| source.allow.is_none() && !asks_for_certificates(source)) {
        None => Ok(()),
        Some(source) => {
            let message = format!(
                "{listen} is {address}, which can be reached from elsewhere, and the source {:?} \
                 does not say who may send",
                source.name
            );
            let help = "add allow = [\"192.0.2.0/24\"] with the addresses of the senders";
            Err(ReceptionError::new(message, help))
        }
    }
}
