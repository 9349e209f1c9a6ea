//! Apache behind a gate: what is printed to be pasted is pasted, and clients ask.

mod support;
mod webs;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use support::Sandbox;
use tollkeeper::config::gate::ApacheGate;
use tollkeeper::enforce::{Consequences, Hosts, apache};
use tollkeeper::publish::flags::Flags;
use tollkeeper::publish::map::MapFile;
use webs::{PASSWORD, Web, class, close, deny, hostile, redirect, slow, user, vhost};

const MODULES: [&str; 20] = [
    "proxy",
    "proxy_http",
    "mpm_event",
    "authn_core",
    "authn_file",
    "authz_core",
    "authz_user",
    "auth_basic",
    "dir",
    "mime",
    "alias",
    "setenvif",
    "env",
    "headers",
    "rewrite",
    "ratelimit",
    "http2",
    "unixd",
    "authz_host",
    "filter",
];
/// Those of the users.
const HASH: &str = "{SHA}W8r/fyL/UzygmbNAjq2HbA67qac=";

fn networks() -> BTreeMap<String, Vec<IpNet>> {
    let networks = [
        ("campus", vec!["127.0.0.0/8", "2001:db8::/32"]),
        ("abroad", vec!["::/0"]),
    ];
    let parse = |text: &str| text.parse().expect("a network");
    networks
        .into_iter()
        .map(|(name, nets)| (name.to_owned(), nets.into_iter().map(parse).collect()))
        .collect()
}

fn consequences() -> Consequences {
    [slow(125_000), slow(50_000), redirect(), deny(503)].into()
}

/// Two sites with rules of their own, one with none, and one that has more to say of a 429.
fn config(folder: &Path, port: u16, snippet: &str) -> String {
    let text = folder.display();
    let modules: String = MODULES
        .iter()
        .filter(|name| Path::new(&format!("/usr/lib/apache2/modules/mod_{name}.so")).exists())
        .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"))
        .collect();
    let users: String = ["alice", "bob", "../../etc/passwd", "evil\";}", "a b"]
        .iter()
        .map(|user| format!("{user}:{HASH}\n"))
        .collect();
    fs::write(folder.join("users"), users).expect("a new file");
    // As a customer would try to get by.
    let htaccess = "RewriteEngine On\nRewriteRule ^mine$ index.html [L]\nSetEnv rate-limit 0\n\
                    UnsetEnv rate-limit\nSetEnvIf Request_URI . !rate-limit !tollkeeper\n\
                    ErrorDocument 429 /index.html\n";
    fs::write(folder.join("www/own/.htaccess"), htaccess).expect("a new file");
    fs::write(
        folder.join("www/private/.htaccess"),
        "UnsetEnv tollkeeper_in\nSetEnv tollkeeper_in 0\n",
    )
    .expect("a new file");
    format!(
        "ServerRoot {text}\nDefaultRuntimeDir {text}\nPidFile {text}/apache.pid\n\
         ErrorLog {text}/error.log\nServerName main.example\nUser www-data\nGroup www-data\n{modules}\
         StartServers 1\nServerLimit 1\nThreadsPerChild 16\nMaxRequestWorkers 16\n\
         Protocols h2c http/1.1\nTypesConfig /dev/null\nDirectoryIndex index.html\n\
         Listen 127.0.0.1:{port}\nListen [::1]:{port}\n\
         {snippet}\
         <VirtualHost *:{port}>\nServerName plain.example\nDocumentRoot {text}/www\n</VirtualHost>\n\
         <VirtualHost *:{port}>\nServerName a.example\nServerAlias b.example\nDocumentRoot {text}/www\n\
         RewriteEngine On\nRewriteRule ^/own-rule$ /index.html [PT,L]\n</VirtualHost>\n\
         <VirtualHost *:{port}>\nServerName c.example\nDocumentRoot {text}/www\n\
         RewriteEngine On\nRewriteOptions InheritBefore\nRewriteRule ^/own-rule$ /index.html [PT,L]\n\
         ErrorDocument 429 /index.html\nProxyPass /back/ http://[::1]:{port}/\n</VirtualHost>\n\
         <Directory {text}/www>\nAllowOverride All\nOptions FollowSymLinks\nRequire all granted\n\
         </Directory>\n\
         <LocationMatch ^(/back)?/private>\nAuthType Basic\nAuthName members\nAuthBasicProvider file\n\
         AuthUserFile {text}/users\nRequire valid-user\n</LocationMatch>\n"
    )
}

