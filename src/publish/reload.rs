//! A request that root reload a server, and its answer.
//!
//! The daemon has no right to reload anything. It writes a request into a folder of its own;
//! `tollkeeper-reload@SERVER`, a unit of root's, sees it, tests the server's config, reloads the server
//! or takes the map back, and answers in a folder of root's, whose path is that of the requests with
//! its last `/` a `-`: `/run/tollkeeper-reload` for `/run/tollkeeper/reload`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};

use super::file;
use super::map::{Nudge, NudgeState};
use crate::config::gate::ReloadRequest;
use crate::random::random;

/// So long an answer may take: a test and a reload of half a minute each, and somewhat more.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(90);
/// How often it is looked for.
const LOOK: Duration = Duration::from_millis(250);
/// When what has failed is asked for again.
const RETRY: Duration = Duration::from_secs(60);
const MAX_ANSWER_BYTES: u64 = 4096;
const MAX_MESSAGE_CHARS: usize = 500;

/// Asks for reloads of one server.
#[derive(Debug)]
pub struct Reload {
    server: String,
    request: PathBuf,
    result: PathBuf,
    debounce: Duration,
    /// When the last request was written.
    asked: Option<Instant>,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// All is as it shall be.
    Done,
    /// A request is to be written, then or later; what it is for has failed before.
    Due(Instant, Option<String>),
    /// It has been written; another one is to follow.
    Asked {
        id: String,
        at: Instant,
        is_again: bool,
    },
    Refused(String),
}

impl Reload {
    /// For a request as the config has it.
    #[must_use]
    pub fn new(config: &ReloadRequest) -> Self {
        let server = &config.server;
        Self {
            server: server.clone(),
            request: config.folder.join(format!("{server}.request")),
            result: results(&config.folder).join(format!("{server}.result")),
            debounce: config.debounce,
            asked: None,
            state: State::Done,
        }
    }

    /// What it is for: if the last answer is not of the map that stands there, as after a daemon that ended
    /// between writing it and being answered, it is asked for at once.
    #[must_use]
    pub fn for_map(mut self, map: &Path, now: Instant) -> Self {
        let Ok(metadata) = std::fs::symlink_metadata(map) else {
            return self;
        };
        let (inode, seconds, bytes) = (metadata.ino(), metadata.mtime(), metadata.len());
        let stamp = format!("{inode} {seconds} {bytes}");
        let is_loaded = |answer: Answer| answer.result == "ok" && answer.map == stamp;
        if !read(&self.result).ok().flatten().is_some_and(is_loaded) {
            self.state = State::Due(now, None);
        }
        self
    }

    /// The first moment at which a request may be written.
    fn due(&self, now: Instant) -> Instant {
        self.asked
            .map_or(now, |asked| now.max(asked + self.debounce))
    }

    fn ask(&mut self, now: Instant) {
        let id = format!("{:016x}", random());
        let written = file::publish(&self.request, format!("{id}\n").as_bytes(), file::FILE_MODE);
        self.asked = Some(now);
        self.state = match written {
            Ok(_) => State::Asked {
                id,
                at: now,
                is_again: false,
            },
            Err(error) => {
                let why = format!("writing {}: {error}", self.request.display());
                State::Due(now + RETRY.max(self.debounce), Some(why))
            }
        };
    }

    /// What has been answered to this request.
    fn heed(&mut self, id: &str, at: Instant, is_again: bool, now: Instant) {
        let retry = now + RETRY.max(self.debounce);
        let server = &self.server;
        let answer = match read(&self.result) {
            Ok(answer) => answer.filter(|answer| answer.id == id),
            Err(error) => {
                let why = format!("reading {}: {error}", self.result.display());
                self.state = State::Due(retry, Some(why));
                return;
            }
        };
        let after = match answer {
            None if now < at + ANSWER_TIMEOUT => return,
            None => State::Due(
                retry,
                Some(format!(
                    "nobody answers a request to reload {server}: is tollkeeper-reload@{server}.path \
                     enabled?"
                )),
            ),
            Some(answer) if answer.result == "ok" => State::Done,
            Some(answer) if answer.result == "refused" => State::Refused(answer.message),
            Some(answer) => {
                let why = format!("reload of {server} {}: {}", answer.result, answer.message);
                State::Due(retry, Some(why))
            }
        };
        self.state = match after {
            // What is newer than what was answered for.
            _ if is_again => State::Due(self.due(now), None),
            after => after,
        };
    }

    fn told(&self) -> NudgeState {
        match &self.state {
            State::Done => NudgeState::Done,
            State::Due(when, None) => NudgeState::Waiting(*when),
            State::Due(when, Some(why)) => NudgeState::Failed(why.clone(), *when),
            State::Asked { .. } => NudgeState::Waiting(self.asked.unwrap_or_else(Instant::now)),
            State::Refused(why) => NudgeState::Refused(why.clone()),
        }
    }
}

impl Nudge for Reload {
    fn nudge(&mut self, now: Instant) -> NudgeState {
        match &mut self.state {
            State::Asked { is_again, .. } => *is_again = true,
            _ => self.state = State::Due(self.due(now), None),
        }
        self.poll(now)
    }

    fn poll(&mut self, now: Instant) -> NudgeState {
        if let State::Asked { id, at, is_again } = self.state.clone() {
            self.heed(&id, at, is_again, now);
        }
        if matches!(&self.state, State::Due(when, _) if *when <= now) {
            self.ask(now);
        }
        match self.told() {
            NudgeState::Waiting(_) if matches!(self.state, State::Asked { .. }) => {
                NudgeState::Waiting(now + LOOK)
            }
            told => told,
        }
    }
}

/// Where root answers.
fn results(requests: &Path) -> PathBuf {
    match (requests.parent(), requests.file_name()) {
        (Some(above), Some(name)) => {
            let mut path = above.as_os_str().to_owned();
            path.push("-");
            path.push(name);
            path.into()
        }
        _ => requests.to_owned(),
    }
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    id: String,
    result: String,
    /// Inode, time and size of the map that was tested.
    map: String,
    message: String,
}

fn read(path: &Path) -> io::Result<Option<Answer>> {
    // Never waits, whatever stands there.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut bytes = Vec::new();
    file.take(MAX_ANSWER_BYTES).read_to_end(&mut bytes)?;
    Ok(parse(&String::from_utf8_lossy(&bytes)))
}

fn parse(text: &str) -> Option<Answer> {
    let fields: BTreeMap<&str, &str> = text.lines().filter_map(|it| it.split_once('=')).collect();
    let message = fields.get("message").copied().unwrap_or_default();
    let message = message.trim().chars().take(MAX_MESSAGE_CHARS);
    Some(Answer {
        id: (*fields.get("id")?).to_owned(),
        result: (*fields.get("result")?).to_owned(),
        map: (*fields.get("map")?).to_owned(),
        message: message.filter(|it| !it.is_control()).collect(),
    })
}
