//! Names as they are stored, and the four rows that no client can name.

use std::borrow::Cow;
use std::sync::OnceLock;

use ahash::RandomState;
use tollkeeper_parsers::text::{self, Escape};

/// Lines that name no site.
pub const NONE: &str = "_none";
/// Names that no host can have, and rows that the database would not take.
pub const INVALID: &str = "_invalid";
/// Sites that are not among the known ones.
pub const OTHER: &str = "_other";
/// Names beyond the day's cap on new ones.
pub const OVERFLOW: &str = "_overflow";
/// All of these: rows that stand for many names.
pub const SPECIAL: [&str; 4] = [NONE, INVALID, OTHER, OVERFLOW];

/// The longest user name that has a row of its own, in characters of its text form: a column's width.
pub const MAX_USER_CHARS: usize = 255;

/// A name with its [`hash`], which is computed once, where the name is first seen.
#[derive(Debug, Clone, Copy)]
pub struct Hashed<'n> {
    /// The name.
    pub text: &'n str,
    /// Its hash.
    pub hash: u64,
}

impl<'n> From<&'n str> for Hashed<'n> {
    fn from(text: &'n str) -> Self {
        Self {
            text,
            hash: hash(text.as_bytes()),
        }
    }
}

impl<'n> From<&'n String> for Hashed<'n> {
    fn from(text: &'n String) -> Self {
        text.as_str().into()
    }
}

/// Keyed afresh in each process, so that no client can make names collide, and the same everywhere in
/// it, so that what one part has hashed another one need not.
#[must_use]
pub fn hash(name: &[u8]) -> u64 {
    static HASHER: OnceLock<RandomState> = OnceLock::new();
    HASHER.get_or_init(RandomState::new).hash_one(name)
}

/// Whether a row of this name stands for many.
#[must_use]
pub fn is_special(name: &str) -> bool {
    SPECIAL.contains(&name)
}

/// A user's name as it is stored. Names that would be one of the special ones are written with the
/// underscore escaped; a name too long for its column shares the row [`INVALID`].
#[must_use]
pub fn user(name: &[u8]) -> Cow<'_, str> {
    let text = text::name(name);
    if text.len() > MAX_USER_CHARS && text.chars().count() > MAX_USER_CHARS {
        return Cow::Borrowed(INVALID);
    }
    if is_special(&text) {
        return Cow::Owned(format!("\\x5f{}", &text[1..]));
    }
    text
}

/// Whether a text is a name as [`user`] stores it. The special rows, which no name is stored as, are
/// not.
#[must_use]
pub fn is_stored_user(text: &str) -> bool {
    let named = Escape::Backslash.decode(text.as_bytes());
    !text.is_empty() && !is_special(text) && user(&named) == text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_cannot_name_the_special_rows() {
        assert_eq!(user(b"_overflow"), "\\x5foverflow");
        assert_eq!(user(b"_invalid"), "\\x5finvalid");
        assert_eq!(user(b"alice"), "alice");
    }

    #[test]
    fn a_name_too_long_for_its_column_is_invalid() {
        assert_eq!(user(&[b'a'; 255]).len(), 255);
        assert_eq!(user(&[b'a'; 256]), INVALID);
        assert_eq!(user("ż".repeat(255).as_bytes()).chars().count(), 255);
    }
}
