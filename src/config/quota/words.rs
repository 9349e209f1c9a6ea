//! A quota as somebody has written it, into one that can be weighed: the same for the config and for
//! rows of SQL.

use std::collections::BTreeSet;
use std::ops::{Range, RangeInclusive};

use tollkeeper_parsers::size;

use super::super::VhostRules;
use super::super::names;
use super::follows::{Follows, follows};
use super::value::{self, Refusal};
use crate::quota::rule::{Consequence, Measure, Period, Quota, Rung, Who};

/// `reopen` where nothing is said.
pub const DEFAULT_REOPEN: u32 = 95;
const DAY: u32 = 24 * 60;

/// What is written, not understood yet.
#[derive(Debug, Default)]
pub(super) struct Words<'t> {
    pub(super) vhost: Option<&'t str>,
    pub(super) user: Option<&'t str>,
    pub(super) vhosts: Option<Vec<&'t str>>,
    pub(super) owner: Option<&'t str>,
    pub(super) class: Option<&'t str>,
    pub(super) limit: Option<&'t str>,
    pub(super) measure: Option<&'t str>,
    pub(super) period: Option<&'t str>,
    pub(super) rolling: Option<&'t str>,
    pub(super) billing_day: Option<&'t str>,
    pub(super) anchor: Option<&'t str>,
    pub(super) slice: Option<&'t str>,
    pub(super) reopen: Option<&'t str>,
    pub(super) report_only: bool,
    pub(super) follows: Follows<'t>,
}

/// Names that a quota may refer to.
#[derive(Debug)]
pub struct Known<'k> {
    /// Owners.
    pub owners: BTreeSet<&'k str>,
    /// Classes.
    pub classes: BTreeSet<&'k str>,
    /// Names of sites.
    pub vhosts: &'k VhostRules,
}

/// Something that is wrong.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// The key with the word at fault; `""`: one is missing.
    pub(super) key: &'static str,
    /// Which word of its list.
    pub(super) index: usize,
    /// The bytes of the word.
    pub(super) span: Option<Range<usize>>,
    pub(super) message: String,
    pub(super) help: String,
}

/// Understands words; what is wrong goes into `faults`.
pub(super) struct Understanding<'w, 't> {
    words: &'w Words<'t>,
    known: &'w Known<'w>,
    faults: Vec<Fault>,
}

impl<'w, 't> Understanding<'w, 't> {
    /// The quota, with a name that is made of what it says.
    pub(super) fn quota(words: &'w Words<'t>, known: &'w Known<'w>) -> Result<Quota, Vec<Fault>> {
        let mut understanding = Self {
            words,
            known,
            faults: Vec::new(),
        };
        let who = understanding.who();
        let class = understanding.class();
        let measure = understanding.checked("measure", words.measure, value::parse_measure);
        let measure = measure.unwrap_or(Measure::Out);
        let limit = understanding.limit(measure);
        let period = understanding.period();
        let slice_minutes = understanding.slice(period.as_ref());
        let reopen = understanding.reopen(period.as_ref());
        let (warn, exceeded) = follows(&words.follows, &mut understanding.faults);
        if let Some(who) = &who {
            understanding.refuse_circles(who, &exceeded);
        }
        match (who, limit, period) {
            (Some(who), Some(limit), Some(period)) if understanding.faults.is_empty() => {
                let name = understanding.name(&who, class.as_deref(), measure);
                Ok(Quota {
                    name,
                    who,
                    class,
                    measure,
                    limit,
                    period,
                    slice_minutes,
                    warn,
                    exceeded,
                    report_only: words.report_only,
                    reopen,
                })
            }
            _ => Err(understanding.faults),
        }
    }

    fn report(&mut self, key: &'static str, message: impl Into<String>, help: impl Into<String>) {
        report(&mut self.faults, key, 0, (message.into(), help.into()));
    }

    fn checked<T>(
        &mut self,
        key: &'static str,
        word: Option<&str>,
        parse: impl FnOnce(&str) -> Result<T, Refusal>,
    ) -> Option<T> {
        checked(&mut self.faults, key, 0, word?, parse)
    }

