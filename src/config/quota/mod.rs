//! `[[quota]]`: what an operator may limit; and the same from the tables of a store.
//!
//! | part | does |
//! |---|---|
//! | `value` | one word into its value, or why not |
//! | `follows` | what follows, from its words |
//! | `words` | the words of a quota into a quota: the same for both |
//! | here | the sections of the config into words, with their places |
//! | `row` | a row of the table `quota` into words |
//! | [`rules`](rules()) | config and tables together |

mod follows;
mod row;
mod rules;
mod value;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use self::follows::{Follows, RungWords};
pub use self::row::quota_of_row;
pub use self::rules::rules;
pub use self::value::{MAX_NAME_BYTES, SQL_PREFIX};
pub use self::words::{DEFAULT_REOPEN, Known};
use self::words::{Fault, Understanding, Words};
use super::table::{Table, Text};
use super::{Config, Reader};
use crate::quota::rule::{Measure, Period, Quota, Who};

/// What the quota of mod_leech's table is called.
pub const LEECH_QUOTA: &str = "users";

/// Whether a table of this name is one of ours, in some version.
pub(super) fn could_be_ours(table: &str) -> bool {
    const OWN: [&str; 5] = ["bandwidth", "tollkeeper", "quota", "owner", "class"];
    let lower = table.to_ascii_lowercase();
    OWN.contains(&lower.split('_').next().unwrap_or_default())
}

/// Where the words of a section stand.
#[derive(Debug, Default)]
struct Places<'t> {
    texts: BTreeMap<(&'static str, usize), Text<'t>>,
    /// The tables of `exceeded`.
    rungs: Vec<Range<usize>>,
}

impl<'t> Places<'t> {
    fn one(&mut self, key: &'static str, text: Option<Text<'t>>) -> Option<&'t str> {
        let text = text?;
        self.texts.insert((key, 0), text);
        Some(text.value)
    }

    fn all(&mut self, key: &'static str, texts: Vec<Text<'t>>) -> Vec<&'t str> {
        let entries = texts.iter().enumerate();
        self.texts
            .extend(entries.map(|(index, text)| ((key, index), *text)));
        texts.iter().map(|text| text.value).collect()
    }
}