fn start(sandbox: &Sandbox, gate: &ApacheGate) -> Web {
    let snippet = apache::snippet(gate, &consequences(), &networks());
    Web::start(
        sandbox,
        "/usr/sbin/apache2",
        &["-DFOREGROUND", "-f"],
        |folder, port| config(folder, port, &snippet),
    )
}

fn flags(folder: PathBuf) -> (ApacheGate, Flags) {
    let gate = ApacheGate {
        flags: Some(folder.clone()),
        map: None,
    };
    let flags = Flags::new(
        "apache".to_owned(),
        folder,
        apache::is_flag,
        Box::new(apache::flags),
    );
    (gate, flags)
}

fn map(path: PathBuf) -> (ApacheGate, MapFile) {
    let gate = ApacheGate {
        flags: None,
        map: Some(path.clone()),
    };
    let file = MapFile::new(
        "apache".to_owned(),
        path,
        Box::new(apache::map),
        apache::write_map,
        apache::read_map,
    );
    (gate, file)
}

fn with_alias() -> Hosts {
    Hosts::new(
        BTreeMap::from([("b.example".to_owned(), "a.example".to_owned())]),
        false,
    )
}

fn login(name: &str, password: &str) -> String {
    format!("{name}:{password}")
}

#[test]
fn a_site_closes_in_every_spelling_and_opens_again() {
    let sandbox = Sandbox::new();
    let (gate, mut flags) = flags(sandbox.path("gate"));
    let web = start(&sandbox, &gate);
    let hosts = with_alias();
    let spellings = [
        "a.example",
        "A.Example",
        "a.example:8080",
        "a.example.",
        "A.EXAMPLE.:80",
        "b.example",
    ];
    for host in spellings {
        web.ask_host(host).assert_status(200, host);
    }

    close(
        &mut flags,
        &hosts,
        &[(vhost("a.example"), deny(429)), (vhost("::1"), deny(503))],
    );
    for host in spellings {
        web.ask_host(host).assert_refused(429, host);
        let host = format!("Host: {host}");
        web.ask("/", &["--http2-prior-knowledge", "-H", &host])
            .assert_refused(429, &host);
    }
    let host = ["-H", "Host: a.example"];
    for path in ["/own-rule", "/own/mine", "/own/", "/nothing", "/private/"] {
        web.ask(path, &host).assert_refused(429, path);
    }
    for method in ["POST", "OPTIONS", "TRACE", "DELETE"] {
        web.ask("/", &["-X", method, host[0], host[1]])
            .assert_refused(429, method);
    }
    for target in ["http://a.example/", "http://A.EXAMPLE.:99/own-rule"] {
        let absolute = ["--request-target", target, "-H", "Host: plain.example"];
        web.ask("/", &absolute).assert_refused(429, target);
    }
    for host in ["[::1]", "[0:0:0::1]:80", "[::0001]"] {
        let header = format!("Host: {host}");
        web.ask_at("[::1]", "/", &["-H", &header])
            .assert_refused(503, host);
    }
    for host in ["plain.example", "c.example", "xa.example", "a.example.org"] {
        web.ask_host(host).assert_status(200, host);
    }
    web.ask("/own/mine", &[])
        .assert_status(200, "a rule of a neighbour's .htaccess");
    web.ask("/own-rule", &["-H", "Host: c.example"])
        .assert_status(200, "a neighbour's rule");

    // Whose operator has a page for it.
    close(&mut flags, &hosts, &[(vhost("c.example"), deny(429))]);
    let page = web.ask("/own-rule", &["-H", "Host: c.example"]);
    page.assert_refused(429, "with a page");
    assert_eq!(page.bytes, "served\n".len(), "{page:?}");
    web.ask("/back/", &["-H", "Host: c.example"])
        .assert_refused(429, "passed on");
    for host in spellings {
        web.ask_host(host).assert_status(200, host);
    }
    assert!(!web.said().contains("redirects"), "{}", web.said());
}

