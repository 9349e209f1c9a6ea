//! What the engine is asked to do, rule by rule; `model` has it all at once, at random.

use std::sync::Arc;

use chrono::NaiveDate;
use chrono_tz::Tz;

use super::*;
use crate::account::day::DayNumber;
use crate::account::delta::Amount;
use crate::quota::rule::{Consequence, Measure, Period, Quota, Rung, Who};
use crate::quota::verdict::{Subject, Verdict};
use crate::usage::snapshot::{LeechRow, MinuteNeed, Part};

mod figures;
mod model;
mod overrides;
mod rules;
mod snapshots;
mod store;
mod time;

use store::Store;

const DENY: Consequence = Consequence::Deny { status: 429 };
const ZONE: Tz = Tz::UTC;
/// 2026-11-26, 12:00 UTC, a Thursday.
const NOON: i64 = 20_783 * 86_400 + 43_200;
const TODAY: DayNumber = 20_783;
const HOUR: i64 = 3_600;
const DAY: i64 = 86_400;

/// 1,000 bytes out, both ways together, a day; refused from there on.
fn quota(name: &str, who: Who) -> Quota {
    Quota {
        name: name.to_owned(),
        who,
        class: None,
        measure: Measure::Both,
        limit: 1_000,
        period: Period::Day,
        slice_minutes: None,
        warn: Vec::new(),
        exceeded: vec![rung(100, DENY)],
        report_only: false,
        reopen: 95,
    }
}

fn rung(at: u32, consequence: Consequence) -> Rung {
    Rung { at, consequence }
}

fn vhost(name: &str) -> Who {
    Who::Vhost(name.to_owned())
}

fn user(name: &str, vhosts: &[&str]) -> Who {
    Who::User {
        user: name.to_owned(),
        vhosts: vhosts.iter().map(|&vhost| vhost.to_owned()).collect(),
    }
}

fn owner(name: &str) -> Who {
    Who::Owner(name.to_owned())
}

fn rules(quotas: Vec<Quota>) -> Rules {
    let dembol = ["x.example", "y.example"].map(str::to_owned).to_vec();
    let mut rules = Rules {
        quotas,
        ..Rules::default()
    };
    rules.owners.insert("dembol".to_owned(), dembol);
    rules
}

fn minutes(minutes: u32, anchor: &str) -> Period {
    let anchor =
        chrono::NaiveDateTime::parse_from_str(anchor, "%Y-%m-%d %H:%M").expect("an anchor");
    Period::Minutes { minutes, anchor }
}

/// Lines of a site in one minute: so many bytes, all of them sent.
fn spent(vhost: &str, bytes: u64, at: i64) -> Spent {
    Spent {
        vhost: vhost.into(),
        user: None,
        class: None,
        day: clock::day_of(ZONE, at),
        minute: at.div_euclid(60),
        amount: Amount {
            bytes_in: 0,
            bytes_out: bytes,
            requests: 1,
        },
    }
}

fn by(name: &str, spent: Spent) -> Spent {
    Spent {
        user: Some(name.into()),
        ..spent
    }
}

fn of_class(name: &str, spent: Spent) -> Spent {
    Spent {
        class: Some(name.into()),
        ..spent
    }
}

/// An engine that knows an empty store.
fn knowing(quotas: Vec<Quota>) -> (Engine, Store) {
    knowing_at(quotas, NOON)
}

fn knowing_at(quotas: Vec<Quota>, now: i64) -> (Engine, Store) {
    let mut engine = Engine::new(rules(quotas), AllTold::new(), ZONE, now);
    let store = Store::default();
    report(&mut engine, &store, now);
    (engine, store)
}

/// What the reader does each interval.
fn report(engine: &mut Engine, store: &Store, now: i64) {
    let needs = engine.needs(now).expect("quotas");
    engine.snapshot(store.usage(&needs), now);
}

fn gate(engine: &Engine, subject: &Subject) -> Option<Consequence> {
    let closed = engine.verdicts().closed;
    closed.get(subject).map(|closed| closed.consequence.clone())
}

fn is_closed(engine: &Engine, vhost: &str) -> bool {
    gate(engine, &Subject::Vhost(vhost.to_owned())).is_some()
}

/// How accounts stand: quota, account in short, used.
fn used(engine: &Engine) -> Vec<(String, String, u64)> {
    let standings = engine.standings().into_iter();
    standings
        .map(|standing| (standing.quota, short(&standing.account), standing.used))
        .collect()
}

fn short(account: &Account) -> String {
    match account {
        Account::Vhost(name) | Account::Owner(name) | Account::User(name) => name.clone(),
        Account::VhostClass(name, class) | Account::OwnerClass(name, class) => {
            format!("{name}/{class}")
        }
    }
}

fn expect_used(engine: &Engine, expected: &[(&str, &str, u64)]) {
    let expected: Vec<_> = expected
        .iter()
        .map(|&(quota, account, used)| (quota.to_owned(), account.to_owned(), used))
        .collect();
    assert_eq!(used(engine), expected);
}

/// What was told since the last time: account, from, to, thresholds reached and left.
type Told = (String, Verdict, Verdict, Vec<u32>, Vec<u32>);

fn told(engine: &mut Engine) -> Vec<Told> {
    let changes = engine.take_changes().into_iter();
    changes
        .map(|change| {
            let account = short(&change.account);
            (account, change.from, change.to, change.reached, change.left)
        })
        .collect()
}

fn all_told(engine: &mut Engine) -> AllTold {
    let changes = engine.take_changes().into_iter();
    changes
        .flat_map(|change| {
            let (quota, account, begin) = (change.quota, change.account, change.begin);
            let told = change.reached.into_iter();
            told.map(move |percent| (quota.clone(), account.clone(), begin, percent))
        })
        .collect()
}
