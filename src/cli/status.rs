//! `tollkeeper status`: asks the daemon how it is, and prints what it says. Where none runs, what the
//! store knows is shown all the same, and the exit code is 1.

mod table;

pub(in crate::cli) use table::span;

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use super::args::{Common, Output, StatusArgs};
use super::{Failure, Settings, complain, open, print};
use crate::config::Config;
use crate::daemon::status::{
    BalanceStatus, FileState, FileStatus, Gaps, SourceStatus, Status, StoreStatus,
};
use crate::daemon::{ask, clock, socket};
use crate::source::position::Place;
use crate::store::Store;

/// Where systemd makes the runtime directory of the unit that is shipped.
const SYSTEM_RUNTIME_DIR: &str = "/run/tollkeeper";

/// The daemon answers within a few seconds, also where it is busy.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
const MAX_ANSWER_BYTES: u64 = 256 << 20;

/// Runs the command.
///
/// # Errors
/// Where the daemon's answer cannot be had or printed, or the store cannot be read.
pub(super) fn run(
    args: &StatusArgs,
    common: &Common,
    settings: &Settings,
) -> Result<ExitCode, Failure> {
    // Where nothing was said about the store, the daemon of this machine is meant.
    let is_named = common.store.is_some() || common.state.is_some();
    let mut paths = sockets(settings);
    if !is_named {
        paths.extend(any_socket(&settings.node));
    }
    for path in paths {
        if let Some(status) = ask(&path)?
            && (!is_named || status.store.name == open::store_name(settings))
        {
            show(&status, args)?;
            return Ok(ExitCode::SUCCESS);
        }
    }
    show(&without_daemon(settings)?, args)?;
    complain(&format!(
        "no daemon runs as node {} on {}: start it with systemctl start tollkeeper, or tollkeeper run",
        settings.node,
        open::store_name(settings)
    ));
    Ok(ExitCode::from(1))
}

fn show(status: &Status, args: &StatusArgs) -> Result<(), Failure> {
    let text = match args.output {
        Output::Json => serde_json::to_string(status).map_err(anyhow::Error::new)? + "\n",
        Output::Table => table::of(status, args.files),
    };
    print(&text)
}

/// Where a daemon with these settings listens: in its runtime directory where it has one, else
/// beside its lock.
pub(super) fn socket(settings: &Settings) -> PathBuf {
    let beside_lock = open::lock_path(settings).with_extension("sock");
    let folders = std::env::var_os("RUNTIME_DIRECTORY").unwrap_or_default();
    let folder = std::env::split_paths(&folders).find(|folder| folder.is_absolute());
    match (folder, beside_lock.file_name()) {
        (Some(folder), Some(name)) => folder.join(name),
        _ => beside_lock,
    }
}

/// Where a daemon with these settings may listen, whoever started it.
fn sockets(settings: &Settings) -> Vec<PathBuf> {
    let beside_lock = open::lock_path(settings).with_extension("sock");
    let mut paths = vec![socket(settings)];
    if let Some(name) = beside_lock.file_name() {
        paths.push(Path::new(SYSTEM_RUNTIME_DIR).join(name));
    }
    paths.push(beside_lock);
    paths.dedup();
    paths
}

/// Where the daemon of this machine listens, whatever its store is: the config that names it may not
/// be readable, or be faulty.
fn any_socket(node: &str) -> Vec<PathBuf> {
    let ending = format!(".run-{}.sock", open::plain_name(node));
    let runtime = std::env::var_os("RUNTIME_DIRECTORY").unwrap_or_default();
    let folders = std::env::split_paths(&runtime).chain([PathBuf::from(SYSTEM_RUNTIME_DIR)]);
    let mut found = Vec::new();
    for folder in folders.filter(|folder| folder.is_absolute()) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().ends_with(&ending) {
                found.push(entry.path());
            }
        }
    }
    found
}

/// What the daemon says; `None`: none listens there.
fn ask(path: &Path) -> Result<Option<Status>, Failure> {
    let wrong = |doing: &str, error: io::Error| {
        let error = anyhow::Error::new(error).context(format!("{doing} {}", path.display()));
        Failure::Failed(error)
    };
    let mut stream = match UnixStream::connect(path) {
        Ok(stream) => stream,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Err(Failure::Failed(anyhow::anyhow!(
                "{} may not be asked by this user: run it as root, or as a member of the daemon's group",
                path.display()
            )));
        }
        // Nothing is there, or nobody listens any more.
        Err(_) => return Ok(None),
    };
    let mut answer = Vec::new();
    stream
        .set_read_timeout(Some(ANSWER_WITHIN))
        .and_then(|()| stream.write_all(socket::STATUS_REQUEST.as_bytes()))
        .and_then(|()| stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer))
        .map_err(|error| wrong("the daemon does not answer on", error))?;
    if answer.is_empty() {
        let error = io::Error::other("it hung up; it is busy, or ending: try again");
        return Err(wrong("the daemon does not answer on", error));
    }
    let status = serde_json::from_slice(&answer);
    let status = status.map_err(|error| wrong("not understood, what it says on", error.into()))?;
    Ok(Some(status))
}

/// What the store knows.
fn without_daemon(settings: &Settings) -> Result<Status, Failure> {
    let config = settings.config_path.as_ref();
    let mut status = Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        node: settings.node.clone(),
        config: config.map(|path| path.to_string_lossy().into_owned()),
        now: clock(),
        store: StoreStatus {
            name: open::store_name(settings),
            ..StoreStatus::default()
        },
        ..Status::default()
    };
    let opened = open::existing_store(settings).and_then(|store| match store {
        Some(mut store) => tell(store.as_mut(), &settings.config, &mut status),
        None => {
            status.store.error = Some("there is none yet".to_owned());
            Ok(())
        }
    });
    if let Err(error) = opened {
        status.store.error = Some(error.to_string());
    }
    Ok(status)
}

fn tell(
    store: &mut dyn Store,
    config: &Config,
    status: &mut Status,
) -> Result<(), crate::store::StoreError> {
    let known = ask::know(store, &status.node)?;
    let living = store.living(&status.node)?;
    status.store.timezone = Some(store.zone().name().to_owned());
    status.store.answers = true;
    let mut sources: BTreeMap<String, SourceStatus> = BTreeMap::new();
    for stored in living {
        let metadata = Path::new(&stored.path).metadata().ok();
        let is_same = metadata.filter(|there| {
            let place = stored.place;
            place.is_some_and(|place| place.is(&Place::of(there)))
        });
        let size = is_same.map(|there| there.len());
        let offset = stored.print.offset;
        let unread = size.unwrap_or(0).saturating_sub(offset);
        let source = sources.entry(stored.source.clone()).or_default();
        source.files += 1;
        source.unread_bytes += unread;
        status.files.push(FileStatus {
            source: stored.source,
            path: stored.path,
            state: FileState::Waiting,
            reason: Some("no daemon runs".to_owned()),
            offset,
            committed: offset,
            size,
            unread_bytes: unread,
            unread_seconds: 0,
        });
    }
    for (name, mut source) in sources {
        let today = known.today.get(&name);
        source.balance.today = Some(today.map(BalanceStatus::from).unwrap_or_default());
        let mut layers = config.layers();
        let layer = layers.find_map(|(of, layer)| (of == name).then(|| layer.clone()));
        source.layer = layer.unwrap_or_default();
        source.name = name;
        status.sources.push(source);
    }
    status.gaps = Gaps {
        since_start: 0,
        recent: Some(known.gaps),
    };
    Ok(())
}
