//! What the threads of the daemon tell each other.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::follower::{NewConfig, Snapshot};
use crate::account::class::Classes;
use crate::account::watched::Watched;
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
    /// Other accounts are weighed, or there are other classes.
    Weighed(Box<Weighed>),
    /// Read what is there, flush, and end.
    Stop,
}

/// Which accounts are weighed, and which classes of clients there are: what the config and the tables of
/// operators say together.
#[derive(Debug, Clone)]
pub struct Weighed {
    /// Whose lines are told of as they are summed.
    pub watched: Arc<Watched>,
    /// The classes.
    pub classes: Classes,
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
