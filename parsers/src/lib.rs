//! Turns hostile bytes into values.
//!
//! Everything here is pure: no files, sockets, clock, threads or logging. The bytes of a log line
//! are chosen by strangers, so an unreadable line is a value ([`error::LineError`]), never a panic.
//!
//! ```text
//! framing   bytes into lines
//! index     where lines and fields may end
//! frames    what comes over sockets into messages
//! syslog    an envelope into the message that it holds
//! format    an operator's format string into directives
//! plan      directives into a plan; a line and a plan into a record
//! time      log times into instants
//! text      what a server escaped into what was meant; names into their stored form
//! host      what a client called the host into a folded name, or a refusal
//! size      "100G", "1Mbps" into numbers
//! ```

pub mod error;
pub mod format;
pub mod frames;
pub mod framing;
pub mod host;
pub mod index;
pub mod plan;
pub mod record;
pub mod size;
pub mod syslog;
pub mod text;
pub mod time;
