//! Real web servers, each with a config of its own in the sandbox and ended by the id that it was
//! started with.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use super::{Sandbox, repository, send, text, wait_until};

/// Which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Nginx,
    Apache,
    Lighttpd,
}

/// The password of all users.
pub(crate) const PASSWORD: &str = "open sesame";
/// Who may enter `/private/`.
pub(crate) const USERS: [&str; 3] = ["alice", "john doe", "żółć"];
/// Another process may take a port between our finding it free and the server's taking it.
const MOST_TRIES: u32 = 5;

impl Kind {
    fn binary(self) -> &'static str {
        match self {
            Self::Nginx => "/usr/sbin/nginx",
            Self::Apache => "/usr/sbin/apache2",
            Self::Lighttpd => "/usr/sbin/lighttpd",
        }
    }

    /// The format that the README tells operators of this server to paste.
    pub(crate) fn recommended(self) -> String {
        let start = match self {
            Self::Nginx => "log_format tk ",
            Self::Apache => "LogFormat ",
            Self::Lighttpd => "accesslog.format = ",
        };
        let readme = fs::read_to_string(repository().join("README.md")).expect("the README");
        let line = readme
            .lines()
            .find(|line| line.trim_start().starts_with(start));
        line.unwrap_or_else(|| panic!("README.md has no line that starts with {start:?}"))
            .trim()
            .to_owned()
    }

    /// The format that everybody has.
    pub(crate) fn combined(self) -> &'static str {
        match self {
            // Built in.
            Self::Nginx => "",
            Self::Apache => {
                r#"LogFormat "%h %l %u %t \"%r\" %>s %b \"%{Referer}i\" \"%{User-Agent}i\"" combined"#
            }
            Self::Lighttpd => {
                r#"accesslog.format = "%h %l %u %t \"%r\" %>s %b \"%{Referer}i\" \"%{User-Agent}i\"""#
            }
        }
    }
}

/// Where it writes.
#[derive(Debug, Clone, Copy)]
enum Log<'l> {
    /// The files in `logs`; lighttpd writes this one alone.
    Files { lighttpd_log: &'l str },
    /// The standard input of this command.
    Piped { command: &'l str },
    /// `exact.log`; all but `/edge` is what the server behind it says, whom it asks once more where
    /// nothing was found.
    Edge { backend: SocketAddr },
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    folder: PathBuf,
}

impl Server {
    /// Starts one in a folder of the sandbox. It writes `exact.log` in the recommended format and
    /// `combined.log`; lighttpd writes one log, so it gets one of the two names.
    pub(crate) fn start(sandbox: &Sandbox, kind: Kind, lighttpd_log: &str) -> Self {
        Self::start_with(sandbox, kind, Log::Files { lighttpd_log })
    }

    /// Starts Apache or lighttpd, which writes the recommended format into the standard input of a
    /// command that it runs.
    pub(crate) fn start_piped(sandbox: &Sandbox, kind: Kind, command: &str) -> Self {
        Self::start_with(sandbox, kind, Log::Piped { command })
    }

    /// Starts nginx as a proxy in front of another server. It answers `/edge` by itself, and asks the
    /// other one a second time for what that has not found.
    pub(crate) fn start_proxy(sandbox: &Sandbox, backend: SocketAddr) -> Self {
        Self::start_with(sandbox, Kind::Nginx, Log::Edge { backend })
    }

    fn start_with(sandbox: &Sandbox, kind: Kind, log: Log<'_>) -> Self {
        assert!(
            Path::new(kind.binary()).exists(),
            "{} is missing; run tests/run, which installs it",
            kind.binary()
        );
        let name = match log {
            Log::Files { lighttpd_log } => lighttpd_log,
            Log::Piped { .. } => "piped",
            Log::Edge { .. } => "edge",
        };
        let folder = sandbox.path(format!("{kind:?}-{name}").to_lowercase());
        make_site(kind, &folder);
        let mut tries = 0;
        loop {
            tries += 1;
            match Self::try_start(kind, &folder, log) {
                Ok(server) => return server,
                Err(error) if tries == MOST_TRIES => panic!("{kind:?} does not start:\n{error}"),
                Err(_) => {}
            }
        }
    }

    fn try_start(kind: Kind, folder: &Path, log: Log<'_>) -> Result<Self, String> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("our own port");
        drop(listener);
        let config = folder.join("server.conf");
        let content = match kind {
            Kind::Nginx => nginx(folder, address, log),
            Kind::Apache => apache(folder, address, log),
            Kind::Lighttpd => lighttpd(folder, address, log),
        };
        fs::write(&config, content).expect("a new file");
        let mut command = Command::new(kind.binary());
        match kind {
            Kind::Nginx => command.arg("-p").arg(folder).arg("-c").arg(&config),
            Kind::Apache => command.arg("-DFOREGROUND").arg("-f").arg(&config),
            Kind::Lighttpd => command.arg("-D").arg("-f").arg(&config),
        };
        let stderr = folder.join("stderr");
        let child = command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            // Its days are not those of the store.
            .env("TZ", "Asia/Kolkata")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&stderr).expect("a new file"))
            .spawn()
            .expect("the server runs");
        let mut server = Self {
            child,
            address,
            folder: folder.to_owned(),
        };
        wait_until("the server listens", || {
            // A connection without a byte is written in no access log.
            let listens = TcpStream::connect(address).is_ok();
            match server.child.try_wait().expect("our own child") {
                Some(_) => Ok(Err(fs::read_to_string(&stderr).unwrap_or_default())),
                None if listens => Ok(Ok(())),
                None => Err("it does not"),
            }
        })?;
        Ok(server)
    }

    /// A log of it.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.folder.join("logs").join(name)
    }

    /// What it serves.
    pub(crate) fn site(&self) -> PathBuf {
        self.folder.join("www")
    }

    /// What it has said, and those that it has started.
    pub(crate) fn said(&self) -> String {
        let read = |name| fs::read_to_string(self.folder.join(name)).unwrap_or_default();
        read("stderr") + &read("error.log")
    }

    /// Makes it open its logs anew, after a rotation; Apache and lighttpd start again as a whole,
    /// while what they are in the middle of goes on.
    pub(crate) fn reopen_logs(&self) {
        send(&self.child, Signal::USR1);
    }

    /// Makes lighttpd write out what it holds back, as it does by itself after some seconds.
    pub(crate) fn write_out(&self) {
        send(&self.child, Signal::HUP);
    }

    /// Ends it; what it has logged is then on disk.
    pub(crate) fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            send(&self.child, Signal::TERM);
            let child = &mut self.child;
            wait_until("the server has ended", || {
                child.try_wait().expect("our own child").ok_or("it runs")
            });
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

