//! Every config in `fixtures/config/good` loads; every one in `fixtures/config/bad` gives exactly
//! the message in the `.expected` file beside it (`BLESS=1` writes those anew).

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tollkeeper::config::quota::{Known, quota_of_row, rules};
use tollkeeper::config::stream::StreamVhost;
use tollkeeper::config::{Config, Listen, StoreUrl, Users};
use tollkeeper::quota::rule::{Consequence, Measure, Period, Quota, Rung, Who};
use tollkeeper::usage::said::{QuotaRow, Said};

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
        of_quotas in any::<bool>(),
        cut in any::<prop::sample::Index>(),
        length in 0..40usize,
        put in "[\\PC\n\t\r\"'\\\\{}\\[\\].=#]{0,6}",
    ) {
        let mut text = include_str!("../fixtures/config/good/everything.toml").to_owned();
        if of_quotas {
            text = include_str!("../fixtures/config/good/quotas.toml").to_owned();
        }
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

fn quotas() -> Config {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/config/good/quotas.toml");
    Config::load(&path).expect("a good config")
}

fn anchor(text: &str) -> chrono::NaiveDateTime {
    chrono::NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M").expect("an anchor")
}

#[test]
fn quotas_are_understood() {
    let config = quotas();
    let names: Vec<_> = config.quotas.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "vhost example.org month out 100G",
            "vhost example.org month by 1W out 100G",
            "free sites",
            "vhost * 1H requests 10000",
            "user alice at a.example b.example rolling 30D in 2G",
            "user * year from 02-29 out 1T",
            "owner dembol 4W from 2026-01-05 14:00 by 1W out 100G",
            "owner * week out 5T",
            "vhost daily.example day out 1B",
            "users",
        ]
    );
    let [
        big,
        sliced,
        free,
        requests,
        alice,
        yearly,
        owner,
        weekly,
        _,
        leech,
    ] = config.quotas.as_slice()
    else {
        panic!("{names:?}");
    };
    let rung = |at, consequence| Rung { at, consequence };
    let deny = |status| Consequence::Deny { status };
    let bytes_per_second = 125_000;
    let url = "https://example.net/over?why=quota".to_owned();
    assert_eq!(
        *big,
        Quota {
            name: big.name.clone(),
            who: Who::Vhost("example.org".into()),
            class: None,
            measure: Measure::Out,
            limit: 100_000_000_000,
            period: Period::Month { day: 1 },
            slice_minutes: None,
            warn: vec![80, 95],
            exceeded: vec![
                rung(100, Consequence::Slow { bytes_per_second }),
                rung(120, Consequence::Redirect { url }),
                rung(150, deny(429)),
            ],
            report_only: false,
            reopen: 95,
        }
    );
    assert_eq!(sliced.slice_minutes, Some(7 * 24 * 60));
    assert_eq!(sliced.exceeded, []);
    assert_eq!(free.who, Who::Vhost("*.free.example".into()));
    assert_eq!(free.class.as_deref(), Some("campus"));
    assert_eq!((free.limit, free.measure), (3 << 29, Measure::Both));
    assert_eq!(free.period, Period::Month { day: 31 });
    assert_eq!(free.exceeded, [rung(100, deny(503))]);
    assert!(free.report_only);
    assert_eq!(
        (requests.limit, requests.measure),
        (10_000, Measure::Requests)
    );
    assert_eq!(
        requests.period,
        Period::Minutes {
            minutes: 60,
            anchor: anchor("2024-01-01 00:00")
        }
    );
    assert_eq!(requests.exceeded, [rung(100, deny(429))]);
    let of_user = |user: &str, vhosts: &[&str]| Who::User {
        user: user.into(),
        vhosts: vhosts.iter().map(|it| (*it).to_owned()).collect(),
    };
    assert_eq!(alice.who, of_user("alice", &["a.example", "b.example"]));
    assert_eq!(alice.period, Period::Rolling { minutes: 43_200 });
    assert_eq!(alice.reopen, 90);
    assert_eq!(yearly.who, of_user("*", &[]));
    assert_eq!(yearly.period, Period::Year { month: 2, day: 29 });
    assert_eq!(
        owner.period,
        Period::Minutes {
            minutes: 40_320,
            anchor: anchor("2026-01-05 14:00")
        }
    );
    assert_eq!(weekly.who, Who::Owner("*".into()));
    assert_eq!(weekly.warn, [90]);
    assert_eq!(leech.who, Who::Leech("*".into()));
    assert_eq!(leech.period, Period::Endless);
    assert_eq!(config.store_access.users_table.as_deref(), Some("users"));
}

