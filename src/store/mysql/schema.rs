//! The tables: what is there, what has to be, and the statements in between.
//!
//! The way from the one to the other is worked out afresh each time from what is there, and each
//! statement is whole in itself. So it can be interrupted behind any of them and be begun again, and two
//! processes can go it at once.

use std::collections::BTreeMap;

use mysql_async::{Row, Value};

use super::rows::Columns;
use super::session::Session;
use super::statement::{bare, identifier, sql};
use super::trouble::Trouble;
use crate::config::MysqlUrl;

/// The version of the schema that this program writes.
pub(super) const SCHEMA_VERSION: i64 = 1;

/// The tables, in the order in which they are made.
const TABLES: [(&str, &str); 21] = [
    ("tollkeeper_meta", sql!("create_meta")),
    ("bandwidth", sql!("create_bandwidth")),
    ("bandwidth_user", sql!("create_bandwidth_user")),
    ("bandwidth_class", sql!("create_bandwidth_class")),
    ("bandwidth_layer", sql!("create_bandwidth_layer")),
    ("bandwidth_claimed", sql!("create_bandwidth_claimed")),
    ("bandwidth_minute", sql!("create_bandwidth_minute")),
    ("quota", sql!("create_quota")),
    ("owner", sql!("create_owner")),
    ("class", sql!("create_class")),
    ("quota_grant", sql!("create_quota_grant")),
    ("quota_exempt", sql!("create_quota_exempt")),
    ("tollkeeper_told", sql!("create_told")),
    ("tollkeeper_writer", sql!("create_writer")),
    ("tollkeeper_searched", sql!("create_searched")),
    ("tollkeeper_scope", sql!("create_scope")),
    ("tollkeeper_position", sql!("create_position")),
    ("tollkeeper_unparsed", sql!("create_unparsed")),
    ("tollkeeper_balance", sql!("create_balance")),
    ("tollkeeper_new_names", sql!("create_new_names")),
    ("tollkeeper_gap", sql!("create_gap")),
];

/// Columns that are read of tables which people edit, and whose names others may have taken.
const QUOTA_COLUMNS: [&str; 17] = [
    "id",
    "vhost",
    "user",
    "vhosts",
    "owner",
    "class",
    "amount",
    "measure",
    "period",
    "rolling",
    "billing_day",
    "anchor",
    "slice",
    "warn",
    "exceeded",
    "reopen",
    "report_only",
];
const GRANT_COLUMNS: [&str; 10] = [
    "id",
    "quota",
    "account_kind",
    "name",
    "class",
    "kind",
    "amount",
    "at",
    "until",
    "mark",
];
const EXEMPT_COLUMNS: [&str; 6] = ["id", "account_kind", "name", "class", "quota", "until"];

/// Collations under which names are the same only if their bytes are.
const BINARY_COLLATIONS: [&str; 3] = ["utf8mb4_bin", "utf8mb4_nopad_bin", "utf8mb4_0900_bin"];

/// What has to be done before a database is a store.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Tables to make.
    pub(super) create: Vec<&'static str>,
    /// Changes to tables that are there.
    pub(super) alter: Vec<&'static str>,
    /// What no statement of ours may mend, with the remedy.
    pub(super) refused: Vec<String>,
}

#[derive(Debug, Clone)]
struct Column {
    name: String,
    kind: String,
    is_nullable: bool,
    has_default: bool,
    collation: Option<String>,
    is_counting: bool,
}

#[derive(Debug, Clone, Default)]
struct Index {
    is_unique: bool,
    columns: Vec<String>,
    has_prefix: bool,
}

/// What is there of one table.
#[derive(Debug, Clone, Default)]
struct Found {
    is_table: bool,
    engine: Option<String>,
    is_transactional: bool,
    row_format: Option<String>,
    columns: Vec<Column>,
    indexes: BTreeMap<String, Index>,
}

