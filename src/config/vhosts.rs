//! `[vhosts]` and `[owner.NAME]`: which names are sites, and whose they are.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::table::Table;
use super::{
    ConfigError, DEFAULT_MAX_NEW_NAMES_PER_DAY, Reader, names, parse_absolute, parse_label,
};

/// `[vhosts]`
#[derive(Debug, Clone)]
pub struct VhostRules {
    /// Folded names, and `*.suffix` patterns; empty: all names are known.
    pub known: Vec<String>,
    /// More of them, one a line, re-read when the file changes.
    pub known_file: Option<PathBuf>,
    /// Folded alias, or `*.suffix`, to folded name; aliases of aliases are resolved.
    pub aliases: BTreeMap<String, String>,
    /// More of them, `alias name` a line, re-read when the file changes.
    pub aliases_file: Option<PathBuf>,
    /// Whether `www.` in front is the same site.
    pub fold_www: bool,
    /// First-ever vhost names a day; the rest goes to `_overflow`.
    pub max_new_vhosts_per_day: u64,
    /// First-ever users per vhost and day; the rest goes to `_overflow`.
    pub max_new_users_per_day: u64,
}

impl Default for VhostRules {
    fn default() -> Self {
        Self {
            known: Vec::new(),
            known_file: None,
            aliases: BTreeMap::new(),
            aliases_file: None,
            fold_www: false,
            max_new_vhosts_per_day: DEFAULT_MAX_NEW_NAMES_PER_DAY,
            max_new_users_per_day: DEFAULT_MAX_NEW_NAMES_PER_DAY,
        }
    }
}

impl VhostRules {
    /// These rules and what the side files add to them, as they stand now. What the config itself
    /// says goes over what `aliases_file` says.
    ///
    /// # Errors
    /// A file cannot be read or understood, its aliases and those of the config make a loop, or
    /// `known_file` names no site, which would let every name be known.
    pub fn with_files(&self) -> Result<Self, ConfigError> {
        let mut rules = self.clone();
        let site = |name: String| match self.fold_www {
            true => names::without_www(&name).to_owned(),
            false => name,
        };
        if let Some(path) = &self.known_file {
            let known = names::read_known(path)?;
            if known.is_empty() && self.known.is_empty() {
                let message = format!("the known_file {} names no site", path.display());
                return Err(ConfigError::new(message));
            }
            rules.known.extend(known.into_iter().map(site));
            rules.known.sort();
            rules.known.dedup();
        }
        if let Some(path) = &self.aliases_file {
            let mut aliases = names::read_aliases(path)?;
            for name in aliases.values_mut() {
                *name = site(std::mem::take(name));
            }
            aliases.extend(self.aliases.clone());
            rules.aliases = names::resolve_aliases(&aliases).map_err(|loops| {
                let loops: Vec<_> = loops.iter().map(ToString::to_string).collect();
                let loops = loops.join("\n");
                ConfigError::new(format!("{} and the config: {loops}", path.display()))
            })?;
        }
        Ok(rules)
    }
}

impl<'t> Reader<'_, 't> {
    pub(super) fn vhosts(&mut self, mut table: Table<'t>) -> VhostRules {
        let mut rules = VhostRules {
            fold_www: table.boolean("fold_www", self.findings).unwrap_or_default(),
            ..VhostRules::default()
        };
        for text in table.strings("known", self.findings).unwrap_or_default() {
            if let Some(mut name) = self.checked(text, |name| {
                names::fold_pattern(name).map_err(|message| (message, String::new()))
            }) {
                if rules.fold_www {
                    name = names::without_www(&name).to_owned();
                }
                if !rules.known.contains(&name) {
                    rules.known.push(name);
                }
            }
        }
        if let Some(aliases) = table.table("aliases", self.findings) {
            let entries: Vec<_> = aliases
                .named_strings(self.findings)
                .into_iter()
                .map(|(alias, site)| (alias.value, alias.span(), site.value, site.span()))
                .collect();
            rules.aliases = names::fold_aliases(&entries, rules.fold_www, self.findings);
        }
        let file = table.string("known_file", self.findings);
        rules.known_file = file.and_then(|text| self.checked(text, parse_absolute));
        let file = table.string("aliases_file", self.findings);
        rules.aliases_file = file.and_then(|text| self.checked(text, parse_absolute));
        if let Some(max) = table.count("max_new_vhosts_per_day", self.findings) {
            rules.max_new_vhosts_per_day = max;
        }
        if let Some(max) = table.count("max_new_users_per_day", self.findings) {
            rules.max_new_users_per_day = max;
        }
        table.finish(self.findings);
        rules
    }

    pub(super) fn owners(
        &mut self,
        table: Table<'t>,
        rules: &VhostRules,
    ) -> BTreeMap<String, Vec<String>> {
        let mut owners = BTreeMap::new();
        let mut owner_of: BTreeMap<String, String> = BTreeMap::new();
        for (owner, mut table) in table.named_tables(self.findings) {
            let place = table.span();
            let texts = table.some_strings("vhosts", self.findings);
            table.finish(self.findings);
            self.checked(owner, parse_label);
            if texts.is_none() {
                let message = format!("the owner {:?} has no vhosts", owner.value);
                let help = "add vhosts = [\"example.org\"]";
                self.findings.report(place, message, help);
            }
            let mut vhosts = Vec::new();
            for text in texts.unwrap_or_default() {
                let Some(vhost) = self.checked(text, |name| owned_vhost(name, rules)) else {
                    continue;
                };
                let earlier = owner_of.insert(vhost.clone(), owner.value.to_owned());
                if let Some(earlier) = earlier {
                    let message = format!("{vhost:?} is owned by {earlier:?} already");
                    let help = "a site has one owner: take it out of one of the lists";
                    self.findings.report(text.span(), message, help);
                }
                vhosts.push(vhost);
            }
            owners.insert(owner.value.to_owned(), vhosts);
        }
        owners
    }
}

pub(super) fn owned_vhost(name: &str, rules: &VhostRules) -> Result<String, (String, String)> {
    if name.starts_with("*.") {
        let help = "name each site".to_owned();
        return Err((format!("{name:?}: an owner has sites, not patterns"), help));
    }
    let vhost = names::fold(name).map_err(|message| (message, String::new()))?;
    names::with_rows(&vhost, rules)
}
