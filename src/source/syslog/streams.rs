//! Connections, all on one thread: who may connect, how many may, and that each ends in order.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::timeout;

use super::bind::Kind;
use super::connection::{Connection, Phase, SCRATCH_BYTES, Shared, Stream};
use super::inherited::{Keeper, connection_name};
use super::listener::Listener;
use super::queue::Queue;

/// The handshake of TLS has so long.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// All connections of a listener have so long to end.
const END_WITHIN: Duration = Duration::from_secs(5);
/// A connection on which nothing comes is asked after this time whether it is still there,
const KEEPALIVE_AFTER: Duration = Duration::from_secs(120);
/// again after this,
const KEEPALIVE_BETWEEN: Duration = Duration::from_secs(20);
/// and closed when it has not answered so often.
const KEEPALIVE_TIMES: u32 = 4;

/// What the kernel holds of a connection: the beginning of a message may lie there, and a segment
/// has to fit behind it, which over the loopback interface is 64 KiB long.
const RECEIVE_BUFFER_BYTES: usize = 512 << 10;

/// The running thread.
#[derive(Debug)]
pub(super) struct Streams {
    commands: UnboundedSender<Command>,
    thread: JoinHandle<()>,
}

/// A connection that an earlier process had, and as what it was kept.
#[derive(Debug)]
pub(super) struct Adopted {
    pub(super) name: String,
    pub(super) socket: OwnedFd,
}

#[derive(Debug)]
enum Command {
    Listen(Arc<Listener>, OwnedFd, Vec<Adopted>),
    /// Ends a listener and its connections, or all, in this way; then says so.
    End(Option<u32>, Phase, mpsc::Sender<()>),
}

impl Streams {
    /// Starts the thread, which listens nowhere yet.
    ///
    /// # Errors
    /// As the system says.
    pub(super) fn start(queue: Arc<Queue>, keeper: Arc<Keeper>) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()?;
        let (commands, told) = unbounded_channel();
        let thread = std::thread::Builder::new()
            .name("connections".to_owned())
            .spawn(move || {
                let shared = Rc::new(Shared {
                    queue,
                    keeper,
                    scratch: RefCell::new(vec![0; SCRATCH_BYTES]),
                    found: RefCell::default(),
                    begun_bytes: Cell::new(0),
                });
                LocalSet::new().block_on(&runtime, obey(told, shared));
            })?;
        Ok(Self { commands, thread })
    }

    /// The thread.
    pub(super) fn thread(&self) -> &JoinHandle<()> {
        &self.thread
    }

    /// Accepts connections, and goes on with these.
    pub(super) fn listen(
        &self,
        listener: Arc<Listener>,
        socket: OwnedFd,
        connections: Vec<Adopted>,
    ) {
        // The thread ends when it is told to.
        let _ = self
            .commands
            .send(Command::Listen(listener, socket, connections));
    }

    /// Ends a listener and its connections, once what has arrived is read.
    pub(super) fn close(&self, listener: &Listener) {
        self.end(Some(listener.id), Phase::Ends);
    }

    /// Ends all of them. `goes_on`: the next process has what is kept for it.
    pub(super) fn stop(self, goes_on: bool) {
        let over = match goes_on {
            true => Phase::PassesOn,
            false => Phase::Ends,
        };
        self.end(None, over);
        if self.thread.join().is_err() {
            tracing::error!("the thread of the connections has died");
        }
    }

    fn end(&self, listener: Option<u32>, over: Phase) {
        let (ended, is_ended) = mpsc::channel();
        let _ = self.commands.send(Command::End(listener, over, ended));
        let _ = is_ended.recv();
    }
}

/// A listener's task, and what ends it.
type Running = (watch::Sender<Phase>, tokio::task::JoinHandle<()>);

async fn obey(mut told: UnboundedReceiver<Command>, shared: Rc<Shared>) {
    let mut running: HashMap<u32, Running> = HashMap::new();
    while let Some(command) = told.recv().await {
        match command {
            Command::Listen(listener, socket, adopted) => {
                let (phase, phases) = watch::channel(Phase::Runs);
                let id = listener.id;
                let served = serve(listener, socket, adopted, Rc::clone(&shared), phases);
                let earlier = running.insert(id, (phase, tokio::task::spawn_local(served)));
                debug_assert!(earlier.is_none(), "two listeners with one number");
            }
            Command::End(which, over, ended) => {
                let is_meant = |id: &u32| which.is_none_or(|which| which == *id);
                let ending: Vec<_> = running.extract_if(|id, _| is_meant(id)).collect();
                for (_, (phase, _)) in &ending {
                    phase.send_replace(over);
                }
                for (_, (_, task)) in ending {
                    if task.await.is_err() {
                        tracing::error!("a task that accepts connections has died");
                    }
                }
                // Whoever asked may have gone.
                let _ = ended.send(());
                if which.is_none() {
                    return;
                }
            }
        }
    }
}