fn make_site(kind: Kind, folder: &Path) {
    for name in ["logs", "tmp", "www/private"] {
        fs::create_dir_all(folder.join(name)).expect("a new folder");
    }
    for name in ["tmp", "."] {
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o777))
            .expect("our own folder");
    }
    let upload = "cat >/dev/null\nprintf 'Content-Type: text/plain\\r\\nContent-Length: 7\\r\\n\\r\\nstored\\n'\n";
    let big: Vec<u8> = (0..=255).cycle().take(3_000_000).collect();
    for (name, content) in [
        ("index.html", b"<h1>tollkeeper</h1>\n".repeat(50).as_slice()),
        ("big.bin", &big),
        ("empty.bin", b""),
        ("private/page.html", &b"<h1>members</h1>\n".repeat(100)),
        // What lighttpd runs for an upload, and Apache serves as it is.
        ("upload", upload.as_bytes()),
    ] {
        fs::write(folder.join("www").join(name), content).expect("a new file");
    }
    let users: String = USERS
        .iter()
        .map(|user| match kind {
            Kind::Nginx => format!("{user}:{{PLAIN}}{PASSWORD}\n"),
            // {SHA} of the password.
            Kind::Apache => format!("{user}:{{SHA}}W8r/fyL/UzygmbNAjq2HbA67qac=\n"),
            Kind::Lighttpd => format!("{user}:{PASSWORD}\n"),
        })
        .collect();
    fs::write(folder.join("users"), users).expect("a new file");
}

fn nginx(folder: &Path, address: SocketAddr, log: Log<'_>) -> String {
    let folder = text(folder);
    let recommended = Kind::Nginx.recommended();
    let backend = match log {
        Log::Edge { backend } => backend.to_string(),
        // Nobody asks it.
        Log::Files { .. } | Log::Piped { .. } => format!("unix:{folder}/back.sock"),
    };
    let locations = match log {
        Log::Edge { .. } => "location / {
            proxy_pass http://backend;
            proxy_set_header Host $http_host;
            proxy_next_upstream error timeout http_404;
        }
        location /edge { return 200 \"edge\\n\"; }"
            .to_owned(),
        Log::Files { .. } | Log::Piped { .. } => format!(
            "location /private/ {{ auth_basic members; auth_basic_user_file {folder}/users; }}
        location /upload {{ proxy_pass http://unix:{folder}/back.sock:/; }}"
        ),
    };
    format!(
        r#"
worker_processes 2;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    client_body_temp_path {folder}/tmp; proxy_temp_path {folder}/tmp; fastcgi_temp_path {folder}/tmp;
    uwsgi_temp_path {folder}/tmp; scgi_temp_path {folder}/tmp;
    keepalive_requests 100000;
    root {folder}/www;
    {recommended}
    upstream backend {{ server {backend}; server {backend}; }}
    server {{
        listen unix:{folder}/back.sock;
        access_log off;
        location / {{ return 200 "stored\n"; }}
    }}
    server {{
        listen {address} default_server;
        server_name _;
        access_log {folder}/logs/exact.log tk;
        access_log {folder}/logs/combined.log combined;
        {locations}
    }}
}}
"#
    )
}

