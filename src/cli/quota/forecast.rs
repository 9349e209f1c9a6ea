//! When a limit is spent, if it goes on like this.

use crate::quota::verdict::Standing;

/// When all that is open is spent, in seconds since 1970, if the rest of the period is like what of it
/// has passed. `None`: it is spent already, it will not be before the period ends or the next slice
/// opens, or there is no telling: nothing was used, or there is no period with an end.
#[must_use]
pub fn spent_at(standing: &Standing, now: i64) -> Option<i64> {
    let (begins, ends) = (standing.begins?, standing.ends?);
    if standing.used == 0 || standing.used >= standing.limit {
        return None;
    }
    let passed = u128::try_from(i128::from(now) - i128::from(begins)).ok()?;
    let needed = (u128::from(standing.limit) * passed).div_ceil(u128::from(standing.used));
    let at = begins.checked_add(i64::try_from(needed).ok()?)?;
    let until = standing.next_slice.map_or(ends, |next| next.min(ends));
    (now < at && at < until).then_some(at)
}