impl<'t> Reader<'_, 't> {
    /// All `[[quota]]`, and that of mod_leech's table if there is one.
    pub(super) fn quotas(
        &mut self,
        tables: Vec<Table<'t>>,
        leech: Option<Table<'t>>,
        config: &Config,
    ) -> Vec<Quota> {
        let known = Known {
            owners: config.owners.keys().map(String::as_str).collect(),
            classes: config.classes.iter().map(|it| it.name.as_str()).collect(),
            vhosts: &config.vhosts,
        };
        let mut quotas: Vec<Quota> = Vec::new();
        // Names that were given go before those that are made.
        let mut names = BTreeSet::new();
        let mut unnamed = Vec::new();
        let of_leech = self.leech(leech, config.store_access.users_table.is_some());
        names.extend(of_leech.iter().map(|quota| quota.name.clone()));
        for mut table in tables {
            let place = table.span();
            let name = table.string("name", self.findings);
            let name_place = name.map(|name| name.span());
            let has_name = name.is_some();
            let name = name.and_then(|name| self.checked(name, value::parse_name));
            if let Some(name) = &name
                && !names.insert(name.clone())
            {
                let message = format!("another quota has the name {name:?}");
                let help = "grants name a quota by its name: give this one another";
                let place = name_place.unwrap_or_else(|| place.clone());
                self.findings.report(place, message, help);
            }
            let Some(mut quota) = self.quota(table, &known) else {
                continue;
            };
            if let Some(twin) = quotas.iter().find(|other| limits_the_same(other, &quota)) {
                let message = format!("the quota {:?} limits the same already", twin.name);
                let help = "take one of the two out; what follows at several percentages is a list: \
                            exceeded = [{ at = 100, … }, { at = 150, … }]";
                self.findings.report(place, message, help);
            }
            match name {
                Some(name) => quota.name = name,
                None if !has_name => unnamed.push(quotas.len()),
                None => {}
            }
            quotas.push(quota);
        }
        for index in unnamed {
            let made = &mut quotas[index].name;
            let mut free = made.clone();
            let mut number = 1;
            while !names.insert(free.clone()) {
                number += 1;
                let suffix = format!(" ({number})");
                free = words::shortened(made.clone(), MAX_NAME_BYTES - suffix.len()) + &suffix;
            }
            *made = free;
        }
        quotas.extend(of_leech);
        quotas
    }

    fn quota(&mut self, mut table: Table<'t>, known: &Known<'_>) -> Option<Quota> {
        let place = table.span();
        let before = self.findings.len();
        let mut places = Places::default();
        let mut words = Words::default();
        let mut string = |reader: &mut Self, table: &mut Table<'t>, key| {
            places.one(key, table.string(key, reader.findings))
        };
        words.vhost = string(self, &mut table, "vhost");
        words.user = string(self, &mut table, "user");
        words.owner = string(self, &mut table, "owner");
        words.class = string(self, &mut table, "class");
        words.measure = string(self, &mut table, "measure");
        words.period = string(self, &mut table, "period");
        words.rolling = string(self, &mut table, "rolling");
        words.anchor = string(self, &mut table, "anchor");
        words.slice = string(self, &mut table, "slice");
        words.limit = places.one("limit", table.word("limit", self.findings));
        words.billing_day = places.one("billing_day", table.word("billing_day", self.findings));
        words.reopen = places.one("reopen", table.word("reopen", self.findings));
        let vhosts = table.some_strings("vhosts", self.findings);
        let vhosts = vhosts.filter(|texts| !texts.is_empty());
        words.vhosts = vhosts.map(|texts| places.all("vhosts", texts));
        words.follows = self.follows(&mut table, &mut places);
        words.report_only = table.boolean("report_only", self.findings) == Some(true);
        table.finish(self.findings);
        let is_read = self.findings.len() == before;
        match Understanding::quota(&words, known) {
            Ok(quota) => Some(quota),
            Err(mut faults) => {
                // What seems to be missing may be there, under a key or in a type that was refused.
                faults.retain(|fault| is_read || !fault.key.is_empty());
                self.tell(faults, &places, &place);
                None
            }
        }
    }

    /// `warn` and `exceeded`.
    fn follows(&mut self, table: &mut Table<'t>, places: &mut Places<'t>) -> Follows<'t> {
        let warn = table.words("warn", self.findings).unwrap_or_default();
        let warn = places.all("warn", warn);
        let Some(tables) = table.inline_tables("exceeded", self.findings) else {
            return Follows {
                warn,
                exceeded: None,
            };
        };
        let mut rungs = Vec::new();
        for mut table in tables {
            let index = rungs.len();
            let place = table.span();
            let at = table.word("at", self.findings);
            let deny = table.word("deny", self.findings);
            let said = [
                ("deny", deny),
                ("redirect", table.string("redirect", self.findings)),
                ("speed", table.string("speed", self.findings)),
            ];
            let keys = ["deny", "redirect", "speed"];
            let has_one = keys.iter().filter(|key| table.has(key)).count() == 1;
            table.finish(self.findings);
            if !has_one {
                let message = "one thing follows: deny, redirect or speed";
                let help = "write { at = 100, deny = 429 }, { at = 100, redirect = \"https://…\" } or \
                            { at = 100, speed = \"1Mbps\" }";
                self.findings.report(place, message, help);
                continue;
            }
            for (what, text) in said {
                let Some(text) = text else { continue };
                places.rungs.push(place.clone());
                places.texts.insert((what, index), text);
                places.texts.extend(at.map(|at| (("at", index), at)));
                rungs.push(RungWords {
                    at: at.map(|at| at.value),
                    what,
                    value: text.value,
                });
            }
        }
        Follows {
            warn,
            exceeded: Some(rungs),
        }
    }

    /// `[leech]`, which says what follows for the users of mod_leech's table.
    fn leech(&mut self, table: Option<Table<'t>>, has_users_table: bool) -> Option<Quota> {
        let mut places = Places::default();
        let mut said = Follows::default();
        let mut report_only = false;
        let mut place = 0..0;
        if let Some(mut table) = table {
            place = table.span();
            said = self.follows(&mut table, &mut places);
            report_only = table.boolean("report_only", self.findings) == Some(true);
            table.finish(self.findings);
            if !has_users_table {
                let message = "[leech] says what follows, and no table says of what";
                let help = "add users_table = \"users\" to [store]";
                self.findings.report(place.clone(), message, help);
            }
        }
        let mut faults = Vec::new();
        let (warn, exceeded) = follows::follows(&said, &mut faults);
        self.tell(faults, &places, &place);
        has_users_table.then(|| Quota {
            name: LEECH_QUOTA.to_owned(),
            who: Who::Leech("*".to_owned()),
            class: None,
            // What a user has downloaded.
            measure: Measure::Out,
            // Each row has its own.
            limit: 0,
            period: Period::Endless,
            slice_minutes: None,
            warn,
            exceeded,
            report_only,
            reopen: DEFAULT_REOPEN,
        })
    }

    /// Faults, each where it is.
    fn tell(&mut self, faults: Vec<Fault>, places: &Places<'t>, section: &Range<usize>) {
        for fault in faults {
            let text = places.texts.get(&(fault.key, fault.index));
            let rung = || match fault.key {
                "at" => places.rungs.get(fault.index).cloned(),
                _ => None,
            };
            let place = match (text, fault.span) {
                (Some(text), Some(span)) => self.inside(*text, span),
                (Some(text), None) => text.span(),
                (None, _) => rung().unwrap_or_else(|| section.clone()),
            };
            self.findings.report(place, fault.message, fault.help);
        }
    }
}

/// Whether two quotas are one, but for what follows.
fn limits_the_same(one: &Quota, other: &Quota) -> bool {
    let of = |quota: &Quota| {
        (
            quota.class.clone(),
            quota.measure,
            quota.limit,
            quota.period.clone(),
            quota.slice_minutes,
        )
    };
    one.who == other.who && of(one) == of(other)
}
