//! nginx with the snippet pasted in, as an operator pastes it, and what is asked of it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use ipnet::IpNet;
use rustix::process::Signal;
use tollkeeper::config::gate::{Gates as OfConfig, NginxGate};
use tollkeeper::enforce::nginx::{SERVER_PART, snippet};
use tollkeeper::enforce::{Consequences, Hosts, Redirects};
use tollkeeper::publish::{self, Applied, Gate};
use tollkeeper::quota::rule::Consequence;
use tollkeeper::quota::verdict::{Closed, Subject, Verdicts};

use crate::support::{Sandbox, gate, send, text, wait_for, wait_until};

pub(crate) const PASSWORD: &str = "open sesame";
pub(crate) const QUOTA: &str = "q & 1";
pub(crate) const TARGET: &str = "https://panel.example/over?lang=pl#top";
const MOST_TRIES: u32 = 5;

pub(crate) fn deny() -> Consequence {
    Consequence::Deny { status: 429 }
}

pub(crate) fn vhost(name: &str) -> Subject {
    Subject::Vhost(name.to_owned())
}

pub(crate) fn user(user: &str, vhost: Option<&str>) -> Subject {
    Subject::User {
        user: user.to_owned(),
        vhost: vhost.map(str::to_owned),
    }
}

pub(crate) fn class(vhost: &str, class: &str) -> Subject {
    Subject::Class {
        vhost: vhost.to_owned(),
        class: class.to_owned(),
    }
}

pub(crate) fn verdicts(closed: impl IntoIterator<Item = (Subject, Consequence)>) -> Verdicts {
    let closed = closed.into_iter().map(|(subject, consequence)| {
        let closed = Closed {
            consequence,
            quota: QUOTA.to_owned(),
            until: None,
        };
        (subject, closed)
    });
    Verdicts::of(closed)
}

pub(crate) fn hosts(aliases: &[(&str, &str)], fold_www: bool) -> Hosts {
    let aliases = aliases.iter().map(|&(a, s)| (a.to_owned(), s.to_owned()));
    Hosts::new(aliases.collect(), fold_www)
}

/// The gates of a config, and where they lie.
pub(crate) struct Gates {
    pub(crate) config: NginxGate,
    gates: Vec<Box<dyn Gate>>,
}

impl Gates {
    pub(crate) fn new(sandbox: &Sandbox, has_flags: bool, has_map: bool) -> Self {
        Self::below(&sandbox.path("gate"), has_flags, has_map)
    }

    pub(crate) fn below(folder: &Path, has_flags: bool, has_map: bool) -> Self {
        let config = NginxGate {
            flags: has_flags.then(|| folder.join("nginx")),
            map: has_map.then(|| folder.join("nginx.map")),
            reload: None,
        };
        let of_config = OfConfig {
            nginx: vec![config.clone()],
            ..OfConfig::default()
        };
        let gates = publish::gates(&of_config, &BTreeMap::new());
        Self { config, gates }
    }

    /// Applies verdicts, in as many goes as it takes.
    #[track_caller]
    pub(crate) fn apply(&mut self, verdicts: &Verdicts, hosts: &Hosts) -> Vec<Applied> {
        let apply = |gate: &mut Box<dyn Gate>| {
            loop {
                let now = Instant::now();
                let applied = gate.apply(verdicts, hosts, now);
                assert_eq!(applied.failed, None);
                if applied.again > Some(now) {
                    return applied;
                }
            }
        };
        self.gates.iter_mut().map(apply).collect()
    }

    /// Applies verdicts once to the flags and the map; something may fail.
    pub(crate) fn apply_once(&mut self, verdicts: &Verdicts, hosts: &Hosts) -> [Applied; 2] {
        let now = Instant::now();
        [0, 1].map(|gate| self.gates[gate].apply(verdicts, hosts, now))
    }

