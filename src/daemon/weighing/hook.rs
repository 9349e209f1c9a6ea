//! The operator's program that is told of verdicts: one at a time, each given a time, and none waited
//! for by whoever weighs.

use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use crate::config::Hook;

/// Calls that may wait; what comes then waits with the clerk.
const MAX_WAITING: usize = 100;
/// How often a program that runs is looked after.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// A call: the command, and what it is told.
#[derive(Debug)]
struct Call {
    hook: Hook,
    told: String,
}

/// Runs hooks on a thread of its own.
#[derive(Debug)]
pub(super) struct Hooks {
    calls: SyncSender<Call>,
}

impl Hooks {
    /// Starts the thread, which ends with this, or with the process.
    pub(super) fn start() -> std::io::Result<Self> {
        let (calls, called) = sync_channel(MAX_WAITING);
        std::thread::Builder::new()
            .name("hook".to_owned())
            .spawn(move || answer(&called))?;
        Ok(Self { calls })
    }

    /// Calls a program; `false`: too many wait already.
    pub(super) fn call(&self, hook: &Hook, told: String) -> bool {
        let call = Call {
            hook: hook.clone(),
            told,
        };
        match self.calls.try_send(call) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => true,
            Err(TrySendError::Full(_)) => false,
        }
    }
}

fn answer(calls: &Receiver<Call>) {
    while let Ok(Call { hook, told }) = calls.recv() {
        if let Err(why) = run(&hook, &told) {
            let program = hook.command.first().map_or("", String::as_str);
            tracing::warn!(hook = program, "the hook {program}: {why}");
        }
    }
}

/// Runs a program with a text on its standard input, and kills it after its time.
fn run(hook: &Hook, told: &str) -> Result<(), String> {
    let Some((program, arguments)) = hook.command.split_first() else {
        return Ok(());
    };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("cannot be started: {error}"))?;
    if let Some(mut input) = child.stdin.take() {
        // It fits a pipe, so that this waits for nobody. A program that reads nothing is free not to.
        let _ = input.write_all(told.as_bytes());
    }
    let deadline = Instant::now() + hook.timeout;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < deadline => std::thread::sleep(LOOK_INTERVAL),
            Ok(None) => {
                end(&mut child);
                let seconds = hook.timeout.as_secs();
                return Err(format!("has not ended within {seconds} s, and was killed"));
            }
            Err(error) => {
                end(&mut child);
                return Err(format!("cannot be waited for: {error}"));
            }
        }
    };
    match status.success() {
        true => Ok(()),
        false => Err(format!("ended with {status}")),
    }
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(command: &[&str], timeout: Duration) -> Hook {
        Hook {
            command: command.iter().map(|&part| part.to_owned()).collect(),
            timeout,
        }
    }

    #[test]
    fn a_program_is_told_on_its_input_and_judged_by_its_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("told");
        let script = format!("cat > {}", path.display());
        run(
            &hook(&["/bin/sh", "-c", &script], Duration::from_secs(10)),
            "{\"a\":1}",
        )
        .expect("runs");
        assert_eq!(std::fs::read_to_string(&path).expect("told"), "{\"a\":1}");
        let failed = run(&hook(&["/bin/false"], Duration::from_secs(10)), "x");
        assert!(failed.expect_err("fails").contains("exit status: 1"));
        let missing = run(&hook(&["/nowhere/at/all"], Duration::from_secs(10)), "x");
        assert!(
            missing
                .expect_err("is missing")
                .contains("cannot be started")
        );
    }

    #[test]
    fn a_program_that_hangs_is_killed() {
        let began = Instant::now();
        let hangs = run(
            &hook(&["/bin/sleep", "600"], Duration::from_millis(200)),
            "x",
        );
        assert!(hangs.expect_err("hangs").contains("was killed"));
        assert!(began.elapsed() < Duration::from_secs(60));
    }
}
