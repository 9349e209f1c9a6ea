//! Opening a database: what is in it, making what is missing, changing what is not ours.

use tokio::runtime::{Builder, Runtime};

use super::schema::{self, Plan, SCHEMA_VERSION};
use super::session::MAX_STATEMENT;
use super::statement::identifier;
use super::*;

impl Mysql {
    /// Opens the store, making its tables first where the database has none. `zone` is the zone that the
    /// operator named; `fallback` the one for a new store where none was named.
    ///
    /// # Errors
    /// When the server is away or refuses us, the tables are not ours or of another version, or they keep
    /// another zone's days.
    pub fn open(
        url: &MysqlUrl,
        access: &Access,
        zone: Option<Tz>,
        fallback: Tz,
    ) -> Result<Self, StoreError> {
        let mut store = Self::at(url, access)?;
        let mut meta = store.meta()?;
        if let Some(meta) = &meta {
            store.check_version(meta)?;
        }
        let plan = store.steadily("reading the schema", async |session| {
            schema::plan(session).await
        })?;
        store.may_go_on(&plan)?;
        if meta.is_none() || !plan.create.is_empty() {
            store.make(&plan, zone.unwrap_or(fallback))?;
            meta = store.meta()?;
            let again = store.steadily("reading the schema", async |session| {
                schema::plan(session).await
            })?;
            store.may_go_on(&again)?;
        }
        store.checked(meta.unwrap_or_default(), zone)
    }

    /// Opens an existing store to read from. `None`: there is none yet.
    ///
    /// # Errors
    /// As [`Mysql::open`].
    pub fn open_existing(
        url: &MysqlUrl,
        access: &Access,
        zone: Option<Tz>,
    ) -> Result<Option<Self>, StoreError> {
        let mut store = Self::at(url, access)?;
        let Some(meta) = store.meta()? else {
            return Ok(None);
        };
        store.check_version(&meta)?;
        store.checked(meta, zone).map(Some)
    }

    /// Makes the tables that are missing, and changes those that are somebody else's, statement by
    /// statement. `show` is given each before it is run; one that it says no to is not run. It can be
    /// interrupted anywhere and be begun again; [`Mysql::open`] then makes the tables that are missing.
    ///
    /// # Errors
    /// As [`Mysql::open`], and what the server says to a statement.
    pub fn upgrade(
        url: &MysqlUrl,
        access: &Access,
        show: &mut dyn FnMut(&str) -> bool,
    ) -> Result<(), StoreError> {
        let mut store = Self::at(url, access)?;
        if let Some(meta) = store.meta()? {
            store.check_version(&meta)?;
        }
        let what = "changing tables";
        let plan = store.steadily("reading the schema", async |session| {
            schema::plan(session).await
        })?;
        if let Some(refused) = plan.refused.first() {
            return Err(store.unusable(refused));
        }
        for statement in plan.alter.iter().chain(&plan.create) {
            if show(&schema::shown(statement)) {
                store.steadily(what, async |session| {
                    session.take_all_time().await?;
                    let changed = session.run(statement).await;
                    session.hurry().await?;
                    changed
                })?;
            }
        }
        Ok(())
    }

    fn at(url: &MysqlUrl, access: &Access) -> Result<Self, StoreError> {
        install_tls();
        let mut store = Self {
            session: None,
            runtime: runtime()?,
            url: url.clone(),
            access: access.clone(),
            zone: Tz::UTC,
            seed: 0,
            frozen: None,
            silent: None,
            answer_limit: MAX_STATEMENT,
            patience: Duration::ZERO,
            tell: |_| {},
            made: Vec::new(),
            users_table: None,
            users_table_is_checked: false,
        };
        let connected = store.on_session(async |_| Ok::<_, Trouble>(()));
        connected.map_err(|trouble| store.error("connecting to the store", &trouble))?;
        Ok(store)
    }

    fn meta(&mut self) -> Result<Option<BTreeMap<String, String>>, StoreError> {
        self.steadily("reading the schema", async |session| {
            schema::meta(session).await
        })
    }

