//! Usage against quotas: what was spent, by whom, in which period, and what follows from it.
//!
//! Pure: no stores, files, threads or clock. Instants are seconds since 1970, minutes are those
//! seconds divided by 60, days are those of the store's zone.
//!
//! | part | does |
//! |---|---|
//! | [`rule`] | what an operator may limit, by how much, for how long, and what then happens |
//! | [`period`] | an instant into the period that it lies in; the share that is open by then |
//! | [`engine`] | usage and rules into verdicts, each time that something is spent |
//! | [`watch`] | rules into what counting tells line by line |
//! | [`verdict`] | which gates are closed to whom |

pub mod engine;
pub mod period;
pub mod rule;
pub mod verdict;
pub mod watch;