    /// What is to be pasted for consequences of the quota [`QUOTA`].
    pub(crate) fn snippet(&self, consequences: &[Consequence], classes: &[(&str, &str)]) -> String {
        let consequences: Consequences = consequences.iter().cloned().collect();
        let urls = consequences.iter().filter_map(|one| match one {
            Consequence::Redirect { url } => Some((url.clone(), QUOTA.to_owned())),
            _ => None,
        });
        let redirects: Redirects = urls.collect();
        let mut networks: BTreeMap<String, Vec<IpNet>> = BTreeMap::new();
        for (class, network) in classes {
            let network: IpNet = match network.parse() {
                Ok(network) => network,
                Err(_) => IpNet::from(network.parse::<IpAddr>().expect("an address")),
            };
            networks
                .entry((*class).to_owned())
                .or_default()
                .push(network);
        }
        snippet(&self.config, &consequences, &redirects, &networks)
    }
}

/// A running nginx: `/` and `/private/`, where the users may go, and `/big.bin`.
pub(crate) struct Nginx {
    child: Child,
    folder: PathBuf,
    pub(crate) plain: SocketAddr,
    pub(crate) plain6: SocketAddr,
    pub(crate) tls: SocketAddr,
}

/// What it has answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines();
        lines.find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

impl Nginx {
    pub(crate) fn start(sandbox: &Sandbox, snippet: &str) -> Self {
        let folder = sandbox.path("nginx");
        for name in ["tmp", "www/private", "snippets"] {
            fs::create_dir_all(folder.join(name)).expect("a new folder");
        }
        let big = vec![b'x'; 1 << 20];
        for (name, content) in [
            ("index.html", b"fine\n".as_slice()),
            ("quota.html", b"the site's own page of errors\n"),
            ("private/index.html", b"members\n"),
            ("big.bin", &big),
        ] {
            fs::write(folder.join("www").join(name), content).expect("a new file");
        }
        let key = rcgen::generate_simple_self_signed(["a.example".to_owned()]).expect("a key");
        fs::write(folder.join("cert.pem"), key.cert.pem()).expect("a new file");
        fs::write(folder.join("key.pem"), key.signing_key.serialize_pem()).expect("a new file");
        let users = ["alice", "bob", "carol", "../secret", "a b"];
        let users: String = users
            .map(|user| format!("{user}:{{PLAIN}}{PASSWORD}\n"))
            .concat();
        fs::write(folder.join("users"), users).expect("a new file");
        let at = snippet.find(SERVER_PART).expect("both parts");
        let (http, server) = snippet.split_at(at);
        fs::write(folder.join("snippets/http.conf"), http).expect("a new file");
        fs::write(folder.join("snippets/server.conf"), server).expect("a new file");
        let mut tries = 0;
        loop {
            tries += 1;
            match Self::try_start(&folder) {
                Ok(server) => return server,
                Err(error) if tries == MOST_TRIES => panic!("nginx does not start:\n{error}"),
                Err(_) => {}
            }
        }
    }

