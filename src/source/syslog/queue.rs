//! What has arrived and is not on disk yet: between those who receive, who never wait for a disk,
//! and the one thread that writes.
//!
//! No more than [`MAX_BATCHES`] batches are ever held, each of a bounded size, and they are used
//! again: nothing is allocated for a message. Streams, which can wait, use half of them at most, so
//! that they never take the room of datagrams, which cannot.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use super::spooler::Command;

/// Bytes of messages in a batch; the longest message fits.
const MAX_BATCH_BYTES: usize = 256 << 10;
/// Messages in a batch, which need about as much room again.
const MAX_BATCH_MESSAGES: usize = 8_192;
/// With the two above: 64 MiB in all.
const MAX_BATCHES: usize = 128;
const MAX_STREAM_BATCHES: usize = MAX_BATCHES / 2;

/// Something that arrived: a datagram, or a message of a stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrived<'b> {
    /// Where.
    pub(super) listener: u32,
    /// From whom, where that has an address.
    pub(super) origin: Option<IpAddr>,
    /// What.
    pub(super) bytes: &'b [u8],
}

/// Things that arrived, one behind the other.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    /// Of each: where, from whom, and where it ends in the bytes.
    entries: Vec<(u32, Option<IpAddr>, usize)>,
}

impl Batch {
    /// What is in it, in the order in which it came.
    pub(super) fn iter(&self) -> impl Iterator<Item = Arrived<'_>> {
        let mut start = 0;
        self.entries.iter().map(move |&(listener, origin, end)| {
            let bytes = self.bytes.get(start..end).unwrap_or_default();
            start = end;
            Arrived {
                listener,
                origin,
                bytes,
            }
        })
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.entries.is_empty()
            || (self.bytes.len() + bytes <= MAX_BATCH_BYTES
                && self.entries.len() < MAX_BATCH_MESSAGES)
    }

    fn push(&mut self, arrived: Arrived<'_>) {
        self.bytes.extend_from_slice(arrived.bytes);
        let end = self.bytes.len();
        self.entries.push((arrived.listener, arrived.origin, end));
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
    }
}

/// What the writing thread is to do next.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) batches: VecDeque<Batch>,
    /// To be done after the batches: what they are about came before.
    pub(super) commands: Vec<Command>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    /// Streams wait for it.
    room: Notify,
}

#[derive(Debug, Default)]
struct State {
    work: Work,
    spare: Vec<Batch>,
    /// Batches that the writing thread has taken.
    taken: usize,
    /// The writing thread sleeps until something comes.
    is_waited_for: bool,
}

impl State {
    fn used(&self) -> usize {
        self.work.batches.len() + self.taken
    }

    /// Adds to the last batch, or to another one if there may be more than `max_batches`.
    fn push(&mut self, arrived: Arrived<'_>, max_batches: usize) -> bool {
        let bytes = arrived.bytes.len();
        let is_full = self.used() >= max_batches;
        match self.work.batches.back_mut() {
            Some(batch) if batch.has_room(bytes) => batch.push(arrived),
            _ if is_full => return false,
            _ => {
                let mut batch = self.spare.pop().unwrap_or_default();
                batch.push(arrived);
                self.work.batches.push_back(batch);
            }
        }
        true
    }
}

