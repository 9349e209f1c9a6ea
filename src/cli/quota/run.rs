//! The commands: how accounts stand, and what is granted, forgiven and exempted.
//!
//! All of it is read from the store and weighed here, so that it works beside any daemon, and without
//! one: what a daemon has summed and not flushed yet, some seconds of traffic, is not in it.

use std::process::ExitCode;

use chrono::{NaiveDate, TimeZone as _};
use chrono_tz::Tz;

use super::account::parse;
use super::{View, write_json, write_list, write_show};
use crate::cli::args::{Output, QuotaCommand};
use crate::cli::report::Layout;
use crate::cli::{Failure, Settings, complain, open, print};
use crate::config::quota;
use crate::daemon::clock;
use crate::excerpt::printable;
use crate::quota::engine::Engine;
use crate::quota::rule::{Measure, Period, Rules};
use crate::quota::verdict::{Account, Standing, Verdict};
use crate::store::{Store, Writer};
use crate::usage::said::{Exempt, Grant, GrantKind};

/// What was read and weighed.
struct Weighed {
    rules: Rules,
    standings: Vec<Standing>,
    zone: Tz,
    now: i64,
}

/// Runs one of the commands.
///
/// # Errors
/// When the store cannot be used, or nobody by that name has a quota.
pub fn run(command: &QuotaCommand, settings: &Settings) -> Result<ExitCode, Failure> {
    let vhosts = settings.config.vhosts.with_files()?;
    let parsed = |text: &str| parse(text, &vhosts).map_err(Failure::Usage);
    match command {
        QuotaCommand::List { exceeded, output } => {
            let Some(mut store) = open::existing_store(settings).map_err(anyhow::Error::new)?
            else {
                return shown(&Weighed::nothing(), false, *output);
            };
            let mut weighed = weigh(store.as_mut(), settings)?;
            if *exceeded {
                let is_exceeded =
                    |standing: &Standing| matches!(standing.verdict, Verdict::Exceeded(_));
                weighed.standings.retain(is_exceeded);
            }
            shown(&weighed, false, *output)
        }
        QuotaCommand::Show { account, output } => {
            let account = parsed(account)?;
            let mut store = store(settings)?;
            let mut weighed = weigh(store.as_mut(), settings)?;
            weighed.standings.retain(|it| it.account == account);
            if weighed.standings.is_empty() {
                return Err(nobody(&account));
            }
            shown(&weighed, true, *output)
        }
        QuotaCommand::Grant {
            account,
            amount,
            quota,
        } => {
            let account = &parsed(account)?;
            let mut store = store(settings)?;
            let weighed = weigh(store.as_mut(), settings)?;
            let standing = match *weighed.of(account, quota.as_deref())?.as_slice() {
                [standing] => standing,
                ref several => return Err(one_of(several)),
            };
            let amount = weighed.amount(standing, amount)?;
            let grant = weighed.grant(standing, GrantKind::More(amount));
            store.grant(&grant).map_err(anyhow::Error::new)?;
            say(
                standing,
                &format!("{amount} more {}", weighed.until(&grant)),
            )
        }
        QuotaCommand::Reset { account, quota } => {
            let account = &parsed(account)?;
            let mut store = store(settings)?;
            let weighed = weigh(store.as_mut(), settings)?;
            for standing in weighed.of(account, quota.as_deref())? {
                let grant = weighed.grant(standing, GrantKind::Reset(standing.used));
                store.grant(&grant).map_err(anyhow::Error::new)?;
                let used = standing.used;
                say(standing, &format!("{used} used, forgiven"))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        QuotaCommand::Exempt {
            account,
            quota,
            until,
            end,
        } => {
            let account = &parsed(account)?;
            let mut store = store(settings)?;
            let exempt = Exempt {
                account: account.clone(),
                quota: quota.clone(),
                until: until.map(|day| behind(day, store.zone())),
            };
            // It would say that the gate opens, and the gate would stay closed.
            if exempt.until.is_some_and(|until| until <= clock()) {
                return Err(Failure::Usage("that day is over".to_owned()));
            }
            if let (Some(quota), false) = (quota, end) {
                weigh(store.as_mut(), settings)?.has(quota)?;
            }
            let changed = store.exempt(&exempt, !end).map_err(anyhow::Error::new)?;
            let name = account.described();
            let what = match (end, changed) {
                (false, true) => "is exempt: it counts, and nothing is closed to it",
                (false, false) => "was exempt already",
                (true, true) => "is no longer exempt",
                (true, false) => return Err(failed(format!("{name} was not exempt"))),
            };
            print(&format!("{}: {what}\n", printable(&name)))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn store(settings: &Settings) -> Result<Box<dyn Store>, Failure> {
    Ok(open::store(settings).map_err(anyhow::Error::new)?)
}

/// How every account stands now.
fn weigh(store: &mut dyn Store, settings: &Settings) -> Result<Weighed, Failure> {
    let said = store.said().map_err(anyhow::Error::new)?;
    let config = settings.config.with_side_files()?;
    let (rules, faults) = quota::rules(&config, &said);
    for fault in &faults {
        complain(&printable(fault));
    }
    let told = store.told().map_err(anyhow::Error::new)?;
    let (zone, now) = (store.zone(), clock());
    let mut engine = Engine::new(rules.clone(), told, zone, now);
    engine.set_overrides(said.overrides, now);
    // Nothing of a process that has flushed nothing overlaps with the rows.
    let nobody = Writer {
        instance: String::new(),
        seq: 0,
    };
    if let Some(needs) = engine.needs(now) {
        let snapshot = store.usage(&needs, &nobody).map_err(anyhow::Error::new)?;
        engine.snapshot(snapshot, now);
    }
    Ok(Weighed {
        rules,
        standings: engine.standings(),
        zone,
        now,
    })
}

impl Weighed {
    /// Where there is no store yet.
    fn nothing() -> Self {
        Self {
            rules: Rules::default(),
            standings: Vec::new(),
            zone: Tz::UTC,
            now: 0,
        }
    }

    /// Whether there is a quota of that name: whom it limits need not have used anything yet.
    fn has(&self, quota: &str) -> Result<(), Failure> {
        match self.rules.quotas.iter().any(|it| it.name == quota) {
            true => Ok(()),
            false => Err(failed(format!("no quota is called {quota:?}"))),
        }
    }

    /// How an account stands with the quota of that name, or with all.
    fn of(&self, account: &Account, quota: Option<&str>) -> Result<Vec<&Standing>, Failure> {
        let standings: Vec<&Standing> = self
            .standings
            .iter()
            .filter(|it| it.account == *account && quota.is_none_or(|quota| it.quota == quota))
            .collect();
        match (standings.is_empty(), quota) {
            (false, _) => Ok(standings),
            (true, None) => Err(nobody(account)),
            (true, Some(quota)) => {
                let name = account.described();
                let names: Vec<&str> = self
                    .standings
                    .iter()
                    .filter(|it| it.account == *account)
                    .map(|it| it.quota.as_str())
                    .collect();
                Err(failed(format!(
                    "{name} has no quota {quota:?}; it has: {}",
                    quoted(&names)
                )))
            }
        }
    }

    /// An amount as it was typed: bytes, or requests where those are limited.
    fn amount(&self, standing: &Standing, text: &str) -> Result<u64, Failure> {
        let quota = self
            .rules
            .quotas
            .iter()
            .find(|it| it.name == standing.quota);
        let counts_requests = quota.is_some_and(|quota| quota.measure == Measure::Requests);
        let amount = match counts_requests {
            true => Some(text)
                .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|text| text.parse().ok())
                .ok_or_else(|| "requests: a whole number, such as 5000".to_owned()),
            false => tollkeeper_parsers::size::bytes(text)
                .map_err(|error| error.help.unwrap_or(error.message)),
        };
        let is_some = |amount: &u64| (1..=i64::MAX.unsigned_abs()).contains(amount);
        let amount = amount.and_then(|amount| {
            Some(amount)
                .filter(is_some)
                .ok_or_else(|| "more than nothing, and no more than can be counted".to_owned())
        });
        amount.map_err(|help| Failure::Usage(format!("{text:?} cannot be granted\n{help}")))
    }

    /// What is granted holds until the period ends; in a window that slides, for as long as the window
    /// is.
    fn grant(&self, standing: &Standing, kind: GrantKind) -> Grant {
        let quota = self
            .rules
            .quotas
            .iter()
            .find(|it| it.name == standing.quota);
        let until = match quota.map(|quota| &quota.period) {
            Some(Period::Rolling { minutes }) => Some(self.now + i64::from(*minutes) * 60),
            _ => standing.ends,
        };
        Grant {
            quota: standing.quota.clone(),
            account: standing.account.clone(),
            kind,
            at: self.now,
            until,
        }
    }

    fn until(&self, grant: &Grant) -> String {
        match grant
            .until
            .and_then(|at| self.zone.timestamp_opt(at, 0).single())
        {
            Some(at) => format!("until {}", at.format("%Y-%m-%d %H:%M")),
            None => "for good".to_owned(),
        }
    }
}

fn shown(weighed: &Weighed, in_full: bool, output: Output) -> Result<ExitCode, Failure> {
    let view = View::new(
        &weighed.standings,
        &weighed.rules.quotas,
        weighed.zone,
        weighed.now,
    );
    let mut text = Vec::new();
    match output {
        Output::Json => write_json(&mut text, &view),
        Output::Table if in_full => write_show(&mut text, &view),
        Output::Table => write_list(&mut text, &view, Layout::of(&std::io::stdout())),
    }
    .map_err(Failure::output)?;
    print(&String::from_utf8_lossy(&text))?;
    Ok(ExitCode::SUCCESS)
}

fn say(standing: &Standing, what: &str) -> Result<ExitCode, Failure> {
    let name = standing.account.described();
    print(&format!(
        "{}, quota {}: {what}\n",
        printable(&name),
        printable(&standing.quota)
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// The first second behind a day.
fn behind(day: NaiveDate, zone: Tz) -> i64 {
    let next = day
        .succ_opt()
        .unwrap_or(day)
        .and_time(chrono::NaiveTime::MIN);
    let at = zone.from_local_datetime(&next);
    at.earliest()
        .map_or_else(|| next.and_utc().timestamp(), |at| at.timestamp())
}

fn nobody(account: &Account) -> Failure {
    failed(format!(
        "{} has no quota: tollkeeper quota list has all that do",
        account.described()
    ))
}

fn one_of(standings: &[&Standing]) -> Failure {
    let names: Vec<&str> = standings.iter().map(|it| it.quota.as_str()).collect();
    Failure::Usage(format!(
        "it has several quotas: say which with --quota, one of {}",
        quoted(&names)
    ))
}

fn quoted(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    names.join(", ")
}

fn failed(message: String) -> Failure {
    Failure::Failed(anyhow::anyhow!(printable(&message).into_owned()))
}
