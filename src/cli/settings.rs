//! The command line over the config over the defaults: what every command starts from.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use chrono_tz::Tz;

use super::Failure;
use super::args::Common;
use crate::config::{Config, StoreAccess, StoreUrl};
use crate::store::mysql::Access;

/// The config that is read where none is named and this exists.
pub const DEFAULT_CONFIG: &str = "/etc/tollkeeper/tollkeeper.toml";

/// The state directory of root.
const ROOT_STATE_DIR: &str = "/var/lib/tollkeeper";

/// The embedded store's file in the state directory.
const STORE_FILE: &str = "tollkeeper.db";

/// The systemd credential that holds the password of the store.
const PASSWORD_CREDENTIAL: &str = "store-password";

/// What every command starts from.
#[derive(Debug)]
pub struct Settings {
    /// The config; an empty one where there is none.
    pub config: Config,
    /// Where it was read from.
    pub config_path: Option<PathBuf>,
    /// Where the rows are.
    pub store: StoreUrl,
    /// How to get in there.
    pub access: Access,
    /// mod_leech's table in there, where it is in use.
    pub users_table: Option<String>,
    /// Where state is kept. It need not exist yet.
    pub state_dir: PathBuf,
    /// The name of this machine among those that share the store.
    pub node: String,
    /// Whose days the rows are, where the operator said so; else the store's zone counts, or
    /// [`system_timezone`] for a new store.
    pub timezone: Option<Tz>,
}

/// What the process was started with, apart from its arguments.
#[derive(Clone, Default)]
pub struct Environment {
    /// `$STATE_DIRECTORY`: set by systemd; several are separated by colons.
    pub state_directory: Option<OsString>,
    /// `$XDG_STATE_HOME`
    pub xdg_state_home: Option<OsString>,
    /// `$TOLLKEEPER_STORE_PASSWORD`
    pub store_password: Option<String>,
    /// `$CREDENTIALS_DIRECTORY`: set by systemd.
    pub credentials_directory: Option<PathBuf>,
    /// `$HOME`
    pub home: Option<OsString>,
    /// Whether this is root.
    pub is_root: bool,
    /// The host name.
    pub host_name: String,
    /// The config where none is named; need not exist.
    pub default_config: PathBuf,
}

impl Environment {
    /// That of this process.
    #[must_use]
    pub fn of_process() -> Self {
        let name = rustix::system::uname();
        Self {
            state_directory: std::env::var_os("STATE_DIRECTORY"),
            xdg_state_home: std::env::var_os("XDG_STATE_HOME"),
            store_password: std::env::var("TOLLKEEPER_STORE_PASSWORD").ok(),
            credentials_directory: std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
            home: std::env::var_os("HOME"),
            is_root: rustix::process::geteuid().is_root(),
            host_name: name.nodename().to_string_lossy().into_owned(),
            default_config: PathBuf::from(DEFAULT_CONFIG),
        }
    }

    fn state_dir(&self) -> Result<PathBuf, Failure> {
        use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

        let absolute = |value: &Option<OsString>| {
            let path = value.as_ref().map(PathBuf::from);
            path.filter(|path| path.is_absolute())
        };
        let first = self.state_directory.as_ref().map(|list| {
            let first = list.as_bytes().split(|byte| *byte == b':').next();
            OsString::from_vec(first.unwrap_or_default().to_vec())
        });
        if let Some(dir) = absolute(&first) {
            return Ok(dir);
        }
        if self.is_root {
            return Ok(PathBuf::from(ROOT_STATE_DIR));
        }
        // The XDG rules: a path that is not absolute counts as unset.
        if let Some(dir) = absolute(&self.xdg_state_home) {
            return Ok(dir.join("tollkeeper"));
        }
        if let Some(home) = absolute(&self.home) {
            return Ok(home.join(".local/state/tollkeeper"));
        }
        Err(Failure::Usage(
            "there is no state directory: neither $STATE_DIRECTORY, $XDG_STATE_HOME nor $HOME is \
             set; name one with --state DIR"
                .into(),
        ))
    }
}

