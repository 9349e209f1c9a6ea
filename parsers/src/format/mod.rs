//! API sketch, to be written whole.
use crate::error::FormatError;

/// What the operator wrote for a format.
#[derive(Debug, Clone)]
pub enum Spec {
    /// Try the presets on a sample.
    Auto,
    /// A preset, or a pasted format.
    Format(Format),
}

/// Whose conventions a format follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server { Nginx, Apache, Lighttpd, /** could be nginx or Apache */ Either }

/// A format string, understood: literals and directives in their order.
#[derive(Debug, Clone)]
pub struct Format {}

impl Spec {
    /// `auto`, a preset's name, `nginx:…`, `apache:…`, `lighttpd:…`.
    pub fn parse(_text: &str) -> Result<Self, FormatError> { Ok(Self::Auto) }
}

/// What a sample of lines looks like.
#[derive(Debug, Clone)]
pub enum Detected {
    /// One preset fits.
    Preset { /** its name */ name: &'static str, /** why, in a sentence */ why: String },
    /// Several fit and the rows would differ.
    Ambiguous { /** their names */ names: Vec<&'static str>, /** how to choose */ why: String },
    /// None fits.
    Nothing { /** the nearest preset and how far it got */ why: String },
}

/// Tries the presets on a sample of whole lines.
pub fn detect(_sample: &[&[u8]]) -> Detected { Detected::Nothing { why: String::new() } }
