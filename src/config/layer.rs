//! `layer`: which server of a chain a source's log is of.
//!
//! Behind a proxy one request stands in two logs. What the edge logs is what went to the client, and
//! is billed; what the servers behind it log is counted apart.

use std::fmt;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What the edge is called.
const EDGE: &str = "edge";
const MAX_LAYER_BYTES: usize = 32;

/// A layer of servers: the edge, or one behind it. Sorted by name, the edge first.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Layer(Option<Arc<str>>);

impl Layer {
    /// The layer that is billed.
    pub const EDGE: Self = Self(None);

    /// Its name; `None`: it is the edge, whose rows are billed.
    #[must_use]
    pub fn inner(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// Its name, `edge` for the edge.
    #[must_use]
    pub fn name(&self) -> &str {
        self.inner().unwrap_or(EDGE)
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Layer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Layer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        parse_layer(&name).map_err(|(message, _)| D::Error::custom(message))
    }
}

/// `edge`, or the name of a layer behind it.
///
/// # Errors
/// What is wrong with it, and the remedy.
pub fn parse_layer(name: &str) -> Result<Layer, (String, String)> {
    let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let starts_well = name.bytes().next().is_some_and(is_name);
    let is_plain = |byte: u8| is_name(byte) || b"_-".contains(&byte);
    if !starts_well || name.len() > MAX_LAYER_BYTES || !name.bytes().all(is_plain) {
        let help = format!(
            "a lower-case letter or digit, then lower-case letters, digits, dashes and underscores, \
             {MAX_LAYER_BYTES} in all, such as \"backend\"; without a layer a source is the edge, which \
             is billed"
        );
        return Err((format!("{name:?} cannot be the name of a layer"), help));
    }
    Ok(Layer((name != EDGE).then(|| name.into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_layers() {
        for name in ["backend", "a", "0", "php-fpm_2", &"x".repeat(32)] {
            let layer = parse_layer(name).expect(name);
            assert_eq!((layer.inner(), layer.name()), (Some(name), name));
        }
        for name in [
            "",
            "-a",
            "_none",
            "Backend",
            "a b",
            "a.b",
            "ä",
            "a\n",
            &"x".repeat(33),
        ] {
            assert!(parse_layer(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn the_edge_is_the_default_and_comes_first() {
        let edge = parse_layer("edge").expect("the edge");
        assert_eq!(edge, Layer::default());
        assert_eq!((edge.inner(), edge.name()), (None, "edge"));
        assert!(edge < parse_layer("a").expect("a name"));
    }
}
