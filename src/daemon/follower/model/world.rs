//! The logs, as web servers and logrotate treat them, and the perfect count of what was written.
//!
//! Each line has a user of its own, so the rows say of each line how often it was counted. A line must
//! be counted once as long as its bytes can be reached by what is guaranteed (`docs/guarantees.md`);
//! once they cannot, it may be counted or not, and is never counted twice.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use super::machine::Machine;
use crate::source::position::Place;

/// How a log is rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    /// `.1`, `.2`: each rotation renames all.
    Numbers,
    /// `-20260101`.
    Dates,
    /// As `Numbers`, in another folder.
    OldDir,
    /// The log is a symbolic link that is switched.
    Link,
}

/// What was done, over many histories.
#[derive(Debug, Default, Clone)]
pub(super) struct Done {
    pub(super) lines: u64,
    pub(super) must: u64,
    pub(super) commits: u64,
    pub(super) overtaken: u64,
    pub(super) rotations: u64,
    pub(super) packed: u64,
    pub(super) truncated: u64,
    pub(super) deleted: u64,
    pub(super) switched: u64,
    pub(super) inodes_reused: u64,
}

impl Done {
    /// What was done in one history is added.
    pub(super) fn add(&mut self, one: &Self) {
        self.lines += one.lines;
        self.must += one.must;
        self.commits += one.commits;
        self.overtaken += one.overtaken;
        self.rotations += one.rotations;
        self.packed += one.packed;
        self.truncated += one.truncated;
        self.deleted += one.deleted;
        self.switched += one.switched;
        self.inodes_reused += one.inodes_reused;
    }
}

pub(super) struct World {
    pub(super) folder: PathBuf,
    pub(super) machine: Machine,
    pub(super) logs: Vec<Log>,
    pub(super) inodes: Vec<Inode>,
    pub(super) names: BTreeMap<PathBuf, Name>,
    pub(super) lines: Vec<Line>,
    pub(super) packing: Option<Packing>,
    /// Folders change at times that the model sets.
    pub(super) sets_folder_times: bool,
    /// Files may be closed at any time.
    pub(super) few_held: bool,
    /// Something was done that may leave a gap.
    pub(super) may_have_gaps: bool,
    pub(super) done: Done,
}

pub(super) struct Log {
    pub(super) path: PathBuf,
    pub(super) scheme: Scheme,
    /// The vhost, where the lines name it.
    pub(super) names_vhost: bool,
    pub(super) vhost: String,
    pub(super) writer: Option<Writer>,
    /// Workers that have not noticed that the log was renamed.
    pub(super) old: Vec<Writer>,
    pub(super) generation: u32,
    /// No further file of this log begins like the others.
    pub(super) no_more_alike: bool,
}

pub(super) struct Writer {
    pub(super) file: File,
    pub(super) inode: usize,
}

pub(super) struct Inode {
    pub(super) place: Place,
    pub(super) log: usize,
    /// The last line, and how much of it is written.
    pub(super) partial: Option<(usize, usize)>,
    /// It begins with the line that all logs begin with.
    pub(super) is_alike: bool,
    pub(super) is_packed: bool,
    /// It was truncated, or is a copy: what it holds can be told by the name of its log alone.
    pub(super) needs_name: bool,
    /// It had a second name: under 1 KiB, its archive can no longer be told by its name.
    pub(super) had_names: bool,
}

#[derive(Clone, Copy)]
pub(super) struct Name {
    pub(super) inode: usize,
    /// By its name it is a log, or a rotation of one.
    pub(super) tells: bool,
}

pub(super) struct Line {
    pub(super) key: String,
    pub(super) text: String,
    pub(super) sent: u64,
    /// Where its bytes are.
    pub(super) inode: usize,
    pub(super) is_whole: bool,
    pub(super) must: bool,
}

pub(super) struct Packing {
    pub(super) plain: PathBuf,
    pub(super) packed: PathBuf,
    pub(super) content: Vec<u8>,
}

const NAMES: [(&str, Scheme, bool); 6] = [
    ("all.log", Scheme::Numbers, true),
    ("a.access.log", Scheme::Numbers, false),
    ("other.log", Scheme::Dates, true),
    ("current.log", Scheme::Link, true),
    ("moved.log", Scheme::OldDir, true),
    ("b.access.log", Scheme::Dates, false),
];

/// How many logs there are at most.
pub(super) const MOST_LOGS: usize = NAMES.len();