    fn who(&mut self) -> Option<Who> {
        let Words {
            vhost,
            user,
            owner,
            vhosts,
            ..
        } = self.words;
        let said = [("vhost", vhost), ("user", user), ("owner", owner)];
        let mut said = said.into_iter().filter(|(_, word)| word.is_some());
        let help = "a quota limits one of them; several quotas apply together";
        let Some((key, _)) = said.next() else {
            let help = "say whom it limits: vhost, user or owner";
            self.report("", "this quota limits nobody", help);
            return None;
        };
        if let Some((other, _)) = said.next() {
            let message = format!("{key} and {other} stand in one quota");
            self.report(other, message, help);
            return None;
        }
        if vhosts.is_some() && key != "user" {
            let help = match key {
                "vhost" => "write a quota for each site, or make them an owner's",
                _ => "an owner's sites are in its own list",
            };
            self.report("vhosts", "this list belongs to the quota of a user", help);
            return None;
        }
        let known = self.known;
        match key {
            "vhost" => self
                .checked(key, *vhost, |name| value::parse_vhost(name, known.vhosts))
                .map(Who::Vhost),
            "owner" => {
                let owners = known.owners.iter().copied();
                self.checked(key, *owner, |name| match name {
                    "*" => Ok("*".to_owned()),
                    name => value::parse_known(name, "owner", owners),
                })
                .map(Who::Owner)
            }
            _ => {
                let user = self.checked(key, *user, value::parse_user);
                let vhosts = self.sites();
                Some(Who::User {
                    user: user?,
                    vhosts,
                })
            }
        }
    }

    /// The sites on which a user is limited, sorted, each once.
    fn sites(&mut self) -> Vec<String> {
        let names = self.words.vhosts.as_deref();
        if names == Some(&["*"]) {
            return Vec::new();
        }
        if names.is_some_and(<[_]>::is_empty) {
            let help = "name some, or take the list out: the quota is for all then";
            self.report("vhosts", "this list names no site", help);
        }
        let rules = self.known.vhosts;
        let mut sites = BTreeSet::new();
        for (index, name) in names.unwrap_or_default().iter().enumerate() {
            let parse = |name: &str| value::parse_site(name, rules);
            sites.extend(checked(&mut self.faults, "vhosts", index, name, parse));
        }
        sites.into_iter().collect()
    }

    fn class(&mut self) -> Option<String> {
        let class = self.words.class;
        if class.is_some() && self.words.user.is_some() {
            let message = "the quota of a user has no class";
            self.report("class", message, "classes are of vhosts and of owners");
            return None;
        }
        let classes = self.known.classes.iter().copied();
        self.checked("class", class, |name| {
            value::parse_known(name, "class", classes)
        })
    }

    fn limit(&mut self, measure: Measure) -> Option<u64> {
        let Some(word) = self.words.limit else {
            let help = match measure {
                Measure::Requests => "say how many requests, such as \"10000\"",
                _ => "say how much, such as \"100G\"",
            };
            self.report("", "this quota has no limit", help);
            return None;
        };
        let limit = match measure {
            Measure::Requests => self.checked("limit", Some(word), value::parse_requests),
            _ => match size::bytes(word) {
                Ok(limit) => Some(limit),
                Err(error) => {
                    self.faults.push(Fault {
                        key: "limit",
                        index: 0,
                        span: Some(error.span),
                        message: format!("{word:?}: {}", error.message),
                        help: error.help.unwrap_or_default(),
                    });
                    None
                }
            },
        };
        if limit == Some(0) {
            let help = "for no limit take the quota out; for a site that nobody may see, ask the \
                        web server";
            self.report("limit", format!("{word:?} is nothing at all"), help);
        }
        limit
    }

    fn period(&mut self) -> Option<Period> {
        let words = self.words;
        let mut period = match (words.period, words.rolling) {
            (None, None) => {
                let help = "say for how long, by a period such as \"month\", or a rolling window such \
                            as \"30D\"";
                self.report("", "this quota has no period", help);
                return None;
            }
            (Some(_), Some(_)) => {
                let message = "a quota has a period, or rolls";
                self.report("rolling", message, "take one of the two out");
                return None;
            }
            (Some(word), None) => self.checked("period", Some(word), value::parse_period)?,
            (None, word) => Period::Rolling {
                minutes: self.checked("rolling", word, |word| {
                    value::parse_minutes(word, value::MAX_ROLLING_MINUTES)
                })?,
            },
        };
        match &mut period {
            Period::Month { day } => {
                let said = words.billing_day;
                *day = self
                    .checked("billing_day", said, value::parse_day_of_month)
                    .unwrap_or(*day);
            }
            Period::Year { month, day } => {
                let said = words.billing_day;
                (*month, *day) = self
                    .checked("billing_day", said, value::parse_day_of_year)
                    .unwrap_or((*month, *day));
            }
            _ if words.billing_day.is_some() => {
                let help = "take it out; for periods such as \"4W\" an anchor says when they begin";
                self.report(
                    "billing_day",
                    "only months and years are billed from a day on",
                    help,
                );
            }
            _ => {}
        }
        match &mut period {
            Period::Minutes { anchor, .. } => {
                *anchor = self
                    .checked("anchor", words.anchor, value::parse_anchor)
                    .unwrap_or(*anchor);
            }
            _ if words.anchor.is_some() => {
                let help = "take it out; a month or a year may have a billing_day";
                self.report("anchor", "only periods such as \"4W\" have an anchor", help);
            }
            _ => {}
        }
        Some(period)
    }

