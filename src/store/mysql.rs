//! The store of production: MySQL, MariaDB, a Galera cluster, or what speaks as they do.
//!
//! One connection, owned by one thread. A statement is never abandoned and its connection used on
//! (`session.rs` says why). A batch whose COMMIT was not answered is *frozen*: nothing else is flushed until
//! a new connection has read, and locked, the writer's row: if it was moved on, the batch is in the store;
//! else it is sent again as it was. What was in the way (deadlocks, lock waits, a connection that is gone)
//! is tried again a few times, or as long as [`Mysql::set_patience`] says.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chrono::NaiveDate;
use chrono_tz::Tz;
use mysql_async::Value;
use tokio::runtime::Runtime;

use super::{
    Batch, FlushError, Flushed, Gap, KEEP_FINISHED_SECONDS, Role, Store, StoreError, StoredGap,
    StoredRange, UnparsedRange, Writer,
};
use crate::account::balance::{Balance, Count};
use crate::account::day::same_clock;
use crate::account::growth::KnownNames;
use crate::config::MysqlUrl;
use crate::source::position::Stored;
use crate::usage::said::{AllTold, Exempt, Grant, Said, Told};
use crate::usage::snapshot::{Needs, Snapshot};
use crate::usage::{UsageQuery, UsageRow, UsageTable};

mod access;
mod add;
mod commit;
mod flush;
mod leech;
mod open;
mod rows;
mod said;
mod schema;
mod session;
mod statement;
mod tries;
mod trouble;
mod usage;

pub use access::Access;
use commit::Frozen;
use rows::{Columns, stored};
pub use schema::{grants, users_table_grants};
use session::Session;
use statement::sql;
use tries::Tries;
use trouble::{Remedy, Trouble};

/// The server's number for a key that is there already.
const DUPLICATE: u16 = 1062;
/// A connection that is refused so late was not refused but never answered.
const SILENCE: Duration = Duration::from_secs(1);

/// One connection, made when it is needed.
pub struct Mysql {
    session: Option<Session>,
    runtime: Runtime,
    url: MysqlUrl,
    access: Access,
    zone: Tz,
    seed: u64,
    /// The batch that may be in the store. Nothing else is flushed before that is known.
    frozen: Option<Frozen>,
    /// Until when a server that said nothing is not asked again, and what is said instead.
    silent: Option<(Instant, String)>,
    answer_limit: Duration,
    patience: Duration,
    tell: fn(&str),
    made: Vec<String>,
    /// mod_leech's, where the operator has one.
    users_table: Option<String>,
    users_table_is_checked: bool,
}

impl Mysql {
    /// How long is tried again what could pass: a server that restarts, locks, a full disk. The first
    /// time that it takes longer, `tell` is told why. Without it a few tries have to do, and the caller
    /// tries again.
    pub fn set_patience(&mut self, patience: Duration, tell: fn(&str)) {
        (self.patience, self.tell) = (patience, tell);
    }

    /// How long an answer to a statement is waited for, before the connection is given up; from the next
    /// connection on. The server gives up on most of them after 50 s.
    pub fn set_answer_limit(&mut self, limit: Duration) {
        self.answer_limit = limit;
        self.session = None;
    }

    /// The tables that were made when it was opened.
    #[must_use]
    pub fn made(&self) -> &[String] {
        &self.made
    }

    /// Works on the connection. One that cannot be used any more is closed, outside of the runtime: so it
    /// is closed at once, and says nothing more.
    fn on_session<T, E: From<Trouble>>(
        &mut self,
        work: impl AsyncFnOnce(&mut Session) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut session = match self.session.take() {
            Some(session) => session,
            None => self.connect()?,
        };
        let result = self.runtime.block_on(work(&mut session));
        if session.is_usable() {
            self.session = Some(session);
        }
        result
    }

    /// A server that does not even refuse us costs a time-out each time. Whoever has many things
    /// to ask is told so without asking again, for a while.
    fn connect(&mut self) -> Result<Session, Trouble> {
        if let Some((until, why)) = &self.silent
            && Instant::now() < *until
        {
            return Err(Trouble::Away(why.clone()));
        }
        let began = Instant::now();
        let opened =
            self.runtime
                .block_on(Session::open(&self.url, &self.access, self.answer_limit));
        let took = began.elapsed();
        self.silent = match &opened {
            Err(Trouble::Away(why)) if took > SILENCE => {
                Some((Instant::now() + took * 3, why.clone()))
            }
            _ => None,
        };
        opened
    }