impl Found {
    fn column(&self, name: &str) -> Option<&Column> {
        let mut columns = self.columns.iter();
        columns.find(|column| column.name.eq_ignore_ascii_case(name))
    }

    fn has_key(&self, unique: bool, columns: &[&str]) -> bool {
        let mut indexes = self.indexes.values();
        indexes.any(|index| {
            (index.is_unique || !unique)
                && !index.has_prefix
                && index.columns.len() >= columns.len()
                && (!unique || index.columns.len() == columns.len())
                && index
                    .columns
                    .iter()
                    .zip(columns)
                    .all(|(a, b)| a.eq_ignore_ascii_case(b))
        })
    }
}

/// Reads what is there, and works out what has to be done.
pub(super) async fn plan(session: &mut Session) -> Result<Plan, Trouble> {
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    for row in session.query::<Row>(sql!("tables")).await? {
        let mut row = Columns::of(row);
        let name = row.text()?;
        let table = found.entry(name).or_default();
        table.is_table = row.text()?.eq_ignore_ascii_case("BASE TABLE");
        table.engine = row.text_or_null()?;
        table.is_transactional = row.text()?.eq_ignore_ascii_case("YES");
        table.row_format = row.text_or_null()?;
    }
    // A table that somebody made since then is looked at the next time.
    for row in session.query::<Row>(sql!("columns")).await? {
        let mut row = Columns::of(row);
        let Some(table) = found.get_mut(&row.text()?) else {
            continue;
        };
        let column = Column {
            name: row.text()?,
            kind: row.text()?.to_ascii_lowercase(),
            is_nullable: row.text()?.eq_ignore_ascii_case("YES"),
            has_default: row.signed()? != 0,
            collation: row.text_or_null()?,
            is_counting: row.text()?.to_ascii_lowercase().contains("auto_increment"),
        };
        table.columns.push(column);
    }
    for row in session.query::<Row>(sql!("indexes")).await? {
        let mut row = Columns::of(row);
        let Some(table) = found.get_mut(&row.text()?) else {
            continue;
        };
        let index = table.indexes.entry(row.text()?).or_default();
        index.is_unique = row.signed()? == 0;
        index.columns.push(row.text()?);
        index.has_prefix |= row.signed_or_null()?.is_some();
    }
    Ok(compare(&found))
}

fn compare(found: &BTreeMap<String, Found>) -> Plan {
    let mut plan = Plan::default();
    for (name, create) in TABLES {
        let Some(table) = found.get(name) else {
            plan.create.push(create);
            continue;
        };
        if !table.is_table {
            plan.refused.push(format!(
                "{name} is a view, and rows can be added to a table alone\n\
                 rename the view, or give tollkeeper a database of its own"
            ));
            continue;
        }
        if !table.is_transactional {
            let engine = table.engine.as_deref().unwrap_or("no engine");
            plan.refused.push(format!(
                "the table {name} is kept by {engine}, which has no transactions: what was counted could \
                 be lost, or counted twice\nmend it with: ALTER TABLE {name} ENGINE = InnoDB"
            ));
            continue;
        }
        match name {
            "bandwidth" => adopt(table, &mut plan),
            "bandwidth_user" | "bandwidth_claimed" => {
                check_part(name, &["vhost", "user", "day"], table, &mut plan);
            }
            "bandwidth_class" => check_part(name, &["vhost", "class", "day"], table, &mut plan),
            "bandwidth_layer" => check_part(name, &["vhost", "layer", "day"], table, &mut plan),
            "bandwidth_minute" => {
                let key = ["vhost", "of", "part", "day", "minute"];
                check_part(name, &key, table, &mut plan);
            }
            "quota" => check_columns(name, &QUOTA_COLUMNS, table, &mut plan),
            "owner" => check_columns(name, &["owner", "vhost"], table, &mut plan),
            "class" => check_columns(name, &["class", "network"], table, &mut plan),
            "quota_grant" => check_columns(name, &GRANT_COLUMNS, table, &mut plan),
            "quota_exempt" => check_columns(name, &EXEMPT_COLUMNS, table, &mut plan),
            _ => {}
        }
    }
    plan
}