#[test]
fn clients_are_sent_elsewhere() {
    let sandbox = Sandbox::new();
    let (gate, mut flags) = flags(sandbox.path("gate"));
    let web = start(&sandbox, &gate);
    let closed = [
        (vhost("a.example"), redirect()),
        (class("campus", "c.example"), redirect()),
        (user("alice", None), redirect()),
        (user("bob", Some("a.example")), redirect()),
        (user("bob", Some("c.example")), redirect()),
    ];
    close(&mut flags, &Hosts::default(), &closed);
    let url = |user: &str, vhost: &str| {
        format!(
            "https://pay.example/buy?lang=en&user={user}&quota=30%20G%20a%20month&vhost={vhost}"
        )
    };
    for path in [
        "/",
        "/own-rule?a=b",
        "/own/mine",
        "/x%0d%0aSet-Cookie:%20a",
        "/%3f",
    ] {
        web.ask(path, &["-H", "Host: A.example."])
            .assert_sent_to(&url("", "a.example"));
    }
    web.ask_host("c.example")
        .assert_sent_to(&url("", "c.example"));
    web.ask_at("[::1]", "/", &["-H", "Host: c.example"])
        .assert_status(200, "another class");
    web.ask_host("plain.example")
        .assert_status(200, "a neighbour");

    let alice = login("alice", PASSWORD);
    let bob = login("bob", PASSWORD);
    let at_c = "Host: c.example";
    let asked = web.ask_at("[::1]", "/private/", &["-u", &alice, "-H", at_c]);
    asked.assert_sent_to(&url("alice", ""));
    let asked = web.ask_at("[::1]", "/private/", &["-u", &bob, "-H", at_c]);
    asked.assert_sent_to(&url("bob", "c.example"));
    web.ask_at("[::1]", "/", &["-u", &alice, "-H", at_c])
        .assert_status(200, "no password asked");
}

/// What both ways to look have in common.
fn users_are_refused_by_password(web: &Web, gate: &mut dyn tollkeeper::publish::Gate) {
    let closed = [
        (user("alice", None), deny(429)),
        (user("bob", Some("c.example")), deny(503)),
    ];
    let hosts = with_alias();
    let get = |host: &str, path: &str, name: &str, password: &str| {
        let host = format!("Host: {host}");
        web.ask(path, &["-u", &login(name, password), "-H", &host])
    };
    get("a.example", "/private/", "alice", PASSWORD).assert_status(200, "before");
    close(gate, &hosts, &closed);
    for path in ["/private/", "/private/index.html", "/private/nothing"] {
        get("a.example", path, "alice", PASSWORD).assert_refused(429, path);
    }
    let h2 = ["--http2-prior-knowledge", "-H", "Host: a.example", "-u"];
    let alice = login("alice", PASSWORD);
    web.ask("/private/", &[&h2[..], &[&alice]].concat())
        .assert_refused(429, "HTTP/2");
    // Nobody learns without the password whose gate is closed, nor is anybody refused for a claim.
    for name in ["alice", "bob", "nobody"] {
        for host in ["a.example", "c.example", "plain.example"] {
            get(host, "/private/", name, "wrong").assert_status(401, name);
            get(host, "/", name, "wrong").assert_status(200, name);
            get(host, "/", name, PASSWORD).assert_status(200, name);
        }
    }
    web.ask("/private/", &["-H", "Host: a.example"])
        .assert_status(401, "nobody");
    get("a.example", "/private/", "bob", PASSWORD).assert_status(200, "elsewhere");
    get("c.example", "/private/", "bob", PASSWORD).assert_refused(503, "there");
    get("c.example", "/back/private/", "bob", PASSWORD).assert_refused(503, "passed on");
    get("c.example", "/back/private/", "bob", "wrong").assert_status(401, "passed on");
    for name in ["../../etc/passwd", "evil\";}", "a b"] {
        get("a.example", "/private/", name, PASSWORD).assert_status(200, name);
    }
    close(gate, &hosts, &[]);
    get("a.example", "/private/", "alice", PASSWORD).assert_status(200, "after");
    get("c.example", "/private/", "bob", PASSWORD).assert_status(200, "after");
}

#[test]
fn users_are_refused_once_their_password_is_right() {
    let sandbox = Sandbox::new();
    let (gate, mut flags) = flags(sandbox.path("gate"));
    let web = start(&sandbox, &gate);
    users_are_refused_by_password(&web, &mut flags);
}

