//! What an import hands to the store of accounts that are watched: as exact as what is read one line
//! after the other, whoever walks the lines.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use chrono::NaiveDate;
use chrono_tz::Tz;

use super::books::Account;
use super::*;
use crate::account::class::Classes;
use crate::account::day;
use crate::account::delta::{Deltas, PartOf};
use crate::account::fold::Folding;
use crate::account::growth::{Growth, KnownNames};
use crate::account::watched::{Watch, Watched};
use crate::source::position::Stored;
use crate::store::sqlite::Sqlite;
use crate::store::{Batch, FlushError, Flushed, Role, StoredGap, StoredRange, Writer};
use crate::usage::said::{AllTold, Exempt, Grant, Said, Told};
use crate::usage::snapshot::{Needs, Snapshot};
use crate::usage::{UsageQuery, UsageRow, UsageTable};

/// 2024-06-15 12:00 UTC.
const NOON: i64 = 1_718_452_800;
const FORMAT: &str =
    "nginx:log_format tk '$msec $status $request_length $bytes_sent $host \"$remote_user\"';";

/// SQLite, and the deltas of all batches that it has taken.
struct Seen {
    store: Sqlite,
    deltas: Vec<Deltas>,
}

impl Store for Seen {
    fn zone(&self) -> Tz {
        self.store.zone()
    }
    fn seed(&self) -> u64 {
        self.store.seed()
    }
    fn register(&mut self, node: &str, role: Role, now: i64) -> Result<Writer, StoreError> {
        self.store.register(node, role, now)
    }
    fn retire(&mut self, writer: &Writer, now: i64) -> Result<(), StoreError> {
        self.store.retire(writer, now)
    }
    fn flush(
        &mut self,
        writer: &mut Writer,
        node: &str,
        batch: &Batch,
        now: i64,
    ) -> Result<Flushed, FlushError> {
        let flushed = self.store.flush(writer, node, batch, now)?;
        self.deltas.push(batch.deltas.clone());
        Ok(flushed)
    }
    fn living(&mut self, node: &str) -> Result<Vec<Stored>, StoreError> {
        self.store.living(node)
    }
    fn at_inode(&mut self, inode: u64) -> Result<Vec<Stored>, StoreError> {
        self.store.at_inode(inode)
    }
    fn by_head(
        &mut self,
        scope: &str,
        least: u64,
        hash_of: &mut dyn FnMut(u64) -> std::io::Result<Option<u128>>,
    ) -> Result<Vec<Stored>, StoreError> {
        self.store.by_head(scope, least, hash_of)
    }
    fn searched(&mut self, node: &str) -> Result<Option<i64>, StoreError> {
        self.store.searched(node)
    }
    fn epoch(&mut self, scope: &str) -> Result<u64, StoreError> {
        self.store.epoch(scope)
    }
    fn known_names(&mut self, since: NaiveDate) -> Result<KnownNames, StoreError> {
        self.store.known_names(since)
    }
    fn unparsed(&mut self, position: i64) -> Result<Vec<StoredRange>, StoreError> {
        self.store.unparsed(position)
    }
    fn gaps(&mut self, node: &str, most: u64) -> Result<Vec<StoredGap>, StoreError> {
        self.store.gaps(node, most)
    }
    fn rows(&mut self, table: UsageTable, query: &UsageQuery) -> Result<Vec<UsageRow>, StoreError> {
        self.store.rows(table, query)
    }
    fn usage(&mut self, needs: &Needs, writer: &Writer) -> Result<Snapshot, StoreError> {
        self.store.usage(needs, writer)
    }
    fn said(&mut self) -> Result<Said, StoreError> {
        self.store.said()
    }
    fn grant(&mut self, grant: &Grant) -> Result<(), StoreError> {
        self.store.grant(grant)
    }
    fn exempt(&mut self, exempt: &Exempt, is_exempt: bool) -> Result<bool, StoreError> {
        self.store.exempt(exempt, is_exempt)
    }
    fn told(&mut self) -> Result<AllTold, StoreError> {
        self.store.told()
    }
    fn tell(&mut self, told: &Told, now: i64) -> Result<bool, StoreError> {
        self.store.tell(told, now)
    }
    fn untell(&mut self, told: &Told) -> Result<(), StoreError> {
        self.store.untell(told)
    }
    fn prune(&mut self, minute: i64, now: i64) -> Result<(), StoreError> {
        self.store.prune(minute, now)
    }
    fn balance(
        &mut self,
        from: NaiveDate,
        to: NaiveDate,
    ) -> Result<BTreeMap<(String, String, NaiveDate), Balance>, StoreError> {
        self.store.balance(from, to)
    }
}

/// Vhost, which part, the part, day, minute (0 for days).
type Key = (String, u8, String, NaiveDate, i64);

const CLAIMED: u8 = 9;

