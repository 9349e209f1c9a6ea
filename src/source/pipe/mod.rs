//! Lines from a pipe into a spool.
//!
//! Who writes into the pipe is a web server that waits for us. Therefore one thread does nothing
//! but read and hand on, and another writes to the disk, however long that takes; between them is
//! a `Queue` that holds so much and no more. What does not fit is counted, and booked as a loss.
//!
//! What has been read and not yet written is lost if the process is killed; what is still in the
//! pipe is not, if the server starts another process on it. So little is read early: between reads
//! that bring little there is a pause, which also saves the work of waking up for each line.

mod lines;
mod queue;
mod said;

use std::io;
use std::os::fd::BorrowedFd;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::io::Errno;

use self::lines::Lines;
use self::queue::{Queue, Waiting};
use self::said::{Said, State};
use super::spool::Writer;

/// Records are handed to the system in pieces of this size, if so much has come.
const WRITE_BYTES: usize = 256 << 10;
/// How often the spool is looked after.
const TICK: Duration = Duration::from_secs(1);
/// A read that brings less is followed by a pause.
const LITTLE_BYTES: usize = 16 << 10;
/// So much can come meanwhile, and waits in the pipe.
const PAUSE: Duration = Duration::from_millis(5);
/// How long is read on when it is time to end and the input does not.
const LAST_READS: Duration = Duration::from_secs(1);

const TOO_LONG: &str = "message too long";
const MEMORY_FULL: &str = "memory full";

/// Who may tell us to end before the input does.
pub trait Stop {
    /// What can be read from as soon as it has happened.
    fn descriptor(&self) -> BorrowedFd<'_>;
    /// Looks. Returns whether it is time to end.
    fn is_asked(&self) -> bool;
}

/// Spools lines until the input ends, or somebody says so. `say` gets a line for each change for
/// the worse or the better.
///
/// # Errors
/// The input cannot be read. What had been read is in the spool.
pub fn run(
    input: BorrowedFd<'_>,
    stop: &impl Stop,
    writer: Writer,
    say: impl Fn(&str) + Send,
) -> io::Result<()> {
    let queue = Queue::default();
    thread::scope(|scope| {
        scope.spawn(|| spool(&queue, writer, say));
        let read = read(input, stop, &queue);
        queue.end();
        read
    })
}

/// Reads, and hands on whole lines.
fn read(input: BorrowedFd<'_>, stop: &impl Stop, queue: &Queue) -> io::Result<()> {
    let mut lines = Lines::default();
    let hand_on = |whole: &[u8], too_long| queue.push(whole, too_long);
    let mut end: Option<Instant> = None;
    let mut is_hurried = false;
    let result = loop {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            break Ok(());
        }
        let woken = match wait(input, stop.descriptor(), left) {
            Ok(woken) => woken,
            Err(nix::Error::EINTR) => continue,
            Err(error) => break Err(error.into()),
        };
        if woken.by_stop {
            // The end is near, whoever is asked: somebody may kill us next.
            is_hurried = true;
            if stop.is_asked() {
                end.get_or_insert(Instant::now() + LAST_READS);
            }
        }
        if woken.by_input {
            match rustix::io::read(input, lines.space()) {
                Ok(0) => break Ok(()),
                Ok(bytes) => {
                    lines.read(bytes, hand_on);
                    if bytes < LITTLE_BYTES && !is_hurried {
                        thread::sleep(PAUSE);
                    }
                }
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(error) => break Err(error.into()),
            }
        }
    };
    lines.end(hand_on);
    result
}

struct Woken {
    by_input: bool,
    by_stop: bool,
}

fn wait(input: BorrowedFd<'_>, stop: BorrowedFd<'_>, most: Option<Duration>) -> nix::Result<Woken> {
    let mut descriptors = [input, stop].map(|each| PollFd::new(each, PollFlags::POLLIN));
    let timeout =
        most.map(|most| u16::try_from(most.as_millis()).map_or(u16::MAX, |most| most + 1));
    poll(
        &mut descriptors,
        timeout.map_or(PollTimeout::NONE, PollTimeout::from),
    )?;
    let [by_input, by_stop] = descriptors.map(|each| each.any().unwrap_or(true));
    Ok(Woken { by_input, by_stop })
}

/// Writes what is handed on, until nothing more can come.
fn spool(queue: &Queue, mut writer: Writer, say: impl Fn(&str)) {
    let mut said = Said::default();
    let mut tell = |state: Option<State<'_>>| {
        if let Some(news) = said.now(state, Instant::now()) {
            say(&news);
        }
    };
    tell(writer.refusal().map(State::Refused));
    let mut taken = Waiting::default();
    let mut next_tick = Instant::now() + TICK;
    while !taken.has_ended {
        let wait = next_tick.saturating_duration_since(Instant::now());
        queue.take(&mut taken, writer.needs_tick().then_some(wait));
        let now = clock();
        for line in taken.lines() {
            writer.append(None, line);
            if writer.buffered_bytes() >= WRITE_BYTES {
                writer.write(now);
            }
        }
        for (messages, reason) in [(taken.dropped, MEMORY_FULL), (taken.too_long, TOO_LONG)] {
            if messages > 0 {
                writer.lose(now.div_euclid(60), Some(messages), reason);
            }
        }
        writer.write(now);
        if Instant::now() >= next_tick {
            writer.tick(now);
            next_tick = Instant::now() + TICK;
        }
        match taken.dropped {
            0 => tell(writer.refusal().map(State::Refused)),
            _ => tell(Some(State::Slow)),
        }
    }
    let lost = writer.close(clock());
    if !lost.is_empty() {
        let messages: u64 = lost.iter().filter_map(|loss| loss.messages).sum();
        say(&format!(
            "messages that were dropped, and no record says so: {messages}"
        ));
    }
}

/// Seconds since 1970.
fn clock() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs().cast_signed())
}