/// Accepts until it is to stop, then waits for the connections to end.
async fn serve(
    listener: Arc<Listener>,
    socket: OwnedFd,
    adopted: Vec<Adopted>,
    shared: Rc<Shared>,
    mut phase: watch::Receiver<Phase>,
) {
    const AFTER_ERROR: Duration = Duration::from_millis(100);
    let acceptor = match Acceptor::of(listener.kind, socket) {
        Ok(acceptor) => acceptor,
        Err(error) => {
            tracing::error!("{}: cannot accept connections: {error}", listener.listen);
            return;
        }
    };
    let mut connections = Connections {
        listener: Arc::clone(&listener),
        shared,
        phase: phase.clone(),
        of_senders: Rc::default(),
        tasks: JoinSet::new(),
    };
    for Adopted { name, socket } in adopted {
        connections.adopt(name, socket);
    }
    let over = loop {
        let accepted = tokio::select! {
            biased;
            over = Phase::over(&mut phase) => break over,
            Some(_) = connections.tasks.join_next() => continue,
            accepted = acceptor.accept() => accepted,
        };
        match accepted {
            Ok((socket, sender)) => connections.admit(socket, sender),
            Err(error) => {
                listener.said.failed.say(|more| {
                    let listen = &listener.listen;
                    tracing::warn!("{listen}: cannot accept a connection: {error}{more}");
                });
                tokio::time::sleep(AFTER_ERROR).await;
            }
        }
    };
    // Who has connected and sent is heard, if not by the next process.
    while over == Phase::Ends
        && let Ok(Ok((socket, sender))) = timeout(Duration::ZERO, acceptor.accept()).await
    {
        connections.admit(socket, sender);
    }
    drop(acceptor);
    let ended = async { while connections.tasks.join_next().await.is_some() {} };
    if timeout(END_WITHIN, ended).await.is_err() {
        tracing::warn!(
            "{}: not all connections have ended in time",
            listener.listen
        );
        connections.tasks.shutdown().await;
    }
}

/// The connections of a listener.
struct Connections {
    listener: Arc<Listener>,
    shared: Rc<Shared>,
    phase: watch::Receiver<Phase>,
    /// How many each sender has.
    of_senders: Rc<RefCell<HashMap<IpAddr, u64>>>,
    tasks: JoinSet<()>,
}

impl Connections {
    /// Takes a connection, or closes it at once.
    fn admit(&mut self, socket: Accepted, sender: Option<IpAddr>) {
        let settings = self.listener.settings();
        let counts = &self.listener.counts;
        let listen = &self.listener.listen;
        let shown = || sender.map_or("a sender".to_owned(), |sender| sender.to_string());
        if !settings.take(sender) {
            counts.not_allowed.add(1);
            self.listener.said.not_allowed.say(|more| {
                tracing::warn!("{listen}: {} is not allowed to connect{more}", shown());
            });
            return;
        }
        let of_sender = sender.and_then(|sender| self.of_senders.borrow().get(&sender).copied());
        let too_many = counts.connections.get() >= settings.max_connections
            || of_sender.unwrap_or(0) >= settings.max_connections_of_a_sender();
        if too_many {
            counts.refused.add(1);
            self.listener.said.refused.say(|more| {
                tracing::warn!(
                    "{listen}: too many connections, {} is sent away{more}",
                    shown()
                );
            });
            return;
        }
        counts.accepted.add(1);
        socket.ask_whether_it_lives();
        let tls = settings.tls.clone();
        match (socket, self.listener.kind, tls) {
            (Accepted::Tcp(socket), Kind::Tls, Some(tls)) => self.shake_hands(socket, sender, tls),
            // There is no listener of TLS without a certificate.
            (Accepted::Tcp(_), Kind::Tls, None) => {}
            (Accepted::Tcp(socket), _, _) => self.run(Stream::Tcp(socket), sender, None),
            (Accepted::Unix(socket), _, _) => self.run(Stream::Unix(socket), sender, None),
        }
    }

    fn adopt(&mut self, name: String, socket: OwnedFd) {
        let adopted = match self.listener.kind {
            Kind::Tcp => to_tcp(socket),
            Kind::UnixStream => to_unix(socket),
            _ => Err(io::ErrorKind::Unsupported.into()),
        };
        match adopted {
            Ok((stream, sender)) if self.listener.settings().take(sender) => {
                self.run(stream, sender, Some(name));
            }
            _ => self.shared.keeper.forget(&name),
        }
    }

