//! API sketch, to be written whole.

/// What a client called the host.
#[derive(Debug, PartialEq, Eq)]
pub enum Host<'b> {
    /// No name: empty, `-`, or nginx's `_`.
    Missing,
    /// A name that no host can have.
    Invalid,
    /// Lower case, no port, no final dot, no brackets; ASCII; at most 253 bytes.
    Folded(&'b str),
    /// As `Folded`, but with letters outside ASCII: to be turned into punycode by the caller.
    Unicode(&'b str),
}

/// Folds; `buffer` holds the result.
pub fn fold<'b>(_logged: &[u8], _buffer: &'b mut Vec<u8>) -> Host<'b> { Host::Missing }
