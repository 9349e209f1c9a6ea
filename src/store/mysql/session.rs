//! One connection, set up. Once an answer is missing it is never used again: mysql_async would take the
//! late answer to one statement for the answer to the next.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use mysql_async::prelude::{FromRow, Queryable as _};
use mysql_async::{
    ClientIdentity, Conn, Opts, OptsBuilder, Params, Row, SslOpts, Value, consts::StatusFlags,
};

use super::access::Access;
use super::rows::Columns;
use super::statement::{Dialect, for_rows, sql};
use super::trouble::Trouble;
use crate::config::MysqlUrl;

/// How long a connection may take to be made.
const MAX_CONNECT: Duration = Duration::from_secs(10);
/// How long a statement may take; the server gives up on it before (`sql/mysql/session*.sql`).
pub(super) const MAX_STATEMENT: Duration = Duration::from_secs(60);
/// How long reading all rows or names may take.
const MAX_READING: Duration = Duration::from_secs(300);
/// How long a change of a table may take, which copies all of it.
const MAX_CHANGE: Duration = Duration::from_secs(7 * 86_400);
/// When TCP begins to ask whether an idle peer is there still.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Prepared statements that are kept: one for each text and number of rows.
const KEPT_STATEMENTS: usize = 64;
/// Rows in a statement.
pub(super) const MAX_ROWS: usize = 500;
/// Bytes of values in a statement, well below any `max_allowed_packet`.
pub(super) const MAX_STATEMENT_BYTES: usize = 256 << 10;

/// The values of one row.
pub(super) type Values = Vec<Value>;

/// One connection.
pub(super) struct Session {
    conn: Conn,
    pub(super) dialect: Dialect,
    is_mariadb: bool,
    /// Every statement so far has been answered.
    answered: bool,
    limit: Duration,
    /// How long an answer may take, but for what is known to take longer.
    usual_limit: Duration,
}

impl Session {
    /// Connects and sets the connection up.
    pub(super) async fn open(
        url: &MysqlUrl,
        access: &Access,
        limit: Duration,
    ) -> Result<Self, Trouble> {
        let options = options(url, access)?;
        let conn = match tokio::time::timeout(MAX_CONNECT, Conn::new(options)).await {
            Ok(conn) => conn?,
            Err(_) => {
                let seconds = MAX_CONNECT.as_secs();
                return Err(Trouble::Away(format!("no answer within {seconds} s")));
            }
        };
        let mut session = Self {
            conn,
            dialect: Dialect::Values,
            is_mariadb: true,
            answered: true,
            limit,
            usual_limit: limit,
        };
        session.set_up().await?;
        Ok(session)
    }

    async fn set_up(&mut self) -> Result<(), Trouble> {
        let variables: Vec<(String, String)> = self.query(sql!("server")).await?;
        let variable = |name: &str| {
            let found = variables
                .iter()
                .find(|(known, _)| known.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.as_str())
        };
        let version = variable("version").unwrap_or_default();
        self.is_mariadb = version.contains("MariaDB");
        let (major, minor, patch) = self.conn.server_version();
        if !self.is_mariadb && (major, minor, patch) >= (8, 0, 20) {
            self.dialect = Dialect::Alias;
        }
        self.run(sql!("session")).await?;
        // Under READ COMMITTED locks are held on rows alone, not on the gaps between them. A server that
        // replicates statements refuses to write under it.
        let by_statement = variable("log_bin") == Some("ON")
            && variable("binlog_format").is_some_and(|f| f.eq_ignore_ascii_case("STATEMENT"));
        match by_statement {
            true => self.run(sql!("session_repeatable_read")).await?,
            false => self.run(sql!("session_read_committed")).await?,
        }
        if variable("max_statement_time").is_some() {
            self.run(sql!("session_mariadb")).await?;
        } else if variable("max_execution_time").is_some() {
            self.run(sql!("session_mysql")).await?;
        }
        if variable("idle_write_transaction_timeout").is_some() {
            self.run(sql!("session_mariadb_idle")).await?;
        }
        // A node of a cluster first catches up with the others, then answers.
        if variable("wsrep_on") == Some("ON") {
            self.run(sql!("session_galera")).await?;
        }
        Ok(())
    }

