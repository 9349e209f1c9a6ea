//! The one thread that writes: gives each message to the source that takes it, and books what was
//! lost on the way.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tollkeeper_parsers::{frames, syslog};

use super::counters::{Reason, SenderCounts, SourceCounts};
use super::drops;
use super::listener::Listener;
use super::queue::{Arrived, Queue};
use super::senders::Senders;
use super::{Clock, bind::Kind};
use crate::config::Accepts;
use crate::source::spool::{Limits, Loss, Writer};

const TICK: Duration = Duration::from_secs(1);
/// A spool is written to when this much waits for it.
const WRITE_BYTES: usize = 1 << 20;
/// When little has come, a moment is waited for more: each round costs a write for each spool.
const SMALL_ROUND_BYTES: u64 = 64 << 10;
const BETWEEN_SMALL_ROUNDS: Duration = Duration::from_millis(1);

/// What the thread is told to do, once it is through with what came before.
#[derive(Debug)]
pub(super) enum Command {
    /// From now on, these listeners and sources.
    Install(Routes),
    /// Look at what the kernel dropped, and say when this is reached.
    Tell(mpsc::Sender<()>),
    /// Close all spools and end.
    End,
}

/// Where what arrives goes.
#[derive(Debug, Default)]
pub(super) struct Routes {
    pub(super) listeners: Vec<ListenerRoutes>,
    pub(super) sources: Vec<SourceSpool>,
}

/// A listener, and the sources that it is for, in their order.
#[derive(Debug)]
pub(super) struct ListenerRoutes {
    pub(super) listener: Arc<Listener>,
    pub(super) routes: Vec<Route>,
}

/// Which messages of a listener are a source's.
#[derive(Debug)]
pub(super) struct Route {
    /// Its place in the list of sources.
    pub(super) source: usize,
    pub(super) senders: Senders,
    pub(super) accepts: Accepts,
}

/// Where a source keeps what it got.
#[derive(Debug)]
pub(super) struct SourceSpool {
    pub(super) name: String,
    pub(super) folder: PathBuf,
    pub(super) limits: Limits,
    pub(super) counts: Arc<SourceCounts>,
}

/// Starts the thread.
///
/// # Errors
/// As the system says.
pub(super) fn start(queue: Arc<Queue>, clock: Clock) -> std::io::Result<JoinHandle<()>> {
    let spooler = Spooler {
        queue,
        clock,
        listeners: HashMap::new(),
        order: Vec::new(),
        spools: Vec::new(),
        latest: None,
        given: HashMap::new(),
        seen: HashMap::new(),
    };
    std::thread::Builder::new()
        .name("spool".to_owned())
        .spawn(move || spooler.run())
}

struct Spooler {
    queue: Arc<Queue>,
    clock: Clock,
    listeners: HashMap<u32, ListenerRoutes>,
    /// Their ids, as they were installed.
    order: Vec<u32>,
    spools: Vec<Spool>,
    /// Who sent last: mostly the one who sends next.
    latest: Option<(u32, IpAddr, Arc<SenderCounts>)>,
    /// Messages and bytes of each listener that are not all written yet.
    given: HashMap<u32, (u64, u64)>,
    /// What each UDP listener had seen when its drops were looked at.
    seen: HashMap<u32, u64>,
}

struct Spool {
    source: SourceSpool,
    writer: Writer,
    is_refusing: bool,
}

impl Spooler {
    fn run(mut self) {
        let mut next_tick = Instant::now() + TICK;
        loop {
            let work = self.queue.take(Some(next_tick));
            let mut bytes = 0;
            for batch in work.batches {
                for arrived in batch.iter() {
                    bytes += arrived.bytes.len() as u64;
                    self.give(arrived);
                }
                self.queue.give_back(batch);
                self.write(WRITE_BYTES);
            }
            self.write(1);
            self.publish();
            for command in work.commands {
                match command {
                    Command::Install(routes) => self.install(routes),
                    Command::Tell(told) => {
                        self.seen.clear();
                        self.count_drops();
                        // Whoever asked may have gone.
                        let _ = told.send(());
                    }
                    Command::End => return self.end(),
                }
            }
            if Instant::now() >= next_tick {
                self.tick();
                next_tick = Instant::now() + TICK;
            } else if (1..SMALL_ROUND_BYTES).contains(&bytes) {
                std::thread::sleep(BETWEEN_SMALL_ROUNDS);
            }
        }
    }