    /// As [`Mysql::on_session`], again and again while there is hope. The work must be such that it can be
    /// done twice.
    fn steadily<T>(
        &mut self,
        what: &str,
        work: impl AsyncFn(&mut Session) -> Result<T, Trouble>,
    ) -> Result<T, StoreError> {
        let mut tries = Tries::new();
        loop {
            let trouble = match self.on_session(async |session| work(session).await) {
                Ok(done) => return Ok(done),
                Err(trouble) => trouble,
            };
            let doing = self.doing(what);
            let tell = self.tell;
            if !tries.again(&trouble, self.patience, |why| {
                tell(&format!("{doing}: {why}"))
            }) {
                return Err(self.error(what, &trouble));
            }
        }
    }

    /// A transaction that can be done twice.
    fn transact(
        &mut self,
        what: &str,
        work: impl AsyncFn(&mut Session) -> Result<(), Trouble>,
    ) -> Result<(), StoreError> {
        self.steadily(what, async |session| {
            session.run(sql!("begin")).await?;
            let result = match work(session).await {
                Ok(()) => session.run(sql!("commit")).await,
                Err(trouble) => Err(trouble),
            };
            if result.is_err() {
                session.roll_back().await;
            }
            result
        })
    }

    fn list<T>(
        &mut self,
        what: &str,
        statement: &str,
        values: Vec<Value>,
        read: impl Fn(Columns) -> Result<T, Trouble>,
    ) -> Result<Vec<T>, StoreError> {
        self.steadily(what, async |session| {
            let rows = session.select(statement, values.clone()).await?;
            rows.into_iter().map(|row| read(Columns::of(row))).collect()
        })
    }

    /// As [`Mysql::list`], for what may be a great many rows.
    fn list_all<T>(
        &mut self,
        what: &str,
        statement: &str,
        values: Vec<Value>,
        read: impl Fn(Columns) -> Result<T, Trouble>,
    ) -> Result<Vec<T>, StoreError> {
        self.steadily(what, async |session| {
            session.take_time().await?;
            let rows = session.select(statement, values.clone()).await;
            let hurried = session.hurry().await;
            let rows = rows?;
            hurried?;
            rows.into_iter().map(|row| read(Columns::of(row))).collect()
        })
    }

    fn positions(
        &mut self,
        statement: &str,
        values: Vec<Value>,
    ) -> Result<Vec<Stored>, StoreError> {
        self.list("reading positions", statement, values, stored)
    }

    fn doing(&self, what: &str) -> String {
        format!("{what} in {}", self.url)
    }

    fn error(&self, what: &str, trouble: &Trouble) -> StoreError {
        open::error(&self.url, what, trouble)
    }
}

impl Drop for Mysql {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            self.runtime.block_on(session.close());
        }
    }
}

