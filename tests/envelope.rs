//! Logs that a syslog daemon wrote: real servers send to a real rsyslogd, and what it wrote is
//! imported and followed.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use support::log::FORMAT;
use support::{Balance, Sandbox, send, source, text, wait_for, wait_until};

/// How rsyslog writes its files.
const TEMPLATES: [&str; 3] = [
    "RSYSLOG_TraditionalFileFormat",
    "RSYSLOG_FileFormat",
    "RSYSLOG_SyslogProtocol23Format",
];

/// Requests, bytes received and bytes sent by vhost and user.
type Sums = BTreeMap<(String, Option<String>), [u64; 3]>;

/// A server of ours, which ends with the value.
struct Process(Child);

impl Process {
    fn start(program: &str, arguments: &[&str], folder: &Path) -> Self {
        let child = Command::new(program)
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.join("stderr")).expect("a new file"))
            .spawn();
        Self(child.unwrap_or_else(|error| panic!("{program}: {error}")))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        send(&self.0, Signal::TERM);
        let _ = self.0.wait();
    }
}

/// rsyslogd, and an nginx and an HAProxy that send their access logs to it.
struct Servers {
    nginx: u16,
    haproxy: u16,
    folder: PathBuf,
    _processes: [Process; 3],
}

impl Servers {
    fn start(sandbox: &Sandbox) -> Self {
        let folder = sandbox.path("servers");
        fs::create_dir(&folder).expect("our own folder");
        let (syslog, nginx, haproxy) = (udp_port(), tcp_port(), tcp_port());
        let rsyslogd = rsyslogd(&folder, syslog);
        let write = |name: &str, config: String| {
            fs::write(folder.join(name), config).expect("a new file");
        };
        write("nginx.conf", nginx_config(&folder, nginx, syslog));
        write("haproxy.cfg", haproxy_config(haproxy, syslog));
        let processes = [
            rsyslogd,
            Process::start(
                "/usr/sbin/nginx",
                &["-p", text(&folder), "-c", "nginx.conf"],
                &folder,
            ),
            Process::start("/usr/sbin/haproxy", &["-db", "-f", "haproxy.cfg"], &folder),
        ];
        for port in [nginx, haproxy] {
            // A connection without a request is not logged.
            wait_for("the servers listen", || {
                TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
            });
        }
        Self {
            nginx,
            haproxy,
            folder,
            _processes: processes,
        }
    }

    /// The log that rsyslog writes by a template.
    fn log(&self, template: &str) -> PathBuf {
        self.folder.join(template)
    }

    /// Sends requests to both servers, and adds what went over the wire to the sums of nginx. What
    /// HAProxy counts is without the ends of its lines, and is taken from its log.
    fn visit(&self, sums: &mut Sums) {
        // alice:x
        let credentials = "Authorization: Basic YWxpY2U6eA==\r\n";
        for number in 0..20 {
            let (host, header, user) = match number % 4 {
                0 => ("a.example", credentials, Some("alice")),
                _ => ("a.example", "", None),
            };
            let [received, sent] = get(self.nginx, host, header, number);
            add(sums, host, user, received, sent);
            get(self.haproxy, "b.example", "", number);
        }
    }
}

/// Adds what HAProxy logged.
fn with_haproxy(mut sums: Sums, log: &Path) -> Sums {
    let log = fs::read_to_string(log).expect("rsyslog's log");
    for line in log.lines().filter(|line| line.contains(" haproxy[")) {
        let text = line.split_once("]: ").expect("a program").1;
        let fields: Vec<&str> = text.split(' ').collect();
        let number = |field: usize| fields[field].parse().expect("a number");
        add(&mut sums, fields[4], None, number(2), number(3));
    }
    sums
}

fn add(sums: &mut Sums, vhost: &str, user: Option<&str>, received: u64, sent: u64) {
    let sum = sums
        .entry((vhost.to_owned(), user.map(str::to_owned)))
        .or_default();
    for (sum, more) in sum.iter_mut().zip([1, received, sent]) {
        *sum += more;
    }
}