    /// What arrived goes to the sources of its listener.
    fn give(&mut self, arrived: Arrived<'_>) {
        let Some(here) = self.listeners.get(&arrived.listener) else {
            // Unreachable: a listener is taken out once all that it got is through.
            debug_assert!(false, "a listener that nobody knows");
            return;
        };
        let counts = &here.listener.counts;
        let (mut messages, mut bytes) = (0, 0);
        let mut give = |message: &[u8]| {
            let Some(source) = here.source_of(arrived.origin, message) else {
                counts.no_source.add(1);
                return;
            };
            let Some(spool) = self.spools.get_mut(source) else {
                return;
            };
            messages += 1;
            bytes += message.len() as u64;
            spool.source.counts.messages.add(1);
            spool.source.counts.bytes.add(message.len() as u64);
            spool.writer.append(arrived.origin, message);
        };
        match here.listener.kind.is_datagrams() {
            true => frames::datagram(arrived.bytes).for_each(&mut give),
            false => give(arrived.bytes),
        }
        let given = self.given.entry(arrived.listener).or_default();
        given.0 += messages;
        given.1 += bytes;
        if let Some(sender) = arrived.origin {
            let now = (self.clock)();
            let latest = self.latest.take().filter(|(listener, address, _)| {
                *listener == arrived.listener && *address == sender
            });
            let (_, _, latest) = self.latest.insert(
                latest.unwrap_or_else(|| (arrived.listener, sender, counts.sender(sender))),
            );
            latest.messages.add(messages);
            latest.bytes.add(bytes);
            latest
                .heard
                .store(now.max(0).cast_unsigned(), Ordering::Relaxed);
        }
    }

    /// What is written can be told: a kill does not take it any more.
    fn publish(&mut self) {
        for (listener, (messages, bytes)) in self.given.drain() {
            if let Some(here) = self.listeners.get(&listener) {
                here.listener.counts.messages.add(messages);
                here.listener.counts.bytes.add(bytes);
            }
        }
    }

    /// Writes to the spools for which at least so much waits.
    fn write(&mut self, least_bytes: usize) {
        let now = (self.clock)();
        for spool in &mut self.spools {
            if spool.writer.buffered_bytes() >= least_bytes {
                spool.writer.write(now);
            }
        }
    }

    fn tick(&mut self) {
        self.count_drops();
        self.book_losses();
        let now = (self.clock)();
        for spool in &mut self.spools {
            if spool.writer.needs_tick() {
                spool.writer.tick(now);
            }
            spool.say_whether_it_writes();
        }
        self.queue.shrink();
    }

    /// Looks at what the kernel dropped, at those UDP listeners to which something came since: a
    /// buffer that is full is read from.
    fn count_drops(&mut self) {
        let mut stirred = Vec::new();
        for here in self.listeners.values() {
            let listener = &here.listener;
            if listener.kind != Kind::Udp {
                continue;
            }
            let counts = &listener.counts;
            let seen = counts.messages.get() + counts.no_source.get() + counts.not_allowed.get();
            if self.seen.insert(listener.id, seen) != Some(seen) {
                stirred.push(listener);
            }
        }
        if stirred.is_empty() {
            return;
        }
        let Ok(drops) = drops::udp_drops() else {
            return;
        };
        for listener in stirred {
            if let Some(drops) = drops.get(&listener.inode) {
                listener.note_drops(*drops);
            }
        }
    }

