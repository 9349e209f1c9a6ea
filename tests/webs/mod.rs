//! A web server with a gate in front of it, asked by curl.

#![allow(dead_code, reason = "each test file uses a part of this")]

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rustix::process::Signal;
use tempfile::TempDir;
use tollkeeper::enforce::{FlagSet, Hosts};
use tollkeeper::publish::{Applied, Gate};
use tollkeeper::quota::rule::Consequence;
use tollkeeper::quota::verdict::{Closed, Subject, Verdicts};

use crate::support::{Sandbox, send, wait_until};

/// Another process may take a port between our finding it free and the server's taking it.
const MOST_TRIES: u32 = 5;
/// The password of all users.
pub(crate) const PASSWORD: &str = "open sesame";

/// A running server, on the same port of 127.0.0.1 and of ::1.
pub(crate) struct Web {
    child: Child,
    pub(crate) port: u16,
    folder: PathBuf,
}

impl Web {
    /// `config` is told the folder, which has `www`, `www/private` and `users`, and the port; `arguments`
    /// come before the path of the config.
    pub(crate) fn start(
        sandbox: &Sandbox,
        binary: &str,
        arguments: &[&str],
        config: impl Fn(&Path, u16) -> String,
    ) -> Self {
        assert!(
            Path::new(binary).exists(),
            "{binary} is missing; run tests/run, which installs it"
        );
        let folder = sandbox.path("server");
        for name in ["www/private", "www/own", "tmp"] {
            fs::create_dir_all(folder.join(name)).expect("a new folder");
        }
        fs::set_permissions(folder.join("tmp"), fs::Permissions::from_mode(0o777))
            .expect("our own folder");
        for name in ["index.html", "private/index.html", "own/index.html"] {
            fs::write(folder.join("www").join(name), "served\n").expect("a new file");
        }
        fs::write(folder.join("www/big.bin"), vec![b'x'; 3_000_000]).expect("a new file");
        for tries in 1.. {
            match Self::try_start(&folder, binary, arguments, &config) {
                Ok(web) => return web,
                Err(said) => assert!(tries < MOST_TRIES, "{binary} does not start:\n{said}"),
            }
        }
        unreachable!("it ends in one way or the other")
    }

    fn try_start(
        folder: &Path,
        binary: &str,
        arguments: &[&str],
        config: &impl Fn(&Path, u16) -> String,
    ) -> Result<Self, String> {
        let free = TcpListener::bind("[::1]:0").expect("a free port");
        let port = free.local_addr().expect("our own port").port();
        drop(free);
        let path = folder.join("server.conf");
        fs::write(&path, config(folder, port)).expect("a new file");
        let stderr = folder.join("stderr");
        let child = Command::new(binary)
            .args(arguments)
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&stderr).expect("a new file"))
            .spawn()
            .expect("the server runs");
        let mut web = Self {
            child,
            port,
            folder: folder.to_owned(),
        };
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        wait_until("the server listens", || {
            let listens = TcpStream::connect(address).is_ok();
            match web.child.try_wait().expect("our own child") {
                Some(_) => Ok(Err(web.said())),
                None if listens => Ok(Ok(())),
                None => Err("it does not"),
            }
        })?;
        Ok(web)
    }

    /// What it has said.
    pub(crate) fn said(&self) -> String {
        let read = |name| fs::read_to_string(self.folder.join(name)).unwrap_or_default();
        read("stderr") + &read("error.log")
    }

    /// Asks by IPv4, with more arguments for curl.
    pub(crate) fn ask(&self, path: &str, arguments: &[&str]) -> Answer {
        self.ask_at("127.0.0.1", path, arguments)
    }

    /// Asks for the root of a site.
    pub(crate) fn ask_host(&self, host: &str) -> Answer {
        self.ask("/", &["-H", &format!("Host: {host}")])
    }

    /// Asks at an address.
    pub(crate) fn ask_at(&self, address: &str, path: &str, arguments: &[&str]) -> Answer {
        let url = format!("http://{address}:{}{path}", self.port);
        let output = Command::new("curl")
            .args(["-s", "-i", "--path-as-is", "--globoff", "-m", "30"])
            .args(["-w", "\n%{speed_download} %{time_total}"])
            .args(arguments)
            .arg(&url)
            .output()
            .expect("curl runs");
        Answer::read(&output.stdout)
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            send(&self.child, Signal::TERM);
            let child = &mut self.child;
            wait_until("the server has ended", || {
                child.try_wait().expect("our own child").ok_or("it runs")
            });
        }
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) bytes: usize,
    pub(crate) seconds: f64,
}

