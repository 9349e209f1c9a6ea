//! Followed logs under every rotation and accident there is: each scenario a test, and each compares
//! rows and balance exactly with what was written.

#[path = "../support/mod.rs"]
mod support;

mod away;
mod files;
mod identity;
mod packed;
mod running;
mod time;

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use support::log::{FORMAT, lines, rows};
use support::{Balance, Daemon, Sandbox, append, pack, source, text, wait_until};

/// A log that is followed, and the number of lines that were written to it, wherever they lie now.
struct Site {
    sandbox: Sandbox,
    log: PathBuf,
    config: PathBuf,
    written: u64,
}

impl Site {
    /// A log with 100 lines, which nobody has read; `more` are further lines of its source.
    fn new(more: &str) -> Self {
        let sandbox = Sandbox::new();
        let log = sandbox.write("logs/access.log", lines(0, 100));
        let config = sandbox.config(&source(&[&log], FORMAT, more));
        Self {
            sandbox,
            log,
            config,
            written: 100,
        }
    }

    /// One that was followed until a moment ago: its 100 lines are counted.
    fn away(more: &str) -> Self {
        let site = Self::new(more);
        let daemon = site.start();
        site.check();
        daemon.stop();
        site
    }

    /// One that is followed, and all that it holds is counted.
    fn followed(more: &str) -> (Self, Daemon) {
        let site = Self::new(more);
        let daemon = site.start();
        site.check();
        (site, daemon)
    }

    fn start(&self) -> Daemon {
        self.sandbox.start(&["-c", text(&self.config)])
    }

    /// New lines, as text.
    fn more(&mut self, count: u64) -> String {
        self.written += count;
        lines(self.written - count, count)
    }

    /// Writes new lines to a file, which is made where there is none.
    fn write(&mut self, path: &Path, count: u64) {
        let more = self.more(count);
        append(path, more);
    }

    fn write_log(&mut self, count: u64) {
        let log = self.log.clone();
        self.write(&log, count);
    }

    /// `access.log` with this behind it.
    fn rotated(&self, ending: &str) -> PathBuf {
        PathBuf::from(format!("{}{ending}", text(&self.log)))
    }

    /// Renames the log.
    fn rotate(&self, ending: &str) -> PathBuf {
        let to = self.rotated(ending);
        rename(&self.log, &to);
        to
    }

    /// Waits until the rows are what was written, and compares the balance.
    #[track_caller]
    fn check(&self) {
        let expected = rows([lines(0, self.written).as_str()]);
        self.sandbox.wait_for_rows(&expected);
        assert_eq!(
            self.sandbox.stored_balance(),
            Balance::counted(self.written)
        );
    }

    /// As [`Site::check`]; then the daemon is stopped, another one finds nothing more, and nothing was
    /// ever taken for lost.
    #[track_caller]
    fn check_to_the_end(self, daemon: Daemon) {
        self.check();
        daemon.stop();
        self.check();
        let daemon = self.start();
        let other = self.sandbox.path("logs/access.log");
        // What it has read once more would be in the rows when it has read what is new.
        let mut site = self;
        site.write(&other, 1);
        site.check();
        daemon.stop();
        site.check();
        assert_eq!(site.sandbox.gaps(), []);
    }
}

fn rename(from: &Path, to: &Path) {
    fs::rename(from, to).expect("our own folder");
}

/// Packs a file as `gzip` and its like do: beside it, with its time of change; then it is removed.
fn pack_file(path: &Path, ending: &str) -> PathBuf {
    let modified = path.metadata().and_then(|there| there.modified());
    let content = fs::read(path).expect("our own file");
    let packed = PathBuf::from(format!("{}.{ending}", text(path)));
    let mut file = File::create(&packed).expect("a new file");
    file.write_all(&pack(ending, &content)).expect("room");
    file.set_modified(modified.expect("a time"))
        .expect("our own file");
    fs::remove_file(path).expect("our own file");
    packed
}

fn truncate(log: &Path) {
    let opened = File::options().write(true).open(log);
    opened
        .and_then(|file| file.set_len(0))
        .expect("our own file");
}

/// Suspends the daemon while something is done.
fn while_suspended<T>(daemon: &Daemon, work: impl FnOnce() -> T) -> T {
    daemon.signal(Signal::STOP);
    let stat = format!("/proc/{}/stat", daemon.id());
    support::wait_for("the daemon is suspended", || {
        fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") T "))
    });
    let done = work();
    daemon.signal(Signal::CONT);
    done
}

/// Waits until the daemon has said something.
#[track_caller]
fn wait_until_said(daemon: &Daemon, what: &str) {
    wait_until(&format!("the daemon has said {what:?}"), || {
        let said = daemon.said();
        match said.contains(what) {
            true => Ok(()),
            false => Err(said),
        }
    });
}