/// The config that follows them. `wide`: globs lead to rotations too.
pub(super) fn config(folder: &Path, wide: bool, max_held_files: Option<u8>) -> String {
    let folder = folder.join("logs");
    let folder = folder.display();
    let ending = if wide { "*" } else { "" };
    let held = max_held_files.map_or(String::new(), |most| format!("max_held_files = {most}\n"));
    let tail = "\\\"$remote_user\\\" \\\"$http_user_agent\\\"';";
    let numbers = "$msec $status $request_length $bytes_sent";
    let named = format!("format = [\"nginx:log_format tk '{numbers} $host {tail}\"]");
    let bare = format!("format = [\"nginx:log_format tk '{numbers} {tail}\"]");
    format!(
        "report_interval = \"10s\"\n{held}\
         [[source.file]]\nname = \"all\"\nusers = \"verified\"\n{named}\n\
         paths = [\"{folder}/all.log{ending}\", \"{folder}/other.log{ending}\", \"{folder}/current.log\", \"{folder}/linked.log\"]\n\
         [[source.file]]\nname = \"moved\"\nusers = \"verified\"\nolddir = \"old\"\n{named}\n\
         paths = [\"{folder}/moved.log\"]\n\
         [[source.file]]\nname = \"sites\"\nusers = \"verified\"\nvhost = \"{{1}}.example\"\n{bare}\n\
         paths = [\"{folder}/*.access.log\"]\n"
    )
}

impl World {
    pub(super) fn new(
        folder: &Path,
        machine: Machine,
        logs: usize,
        sets_folder_times: bool,
    ) -> Self {
        fs::create_dir_all(folder.join("logs/old")).expect("a new folder");
        let log = |(name, scheme, names_vhost): &(&str, Scheme, bool)| Log {
            path: folder.join("logs").join(name),
            scheme: *scheme,
            names_vhost: *names_vhost,
            vhost: format!("{}.example", name.split('.').next().unwrap_or_default()),
            writer: None,
            old: Vec::new(),
            generation: 0,
            no_more_alike: false,
        };
        Self {
            folder: folder.to_owned(),
            machine,
            logs: NAMES.iter().take(logs).map(log).collect(),
            inodes: Vec::new(),
            names: BTreeMap::new(),
            lines: Vec::new(),
            packing: None,
            sets_folder_times,
            few_held: false,
            may_have_gaps: false,
            done: Done::default(),
        }
    }

    pub(super) fn with_few_held(mut self, few: bool) -> Self {
        self.few_held = few;
        self
    }

    /// Which log a number means.
    pub(super) fn log(&self, number: u8) -> usize {
        usize::from(number) % self.logs.len()
    }

    /// A moment passes, in which nobody looks.
    pub(super) fn moment(&mut self) {
        self.machine.pass(Duration::from_millis(1));
    }

    pub(super) fn now(&self) -> std::time::SystemTime {
        UNIX_EPOCH + self.machine.wall()
    }

    /// Names have changed: the folders have the time of it.
    pub(super) fn names_changed(&self) {
        if self.sets_folder_times {
            for folder in ["logs", "logs/old"] {
                let opened = File::open(self.folder.join(folder));
                opened
                    .and_then(|folder| folder.set_modified(self.now()))
                    .expect("our own folder");
            }
        }
    }

    // Writing.

    /// Makes the log, if it is not there.
    pub(super) fn create(&mut self, log: usize, alike: bool) {
        if self.logs[log].writer.is_some() {
            return;
        }
        let path = self.logs[log].path.clone();
        let target = match self.logs[log].scheme {
            Scheme::Link => {
                self.logs[log].generation += 1;
                let name = format!("current-{}.data", self.logs[log].generation);
                path.with_file_name(name)
            }
            _ => path.clone(),
        };
        let file = File::options().append(true).create_new(true).open(&target);
        let file = file.expect("a new file");
        file.set_modified(self.now()).expect("our own file");
        let inode = self.add_inode(&file, log);
        if target != path {
            let beside = path.with_file_name("link");
            std::os::unix::fs::symlink(&target, &beside).expect("a new link");
            fs::rename(&beside, &path).expect("our own folder");
        }
        self.names.insert(target, Name { inode, tells: true });
        self.logs[log].writer = Some(Writer { file, inode });
        self.names_changed();
        if alike && !self.logs[log].no_more_alike {
            self.inodes[inode].is_alike = true;
            let line = self.add_line(log, inode, true, 0);
            self.put(log, None, line, usize::MAX);
        }
    }

