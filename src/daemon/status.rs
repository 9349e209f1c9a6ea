//! What a daemon says of itself: one value, which is also the JSON of `tollkeeper status`.
//!
//! The names of the fields are a contract (docs/status.md); fields are added, never renamed. Times
//! are seconds since 1970, spans are seconds, amounts are bytes, unless the name says otherwise.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::weighing::{ClerkReport, GateReport};
use crate::account::balance::{Balance, Count};
use crate::config::Layer;
use crate::source::syslog::{ListenerSnapshot, SenderSnapshot, Snapshot};
use crate::store::{Gap, StoredGap};

/// Gaps of the store that are shown, the latest first.
pub const MAX_GAPS: u64 = 20;

/// Everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Of the program.
    pub version: String,
    /// What it is about.
    pub state: Running,
    /// `None`: no daemon runs.
    pub pid: Option<u32>,
    /// See `--node`.
    pub node: String,
    /// The config file, where there is one.
    pub config: Option<String>,
    /// When this was put together.
    pub now: i64,
    /// When the daemon started.
    pub started: Option<i64>,
    /// For how long it has been running.
    pub uptime_seconds: Option<u64>,
    /// For how long the thread that reads the files has been in its present turn; more than a few
    /// seconds: it reads a lot, or hangs.
    pub turn_seconds: u64,
    /// How old `sources` and `files` are: 0 unless the thread that reads the files is busy.
    pub age_seconds: u64,
    /// Where the rows go.
    pub store: StoreStatus,
    /// The last batch that the store took.
    pub last_flush: Option<LastFlush>,
    /// The batch that the store has not yet taken.
    pub in_flight: Option<InFlight>,
    /// What is summed and not yet handed over.
    pub ledger: LedgerStatus,
    /// The last time that the config was read again.
    pub reload: Option<Reload>,
    /// Where lines come from.
    pub sources: Vec<SourceStatus>,
    /// Where syslog is received.
    pub listeners: Vec<ListenerStatus>,
    /// Every file, with its source.
    pub files: Vec<FileStatus>,
    /// Bytes out of reach.
    pub gaps: Gaps,
    /// What is weighed.
    #[serde(default)]
    pub quotas: QuotaStatus,
    /// Where the web servers are told.
    #[serde(default)]
    pub gates: Vec<GateStatus>,
}

/// What is weighed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaStatus {
    /// Quotas of the config and of the tables that are in force.
    pub in_force: u64,
    /// When the rows of all nodes were last weighed; `None`: not yet, so nothing opens.
    pub weighed: Option<i64>,
    /// What the store says, where it does not answer: verdicts stay as they are.
    pub error: Option<String>,
    /// What is wrong with rows of the tables, each of which is left out.
    pub faults: Vec<String>,
}

/// A place where a web server is told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateStatus {
    /// The server, and where.
    pub name: String,
    /// Flags and lines that stand there.
    pub standing: u64,
    /// When they last changed.
    pub changed: Option<i64>,
    /// How many subjects the server cannot be told of: their gates stay open.
    pub refused: u64,
    /// The first of them, with the reasons.
    pub refusals: Vec<String>,
    /// What fails there; what was there before stands.
    pub error: Option<String>,
    /// Since when.
    pub error_since: Option<i64>,
}

impl From<ClerkReport> for QuotaStatus {
    fn from(report: ClerkReport) -> Self {
        Self {
            in_force: report.quotas,
            weighed: report.weighed,
            error: report.away,
            faults: report.faults,
        }
    }
}

impl From<GateReport> for GateStatus {
    fn from(report: GateReport) -> Self {
        let (error, error_since) = report.failed.unzip();
        Self {
            name: report.name,
            standing: report.standing,
            changed: report.changed,
            refused: report.refused.0,
            refusals: report.refused.1,
            error,
            error_since,
        }
    }
}

/// What a daemon is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Running {
    /// There is none.
    #[default]
    NotRunning,
    /// It has not yet looked for all files.
    Starting,
    /// It follows them.
    Running,
    /// It reads what is there, flushes, and ends.
    Stopping,
}

/// Where the rows go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreStatus {
    /// Its name, without any password.
    pub name: String,
    /// Whose days its rows are.
    pub timezone: Option<String>,
    /// Whether it takes what it is given.
    pub answers: bool,
    /// Since when that is so.
    pub since: Option<i64>,
    /// What it says, where it does not.
    pub error: Option<String>,
}