/// Rows of minutes, and those of claimed users, with their bytes.
fn rows(all: &[Deltas]) -> BTreeMap<Key, u64> {
    let mut rows = BTreeMap::new();
    for deltas in all {
        for row in &deltas.minutes {
            let (vhost, part) = (row.vhost.to_string(), row.part.to_string());
            let key = (vhost, row.of as u8, part, row.day, row.minute);
            *rows.entry(key).or_default() += row.amount.bytes_out;
        }
        for row in &deltas.claimed {
            let (vhost, part) = (row.vhost.to_string(), row.part.to_string());
            let key = (vhost, CLAIMED, part, row.day, 0);
            *rows.entry(key).or_default() += row.amount.bytes_out;
        }
    }
    rows
}

/// A log of three sites and two users, and what it comes to.
fn log(first: u64, users_are_verified: bool, rows: &mut BTreeMap<Key, u64>) -> String {
    let mut log = String::new();
    for number in first..first + 20_000 {
        let time = NOON + i64::try_from(number).expect("a number") * 3;
        let host = format!("{}.example", number % 3);
        let user = ["-", "alice", "bob"][number as usize / 3 % 3];
        writeln!(log, "{time}.000 200 1 {number} {host} \"{user}\"").expect("a line");
        let day = day::date(i32::try_from(time / 86_400).expect("a day"));
        let mut add = |which: u8, part: &str, minute: i64| {
            let key = (host.clone(), which, part.to_owned(), day, minute);
            *rows.entry(key).or_default() += number;
        };
        if number % 3 == 1 {
            add(PartOf::Vhost as u8, "", time / 60);
        }
        match (user, users_are_verified) {
            ("-", _) => {}
            (_, true) => add(PartOf::User as u8, user, time / 60),
            (_, false) => add(CLAIMED, user, 0),
        }
    }
    log
}

fn input(path: &Path, users: Users) -> Input {
    Input {
        path: Some(path.to_owned()),
        formats: vec![Spec::parse(FORMAT).expect("a format")],
        users: Some(users),
        vhost: None,
        vhost_given: false,
        layer: Layer::default(),
        log: None,
    }
}

fn rules() -> Rules {
    let by_minute = Watch {
        told: true,
        by_minute: true,
        classes_by_minute: false,
    };
    let watched = Watched {
        vhosts: [("1.example".to_owned(), by_minute)].into(),
        all_users: by_minute,
        ..Watched::default()
    };
    Rules {
        zone: Tz::UTC,
        folding: Folding::default(),
        classes: Classes::default(),
        watched: Arc::new(watched),
    }
}

/// Plain files, which are committed as they go, and archives, of which all is committed or nothing:
/// one is cut off in the middle.
#[test]
fn minutes_are_exact_whoever_walks_the_lines() {
    let folder = tempfile::tempdir().expect("a folder");
    let packed = |log: &str| {
        let level = flate2::Compression::fast();
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), level);
        packed.write_all(log.as_bytes()).expect("packed");
        packed.finish().expect("packed")
    };
    let (mut expected, mut of_no_use) = (BTreeMap::new(), BTreeMap::new());
    let verified = log(0, true, &mut expected);
    let claimed = log(100_000, false, &mut expected);
    let archive = packed(&log(200_000, true, &mut expected));
    let mut cut = packed(&log(300_000, true, &mut of_no_use));
    cut.truncate(cut.len() / 2);
    let mut inputs = Vec::new();
    for (name, content, users) in [
        ("verified", verified.as_bytes(), Users::Verified),
        ("cut.gz", &cut, Users::Verified),
        ("claimed", claimed.as_bytes(), Users::Claimed),
        ("archive.gz", &archive, Users::Verified),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, content).expect("written");
        inputs.push(input(&path, users));
    }
    let rules = rules();
    for threads in [1, 3] {
        let path = folder.path().join(format!("{threads}.db"));
        let open = || Sqlite::open(&path, Some(Tz::UTC), Tz::UTC);
        let mut seen = Seen {
            store: open().expect("a store"),
            deltas: Vec::new(),
        };
        let writer = seen.register("n", Role::Import, NOON).expect("registered");
        let account = Account {
            store: &mut seen,
            writer,
            node: "n".to_owned(),
            growth: Growth::new(KnownNames::default(), [], 99, 99),
        };
        let options = Options {
            again: false,
            threads,
            now: NOON + 100 * 86_400,
        };
        let connect = || open().map(|store| Box::new(store) as Box<dyn Store>);
        let books = Books::new(&inputs, account, &rules.classes, options.now);
        let meter = Meter::default();
        let summary = run(&inputs, &rules, options, &meter, books, Some(&connect));
        let summary = summary.expect("imported");
        let failed = |file: &FileReport| file.error.is_some();
        let failed: Vec<bool> = summary.files.iter().map(failed).collect();
        assert_eq!(failed, [false, true, false, false], "{:?}", summary.files);
        assert_eq!(summary.balance.counted.lines, 60_000);
        assert!(rows(&seen.deltas) == expected, "{threads} threads");
    }
}