impl Settings {
    /// Merges them. Reads the config, touches nothing else.
    ///
    /// # Errors
    /// The config cannot be used, or no state directory can be told.
    pub fn resolve(common: &Common, environment: &Environment) -> Result<Self, Failure> {
        let config_path = match &common.config {
            Some(path) => Some(path.clone()),
            None => Some(environment.default_config.clone()).filter(|path| !is_absent(path)),
        };
        let config = match &config_path {
            Some(path) => Config::load(path)?,
            None => Config::default(),
        };
        Self::merge(common, environment, config, config_path)
    }

    /// Merges all but the config, which cannot be used.
    ///
    /// # Errors
    /// No state directory can be told.
    pub fn without_config(common: &Common, environment: &Environment) -> Result<Self, Failure> {
        Self::merge(
            common,
            environment,
            Config::default(),
            common.config.clone(),
        )
    }

    fn merge(
        common: &Common,
        environment: &Environment,
        config: Config,
        config_path: Option<PathBuf>,
    ) -> Result<Self, Failure> {
        let state_dir = state_dir(common, environment)?;
        let store = common.store.clone().or_else(|| config.store.clone());
        let store = store.unwrap_or_else(|| StoreUrl::Sqlite(state_dir.join(STORE_FILE)));
        let node = common.node.clone();
        let StoreAccess {
            password_file,
            tls,
            tls_ca,
            tls_identity,
            users_table,
        } = config.store_access.clone();
        let credentials = environment.credentials_directory.as_ref();
        let access = Access {
            password_file,
            password: environment.store_password.clone(),
            credential: credentials.map(|folder| folder.join(PASSWORD_CREDENTIAL)),
            tls,
            tls_ca,
            tls_identity,
        };
        Ok(Self {
            access,
            users_table,
            timezone: common.timezone.or(config.timezone),
            config,
            config_path,
            store,
            state_dir,
            node: node.unwrap_or_else(|| environment.host_name.clone()),
        })
    }
}

/// The state directory, which needs no config.
///
/// # Errors
/// None can be told.
pub(super) fn state_dir(common: &Common, environment: &Environment) -> Result<PathBuf, Failure> {
    match &common.state {
        Some(dir) => Ok(dir.clone()),
        None => environment.state_dir(),
    }
}

/// Whether there is certainly no such file. One that may not be looked at is there: to go on without
/// it would be to report from another store.
fn is_absent(path: &Path) -> bool {
    path.metadata()
        .is_err_and(|error| matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory))
}

/// The zone of this machine: `$TZ`, else the name behind `/etc/localtime`, else `/etc/timezone`,
/// else UTC.
#[must_use]
pub fn system_timezone() -> Tz {
    let variable = std::env::var("TZ").ok();
    let link = std::fs::read_link("/etc/localtime").ok();
    let file = std::fs::read_to_string("/etc/timezone").ok();
    choose_timezone(variable.as_deref(), link.as_deref(), file.as_deref())
}

