//! tollkeeper counts the traffic of every site and user from web server access logs, exactly once.

pub mod cli;
pub mod config;
pub mod excerpt;
pub mod usage;
