//! The tables of a database: made, taken over from mod_bw_counter, or refused; and who may get in.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use chrono_tz::Tz;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
};
use support::log::{FORMAT, NOON, line};
use support::mariadb::{Database, MariaDb, PASSWORD};
use support::{Ran, Sandbox, text};
use tollkeeper::store::mysql::{Access, Mysql};
use tollkeeper::store::{Batch, Role, Store};

/// As mod_bw_counter's documentation has it.
const MOD_BW_COUNTER: &str = "CREATE TABLE bandwidth (vhost varchar(255), day date, `in` bigint(64), \
                              `out` bigint(64), PRIMARY KEY (vhost, day))";

fn url(database: &Database<'_>) -> String {
    database.url.to_string()
}

/// Runs a command on a database, with its password in the environment.
fn ran(sandbox: &Sandbox, database: &Database<'_>, arguments: &[&str]) -> Ran {
    let url = url(database);
    let mut command =
        sandbox.tollkeeper([arguments, &["--store", &url, "--timezone", "UTC"]].concat());
    command.env("TOLLKEEPER_STORE_PASSWORD", PASSWORD);
    sandbox.ran_with_input(command, b"")
}

fn import(sandbox: &Sandbox, database: &Database<'_>, log: &str) -> Ran {
    let path = sandbox.write("import.log", log);
    ran(
        sandbox,
        database,
        &["import", "--format", FORMAT, text(&path)],
    )
}

#[test]
fn init_says_what_it_made_and_needs_no_more_than_it_says() {
    let sandbox = Sandbox::new();
    let database = MariaDb::shared().empty_database();
    // Whoever may do nothing is told what to do.
    let refused = ran(&sandbox, &database, &["store", "init"]).exited(1);
    assert!(refused.stderr.contains("denied"), "{}", refused.stderr);
    let refused = ran(&sandbox, &database, &["store", "grants"]).exited(0);
    assert!(refused.stdout.contains("GRANT "), "{}", refused.stdout);

    database.sql(&format!(
        "GRANT SELECT ON {}.* TO {}@localhost",
        database.name, database.url.user
    ));
    let refused = import(
        &sandbox,
        &database,
        &line(NOON, 200, (1, 2), "a.example", "-"),
    )
    .exited(1);
    let stderr = refused.stderr;
    assert!(
        stderr.contains("tollkeeper store init") && stderr.contains("tollkeeper store grants"),
        "{stderr}"
    );
    assert_eq!(database.sql("SHOW TABLES"), "");

    database.may_change_tables();
    let made = ran(&sandbox, &database, &["store", "init"]).exited(0);
    let tables: Vec<_> = made
        .stdout
        .lines()
        .filter_map(|line| line.strip_prefix("made the table "))
        .map(str::to_owned)
        .collect();
    let there: BTreeSet<String> = database
        .sql("SHOW TABLES")
        .lines()
        .map(str::to_owned)
        .collect();
    assert_eq!(tables.iter().cloned().collect::<BTreeSet<_>>(), there);
    let others = there.iter().filter(|name| !name.starts_with("tollkeeper_"));
    let others: Vec<_> = others.map(String::as_str).collect();
    let tables_of_rows = [
        "bandwidth",
        "bandwidth_claimed",
        "bandwidth_class",
        "bandwidth_layer",
        "bandwidth_minute",
        "bandwidth_user",
        "class",
        "owner",
        "quota",
        "quota_exempt",
        "quota_grant",
    ];
    assert_eq!(others, tables_of_rows);
    let again = ran(&sandbox, &database, &["store", "init"]).exited(0);
    assert!(!again.stdout.contains("made"), "{}", again.stdout);
    assert!(again.stdout.contains("is ready; its days are those of UTC"));

    database.may_count();
    import(
        &sandbox,
        &database,
        &line(NOON, 200, (1, 2), "a.example", "-"),
    )
    .exited(0);
    let report = ran(&sandbox, &database, &["report", "--output", "csv"]).exited(0);
    assert!(
        report.stdout.contains("a.example,1,2,1"),
        "{}",
        report.stdout
    );
}

