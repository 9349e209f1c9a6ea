//! What the threads of the daemon tell each other.

use tokio::sync::oneshot;

use super::follower::{NewConfig, Snapshot};
use crate::store::Flushed;

/// What the follower is told.
#[derive(Debug)]
pub enum Message {
    /// Something happened in the folders: [`Watch`](super::watch::Watch) says what.
    Happened,
    /// A batch is settled.
    Settled(Settled),
    /// Somebody wants to know how it is.
    Status(oneshot::Sender<Snapshot>),
    /// A new config, read and checked.
    Reload(Box<NewConfig>),
    /// Read what is there, flush, and end.
    Stop,
}

/// How a batch was settled.
#[derive(Debug)]
pub enum Settled {
    /// It is in the store.
    Flushed(Flushed),
    /// It is not: somebody moved a position.
    Overtaken(String),
    /// It is not: another daemon runs as this node.
    Replaced,
}
