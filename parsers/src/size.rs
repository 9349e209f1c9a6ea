//! API sketch, to be written whole.
