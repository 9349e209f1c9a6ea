//! tollkeeper counts every byte that each site and each user moves, from the access logs that web
//! servers write, exactly once.
//!
//! The way of the bytes, and the rooms they pass:
//!
//! ```text
//! source -> framing -> format -> account -> ledger -> store -> quota -> enforce
//! bytes     lines      records   deltas     batches   usage    verdicts maps, flags
//! ```
//!
//! Values move one way. A room knows the values of the rooms before it, never of those after it;
//! only [`daemon`] and [`import`] know them all.
//!
//! | room | does |
//! |---|---|
//! | [`config`] | the operator's file into typed values |
//! | [`source`] | files into blocks of bytes, with the positions that they end at |
//! | `tollkeeper_parsers` | bytes into lines, lines into records: a crate of its own, pure |
//! | [`detect`] | the first lines of a log into a format, where the operator left it to us |
//! | [`recognise`] | asks the store which position a file is |
//! | [`tally`] | walks a block's lines: each is charged, or named as not charged |
//! | [`account`] | a record into who pays, on which day, for how much |
//! | [`ledger`] | sums between flushes; deltas, sorted |
//! | [`store`] | deltas and positions, in one transaction |
//! | [`quota`] | usage against quotas: verdicts |
//! | [`enforce`] | verdicts into flags, maps and snippets for each web server |
//! | [`publish`] | flags and maps into place |
//! | [`import`] | accounts files once, to their end |
//! | [`daemon`] | follows files; order, timers, signals |
//! | [`cli`] | one file per command |

pub mod account;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod detect;
pub mod enforce;
pub mod excerpt;
pub mod import;
pub mod ledger;
pub mod publish;
pub mod quota;
mod random;
pub mod recognise;
pub mod source;
pub mod store;
pub mod tally;
pub mod usage;