#[test]
fn gates_and_the_hook_are_understood() {
    let config = quotas();
    let gates = &config.gates;
    let path = |name: &str| Path::new("/var/lib/tollkeeper/gate").join(name);
    assert_eq!(gates.nginx[0].flags, Some(path("nginx")));
    assert_eq!(gates.nginx[0].reload, None);
    let reload = gates.nginx[1].reload.as_ref().expect("a reload");
    assert_eq!(reload.server, "nginx");
    assert_eq!(reload.folder, Path::new("/run/other"));
    assert_eq!(reload.debounce.as_millis(), 500);
    assert_eq!(gates.apache[0].map, Some(path("apache.map")));
    assert_eq!(gates.lighttpd[0].flags, path("lighttpd"));
    assert_eq!(gates.haproxy[0].sockets.len(), 2);
    assert_eq!(gates.list[0].path, path("list.txt"));
    assert_eq!(gates.json[0].path, path("gate.json"));
    let hook = config.hook.expect("a hook");
    assert_eq!(hook.command, ["/usr/local/bin/quota-changed", "--mail"]);
    assert_eq!(hook.timeout.as_secs(), 60);

    let text =
        "[[gate.nginx]]\nmap = \"/g/nginx.map\"\nreload = \"nginx\"\n[hook]\ncommand = \"/x\"";
    let config = Config::parse(text, "c.toml").expect("a good config");
    let reload = config.gates.nginx[0].reload.as_ref().expect("a reload");
    assert_eq!(reload.folder, Path::new("/run/tollkeeper/reload"));
    assert_eq!(reload.debounce.as_secs(), 2);
    assert_eq!(config.hook.expect("a hook").timeout.as_secs(), 30);
}

#[test]
fn names_of_quotas_are_made_of_what_they_say() {
    let text = "[[quota]]\nvhost = \"a.example\"\nlimit = \"1G\"\nperiod = \"day\"\nwarn = [80]\nmeasure = \"out\"\n\
                [[quota]]\nname = \"vhost a.example day out 2G\"\nvhost = \"b.example\"\nlimit = \"1G\"\nperiod = \"day\"\n\
                [[quota]]\nvhost = \"a.example\"\nlimit = \"2G\"\nperiod = \"day\"\n";
    let config = Config::parse(text, "c.toml").expect("a good config");
    let names: Vec<_> = config.quotas.iter().map(|it| it.name.as_str()).collect();
    let given = "vhost a.example day out 2G";
    assert_eq!(
        names,
        ["vhost a.example day out 1G", given, &format!("{given} (2)")]
    );
    let sites: Vec<_> = (0..60).map(|it| format!("\"site-{it}.example\"")).collect();
    let sites = sites.join(", ");
    let quota = |limit| {
        format!(
            "[[quota]]\nuser = \"a\"\nvhosts = [{sites}]\nlimit = \"{limit}\"\nperiod = \"day\"\n"
        )
    };
    let config = Config::parse(&(quota("1G") + &quota("2G")), "c.toml").expect("a good config");
    assert_eq!(config.quotas[0].name.len(), 190);
    assert_eq!(config.quotas[1].name.len(), 190);
    assert!(config.quotas[1].name.ends_with(" (2)"));
}

