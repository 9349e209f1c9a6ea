//! What several commands need before they can begin: the store, and the rules of the config.

use std::path::PathBuf;

use crate::account::Rules;
use crate::config::StoreUrl;
use crate::daemon;
use crate::store::sqlite::Sqlite;
use crate::store::{Store, StoreError};

use super::{Failure, Settings, system_timezone};

/// Opens the store, making it where there is none.
///
/// # Errors
/// When it cannot be used.
pub(super) fn store(settings: &Settings) -> Result<Box<dyn Store>, StoreError> {
    let StoreUrl::Sqlite(path) = &settings.store;
    Ok(Box::new(Sqlite::open(
        path,
        settings.timezone,
        system_timezone(),
    )?))
}

/// Opens the store to read from it; `None`: there is none yet.
///
/// # Errors
/// When it cannot be used.
pub(super) fn existing_store(settings: &Settings) -> Result<Option<Box<dyn Store>>, StoreError> {
    let StoreUrl::Sqlite(path) = &settings.store;
    let store = Sqlite::open_existing(path, settings.timezone)?;
    Ok(store.map(|store| Box::new(store) as Box<dyn Store>))
}

/// Where the rows are, in words.
#[must_use]
pub(super) fn store_name(settings: &Settings) -> String {
    let StoreUrl::Sqlite(path) = &settings.store;
    path.display().to_string()
}

/// Where one daemon keeps out another of the same node: beside the store that both would flush to.
#[must_use]
pub(super) fn lock_path(settings: &Settings) -> PathBuf {
    let StoreUrl::Sqlite(store) = &settings.store;
    let node = plain_name(&settings.node);
    let mut name = store.file_name().unwrap_or_default().to_owned();
    name.push(format!(".run-{node}.lock"));
    store.with_file_name(name)
}

/// The name of a node as a part of a file's name.
#[must_use]
pub(super) fn plain_name(node: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-".contains(c);
    let chars = node.chars();
    chars.map(|c| if plain(c) { c } else { '_' }).collect()
}

/// The rules of the config where nothing is stored: with the zone of the store, if there is one.
///
/// # Errors
/// When the store or a side file of the config cannot be used.
pub(super) fn rules_without_store(settings: &Settings) -> Result<Rules, Failure> {
    let store = existing_store(settings).map_err(anyhow::Error::new)?;
    let zone = store.map(|store| store.zone()).or(settings.timezone);
    let names = daemon::names(&settings.config)?;
    Ok(daemon::rules(
        &settings.config,
        &names,
        zone.unwrap_or_else(system_timezone),
    ))
}