/// `bandwidth` may be mod_bw_counter's: (vhost, day, in, out), in any character set, with counters that
/// may be NULL.
fn adopt(table: &Found, plan: &mut Plan) {
    let mut refuse = |what: String| plan.refused.push(what);
    let mut is_alien = false;
    for name in ["vhost", "day", "in", "out"] {
        if table.column(name).is_none() {
            refuse(format!(
                "the table bandwidth has no column {name}: it is something else's\n\
                 rename it, or give tollkeeper a database of its own"
            ));
            is_alien = true;
        }
    }
    for column in &table.columns {
        let ours = ["vhost", "day", "in", "out", "requests"];
        let is_ours = ours
            .iter()
            .any(|name| column.name.eq_ignore_ascii_case(name));
        if !is_ours && !column.is_nullable && !column.has_default && !column.is_counting {
            let name = identifier(&column.name);
            refuse(format!(
                "the table bandwidth has a column {name} that every new row must name, and that \
                 tollkeeper knows nothing of\nmend it with: ALTER TABLE bandwidth ALTER {name} SET DEFAULT …"
            ));
        }
    }
    for (name, index) in table.indexes.iter().filter(|(_, index)| index.is_unique) {
        let counting = match index.columns.as_slice() {
            [only] => table.column(only).is_some_and(|column| column.is_counting),
            _ => false,
        };
        let mut columns: Vec<_> = index.columns.iter().map(|c| c.to_lowercase()).collect();
        columns.sort();
        if !counting && (columns != ["day", "vhost"] || index.has_prefix) {
            let shown = identifier(name);
            refuse(format!(
                "the table bandwidth has a unique key {shown} that is not (vhost, day): rows of \
                 different sites or days would be added up\nmend it with: ALTER TABLE bandwidth DROP KEY {shown}"
            ));
        }
    }
    if is_alien {
        return;
    }
    let is = |name: &str, kind: &str| {
        table.column(name).is_some_and(|column| {
            // MySQL no longer says how wide an integer is shown.
            let bare = column.kind.split('(').next().unwrap_or_default();
            let is_unsigned = column.kind.contains("unsigned");
            (column.kind == kind || (bare == kind && !is_unsigned)) && !column.is_nullable
        })
    };
    let may_be_null = ["in", "out"]
        .iter()
        .any(|name| table.column(name).is_some_and(|column| column.is_nullable));
    if may_be_null {
        plan.alter.push(sql!("upgrade_nulls"));
    }
    let is_binary = table.column("vhost").is_some_and(is_binary);
    let has_room = table.row_format.as_deref().is_none_or(|format| {
        format.eq_ignore_ascii_case("dynamic") || format.eq_ignore_ascii_case("compressed")
    });
    let fits = is("vhost", "varchar(255)")
        && is("day", "date")
        && is("in", "bigint")
        && is("out", "bigint");
    if !fits || !is_binary || !has_room {
        plan.alter.push(sql!("upgrade_columns"));
    }
    if table.column("requests").is_none() {
        plan.alter.push(sql!("upgrade_requests"));
    } else if !is("requests", "bigint") {
        plan.alter.push(sql!("upgrade_requests_type"));
    }
    if !table.has_key(true, &["vhost", "day"]) && !table.has_key(true, &["day", "vhost"]) {
        plan.alter.push(sql!("upgrade_key"));
    }
    if !table.has_key(false, &["day"]) {
        plan.alter.push(sql!("upgrade_index"));
    }
}

fn is_binary(column: &Column) -> bool {
    let collation = column.collation.as_deref().unwrap_or_default();
    BINARY_COLLATIONS.contains(&collation)
}

