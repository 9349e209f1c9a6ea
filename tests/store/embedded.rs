//! The embedded store alone: what it refuses, and how an older one is upgraded.

use super::*;

#[test]
fn what_is_no_embedded_store_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.db");
    let text = path.with_file_name("notes.txt");
    std::fs::write(
        &text,
        "this is no database, however long it may be. ".repeat(50),
    )
    .expect("a file");
    let error = Sqlite::open(&text, None, Tz::UTC)
        .err()
        .expect("no database")
        .to_string();
    assert!(error.contains("is no SQLite database"), "{error}");
    let foreign = path.with_file_name("foreign.db");
    rusqlite::Connection::open(&foreign)
        .and_then(|other| other.execute_batch("CREATE TABLE bandwidth (vhost)"))
        .expect("a database");
    let error = Sqlite::open(&foreign, None, Tz::UTC)
        .err()
        .expect("not ours")
        .to_string();
    assert!(error.contains("is a database of something else"), "{error}");

    let none = Sqlite::open_existing(&path.with_file_name("none.db"), None);
    assert!(none.expect("no error").is_none());
}

/// What the first version of this program has made, with a row in it.
fn store_of_version_1(path: &Path) {
    let connection = rusqlite::Connection::open(path).expect("a new file");
    let filled = "INSERT INTO meta VALUES ('timezone', 'UTC'), ('seed', '00000000000000ff'); \
                  INSERT INTO bandwidth VALUES ('a', '2026-11-20', 1, 2, 3); \
                  PRAGMA user_version = 1; PRAGMA journal_mode = WAL;";
    connection
        .execute_batch(include_str!("../../sql/sqlite/schema-1.sql"))
        .and_then(|()| connection.execute_batch(filled))
        .expect("a store");
}

#[test]
fn an_embedded_store_of_an_older_version_is_upgraded_when_somebody_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.db");
    store_of_version_1(&path);
    let refused = |path: &Path| {
        let opened = Sqlite::open(path, None, Tz::UTC).map(drop);
        opened.expect_err("an old store").to_string()
    };
    for needle in ["has schema version 1", "run `tollkeeper store upgrade`"] {
        assert!(refused(&path).contains(needle), "{}", refused(&path));
    }
    // It can be read all the same, but for what it has not.
    let mut old = Sqlite::open_existing(&path, None)
        .expect("readable")
        .expect("there");
    let all = UsageQuery::default();
    assert_eq!(old.rows(UsageTable::Vhosts, &all).expect("rows").len(), 1);
    let error = old.rows(UsageTable::Layers, &all).expect_err("no table");
    assert!(error.to_string().contains("store upgrade"), "{error}");

    let mut shown = String::new();
    Sqlite::upgrade(&path, &mut |step| {
        shown.push_str(step);
        false
    })
    .expect("nothing");
    assert!(shown.contains("CREATE TABLE bandwidth_layer"), "{shown}");
    assert!(!shown.contains("CREATE TABLE bandwidth ("), "{shown}");
    refused(&path);

    // While another process has it open.
    let mut steps = 0;
    let mut count = |_: &str| {
        steps += 1;
        true
    };
    Sqlite::upgrade(&path, &mut count).expect("an upgrade");
    assert_eq!(old.rows(UsageTable::Layers, &all).expect("rows").len(), 0);
    Sqlite::upgrade(&path, &mut count).expect("nothing to do");
    assert_eq!(steps, 2);
    let mut store = Sqlite::open(&path, None, Tz::UTC).expect("a store");
    assert_eq!(store.seed(), 0xff);
    let mut writer = store.register("n", Role::Import, NOW).expect("a writer");
    let mut batch = Batch::default();
    batch.deltas.layers.push(delta("a", "backend", 5));
    store.flush(&mut writer, "n", &batch, NOW).expect("a flush");
    assert_eq!(store.rows(UsageTable::Vhosts, &all).expect("rows").len(), 1);
    assert_eq!(store.rows(UsageTable::Layers, &all).expect("rows").len(), 1);

    // What is made anew and what is upgraded are the same.
    let new = folder.path().join("new.db");
    drop(Sqlite::open(&new, None, Tz::UTC).expect("a store"));
    let tables = |path: &Path| -> Vec<(String, Option<String>)> {
        let connection = rusqlite::Connection::open(path).expect("a store");
        let mut statement = connection
            .prepare("SELECT name, sql FROM sqlite_schema ORDER BY name")
            .expect("a query");
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
        rows.expect("rows").map(|row| row.expect("a row")).collect()
    };
    assert_eq!(tables(&path), tables(&new));
}

#[test]
fn many_that_upgrade_one_store_at_once_upgrade_it_once() {
    let folder = tempfile::tempdir().expect("a folder");
    for round in 0..5 {
        let path = folder.path().join(format!("{round}.db"));
        store_of_version_1(&path);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| Sqlite::upgrade(&path, &mut |_| true).expect("an upgrade"));
            }
        });
        Sqlite::open(&path, None, Tz::UTC).expect("a store");
    }
}

#[test]
fn a_store_that_is_not_ours_or_newer_is_not_upgraded() {
    let folder = tempfile::tempdir().expect("a folder");
    for (version, says) in [(1, "no such table: meta"), (99, "has schema version 99")] {
        let path = folder.path().join(format!("{version}.db"));
        let connection = rusqlite::Connection::open(&path).expect("a new file");
        connection
            .execute_batch(&format!(
                "CREATE TABLE x (y); PRAGMA user_version = {version}"
            ))
            .expect("a database");
        let error = Sqlite::upgrade(&path, &mut |step| panic!("{step}"));
        let error = error.expect_err("not ours").to_string();
        assert!(error.contains(says), "{error}");
    }
    let none = folder.path().join("none.db");
    Sqlite::upgrade(&none, &mut |step| panic!("{step}")).expect("nothing to do");
    assert!(!none.exists());
}