/// A row of the table `quota`: `column=value`, with semicolons between.
fn row(id: i64, columns: &str) -> QuotaRow {
    let mut row = QuotaRow {
        id,
        ..QuotaRow::default()
    };
    for column in columns.split("; ").filter(|column| !column.is_empty()) {
        let (name, value) = column.split_once('=').expect("a column");
        let place = match name {
            "vhost" => &mut row.vhost,
            "user" => &mut row.user,
            "vhosts" => &mut row.vhosts,
            "owner" => &mut row.owner,
            "class" => &mut row.class,
            "amount" => &mut row.amount,
            "measure" => &mut row.measure,
            "period" => &mut row.period,
            "rolling" => &mut row.rolling,
            "billing_day" => &mut row.billing_day,
            "anchor" => &mut row.anchor,
            "slice" => &mut row.slice,
            "warn" => &mut row.warn,
            "exceeded" => &mut row.exceeded,
            "reopen" => &mut row.reopen,
            name => panic!("{name}"),
        };
        *place = Some(value.to_owned());
    }
    row
}

#[test]
fn rows_mean_what_the_config_means() {
    let config = quotas();
    let free = QuotaRow {
        report_only: true,
        ..row(
            3,
            "vhost=*.free.example; class=campus; amount=1.5GiB; measure=both; period=month; billing_day=31; exceeded=deny 503",
        )
    };
    let rows = [
        row(
            1,
            "vhost=www.Example.org; amount=100G; period=month; warn=80, 95; exceeded=100 speed 1Mbps,120 redirect https://example.net/over?why=quota, 150 deny 429",
        ),
        row(
            2,
            "vhost=example.org; amount=100G; period=month; slice=1W; exceeded=none; warn=",
        ),
        free,
        row(
            4,
            "vhost=*; amount= 10000 ; measure=requests; period=1H; exceeded= ",
        ),
        row(
            5,
            "user=alice; vhosts=b.example a.example,www.a.example; amount=2G; measure=in; rolling=30D; reopen=90",
        ),
        row(
            6,
            "user=*; vhosts=*; amount=1T; period=year; billing_day=02-29",
        ),
        row(
            7,
            "owner=dembol; amount=100G; period=4W; anchor=2026-01-05 14:00; slice=1W",
        ),
        row(8, "owner=*; amount=5T; period=week; warn=90"),
        row(9, "vhost=daily.example; amount=1B; period=day"),
    ];
    let said = Said {
        quotas: rows.to_vec(),
        ..Said::default()
    };
    let (rules, faults) = rules(&config, &said);
    assert_eq!(faults, [] as [&str; 0]);
    // Those of the config, that of mod_leech's table, then the rows.
    assert_eq!(rules.quotas.len(), 10 + 9);
    for (of_config, of_row) in rules.quotas.iter().zip(&rules.quotas[10..]) {
        let mut named = of_row.clone();
        named.name = of_config.name.clone();
        assert_eq!(named, *of_config, "{}", of_row.name);
    }
    assert_eq!(rules.quotas[10].name, "sql:1");
    assert_eq!(rules.owners["dembol"], ["xyz.org", "aga.org"]);
    assert_eq!(rules.classes["campus"].len(), 2);
}