impl Answer {
    fn read(output: &[u8]) -> Self {
        let end = output
            .iter()
            .rposition(|&b| b == b'\n')
            .expect("what curl adds");
        let said = String::from_utf8_lossy(&output[end + 1..]).into_owned();
        let seconds = said
            .split(' ')
            .nth(1)
            .expect("the time")
            .parse()
            .expect("a number");
        let output = &output[..end];
        let head_end = output
            .windows(4)
            .position(|w| w == b"\r\n\r\n")
            .unwrap_or(output.len());
        let head = String::from_utf8_lossy(&output[..head_end]).into_owned();
        let mut lines = head.lines();
        let first = lines.next().unwrap_or_default();
        let status = first
            .split(' ')
            .nth(1)
            .and_then(|s| s.parse().ok())
            .unwrap_or(0);
        let headers = lines.filter_map(|line| line.split_once(": "));
        Self {
            status,
            headers: headers
                .map(|(k, v)| (k.to_ascii_lowercase(), v.to_owned()))
                .collect(),
            bytes: output.len().saturating_sub(head_end + 4),
            seconds,
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// Refused with a status, in a way that nobody stores.
    #[track_caller]
    pub(crate) fn assert_refused(&self, status: u16, what: &str) {
        assert_eq!(self.status, status, "{what}: {self:?}");
        assert!(self.header("retry-after").is_some(), "{what}: {self:?}");
        assert_eq!(
            self.header("cache-control"),
            Some("no-store"),
            "{what}: {self:?}"
        );
    }

    #[track_caller]
    pub(crate) fn assert_status(&self, status: u16, what: &str) {
        assert_eq!(self.status, status, "{what}: {self:?}");
    }

    /// Sent elsewhere, in a way that nobody stores.
    #[track_caller]
    pub(crate) fn assert_sent_to(&self, url: &str) {
        assert_eq!(
            (self.status, self.header("location")),
            (302, Some(url)),
            "{self:?}"
        );
        assert_eq!(self.header("cache-control"), Some("no-store"), "{self:?}");
    }
}

pub(crate) fn deny(status: u16) -> Consequence {
    Consequence::Deny { status }
}

pub(crate) fn slow(bytes_per_second: u64) -> Consequence {
    Consequence::Slow { bytes_per_second }
}

pub(crate) fn redirect() -> Consequence {
    Consequence::Redirect {
        url: "https://pay.example/buy?lang=en".to_owned(),
    }
}

pub(crate) fn vhost(name: &str) -> Subject {
    Subject::Vhost(name.to_owned())
}

pub(crate) fn class(name: &str, vhost: &str) -> Subject {
    Subject::Class {
        vhost: vhost.to_owned(),
        class: name.to_owned(),
    }
}

pub(crate) fn user(name: &str, vhost: Option<&str>) -> Subject {
    Subject::User {
        user: name.to_owned(),
        vhost: vhost.map(str::to_owned),
    }
}

/// Names that no host or user of ours may have.
pub(crate) fn hostile() -> Vec<String> {
    let long = "a".repeat(300);
    let names = [
        "evil\";}",
        "../../etc/passwd",
        "..",
        ".",
        "new\nline",
        "*",
        "~regex",
        "żółć.example",
        "UPPER.example",
        "%{ENV:PATH}",
        "$1",
        "a b",
        "'; os.exit() --",
        "-f",
        "",
    ];
    names
        .iter()
        .map(|&name| name.to_owned())
        .chain([long])
        .collect()
}

/// So many closed sites.
pub(crate) fn many(count: u32, consequence: Consequence) -> Verdicts {
    let closed = Closed {
        consequence,
        quota: "30 G a month".to_owned(),
        until: None,
    };
    let site = |n| vhost(&format!("s{n}.example"));
    Verdicts::of((0..count).map(|n| (site(n), closed.clone())))
}

/// A folder in memory, where there is such a thing: disks take a while for so many files.
pub(crate) fn in_memory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let mut builder = tempfile::Builder::new();
    builder.prefix("tollkeeper-test-");
    let folder = match memory.is_dir() {
        true => builder.tempdir_in(memory),
        false => builder.tempdir(),
    };
    let folder = folder.expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("our own folder");
    folder
}

/// Makes flags as they are, without waiting for the disk.
pub(crate) fn put_flags(folder: &Path, set: &FlagSet) {
    for (path, content) in &set.flags {
        let path = folder.join(path);
        if fs::write(&path, content).is_err() {
            fs::create_dir_all(path.parent().expect("a folder above")).expect("a new folder");
            fs::write(&path, content).expect("a new file");
        }
    }
}

/// Brings the gate in line.
pub(crate) fn close(
    gate: &mut dyn Gate,
    hosts: &Hosts,
    closed: &[(Subject, Consequence)],
) -> Applied {
    let closed = closed.iter().map(|(subject, consequence)| {
        let closed = Closed {
            consequence: consequence.clone(),
            quota: "30 G a month".to_owned(),
            until: None,
        };
        (subject.clone(), closed)
    });
    let applied = gate.apply(&Verdicts::of(closed), hosts, Instant::now());
    assert_eq!(applied.failed, None);
    applied
}
