//! Stores of the version before.

use super::*;

#[test]
fn a_store_of_the_version_before_keeps_its_rows_and_gets_the_tables() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.db");
    let connection = rusqlite::Connection::open(&path).expect("a new file");
    let filled = "INSERT INTO meta VALUES ('timezone', 'UTC'), ('seed', '00000000000000ff'); \
                  INSERT INTO bandwidth VALUES ('a', '2026-11-01', 1, 2, 3); \
                  INSERT INTO bandwidth_user VALUES ('a', 'u', '2026-11-01', 1, 2, 3); \
                  PRAGMA user_version = 2; PRAGMA journal_mode = WAL;";
    connection
        .execute_batch(include_str!("../../sql/sqlite/schema-1.sql"))
        .and_then(|()| connection.execute_batch(include_str!("../../sql/sqlite/schema-2.sql")))
        .and_then(|()| connection.execute_batch(filled))
        .expect("a store");
    drop(connection);
    let help = "run `tollkeeper store upgrade`";
    let error = Sqlite::open(&path, None, Tz::UTC)
        .map(drop)
        .expect_err("old");
    assert!(error.to_string().contains(help), "{error}");
    // Who only reads is told what there is not.
    let mut old = Sqlite::open_existing(&path, None)
        .expect("readable")
        .expect("there");
    let nobody = Writer {
        instance: String::new(),
        seq: 0,
    };
    let needs = Needs {
        recent_day: FIRST_DAY,
        users: true,
        ..Needs::default()
    };
    for error in [
        old.usage(&needs, &nobody).map(drop).expect_err("old"),
        old.said().map(drop).expect_err("old"),
        old.told().map(drop).expect_err("old"),
    ] {
        assert!(error.to_string().contains(help), "{error}");
    }
    Sqlite::upgrade(&path, &mut |_| true).expect("an upgrade");
    assert_eq!(old.usage(&needs, &nobody).expect("usage").days.len(), 2);
    assert_eq!(old.said().expect("nothing"), Default::default());
    let rows = old
        .rows(UsageTable::Users, &UsageQuery::default())
        .expect("rows");
    assert_eq!((rows.len(), rows[0].requests), (1, 3));
}

#[test]
fn a_database_of_the_version_before_keeps_its_rows_and_gets_the_tables() {
    let bench = Bench::mariadb();
    let database = database(&bench);
    database.sql(
        "INSERT INTO bandwidth VALUES ('a', '2026-11-01', 1, 2, 3); \
         DROP TABLE bandwidth_claimed, bandwidth_minute, quota, owner, class, quota_grant, quota_exempt, tollkeeper_told",
    );
    let open = || Mysql::open(&database.url, &database.access(), None, Tz::UTC);
    // Its user may count, and no more.
    let error = open().map(drop).expect_err("old").to_string();
    assert!(error.contains("run `tollkeeper store init`"), "{error}");
    let existing = Mysql::open_existing(&database.url, &database.access(), None);
    let mut old = existing.expect("readable").expect("there");
    let error = old.said().expect_err("old").to_string();
    assert!(error.contains("`tollkeeper store init`"), "{error}");

    database.may_change_tables();
    // A panel has taken one of the names.
    database.sql("CREATE TABLE class (id int PRIMARY KEY, title text)");
    let error = open().map(drop).expect_err("foreign").to_string();
    assert!(
        error.contains("the table class has no column class"),
        "{error}"
    );
    database.sql("DROP TABLE class");
    let mut shown = String::new();
    let mut show = |statement: &str| {
        shown.push_str(statement);
        true
    };
    Mysql::upgrade(&database.url, &database.access(), &mut show).expect("an upgrade");
    assert_eq!(
        shown.matches("CREATE TABLE IF NOT EXISTS").count(),
        8,
        "{shown}"
    );
    database.may_count();
    let mut store = open().expect("a store");
    assert_eq!(store.said().expect("nothing"), Default::default());
    let rows = store
        .rows(UsageTable::Vhosts, &UsageQuery::default())
        .expect("rows");
    assert_eq!((rows.len(), rows[0].requests), (1, 3));
}