#[test]
fn printed_grants_are_what_the_program_lives_on_without_one_too_many() {
    // Each right that is printed is needed: without it something fails, or says why it does not.
    let database = MariaDb::shared().database();
    let granted = database.sql(&format!("SHOW GRANTS FOR {}@localhost", database.url.user));
    assert!(!granted.contains("ALL PRIVILEGES"), "{granted}");
    assert!(
        !granted.contains(&format!("`{}`.*", database.name)),
        "{granted}"
    );
    let mut store = database.open();
    let mut writer = store.register("n", Role::Daemon, 0).expect("a writer");
    store
        .flush(&mut writer, "n", &Batch::default(), 0)
        .expect("a flush");
    for forbidden in [
        "CREATE TABLE x (y int)",
        "DROP TABLE bandwidth",
        "DELETE FROM bandwidth",
        "ALTER TABLE bandwidth ADD x int",
        "UPDATE tollkeeper_meta SET value = ''",
        "INSERT INTO quota (vhost) VALUES ('a')",
        "DELETE FROM owner",
        "UPDATE class SET class = ''",
        "UPDATE quota_grant SET amount = 1",
        "UPDATE tollkeeper_told SET told = 1",
    ] {
        let mut client = std::process::Command::new("mariadb");
        let output = client
            .args(["--no-defaults", "-h127.0.0.1", "-e", forbidden])
            .arg(format!("-u{}", database.url.user))
            .arg(format!("-P{}", database.url.port))
            .arg(&database.name)
            .env("MYSQL_PWD", PASSWORD)
            .output()
            .expect("mariadb");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains("denied"), "{forbidden}: {stderr}");
    }
}

#[test]
fn many_that_make_one_store_at_once_make_it_once() {
    for _ in 0..3 {
        let database = MariaDb::shared().empty_database();
        database.may_change_tables();
        let seeds: Vec<u64> = std::thread::scope(|scope| {
            let opening: Vec<_> = (0..6)
                .map(|_| scope.spawn(|| database.open().seed()))
                .collect();
            opening
                .into_iter()
                .map(|opened| opened.join().expect("a store"))
                .collect()
        });
        assert!(seeds.iter().all(|seed| *seed == seeds[0]), "{seeds:?}");
    }
}

#[test]
fn a_store_from_before_there_were_layers_gets_their_table() {
    let sandbox = Sandbox::new();
    let database = MariaDb::shared().empty_database();
    database.may_change_tables();
    ran(&sandbox, &database, &["store", "init"]).exited(0);
    database.may_count();
    let log = line(NOON, 200, (1, 2), "a.example", "-");
    import(&sandbox, &database, &log).exited(0);
    // As an older version has left it, whose user may count and no more.
    database.sql("DROP TABLE bandwidth_layer");

    let refused = import(&sandbox, &database, &log).exited(1).stderr;
    let help = "run `tollkeeper store init` as a user who may, and grant this one what \
                `tollkeeper store grants` prints";
    assert!(
        refused.contains("bandwidth_layer") && refused.contains(help),
        "{refused}"
    );
    // What is there can be read.
    let report = ran(&sandbox, &database, &["report", "--output", "csv"]).exited(0);
    assert!(
        report.stdout.contains("a.example,1,2,1"),
        "{}",
        report.stdout
    );

    database.may_change_tables();
    let shown = ran(&sandbox, &database, &["store", "upgrade", "--dry-run"]).exited(0);
    assert!(
        shown
            .stdout
            .starts_with("CREATE TABLE IF NOT EXISTS bandwidth_layer ("),
        "{}",
        shown.stdout
    );
    assert_eq!(shown.stdout.matches("TABLE").count(), 1, "{}", shown.stdout);
    assert_eq!(database.sql("SHOW TABLES LIKE 'bandwidth_layer'"), "");
    let run = ran(&sandbox, &database, &["store", "upgrade"]).exited(0);
    assert!(run.stdout.starts_with(&shown.stdout), "{}", run.stdout);
    database.may_count();
    let path = sandbox.write("inner.log", line(NOON, 200, (3, 4), "a.example", "-"));
    let arguments = [
        "import",
        "--layer",
        "backend",
        "--format",
        FORMAT,
        text(&path),
    ];
    ran(&sandbox, &database, &arguments).exited(0);
    let rows = database.sql("SELECT vhost, layer, day, `in`, `out`, requests FROM bandwidth_layer");
    assert_eq!(rows, "a.example\tbackend\t2024-06-15\t3\t4\t1");
    let edge = database.sql("SELECT vhost, `in`, `out`, requests FROM bandwidth");
    assert_eq!(edge, "a.example\t1\t2\t1");
}