    /// Whether it can be used for the next statement.
    pub(super) fn is_usable(&self) -> bool {
        self.answered
    }

    /// Makes sure that it is not used again.
    pub(super) fn give_up(&mut self) {
        self.answered = false;
    }

    /// Ends a transaction without a trace. START TRANSACTION would commit an open
    /// transaction: where this is not answered, the connection is given up, and the server rolls back.
    pub(super) async fn roll_back(&mut self) {
        if self.run(sql!("rollback")).await.is_err() {
            self.give_up();
        }
    }

    /// Lets changes of tables take as long as they take.
    pub(super) async fn take_all_time(&mut self) -> Result<(), Trouble> {
        self.limit = MAX_CHANGE;
        match self.is_mariadb {
            true => self.run(sql!("unhurried_mariadb")).await,
            false => Ok(()),
        }
    }

    /// Gives statements that read everything more time.
    pub(super) async fn take_time(&mut self) -> Result<(), Trouble> {
        self.limit = MAX_READING;
        match self.is_mariadb {
            true => self.run(sql!("patient_mariadb")).await,
            false => self.run(sql!("patient_mysql")).await,
        }
    }

    /// Back to the usual.
    pub(super) async fn hurry(&mut self) -> Result<(), Trouble> {
        self.limit = self.usual_limit;
        match self.is_mariadb {
            true => self.run(sql!("session_mariadb")).await,
            false => self.run(sql!("session_mysql")).await,
        }
    }

    /// A statement without parameters, in one round trip.
    pub(super) async fn run(&mut self, statement: &str) -> Result<(), Trouble> {
        let work = self.conn.query_drop(statement);
        answer(&mut self.answered, self.limit, work).await
    }

    /// Rows of a statement without parameters, in one round trip.
    pub(super) async fn query<T>(&mut self, statement: &str) -> Result<Vec<T>, Trouble>
    where
        T: FromRow + Send + 'static,
    {
        let work = self.conn.query::<Row, _>(statement);
        let rows = answer(&mut self.answered, self.limit, work).await?;
        rows.into_iter().map(typed).collect()
    }

    /// A statement for one row; says how many rows it met.
    pub(super) async fn execute(
        &mut self,
        statement: &str,
        values: Values,
    ) -> Result<u64, Trouble> {
        let work = self.conn.exec_drop(statement, Params::from(values));
        answer(&mut self.answered, self.limit, work).await?;
        Ok(self.conn.affected_rows())
    }

    /// A statement for many rows, so many at a time. Says how many rows it met, where an update of an
    /// existing row may count twice.
    pub(super) async fn execute_many(
        &mut self,
        statement: &str,
        rows: impl IntoIterator<Item = Values>,
    ) -> Result<u64, Trouble> {
        let mut met = 0;
        let mut rows = rows.into_iter().peekable();
        while rows.peek().is_some() {
            let (count, values) = next_chunk(&mut rows);
            let text = for_rows(statement, count, self.dialect);
            met += self.execute(&text, values).await?;
        }
        Ok(met)
    }

    /// Rows of a statement.
    pub(super) async fn select(
        &mut self,
        statement: &str,
        values: Values,
    ) -> Result<Vec<Row>, Trouble> {
        let work = self.conn.exec::<Row, _, _>(statement, Params::from(values));
        answer(&mut self.answered, self.limit, work).await
    }

    /// Takes the rows of a statement one after the other, without keeping them. All of them are read, whatever
    /// is wrong with one; the first trouble is told.
    pub(super) async fn each(
        &mut self,
        statement: &str,
        values: Values,
        mut take: impl FnMut(Columns) -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        let mut taken = Ok(());
        let conn = &mut self.conn;
        let work = async {
            let result = conn.exec_iter(statement, Params::from(values)).await?;
            result
                .for_each_and_drop(|row| {
                    if taken.is_ok() {
                        taken = take(Columns::of(row));
                    }
                })
                .await
        };
        answer(&mut self.answered, self.limit, work).await?;
        taken
    }

