//! A site into all the names that a server may be asked for it by.

use std::collections::BTreeMap;

/// The names of sites, as the config has them. A gate that knows one of them is passed by another.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hosts {
    /// Folded alias, or `*.suffix`, to the folded site that is billed for it.
    pub aliases: BTreeMap<String, String>,
    /// Whether `www.` in front is the same site.
    pub fold_www: bool,
}