/// A batch that the store took.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastFlush {
    /// When.
    pub at: i64,
    /// Rows that were added to.
    pub rows: u64,
    /// How long it took, in milliseconds.
    pub milliseconds: u64,
}

/// A batch that the store has not yet taken.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InFlight {
    /// For how long.
    pub seconds: u64,
}

/// What is summed and not yet handed over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerStatus {
    /// Accounts, each with a day.
    pub accounts: u64,
    /// With so many, files wait where they are.
    pub max_accounts: u64,
}

/// A reload of the config.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reload {
    /// When it was asked for.
    pub at: i64,
    /// How it went.
    pub result: ReloadResult,
    /// Why the old config stays in force.
    pub error: Option<String>,
}

/// How a reload went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReloadResult {
    /// The config is read and checked, and comes into force when the batch on its way is settled.
    #[default]
    Waiting,
    /// The new config is in force.
    Done,
    /// The old config stays in force.
    Refused,
}

/// A source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceStatus {
    /// As the balance has it.
    pub name: String,
    /// Which layer of servers it is of.
    #[serde(default)]
    pub layer: Layer,
    /// Where it looks.
    pub paths: Vec<String>,
    /// How many files it has.
    pub files: u64,
    /// Those that are not read as they grow.
    pub attention: u64,
    /// Bytes that are there and have not been read.
    pub unread_bytes: u64,
    /// For how long the oldest of them have been there, about.
    pub unread_seconds: u64,
    /// Every line read, counted or named.
    pub balance: SourceBalance,
    /// Of a stream.
    pub spool: Option<SpoolStatus>,
}

/// What of a stream lies on disk and is not counted yet, or is being written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpoolStatus {
    /// How many segments.
    pub segments: u64,
    /// How much is in them.
    pub bytes: u64,
    /// How much may be.
    pub max_bytes: u64,
    /// Why nothing is written, where that is so and the daemon is who writes.
    pub refusal: Option<String>,
}

/// The balance of a source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceBalance {
    /// Of lines served today, as committed; `None`: the store could not be asked.
    pub today: Option<BalanceStatus>,
    /// Of lines read since the daemon started, committed or not.
    pub since_start: BalanceStatus,
}

/// `lines = counted + unparsed + ignored + unattributed`, and the same for bytes of log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalanceStatus {
    /// Lines read.
    pub lines: u64,
    /// Charged to an account.
    pub counted: u64,
    /// No format fits.
    pub unparsed: u64,
    /// No request.
    pub ignored: u64,
    /// No usable time or count.
    pub unattributed: u64,
    /// Bytes of log read.
    pub bytes: u64,
    /// Bytes of the lines that are charged to an account.
    pub counted_bytes: u64,
}

impl From<&Balance> for BalanceStatus {
    fn from(balance: &Balance) -> Self {
        let Count { lines, bytes } = balance.read();
        Self {
            lines,
            counted: balance.counted.lines,
            unparsed: balance.unparsed.lines,
            ignored: balance.ignored.lines,
            unattributed: balance.unattributed.lines,
            bytes,
            counted_bytes: balance.counted.bytes,
        }
    }
}

/// Where syslog is received. Numbers are since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerStatus {
    /// As in the config.
    pub listen: String,
    /// Messages that were given to a source.
    pub messages: u64,
    /// Their bytes, envelopes included.
    pub bytes: u64,
    /// Messages that were lost, and why.
    pub lost: LostStatus,
    /// Datagrams and connections of senders that are not allowed.
    pub not_allowed: u64,
    /// Messages that no source takes.
    pub no_source: u64,
    /// Connections that are open.
    pub connections: u64,
    /// Connections ever accepted.
    pub accepted: u64,
    /// Connections that were one too many.
    pub refused: u64,
    /// Connections that were closed, because a message took too long.
    pub slow: u64,
    /// Who sent.
    pub senders: Vec<SenderStatus>,
}

/// Messages that arrived and are in no spool.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostStatus {
    /// The kernel's buffer was full; known for UDP alone.
    pub receive_buffer: u64,
    /// Our own queue was full.
    pub queue: u64,
    /// Longer than a line may be.
    pub too_long: u64,
    /// The connection broke off within them.
    pub cut_off: u64,
}