#[test]
fn classes_are_refused_by_their_networks() {
    let sandbox = Sandbox::new();
    let (gate, mut flags) = flags(sandbox.path("gate"));
    let web = start(&sandbox, &gate);
    let hosts = with_alias();
    let from =
        |address: &str, host: &str| web.ask_at(address, "/", &["-H", &format!("Host: {host}")]);
    close(
        &mut flags,
        &hosts,
        &[(class("campus", "a.example"), deny(429))],
    );
    from("127.0.0.1", "a.example").assert_refused(429, "campus");
    from("127.0.0.1", "b.example").assert_refused(429, "campus, by the alias");
    from("[::1]", "a.example").assert_status(200, "abroad");
    from("127.0.0.1", "c.example").assert_status(200, "elsewhere");
    close(
        &mut flags,
        &hosts,
        &[(class("abroad", "a.example"), deny(503))],
    );
    from("127.0.0.1", "a.example").assert_status(200, "campus");
    from("[::1]", "a.example").assert_refused(503, "abroad");
    // The worse of two.
    let both = [
        (class("abroad", "a.example"), slow(50_000)),
        (vhost("a.example"), deny(429)),
    ];
    close(&mut flags, &hosts, &both);
    from("[::1]", "a.example").assert_refused(429, "both");
}

#[test]
fn transfers_are_slowed_down() {
    let sandbox = Sandbox::new();
    let (gate, mut flags) = flags(sandbox.path("gate"));
    let web = start(&sandbox, &gate);
    fs::copy(
        sandbox.path("server/www/big.bin"),
        sandbox.path("server/www/own/big.bin"),
    )
    .expect("a copy");
    let closed = [
        (vhost("plain.example"), slow(125_000)),
        (vhost("c.example"), slow(50_000)),
        (user("alice", Some("a.example")), slow(50_000)),
    ];
    close(&mut flags, &Hosts::default(), &closed);
    let quick = web.ask("/big.bin", &["-H", "Host: a.example"]);
    assert!(
        quick.bytes == 3_000_000 && quick.seconds < 2.0,
        "a neighbour: {quick:?}"
    );
    fs::copy(
        sandbox.path("server/www/big.bin"),
        sandbox.path("server/www/private/big.bin"),
    )
    .expect("a copy");
    let alice = login("alice", PASSWORD);
    let cases: [(&str, &[&str], f64); 5] = [
        ("/big.bin", &["-H", "Host: plain.example"], 125_000.0),
        ("/big.bin", &["-H", "Host: c.example"], 50_000.0),
        ("/own/big.bin", &["-H", "Host: plain.example"], 125_000.0),
        (
            "/big.bin",
            &["--http2-prior-knowledge", "-H", "Host: plain.example"],
            125_000.0,
        ),
        (
            "/private/big.bin",
            &["-u", &alice, "-H", "Host: a.example"],
            50_000.0,
        ),
    ];
    std::thread::scope(|scope| {
        for (path, arguments, expected) in cases {
            let web = &web;
            scope.spawn(move || {
                let answer = web.ask(path, &[arguments, &["-m", "4"]].concat());
                let speed = answer.bytes as f64 / answer.seconds;
                assert!(
                    (speed / expected - 1.0).abs() < 0.15,
                    "{path} {arguments:?}: {speed}"
                );
            });
        }
    });
}

#[test]
fn hostile_names_touch_nothing() {
    let sandbox = Sandbox::new();
    let (gate, mut flags) = flags(sandbox.path("gate"));
    let web = start(&sandbox, &gate);
    // What a name that leaves the folder would find.
    for what in [
        "gate/deny-429",
        "gate/user-deny-429",
        "gate/at-deny-429/a.example",
    ] {
        fs::create_dir_all(sandbox.path(what)).expect("a new folder");
    }
    let subjects = hostile().into_iter().flat_map(|name| {
        [
            vhost(&name),
            user(&name, None),
            class(&name, "a.example"),
            class("campus", &name),
        ]
    });
    let closed: Vec<_> = subjects.map(|subject| (subject, deny(429))).collect();
    let applied = close(&mut flags, &Hosts::default(), &closed);
    // `-f` cannot be a user; `UPPER.example` can, and can be a class.
    assert_eq!(applied.standing, 2, "{applied:?}");
    assert_eq!(applied.refused.len(), closed.len() - 2, "{applied:?}");
    for name in hostile().iter().filter(|name| !name.contains('\n')) {
        let answer = web.ask_host(name);
        assert!(matches!(answer.status, 200 | 400), "{name:?}: {answer:?}");
        web.ask("/private/", &["-u", &login(name, PASSWORD)]);
        web.ask_host("a.example").assert_status(200, name);
        web.ask_host("plain.example").assert_status(200, name);
    }
    let users = ["../deny-429/x", "..", ".", "user-deny-429"];
    close(&mut flags, &Hosts::default(), &[(vhost("x"), deny(429))]);
    for name in users {
        web.ask("/private/", &["-u", &login(name, PASSWORD)])
            .assert_status(401, name);
    }
}

