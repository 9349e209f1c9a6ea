//! A place where messages arrive, as all who have to do with it share it.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, PoisonError, RwLock};

use tokio_rustls::TlsAcceptor;

use super::bind::Kind;
use super::counters::ListenerCounts;
use super::seldom::Seldom;
use super::senders::Senders;
use crate::config::{Listen, SyslogSource};

/// See the module.
#[derive(Debug)]
pub(super) struct Listener {
    /// Never used again for another one.
    pub(super) id: u32,
    /// As the config says it; several sockets can have the same name of systemd.
    pub(super) listen: Listen,
    pub(super) kind: Kind,
    /// Of IP.
    pub(super) address: Option<SocketAddr>,
    /// What the kernel's table knows it by.
    pub(super) inode: u64,
    /// The kernel's count of drops that is booked.
    pub(super) drops: AtomicU64,
    pub(super) counts: ListenerCounts,
    /// Said when somebody sends who may not, when there are too many, and when it fails.
    pub(super) said: Sayings,
    settings: RwLock<Arc<Settings>>,
}

/// What can be said of a listener because of what others do.
#[derive(Debug, Default)]
pub(super) struct Sayings {
    pub(super) not_allowed: Seldom,
    pub(super) refused: Seldom,
    pub(super) slow: Seldom,
    pub(super) tls: Seldom,
    pub(super) lost: Seldom,
    pub(super) failed: Seldom,
}

/// What a reload may change.
#[derive(Clone)]
pub(super) struct Settings {
    /// Of each source here.
    pub(super) senders: Vec<Senders>,
    pub(super) max_connections: u64,
    pub(super) tls: Option<TlsAcceptor>,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("senders", &self.senders)
            .field("max_connections", &self.max_connections)
            .field("tls", &self.tls.is_some())
            .finish()
    }
}

impl Settings {
    /// Of a listener of this kind that these sources share.
    pub(super) fn of(sources: &[&SyslogSource], kind: Kind, tls: Option<TlsAcceptor>) -> Self {
        Self {
            senders: sources
                .iter()
                .map(|source| Senders::of(source, kind))
                .collect(),
            max_connections: sources
                .first()
                .map_or(0, |source| u64::from(source.max_connections)),
            tls,
        }
    }

    /// Whether any source takes what this sender sends.
    pub(super) fn take(&self, sender: Option<IpAddr>) -> bool {
        self.senders.iter().any(|senders| senders.take(sender))
    }

    /// Connections that one address may have.
    pub(super) fn max_connections_of_a_sender(&self) -> u64 {
        const LEAST: u64 = 10;
        (self.max_connections / 10).max(LEAST)
    }
}

impl Listener {
    pub(super) fn new(
        id: u32,
        listen: Listen,
        kind: Kind,
        address: Option<SocketAddr>,
        inode: u64,
        settings: Settings,
    ) -> Self {
        Self {
            id,
            listen,
            kind,
            address,
            inode,
            drops: AtomicU64::new(0),
            counts: ListenerCounts::default(),
            said: Sayings::default(),
            settings: RwLock::new(Arc::new(settings)),
        }
    }

    pub(super) fn settings(&self) -> Arc<Settings> {
        let settings = self.settings.read();
        Arc::clone(&settings.unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set(&self, settings: Settings) {
        let current = self.settings.write();
        *current.unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    /// Takes away the file of a unix socket, where nobody will listen any more.
    pub(super) fn remove_file(&self) {
        if let Listen::Unix(path) | Listen::UnixStream(path) = &self.listen {
            // Somebody may have removed it.
            let _ = std::fs::remove_file(path);
        }
    }
}
