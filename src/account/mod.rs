//! Records into deltas: who is charged, on which day, for how much.
//!
//! Clients choose nearly every byte that comes in here. What they choose can end in four special
//! rows (see [`name`]), but cannot name them; it cannot grow the table beyond a day's cap
//! ([`growth`]), and a line that claims absurd amounts or days is named as unattributed.

use std::sync::Arc;

use chrono_tz::Tz;
use tollkeeper_parsers::format::Spec;
use tollkeeper_parsers::plan::{self, Plan};
use tollkeeper_parsers::record::Record;

use crate::config::{Layer, Users};

pub mod balance;
pub mod class;
pub mod day;
pub mod delta;
pub mod fold;
pub mod growth;
pub mod minute;
pub mod name;
pub mod spent;
pub mod watched;

use class::Classes;
use day::{DAY_SECONDS, DayNumber, Days};
use fold::Folding;
use watched::Watched;

/// More than any request can move; a line that claims it is broken or forged.
pub const MAX_BYTES_PER_REQUEST: u64 = 1 << 50;

/// Rules that hold for all sources.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Whose days the rows are.
    pub zone: Tz,
    /// Which site a name is billed to.
    pub folding: Folding,
    /// Which class a client is in.
    pub classes: Classes,
    /// Whose lines are told as they are summed, and have rows of minutes.
    pub watched: Arc<Watched>,
}

/// Rules of one source, or of one file of it.
#[derive(Debug, Clone)]
pub struct SourceRules {
    /// Tried in order. Thousands of files of a source share them.
    pub plans: Arc<[Plan]>,
    /// Whether user names are credited.
    pub credit_users: bool,
    /// What the operator says of them; `None`: what each plan's server is known for.
    pub users: Option<Users>,
    /// The site of lines whose format names none, folded; else `_none`.
    pub vhost: Option<String>,
    /// Whether a long run of lines that do not parse means that the format is wrong.
    pub gives_up: bool,
    /// The lines are records of a spool, each with what was received.
    pub spooled: bool,
    /// Whose rows its requests go to: the edge's, which are billed, or those of a layer behind it,
    /// which are counted apart and know no users or classes.
    pub layer: Layer,
}

impl SourceRules {
    /// From what the operator said. `vhost` is what the source or the file's name gives.
    ///
    /// # Errors
    /// The format that cannot be compiled, by its place in the list.
    pub fn new(
        formats: &[Spec],
        users: Option<Users>,
        vhost: Option<&str>,
        folding: &Folding,
    ) -> Result<Self, (usize, tollkeeper_parsers::error::FormatError)> {
        let plans = compile(formats)?;
        Ok(Self::with_plans(plans, users, vhost, folding))
    }

    /// [`SourceRules::new`], where the formats are compiled already.
    #[must_use]
    pub fn with_plans(
        plans: Arc<[Plan]>,
        users: Option<Users>,
        vhost: Option<&str>,
        folding: &Folding,
    ) -> Self {
        Self {
            plans,
            credit_users: users != Some(Users::None),
            users,
            vhost: vhost.map(|vhost| folding.site(vhost.as_bytes())),
            gives_up: true,
            spooled: false,
            layer: Layer::default(),
        }
    }

    /// Whether the server vouches for the names in lines of this plan. Others are merely claimed: they
    /// have rows, but whoever knows a name could spend what its quota allows.
    #[must_use]
    pub fn vouches(&self, plan: &Plan) -> bool {
        match self.users {
            Some(users) => users == Users::Verified,
            None => plan.users_default() == plan::Users::Verified,
        }
    }
}

/// The plans of a list of formats; `auto` has none.
///
/// # Errors
/// The format that cannot be compiled, by its place in the list.
pub fn compile(
    formats: &[Spec],
) -> Result<Arc<[Plan]>, (usize, tollkeeper_parsers::error::FormatError)> {
    let mut plans = Vec::new();
    for (index, spec) in formats.iter().enumerate() {
        if let Spec::Format(format) = spec {
            plans.push(Plan::compile(format).map_err(|error| (index, error))?);
        }
    }
    Ok(plans.into())
}

/// Why a request is charged to nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unattributed {
    /// The line says no usable time.
    NoTime,
    /// The line says no usable count of bytes.
    NoCount,
    /// The log names its columns, and this one is not among them.
    NoColumn(&'static str),
    /// It claims more than [`MAX_BYTES_PER_REQUEST`].
    TooManyBytes,
    /// It claims to be served more than a day from now.
    Ahead,
}

impl Unattributed {
    /// In words.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::NoTime => "no usable time",
            Self::NoCount => "no usable count of bytes",
            Self::NoColumn("date") => {
                "the #Fields line before it has no date; in IIS Manager: Logging, Select Fields, Date"
            }
            Self::NoColumn("time") => {
                "the #Fields line before it has no time; in IIS Manager: Logging, Select Fields, Time"
            }
            Self::NoColumn(_) => {
                "the #Fields line before it has no sc-bytes; in IIS Manager: Logging, Select Fields, Bytes Sent and Bytes Received"
            }
            Self::TooManyBytes => "claims more than 2^50 bytes",
            Self::Ahead => "claims a time more than a day ahead",
        }
    }
}

/// The day and the bytes of a request; the rest of the record says who pays.
///
/// # Errors
/// Why nobody can be charged for it. `now` is in seconds since 1970.
pub fn measure(
    record: &Record<'_>,
    days: &mut Days,
    now: i64,
) -> Result<(DayNumber, u64, u64), Unattributed> {
    use tollkeeper_parsers::time::Time;
    let time = record.time.ok_or(Unattributed::NoTime)?;
    let (Some(bytes_in), Some(bytes_out)) = (record.bytes_in, record.bytes_out) else {
        return Err(Unattributed::NoCount);
    };
    if bytes_in > MAX_BYTES_PER_REQUEST || bytes_out > MAX_BYTES_PER_REQUEST {
        return Err(Unattributed::TooManyBytes);
    }
    // A clock without a zone may be up to 14 hours ahead of ours and still right.
    let seconds = match time {
        Time::Instant(seconds) => seconds,
        Time::Local(seconds) => seconds - 14 * 3_600,
    };
    if seconds > now + DAY_SECONDS {
        return Err(Unattributed::Ahead);
    }
    let day = days.of(time).ok_or(Unattributed::NoTime)?;
    Ok((day, bytes_in, bytes_out))
}

/// Whether the answer to a request credits the user that the line names: servers log names on
/// answers that they give before they have looked at any password.
#[must_use]
pub fn credits_user(status: Option<u16>) -> bool {
    matches!(status, Some(200..=299 | 304))
}
