//! HAProxy: the map file that it reads at its start, and its runtime sockets.
//!
//! A socket is told what is other there, line by line, closings first; of very much, all at once. Then
//! the file is written, whether or not a socket answers. Which process answers is looked at every
//! [`LOOK`]: one that is new may have read the file too early, and is asked what it has. One that is
//! away, or does not answer within a second, is left alone for as long.

mod session;

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use self::session::{Process, Session};
use super::{Applied, Gate, file};
use crate::config::gate::HaproxyGate;
use crate::enforce::{self, Hosts, MapSet, Refused};
use crate::quota::rule::Consequence;
use crate::quota::verdict::Verdicts;

/// How often it is looked whether a server has been started anew.
pub const LOOK: Duration = Duration::from_secs(5);
/// So long all that one socket is told at once may take: a hundred thousand lines on a busy machine.
const MOST_TIME: Duration = Duration::from_secs(15);
/// With more lines to change than these, the whole map is put in place of the old one.
const MOST_SINGLE_LINES: usize = 256;
/// From this version on, responses can be slowed down.
const SLOWS_FROM: (u32, u32) = (2, 7);

type Entries = BTreeMap<String, String>;

/// The gate.
#[derive(Debug)]
pub struct HaproxyPublisher {
    name: String,
    map: MapFile,
    /// The networks of classes, where there are any.
    networks: Option<MapFile>,
    sockets: Vec<Socket>,
}

/// A map as it shall be.
#[derive(Debug)]
struct MapFile {
    path: PathBuf,
    entries: Arc<Entries>,
    /// Whether what an earlier life left there has been looked at.
    is_read: bool,
    /// What was written, and the file as it then was.
    written: Option<(Arc<Entries>, Stamp)>,
}

/// What tells a file from another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    length: u64,
    changed: (i64, i64),
}

/// A server, and what it has been told.
#[derive(Debug)]
struct Socket {
    path: PathBuf,
    process: Option<Process>,
    /// By map, in the order of the gate's: what the process has.
    told: Vec<Option<Arc<Entries>>>,
    /// It did not answer: not before then.
    rests_until: Option<Instant>,
    failed: Option<String>,
}

impl HaproxyPublisher {
    /// For a place in the config. `classes`: the networks of each client class; where there are none,
    /// no file of them is written.
    #[must_use]
    pub fn new(gate: &HaproxyGate, classes: &BTreeMap<String, Vec<IpNet>>) -> Self {
        let networks = (!classes.is_empty()).then(|| MapFile {
            path: enforce::haproxy::networks_path(&gate.map),
            entries: Arc::new(enforce::haproxy::networks(classes)),
            is_read: true,
            written: None,
        });
        let socket = |path: &PathBuf| Socket {
            path: path.clone(),
            process: None,
            told: vec![None; 1 + usize::from(networks.is_some())],
            rests_until: None,
            failed: None,
        };
        Self {
            name: format!("haproxy {}", gate.map.display()),
            map: MapFile {
                path: gate.map.clone(),
                entries: Arc::default(),
                is_read: false,
                written: None,
            },
            sockets: gate.sockets.iter().map(socket).collect(),
            networks,
        }
    }

    /// Whether a server is known to be able to slow down.
    fn slows(&self) -> bool {
        let mut versions = self
            .sockets
            .iter()
            .map(|it| it.process.map(|it| it.version));
        !self.sockets.is_empty() && versions.all(|it| it.is_some_and(|it| it >= SLOWS_FROM))
    }
}

impl Gate for HaproxyPublisher {
    fn name(&self) -> &str {
        &self.name
    }

    fn apply(&mut self, verdicts: &Verdicts, hosts: &Hosts, now: Instant) -> Applied {
        let MapSet {
            mut entries,
            mut refused,
        } = enforce::haproxy::map(verdicts, hosts);
        let mut failed = self.map.read().err();
        if !verdicts.complete {
            // What is closed stays closed, in the way that it is.
            let standing = self.map.entries.iter();
            entries.extend(standing.map(|(key, value)| (key.clone(), value.clone())));
        }
        let changed = differences(&self.map.entries, &entries).len();
        if changed > 0 {
            self.map.entries = Arc::new(entries);
        }
        // The sockets first: they are what closes the gate at once.
        let maps: Vec<_> = std::iter::once(&self.map).chain(&self.networks).collect();
        for socket in &mut self.sockets {
            socket.tell(&maps, now);
            failed = failed.or_else(|| socket.failed.clone());
        }
        for map in std::iter::once(&mut self.map).chain(&mut self.networks) {
            if let Err(error) = map.write() {
                failed.get_or_insert(error);
            }
        }
        if !self.slows() {
            refused.extend(too_old_for(verdicts));
        }
        let is_to_retry = failed.is_some() || !self.sockets.is_empty();
        Applied {
            changed: changed as u64,
            standing: self.map.entries.len() as u64,
            refused,
            failed,
            again: is_to_retry.then(|| now + LOOK),
        }
    }
}