    fn slice(&mut self, period: Option<&Period>) -> Option<u32> {
        let word = self.words.slice?;
        let slice = self.checked("slice", Some(word), |word| {
            value::parse_minutes(word, value::MAX_PERIOD_MINUTES)
        })?;
        let longest = match period? {
            Period::Day => DAY,
            Period::Week => 7 * DAY,
            Period::Month { .. } => 28 * DAY,
            Period::Year { .. } => 365 * DAY,
            Period::Minutes { minutes, .. } => *minutes,
            Period::Rolling { .. } | Period::Endless => {
                let help = "take it out, or write a period instead of a rolling window";
                self.report("slice", "a rolling window has no slices", help);
                return None;
            }
        };
        if slice > longest {
            let message = format!("a slice of {word:?} is longer than its period");
            self.report(
                "slice",
                message,
                "slices are parts of a period, such as \"1W\" of \"4W\"",
            );
        }
        Some(slice)
    }

    fn reopen(&mut self, period: Option<&Period>) -> u32 {
        let word = self.words.reopen;
        if word.is_some() && period.is_some_and(|period| !matches!(period, Period::Rolling { .. }))
        {
            let help = "take it out: a period opens again when it ends";
            self.report("reopen", "only a rolling window opens bit by bit", help);
        }
        let bounds: RangeInclusive<u32> = value::REOPEN_PERCENT;
        let reopen = self.checked("reopen", word, |word| value::parse_percent(word, &bounds));
        reopen.unwrap_or(DEFAULT_REOPEN)
    }

    /// Whoever is sent to the site that is closed is sent there again.
    fn refuse_circles(&mut self, who: &Who, exceeded: &[Rung]) {
        let closed = match who {
            Who::Vhost(vhost) => std::slice::from_ref(vhost),
            Who::User { vhosts, .. } => vhosts.as_slice(),
            Who::Owner(_) | Who::Leech(_) => &[],
        };
        let rules = self.known.vhosts;
        for (index, rung) in exceeded.iter().enumerate() {
            let Consequence::Redirect { url } = &rung.consequence else {
                continue;
            };
            let host = value::host_of(url);
            let site = names::fold(host).ok();
            let site = site.map(|name| names::billed(&name, rules).to_owned());
            if let Some(site) = site.filter(|site| closed.contains(site)) {
                let message = format!("{host} is {site:?}, the site that is closed");
                let help =
                    "send them to a site that stays open, or they are sent around in circles";
                report(&mut self.faults, "redirect", index, (message, help.into()));
            }
        }
    }

    /// `vhost example.org class campus month from 15 out 100G`
    fn name(&self, who: &Who, class: Option<&str>, measure: Measure) -> String {
        let words = self.words;
        let mut name = match who {
            Who::Vhost(vhost) => format!("vhost {vhost}"),
            Who::Owner(owner) => format!("owner {owner}"),
            Who::Leech(user) => format!("user {user}"),
            Who::User { user, vhosts } if vhosts.is_empty() => format!("user {user}"),
            Who::User { user, vhosts } => format!("user {user} at {}", vhosts.join(" ")),
        };
        let mut add = |before: &str, word: Option<&str>| {
            if let Some(word) = word {
                name.push_str(before);
                name.push_str(word.trim());
            }
        };
        add(" class ", class);
        add(" ", words.period);
        add(" rolling ", words.rolling);
        add(" from ", words.billing_day);
        add(" from ", words.anchor);
        add(" by ", words.slice);
        add(" ", Some(measure.word()));
        add(" ", words.limit);
        shortened(name, value::MAX_NAME_BYTES)
    }
}

/// Cut to so many bytes.
pub(super) fn shortened(mut name: String, most: usize) -> String {
    name.truncate(name.floor_char_boundary(most));
    name
}

pub(super) fn checked<T>(
    faults: &mut Vec<Fault>,
    key: &'static str,
    index: usize,
    word: &str,
    parse: impl FnOnce(&str) -> Result<T, Refusal>,
) -> Option<T> {
    parse(word)
        .map_err(|refusal| report(faults, key, index, refusal))
        .ok()
}

pub(super) fn report(faults: &mut Vec<Fault>, key: &'static str, index: usize, refusal: Refusal) {
    let (message, help) = refusal;
    faults.push(Fault {
        key,
        index,
        span: None,
        message,
        help,
    });
}
