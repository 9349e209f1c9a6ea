//! What operators have said in the store's tables: quotas, owners and classes beside those of the
//! config, and what was granted, forgiven and exempted.

use std::collections::BTreeSet;

/// All of it, as it stands in the tables: nothing is understood yet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Said {
    /// `quota`
    pub quotas: Vec<QuotaRow>,
    /// `owner`: owner and vhost.
    pub owners: Vec<(String, String)>,
    /// `class`: class and network.
    pub classes: Vec<(String, String)>,
    /// `quota_grant` and `quota_exempt`. Rows that name no account are left out, and named in `faults`.
    pub overrides: Overrides,
    /// What is wrong with rows that could not even be read: table, row, and what.
    pub faults: Vec<String>,
}

/// A row of the table `quota`: the words that `[[quota]]` has in the config, as text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QuotaRow {
    /// Its key.
    pub id: i64,
    /// A site, `*.suffix`, or `*`.
    pub vhost: Option<String>,
    /// A user, or `*`.
    pub user: Option<String>,
    /// The vhosts of a user's quota, separated by commas or blanks; nothing or `*`: all.
    pub vhosts: Option<String>,
    /// An owner, or `*`.
    pub owner: Option<String>,
    /// A class.
    pub class: Option<String>,
    /// `100G`; a bare number for requests.
    pub amount: Option<String>,
    /// `out`, `in`, `both`, `requests`.
    pub measure: Option<String>,
    /// `day`, `week`, `month`, `year`, `4W`.
    pub period: Option<String>,
    /// `30D`, instead of a period.
    pub rolling: Option<String>,
    /// The billing day of a month, or `MM-DD` of a year.
    pub billing_day: Option<String>,
    /// When periods of minutes are counted from: `YYYY-MM-DD` or `YYYY-MM-DD HH:MM`.
    pub anchor: Option<String>,
    /// `1W`
    pub slice: Option<String>,
    /// `80, 95`
    pub warn: Option<String>,
    /// `100 speed 1Mbps, 150 deny 429`, or `100 redirect https://…`.
    pub exceeded: Option<String>,
    /// Percent.
    pub reopen: Option<String>,
    /// Verdicts close nothing.
    pub report_only: bool,
}

/// A threshold of a quota that was told of: (quota, account, begin of the period, percent). The begin is
/// 0 for a rolling or endless one, in seconds since 1970.
pub type Told = (String, Account, i64, u32);
/// Those that were told.
pub type AllTold = BTreeSet<Told>;

/// Who has a meter of a quota.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Account {
    /// A site.
    Vhost(String),
    /// What a class had of a site.
    VhostClass(String, String),
    /// An owner.
    Owner(String),
    /// What a class had of an owner's sites.
    OwnerClass(String, String),
    /// A user, on the vhosts that its quota names.
    User(String),
}

impl Account {
    /// In words; not yet safe for a terminal.
    #[must_use]
    pub fn described(&self) -> String {
        match self {
            Self::Vhost(vhost) => format!("vhost {vhost}"),
            Self::VhostClass(vhost, class) => format!("class {class} of {vhost}"),
            Self::Owner(owner) => format!("owner {owner}"),
            Self::OwnerClass(owner, class) => format!("class {class} of owner {owner}"),
            Self::User(user) => format!("user {user}"),
        }
    }
}

/// What operators have said of single accounts, beside the rules.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Overrides {
    /// More, or less of what was used.
    pub grants: Vec<Grant>,
    /// Accounts that nothing is closed to.
    pub exempt: Vec<Exempt>,
}

/// Something granted, or forgiven, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The quota, by name.
    pub quota: String,
    /// Who.
    pub account: Account,
    /// What was done.
    pub kind: GrantKind,
    /// From when on, in seconds since 1970.
    pub at: i64,
    /// Until when: the end of the period in which it was given. `None`: no end.
    pub until: Option<i64>,
}

/// What was granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantKind {
    /// So much more may be spent.
    More(u64),
    /// So much of what was spent is forgiven: all that was, at that moment. In a rolling window all
    /// that was spent before `at` is forgiven instead.
    Reset(u64),
}

/// An account that nothing is closed to. It still counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exempt {
    /// Who.
    pub account: Account,
    /// Of one quota alone.
    pub quota: Option<String>,
    /// Until when, in seconds since 1970.
    pub until: Option<i64>,
}
