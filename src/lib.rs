//! tollkeeper