/// One request on a connection of its own; bytes that the server received and sent.
fn get(port: u16, host: &str, headers: &str, number: u64) -> [u64; 2] {
    let request = format!(
        "GET /{number}?\"quoted\"=\\x HTTP/1.1\r\nHost: {host}\r\n{headers}Connection: close\r\n\r\n"
    );
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a connection");
    stream.write_all(request.as_bytes()).expect("a request");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    assert!(
        answer.starts_with(b"HTTP/1.1 200"),
        "{}",
        answer.escape_ascii()
    );
    [request.len() as u64, answer.len() as u64]
}

fn rsyslogd(folder: &Path, port: u16) -> Process {
    let shown = text(folder);
    let files = TEMPLATES.map(|template| {
        format!("action(type=\"omfile\" file=\"{shown}/{template}\" template=\"{template}\")\n")
    });
    let config = format!(
        "global(workDirectory=\"{shown}\")\n\
         module(load=\"imudp\")\n\
         input(type=\"imudp\" address=\"127.0.0.1\" port=\"{port}\")\n\
         if $programname == \"probe\" then {{\n\
         action(type=\"omfile\" file=\"{shown}/probes\")\nstop\n}}\n\
         if $programname == \"nginx\" or $programname == \"haproxy\" then {{\n{}}}\n",
        files.concat()
    );
    fs::write(folder.join("rsyslog.conf"), config).expect("a new file");
    let arguments = ["-n", "-f", "rsyslog.conf", "-i", "rsyslogd.pid"];
    let process = Process::start("/usr/sbin/rsyslogd", &arguments, folder);
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    wait_for("rsyslogd receives", || {
        let probe = b"<46>Nov 21 23:59:01 h probe: x";
        let _ = socket.send_to(probe, (Ipv4Addr::LOCALHOST, port));
        folder.join("probes").exists()
    });
    process
}

fn nginx_config(folder: &Path, port: u16, syslog: u16) -> String {
    let shown = text(folder);
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {shown}/{kind};\n"))
        .concat();
    format!(
        "daemon off;\nmaster_process off;\npid {shown}/nginx.pid;\nerror_log stderr crit;\n\
         events {{}}\nhttp {{\n{temporary}{}\n\
         server {{\nlisten 127.0.0.1:{port};\naccess_log syslog:server=127.0.0.1:{syslog} tk;\n\
         location / {{ return 200 \"hello\"; }}\n}}\n}}\n",
        FORMAT.strip_prefix("nginx:").expect("nginx's")
    )
}

/// HAProxy writes the same format, in its own way; it looks at no passwords.
fn haproxy_config(port: u16, syslog: u16) -> String {
    format!(
        "defaults\ntimeout client 5s\ntimeout server 5s\ntimeout connect 5s\n\
         frontend f\nbind 127.0.0.1:{port}\nmode http\noption dontlognull\nlog 127.0.0.1:{syslog} local0\n\
         http-request set-var(txn.host) req.hdr(host)\n\
         log-format '%Ts.%ms %ST %U %B %[var(txn.host)] \"-\"'\n\
         http-request return status 200 content-type text/plain string hello\n"
    )
}

fn tcp_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("our own port").port()
}

fn udp_port() -> u16 {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    socket.local_addr().expect("our own port").port()
}

/// The rows, whatever days it took.
fn sums(sandbox: &Sandbox) -> Sums {
    let mut sums = Sums::new();
    for row in sandbox.rows() {
        let sum = sums.entry((row.vhost, row.user)).or_default();
        let row = [row.requests, row.bytes_in, row.bytes_out];
        for (sum, more) in sum.iter_mut().zip(row) {
            *sum += more;
        }
    }
    sums
}

fn wait_for_lines(log: &Path, count: usize) {
    wait_until("rsyslog has written all", || {
        let log = fs::read_to_string(log).unwrap_or_default();
        match log.lines().count() {
            lines if lines == count => Ok(()),
            lines => Err(lines),
        }
    });
}

