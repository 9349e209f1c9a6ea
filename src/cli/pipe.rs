//! `tollkeeper pipe`: standard input into a spool, for web servers that pipe their log.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::fs::{FileType, fstat};

use super::args::{Common, PipeArgs};
use super::{Environment, Failure, complain, settings};
use crate::source::pipe::{self, Stop};
use crate::source::spool::{self, Limits, Writer};

/// What the server may write before it waits for us, where the system lets us.
const PIPE_BYTES: usize = 1 << 20;

/// Spools lines until the input ends. Reads no config and needs no daemon.
///
/// # Errors
/// No state directory can be told, or the input cannot be read.
pub(super) fn run(args: &PipeArgs, common: &Common) -> Result<ExitCode, Failure> {
    let state_dir = settings::state_dir(common, &Environment::of_process())?;
    // Before there are threads, so that none of them is ended by a signal.
    let signals =
        Signals::block(is_anonymous_pipe().unwrap_or(false)).context("cannot wait for signals")?;
    let stdin = io::stdin();
    // No pipe at all, or more than the system allows: then it stays as it is.
    let _ = rustix::pipe::fcntl_setpipe_size(&stdin, PIPE_BYTES);
    let limits = Limits {
        max_spool_bytes: args.max_spool,
    };
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs().cast_signed());
    let writer = Writer::open(&spool::folder(&state_dir, &args.name), limits, now);
    let name = &args.name;
    let say = |news: &str| complain(&format!("pipe {name}: {news}"));
    pipe::run(stdin.as_fd(), &signals, writer, say).context("cannot read standard input")?;
    Ok(ExitCode::SUCCESS)
}

/// The signals that end us; others that web servers send to whoever they have started do nothing.
///
/// Apache tells its loggers to end when it is stopped or reloaded. In a reload its old workers go
/// on, with downloads that may take hours, and write their lines into the same pipe; when the last
/// of them has ended, so does the input. So a pipe that somebody made for us is read to its end,
/// and only who asks a second time means it. A FIFO with a name may have no end.
struct Signals {
    descriptor: SignalFd,
    /// How often we are asked before we end.
    patience: u32,
    asked: AtomicU32,
}

impl Signals {
    fn block(is_anonymous_pipe: bool) -> nix::Result<Self> {
        let mut ending = SigSet::empty();
        ending.add(Signal::SIGTERM);
        ending.add(Signal::SIGINT);
        let mut all = ending;
        all.add(Signal::SIGHUP);
        all.add(Signal::SIGUSR1);
        all.thread_block()?;
        Ok(Self {
            descriptor: SignalFd::with_flags(
                &ending,
                SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC,
            )?,
            patience: u32::from(is_anonymous_pipe),
            asked: AtomicU32::new(0),
        })
    }
}

impl Stop for Signals {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    fn is_asked(&self) -> bool {
        match self.descriptor.read_signal() {
            Ok(Some(_)) => self.asked.fetch_add(1, Ordering::Relaxed) >= self.patience,
            Ok(None) | Err(_) => false,
        }
    }
}

/// Whether standard input is a pipe without a name.
fn is_anonymous_pipe() -> rustix::io::Result<bool> {
    let input = fstat(io::stdin())?;
    let (pipe, _) = rustix::pipe::pipe()?;
    Ok(FileType::from_raw_mode(input.st_mode) == FileType::Fifo
        && input.st_dev == fstat(pipe)?.st_dev)
}
