//! The same quota at Apache httpd, lighttpd and HAProxy: each serves until it is spent.

mod support;
mod webs;

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use support::gate::{Node, TEN, fetch, request};
use support::server::Kind;
use support::{send, source, text, wait_for, wait_until};
use webs::Web;

/// Clients of a server of whatever kind download until the quota of a site is spent; `ask`: the status
/// of the answer for a host, from which [`TEN`] bytes come where it is served.
fn is_served_until_it_is_spent(node: &Node, ask: impl Fn(&str) -> u16) {
    let mut served = 0;
    wait_until("it is refused", || {
        assert_eq!(ask("b.example"), 200);
        match ask("a.example") {
            429 => Ok(()),
            status => {
                assert_eq!(status, 200);
                served += TEN;
                Err((served, node.used("vhost a.example")))
            }
        }
    });
    assert!(
        served >= 95_000 - 2 * TEN,
        "{served} bytes have not spent it"
    );
    for host in ["A.EXAMPLE", "a.example.", "alias.example", "a.example"] {
        assert_eq!(ask(host), 429, "{host}");
    }
    for host in ["b.example", "aa.example", "a.example.org"] {
        assert_eq!(ask(host), 200, "{host}");
    }
    let used = wait_until("all of it is in the store", || {
        match node.used("vhost a.example") {
            used if used >= served => Ok(used),
            used => Err((used, served)),
        }
    });
    assert!(used >= 95_000);
    node.does(&["quota", "grant", "a.example", "100M"]);
    wait_for("it is served again", || ask("a.example") == 200);
    let standing = node.standing_of("vhost a.example").expect("it has a quota");
    assert_eq!(standing["granted"], 100_000_000);
    assert_eq!(ask("b.example"), 200);
}

/// A quota, beside what a server needs.
fn with_quota(sections: &str) -> String {
    sections.to_owned()
        + r#"
[vhosts]
aliases = { "alias.example" = "a.example" }
[[quota]]
vhost = "a.example"
limit = "95K"
period = "year"
"#
}

fn serve_ten(folder: &Path) {
    let ten = vec![b'x'; usize::try_from(TEN).expect("it is small")];
    fs::write(folder.join("www/ten"), ten).expect("a new file");
}

fn ask_web(web: &Web, host: &str) -> u16 {
    web.ask("/ten", &["-H", &format!("Host: {host}")]).status
}

#[test]
fn apache_serves_until_a_quota_is_spent() {
    let sandbox = support::Sandbox::new();
    let (log, flags) = (
        sandbox.path("server/access.log"),
        sandbox.path("gate/apache"),
    );
    let format = format!("apache:{}", Kind::Apache.recommended());
    let gate = format!("[[gate.apache]]\nflags = {flags:?}\n");
    let sections = with_quota(&(source(&[&log], &format, "") + &gate));
    let node = Node::named("n", sandbox, None, "", "", &sections);
    let snippet = node.does(&["snippet", "apache"]);
    let modules = [
        "mpm_event",
        "authn_core",
        "authz_core",
        "mime",
        "alias",
        "setenvif",
        "env",
        "headers",
        "rewrite",
        "ratelimit",
        "unixd",
        "logio",
        "filter",
        "authz_host",
        "auth_basic",
    ];
    let modules: String = modules
        .iter()
        .map(|name| format!("/usr/lib/apache2/modules/mod_{name}.so"))
        .zip(modules)
        .filter(|(path, _)| Path::new(path).exists())
        .map(|(path, name)| format!("LoadModule {name}_module {path}\n"))
        .collect();
    let web = Web::start(
        &node.sandbox,
        "/usr/sbin/apache2",
        &["-DFOREGROUND", "-f"],
        |folder, port| {
            serve_ten(folder);
            let (text, format) = (text(folder), Kind::Apache.recommended());
            format!(
                "ServerRoot {text}\nDefaultRuntimeDir {text}\nPidFile {text}/apache.pid\n\
                 ErrorLog {text}/error.log\nServerName main.example\nUser www-data\nGroup www-data\n{modules}\
                 StartServers 1\nServerLimit 1\nThreadsPerChild 8\nMaxRequestWorkers 8\n\
                 TypesConfig /dev/null\nListen 127.0.0.1:{port}\n\
                 {format}\nCustomLog {text}/access.log tk\n{snippet}\nDocumentRoot {text}/www\n\
                 <VirtualHost *:{port}>\nServerName b.example\n</VirtualHost>\n\
                 <VirtualHost *:{port}>\nServerName a.example\nServerAlias alias.example\n</VirtualHost>\n\
                 <Directory {text}/www>\nRequire all granted\n</Directory>\n"
            )
        },
    );
    let daemon = node.start();
    is_served_until_it_is_spent(&node, |host| ask_web(&web, host));
    daemon.stop();
}