    /// What was lost before it had a source is in the spool of the first source of its listener.
    fn book_losses(&mut self) {
        let minute = (self.clock)().div_euclid(60);
        for id in &self.order {
            let Some(here) = self.listeners.get(id) else {
                continue;
            };
            let first = here.routes.first().map_or(0, |route| route.source);
            let Some(spool) = self.spools.get_mut(first) else {
                continue;
            };
            for (reason, messages) in here.listener.counts.unbooked() {
                spool.writer.lose(minute, Some(messages), reason.words());
                here.listener.said.lost.say(|more| {
                    let (listen, why) = (&here.listener.listen, reason.words());
                    tracing::warn!("{listen}: {messages} messages are lost: {why}{more}");
                });
            }
        }
    }

    fn install(&mut self, routes: Routes) {
        // What is known of the listeners that go is booked with the sources that they had.
        self.count_drops();
        self.book_losses();
        let now = (self.clock)();
        let mut earlier = std::mem::take(&mut self.spools);
        for source in routes.sources {
            let kept = earlier.iter().position(|spool| {
                spool.source.folder == source.folder && spool.source.limits == source.limits
            });
            let spool = match kept {
                Some(at) => Spool {
                    source,
                    ..earlier.swap_remove(at)
                },
                None => Spool {
                    writer: Writer::open(&source.folder, source.limits, now),
                    source,
                    is_refusing: false,
                },
            };
            self.spools.push(spool);
        }
        for spool in earlier {
            spool.close(now);
        }
        self.latest = None;
        self.seen.clear();
        self.order = routes
            .listeners
            .iter()
            .map(|here| here.listener.id)
            .collect();
        self.listeners = routes
            .listeners
            .into_iter()
            .map(|here| (here.listener.id, here))
            .collect();
    }

    fn end(mut self) {
        self.count_drops();
        self.book_losses();
        let now = (self.clock)();
        for spool in self.spools {
            spool.close(now);
        }
    }
}

impl ListenerRoutes {
    /// The first source that takes the message.
    fn source_of(&self, origin: Option<IpAddr>, message: &[u8]) -> Option<usize> {
        let is_asked = |route: &Route| !route.accepts.is_everything();
        let envelope = match self.routes.iter().any(is_asked) {
            true => syslog::message(message),
            false => None,
        };
        let (facility, host, tag) = match &envelope {
            Some(envelope) => (envelope.facility, envelope.host, envelope.tag),
            None => (None, None, None),
        };
        self.routes
            .iter()
            .find(|route| route.senders.take(origin) && route.accepts.take(facility, host, tag))
            .map(|route| route.source)
    }
}

impl Listener {
    /// Notes the kernel's count of drops.
    fn note_drops(&self, drops: u64) {
        // The kernel's counter has 32 bits, of which only the growth matters.
        let before = self.drops.swap(drops, Ordering::Relaxed);
        let more = drops.wrapping_sub(before) & u64::from(u32::MAX);
        if more > 0 {
            self.counts.lose(Reason::Kernel, more);
        }
    }
}

impl Spool {
    fn say_whether_it_writes(&mut self) {
        let refusal = self.writer.refusal().map(ToString::to_string);
        let name = &self.source.name;
        match (&refusal, self.is_refusing) {
            (Some(refusal), false) => {
                tracing::warn!("the spool of {name} takes no messages: {refusal}");
            }
            (None, true) => tracing::info!("the spool of {name} takes messages again"),
            _ => {}
        }
        self.is_refusing = refusal.is_some();
        let shown = self.source.counts.refusal.lock();
        *shown.unwrap_or_else(PoisonError::into_inner) = refusal;
    }

    fn close(self, now: i64) {
        for loss in self.writer.close(now) {
            let Loss {
                messages, reason, ..
            } = loss;
            let messages = messages.map_or("some".to_owned(), |messages| messages.to_string());
            tracing::warn!(
                "{messages} messages for {} are lost ({reason}), and its spool could not take the \
                 note of it",
                self.source.name
            );
        }
    }
}
