//! Every config in `fixtures/config/good` loads; every one in `fixtures/config/bad` gives exactly
//! the message in the `.expected` file beside it (`BLESS=1` writes those anew).

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tollkeeper::config::stream::StreamVhost;
use tollkeeper::config::{Config, Listen, StoreUrl, Users};

fn fixtures(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/config")
        .join(folder);
    let mut paths: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a folder that can be read").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{}: no configs", folder.display());
    paths
}

fn parse(path: &Path) -> Result<Config, String> {
    let text = fs::read_to_string(path).expect("a fixture that can be read");
    let name = path.file_name().expect("a name").to_string_lossy();
    Config::parse(&text, &name).map_err(|error| format!("{error}\n"))
}

#[test]
fn good_configs_load() {
    for path in fixtures("good") {
        if let Err(error) = parse(&path) {
            panic!("{}:\n{error}", path.display());
        }
    }
}

#[test]
fn bad_configs_are_explained() {
    let bless = std::env::var_os("BLESS").is_some();
    let mut wrong = String::new();
    for path in fixtures("bad") {
        let expected_path = path.with_extension("expected");
        let Err(message) = parse(&path) else {
            wrong += &format!("{} loads\n", path.display());
            continue;
        };
        if bless {
            fs::write(&expected_path, &message).expect("a folder that can be written");
        }
        let expected = fs::read_to_string(&expected_path).unwrap_or_default();
        if message != expected {
            wrong += &format!(
                "{}\n-- expected\n{expected}-- got\n{message}",
                path.display()
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn everything_that_can_be_said_is_understood() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/config/good/everything.toml");
    let config = Config::load(&path).expect("a good config");
    assert_eq!(config.timezone, Some(chrono_tz::Europe::Warsaw));
    assert_eq!(config.report_interval.as_secs(), 30);
    assert_eq!(
        config.store,
        Some(StoreUrl::Sqlite("/srv/tk/rows.db".into()))
    );

    let [nginx, customers] = config.file_sources.as_slice() else {
        panic!("{:?}", config.file_sources);
    };
    assert_eq!(nginx.name, "/var/log/nginx/*.access.log");
    assert_eq!(nginx.formats.len(), 2);
    assert_eq!(nginx.users, Some(Users::Verified));
    assert_eq!(nginx.vhost, None);
    assert_eq!(customers.name, "customers");
    assert_eq!(
        customers.paths,
        ["/home/*/logs/*-{http,https}.log", "/srv/www/*/log/*.log"]
    );
    assert_eq!(customers.vhost.as_deref(), Some("{2}"));
    assert_eq!(nginx.olddir, None);
    assert_eq!(customers.olddir.as_deref(), Some(Path::new("../old")));

    let [haproxy, edge, certified] = config.syslog_sources.as_slice() else {
        panic!("{:?}", config.syslog_sources);
    };
    assert_eq!(haproxy.name, "haproxy");
    let local = Listen::Udp("127.0.0.1:5514".parse().expect("an address"));
    assert_eq!(haproxy.listen, [local]);
    assert_eq!(haproxy.vhost, Some(StreamVhost::Host));
    assert_eq!(haproxy.accepts.facilities, [16, 23]);
    assert_eq!(haproxy.allow, None);
    assert_eq!(haproxy.max_spool_bytes, 1 << 30);
    assert_eq!(haproxy.max_connections, 1_000);
    assert_eq!(haproxy.receive_buffer_bytes, 8 << 20);
    let places: Vec<_> = edge.listen.iter().map(ToString::to_string).collect();
    assert_eq!(
        places,
        [
            "udp://127.0.0.1:5514",
            "udp://[2001:db8::1]:514",
            "tls://192.0.2.1:6514",
            "unix:///run/tollkeeper/log.sock",
            "unix-stream:///run/tollkeeper/log.stream",
            "systemd:tollkeeper.socket",
        ]
    );
    assert_eq!(
        edge.vhost,
        Some(StreamVhost::Name("www.example.org".into()))
    );
    assert_eq!(edge.allow.as_ref().map(Vec::len), Some(3));
    assert_eq!(edge.max_spool_bytes, 4 << 30);
    assert_eq!(certified.receive_buffer_bytes, 16 << 20);
    let tls = certified.tls.as_ref().expect("a certificate");
    assert_eq!(
        tls.client_ca.as_deref(),
        Some(Path::new("/etc/tollkeeper/ca.pem"))
    );
    let [apache] = config.pipe_sources.as_slice() else {
        panic!("{:?}", config.pipe_sources);
    };
    assert_eq!(apache.name, "apache");
    assert_eq!(apache.vhost.as_deref(), Some("example.org"));
    assert_eq!(apache.max_spool_bytes, 100_000_000);
    let layers: Vec<_> = config
        .layers()
        .map(|(source, layer)| (source, layer.inner()))
        .collect();
    assert_eq!(
        layers,
        [
            ("/var/log/nginx/*.access.log", None),
            ("customers", Some("backend")),
            ("haproxy", None),
            ("edge.nginx", None),
            ("open-to-certificates", Some("inner_2")),
            ("apache", Some("php-fpm")),
        ]
    );

    let vhosts = &config.vhosts;
    assert_eq!(vhosts.known, ["example.org", "*.example.org"]);
    assert_eq!(
        vhosts.known_file.as_deref(),
        Some(Path::new("/etc/tollkeeper/known.txt"))
    );
    let aliases: Vec<_> = vhosts
        .aliases
        .iter()
        .map(|(a, b)| (a.as_str(), b.as_str()))
        .collect();
    assert_eq!(
        aliases,
        [
            ("*.cdn.example.org", "example.org"),
            ("img.example.org", "example.org"),
            ("static.example.org", "example.org"),
        ]
    );
    assert!(vhosts.fold_www);
    assert_eq!(vhosts.max_new_vhosts_per_day, 1_500);
    assert_eq!(vhosts.max_new_users_per_day, 0);

    assert_eq!(config.owners["dembol"], ["xyz.org", "aga.org"]);
    let classes: Vec<_> = config
        .classes
        .iter()
        .map(|class| class.name.as_str())
        .collect();
    assert_eq!(classes, ["campus", "vpn"]);
    let networks: Vec<_> = config.classes[0]
        .networks
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(networks, ["153.19.0.0/16", "2001:db8::/32"]);
}

#[test]
fn an_empty_config_has_the_defaults() {
    let config = Config::parse("", "empty.toml").expect("a good config");
    assert_eq!(config.timezone, None);
    assert_eq!(config.report_interval.as_secs(), 10);
    assert_eq!(config.store, None);
    assert!(config.file_sources.is_empty());
    assert_eq!(config.vhosts.max_new_vhosts_per_day, 10_000);
    assert_eq!(config.vhosts.max_new_users_per_day, 10_000);
}

#[test]
fn a_config_that_cannot_be_read_says_so() {
    let error = Config::load(Path::new("/nowhere/tollkeeper.toml")).expect_err("no such file");
    assert_eq!(
        error.to_string(),
        "cannot read the config /nowhere/tollkeeper.toml: No such file or directory (os error 2)"
    );
}

#[test]
fn side_files_add_to_the_config() {
    let folder = tempfile::tempdir().expect("a folder");
    let known = folder.path().join("known.txt");
    let aliases = folder.path().join("aliases.txt");
    let text = format!(
        "[vhosts]\nfold_www = true\nknown = [\"a.example\"]\naliases = {{ \"x.example\" = \"a.example\" }}\n\
         known_file = {known:?}\naliases_file = {aliases:?}\n"
    );
    let config = Config::parse(&text, "c.toml").expect("a good config");
    let missing = config.vhosts.with_files().expect_err("no files yet");
    assert!(
        missing.to_string().contains("cannot read the known_file"),
        "{missing}"
    );

    fs::write(&known, "www.B.example\n*.c.example # all\n").expect("a file");
    fs::write(&aliases, "y.example x.example\nx.example www.b.example\n").expect("a file");
    let rules = config.vhosts.with_files().expect("good files");
    assert_eq!(rules.known, ["*.c.example", "a.example", "b.example"]);
    assert_eq!(rules.aliases["x.example"], "a.example");

    fs::write(&aliases, "a.example x.example\n").expect("a file");
    let looped = config.vhosts.with_files().expect_err("a loop");
    assert!(
        looped
            .to_string()
            .contains("a.example → x.example → a.example"),
        "{looped}"
    );
}

#[test]
fn an_empty_known_file_does_not_make_every_name_known() {
    let folder = tempfile::tempdir().expect("a folder");
    let known = folder.path().join("known.txt");
    fs::write(&known, "# nothing\n").expect("a file");
    let text = format!("vhosts.known_file = {known:?}");
    let config = Config::parse(&text, "c.toml").expect("a good config");
    let error = config.vhosts.with_files().expect_err("no names");
    assert!(
        error.to_string().ends_with("known.txt names no site"),
        "{error}"
    );
}

proptest! {
    /// A config that is damaged anywhere is understood or refused; nothing else.
    #[test]
    fn damaged_configs_never_panic(
        cut in any::<prop::sample::Index>(),
        length in 0..40usize,
        put in "[\\PC\n\t\r\"'\\\\{}\\[\\].=#]{0,6}",
    ) {
        let mut text = include_str!("../fixtures/config/good/everything.toml").to_owned();
        let boundary = |text: &str, mut at: usize| {
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let start = boundary(&text, cut.index(text.len()));
        let end = boundary(&text, (start + length).min(text.len())).max(start);
        text.replace_range(start..end, &put);
        if let Err(error) = Config::parse(&text, "c.toml") {
            prop_assert!(error.to_string().starts_with("c.toml:"));
        }
    }
}

#[test]
fn a_database_is_understood() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/config/good/mysql.toml");
    let config = Config::load(&path).expect("a good config");
    let Some(StoreUrl::Mysql(url)) = config.store else {
        panic!("{:?}", config.store);
    };
    assert_eq!(
        url.to_string(),
        "mysql://tollkeeper@db.example:3307/traffic"
    );
    let access = config.store_access;
    let file = |name: &str| Some(Path::new("/etc/tollkeeper").join(name));
    assert_eq!(access.password_file, file("store-password"));
    assert_eq!(access.tls, Some(true), "certificates are there to be used");
    assert_eq!(access.tls_ca, file("ca.pem"));
    assert_eq!(access.tls_identity, file("cert.pem").zip(file("key.pem")));
}