/// mod_bw_counter's table, in a form that it may have.
fn adopted(create: &str) {
    let sandbox = Sandbox::new();
    let database = MariaDb::shared().empty_database();
    database.sql(create);
    database.sql(
        "INSERT INTO bandwidth (vhost, day, `in`, `out`) VALUES \
         ('old.example', '2024-06-15', 10, 20), ('żółw.example', '2024-06-15', 7, 9223372036854775000), \
         ('old.example', '2024-06-14', 30, 40)",
    );
    database.may_change_tables();
    let refused = import(&sandbox, &database, "").exited(1);
    let stderr = refused.stderr;
    assert!(stderr.contains("tollkeeper store upgrade"), "{stderr}");

    let shown = ran(&sandbox, &database, &["store", "upgrade", "--dry-run"]).exited(0);
    assert!(
        shown.stdout.contains("ALTER TABLE bandwidth"),
        "{}",
        shown.stdout
    );
    assert_eq!(database.sql("SHOW TABLES"), "bandwidth");
    let run = ran(&sandbox, &database, &["store", "upgrade"]).exited(0);
    assert!(run.stdout.starts_with(&shown.stdout), "{}", run.stdout);
    let again = ran(&sandbox, &database, &["store", "upgrade"]).exited(0);
    assert!(!again.stdout.contains("TABLE"), "{}", again.stdout);

    database.may_count();
    let mut log = line(NOON, 200, (1, 2), "old.example", "-");
    log += &line(NOON, 200, (1, 2), "OLD.example", "-");
    import(&sandbox, &database, &log).exited(0);
    let rows = database.sql(
        "SELECT vhost, day, `in`, `out`, requests FROM bandwidth ORDER BY day, length(vhost), vhost",
    );
    assert_eq!(
        rows,
        "old.example\t2024-06-14\t30\t40\t0\n\
         old.example\t2024-06-15\t12\t24\t2\n\
         żółw.example\t2024-06-15\t7\t9223372036854775000\t0"
    );
    // mod_bw_counter can go on writing to it.
    database.sql(
        "INSERT INTO bandwidth (vhost, day, `in`, `out`) VALUES ('old.example', '2024-06-16', 1, 1)",
    );
}

#[test]
fn a_table_of_mod_bw_counters_is_taken_over_with_its_rows() {
    adopted(&format!("{MOD_BW_COUNTER} ENGINE=InnoDB CHARSET=utf8mb4"));
}

#[test]
fn one_in_latin2_without_a_key_on_days_and_with_compact_rows_is_taken_over() {
    adopted(&format!(
        "{MOD_BW_COUNTER} ENGINE=InnoDB CHARSET=latin2 COLLATE latin2_general_ci ROW_FORMAT=COMPACT"
    ));
}

#[test]
fn one_without_any_key_is_taken_over() {
    adopted(
        "CREATE TABLE bandwidth (vhost varchar(100) NOT NULL, day date NOT NULL, `in` int, \
         `out` bigint(64)) ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_unicode_ci",
    );
}

