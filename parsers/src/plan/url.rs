//! The host in a request line with a whole URL, as varnishncsa writes it.

use crate::error::{Expected, LineError};
use crate::record::{Logged, Record};

/// What varnishncsa writes where the request had no Host.
const NO_HOST: &[u8] = b"localhost";

/// The record of a line whose request line was taken for the vhost: its host is the vhost, and the
/// rest is method and path.
///
/// varnishncsa puts `http://`, the Host header and the URL together without saying where each ends.
/// A host has no slash and a URL begins with one (or is `*`), so the host ends at the first. A client
/// whose Host has a slash in it thus names the host before that; he could have named it outright.
pub(super) fn with_host<'l>(text: &[u8], record: Record<'l>) -> Result<Record<'l>, LineError> {
    let Some(Logged { bytes, escape }) = record.vhost else {
        return Ok(record);
    };
    let logged = |bytes: &'l [u8]| Logged { bytes, escape };
    let Some((method, target)) = split(bytes) else {
        return Err(LineError {
            at: offset(text, bytes),
            expected: Expected::Url,
        });
    };
    // The protocol stands behind the last space.
    let target = match memchr::memrchr(b' ', target) {
        Some(end) if target[end + 1..].starts_with(b"HTTP/") => &target[..end],
        _ => target,
    };
    let (host, path) = match memchr::memchr(b'/', target) {
        Some(slash) => target.split_at(slash),
        None => {
            let host = target.strip_suffix(b"*").unwrap_or(target);
            target.split_at(host.len())
        }
    };
    let has_host = !matches!(host, b"" | b"-") && host != NO_HOST;
    Ok(Record {
        vhost: has_host.then(|| logged(host)),
        method: (method != b"-").then(|| logged(method)),
        path: (!path.is_empty()).then(|| logged(path)),
        ..record
    })
}

/// The method, and what stands behind `http://`.
fn split(request: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = memchr::memchr(b' ', request)?;
    let url = &request[space + 1..];
    Some((&request[..space], url.strip_prefix(b"http://")?))
}

/// Where a part of the text stands in it.
pub(super) fn offset(text: &[u8], part: &[u8]) -> usize {
    let offset = part.as_ptr().addr().wrapping_sub(text.as_ptr().addr());
    offset.min(text.len())
}
