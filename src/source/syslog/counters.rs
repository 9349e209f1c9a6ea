//! What reception has seen, for whoever asks: how much came, from whom, and what was lost why.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Senders that are told apart on a listener; the others are counted as one.
const MAX_SENDERS: usize = 1_000;

/// Why a message that was sent is not in a spool. Those of the spool itself are in its writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The kernel's buffer was full.
    Kernel,
    /// Ours was.
    Memory,
    /// Longer than a line may be.
    TooLong,
    /// The connection broke off within it.
    CutOff,
}

impl Reason {
    /// All of them.
    pub(super) const ALL: [Self; 4] = [Self::Kernel, Self::Memory, Self::TooLong, Self::CutOff];

    /// In a few words, for the record of a loss.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Kernel => "receive buffer full",
            Self::Memory => "reception queue full",
            Self::TooLong => "message too long",
            Self::CutOff => "connection broke off",
        }
    }
}

/// A number that only grows, or that is now.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(super) fn subtract(&self, less: u64) {
        self.0.fetch_sub(less, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// The number, which begins at 0 again.
    fn take(&self) -> u64 {
        self.0.swap(0, Ordering::Relaxed)
    }
}

/// Losses of one reason: in all, and those that are in no spool yet.
#[derive(Debug, Default)]
struct Lost {
    total: Count,
    unbooked: Count,
}

/// What one listener has seen.
#[derive(Debug, Default)]
pub(super) struct ListenerCounts {
    pub(super) messages: Count,
    pub(super) bytes: Count,
    /// Datagrams and connections of senders that are not on the list.
    pub(super) not_allowed: Count,
    /// Messages that no source of the listener takes.
    pub(super) no_source: Count,
    /// Connections that are open.
    pub(super) connections: Count,
    /// Connections ever accepted.
    pub(super) accepted: Count,
    /// Connections that were one too many.
    pub(super) refused: Count,
    /// Connections that took too long over a message.
    pub(super) slow: Count,
    /// Connections that did not get to speak TLS.
    pub(super) tls_failed: Count,
    lost: [Lost; Reason::ALL.len()],
    senders: Mutex<HashMap<IpAddr, Arc<SenderCounts>>>,
    other_senders: Arc<SenderCounts>,
}

/// What one sender has sent.
#[derive(Debug, Default)]
pub(super) struct SenderCounts {
    pub(super) messages: Count,
    pub(super) bytes: Count,
    /// When it was last heard, in seconds since 1970.
    pub(super) heard: AtomicU64,
}

impl ListenerCounts {
    /// Notes messages that are lost.
    pub(super) fn lose(&self, reason: Reason, messages: u64) {
        if let Some(lost) = self.lost.get(reason as usize) {
            lost.total.add(messages);
            lost.unbooked.add(messages);
        }
    }

    /// Losses that are in no spool yet. They have to be put there.
    pub(super) fn unbooked(&self) -> impl Iterator<Item = (Reason, u64)> + '_ {
        Reason::ALL
            .into_iter()
            .zip(&self.lost)
            .map(|(reason, lost)| (reason, lost.unbooked.take()))
            .filter(|(_, messages)| *messages > 0)
    }

    /// The counts of a sender, or, where there are too many already, those of the others.
    pub(super) fn sender(&self, address: IpAddr) -> Arc<SenderCounts> {
        let mut senders = self.senders();
        if let Some(counts) = senders.get(&address) {
            return Arc::clone(counts);
        }
        if senders.len() >= MAX_SENDERS {
            return Arc::clone(&self.other_senders);
        }
        Arc::clone(senders.entry(address).or_default())
    }

    pub(super) fn snapshot(&self, listen: String) -> ListenerSnapshot {
        let lost = |reason: Reason| {
            let lost = self.lost.get(reason as usize);
            lost.map_or(0, |lost| lost.total.get())
        };
        let mut senders: Vec<_> = self
            .senders()
            .iter()
            .map(|(address, counts)| counts.snapshot(Some(*address)))
            .collect();
        senders.sort_by_key(|sender| sender.address);
        if self.other_senders.messages.get() > 0 {
            senders.push(self.other_senders.snapshot(None));
        }
        ListenerSnapshot {
            listen,
            messages: self.messages.get(),
            bytes: self.bytes.get(),
            lost_kernel: lost(Reason::Kernel),
            lost_memory: lost(Reason::Memory),
            too_long: lost(Reason::TooLong),
            cut_off: lost(Reason::CutOff),
            not_allowed: self.not_allowed.get(),
            no_source: self.no_source.get(),
            connections: self.connections.get(),
            accepted: self.accepted.get(),
            refused: self.refused.get(),
            slow: self.slow.get(),
            tls_failed: self.tls_failed.get(),
            senders,
        }
    }

    fn senders(&self) -> MutexGuard<'_, HashMap<IpAddr, Arc<SenderCounts>>> {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SenderCounts {
    fn snapshot(&self, address: Option<IpAddr>) -> SenderSnapshot {
        SenderSnapshot {
            address,
            messages: self.messages.get(),
            bytes: self.bytes.get(),
            heard: self.heard.load(Ordering::Relaxed),
        }
    }
}

/// What the spool of one source has taken.
#[derive(Debug, Default)]
pub(super) struct SourceCounts {
    pub(super) messages: Count,
    pub(super) bytes: Count,
    /// Why its spool writes nothing, where it does not.
    pub(super) refusal: Mutex<Option<String>>,
}

impl SourceCounts {
    pub(super) fn snapshot(&self, name: &str) -> SourceSnapshot {
        let refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        SourceSnapshot {
            name: name.to_owned(),
            messages: self.messages.get(),
            bytes: self.bytes.get(),
            refusal: refusal.clone(),
        }
    }
}

/// All of reception at one moment, since it started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// In the order in which they were bound.
    pub listeners: Vec<ListenerSnapshot>,
    /// In the order of the config.
    pub sources: Vec<SourceSnapshot>,
}

/// A listener at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListenerSnapshot {
    /// Where it listens, as the config says it.
    pub listen: String,
    /// Messages that arrived here and were given to a source.
    pub messages: u64,
    /// Their bytes, envelopes included.
    pub bytes: u64,
    /// Datagrams that the kernel dropped, where it can be known: not on unix sockets.
    pub lost_kernel: u64,
    /// Datagrams that found our queue full.
    pub lost_memory: u64,
    /// Messages longer than a line may be.
    pub too_long: u64,
    /// Messages within which a connection broke off.
    pub cut_off: u64,
    /// Datagrams and connections of senders that are not on the list.
    pub not_allowed: u64,
    /// Messages that no source takes.
    pub no_source: u64,
    /// Connections that are open.
    pub connections: u64,
    /// Connections ever accepted.
    pub accepted: u64,
    /// Connections that were one too many, of all or of their sender.
    pub refused: u64,
    /// Connections that were closed because a message took too long.
    pub slow: u64,
    /// Connections that did not get to speak TLS.
    pub tls_failed: u64,
    /// Who sent, by address; at most 1,000, the others together in one without an address.
    pub senders: Vec<SenderSnapshot>,
}

/// A sender at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SenderSnapshot {
    /// `None`: all that are not told apart.
    pub address: Option<IpAddr>,
    /// Messages that were given to a source.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the last one came, in seconds since 1970.
    pub heard: u64,
}

/// A source at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceSnapshot {
    /// Its name.
    pub name: String,
    /// Messages that were given to its spool. What the spool could not hold is among them, and in
    /// its records of losses.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Why its spool writes nothing, where it does not.
    pub refusal: Option<String>,
}
