//! tollkeeper
pub mod config;
