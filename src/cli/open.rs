//! What several commands need before they can begin: the store, and the rules of the config.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::account::Rules;
use crate::config::{MysqlUrl, StoreUrl, quota};
use crate::daemon;
use crate::excerpt::printable;
use crate::store::mysql::Mysql;
use crate::store::sqlite::Sqlite;
use crate::store::{Store, StoreError};
use crate::usage::said::Said;

use super::{Failure, Settings, complain, system_timezone};

/// How long an import waits for a database that has gone away.
const PATIENCE: Duration = Duration::from_secs(300);
const PAUSE: Duration = Duration::from_secs(1);

/// Opens the store, making it where there is none.
///
/// # Errors
/// When it cannot be used.
pub(super) fn store(settings: &Settings) -> Result<Box<dyn Store>, StoreError> {
    Ok(match &settings.store {
        StoreUrl::Sqlite(path) => {
            let mut store = Sqlite::open(path, settings.timezone, system_timezone())?;
            if let Some(table) = users_table(settings) {
                store.set_users_table(table);
                store.check_users_table()?;
            }
            Box::new(store)
        }
        StoreUrl::Mysql(url) => Box::new(mysql(url, settings)?),
    })
}

/// As [`store`], for whoever has nobody else to try again: once it is open, what passes is waited for.
///
/// # Errors
/// When it cannot be used.
pub(super) fn patient_store(settings: &Settings) -> Result<Box<dyn Store>, StoreError> {
    let StoreUrl::Mysql(url) = &settings.store else {
        return store(settings);
    };
    let mut store = mysql(url, settings)?;
    store.set_patience(PATIENCE, complain);
    Ok(Box::new(store))
}

/// As [`patient_store`], when it was open already: to be opened again is waited for, too.
///
/// # Errors
/// When it cannot be used.
pub(super) fn again(settings: &Settings) -> Result<Box<dyn Store>, StoreError> {
    let began = Instant::now();
    loop {
        match patient_store(settings) {
            Err(StoreError::Unavailable { .. }) if began.elapsed() < PATIENCE => {
                std::thread::sleep(PAUSE);
            }
            opened => return opened,
        }
    }
}

/// Opens a database, making the tables where there are none.
///
/// # Errors
/// When it cannot be used.
pub(super) fn mysql(url: &MysqlUrl, settings: &Settings) -> Result<Mysql, StoreError> {
    let mut store = Mysql::open(url, &settings.access, settings.timezone, system_timezone())?;
    if let Some(table) = users_table(settings) {
        store.set_users_table(table);
        store.check_users_table()?;
    }
    Ok(store)
}

/// mod_leech's table, where the config names it.
fn users_table(settings: &Settings) -> Option<&str> {
    settings.users_table.as_deref()
}

/// Opens the store to read from it; `None`: there is none yet.
///
/// # Errors
/// When it cannot be used.
pub(super) fn existing_store(settings: &Settings) -> Result<Option<Box<dyn Store>>, StoreError> {
    Ok(match &settings.store {
        StoreUrl::Sqlite(path) => {
            let store = Sqlite::open_existing(path, settings.timezone)?;
            store.map(|mut store| {
                if let Some(table) = users_table(settings) {
                    store.set_users_table(table);
                }
                Box::new(store) as Box<dyn Store>
            })
        }
        StoreUrl::Mysql(url) => {
            let store = Mysql::open_existing(url, &settings.access, settings.timezone)?;
            store.map(|mut store| {
                if let Some(table) = users_table(settings) {
                    store.set_users_table(table);
                }
                Box::new(store) as Box<dyn Store>
            })
        }
    })
}

/// Who owns which sites: as the config says, and the table `owner`.
///
/// # Errors
/// When the store or a side file of the config cannot be used.
pub(super) fn owners(
    store: &mut dyn Store,
    settings: &Settings,
) -> Result<BTreeMap<String, Vec<String>>, Failure> {
    let config = settings.config.with_side_files()?;
    // Of all that stands in the tables only this matters here.
    let said = Said {
        owners: store.said().map_err(anyhow::Error::new)?.owners,
        ..Said::default()
    };
    let (rules, faults) = quota::rules(&config, &said);
    for fault in &faults {
        complain(&printable(fault));
    }
    Ok(rules.owners)
}

/// Where the rows are, in words.
#[must_use]
pub(super) fn store_name(settings: &Settings) -> String {
    match &settings.store {
        StoreUrl::Sqlite(path) => path.display().to_string(),
        StoreUrl::Mysql(url) => url.to_string(),
    }
}

/// Where one daemon keeps out another of the same node: beside the embedded store that both would flush
/// to, else in the state directory.
#[must_use]
pub(super) fn lock_path(settings: &Settings) -> PathBuf {
    let node = plain_name(&settings.node);
    match &settings.store {
        StoreUrl::Sqlite(store) => {
            let mut name = store.file_name().unwrap_or_default().to_owned();
            name.push(format!(".run-{node}.lock"));
            store.with_file_name(name)
        }
        StoreUrl::Mysql(_) => settings.state_dir.join(format!("run-{node}.lock")),
    }
}

/// The name of a node as a part of a file's name.
#[must_use]
pub(super) fn plain_name(node: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-".contains(c);
    let chars = node.chars();
    chars.map(|c| if plain(c) { c } else { '_' }).collect()
}

/// The rules of the config where nothing is stored: with the zone of the store, if there is one. A
/// database that is away now is no reason not to look at a config or a log.
///
/// # Errors
/// When the store or a side file of the config cannot be used.
pub(super) fn rules_without_store(settings: &Settings) -> Result<Rules, Failure> {
    let store = match existing_store(settings) {
        Err(error @ StoreError::Unavailable { .. })
            if matches!(settings.store, StoreUrl::Mysql(_)) =>
        {
            complain(&format!("{error}; going on without its time zone"));
            None
        }
        store => store.map_err(anyhow::Error::new)?,
    };
    let zone = store.map(|store| store.zone()).or(settings.timezone);
    let names = daemon::names(&settings.config)?;
    Ok(daemon::rules(
        &settings.config,
        &names,
        zone.unwrap_or_else(system_timezone),
    ))
}
