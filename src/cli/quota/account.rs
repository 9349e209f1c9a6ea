//! Accounts as operators write and read them.
//!
//! | written | read |
//! |---|---|
//! | `example.org`, `vhost:example.org` | `vhost example.org` |
//! | `user:alice` | `user alice` |
//! | `owner:dembol` | `owner dembol` |
//! | `class:campus@example.org` | `class campus of example.org` |
//! | `class:campus@owner:dembol` | `class campus of owner dembol` |

use crate::account::name;
use crate::config::{VhostRules, names};
use crate::usage::said::Account;

const KINDS: &str = "write example.org, user:NAME, owner:NAME, class:NAME@example.org or \
                     class:NAME@owner:NAME";
const OF_OWNER: &str = "@owner:";

/// Reads one. Names of sites are folded, and an alias stands for the site that has its rows. Whether
/// there is such an owner or class is not looked at.
///
/// # Errors
/// Why it names no account, and what to write.
pub fn parse(text: &str, rules: &VhostRules) -> Result<Account, String> {
    match text.split_once(':') {
        Some(("vhost", site)) => vhost(site, rules).map(Account::Vhost),
        Some(("user", user)) => parse_user(user).map(Account::User),
        Some(("owner", owner)) => label(owner, "an owner").map(Account::Owner),
        Some(("class", part)) => parse_class(part, rules),
        // A port behind a name, or an IPv6 address.
        Some((kind, _)) => vhost(text, rules).map(Account::Vhost).map_err(|_| {
            format!("{text:?} names no account, as there is no kind {kind:?}: {KINDS}")
        }),
        None => vhost(text, rules).map(Account::Vhost),
    }
}

/// As [`parse`] reads it again.
#[must_use]
pub fn written(account: &Account) -> String {
    match account {
        Account::Vhost(vhost) => vhost.clone(),
        Account::VhostClass(vhost, class) => format!("class:{class}@{vhost}"),
        Account::Owner(owner) => format!("owner:{owner}"),
        Account::OwnerClass(owner, class) => format!("class:{class}{OF_OWNER}{owner}"),
        Account::User(user) => format!("user:{user}"),
    }
}

/// `campus@example.org`; names of sites have no `@`, those of owners and classes may.
fn parse_class(part: &str, rules: &VhostRules) -> Result<Account, String> {
    if let Some((class, owner)) = part.split_once(OF_OWNER) {
        let owner = label(owner, "an owner")?;
        return Ok(Account::OwnerClass(owner, label(class, "a class")?));
    }
    let Some((class, site)) = part.rsplit_once('@') else {
        return Err(format!(
            "\"class:{}\" does not say of whom: write class:NAME@example.org or \
             class:NAME@owner:NAME",
            part.escape_debug()
        ));
    };
    let site = site.strip_prefix("vhost:").unwrap_or(site);
    let site = vhost(site, rules)?;
    Ok(Account::VhostClass(site, label(class, "a class")?))
}

/// The site that is billed for a name.
fn vhost(name: &str, rules: &VhostRules) -> Result<String, String> {
    if name.contains('*') {
        return Err(format!(
            "{name:?} is a pattern: each site that it fits has an account of its own, name one of \
             them"
        ));
    }
    let folded = names::fold(name)?;
    Ok(names::billed(&folded, rules).to_owned())
}

/// A user in stored form.
fn parse_user(user: &str) -> Result<String, String> {
    if name::is_special(user) {
        return Err(format!("{user:?} stands for many users, and has no quota"));
    }
    if user == "*" || !name::is_stored_user(user) {
        return Err(format!(
            "{user:?} is no user: write it as `tollkeeper report --by user` prints it, a backslash \
             as \\x5c"
        ));
    }
    Ok(user.to_owned())
}

fn label(name: &str, what: &str) -> Result<String, String> {
    const MAX_LABEL_BYTES: usize = 255;
    if name.is_empty() || name.len() > MAX_LABEL_BYTES || name.chars().any(char::is_control) {
        return Err(format!(
            "{name:?} cannot be the name of {what}: one to {MAX_LABEL_BYTES} bytes, no control \
             characters"
        ));
    }
    Ok(name.to_owned())
}