#[test]
fn an_error_in_a_row_is_named_and_that_row_alone_refused() {
    let good = row(1, "vhost=a.example; amount=1G; period=day");
    for (columns, expected) in [
        (
            "vhost=a.example; amount=100; period=day",
            "table quota, row 7, column amount: \"100\": the unit is missing; write a number and a \
             unit: 500M, 1.5G, 100GiB (K M G T P are powers of 1000, Ki Mi Gi Ti Pi of 1024), or B \
             for bytes",
        ),
        (
            "amount=1G; period=day",
            "table quota, row 7: this quota limits nobody; say whom it limits: vhost, user or owner",
        ),
        (
            "vhost=_none; amount=1G; period=day",
            "table quota, row 7, column vhost: \"_none\" is reserved for the rows of that name; \
             that row stands for many names, which have no quota together",
        ),
        (
            "owner=carl; amount=1G; period=day",
            "table quota, row 7, column owner: there is no owner \"carl\"; did you mean \"carol\"?",
        ),
        (
            "vhost=a.example; amount=1G; period=day; exceeded=100 deny 429, slow 1Mbps",
            "table quota, row 7, column exceeded: \"slow\" is not what can follow; write a \
             percentage and what follows, such as 100 deny 429, 100 speed 1Mbps or 100 redirect \
             https://…, several with commas between",
        ),
        (
            "vhost=a.example; amount=1G; period=day; exceeded=150 deny 429, 100 speed 1Mbps",
            "table quota, row 7, column exceeded: 100 percent does not come after 150; write what \
             follows in rising order, each percentage once",
        ),
        (
            "vhost=a.example; amount=1G; period=day; exceeded=deny",
            "table quota, row 7, column exceeded: \"deny\" is not what can follow; write a \
             percentage and what follows, such as 100 deny 429, 100 speed 1Mbps or 100 redirect \
             https://…, several with commas between",
        ),
        (
            "vhost=a.example; amount=1G; period=day; reopen=90",
            "table quota, row 7, column reopen: only a rolling window opens bit by bit; take it \
             out: a period opens again when it ends",
        ),
        (
            "user=alice; vhosts=, ,; amount=1G; period=day",
            "table quota, row 7, column vhosts: this list names no site; name some, or take the \
             list out: the quota is for all then",
        ),
    ] {
        let said = Said {
            quotas: vec![good.clone(), row(7, columns)],
            owners: vec![("carol".into(), "a.example".into())],
            faults: vec!["table quota_grant, row 3: names no account".into()],
            ..Said::default()
        };
        let (rules, faults) = rules(&Config::default(), &said);
        assert_eq!(faults[1..], [expected], "{columns}");
        assert_eq!(faults[0], said.faults[0]);
        let names: Vec<_> = rules.quotas.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["sql:1"], "{columns}");
    }
}

#[test]
fn a_hostile_row_gives_a_short_message() {
    let said = Said {
        quotas: (0..200)
            .map(|id| {
                row(
                    id,
                    &format!("vhost=\n\u{202e}{}; amount=1G", "x".repeat(60_000)),
                )
            })
            .collect(),
        ..Said::default()
    };
    let (rules, faults) = rules(&Config::default(), &said);
    assert!(rules.quotas.is_empty());
    assert_eq!(faults.len(), 51);
    assert_eq!(faults[50], "350 more of these");
    for fault in &faults {
        assert!(fault.len() < 700 && !fault.contains(['\n', '\u{202e}']));
    }
}

#[test]
fn owners_and_classes_of_tables_add_to_the_config() {
    let config = quotas();
    let pair = |one: &str, other: &str| (one.to_owned(), other.to_owned());
    let said = Said {
        quotas: vec![
            row(1, "owner=carol; amount=1G; period=day"),
            row(2, "vhost=example.org; class=bots; amount=1G; period=day"),
        ],
        owners: vec![
            pair("carol", "WWW.Shop.example"),
            pair("carol", "xyz.org"),
            pair("dave", "shop.example"),
            pair("dembol", "more.example"),
            pair("dembol", "xyz.org"),
            pair("carol", "img.example.org"),
            pair("", "b.example"),
        ],
        classes: vec![
            pair("bots", "198.51.100.7"),
            pair("bots", "192.0.2.0/24"),
            pair("campus", "203.0.113.0/24"),
            pair("zoo", "198.51.100.7/32"),
            pair("zoo", "nowhere"),
        ],
        ..Said::default()
    };
    let (rules, faults) = rules(&config, &said);
    assert_eq!(rules.owners["carol"], ["shop.example"]);
    assert_eq!(
        rules.owners["dembol"],
        ["xyz.org", "aga.org", "more.example"]
    );
    assert!(!rules.owners.contains_key("dave"));
    let networks = |class: &str| -> Vec<String> {
        let networks = rules.classes[class].iter();
        networks.map(ToString::to_string).collect()
    };
    assert_eq!(networks("bots"), ["198.51.100.7/32"]);
    assert_eq!(
        networks("campus"),
        ["192.0.2.0/24", "2001:db8::/32", "203.0.113.0/24"]
    );
    assert!(!rules.classes.contains_key("zoo"));
    assert_eq!(rules.quotas.len(), 10 + 2);
    assert_eq!(
        faults,
        [
            "table owner, owner \"\" and vhost \"b.example\", column owner: \"\" cannot be a name \
             here; one to 255 bytes, no control characters",
            "table owner, owner \"carol\" and vhost \"img.example.org\", column vhost: \
             \"img.example.org\" is an alias of \"example.org\", which has the rows; write \
             \"example.org\"",
            "table owner, owner \"carol\" and vhost \"xyz.org\", column vhost: \"xyz.org\" is owned \
             by \"dembol\" already; a site has one owner, and the config holds: delete the row, or \
             change the config",
            "table owner, owner \"dave\" and vhost \"shop.example\", column vhost: \"shop.example\" \
             is owned by \"carol\" already; a site has one owner: delete one of the two rows",
            "table class, class \"bots\" and network \"192.0.2.0/24\", column network: 192.0.2.0/24 \
             is in the class \"campus\" already; a client has one class, and the config holds: \
             delete the row, or change the config",
            "table class, class \"zoo\" and network \"198.51.100.7/32\", column network: \
             198.51.100.7/32 is in the class \"bots\" already; a client has one class: delete one \
             of the two rows",
            "table class, class \"zoo\" and network \"nowhere\", column network: \"nowhere\" is no \
             network; write an address or a network, such as 192.0.2.0/24 or 2001:db8::/32",
        ]
    );
}

