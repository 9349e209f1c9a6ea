//! `tollkeeper store`: the schema, and the rights that it needs.

use std::process::ExitCode;

use super::args::StoreCommand;
use super::{Failure, Settings, open, print};
use crate::config::StoreUrl;
use crate::store::Store as _;
use crate::store::mysql::{self, Mysql};
use crate::store::sqlite::Sqlite;

/// Runs the command.
///
/// # Errors
/// When the store cannot be used.
pub(super) fn run(command: StoreCommand, settings: &Settings) -> Result<ExitCode, Failure> {
    match (command, &settings.store) {
        (StoreCommand::Init, StoreUrl::Mysql(url)) => {
            let store = open::mysql(url, settings).map_err(anyhow::Error::new)?;
            for table in store.made() {
                print(&format!("made the table {table}\n"))?;
            }
            ready(settings, store.zone())?;
        }
        (StoreCommand::Init, StoreUrl::Sqlite(_)) => {
            let store = open::store(settings).map_err(anyhow::Error::new)?;
            ready(settings, store.zone())?;
        }
        (StoreCommand::Upgrade { dry_run }, StoreUrl::Mysql(url)) => {
            let mut shown = Ok(());
            let mut show = |statement: &str| {
                if shown.is_ok() {
                    shown = print(statement);
                }
                // What cannot be shown is not run.
                !dry_run && shown.is_ok()
            };
            Mysql::upgrade(url, &settings.access, &mut show).map_err(anyhow::Error::new)?;
            shown?;
            if !dry_run {
                let store = open::mysql(url, settings).map_err(anyhow::Error::new)?;
                ready(settings, store.zone())?;
            }
        }
        (StoreCommand::Upgrade { dry_run }, StoreUrl::Sqlite(path)) => {
            let mut shown = Ok(());
            let mut show = |step: &str| {
                if shown.is_ok() {
                    shown = print(step);
                }
                !dry_run && shown.is_ok()
            };
            Sqlite::upgrade(path, &mut show).map_err(anyhow::Error::new)?;
            shown?;
            if !dry_run {
                let store = open::store(settings).map_err(anyhow::Error::new)?;
                ready(settings, store.zone())?;
            }
        }
        (StoreCommand::Grants, StoreUrl::Mysql(url)) => {
            print(&mysql::grants(url))?;
            if let Some(table) = &settings.config.store_access.users_table {
                print(&mysql::users_table_grants(url, table))?;
            }
        }
        (StoreCommand::Grants, StoreUrl::Sqlite(path)) => {
            print(&format!(
                "-- The embedded store needs no grants: whoever may write to {} may use it.\n",
                path.display()
            ))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn ready(settings: &Settings, zone: chrono_tz::Tz) -> Result<(), Failure> {
    let name = open::store_name(settings);
    print(&format!("{name} is ready; its days are those of {zone}\n"))
}