#[test]
fn a_map_closes_and_opens_without_a_reload() {
    let sandbox = Sandbox::new();
    let (gate, mut file) = map(sandbox.path("gate/apache.map"));
    let hosts = with_alias();
    // Apache does not look for a file that was not there when it started.
    close(&mut file, &hosts, &[]);
    let web = start(&sandbox, &gate);
    for _ in 0..20 {
        close(&mut file, &hosts, &[(vhost("a.example"), deny(429))]);
        web.ask("/own-rule", &["-H", "Host: A.example."])
            .assert_refused(429, "closed");
        // The same number of bytes, and perhaps the same tick of the clock.
        close(&mut file, &hosts, &[(vhost("c.example"), deny(503))]);
        close(&mut file, &hosts, &[(vhost("c.example"), deny(429))]);
        web.ask_host("a.example").assert_status(200, "open");
        web.ask_host("c.example").assert_refused(429, "closed");
    }
    web.ask_host("c.example").assert_refused(429, "closed");
    let closed = [
        (vhost("a.example"), redirect()),
        (class("abroad", "c.example"), deny(503)),
    ];
    close(&mut file, &hosts, &closed);
    let url = "https://pay.example/buy?lang=en&user=&quota=30%20G%20a%20month&vhost=a.example";
    for path in ["/", "/own-rule?x=y", "/%3f?"] {
        web.ask(path, &["-H", "Host: b.example"])
            .assert_sent_to(url);
    }
    web.ask_host("c.example")
        .assert_status(200, "another class");
    web.ask_at("[::1]", "/", &["-H", "Host: c.example"])
        .assert_refused(503, "the class");
    close(&mut file, &hosts, &[]);
    users_are_refused_by_password(&web, &mut file);
    close(&mut file, &hosts, &[(vhost("c.example"), slow(125_000))]);
    let slowed = web.ask("/big.bin", &["-H", "Host: c.example", "-m", "3"]);
    let speed = slowed.bytes as f64 / slowed.seconds;
    assert!((speed / 125_000.0 - 1.0).abs() < 0.15, "{speed}");
}

#[test]
fn a_hundred_thousand_closed_sites_slow_nobody_down() {
    let sandbox = Sandbox::new();
    let folder = webs::in_memory();
    let (gate, _) = flags(folder.path().join("gate"));
    let web = start(&sandbox, &gate);
    let many = webs::many(100_000, deny(429));
    let set = apache::flags(&many, &Hosts::default());
    assert_eq!(set.flags.len(), 100_000);
    webs::put_flags(&folder.path().join("gate"), &set);
    web.ask_host("s0.example").assert_refused(429, "the first");
    web.ask_host("s99999.example")
        .assert_refused(429, "the last");
    let open = web.ask_host("plain.example");
    open.assert_status(200, "a neighbour");
    assert!(open.seconds < 0.5, "{open:?}");

    let path = sandbox.path("gate.map");
    let bytes = apache::write_map(&apache::map(&many, &Hosts::default()));
    assert_eq!(apache::read_map(&bytes).len(), 100_000);
    fs::write(&path, bytes).expect("a new file");
    drop(web);
    let (gate, _) = map(path);
    let web = start(&sandbox, &gate);
    web.ask("/", &["-H", "Host: c.example"])
        .assert_status(200, "a neighbour");
    let open = web.ask("/", &["-H", "Host: c.example"]);
    open.assert_status(200, "a neighbour, asked for again");
    assert!(open.seconds < 0.5, "{open:?}");
}