    fn may_go_on(&self, plan: &Plan) -> Result<(), StoreError> {
        if let Some(refused) = plan.refused.first() {
            return Err(self.unusable(refused));
        }
        if !plan.alter.is_empty() {
            return Err(self.unusable(
                "the table bandwidth is not tollkeeper's, or was changed\nrun `tollkeeper store upgrade`, \
                 which shows what it does and keeps the rows (`--dry-run` shows it alone)",
            ));
        }
        Ok(())
    }

    fn make(&mut self, plan: &Plan, zone: Tz) -> Result<(), StoreError> {
        let seed = crate::store::random();
        let name = |statement: &str| {
            let name = statement.split_once("IF NOT EXISTS ").map(|(_, rest)| rest);
            let name = name.and_then(|rest| rest.split_whitespace().next());
            name.unwrap_or_default().to_owned()
        };
        for statement in &plan.create {
            self.steadily("making the tables", async |session| {
                session.run(statement).await
            })?;
            self.made.push(name(statement));
        }
        self.steadily("making the tables", async |session| {
            schema::write_meta(session, zone.name(), seed).await
        })
    }

    fn check_version(&self, meta: &BTreeMap<String, String>) -> Result<(), StoreError> {
        let found = meta.get("schema").map(String::as_str).unwrap_or_default();
        if found.parse() != Ok(SCHEMA_VERSION) {
            return Err(self.unusable(&format!(
                "it has schema version {found:?}, this program knows version {SCHEMA_VERSION}\n\
                 use the program that wrote it, or a newer one"
            )));
        }
        Ok(())
    }

    fn checked(
        mut self,
        meta: BTreeMap<String, String>,
        zone: Option<Tz>,
    ) -> Result<Self, StoreError> {
        let value = |name: &str| meta.get(name).map(String::as_str).unwrap_or_default();
        let Ok(stored_zone) = value("timezone").parse::<Tz>() else {
            let zone = value("timezone");
            return Err(self.unusable(&format!(
                "its time zone {zone:?} is unknown to this program"
            )));
        };
        if let Some(wanted) = zone.filter(|wanted| !same_clock(*wanted, stored_zone)) {
            return Err(self.unusable(&format!(
                "it keeps the days of {stored_zone}, not of {wanted}: rows of two zones cannot be added up\n\
                 say timezone = \"{stored_zone}\", or begin a new store in another database"
            )));
        }
        let seed = u64::from_str_radix(value("seed"), 16);
        let Ok(seed) = seed else {
            let seed = value("seed");
            return Err(self.unusable(&format!("its seed {seed:?} is no number")));
        };
        (self.zone, self.seed) = (stored_zone, seed);
        Ok(self)
    }

    fn unusable(&self, what: &str) -> StoreError {
        StoreError::Unusable {
            message: format!("store {}: {what}", self.url),
        }
    }
}

/// What a caller is told of trouble.
pub(super) fn error(url: &MysqlUrl, what: &str, trouble: &Trouble) -> StoreError {
    let doing = format!("{what} ({url})");
    if trouble.remedy() != Remedy::None {
        return StoreError::Unavailable {
            doing,
            cause: trouble.to_string(),
        };
    }
    let help = match trouble.code() {
        Some(1045 | 1698) => {
            "\nthe password is read from [store] password_file, else from $TOLLKEEPER_STORE_PASSWORD, else \
             from the systemd credential store-password"
                .to_owned()
        }
        Some(1049) => {
            let database = identifier(&url.database);
            format!(
                "\nmake it with: CREATE DATABASE {database} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
            )
        }
        Some(1044 | 1142 | 1143 | 1227) => {
            "\nthe tables are missing, or this user may not use them: run `tollkeeper store init` as a user \
             who may, and grant this one what `tollkeeper store grants` prints"
                .to_owned()
        }
        Some(1146) => "\nmake what is missing with `tollkeeper store init`".to_owned(),
        _ => String::new(),
    };
    StoreError::Unusable {
        message: format!("{doing}: {trouble}{help}"),
    }
}

fn runtime() -> Result<Runtime, StoreError> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.map_err(|cause| StoreError::Unavailable {
        doing: "starting to wait for the database".to_owned(),
        cause: cause.to_string(),
    })
}

/// TLS has to know whose ciphers it uses. Whoever came first is right too.
fn install_tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
