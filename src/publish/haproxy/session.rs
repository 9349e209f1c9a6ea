//! A conversation with the runtime socket of HAProxy: commands and answers, one after the other.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

/// So long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// What HAProxy writes when it waits for the next command.
const PROMPT: &[u8] = b"\n> ";
/// A line of `show map` has an address, a key and a value; more than a million of them are not ours.
const MAX_ANSWER_BYTES: usize = 256 * 1024 * 1024;
/// HAProxy reads a command and what follows it into a buffer of 16 KiB, where the operator has not
/// made it smaller.
const MAX_PAYLOAD_BYTES: usize = 12 * 1024;

/// Which process answers. A number alone may come again, in a container say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) id: u64,
    /// Seconds since it was started.
    pub(super) uptime: u64,
    /// Its version, such as 2 and 6.
    pub(super) version: (u32, u32),
}

impl Process {
    /// Whether this is what `earlier` has become.
    pub(super) fn goes_on_from(self, earlier: Self) -> bool {
        self.id == earlier.id && self.uptime >= earlier.uptime
    }
}

/// A conversation.
#[derive(Debug)]
pub(super) struct Session {
    stream: UnixStream,
    deadline: Instant,
}

impl Session {
    /// Begins one that lasts no longer than until then.
    pub(super) fn begin(path: &Path, deadline: Instant) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        // Not blocking: where nobody accepts, connecting would wait for ever.
        connect(&socket, &SocketAddrUnix::new(path)?)?;
        let stream = UnixStream::from(socket);
        stream.set_nonblocking(false)?;
        let mut session = Self { stream, deadline };
        session.ask("prompt")?;
        Ok(session)
    }

    /// A command, and what is answered, without the prompt and the blank line before it.
    fn ask(&mut self, command: &str) -> io::Result<String> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let timeout = left.min(ANSWER_TIMEOUT);
        if timeout.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_write_timeout(Some(timeout))?;
        self.stream.set_read_timeout(Some(timeout))?;
        self.stream.write_all(command.as_bytes())?;
        self.stream.write_all(b"\n")?;
        let mut answer = Vec::new();
        let mut part = vec![0; 64 * 1024];
        while !answer.ends_with(PROMPT) {
            let length = self.stream.read(&mut part)?;
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if Instant::now() >= self.deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            answer.extend_from_slice(&part[..length]);
            if answer.len() > MAX_ANSWER_BYTES {
                return Err(io::Error::other("the answer has no end"));
            }
        }
        answer.truncate(answer.len() - PROMPT.len());
        let answer = String::from_utf8_lossy(&answer).into_owned();
        Ok(answer)
    }

    /// A command that has nothing to say when all is well.
    fn tell(&mut self, command: &str) -> io::Result<()> {
        let answer = self.ask(command)?;
        // It asks for each line of what follows a command with a plus.
        let answer = answer.trim_start_matches(['+', ' ', '\n']).trim();
        match answer.is_empty() {
            true => Ok(()),
            false => Err(io::Error::other(format!("HAProxy says: {}", shown(answer)))),
        }
    }

    /// Who answers.
    pub(super) fn process(&mut self) -> io::Result<Process> {
        let answer = self.ask("show info")?;
        let field = |name: &str| {
            let mut lines = answer.lines();
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        };
        let number = |name: &str| field(name)?.trim().parse().ok();
        let process = || {
            let mut version = field("Version")?.split(['.', '-']);
            let mut part = || version.next()?.parse().ok();
            Some(Process {
                version: (part()?, part()?),
                id: number("Pid")?,
                uptime: number("Uptime_sec")?,
            })
        };
        process().ok_or_else(|| {
            let answer = shown(&answer);
            io::Error::other(format!("`show info` is not understood: {answer}"))
        })
    }

    /// The lines of a map as the process has them; `None` where a key stands there twice.
    pub(super) fn map(&mut self, map: &str) -> io::Result<Option<BTreeMap<String, String>>> {
        let answer = self.ask(&format!("show map {map}"))?;
        let mut entries = BTreeMap::new();
        for line in answer.lines().filter(|line| !line.is_empty()) {
            let Some((_, entry)) = line.split_once(' ').filter(|_| line.starts_with("0x")) else {
                return Err(io::Error::other(format!(
                    "HAProxy says of {map}: {} (has the snippet been pasted?)",
                    shown(line)
                )));
            };
            let (key, value) = entry.split_once(' ').unwrap_or((entry, ""));
            if entries.insert(key.to_owned(), value.to_owned()).is_some() {
                return Ok(None);
            }
        }
        Ok(Some(entries))
    }

    /// Adds a line that is not there yet.
    pub(super) fn add(&mut self, map: &str, key: &str, value: &str) -> io::Result<()> {
        self.tell(&format!("add map {map} {key} {value}"))
    }

    /// Changes a line.
    pub(super) fn set(&mut self, map: &str, key: &str, value: &str) -> io::Result<()> {
        self.tell(&format!("set map {map} {key} {value}"))
    }

    /// Takes a line out.
    pub(super) fn remove(&mut self, map: &str, key: &str) -> io::Result<()> {
        self.tell(&format!("del map {map} {key}"))
    }

    /// Puts all lines in the place of what is there, in one step: requests see the old ones or these.
    pub(super) fn replace(
        &mut self,
        map: &str,
        entries: &BTreeMap<String, String>,
    ) -> io::Result<()> {
        let answer = self.ask(&format!("prepare map {map}"))?;
        let version = answer.trim().strip_prefix("New version created: ");
        let version: u64 = version
            .and_then(|version| version.parse().ok())
            .ok_or_else(|| io::Error::other(format!("HAProxy says: {}", shown(&answer))))?;
        let mut lines = entries.iter().peekable();
        while lines.peek().is_some() {
            let mut command = format!("add map @{version} {map} <<\n");
            while let Some((key, value)) = lines
                .next_if(|(key, value)| command.len() + key.len() + value.len() < MAX_PAYLOAD_BYTES)
            {
                command.extend([key, " ", value, "\n"]);
            }
            self.tell(&command)?;
        }
        self.tell(&format!("commit map @{version} {map}"))
    }
}

/// The beginning of what was said, printable.
fn shown(said: &str) -> String {
    let said = said.lines().next().unwrap_or_default();
    said.chars()
        .take(200)
        .flat_map(char::escape_debug)
        .collect()
}
