//! `tollkeeper quota …`: accounts as [`crate::cli::quota::account`] reads them.

use chrono::NaiveDate;
use clap::Subcommand;

use super::{Output, day};

/// What to do with accounts that have quotas.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum QuotaCommand {
    /// Every account with a quota: used, limit, percent, verdict, when the period ends, when at this rate
    /// the limit is spent
    List {
        /// Only those that have exceeded a quota, exempt ones included
        #[arg(long)]
        exceeded: bool,
        /// How to print it
        #[arg(long, value_name = "HOW", value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// All that is known of one account, with each quota that it has
    Show {
        /// A site, user:NAME, owner:NAME, class:NAME@SITE or class:NAME@owner:NAME
        #[arg(value_name = "ACCOUNT")]
        account: String,
        /// How to print it
        #[arg(long, value_name = "HOW", value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Let an account have more, in this period alone
    Grant {
        /// A site, user:NAME, owner:NAME, class:NAME@SITE or class:NAME@owner:NAME
        #[arg(value_name = "ACCOUNT")]
        account: String,
        /// How much more, such as 5G; a number of requests where those are limited
        #[arg(value_name = "AMOUNT")]
        amount: String,
        /// Of which quota, where the account has several
        #[arg(long, value_name = "NAME")]
        quota: Option<String>,
    },
    /// Forgive what an account has used so far in this period; the rows stay as they are
    Reset {
        /// A site, user:NAME, owner:NAME, class:NAME@SITE or class:NAME@owner:NAME
        #[arg(value_name = "ACCOUNT")]
        account: String,
        /// Of which quota [default: of all that it has]
        #[arg(long, value_name = "NAME")]
        quota: Option<String>,
    },
    /// Close nothing to an account, whatever it uses; it still counts
    Exempt {
        /// A site, user:NAME, owner:NAME, class:NAME@SITE or class:NAME@owner:NAME
        #[arg(value_name = "ACCOUNT")]
        account: String,
        /// From which quota [default: from all]
        #[arg(long, value_name = "NAME")]
        quota: Option<String>,
        /// The last day of it, YYYY-MM-DD [default: none]
        #[arg(long, value_name = "DAY", value_parser = day, conflicts_with = "end")]
        until: Option<NaiveDate>,
        /// Take the exemption back
        #[arg(long)]
        end: bool,
    },
}