#[test]
fn counters_that_are_null_are_nothing() {
    let sandbox = Sandbox::new();
    let database = MariaDb::shared().empty_database();
    database.sql(&format!("{MOD_BW_COUNTER} ENGINE=InnoDB"));
    database.sql(
        "INSERT INTO bandwidth VALUES ('a', '2024-06-15', NULL, 5), ('b', '2024-06-15', 6, NULL)",
    );
    database.may_change_tables();
    ran(&sandbox, &database, &["store", "upgrade"]).exited(0);
    let rows = database.sql("SELECT vhost, `in`, `out`, requests FROM bandwidth ORDER BY vhost");
    assert_eq!(rows, "a\t0\t5\t0\nb\t6\t0\t0");
}

#[test]
fn an_upgrade_interrupted_behind_any_statement_is_finished_by_the_next() {
    let server = MariaDb::shared();
    let mut statements = 1;
    let mut stop_behind = 0;
    while stop_behind < statements {
        let database = server.empty_database();
        database.sql(&format!("{MOD_BW_COUNTER} ENGINE=InnoDB CHARSET=latin1"));
        database.sql("INSERT INTO bandwidth VALUES ('a.example', '2024-06-15', NULL, 5)");
        database.may_change_tables();
        let mut ran = 0;
        let mut run_some = |_: &str| {
            ran += 1;
            ran <= stop_behind
        };
        Mysql::upgrade(&database.url, &database.access(), &mut run_some).expect("some of it");
        statements = statements.max(ran);
        Mysql::upgrade(&database.url, &database.access(), &mut |_| true).expect("the rest");
        database.open();
        assert_eq!(
            database.sql("SELECT vhost, `in`, `out`, requests FROM bandwidth"),
            "a.example\t0\t5\t0"
        );
        stop_behind += 1;
    }
    assert!(statements > 10, "{statements}");
}

#[test]
fn tables_without_transactions_are_refused_with_what_mends_them() {
    let sandbox = Sandbox::new();
    let database = MariaDb::shared().empty_database();
    database.sql(&format!("{MOD_BW_COUNTER} ENGINE=MyISAM"));
    database.may_change_tables();
    let mend = "ALTER TABLE bandwidth ENGINE = InnoDB";
    for command in [&["store", "init"][..], &["store", "upgrade"]] {
        let refused = ran(&sandbox, &database, command).exited(1);
        assert!(refused.stderr.contains(mend), "{}", refused.stderr);
        assert_eq!(refused.stdout, "");
    }
    database.sql(mend);
    ran(&sandbox, &database, &["store", "upgrade"]).exited(0);

    // Somebody changes a table later.
    database.may_count();
    for table in ["tollkeeper_position", "bandwidth_user"] {
        database.sql(&format!("ALTER TABLE {table} ENGINE = Aria"));
        let refused = import(&sandbox, &database, "").exited(1);
        let mend = format!("ALTER TABLE {table} ENGINE = InnoDB");
        assert!(refused.stderr.contains(&mend), "{}", refused.stderr);
        database.sql(&mend);
    }
    import(&sandbox, &database, "").exited(0);
}

