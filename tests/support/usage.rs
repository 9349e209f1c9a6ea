//! What a store says of layers, by vhost: a sandbox's own, or a database.

use std::collections::BTreeMap;

use serde_json::Value;

use super::log::rows;
use super::mariadb::{Database, PASSWORD};
use super::{Ran, Sandbox};

/// Bytes in, bytes out and requests, by vhost.
pub(crate) type Sums = BTreeMap<String, [u64; 3]>;

/// The program on a sandbox's own store, or on a database.
pub(crate) struct Store<'s> {
    pub(crate) sandbox: &'s Sandbox,
    pub(crate) database: Option<&'s Database<'s>>,
}

impl Store<'_> {
    pub(crate) fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = self.sandbox.tollkeeper(arguments);
        if let Some(database) = self.database {
            command.args(["--store", &database.url.to_string()]);
            command.env("TOLLKEEPER_STORE_PASSWORD", PASSWORD);
        }
        command
    }

    pub(crate) fn ran(&self, arguments: &[&str]) -> Ran {
        self.sandbox.ran_with_input(self.command(arguments), b"")
    }

    pub(crate) fn report(&self, arguments: &[&str]) -> Vec<Value> {
        let arguments = [&["report", "--output", "json"], arguments].concat();
        match self.ran(&arguments).exited(0).json() {
            Value::Array(rows) => rows,
            other => panic!("not an array: {other}"),
        }
    }

    /// A report by vhost.
    pub(crate) fn sums(&self, more: &[&str]) -> Sums {
        let rows = self.report(&[&["--by", "vhost"], more].concat());
        let number = |row: &Value, key: &str| row[key].as_u64().expect("a number");
        let sums = rows.iter().map(|row| {
            let vhost = row["vhost"].as_str().expect("a vhost").to_owned();
            (vhost, ["in", "out", "requests"].map(|key| number(row, key)))
        });
        sums.collect()
    }
}

pub(crate) fn add(sums: &mut Sums, vhost: &str, more: [u64; 3]) {
    let sum = sums.entry(vhost.to_owned()).or_default();
    for (sum, more) in sum.iter_mut().zip(more) {
        *sum += more;
    }
}

/// What a log of ours comes to by vhost, without users.
pub(crate) fn by_vhost(log: &str) -> Sums {
    let mut sums = Sums::new();
    for row in rows([log]) {
        add(
            &mut sums,
            &row.vhost,
            [row.bytes_in, row.bytes_out, row.requests],
        );
    }
    sums
}