/// Those that would have to be slowed down.
fn too_old_for(verdicts: &Verdicts) -> impl Iterator<Item = Refused> {
    let is_slow = |consequence: &Consequence| matches!(consequence, Consequence::Slow { .. });
    let slow = verdicts
        .iter()
        .filter(move |(_, closed)| is_slow(&closed.consequence));
    slow.map(|(subject, _)| Refused {
        subject: subject.clone(),
        why:
            "HAProxy slows down from 2.7 on (filter bwlim-out), and no socket says that it is one: \
              deny or redirect instead, or slow down in the server behind it"
                .to_owned(),
    })
}

impl MapFile {
    /// What an earlier life left there, once: it stays closed until all usage is known.
    fn read(&mut self) -> Result<(), String> {
        if self.is_read {
            return Ok(());
        }
        let bytes = file::read(&self.path)
            .map_err(|error| format!("reading {}: {error}", self.path.display()))?
            .unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        self.entries = Arc::new(enforce::haproxy::parse(&text));
        self.is_read = true;
        Ok(())
    }

    /// Writes the file, unless it is as it shall be.
    fn write(&mut self) -> Result<(), String> {
        let stands = self.written.as_ref().is_some_and(|(entries, stamp)| {
            Arc::ptr_eq(entries, &self.entries) && Stamp::of(&self.path).ok() == Some(*stamp)
        });
        if stands {
            return Ok(());
        }
        let text = enforce::haproxy::text(&self.entries);
        let failed = |error| format!("writing {}: {error}", self.path.display());
        file::publish(&self.path, text.as_bytes(), file::FILE_MODE).map_err(failed)?;
        let stamp = Stamp::of(&self.path).map_err(failed)?;
        self.written = Some((Arc::clone(&self.entries), stamp));
        Ok(())
    }
}

impl Stamp {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = std::fs::symlink_metadata(path)?;
        Ok(Self {
            inode: metadata.ino(),
            length: metadata.len(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

impl Socket {
    /// Brings the server in line.
    fn tell(&mut self, maps: &[&MapFile], now: Instant) {
        if self.rests_until.is_some_and(|until| now < until) {
            return;
        }
        match self.try_to_tell(maps) {
            Ok(()) => (self.rests_until, self.failed) = (None, None),
            Err(error) => {
                // What has arrived there is not known.
                self.told.fill(None);
                self.rests_until = Some(now + LOOK);
                self.failed = Some(format!("telling {}: {error}", self.path.display()));
            }
        }
    }

    fn try_to_tell(&mut self, maps: &[&MapFile]) -> io::Result<()> {
        let mut session = Session::begin(&self.path, Instant::now() + MOST_TIME)?;
        let process = session.process()?;
        let is_same = self.process.is_some_and(|it| process.goes_on_from(it));
        self.process = Some(process);
        for (map, told) in maps.iter().zip(&mut self.told) {
            let name = word(&map.path)?;
            let known = match told.take() {
                Some(known) if is_same => Some(known),
                _ => session.map(name)?.map(Arc::new),
            };
            match known {
                Some(known) if Arc::ptr_eq(&known, &map.entries) => {}
                Some(known) => change(&mut session, name, &known, &map.entries)?,
                None => session.replace(name, &map.entries)?,
            }
            *told = Some(Arc::clone(&map.entries));
        }
        Ok(())
    }
}

/// A path that can stand in a command, and in `map(…)`.
fn word(path: &Path) -> io::Result<&str> {
    let path = path
        .to_str()
        .filter(|path| enforce::haproxy::is_word(path) && !path.contains(['(', ')', ',']));
    path.ok_or_else(|| io::Error::other("HAProxy takes no such path of a map"))
}

fn change(session: &mut Session, map: &str, known: &Entries, wanted: &Entries) -> io::Result<()> {
    let differences = differences(known, wanted);
    if differences.len() > MOST_SINGLE_LINES {
        return session.replace(map, wanted);
    }
    // What closes a gate comes before what opens one.
    for difference in &differences {
        match difference {
            Difference::New(key, value) => session.add(map, key, value)?,
            Difference::Other(key, value) => session.set(map, key, value)?,
            Difference::Gone(_) => {}
        }
    }
    for difference in &differences {
        if let Difference::Gone(key) = difference {
            session.remove(map, key)?;
        }
    }
    Ok(())
}

/// What is to be done about a key.
enum Difference<'e> {
    New(&'e str, &'e str),
    Other(&'e str, &'e str),
    Gone(&'e str),
}

/// Both are sorted, so one walk along them is enough.
fn differences<'e>(known: &'e Entries, wanted: &'e Entries) -> Vec<Difference<'e>> {
    let mut differences = Vec::new();
    let mut known = known.iter().peekable();
    for (key, value) in wanted {
        while let Some((gone, _)) = known.next_if(|(known, _)| *known < key) {
            differences.push(Difference::Gone(gone));
        }
        match known.next_if(|(known, _)| *known == key) {
            Some((_, known)) if known == value => {}
            Some(_) => differences.push(Difference::Other(key, value)),
            None => differences.push(Difference::New(key, value)),
        }
    }
    differences.extend(known.map(|(gone, _)| Difference::Gone(gone)));
    differences
}