#[test]
fn lighttpd_serves_until_a_quota_is_spent() {
    let sandbox = support::Sandbox::new();
    let (log, flags) = (
        sandbox.path("server/access.log"),
        sandbox.path("gate/lighttpd"),
    );
    let format = format!("lighttpd:{}", Kind::Lighttpd.recommended());
    let gate = format!("[[gate.lighttpd]]\nflags = {flags:?}\n");
    let sections = with_quota(&(source(&[&log], &format, "") + &gate));
    let node = Node::named("n", sandbox, None, "", "", &sections);
    let snippet = node.does(&["snippet", "lighttpd"]);
    // Two files, of which the second begins where the script does.
    let at = snippet.find("-- ---- ").expect("the script");
    let (config, script) = snippet.split_at(at);
    let web = Web::start(
        &node.sandbox,
        "/usr/sbin/lighttpd",
        &["-D", "-f"],
        |folder, port| {
            serve_ten(folder);
            let (text, format) = (text(folder), Kind::Lighttpd.recommended());
            let path = folder.join("tollkeeper.lua");
            fs::write(&path, script).expect("a new file");
            let config: String = config
                .lines()
                .map(|line| match line.starts_with("magnet.") {
                    true => format!("magnet.attract-raw-url-to = ( {path:?} )\n"),
                    false => format!("{line}\n"),
                })
                .collect();
            format!(
                "server.document-root = \"{text}/www\"\nserver.errorlog = \"{text}/error.log\"\n\
             server.bind = \"127.0.0.1\"\nserver.port = {port}\nserver.modules = ( \"mod_accesslog\" )\n\
             mimetype.assign = ( \"\" => \"text/plain\" )\naccesslog.filename = \"{text}/access.log\"\n\
             {format}\n{config}"
            )
        },
    );
    let daemon = node.start();
    is_served_until_it_is_spent(&node, |host| ask_web(&web, host));
    daemon.stop();
}

/// HAProxy, which answers by itself and says so to the daemon.
struct Haproxy {
    child: Child,
    address: SocketAddr,
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        send(&self.child, Signal::TERM);
        self.child.wait().expect("our own child");
    }
}

#[test]
fn haproxy_serves_until_a_quota_is_spent() {
    let sandbox = support::Sandbox::new();
    let (map, admin) = (sandbox.path("gate/haproxy.map"), sandbox.path("admin.sock"));
    let free = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let syslog = free.local_addr().expect("our own port");
    drop(free);
    let format = r#"log-format "%trg %ST %U %B %Ta %ci %hr %{+Q}r""#;
    let sections = format!(
        "[[source.syslog]]\nname = \"haproxy\"\nlisten = \"udp://{syslog}\"\nformat = '''haproxy:{format}'''\n\
         [[gate.haproxy]]\nmap = {map:?}\nsockets = [{admin:?}]\n"
    );
    let node = Node::named("n", sandbox, None, "", "", &with_quota(&sections));
    let snippet = node.does(&["snippet", "haproxy"]);
    let daemon = node.start();
    // HAProxy does not start without the map.
    wait_for("the map is there", || map.exists());
    let ten = node.sandbox.write(
        "ten",
        vec![b'x'; usize::try_from(TEN).expect("it is small")],
    );
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = free.local_addr().expect("our own port");
    drop(free);
    let config = format!(
        "global\n    stats socket {} mode 600 level admin\n\
         defaults\n    mode http\n    timeout client 30s\n    timeout server 30s\n    timeout connect 5s\n\
         frontend web\n    bind {address}\n    log {syslog} len 65535 format rfc5424 local0\n\
         \x20   capture request header Host len 255\n    {format}\n{snippet}\n\
         \x20   http-request return status 200 content-type text/plain file {}\n",
        text(&admin),
        text(&ten)
    );
    let path = node.sandbox.write("haproxy.cfg", config);
    let said = node.sandbox.path("haproxy.said");
    let child = Command::new("/usr/sbin/haproxy")
        .args(["-db", "-f", text(&path)])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(&said).expect("a new file"))
        .spawn()
        .expect("HAProxy is installed by tests/run");
    let mut haproxy = Haproxy { child, address };
    wait_until("HAProxy listens", || {
        let ended = haproxy.child.try_wait().expect("our own child");
        assert!(ended.is_none(), "{:?}", fs::read_to_string(&said));
        TcpStream::connect(haproxy.address).and(UnixStream::connect(&admin))
    });
    is_served_until_it_is_spent(&node, |host| {
        let (answer, _) = fetch(haproxy.address, &request(host, "/ten", None));
        let status = answer.get(9..12).and_then(|status| status.parse().ok());
        status.unwrap_or_else(|| panic!("{answer:?}"))
    });
    daemon.stop();
}