impl Queue {
    /// Takes datagrams. Returns how many found no room.
    pub(super) fn push_datagrams<'a>(&self, datagrams: impl Iterator<Item = Arrived<'a>>) -> u64 {
        let mut state = self.state();
        let mut lost = 0;
        for datagram in datagrams {
            lost += u64::from(!state.push(datagram, MAX_BATCHES));
        }
        self.wake(state);
        lost
    }

    /// Takes messages of a stream, which has waited for room before. What one stream reads at a
    /// time may exceed the bound by that much.
    pub(super) fn push_messages<'a>(&self, messages: impl Iterator<Item = Arrived<'a>>) {
        let mut state = self.state();
        for message in messages {
            state.push(message, usize::MAX);
        }
        self.wake(state);
    }

    /// Waits until streams may push.
    pub(super) async fn room(&self) {
        loop {
            let notified = self.room.notified();
            let mut notified = std::pin::pin!(notified);
            notified.as_mut().enable();
            if self.state().used() < MAX_STREAM_BATCHES {
                return;
            }
            notified.await;
        }
    }

    /// Has something done after all that has come so far.
    pub(super) fn command(&self, command: Command) {
        let mut state = self.state();
        state.work.commands.push(command);
        self.wake(state);
    }

    /// All that there is, waited for until `deadline` if that is nothing.
    pub(super) fn take(&self, deadline: Option<Instant>) -> Work {
        let mut state = self.state();
        while state.work.batches.is_empty() && state.work.commands.is_empty() {
            state.is_waited_for = true;
            state = match deadline {
                None => self
                    .filled
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    let waited = self.filled.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        state.is_waited_for = false;
        state.taken += state.work.batches.len();
        std::mem::take(&mut state.work)
    }

    /// Gives a batch back that is done with.
    pub(super) fn give_back(&self, mut batch: Batch) {
        batch.clear();
        let mut state = self.state();
        state.taken -= 1;
        if state.spare.len() < MAX_BATCHES {
            state.spare.push(batch);
        }
        let has_room = state.used() < MAX_STREAM_BATCHES;
        drop(state);
        if has_room {
            self.room.notify_waiters();
        }
    }

    /// Frees the memory of batches that nothing is in: the flood is over.
    pub(super) fn shrink(&self) {
        const KEPT: usize = 4;
        let mut state = self.state();
        state.spare.truncate(KEPT);
        state.spare.shrink_to_fit();
    }

    fn wake(&self, mut state: MutexGuard<'_, State>) {
        let is_waited_for = std::mem::take(&mut state.is_waited_for);
        drop(state);
        if is_waited_for {
            self.filled.notify_one();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrived(bytes: &[u8]) -> Arrived<'_> {
        Arrived {
            listener: 7,
            origin: Some(IpAddr::from([192, 0, 2, 1])),
            bytes,
        }
    }

    #[test]
    fn what_comes_is_given_out_in_its_order() {
        let queue = Queue::default();
        let sent: Vec<String> = (0..20_000).map(|number| number.to_string()).collect();
        let datagrams = sent.iter().map(|text| arrived(text.as_bytes()));
        assert_eq!(queue.push_datagrams(datagrams), 0);
        let work = queue.take(Some(Instant::now()));
        assert_eq!(work.batches.len(), 3);
        let all = work.batches.iter().flat_map(Batch::iter);
        let got: Vec<_> = all.map(|one| one.bytes.to_vec()).collect();
        assert!(got.iter().eq(sent.iter().map(|text| text.as_bytes())));
    }

    #[test]
    fn datagrams_beyond_the_bound_are_counted_and_streams_wait_earlier() {
        let queue = Queue::default();
        let large = vec![b'x'; MAX_BATCH_BYTES];
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        let has_room = || {
            runtime.block_on(async {
                let at_once = std::time::Duration::from_millis(1);
                tokio::time::timeout(at_once, queue.room()).await.is_ok()
            })
        };
        let push = |count| queue.push_datagrams((0..count).map(|_| arrived(&large)));
        assert_eq!(push(MAX_STREAM_BATCHES - 1), 0);
        assert!(has_room());
        assert_eq!(push(1), 0);
        assert!(!has_room());
        assert_eq!(push(MAX_BATCHES), MAX_STREAM_BATCHES as u64);
        // What the writing thread has taken and not given back is still in memory.
        let work = queue.take(None);
        assert_eq!(push(1), 1);
        for batch in work.batches {
            queue.give_back(batch);
        }
        assert!(has_room());
        assert_eq!(push(1), 0);
    }
}