fn choose_timezone(variable: Option<&str>, link: Option<&Path>, file: Option<&str>) -> Tz {
    let zone = |name: &str| name.trim().parse::<Tz>().ok();
    let behind = |path: &str| {
        let name = path.split_once("zoneinfo/").map_or(path, |(_, name)| name);
        zone(name.trim_start_matches("posix/"))
    };
    variable
        .and_then(|name| behind(name.trim_start_matches(':')))
        .or_else(|| link.and_then(Path::to_str).and_then(behind))
        .or_else(|| file.and_then(zone))
        .unwrap_or(Tz::UTC)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn environment() -> Environment {
        Environment {
            host_name: "web1".into(),
            home: Some("/home/tk".into()),
            default_config: "/nowhere/tollkeeper.toml".into(),
            ..Environment::default()
        }
    }

    #[test]
    fn the_state_directory_is_found() {
        for (state_directory, is_root, xdg, home, expected) in [
            (Some("/run/a:/run/b"), true, None, None, Some("/run/a")),
            (
                None,
                true,
                Some("/x"),
                Some("/root"),
                Some("/var/lib/tollkeeper"),
            ),
            (None, false, Some("/x"), Some("/h"), Some("/x/tollkeeper")),
            (
                None,
                false,
                Some("x"),
                Some("/h"),
                Some("/h/.local/state/tollkeeper"),
            ),
            (
                Some(""),
                false,
                None,
                Some("/h"),
                Some("/h/.local/state/tollkeeper"),
            ),
            (None, false, None, None, None),
        ] {
            let environment = Environment {
                state_directory: state_directory.map(OsString::from),
                xdg_state_home: xdg.map(OsString::from),
                home: home.map(OsString::from),
                is_root,
                ..environment()
            };
            let dir = environment.state_dir().ok();
            assert_eq!(dir.as_deref(), expected.map(Path::new));
        }
    }

    #[test]
    fn flags_go_over_the_config_and_that_over_the_defaults() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tollkeeper.toml");
        fs::write(
            &path,
            "timezone = \"Europe/Warsaw\"\nstore.url = \"sqlite:/s/a.db\"\n",
        )
        .expect("a file");

        let none = Settings::resolve(&Common::default(), &environment()).expect("defaults");
        assert_eq!(none.config_path, None);
        assert_eq!(none.node, "web1");
        assert_eq!(none.timezone, None);
        let default_store = "/home/tk/.local/state/tollkeeper/tollkeeper.db";
        assert_eq!(none.store, StoreUrl::Sqlite(default_store.into()));

        let found = Environment {
            default_config: path.clone(),
            ..environment()
        };
        let file = Settings::resolve(&Common::default(), &found).expect("a config");
        assert_eq!(file.config_path, Some(path.clone()));
        assert_eq!(file.timezone, Some(Tz::Europe__Warsaw));
        assert_eq!(file.store, StoreUrl::Sqlite("/s/a.db".into()));

        let common = Common {
            config: Some(path),
            store: Some(StoreUrl::Sqlite("b.db".into())),
            state: Some("/state".into()),
            node: Some("n".into()),
            timezone: Some(Tz::UTC),
        };
        let flags = Settings::resolve(&common, &environment()).expect("flags");
        assert_eq!(flags.timezone, Some(Tz::UTC));
        assert_eq!(flags.store, StoreUrl::Sqlite("b.db".into()));
        assert_eq!(flags.state_dir, Path::new("/state"));
        assert_eq!(flags.node, "n");
    }

    #[test]
    fn a_named_config_must_be_there() {
        let common = Common {
            config: Some("/nowhere/tollkeeper.toml".into()),
            ..Common::default()
        };
        let failure = Settings::resolve(&common, &environment()).expect_err("no config");
        assert!(matches!(failure, Failure::Config(_)), "{failure}");
    }

    #[test]
    fn the_zone_of_the_machine_is_found() {
        let warsaw = Tz::Europe__Warsaw;
        for (variable, link, file, expected) in [
            (Some("Europe/Warsaw"), None, None, warsaw),
            (
                Some(":/usr/share/zoneinfo/Europe/Warsaw"),
                None,
                None,
                warsaw,
            ),
            (
                Some("CET-1CEST"),
                Some("/usr/share/zoneinfo/Europe/Warsaw"),
                None,
                warsaw,
            ),
            (
                None,
                Some("../usr/share/zoneinfo/posix/Europe/Warsaw"),
                None,
                warsaw,
            ),
            (None, Some("/elsewhere"), Some("Europe/Warsaw\n"), warsaw),
            (None, None, None, Tz::UTC),
        ] {
            assert_eq!(
                choose_timezone(variable, link.map(Path::new), file),
                expected
            );
        }
    }
}