#[test]
fn tables_of_something_else_are_refused() {
    let sandbox = Sandbox::new();
    for (create, says) in [
        (
            "CREATE TABLE bandwidth (id int PRIMARY KEY)",
            "has no column vhost",
        ),
        (
            "CREATE TABLE bandwidth (vhost varchar(255), day date, `in` bigint, `out` bigint, \
             owner int NOT NULL, PRIMARY KEY (vhost, day))",
            "a column `owner` that every new row must name",
        ),
        (
            "CREATE TABLE bandwidth (vhost varchar(255), day date, `in` bigint, `out` bigint, \
             PRIMARY KEY (vhost, day), UNIQUE KEY d (day))",
            "a unique key `d`",
        ),
        (
            "CREATE TABLE x (vhost varchar(255), day date); CREATE VIEW bandwidth AS SELECT * FROM x",
            "is a view",
        ),
        (
            "CREATE TABLE bandwidth_user (vhost varchar(255), `user` varchar(255), day date, \
             PRIMARY KEY (vhost, day))",
            "has no primary key (vhost, user, day)",
        ),
        (
            "CREATE TABLE bandwidth_user (vhost varchar(250), `user` varchar(250), day date, \
             PRIMARY KEY (vhost, `user`, day)) CHARSET utf8mb4 COLLATE utf8mb4_general_ci",
            "does not compare names bytewise",
        ),
        (
            "CREATE TABLE bandwidth_layer (vhost varchar(255), layer varchar(255), day date, \
             PRIMARY KEY (vhost, day))",
            "has no primary key (vhost, layer, day)",
        ),
        (
            "CREATE TABLE tollkeeper_meta (name varbinary(64) PRIMARY KEY, value varbinary(255)); \
             INSERT INTO tollkeeper_meta VALUES ('schema', '2')",
            "has schema version \"2\"",
        ),
    ] {
        let database = MariaDb::shared().empty_database();
        database.sql(create);
        database.may_change_tables();
        let before = database.sql("SHOW TABLES");
        for command in [&["store", "init"][..], &["store", "upgrade"]] {
            let refused = ran(&sandbox, &database, command).exited(1);
            assert!(refused.stderr.contains(says), "{says}: {}", refused.stderr);
        }
        assert_eq!(database.sql("SHOW TABLES"), before);
    }
}

#[test]
fn passwords_come_from_a_file_the_environment_or_a_credential() {
    let database = MariaDb::shared().database();
    let sandbox = Sandbox::new();
    let url = url(&database);
    let credentials = sandbox.path("credentials");
    let right = sandbox.write("password", format!("{PASSWORD}\n"));
    sandbox.write("credentials/store-password", PASSWORD);
    let wrong = sandbox.write("wrong", "wrong");
    let report = |file: Option<&PathBuf>, variable: Option<&str>, credential: bool| {
        let config = match file {
            Some(file) => format!("[store]\nurl = {url:?}\npassword_file = {file:?}\n"),
            None => format!("[store]\nurl = {url:?}\n"),
        };
        let config = sandbox.write("tollkeeper.toml", config);
        let mut command = sandbox.tollkeeper(["report", "-c", text(&config)]);
        if let Some(password) = variable {
            command.env("TOLLKEEPER_STORE_PASSWORD", password);
        }
        if credential {
            command.env("CREDENTIALS_DIRECTORY", &credentials);
        }
        sandbox.ran_with_input(command, b"")
    };
    report(Some(&right), None, false).exited(0);
    report(None, Some(PASSWORD), false).exited(0);
    report(None, None, true).exited(0);
    // The first that is there counts.
    report(Some(&right), Some("wrong"), false).exited(0);
    report(None, Some(PASSWORD), true).exited(0);
    for refused in [
        report(Some(&wrong), Some(PASSWORD), true),
        report(None, Some("wrong"), true),
        report(None, None, false),
    ] {
        let stderr = refused.exited(1).stderr;
        assert!(stderr.contains("Access denied"), "{stderr}");
        assert!(stderr.contains("password_file"), "{stderr}");
    }
    let missing = report(Some(&sandbox.path("none")), None, false).exited(1);
    assert!(
        missing.stderr.contains("cannot read the password file"),
        "{}",
        missing.stderr
    );
}

#[test]
fn the_unix_socket_is_used_where_the_url_names_it() {
    let database = MariaDb::shared().database();
    let sandbox = Sandbox::new();
    let socket = database.server.socket();
    let url = format!(
        "mysql://{}@localhost/{}?socket={}",
        database.url.user,
        database.name,
        socket.display()
    );
    let mut command = sandbox.tollkeeper(["store", "init", "--store", &url]);
    command.env("TOLLKEEPER_STORE_PASSWORD", PASSWORD);
    let ran = sandbox.ran_with_input(command, b"").exited(0);
    assert!(ran.stdout.contains("is ready"), "{}", ran.stdout);
}

