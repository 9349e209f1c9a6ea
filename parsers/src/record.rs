//! What one line of an access log says.

use std::borrow::Cow;

use crate::text::Escape;
use crate::time::Time;

/// One line, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line<'l> {
    /// A request that was served.
    Record(Record<'l>),
    /// A line that carries no request; counted as such, with the rule that says so.
    Ignored(Ignored),
}

/// Why a line is no request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ignored {
    /// Empty, or white space alone.
    Blank,
    /// Starts with `#` and is not in the format.
    Comment,
    /// lighttpd's extra line for a whole HTTP/2 connection (request `PRI * HTTP/2.0`, status 100):
    /// its bytes are already in the lines of the connection's requests.
    Http2Connection,
    /// What a server wrote into the same file about something else than a request (Caddy's and
    /// Traefik's own messages).
    NotARequest,
}

/// What accounting needs of one request. Borrowed from the line; nothing is decoded yet but numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'l> {
    /// The site, as the line names it. `None`: the format has none, or the line says `-` or nothing.
    pub vhost: Option<Logged<'l>>,
    /// The user. `None`: the format has none, or the line says `-` or nothing.
    pub user: Option<Logged<'l>>,
    /// The client's address (or its name, where the server looks names up).
    pub client: Option<&'l [u8]>,
    /// When it was served. `None`: the line has no usable time (`-`).
    pub time: Option<Time>,
    /// Bytes received. `Some(0)` where the format does not say; `None` where this line gives no
    /// usable number; `u64::MAX` where the number is beyond 64 bits.
    pub bytes_in: Option<u64>,
    /// Bytes sent; as [`Record::bytes_in`].
    pub bytes_out: Option<u64>,
    /// The status of the answer. `None` where the format has none or the line says `-`.
    pub status: Option<u16>,
    /// How long the request took, in microseconds, where the line says so.
    pub duration_us: Option<u64>,
    /// The method, as logged.
    pub method: Option<Logged<'l>>,
    /// The path with its query, as logged.
    pub path: Option<Logged<'l>>,
}

/// A field's bytes as they stand in the line, with the server's escaping still in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Logged<'l> {
    /// The bytes, between the delimiters.
    pub bytes: &'l [u8],
    /// How the server wrote bytes that would break its line.
    pub escape: Escape,
}

impl<'l> Logged<'l> {
    /// The bytes that the client sent, escapes undone. Borrowed when there were none.
    #[must_use]
    pub fn decode(&self) -> Cow<'l, [u8]> {
        self.escape.decode(self.bytes)
    }
}