    fn shake_hands(
        &mut self,
        socket: TcpStream,
        sender: Option<IpAddr>,
        tls: tokio_rustls::TlsAcceptor,
    ) {
        let place = Place::take(&self.listener, &self.of_senders, sender);
        let connection = self.connection(sender, None, false);
        let listener = Arc::clone(&self.listener);
        let mut phase = self.phase.clone();
        self.tasks.spawn_local(async move {
            let shaken = tokio::select! {
                _ = Phase::over(&mut phase) => return,
                shaken = timeout(HANDSHAKE_WITHIN, tls.accept(socket)) => shaken,
            };
            match shaken.map_err(io::Error::from).flatten() {
                Ok(stream) => connection.run(Stream::Tls(Box::new(stream)), phase).await,
                Err(error) => {
                    listener.counts.tls_failed.add(1);
                    listener.said.tls.say(|more| {
                        let listen = &listener.listen;
                        let sender = sender.map_or(String::new(), |ip| format!(" from {ip}"));
                        tracing::warn!("{listen}: no TLS with a connection{sender}: {error}{more}");
                    });
                }
            }
            drop(place);
        });
    }

    fn run(&mut self, stream: Stream, sender: Option<IpAddr>, kept_as: Option<String>) {
        let place = Place::take(&self.listener, &self.of_senders, sender);
        let is_kept = kept_as.is_some();
        let listen = &self.listener.listen;
        let name = match (&stream, self.shared.keeper.is_there()) {
            (_, false) | (Stream::Tls(_), _) => None,
            (Stream::Tcp(stream), true) => connection_name(listen, stream.as_fd()).ok(),
            (Stream::Unix(stream), true) => connection_name(listen, stream.as_fd()).ok(),
        };
        let connection = self.connection(sender, kept_as.or(name), is_kept);
        let phase = self.phase.clone();
        self.tasks.spawn_local(async move {
            connection.run(stream, phase).await;
            drop(place);
        });
    }

    fn connection(
        &self,
        sender: Option<IpAddr>,
        name: Option<String>,
        is_kept: bool,
    ) -> Connection {
        let listener = Arc::clone(&self.listener);
        Connection::new(listener, sender, Rc::clone(&self.shared), name, is_kept)
    }
}

/// A connection's place among those of its listener and of its sender.
struct Place {
    listener: Arc<Listener>,
    of_senders: Rc<RefCell<HashMap<IpAddr, u64>>>,
    sender: Option<IpAddr>,
}

impl Place {
    fn take(
        listener: &Arc<Listener>,
        of_senders: &Rc<RefCell<HashMap<IpAddr, u64>>>,
        sender: Option<IpAddr>,
    ) -> Self {
        listener.counts.connections.add(1);
        if let Some(sender) = sender {
            *of_senders.borrow_mut().entry(sender).or_default() += 1;
        }
        Self {
            listener: Arc::clone(listener),
            of_senders: Rc::clone(of_senders),
            sender,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.listener.counts.connections.subtract(1);
        let mut of_senders = self.of_senders.borrow_mut();
        if let Some(sender) = self.sender
            && let Some(count) = of_senders.get_mut(&sender)
        {
            *count -= 1;
            if *count == 0 {
                of_senders.remove(&sender);
            }
        }
    }
}

/// A listening socket of streams.
enum Acceptor {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A connection, as it was accepted.
enum Accepted {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Acceptor {
    fn of(kind: Kind, socket: OwnedFd) -> io::Result<Self> {
        if kind == Kind::UnixStream {
            let listener = std::os::unix::net::UnixListener::from(socket);
            listener.set_nonblocking(true)?;
            return UnixListener::from_std(listener).map(Self::Unix);
        }
        // Connections get it from here. Without, they have less room at first.
        let _ = sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER_BYTES);
        let listener = std::net::TcpListener::from(socket);
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener).map(Self::Tcp)
    }

    async fn accept(&self) -> io::Result<(Accepted, Option<IpAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, sender) = listener.accept().await?;
                Ok((Accepted::Tcp(stream), Some(sender.ip().to_canonical())))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Accepted::Unix(stream), None))
            }
        }
    }
}

impl Accepted {
    /// So that senders that have gone without a word do not hold their places.
    fn ask_whether_it_lives(&self) {
        let Self::Tcp(stream) = self else {
            return;
        };
        // Without it, the places are held longer.
        let _ = sockopt::set_socket_keepalive(stream, true)
            .and_then(|()| sockopt::set_tcp_keepidle(stream, KEEPALIVE_AFTER))
            .and_then(|()| sockopt::set_tcp_keepintvl(stream, KEEPALIVE_BETWEEN))
            .and_then(|()| sockopt::set_tcp_keepcnt(stream, KEEPALIVE_TIMES));
    }
}

fn to_tcp(socket: OwnedFd) -> io::Result<(Stream, Option<IpAddr>)> {
    let stream = std::net::TcpStream::from(socket);
    stream.set_nonblocking(true)?;
    let sender = stream.peer_addr()?.ip().to_canonical();
    Ok((Stream::Tcp(TcpStream::from_std(stream)?), Some(sender)))
}

fn to_unix(socket: OwnedFd) -> io::Result<(Stream, Option<IpAddr>)> {
    let stream = std::os::unix::net::UnixStream::from(socket);
    stream.set_nonblocking(true)?;
    Ok((Stream::Unix(UnixStream::from_std(stream)?), None))
}
