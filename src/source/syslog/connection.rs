//! One connection: its bytes into messages, without ever holding more than one of them.
//!
//! What comes unencrypted is looked at where it lies, in the kernel, and taken from there only up
//! to the end of a message. So the next process can go on with the connection where we stop: nothing
//! of a message that has only begun is lost with us. A message too large for that is read
//! into memory, and for so long the connection cannot be passed on.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use rustix::net::RecvFlags;
use tokio::io::{AsyncRead as _, AsyncWriteExt as _, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::server::TlsStream;
use tollkeeper_parsers::frames::{Frame, Frames};

use super::counters::Reason;
use super::inherited::Keeper;
use super::listener::Listener;
use super::queue::{Arrived, Queue};

/// What is read at a time.
pub(super) const SCRATCH_BYTES: usize = 64 << 10;
/// A message of which so much is there and that has no end yet is read into memory.
const LARGE_MESSAGE_BYTES: usize = 16 << 10;
/// So is one of which nothing more comes for so long: where the sender waits for room to send a
/// large segment in, as over the loopback interface, what lies in the kernel is in its way.
const STALLED_AFTER: Duration = Duration::from_millis(250);
/// What all connections together may hold of messages that have only begun.
const MAX_BEGUN_BYTES: usize = 32 << 20;
/// A message has so long to arrive.
const MESSAGE_WITHIN: Duration = Duration::from_secs(60);
/// At the end, what has arrived is read for so long.
const DRAIN_WITHIN: Duration = Duration::from_secs(2);
/// While it ends, TLS has so long for what is on its way.
const LAST_READ_WITHIN: Duration = Duration::from_millis(50);
const CLOSE_WITHIN: Duration = Duration::from_millis(500);

/// What all connections of the thread share.
pub(super) struct Shared {
    pub(super) queue: Arc<Queue>,
    pub(super) keeper: Arc<Keeper>,
    /// Where bytes are looked at. Never held over a wait.
    pub(super) scratch: RefCell<Vec<u8>>,
    /// Where messages stand in what is looked at; here so that it is used again.
    pub(super) found: RefCell<Vec<Range<usize>>>,
    /// What all connections hold in memory of messages that have begun.
    pub(super) begun_bytes: Cell<usize>,
}

/// What becomes of a listener and its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Runs,
    /// They end; what can be kept for the next process goes on there.
    PassesOn,
    /// They end for good.
    Ends,
}

impl Phase {
    /// Waits until it is over.
    pub(super) async fn over(phase: &mut watch::Receiver<Self>) -> Self {
        // Whoever could still say so has died.
        let over = phase.wait_for(|phase| *phase != Self::Runs).await;
        over.map_or(Self::Ends, |phase| *phase)
    }
}

/// What bytes come over.
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Why a connection is over.
enum End {
    /// The sender has closed it.
    Closed,
    /// It broke.
    Broken,
    /// A message took too long.
    Slow,
    /// Its sender is not on the list any more.
    NotAllowed,
    /// We stop.
    Stopped,
}

/// See the module.
pub(super) struct Connection {
    listener: Arc<Listener>,
    origin: Option<IpAddr>,
    shared: Rc<Shared>,
    /// Under which name it can be kept for the next process.
    name: Option<String>,
    is_kept: bool,
    frames: Frames,
    /// The beginning of a message, taken from the connection.
    head: Vec<u8>,
    /// So much of a message lies in the kernel, and was looked at.
    seen: usize,
    /// When the message began that has no end yet.
    begun: Option<Instant>,
}

impl Connection {
    /// `name`: as which the service manager has it, or would have it.
    pub(super) fn new(
        listener: Arc<Listener>,
        origin: Option<IpAddr>,
        shared: Rc<Shared>,
        name: Option<String>,
        is_kept: bool,
    ) -> Self {
        Self {
            listener,
            origin,
            shared,
            name,
            is_kept,
            frames: Frames::new(),
            head: Vec::new(),
            seen: 0,
            begun: None,
        }
    }

    /// Reads to the end, or until we stop.
    pub(super) async fn run(mut self, mut stream: Stream, mut phase: watch::Receiver<Phase>) {
        self.keep(&stream);
        let end = self.read(&mut stream, &mut phase).await;
        self.settle(&end);
        let goes_on = matches!(end, End::Stopped) && self.is_kept;
        if !goes_on {
            self.forget();
        }
        if let Stream::Tls(stream) = &mut stream {
            // Who does not listen any more need not be told.
            let _ = timeout(CLOSE_WITHIN, stream.shutdown()).await;
        }
    }

    async fn read(&mut self, stream: &mut Stream, phase: &mut watch::Receiver<Phase>) -> End {
        loop {
            self.shared.queue.room().await;
            let slow = until(self.begun.map(|begun| begun + MESSAGE_WITHIN));
            let stalled = until((self.seen > 0).then(|| Instant::now() + STALLED_AFTER));
            let read = tokio::select! {
                biased;
                over = Phase::over(phase) => {
                    if over == Phase::Ends {
                        self.forget();
                        self.name = None;
                    }
                    return self.drain(stream).await;
                }
                read = self.arrive(stream) => read,
                () = slow => return End::Slow,
                () = stalled => self.swallow(stream),
            };
            match read {
                Ok(0) => return End::Closed,
                Ok(_) => {}
                Err(_) => return End::Broken,
            }
            if !self.listener.settings().take(self.origin) {
                return End::NotAllowed;
            }
            // One that sends without a pause is not the only one.
            tokio::task::yield_now().await;
        }
    }

