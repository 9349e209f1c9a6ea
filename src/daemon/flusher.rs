//! The thread that owns the store: one batch at a time, tried until it is settled.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use super::clock;
use super::message::{Message, Settled};
use super::published::Published;
use crate::store::{Batch, FlushError, Store, Writer};

/// The first pause before a batch is tried again; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Flushes batches until the follower is gone, which drops the other end of `given_up`.
pub fn run(
    store: &mut dyn Store,
    writer: &mut Writer,
    node: &str,
    batches: &Receiver<Batch>,
    answers: &Sender<Message>,
    given_up: &Receiver<()>,
    published: &Published,
) {
    while let Ok(batch) = batches.recv() {
        let Some(settled) = settle(store, writer, node, &batch, given_up, published) else {
            return;
        };
        if answers.send(Message::Settled(settled)).is_err() {
            break;
        }
    }
    if let Err(error) = store.retire(writer, clock()) {
        tracing::warn!("{error}");
    }
}

/// `None`: nobody waits for the answer any more.
fn settle(
    store: &mut dyn Store,
    writer: &mut Writer,
    node: &str,
    batch: &Batch,
    given_up: &Receiver<()>,
    published: &Published,
) -> Option<Settled> {
    let mut pause = FIRST_PAUSE;
    let mut away = false;
    loop {
        let begin = Instant::now();
        published.progress.flusher(true, begin);
        let tried = store.flush(writer, node, batch, clock());
        // Whatever came of it, it came back.
        published.progress.flusher(false, Instant::now());
        match tried {
            Ok(flushed) => {
                published.flushed(batch.rows(), begin.elapsed(), clock());
                if away {
                    tracing::info!("the store takes rows again");
                }
                for refused in &flushed.refused {
                    tracing::error!(
                        "the store refuses a row; its bytes went to _invalid: {refused}"
                    );
                }
                return Some(Settled::Flushed(flushed));
            }
            Err(FlushError::Overtaken(what)) => return Some(Settled::Overtaken(what)),
            Err(FlushError::Replaced) => return Some(Settled::Replaced),
            Err(FlushError::Store(error)) => {
                if !away {
                    tracing::error!(
                        "{error}; trying again until it passes, nothing is lost meanwhile"
                    );
                }
                away = true;
                published.away(error.to_string(), clock());
            }
        }
        // The other end is dropped when the follower ends.
        if given_up.recv_timeout(jittered(pause)) != Err(RecvTimeoutError::Timeout) {
            return None;
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Three quarters to five quarters, so that many nodes do not come back in step.
pub(super) fn jittered(pause: Duration) -> Duration {
    use std::hash::{BuildHasher as _, Hasher as _};
    let random = std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish();
    pause * 3 / 4 + pause / 2 * u32::from(random as u8) / 255
}