    pub(super) fn add_inode(&mut self, file: &File, log: usize) -> usize {
        let place = Place::of(&file.metadata().expect("an open file"));
        if self.inodes.iter().any(|old| old.place.inode == place.inode) {
            self.done.inodes_reused += 1;
        }
        self.inodes.push(Inode {
            place,
            log,
            partial: None,
            is_alike: false,
            is_packed: false,
            needs_name: false,
            had_names: false,
        });
        self.inodes.len() - 1
    }

    pub(super) fn add_line(&mut self, log: usize, inode: usize, alike: bool, pad: usize) -> usize {
        let Log {
            vhost, names_vhost, ..
        } = &self.logs[log];
        let number = self.lines.len();
        let (user, vhost, sent) = match (alike, names_vhost) {
            (true, true) => ("first".to_owned(), "first.example", 777),
            (true, false) => ("first".to_owned(), &**vhost, 777),
            (false, _) => (format!("u{number}"), &**vhost, 1_000 + number as u64 * 7),
        };
        let host = if *names_vhost {
            format!("{vhost} ")
        } else {
            String::new()
        };
        let time = 1_718_452_800;
        let text = format!(
            "{time}.000 200 1 {sent} {host}\"{user}\" \"{}\"\n",
            "x".repeat(pad)
        );
        self.lines.push(Line {
            key: format!("{vhost} {user}"),
            text,
            sent,
            inode,
            is_whole: false,
            must: true,
        });
        number
    }

    /// Writes a line, or so many bytes of it. `old`: by this old worker.
    pub(super) fn put(&mut self, log: usize, old: Option<usize>, line: usize, bytes: usize) {
        let writer = match old {
            Some(old) => self.logs[log].old.get_mut(old),
            None => self.logs[log].writer.as_mut(),
        };
        let Some(writer) = writer else { return };
        let inode = &mut self.inodes[writer.inode];
        let from = match inode.partial.take() {
            Some((begun, from)) => {
                assert_eq!(begun, line, "a line is finished before the next");
                from
            }
            None => 0,
        };
        let to = bytes.min(self.lines[line].text.len());
        let text = &self.lines[line].text[from..to];
        writer.file.write_all(text.as_bytes()).expect("room");
        let now = UNIX_EPOCH + self.machine.wall();
        writer.file.set_modified(now).expect("our own file");
        if to == self.lines[line].text.len() {
            self.lines[line].is_whole = true;
            self.done.lines += 1;
        } else {
            inode.partial = Some((line, to));
        }
    }

    /// Finishes what was begun, then writes new lines; of the last one, a part.
    pub(super) fn write(&mut self, log: usize, lines: u8, pad: usize, part: bool, alike: bool) {
        self.create(log, alike);
        self.finish(log, None);
        let Some(inode) = self.logs[log].writer.as_ref().map(|writer| writer.inode) else {
            return;
        };
        for number in 0..lines {
            let line = self.add_line(log, inode, false, pad);
            // With room for one file alone, one that waits for the end of a line may keep the others out.
            let is_part = part && number + 1 == lines && !self.few_held;
            self.put(log, None, line, if is_part { 20 } else { usize::MAX });
        }
    }

    pub(super) fn finish(&mut self, log: usize, old: Option<usize>) {
        let writer = match old {
            Some(old) => self.logs[log].old.get(old),
            None => self.logs[log].writer.as_ref(),
        };
        let Some(writer) = writer else { return };
        if let Some((line, _)) = self.inodes[writer.inode].partial {
            self.put(log, old, line, usize::MAX);
        }
    }

    /// A worker that has not noticed the rotation writes.
    pub(super) fn write_old(&mut self, log: usize) {
        let Some(old) = self.logs[log].old.len().checked_sub(1) else {
            return;
        };
        self.finish(log, Some(old));
        let inode = self.logs[log].old[old].inode;
        let line = self.add_line(log, inode, false, 0);
        self.put(log, Some(old), line, usize::MAX);
    }

    /// The workers that write to a file finish their lines and end.
    pub(super) fn end_workers(&mut self, inode: usize) {
        for log in 0..self.logs.len() {
            for old in (0..self.logs[log].old.len()).rev() {
                if self.logs[log].old[old].inode == inode {
                    self.finish(log, Some(old));
                    self.logs[log].old.remove(old);
                }
            }
        }
    }
}