    /// Rows of a statement that names many keys, so many at a time.
    pub(super) async fn select_many(
        &mut self,
        statement: &str,
        keys: impl IntoIterator<Item = Value>,
    ) -> Result<Vec<Row>, Trouble> {
        let mut found = Vec::new();
        let mut keys = keys.into_iter().map(|key| vec![key]).peekable();
        while keys.peek().is_some() {
            let (count, values) = next_chunk(&mut keys);
            let text = for_rows(statement, count, self.dialect);
            found.extend(self.select(&text, values).await?);
        }
        Ok(found)
    }

    /// Whether the server says that a transaction is open, in its answer to the last change.
    pub(super) fn is_in_transaction(&self) -> bool {
        let answer = self.conn.last_ok_packet();
        answer.is_none_or(|ok| {
            ok.status_flags()
                .contains(StatusFlags::SERVER_STATUS_IN_TRANS)
        })
    }

    /// Says goodbye, so that the server does not note a lost connection.
    pub(super) async fn close(self) {
        if self.answered {
            let _ = tokio::time::timeout(Duration::from_secs(1), self.conn.disconnect()).await;
        }
    }
}

/// As many rows as go into one statement, with their values in one list.
fn next_chunk(rows: &mut std::iter::Peekable<impl Iterator<Item = Values>>) -> (usize, Values) {
    let size = |row: &Values| -> usize {
        let value = |value: &Value| match value {
            Value::Bytes(bytes) => bytes.len() + 8,
            _ => 8,
        };
        row.iter().map(value).sum()
    };
    let (mut count, mut bytes, mut values) = (0, 0, Values::new());
    while let Some(row) = rows.peek() {
        bytes += size(row);
        if count == MAX_ROWS || (count > 0 && bytes > MAX_STATEMENT_BYTES) {
            break;
        }
        count += 1;
        values.extend(rows.next().unwrap_or_default());
    }
    (count, values)
}

/// Waits for the answer to a statement. Where none comes, nothing can be asked on this connection again.
async fn answer<T>(
    answered: &mut bool,
    limit: Duration,
    work: impl Future<Output = mysql_async::Result<T>>,
) -> Result<T, Trouble> {
    if !*answered {
        return Err(Trouble::Away("the connection was given up".into()));
    }
    *answered = false;
    let result = match tokio::time::timeout(limit, work).await {
        Ok(result) => result.map_err(Trouble::from),
        Err(_) => Err(Trouble::Away(format!(
            "no answer within {} s",
            limit.as_secs()
        ))),
    };
    *answered = match &result {
        Ok(_) => true,
        Err(trouble) => trouble.leaves_connection(),
    };
    result
}

/// A row as the values that are wanted.
pub(super) fn typed<T: FromRow>(row: Row) -> Result<T, Trouble> {
    T::from_row_opt(row)
        .map_err(|error| Trouble::strange(format!("a row is not as expected: {error}")))
}

fn options(url: &MysqlUrl, access: &Access) -> Result<Opts, Trouble> {
    let mut options = OptsBuilder::default()
        .ip_or_hostname(url.host.as_str())
        .tcp_port(url.port)
        .user(Some(url.user.as_str()))
        .db_name(Some(url.database.as_str()))
        .prefer_socket(false)
        .tcp_nodelay(true)
        .tcp_keepalive(Some(KEEPALIVE))
        .stmt_cache_size(KEPT_STATEMENTS)
        .client_found_rows(true);
    if let Some(password) = access.password()? {
        options = options.pass(Some(password));
    }
    if let Some(socket) = &url.socket {
        options = options.socket(Some(socket.to_string_lossy()));
    } else if access.tls.unwrap_or(!url.is_local()) {
        let mut tls = SslOpts::default();
        if let Some(ca) = &access.tls_ca {
            tls = tls
                .with_root_certs(vec![file("tls_ca", ca)?.into()])
                .with_disable_built_in_roots(true);
        }
        if let Some((certificate, key)) = &access.tls_identity {
            let certificate = file("tls_certificate", certificate)?;
            let identity = ClientIdentity::new(certificate.into(), file("tls_key", key)?.into());
            tls = tls.with_client_identity(Some(identity));
        }
        options = options.ssl_opts(tls);
    }
    Ok(options.into())
}

fn file(key: &str, path: &Path) -> Result<Vec<u8>, Trouble> {
    std::fs::read(path)
        .map_err(|cause| Trouble::strange(format!("cannot read {key} {}: {cause}", path.display())))
}
