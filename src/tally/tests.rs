//! Watched accounts: what is told of them, and what of it stands in the rows of minutes.