/// Certificates of one authority.
struct Authority {
    sandbox: Sandbox,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = named("an authority");
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        let sandbox = Sandbox::new();
        sandbox.write("ca.pem", issuer.pem());
        Self { sandbox, issuer }
    }

    fn ca(&self) -> PathBuf {
        self.sandbox.path("ca.pem")
    }

    /// A certificate for a name or an address, and its key.
    fn issue(&self, name: &str) -> (PathBuf, PathBuf) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.distinguished_name = named(name);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let certificate = self
            .sandbox
            .write(&format!("{name}.pem"), certificate.pem());
        let key = self
            .sandbox
            .write(&format!("{name}.key"), key.serialize_pem());
        (certificate, key)
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

#[test]
fn tls_is_spoken_with_whom_the_authority_vouches_for() {
    let ours = Authority::new();
    let theirs = Authority::new();
    let (certificate, key) = ours.issue("127.0.0.1");
    let server = MariaDb::start(&[
        &format!("--ssl-ca={}", ours.ca().display()),
        &format!("--ssl-cert={}", certificate.display()),
        &format!("--ssl-key={}", key.display()),
    ]);
    let database = server.database();
    let user = &database.url.user;
    let open = |url: &tollkeeper::config::MysqlUrl, access: Access| {
        Mysql::open(url, &access, Some(Tz::UTC), Tz::UTC).map(drop)
    };
    let with_ca = |authority: &Authority| Access {
        tls: Some(true),
        tls_ca: Some(authority.ca()),
        ..database.access()
    };
    server.sql("", &format!("ALTER USER {user}@localhost REQUIRE SSL"));
    let plain = open(&database.url, database.access()).expect_err("no TLS");
    assert!(plain.to_string().contains("Access denied"), "{plain}");
    open(&database.url, with_ca(&ours)).expect("TLS");
    let strange = open(&database.url, with_ca(&theirs)).expect_err("another authority");
    assert!(
        strange.to_string().contains("invalid peer certificate"),
        "{strange}"
    );
    let public = Access {
        tls: Some(true),
        ..database.access()
    };
    open(&database.url, public).expect_err("no public authority");
    // The name has to be that of the certificate.
    let mut other = database.url.clone();
    other.host = "localhost".into();
    let error = open(&other, with_ca(&ours)).expect_err("another name");
    assert!(error.to_string().contains("localhost"), "{error}");

    server.sql("", &format!("ALTER USER {user}@localhost REQUIRE X509"));
    let error = open(&database.url, with_ca(&ours)).expect_err("no certificate of our own");
    assert!(error.to_string().contains("Access denied"), "{error}");
    let known = Access {
        tls_identity: Some(ours.issue("client.example")),
        ..with_ca(&ours)
    };
    open(&database.url, known).expect("TLS with a certificate of our own");
}

#[test]
fn a_connection_that_leaves_the_machine_wants_tls() {
    // An address of this machine that is not its loopback is not at hand everywhere; a name is.
    let server = MariaDb::start(&["--skip-ssl"]);
    let database = server.database();
    let wanted = Access {
        tls: Some(true),
        ..database.access()
    };
    let refused = Mysql::open(&database.url, &wanted, Some(Tz::UTC), Tz::UTC).map(drop);
    let refused = refused.expect_err("no TLS").to_string();
    assert!(refused.contains("tls = \"off\""), "{refused}");
    let hosts = fs::read_to_string("/proc/sys/kernel/hostname").expect("a name");
    let mut far = database.url.clone();
    far.host = hosts.trim().into();
    assert!(!far.is_local());
}
