//! tollkeeper counts the traffic of every site and user from web server access logs, exactly once.

pub mod config;
pub mod excerpt;
