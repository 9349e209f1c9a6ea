//! mod_leech's table `users (user, logins, bytes, maxlogins, maxbytes)`: the operator's, used as it stands.
//!
//! What a batch credits to users is added to `bytes` of rows that are there, in the transaction of the
//! batch. No other column is ever written, and no row made.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::account::delta::Deltas;
use crate::account::name;
use crate::usage::snapshot::LeechRow;

/// What was sent to each user by all sites together, as far as a server vouches for the name: `bytes` is
/// what a user has downloaded (toroid.org/mod_leech).
pub(super) fn downloaded(deltas: &Deltas) -> BTreeMap<&str, u64> {
    let mut bytes_of: BTreeMap<&str, u64> = BTreeMap::new();
    for delta in &deltas.users {
        let bytes = bytes_of.entry(&delta.part).or_default();
        *bytes = bytes.saturating_add(delta.amount.bytes_out);
    }
    for delta in &deltas.claimed {
        let bytes = bytes_of.entry(&delta.part).or_default();
        *bytes = bytes.saturating_sub(delta.amount.bytes_out);
    }
    // Rows for many have no user.
    for special in name::SPECIAL {
        bytes_of.remove(special);
    }
    bytes_of.retain(|_, bytes| *bytes > 0);
    bytes_of
}

/// A row as it stands: NULL bytes are none; NULL, 0 and what is negative are no limit.
pub(super) fn row(user: &str, bytes: Option<i64>, max_bytes: Option<i64>) -> LeechRow {
    let amount = |number: Option<i64>| number.map_or(0, |n| u64::try_from(n).unwrap_or(0));
    LeechRow {
        user: Arc::from(user),
        bytes: amount(bytes),
        max_bytes: Some(amount(max_bytes)).filter(|most| *most > 0),
    }
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;

    use super::*;
    use crate::account::delta::{Amount, Delta};

    #[test]
    fn what_is_claimed_and_what_is_nobodys_is_left_out() {
        let delta = |vhost: &str, user: &str, bytes_in, bytes_out| Delta {
            vhost: vhost.into(),
            part: user.into(),
            day: NaiveDate::default(),
            amount: Amount {
                bytes_in,
                bytes_out,
                requests: 1,
            },
        };
        let deltas = Deltas {
            users: vec![
                delta("a", "_overflow", 1, 1),
                delta("a", "alice", 1, 10),
                delta("a", "bob", 5, 5),
                delta("b", "alice", 2, 20),
                delta("b", "bob", 3, 4),
                delta("b", "eve", 1, u64::MAX),
            ],
            claimed: vec![delta("a", "bob", 5, 5), delta("b", "alice", 1, 19)],
            ..Deltas::default()
        };
        let expected = [("alice", 11), ("bob", 4), ("eve", u64::MAX)];
        assert_eq!(downloaded(&deltas), expected.into());
    }

    #[test]
    fn nothing_is_no_limit() {
        assert_eq!(row("a", None, None).max_bytes, None);
        assert_eq!(row("a", Some(-1), Some(0)).max_bytes, None);
        assert_eq!(row("a", Some(-1), Some(-1)).bytes, 0);
        assert_eq!(row("a", Some(7), Some(5)).max_bytes, Some(5));
    }
}