#[test]
fn users_are_written_as_they_are_stored() {
    for (user, is_one) in [
        ("alice", true),
        ("Alice B", true),
        ("zażółć", true),
        ("a@b.example", true),
        (r"DOMAIN\x5calice", true),
        (r"\x5fnone", true),
        (r"\x20a\xff", true),
        (r"DOMAIN\alice", false),
        (r"a\x5", false),
        (r"a\x5C", false),
        ("a\u{7}", false),
        ("_invalid", false),
        (&"x".repeat(256), false),
    ] {
        let columns = format!("user={user}; amount=1G; period=day");
        let known = known();
        let quota = quota_of_row(&row(1, &columns), &known);
        assert_eq!(quota.is_ok(), is_one, "{user:?}: {quota:?}");
    }
}

fn known() -> Known<'static> {
    static RULES: std::sync::OnceLock<tollkeeper::config::VhostRules> = std::sync::OnceLock::new();
    Known {
        owners: ["o"].into(),
        classes: ["c"].into(),
        vhosts: RULES.get_or_init(Default::default),
    }
}

proptest! {
    /// What is let through is what rules promise, whatever the columns hold.
    #[test]
    fn rows_are_quotas_or_refused(
        limit in "[0-9]{1,20}[KMGTPiB.]{0,2}",
        length in "[0-9]{1,8}[MHDWS]",
        slice in prop::option::of("[0-9]{1,3}[MHDW]"),
        day in prop::option::of("[0-9-]{1,5}|\\PC{0,5}"),
        warn in prop::option::of("([0-9]{1,5},){0,3}"),
        exceeded in prop::option::of("([0-9]{1,3} (deny [3-6][0-9]{2}|speed [0-9]{1,3}[kM]bps|redirect https?://[!-~]{1,20}),?){1,3}"),
        user in "\\PC{0,9}|[\\\\x0-9a-f ]{1,8}",
        rolls in any::<bool>(),
    ) {
        let mut row = row(1, "");
        row.user = Some(user);
        row.amount = Some(limit);
        row.slice = slice;
        row.billing_day = day;
        row.warn = warn;
        row.exceeded = exceeded;
        *(if rolls { &mut row.rolling } else { &mut row.period }) = Some(length);
        if let Ok(quota) = quota_of_row(&row, &known()) {
            prop_assert!((1..=u64::try_from(i64::MAX).unwrap_or_default()).contains(&quota.limit));
            prop_assert!(quota.warn.is_sorted_by(|a, b| a < b));
            prop_assert!(quota.exceeded.is_sorted_by(|a, b| a.at < b.at));
            let minutes = match quota.period {
                Period::Minutes { minutes, .. } => minutes,
                Period::Rolling { minutes } => minutes,
                other => panic!("{other:?}"),
            };
            prop_assert!(minutes >= 1);
            prop_assert!(quota.slice_minutes.is_none_or(|slice| (1..=minutes).contains(&slice)));
            for rung in &quota.exceeded {
                prop_assert!(rung.at >= 1);
                match &rung.consequence {
                    Consequence::Deny { status } => prop_assert!((400..=599).contains(status)),
                    Consequence::Slow { bytes_per_second } => prop_assert!(*bytes_per_second >= 1),
                    Consequence::Redirect { url } => {
                        let is_bad = url.contains([' ', '"', '\'', '\\', '<', '>', '$', '{', '}', '`', ';', '|']);
                        prop_assert!(url.is_ascii() && !is_bad);
                    }
                }
            }
        }
    }
}