/// These tables are ours from the start; somebody may have changed them since.
fn check_part(name: &str, key: &[&str], table: &Found, plan: &mut Plan) {
    if !table.has_key(true, key) {
        plan.refused.push(format!(
            "the table {name} has no primary key ({}): it is something else's, or was changed\n\
             rename it, and run `tollkeeper store init`",
            key.join(", ")
        ));
        return;
    }
    let texts = ["vhost", "user", "class", "layer", "part"];
    let binary = texts
        .iter()
        .filter(|text| key.contains(text))
        .all(|column| table.column(column).is_some_and(is_binary));
    if !binary {
        plan.refused.push(format!(
            "the table {name} does not compare names bytewise: different ones would be added up\n\
             mend it with: ALTER TABLE {name} CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
        ));
    }
}

/// A table of this name may be something else's.
fn check_columns(name: &str, columns: &[&str], table: &Found, plan: &mut Plan) {
    let missing = columns.iter().find(|column| table.column(column).is_none());
    if let Some(column) = missing {
        plan.refused.push(format!(
            "the table {name} has no column {column}: it is something else's, or was changed\n\
             rename it, or give tollkeeper a database of its own"
        ));
    }
}

/// Writes what the store has to remember, unless somebody has done so already.
pub(super) async fn write_meta(
    session: &mut Session,
    zone: &str,
    seed: u64,
) -> Result<(), Trouble> {
    let values: Vec<Value> = vec![
        SCHEMA_VERSION.to_string().into(),
        format!("{seed:016x}").into(),
        zone.into(),
    ];
    session.execute(sql!("meta_insert"), values).await.map(drop)
}

/// What the store remembers. `None`: nobody has written it yet.
pub(super) async fn meta(
    session: &mut Session,
) -> Result<Option<BTreeMap<String, String>>, Trouble> {
    const NO_SUCH_TABLE: u16 = 1146;
    let rows = match session.query::<Row>(sql!("meta")).await {
        Err(trouble) if trouble.code() == Some(NO_SUCH_TABLE) => return Ok(None),
        rows => rows?,
    };
    let mut meta = BTreeMap::new();
    for row in rows {
        let mut row = Columns::of(row);
        meta.insert(row.text()?, row.text()?);
    }
    Ok(Some(meta).filter(|meta| !meta.is_empty()))
}

/// A statement as people read it.
#[must_use]
pub(super) fn shown(statement: &str) -> String {
    bare(statement) + ";\n"
}

/// What a user needs, as statements for whoever may grant it.
#[must_use]
pub fn grants(url: &MysqlUrl) -> String {
    let text = filled(sql!("grants"), url);
    if host(url) == "%" {
        return format!(
            "-- In place of '%' put the address that the server sees, if it is always the same.\n{text}"
        );
    }
    text
}

/// What a user needs besides, where `[store] users_table` names mod_leech's table.
#[must_use]
pub fn users_table_grants(url: &MysqlUrl, table: &str) -> String {
    filled(sql!("grants_users"), url).replace("{users}", &identifier(table))
}

fn filled(statements: &str, url: &MysqlUrl) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"));
    // In a grant on a whole database, _ and % stand for others.
    let pattern = url.database.replace('_', "\\_").replace('%', "\\%");
    let account = format!("{}@{}", quoted(&url.user), quoted(host(url)));
    statements
        .replace("{schema}", &identifier(&pattern))
        .replace("{database}", &identifier(&url.database))
        .replace("{account}", &account)
}

fn host(url: &MysqlUrl) -> &'static str {
    match url.is_local() {
        true => "localhost",
        false => "%",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{StoreUrl, parse_store_url};

    #[test]
    fn grants_name_what_is_meant() {
        let Ok(StoreUrl::Mysql(url)) = parse_store_url("mysql://o'b@db.example/my_%60db") else {
            panic!("no url");
        };
        let grants = grants(&url);
        assert!(
            grants.contains("ON `my\\_``db`.* TO 'o''b'@'%';"),
            "{grants}"
        );
        assert!(
            grants.contains("ON `my_``db`.bandwidth TO 'o''b'@'%';"),
            "{grants}"
        );
    }
}
