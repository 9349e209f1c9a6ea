//! Asks the store what it knows of this node, on a connection and a thread of its own: a store that
//! hangs keeps nobody waiting but this thread.

use std::collections::BTreeMap;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::clock;
use super::service::OpenStore;
use super::status::{GapStatus, MAX_GAPS};
use crate::account::balance::Balance;
use crate::store::{Store, StoreError};

/// An answer is not waited for longer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// What the store knows.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The latest gaps.
    pub gaps: Vec<GapStatus>,
    /// The balance of today, by source.
    pub today: BTreeMap<String, Balance>,
}

/// The way to the thread that asks.
#[derive(Debug)]
pub struct Asker {
    questions: SyncSender<oneshot::Sender<Result<Known, String>>>,
}

impl Asker {
    /// Starts the thread. It ends when nobody can ask any more, or with the process.
    ///
    /// # Errors
    /// When the system has no thread for it.
    pub fn start(open: OpenStore, node: String) -> std::io::Result<Self> {
        let (questions, asked) = sync_channel::<oneshot::Sender<Result<Known, String>>>(1);
        let ask = move || {
            let mut store = None;
            while let Ok(question) = asked.recv() {
                let answer = known(&mut store, &open, &node);
                if answer.is_err() {
                    store = None;
                }
                // Whoever asked may have given up waiting.
                let _ = question.send(answer.map_err(|error| error.to_string()));
            }
        };
        std::thread::Builder::new()
            .name("status".to_owned())
            .spawn(ask)?;
        Ok(Self { questions })
    }

    /// What the store knows, or why it does not say.
    ///
    /// # Errors
    /// In words.
    pub async fn ask(&self) -> Result<Known, String> {
        let slow = || format!("does not answer within {} s", ANSWER_WITHIN.as_secs());
        let (question, answer) = oneshot::channel();
        self.questions.try_send(question).map_err(|_| slow())?;
        match timeout(ANSWER_WITHIN, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(slow()),
        }
    }
}

fn known(
    store: &mut Option<Box<dyn Store>>,
    open: &OpenStore,
    node: &str,
) -> Result<Known, StoreError> {
    let store = match store {
        Some(store) => store,
        None => store.insert(open()?),
    };
    know(store.as_mut(), node)
}

/// What a store knows of a node.
///
/// # Errors
/// When it does not answer.
pub fn know(store: &mut dyn Store, node: &str) -> Result<Known, StoreError> {
    let now = DateTime::<Utc>::from_timestamp(clock(), 0).unwrap_or_default();
    let today = now.with_timezone(&store.zone()).date_naive();
    let gaps = store.gaps(node, MAX_GAPS)?;
    let mut known = Known {
        gaps: gaps.into_iter().map(GapStatus::from).collect(),
        today: BTreeMap::new(),
    };
    for ((of, source, _), balance) in store.balance(today, today)? {
        if of == node {
            known.today.insert(source, balance);
        }
    }
    Ok(known)
}
