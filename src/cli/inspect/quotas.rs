//! What the quotas of a config come to, in words, and what keeps one from ever doing anything.

use tollkeeper_parsers::format::Spec;
use tollkeeper_parsers::plan::{self, Plan};

use crate::cli::report::human_bytes;
use crate::config::gate::Gates;
use crate::config::{Config, Layer, Users};
use crate::quota::rule::{Consequence, Measure, Period, Quota, Who};

/// What there is to say of the quotas.
pub(super) fn notes(config: &Config) -> Vec<String> {
    let quotas = &config.quotas;
    let mut notes: Vec<String> = quotas.iter().map(|quota| words(quota, config)).collect();
    let of_user = |quota: &&Quota| matches!(quota.who, Who::User { .. } | Who::Leech(_));
    if !vouches(config) {
        notes.extend(quotas.iter().filter(of_user).map(|quota| {
            format!(
                "quota {:?} never counts anything: no source has users = \"verified\", and what a client merely claims to be spends no quota; set it on the sources whose server checks passwords for all that it logs",
                quota.name
            )
        }));
    }
    let closes = |quota: &&Quota| !quota.report_only && !quota.exceeded.is_empty();
    if config.gates == Gates::default() && quotas.iter().any(|quota| closes(&quota)) {
        notes.push(
            "no quota closes anything: the config has no [[gate.…]], so that no web server is told"
                .to_owned(),
        );
    }
    notes
}

/// Whether any source has users that its server vouches for. What `auto` will find is not known.
fn vouches(config: &Config) -> bool {
    let files = config
        .file_sources
        .iter()
        .map(|it| (&it.formats, it.users, &it.layer));
    let syslog = config
        .syslog_sources
        .iter()
        .map(|it| (&it.formats, it.users, &it.layer));
    let pipes = config
        .pipe_sources
        .iter()
        .map(|it| (&it.formats, it.users, &it.layer));
    let mut sources = files.chain(syslog).chain(pipes);
    sources.any(|(formats, users, layer)| {
        *layer == Layer::EDGE && formats.iter().any(|format| vouched_for(format, users))
    })
}

fn vouched_for(format: &Spec, users: Option<Users>) -> bool {
    let Spec::Format(format) = format else {
        return matches!(users, None | Some(Users::Verified));
    };
    let Ok(plan) = Plan::compile(format) else {
        return false;
    };
    let is_verified = match users {
        Some(users) => users == Users::Verified,
        None => plan.users_default() == plan::Users::Verified,
    };
    is_verified && plan.has_user()
}

fn words(quota: &Quota, config: &Config) -> String {
    let who = match &quota.who {
        Who::Vhost(name) if name == "*" => "each site".to_owned(),
        Who::Vhost(name) => match name.strip_prefix("*.") {
            Some(suffix) => format!("each site below {suffix}"),
            None => format!("the site {name}"),
        },
        Who::User { user, vhosts } => {
            let user = match user.as_str() {
                "*" => "each user".to_owned(),
                user => format!("the user {user}"),
            };
            match vhosts.as_slice() {
                [] => user,
                [one] => format!("{user} on {one}"),
                several => format!("{user} on {} together", several.join(" and ")),
            }
        }
        Who::Owner(owner) if owner == "*" => "each owner with all its sites".to_owned(),
        Who::Owner(owner) => {
            let sites = config.owners.get(owner).map_or(0, Vec::len);
            format!("the owner {owner} with its {sites} sites")
        }
        Who::Leech(_) => "each user with a row in mod_leech's table".to_owned(),
    };
    let class = quota.class.as_ref().map_or_else(String::new, |class| {
        format!(", for clients of the class {class},")
    });
    let amount = || human_bytes(u128::from(quota.limit));
    let what = match quota.measure {
        _ if matches!(quota.who, Who::Leech(_)) => "move what the row allows".to_owned(),
        Measure::Out => format!("send {}", amount()),
        Measure::In => format!("receive {}", amount()),
        Measure::Both => format!("send and receive {} together", amount()),
        Measure::Requests => format!("answer {} requests", quota.limit),
    };
    let mut said = format!(
        "quota {:?}: {who}{class} may {what}{}",
        quota.name,
        period(quota)
    );
    if let Some(minutes) = quota.slice_minutes {
        said += &format!(", of which each {} open a share", length(minutes));
    }
    if !quota.warn.is_empty() {
        let warn: Vec<String> = quota.warn.iter().map(|at| format!("{at} %")).collect();
        said += &format!("; warns at {}", warn.join(", "));
    }
    for rung in &quota.exceeded {
        said += &format!("; from {} % on {}", rung.at, consequence(&rung.consequence));
    }
    if quota.report_only {
        said += "; report_only: that is told, and nothing is closed";
    } else if quota.exceeded.is_empty() {
        said += "; closes nothing";
    }
    said
}

fn period(quota: &Quota) -> String {
    match &quota.period {
        Period::Day => " a day".to_owned(),
        Period::Week => " a week, from Monday on".to_owned(),
        Period::Month { day: 1 } => " a calendar month".to_owned(),
        Period::Month { day } => format!(" a month, from day {day} on"),
        Period::Year { month: 1, day: 1 } => " a calendar year".to_owned(),
        Period::Year { month, day } => format!(" a year, from {month:02}-{day:02} on"),
        Period::Minutes { minutes, anchor } => format!(
            " in each {}, counted from {}",
            length(*minutes),
            anchor.format("%Y-%m-%d %H:%M")
        ),
        Period::Rolling { minutes } => format!(
            " in any {}; once closed, it opens below {} % of what closed it",
            length(*minutes),
            quota.reopen
        ),
        Period::Endless => String::new(),
    }
}

/// `3 days`, `90 minutes`.
fn length(minutes: u32) -> String {
    let (number, unit) = match minutes {
        _ if minutes.is_multiple_of(1_440) => (minutes / 1_440, "day"),
        _ if minutes.is_multiple_of(60) => (minutes / 60, "hour"),
        _ => (minutes, "minute"),
    };
    match number {
        1 => format!("1 {unit}"),
        _ => format!("{number} {unit}s"),
    }
}

fn consequence(consequence: &Consequence) -> String {
    match consequence {
        Consequence::Deny { status } => format!("requests are refused with {status}"),
        Consequence::Redirect { url } => format!("requests are sent to {url}"),
        Consequence::Slow { bytes_per_second } => format!(
            "each response is slowed down to {} a second",
            human_bytes(u128::from(*bytes_per_second))
        ),
    }
}