fn apache(folder: &Path, address: SocketAddr, log: Log<'_>) -> String {
    let folder = text(folder);
    let logs = match log {
        Log::Files { .. } | Log::Edge { .. } => format!(
            "CustomLog {folder}/logs/exact.log tk\nCustomLog {folder}/logs/combined.log combined\n"
        ),
        Log::Piped { .. } => String::new(),
    };
    // One log for all sites is one process; in a graceful restart there are old workers and new ones.
    let (piped, workers) = match log {
        Log::Files { .. } | Log::Edge { .. } => {
            (String::new(), "ServerLimit 1\nMaxRequestWorkers 8")
        }
        Log::Piped { command } => (
            format!("CustomLog \"|{command}\" tk\n"),
            "ServerLimit 8\nMaxRequestWorkers 64",
        ),
    };
    let modules: String = [
        "mpm_event",
        "authn_core",
        "authn_file",
        "authz_core",
        "authz_user",
        "auth_basic",
        "dir",
        "mime",
    ]
    .iter()
    .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"))
    .collect();
    let sites: String = ["default.example", "a.example", "b.example"]
        .iter()
        .map(|site| {
            format!(
                "<VirtualHost *:{}>\nServerName {site}\nDocumentRoot {folder}/www\n\
                 {logs}</VirtualHost>\n",
                address.port()
            )
        })
        .collect();
    format!(
        r"
ServerRoot {folder}
DefaultRuntimeDir {folder}
PidFile {folder}/apache.pid
ErrorLog {folder}/error.log
ServerName default.example
User www-data
Group www-data
{modules}
StartServers 1
ThreadsPerChild 8
{workers}
TypesConfig /dev/null
DirectoryIndex index.html
Listen {address}
{}
{}
{piped}
{sites}
<Directory {folder}/www>
    Require all granted
</Directory>
<Location /private>
    AuthType Basic
    AuthName members
    AuthBasicProvider file
    AuthUserFile {folder}/users
    Require valid-user
</Location>
",
        Kind::Apache.recommended(),
        Kind::Apache.combined(),
    )
}

fn lighttpd(folder: &Path, address: SocketAddr, log: Log<'_>) -> String {
    let folder = text(folder);
    let format = match log {
        Log::Files {
            lighttpd_log: "combined",
        } => Kind::Lighttpd.combined().to_owned(),
        _ => Kind::Lighttpd.recommended(),
    };
    let target = match log {
        Log::Files { lighttpd_log } => format!("{folder}/logs/{lighttpd_log}.log"),
        Log::Piped { command } => format!("|{command}"),
        Log::Edge { .. } => format!("{folder}/logs/exact.log"),
    };
    // As distributions run it; its logger is run by that user as well.
    let user = match log {
        Log::Piped { .. } if rustix::process::geteuid().is_root() => {
            "server.username = \"www-data\"\nserver.groupname = \"www-data\""
        }
        _ => "",
    };
    format!(
        r#"
server.document-root = "{folder}/www"
server.errorlog      = "{folder}/error.log"
server.bind          = "127.0.0.1"
server.port          = {}
server.modules       = ( "mod_auth", "mod_authn_file", "mod_cgi", "mod_accesslog" )
server.upload-dirs   = ( "{folder}/tmp" )
index-file.names     = ( "index.html" )
mimetype.assign      = ( "" => "text/plain" )
cgi.assign           = ( "/upload" => "/bin/sh" )
auth.backend = "plain"
auth.backend.plain.userfile = "{folder}/users"
$HTTP["url"] =^ "/private/" {{
    auth.require = ( "" => ( "method" => "basic", "realm" => "members", "require" => "valid-user" ) )
}}
accesslog.filename = "{target}"
{user}
{format}
"#,
        address.port()
    )
}