    fn try_start(folder: &Path) -> Result<Self, String> {
        let address = |host: &str| {
            let listener = TcpListener::bind(host).expect("a free port");
            listener.local_addr().expect("our own port")
        };
        let (plain, plain6, tls) = (
            address("127.0.0.1:0"),
            address("[::1]:0"),
            address("127.0.0.1:0"),
        );
        let config = folder.join("server.conf");
        fs::write(&config, config_text(text(folder), plain, plain6, tls)).expect("a new file");
        let stderr = folder.join("stderr");
        let child = Command::new("/usr/sbin/nginx")
            .arg("-p")
            .arg(folder)
            .arg("-c")
            .arg(&config)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&stderr).expect("a new file"))
            .spawn()
            .expect("nginx runs");
        let mut server = Self {
            child,
            folder: folder.to_owned(),
            plain,
            plain6,
            tls,
        };
        wait_until("nginx listens", || {
            let listens = [plain, plain6, tls]
                .iter()
                .all(|at| TcpStream::connect(at).is_ok());
            match server.child.try_wait().expect("our own child") {
                Some(_) => Ok(Err(fs::read_to_string(&stderr).unwrap_or_default())),
                None if listens => Ok(Ok(())),
                None => Err("it does not"),
            }
        })?;
        Ok(server)
    }

    /// `nginx -t`, as an operator and the reload do it: what it says, and whether it is content.
    pub(crate) fn test(&self) -> (bool, String) {
        let output = Command::new("/usr/sbin/nginx")
            .arg("-t")
            .arg("-p")
            .arg(&self.folder)
            .arg("-c")
            .arg(self.folder.join("server.conf"))
            .output()
            .expect("nginx runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), said)
    }

    /// Makes it read its config anew, and waits until none of the old workers is left.
    pub(crate) fn reload(&self) {
        let before = self.workers();
        send(&self.child, Signal::HUP);
        wait_for("new workers serve", || {
            let now = self.workers();
            !now.is_empty() && now.iter().all(|worker| !before.contains(worker))
        });
    }

    pub(crate) fn workers(&self) -> Vec<u32> {
        let id = self.child.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        let children = children.unwrap_or_default();
        children
            .split_whitespace()
            .filter_map(|id| id.parse().ok())
            .collect()
    }

    /// What it has written into its error log.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.folder.join("error.log")).unwrap_or_default()
    }

    /// Asks for a path at a host, by HTTP/1.1.
    pub(crate) fn ask(&self, host: &str, path: &str) -> Answer {
        self.ask_as(host, path, None)
    }

    /// The same with the name and the password of a user.
    pub(crate) fn ask_as(&self, host: &str, path: &str, user: Option<&str>) -> Answer {
        self.send(self.plain, &request(host, path, user))
    }

    /// Sends these bytes.
    pub(crate) fn send(&self, to: SocketAddr, request: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(to).expect("it listens");
        stream.write_all(request).expect("it reads");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("it answers");
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no head: {}", answer.escape_ascii()));
        let head = String::from_utf8(answer[..end].to_vec()).expect("a head is ASCII");
        Answer {
            status: head[9..12].parse().expect("a status"),
            head,
            body: answer[end + 4..].to_vec(),
        }
    }

    /// Asks by HTTP/2; gives the status, and the seconds that it took.
    pub(crate) fn ask_http2(&self, host: &str, path: &str) -> (u16, f64) {
        let port = self.tls.port();
        let output = Command::new("/usr/bin/curl")
            .args(["-s", "-k", "--http2", "-o", "/dev/null", "-w"])
            .arg("%{http_version} %{http_code} %{time_total}")
            .args(["--connect-to", &format!("::127.0.0.1:{port}")])
            .arg(format!("https://{host}:{port}{path}"))
            .output()
            .expect("curl runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let words: Vec<&str> = said.split(' ').collect();
        assert_eq!(words[0], "2", "{said}");
        let status = words[1].parse().expect("a status");
        (status, words[2].parse().expect("seconds"))
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            send(&self.child, Signal::TERM);
            let child = &mut self.child;
            wait_until("nginx has ended", || {
                child.try_wait().expect("our own child").ok_or("it runs")
            });
        }
    }
}

pub(crate) fn request(host: &str, path: &str, user: Option<&str>) -> Vec<u8> {
    gate::request(host, path, user.map(|user| (user, PASSWORD)))
}

fn config_text(folder: &str, plain: SocketAddr, plain6: SocketAddr, tls: SocketAddr) -> String {
    format!(
        r#"
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    client_body_temp_path {folder}/tmp; proxy_temp_path {folder}/tmp; fastcgi_temp_path {folder}/tmp;
    uwsgi_temp_path {folder}/tmp; scgi_temp_path {folder}/tmp;
    access_log off;
    root {folder}/www;
    # As a site may have it; a map of its own has set the sizes of all.
    map $host $theirs {{ default ""; a.example 1; }}
    include {folder}/snippets/http.conf;
    server {{
        listen {plain} default_server;
        listen {plain6} default_server;
        listen {tls} ssl http2 default_server;
        ssl_certificate {folder}/cert.pem;
        ssl_certificate_key {folder}/key.pem;
        server_name _;
        error_page 429 503 /quota.html;
        add_header X-Site theirs;
        limit_rate 0;
        include {folder}/snippets/server.conf;
        location /private/ {{ auth_basic members; auth_basic_user_file {folder}/users; }}
        location / {{ try_files $uri $uri/ =404; }}
    }}
}}
"#
    )
}
