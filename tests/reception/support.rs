//! Sources, a running reception, and what it has spooled.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tempfile::TempDir;
use tollkeeper::config::Accepts;
use tollkeeper::config::{Layer, Listen, SyslogSource};
use tollkeeper::source::spool;
use tollkeeper::source::spool::record::{Record, decode};
use tollkeeper::source::syslog::{Inherited, ListenerSnapshot, Reception};

pub(crate) fn local() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

pub(crate) fn source(name: &str, listen: Listen) -> SyslogSource {
    SyslogSource {
        name: name.to_owned(),
        listen: vec![listen],
        formats: Vec::new(),
        users: None,
        vhost: None,
        layer: Layer::EDGE,
        accepts: Accepts::default(),
        allow: None,
        tls: None,
        max_spool_bytes: 1 << 30,
        max_connections: 1_000,
        receive_buffer_bytes: 4 << 20,
    }
}

#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) reception: Reception,
    state: TempDir,
}

impl Running {
    pub(crate) fn start(sources: &[SyslogSource]) -> Self {
        Self::try_start(sources).expect("reception starts")
    }

    pub(crate) fn try_start(sources: &[SyslogSource]) -> Result<Self, String> {
        let state = tempfile::tempdir().expect("a folder");
        Self::start_in(state, sources, Inherited::nothing())
    }

    pub(crate) fn start_in(
        state: TempDir,
        sources: &[SyslogSource],
        inherited: Inherited,
    ) -> Result<Self, String> {
        let clock = || {
            let since = SystemTime::now().duration_since(UNIX_EPOCH);
            since.map_or(0, |since| since.as_secs().cast_signed())
        };
        let started = Reception::start(sources, state.path(), inherited, Arc::new(clock));
        let reception = started.map_err(|error| error.to_string())?;
        Ok(Self { reception, state })
    }

    pub(crate) fn address(&self, at: usize) -> SocketAddr {
        self.reception.addresses()[at].expect("an address of IP")
    }

    pub(crate) fn listener(&self, at: usize) -> ListenerSnapshot {
        self.reception.counters().snapshot().listeners[at].clone()
    }

    pub(crate) fn stop(self) -> TempDir {
        self.reception.stop();
        self.state
    }
}

/// What is in the spool of a source, in the order of its segments.
#[derive(Debug, Default)]
pub(crate) struct Spooled {
    pub(crate) messages: Vec<String>,
    pub(crate) origins: Vec<String>,
    /// How many, and why.
    pub(crate) losses: Vec<(u64, String)>,
}

impl Spooled {
    pub(crate) fn lost(&self) -> u64 {
        self.losses.iter().map(|(messages, _)| messages).sum()
    }
}

pub(crate) fn spooled(state: &TempDir, name: &str) -> Spooled {
    let mut spooled = Spooled::default();
    let folder: PathBuf = spool::folder(state.path(), name);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let this_minute = now.expect("a time").as_secs().cast_signed() / 60;
    for segment in spool::segments(&folder).expect("a folder") {
        let bytes = fs::read(segment.path).expect("a segment");
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\n").expect("a whole line");
            match decode(line).expect("a record") {
                Record::Message { origin, text } => {
                    let text = String::from_utf8_lossy(text).into_owned();
                    spooled.messages.push(text);
                    let origin = origin.map_or("-".into(), String::from_utf8_lossy);
                    spooled.origins.push(origin.into_owned());
                }
                Record::Loss {
                    minute,
                    messages,
                    reason,
                } => {
                    assert!((this_minute - minute).abs() <= 5, "{minute}");
                    let messages = messages.expect("a number");
                    spooled.losses.push((messages, reason.to_owned()));
                }
            }
        }
    }
    spooled
}

/// Waits until it is so.
#[track_caller]
pub(crate) fn wait_for(is_so: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < until, "it did not come to that in time");
        std::thread::sleep(Duration::from_millis(5));
    }
}