impl Store for Mysql {
    fn zone(&self) -> Tz {
        self.zone
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn register(&mut self, node: &str, role: Role, now: i64) -> Result<Writer, StoreError> {
        let instance = format!("{:016x}{:016x}", super::random(), super::random());
        let daemon_of = match role {
            Role::Daemon => Value::from(node),
            Role::Import => Value::NULL,
        };
        self.transact("registering", async |session| {
            if role == Role::Daemon {
                let values = vec![node.into()];
                session
                    .execute(sql!("writer_replace_daemon"), values)
                    .await?;
            }
            // An earlier try may have landed.
            let values = vec![instance.as_str().into()];
            session.execute(sql!("writer_forget"), values).await?;
            let values = vec![
                instance.as_str().into(),
                node.into(),
                daemon_of.clone(),
                Value::Int(now),
            ];
            match session.execute(sql!("writer_insert"), values).await {
                // Another daemon of this node came in between: it is replaced in the next try.
                Err(trouble) if trouble.code() == Some(DUPLICATE) => {
                    Err(Trouble::Away(trouble.to_string()))
                }
                inserted => inserted.map(drop),
            }
        })?;
        Ok(Writer { instance, seq: 0 })
    }

    fn retire(&mut self, writer: &Writer, now: i64) -> Result<(), StoreError> {
        let old = now - KEEP_FINISHED_SECONDS;
        self.transact("signing off", async |session| {
            let values = vec![writer.instance.as_str().into()];
            session.execute(sql!("writer_forget"), values).await?;
            for statement in [
                sql!("writers_forget"),
                sql!("unparsed_forget"),
                sql!("positions_forget"),
            ] {
                session.execute(statement, vec![Value::Int(old)]).await?;
            }
            Ok(())
        })
    }

    fn flush(
        &mut self,
        writer: &mut Writer,
        node: &str,
        batch: &Batch,
        now: i64,
    ) -> Result<Flushed, FlushError> {
        self.commit(writer, node, batch, now)
    }

    fn living(&mut self, node: &str) -> Result<Vec<Stored>, StoreError> {
        self.positions(sql!("positions_living"), vec![node.into()])
    }

    fn at_inode(&mut self, inode: u64) -> Result<Vec<Stored>, StoreError> {
        let values = vec![Value::Int(inode.cast_signed())];
        self.positions(sql!("positions_at_inode"), values)
    }

    fn by_head(
        &mut self,
        scope: &str,
        least: u64,
        hash_of: &mut dyn FnMut(u64) -> std::io::Result<Option<u128>>,
    ) -> Result<Vec<Stored>, StoreError> {
        let mut found = Vec::new();
        let mut length = least.saturating_sub(1).cast_signed();
        loop {
            let next = self.list(
                "reading positions",
                sql!("next_head_len"),
                vec![scope.into(), Value::Int(length)],
                |mut row| row.signed_or_null(),
            )?;
            let Some(Some(next)) = next.first().copied() else {
                return Ok(found);
            };
            length = next;
            let hash =
                hash_of(length.cast_unsigned()).map_err(|cause| StoreError::Unavailable {
                    doing: "reading the head of a file".to_owned(),
                    cause: cause.to_string(),
                })?;
            let Some(hash) = hash else { return Ok(found) };
            let values = vec![scope.into(), Value::Int(length), rows::hash(hash)];
            found.extend(self.positions(sql!("positions_by_head"), values)?);
        }
    }

    fn searched(&mut self, node: &str) -> Result<Option<i64>, StoreError> {
        let rows = self.list(
            "reading positions",
            sql!("searched"),
            vec![node.into()],
            |mut row| row.signed(),
        )?;
        Ok(rows.first().copied())
    }

    fn epoch(&mut self, scope: &str) -> Result<u64, StoreError> {
        let rows = self.list(
            "reading a scope",
            sql!("scope_epoch"),
            vec![scope.into()],
            |mut row| row.amount(),
        )?;
        Ok(rows.first().copied().unwrap_or(0))
    }

    fn known_names(&mut self, since: NaiveDate) -> Result<KnownNames, StoreError> {
        let what = "reading names";
        let vhosts = self.list_all(what, sql!("known_vhosts"), Vec::new(), |mut row| row.text())?;
        let users = self.list_all(what, sql!("known_users"), Vec::new(), |mut row| {
            Ok((row.text()?, row.text()?))
        })?;
        let layers = self.list_all(what, sql!("known_layers"), Vec::new(), |mut row| {
            Ok((row.text()?, row.text()?))
        })?;
        let since = vec![rows::day(since.clamp(first_day(), last_day()))];
        let new_names = self.list_all(what, sql!("new_names"), since, |mut row| {
            Ok(((row.day()?, row.text()?), row.amount()?))
        })?;
        Ok(KnownNames {
            vhosts,
            users,
            layers,
            new_names: new_names.into_iter().collect(),
        })
    }

    fn unparsed(&mut self, position: i64) -> Result<Vec<StoredRange>, StoreError> {
        self.list(
            "reading unparsed ranges",
            sql!("unparsed_ranges"),
            vec![Value::Int(position)],
            |mut row| {
                let (start, end, lines) = (row.amount()?, row.amount()?, row.amount()?);
                let (node, source) = (row.text()?, row.text()?);
                let day = row.day()?;
                let range = UnparsedRange {
                    start,
                    end,
                    lines,
                    day,
                };
                Ok(StoredRange {
                    range,
                    node,
                    source,
                })
            },
        )
    }

    fn gaps(&mut self, node: &str, most: u64) -> Result<Vec<StoredGap>, StoreError> {
        let parameters = vec![node.into(), Value::UInt(most)];
        self.list("reading gaps", sql!("gaps"), parameters, |mut row| {
            let (source, path) = (row.text()?, row.text()?);
            let (from, to) = (row.amount()?, row.signed_or_null()?);
            let gap = Gap {
                source,
                path,
                from,
                to: to.map(|to| u64::try_from(to).unwrap_or(0)),
                reason: row.text()?,
            };
            let noticed = row.signed()?;
            Ok(StoredGap { gap, noticed })
        })
    }

    fn rows(&mut self, table: UsageTable, query: &UsageQuery) -> Result<Vec<UsageRow>, StoreError> {
        let [all, of_one] = match table {
            UsageTable::Vhosts => [sql!("rows_vhost"), sql!("rows_vhost_of")],
            UsageTable::Users => [sql!("rows_user"), sql!("rows_user_of")],
            UsageTable::Classes => [sql!("rows_class"), sql!("rows_class_of")],
            UsageTable::Layers => [sql!("rows_layer"), sql!("rows_layer_of")],
        };
        let from = query.from.unwrap_or(NaiveDate::MIN).max(first_day());
        let to = query.to.unwrap_or(NaiveDate::MAX).min(last_day());
        let mut values = vec![rows::day(from), rows::day(to)];
        let statement = match query.vhosts.as_slice() {
            [vhost] => {
                values.insert(0, vhost.as_str().into());
                of_one
            }
            _ => all,
        };
        self.list_all("reading rows", statement, values, |mut row| {
            Ok(UsageRow {
                day: row.day()?,
                vhost: row.text()?,
                user: row.text_or_null()?,
                class: row.text_or_null()?,
                layer: row.text_or_null()?,
                bytes_in: row.amount()?,
                bytes_out: row.amount()?,
                requests: row.amount()?,
            })
        })
    }

    fn balance(
        &mut self,
        from: NaiveDate,
        to: NaiveDate,
    ) -> Result<BTreeMap<(String, String, NaiveDate), Balance>, StoreError> {
        let values = vec![
            rows::day(from.max(first_day())),
            rows::day(to.min(last_day())),
        ];
        let rows = self.list_all(
            "reading the balance",
            sql!("balance_rows"),
            values,
            |mut row| {
                let key = (row.text()?, row.text()?, row.day()?);
                let mut amounts = [0; 8];
                for amount in &mut amounts {
                    *amount = row.amount()?;
                }
                let count = |part: usize| Count {
                    lines: amounts[part],
                    bytes: amounts[part + 4],
                };
                let balance = Balance {
                    counted: count(0),
                    unparsed: count(1),
                    ignored: count(2),
                    unattributed: count(3),
                };
                Ok((key, balance))
            },
        )?;
        Ok(rows.into_iter().collect())
    }

    fn usage(&mut self, needs: &Needs, writer: &Writer) -> Result<Snapshot, StoreError> {
        self.read_usage(needs, writer)
    }

    fn said(&mut self) -> Result<Said, StoreError> {
        self.read_said()
    }

    fn grant(&mut self, grant: &Grant) -> Result<(), StoreError> {
        self.insert_grant(grant)
    }

    fn exempt(&mut self, exempt: &Exempt, is_exempt: bool) -> Result<bool, StoreError> {
        self.change_exempt(exempt, is_exempt)
    }

    fn told(&mut self) -> Result<AllTold, StoreError> {
        self.read_told()
    }

    fn tell(&mut self, told: &Told, now: i64) -> Result<bool, StoreError> {
        self.insert_told(told, now)
    }

    fn untell(&mut self, told: &Told) -> Result<(), StoreError> {
        self.delete_told(told)
    }

    fn prune(&mut self, minute: i64, now: i64) -> Result<(), StoreError> {
        self.delete_old(minute, now)
    }
}

/// Days that the database knows how to compare.
fn first_day() -> NaiveDate {
    NaiveDate::from_ymd_opt(1, 1, 1).unwrap_or_default()
}

fn last_day() -> NaiveDate {
    NaiveDate::from_ymd_opt(9999, 12, 31).unwrap_or_default()
}