#[test]
fn what_rsyslog_wrote_is_imported_and_followed() {
    let sandbox = Sandbox::new();
    let servers = Servers::start(&sandbox);
    let mut by_nginx = Sums::new();
    servers.visit(&mut by_nginx);
    let log = servers.log(TEMPLATES[0]);
    wait_for_lines(&log, 40);
    let expected = with_haproxy(by_nginx.clone(), &log);
    assert_eq!(expected[&("b.example".to_owned(), None)][0], 20);
    let format = format!("syslog:{FORMAT}");
    for template in TEMPLATES {
        let log = servers.log(template);
        wait_for_lines(&log, 40);
        let importing = Sandbox::new();
        importing.import(&["--format", &format, text(&log)]);
        assert_eq!(sums(&importing), expected, "{template}");
        let check = ["check", "--output", "json", "--format", &format, text(&log)];
        let checked = sandbox.ran(check).exited(0);
        assert_eq!(checked.balance(), Balance::counted(40), "{template}");
        assert_eq!(checked.json()["format"], "syslog:nginx");
        assert_eq!(checked.json()["grade"], "exact");
    }

    let config = sandbox.config(&source(&[&log], &format, ""));
    let daemon = sandbox.start(&["-c", text(&config)]);
    servers.visit(&mut by_nginx);
    wait_for_lines(&log, 80);
    let expected = with_haproxy(by_nginx, &log);
    wait_until("the rows equal the wire", || {
        let sums = sums(&sandbox);
        if sums == expected { Ok(()) } else { Err(sums) }
    });
    daemon.stop();
    assert_eq!(sandbox.stored_balance(), Balance::counted(80));
}

/// Lines as rsyslog wrote them for nginx, in its own format.
fn combined(count: usize) -> String {
    let line = |number| {
        format!(
            "Nov 26 11:31:57 web1 nginx: 127.0.0.1 - alice [26/Nov/2024:11:31:57 +0000] \
             \"GET /{number} HTTP/1.1\" 200 5 \"-\" \"curl/7.88.1\"\n"
        )
    };
    (0..count).map(line).collect()
}

#[test]
fn auto_sees_that_lines_stand_in_an_envelope_and_says_so() {
    let chosen = "format syslog:combined: 10 of 10 lines, behind what a syslog daemon wrote before each, fit combined";
    let sandbox = Sandbox::new();
    let log = sandbox.write("logs/access.log", combined(10));
    let expected = Sums::from([(("_none".to_owned(), Some("alice".to_owned())), [10, 0, 50])]);
    for format in [&[][..], &["--format", "auto"], &["--format", "syslog:auto"]] {
        let sandbox = Sandbox::new();
        let ran = sandbox.import(&[format, &[text(&log)]].concat());
        assert!(ran.stdout.contains(chosen), "{}", ran.stdout);
        assert_eq!(sums(&sandbox), expected);
    }
    let checked = sandbox.ran(["check", text(&log)]).exited(0);
    assert!(checked.stdout.contains(chosen), "{}", checked.stdout);
    assert!(
        checked
            .stdout
            .contains("read as syslog:combined: body only"),
        "{}",
        checked.stdout
    );

    let config = sandbox.config(&source(&[&log], "auto", ""));
    let daemon = sandbox.start(&["-c", text(&config)]);
    wait_until("the rows are there", || {
        let sums = sums(&sandbox);
        if sums == expected { Ok(()) } else { Err(sums) }
    });
    assert!(daemon.said().contains(chosen), "{}", daemon.said());
    daemon.stop();
}

#[test]
fn lines_outside_an_envelope_are_unparsed() {
    let sandbox = Sandbox::new();
    let bare =
        "127.0.0.1 - alice [26/Nov/2024:11:31:57 +0000] \"GET / HTTP/1.1\" 200 5 \"-\" \"-\"\n";
    let broken = combined(1).replace(" 200 ", " 2x0 ");
    let content = [&combined(10), bare, &broken].concat();
    let log = sandbox.write("logs/access.log", content);
    let check = [
        "check",
        "--output",
        "json",
        "--format",
        "syslog:combined",
        text(&log),
    ];
    let checked = sandbox.ran(check).exited(1).json();
    assert_eq!(checked["unparsed"], 2);
    let failures = checked["failures"].as_array().expect("an array");
    assert_eq!(failures[0]["byte"], 0);
    let expected = failures[0]["expected"].as_str().expect("text");
    assert!(
        expected.starts_with("what a syslog daemon writes"),
        "{expected}"
    );
    // Counted from the start of the whole line.
    let byte = broken.find("2x0").expect("it is there");
    assert_eq!(failures[1]["byte"], byte);

    let log = sandbox.write("logs/bare.log", bare.repeat(10));
    let ran = sandbox.ran(sandbox.import_args(&["--format", "syslog:auto", text(&log)]));
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    let why = "expected what a syslog daemon writes before a line";
    assert!(ran.stderr.contains(why), "{}", ran.stderr);
}