    /// Reads what has arrived, and no more.
    async fn drain(&mut self, stream: &mut Stream) -> End {
        let until = Instant::now() + DRAIN_WITHIN;
        while Instant::now() < until {
            self.shared.queue.room().await;
            let read = match stream {
                Stream::Tls(_) => match timeout(LAST_READ_WITHIN, self.arrive(stream)).await {
                    Ok(read) => read,
                    Err(_) => return End::Stopped,
                },
                Stream::Tcp(stream) => self.look(stream.as_fd(), !self.is_kept),
                Stream::Unix(stream) => self.look(stream.as_fd(), !self.is_kept),
            };
            match read {
                Ok(0) => return End::Closed,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return End::Stopped,
                Err(_) => return End::Broken,
            }
        }
        End::Stopped
    }

    /// Waits for bytes and takes the messages in them. Returns how many bytes there were; 0 at the
    /// end. Nothing is lost where this is given up halfway.
    async fn arrive(&mut self, stream: &mut Stream) -> io::Result<usize> {
        const AGAIN: Duration = Duration::from_millis(50);
        while self.head.len() >= LARGE_MESSAGE_BYTES
            && self.shared.begun_bytes.get() >= MAX_BEGUN_BYTES
        {
            tokio::time::sleep(AGAIN).await;
        }
        match stream {
            Stream::Tls(stream) => {
                let shared = Rc::clone(&self.shared);
                poll_fn(|context| {
                    let scratch = &mut *shared.scratch.borrow_mut();
                    let mut buffer = ReadBuf::new(scratch);
                    ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer))?;
                    let bytes = buffer.filled();
                    self.take(bytes);
                    Poll::Ready(Ok(bytes.len()))
                })
                .await
            }
            Stream::Tcp(stream) => loop {
                let ready = stream.ready(Interest::READABLE).await?;
                let socket = stream.as_fd();
                let look = || self.look(socket, ready.is_read_closed());
                match stream.try_io(Interest::READABLE, look) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    read => return read,
                }
            },
            Stream::Unix(stream) => loop {
                let ready = stream.ready(Interest::READABLE).await?;
                let socket = stream.as_fd();
                let look = || self.look(socket, ready.is_read_closed());
                match stream.try_io(Interest::READABLE, look) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    read => return read,
                }
            },
        }
    }

    /// Looks at what lies in the kernel, and takes whole messages from there. `is_last`: the sender
    /// will send no more.
    fn look(&mut self, socket: BorrowedFd<'_>, is_last: bool) -> io::Result<usize> {
        let shared = Rc::clone(&self.shared);
        let scratch = &mut *shared.scratch.borrow_mut();
        if !self.is_between() {
            return self.read_into_memory(socket, scratch);
        }
        let there = receive(socket, scratch, RecvFlags::PEEK | RecvFlags::DONTWAIT)?;
        if there == 0 {
            return Ok(0);
        }
        let has_news = there != self.seen;
        let done = match has_news {
            true => self.messages(&scratch[..there]),
            false => 0,
        };
        self.seen = there - done;
        let is_large = done == 0 && there >= LARGE_MESSAGE_BYTES;
        // What is seen again is all there will be, or what lies behind it cannot be seen.
        let is_stuck = !has_news && (is_last || is_more_than(socket, there));
        if is_large || is_stuck {
            return self.read_into_memory(socket, scratch);
        }
        if !has_news {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        consume(socket, scratch, done)?;
        if self.frames.is_passing() {
            self.forget();
        }
        Ok(there)
    }

    /// Reads what lies there into memory, whole messages or not.
    fn swallow(&mut self, stream: &Stream) -> io::Result<usize> {
        let shared = Rc::clone(&self.shared);
        let scratch = &mut *shared.scratch.borrow_mut();
        match stream {
            Stream::Tcp(stream) => self.read_into_memory(stream.as_fd(), scratch),
            Stream::Unix(stream) => self.read_into_memory(stream.as_fd(), scratch),
            Stream::Tls(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn read_into_memory(
        &mut self,
        socket: BorrowedFd<'_>,
        scratch: &mut [u8],
    ) -> io::Result<usize> {
        self.forget();
        self.seen = 0;
        let read = receive(socket, scratch, RecvFlags::DONTWAIT)?;
        self.take(&scratch[..read]);
        if self.is_between() {
            self.keep(socket);
        }
        Ok(read)
    }

    /// Takes bytes that are no longer in the connection.
    fn take(&mut self, bytes: &[u8]) {
        if self.head.is_empty() {
            let done = self.messages(bytes);
            self.set_head(|head| head.extend_from_slice(&bytes[done..]));
            return;
        }
        self.set_head(|head| head.extend_from_slice(bytes));
        let head = std::mem::take(&mut self.head);
        let done = self.messages(&head);
        self.head = head;
        self.set_head(|head| drop(head.drain(..done)));
    }

    fn set_head(&mut self, set: impl FnOnce(&mut Vec<u8>)) {
        let others = self.shared.begun_bytes.get() - self.head.len();
        set(&mut self.head);
        if self.head.is_empty() {
            self.head = Vec::new();
        }
        self.shared.begun_bytes.set(others + self.head.len());
    }

    /// Hands on the whole messages at the start. Returns how many bytes are done with.
    fn messages(&mut self, bytes: &[u8]) -> usize {
        let shared = Rc::clone(&self.shared);
        let found = &mut *shared.found.borrow_mut();
        found.clear();
        let mut done = 0;
        loop {
            let was_passing = self.frames.is_passing();
            match self.frames.next(&bytes[done..]) {
                Frame::Message { bytes, consumed } => {
                    found.push(done + bytes.start..done + bytes.end);
                    done += consumed;
                    self.begun = None;
                }
                Frame::TooLong { consumed } => {
                    self.listener.counts.lose(Reason::TooLong, 1);
                    done += consumed;
                }
                Frame::Passed { consumed } => {
                    done += consumed;
                    if was_passing && !self.frames.is_passing() {
                        self.begun = None;
                    }
                }
                Frame::Incomplete => break,
            }
        }
        match done < bytes.len() || self.frames.is_passing() {
            true => self.begun = self.begun.or_else(|| Some(Instant::now())),
            false => self.begun = None,
        }
        let arrived = found.iter().map(|place| Arrived {
            listener: self.listener.id,
            origin: self.origin,
            bytes: &bytes[place.clone()],
        });
        shared.queue.push_messages(arrived);
        done
    }

    /// Whether nothing of a message was taken from the connection.
    fn is_between(&self) -> bool {
        self.head.is_empty() && !self.frames.is_passing()
    }

    /// What becomes of a message that has only begun.
    fn settle(&mut self, end: &End) {
        let counts = &self.listener.counts;
        if matches!(end, End::Slow) {
            counts.slow.add(1);
            let origin = self.origin;
            self.listener.said.slow.say(|more| {
                let sender = origin.map_or("a sender".to_owned(), |ip| ip.to_string());
                let listen = &self.listener.listen;
                tracing::warn!("{listen}: {sender} has not finished a message in time{more}");
            });
        }
        // One that is too long is counted already.
        if self.begun.is_none() || self.frames.is_passing() {
            return;
        }
        let last = self.frames.last(&self.head);
        match (end, last) {
            (End::Stopped, _) if self.is_kept => {}
            (End::Closed, Some(place)) => {
                let message = Arrived {
                    listener: self.listener.id,
                    origin: self.origin,
                    bytes: &self.head[place],
                };
                self.shared.queue.push_messages(std::iter::once(message));
            }
            _ => counts.lose(Reason::CutOff, 1),
        }
    }

    /// Has the connection kept for the next process.
    fn keep(&mut self, socket: impl KeptSocket) {
        if let (Some(name), false, Some(socket)) = (&self.name, self.is_kept, socket.kept()) {
            self.shared.keeper.keep(name, socket);
            self.is_kept = true;
        }
    }

    fn forget(&mut self) {
        if let (Some(name), true) = (&self.name, self.is_kept) {
            self.shared.keeper.forget(name);
            self.is_kept = false;
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let begun = &self.shared.begun_bytes;
        begun.set(begun.get() - self.head.len());
    }
}

/// What another process can go on with.
trait KeptSocket {
    fn kept(&self) -> Option<BorrowedFd<'_>>;
}

impl KeptSocket for &Stream {
    fn kept(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Stream::Tcp(stream) => Some(stream.as_fd()),
            Stream::Unix(stream) => Some(stream.as_fd()),
            // Its keys are in our memory.
            Stream::Tls(_) => None,
        }
    }
}

impl KeptSocket for BorrowedFd<'_> {
    fn kept(&self) -> Option<BorrowedFd<'_>> {
        Some(*self)
    }
}

/// Waits for this moment, or for ever.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8], flags: RecvFlags) -> io::Result<usize> {
    loop {
        match rustix::net::recv(socket, &mut *buffer, flags) {
            Err(rustix::io::Errno::INTR) => {}
            read => return Ok(read?.0),
        }
    }
}

/// Takes so many bytes, which were looked at.
fn consume(socket: BorrowedFd<'_>, scratch: &mut [u8], bytes: usize) -> io::Result<()> {
    let mut done = 0;
    while done < bytes {
        match receive(socket, &mut scratch[done..bytes], RecvFlags::DONTWAIT)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => done += read,
        }
    }
    Ok(())
}

fn is_more_than(socket: BorrowedFd<'_>, bytes: usize) -> bool {
    rustix::io::ioctl_fionread(socket).is_ok_and(|there| there > bytes as u64)
}