/// A sender.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SenderStatus {
    /// `None`: all that are not told apart.
    pub address: Option<IpAddr>,
    /// Messages that were given to a source.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the last one came.
    pub heard: u64,
}

impl Status {
    /// Adds what reception says.
    pub fn received(&mut self, received: &Snapshot) {
        self.listeners = received.listeners.iter().map(Into::into).collect();
        for source in &mut self.sources {
            let mut of_it = received.sources.iter().filter(|it| it.name == source.name);
            if let (Some(spool), Some(received)) = (&mut source.spool, of_it.next()) {
                spool.refusal.clone_from(&received.refusal);
            }
        }
    }
}

impl From<&ListenerSnapshot> for ListenerStatus {
    fn from(listener: &ListenerSnapshot) -> Self {
        let sender = |sender: &SenderSnapshot| SenderStatus {
            address: sender.address,
            messages: sender.messages,
            bytes: sender.bytes,
            heard: sender.heard,
        };
        Self {
            listen: listener.listen.clone(),
            messages: listener.messages,
            bytes: listener.bytes,
            lost: LostStatus {
                receive_buffer: listener.lost_kernel,
                queue: listener.lost_memory,
                too_long: listener.too_long,
                cut_off: listener.cut_off,
            },
            not_allowed: listener.not_allowed,
            no_source: listener.no_source,
            connections: listener.connections,
            accepted: listener.accepted,
            refused: listener.refused,
            slow: listener.slow,
            senders: listener.senders.iter().map(sender).collect(),
        }
    }
}

/// A file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStatus {
    /// Its source's name.
    pub source: String,
    /// Where it was last seen.
    pub path: String,
    /// Whether it is read.
    pub state: FileState,
    /// What is in the way.
    pub reason: Option<String>,
    /// How far it has been read.
    pub offset: u64,
    /// How far of that is committed.
    pub committed: u64,
    /// How long it is; `None`: it cannot be looked at.
    pub size: Option<u64>,
    /// Bytes that are there and have not been read.
    pub unread_bytes: u64,
    /// For how long the oldest of them have been there, about.
    pub unread_seconds: u64,
}

/// Whether a file is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileState {
    /// As it grows.
    #[default]
    Living,
    /// Renamed or deleted, and read on until it has been quiet for an hour.
    Renamed,
    /// All of it is counted, and it is not held open, because too many would be; it is looked at.
    Closed,
    /// No longer in the config: read to its end, then let go.
    Leaving,
    /// Its lines wait: the ledger is full, or its format cannot be told yet.
    Waiting,
    /// Its format does not fit: its lines wait for one that does.
    Stopped,
    /// It cannot be opened or read, or is left alone; the reason says why.
    NotFollowed,
}

impl FileState {
    /// Whether somebody should look at it.
    #[must_use]
    pub fn needs_attention(self) -> bool {
        matches!(self, Self::Waiting | Self::Stopped | Self::NotFollowed)
    }

    /// As in the JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Living => "living",
            Self::Renamed => "renamed",
            Self::Closed => "closed",
            Self::Leaving => "leaving",
            Self::Waiting => "waiting",
            Self::Stopped => "stopped",
            Self::NotFollowed => "not-followed",
        }
    }
}

/// Bytes out of reach.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gaps {
    /// How many this daemon has met since it started.
    pub since_start: u64,
    /// The latest of this node, as committed; `None`: the store could not be asked.
    pub recent: Option<Vec<GapStatus>>,
}

/// Bytes of one file that are out of reach.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapStatus {
    /// When it was noticed.
    pub noticed: i64,
    /// Of which source.
    pub source: String,
    /// Of which file.
    pub path: String,
    /// The first byte that was not read.
    pub from: u64,
    /// Behind the last, where that is known.
    pub to: Option<u64>,
    /// Why.
    pub reason: String,
}

impl From<StoredGap> for GapStatus {
    fn from(stored: StoredGap) -> Self {
        let Gap {
            source,
            path,
            from,
            to,
            reason,
        } = stored.gap;
        Self {
            noticed: stored.noticed,
            source,
            path,
            from,
            to,
            reason,
        }
    }
}
