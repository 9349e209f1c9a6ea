//! Threads without which the daemon does not do what it is for. Each ends when it is told to; one that ends
//! before has panicked, and nobody does its work. The daemon then ends in order, all that it has read
//! flushed, and systemd starts it anew.

use std::thread::JoinHandle;

/// Such threads.
#[derive(Debug, Default)]
pub(super) struct Threads(Vec<JoinHandle<()>>);

impl Threads {
    pub(super) fn add(&mut self, thread: JoinHandle<()>) {
        self.0.push(thread);
    }

    /// The name of one that has ended.
    pub(super) fn ended(&self) -> Option<String> {
        let mut threads = self.0.iter();
        let ended = threads.find(|thread| thread.is_finished())?;
        Some(ended.thread().name().unwrap_or_default().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::thread::Builder;

    use super::*;

    #[test]
    fn one_that_panics_is_named() {
        let (stop, told) = channel::<()>();
        let runs = move || {
            let _ = told.recv();
        };
        let panics = || std::panic::resume_unwind(Box::new("on purpose"));
        let mut threads = Threads::default();
        threads.add(
            Builder::new()
                .name("runs".to_owned())
                .spawn(runs)
                .expect("a thread"),
        );
        assert_eq!(threads.ended(), None);
        let panicking = Builder::new().name("panics".to_owned());
        threads.add(panicking.spawn(panics).expect("a thread"));
        while threads.ended().is_none() {
            std::thread::yield_now();
        }
        assert_eq!(threads.ended().as_deref(), Some("panics"));
        drop(stop);
    }
}