/// The blocks of a page that are fenced as SQL.
fn sql_of(page: &str) -> impl Iterator<Item = &str> {
    let parts = page.split("```sql\n").skip(1);
    parts.filter_map(|part| part.split("```").next())
}

#[test]
fn the_rows_of_the_documentation_are_quotas() {
    let page = include_str!("../docs/quotas.md");
    let database = rusqlite::Connection::open_in_memory().expect("a database");
    for block in sql_of(page) {
        if block.starts_with("CREATE") {
            // The database's own way to number rows.
            let block = block.replace("BIGINT NOT NULL AUTO_INCREMENT", "INTEGER");
            database.execute_batch(&block).expect("tables");
            database
                .execute_batch(
                    "CREATE TABLE quota_exempt (account_kind, name, class, quota, until);
                     CREATE TABLE quota_grant (quota, account_kind, name, class, kind, amount, at, until);",
                )
                .expect("tables");
        } else {
            let inserts = block
                .replace("UPDATE", "-- UPDATE")
                .replace("DELETE", "-- DELETE");
            database.execute_batch(&inserts).expect("rows");
        }
    }
    let pairs = |table: &str| -> Vec<(String, String)> {
        let mut statement = database
            .prepare(&format!("SELECT * FROM {table}"))
            .expect("a statement");
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
        rows.expect("rows").collect::<Result<_, _>>().expect("text")
    };
    let mut statement = database
        .prepare("SELECT * FROM quota ORDER BY id")
        .expect("a statement");
    let rows = statement.query_map([], |row| {
        Ok(QuotaRow {
            id: row.get("id")?,
            vhost: row.get("vhost")?,
            user: row.get("user")?,
            vhosts: row.get("vhosts")?,
            owner: row.get("owner")?,
            class: row.get("class")?,
            amount: row.get("amount")?,
            measure: row.get("measure")?,
            period: row.get("period")?,
            rolling: row.get("rolling")?,
            billing_day: row.get("billing_day")?,
            anchor: row.get("anchor")?,
            slice: row.get("slice")?,
            warn: row.get("warn")?,
            exceeded: row.get("exceeded")?,
            reopen: row.get("reopen")?,
            report_only: row.get("report_only")?,
        })
    });
    let said = Said {
        quotas: rows.expect("rows").collect::<Result<_, _>>().expect("text"),
        owners: pairs("owner"),
        classes: pairs("class"),
        ..Said::default()
    };
    let (found, faults) = rules(&Config::default(), &said);
    assert_eq!(faults, [] as [&str; 0]);
    assert_eq!(found.quotas.len(), 5);
    assert_eq!(found.owners["carol"].len(), 2);
    assert_eq!(found.classes["crawlers"].len(), 2);

    let faulty = Said {
        quotas: vec![row(7, "vhost=a.example; amount=100; period=day")],
        ..Said::default()
    };
    let (_, faults) = rules(&Config::default(), &faulty);
    assert!(
        page.contains(&format!("```\n{}\n```", faults[0])),
        "{faults:?}"
    );
}
