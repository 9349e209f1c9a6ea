//! What a client called the host into a folded name, or a refusal.
//!
//! All spellings that a web server takes for the same host fold to one: upper case, a port, a final
//! dot, brackets, long and short forms of an IPv6 address. Names of our own special rows, which
//! start with `_`, cannot come out of here.

use std::net::{Ipv4Addr, Ipv6Addr};

/// What a client called the host.
#[derive(Debug, PartialEq, Eq)]
pub enum Host<'b> {
    /// No name: empty, `-`, or nginx's `_`.
    Missing,
    /// A name that no host can have.
    Invalid,
    /// Lower case, no port, no final dot, no brackets; ASCII; at most 253 bytes.
    Folded(&'b str),
    /// As `Folded`, but with letters outside ASCII: to be turned into punycode by the caller, who
    /// folds what comes of it once more, since IDNA makes ASCII of some of them.
    Unicode(&'b str),
}

/// The longest name that DNS can carry.
const MAX_NAME_BYTES: usize = 253;
const MAX_LABEL_BYTES: usize = 63;
/// Longer than any name with a port, in its longest encoding.
const MAX_LOGGED_BYTES: usize = 1024;

/// Folds; `buffer` holds the result.
pub fn fold<'b>(logged: &[u8], buffer: &'b mut Vec<u8>) -> Host<'b> {
    buffer.clear();
    if matches!(logged, b"" | b"-" | b"_") {
        return Host::Missing;
    }
    if logged.len() > MAX_LOGGED_BYTES {
        return Host::Invalid;
    }
    if is_folded(logged) {
        buffer.extend_from_slice(logged);
        return folded_text(buffer);
    }
    if logged[0] == b'[' {
        return fold_bracketed(logged, buffer);
    }
    // Apache's %V has dropped the brackets, so this comes before any port is looked for.
    if memchr::memchr(b':', logged) != memchr::memrchr(b':', logged)
        && let Some(address) = parse_ipv6(logged)
    {
        return write_ipv6(address, buffer);
    }
    let Some(name) = without_port(logged) else {
        return Host::Invalid;
    };
    let name = name.strip_suffix(b".").unwrap_or(name);
    if name.is_ascii() {
        fold_ascii(name, buffer)
    } else {
        fold_unicode(name, buffer)
    }
}

/// Whether a name is one that folds to itself, as nearly all do that clients send. Only names are meant:
/// `false` of an address, and of what begins with `_`, says nothing.
///
/// No byte of such a name begins an escape of any log format, so what is logged is the name.
#[inline]
#[must_use]
pub fn is_folded(logged: &[u8]) -> bool {
    if logged.len() > MAX_NAME_BYTES || logged.first() == Some(&b'_') {
        return false;
    }
    let mut label_start = 0;
    for (at, &byte) in logged.iter().enumerate() {
        match INSIDE[usize::from(byte)] {
            Inside::Label => {}
            Inside::Dot if is_label(&logged[label_start..at]) => label_start = at + 1,
            Inside::Dot | Inside::Nowhere => return false,
        }
    }
    let last = &logged[label_start..];
    is_label(last) && !last.iter().all(u8::is_ascii_digit)
}

/// Where in a folded name a byte may stand.
#[derive(Clone, Copy)]
enum Inside {
    Label,
    Dot,
    Nowhere,
}

static INSIDE: [Inside; 256] = inside();

const fn inside() -> [Inside; 256] {
    let mut inside = [Inside::Nowhere; 256];
    let mut byte = 0;
    while byte < 128 {
        inside[byte as usize] = match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => Inside::Label,
            b'.' => Inside::Dot,
            _ => Inside::Nowhere,
        };
        byte += 1;
    }
    inside
}

/// `[::1]`, perhaps with a port.
fn fold_bracketed<'b>(logged: &[u8], buffer: &'b mut Vec<u8>) -> Host<'b> {
    let Some(close) = memchr::memchr(b']', logged) else {
        return Host::Invalid;
    };
    let is_port = match &logged[close + 1..] {
        [] => true,
        [b':', digits @ ..] => digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    match parse_ipv6(&logged[1..close]) {
        Some(address) if is_port => write_ipv6(address, buffer),
        _ => Host::Invalid,
    }
}

/// Cuts `:port`; its digits may be missing (`example.org:`). `None`: what follows is no port.
fn without_port(logged: &[u8]) -> Option<&[u8]> {
    match memchr::memchr(b':', logged) {
        None => Some(logged),
        Some(colon) => logged[colon + 1..]
            .iter()
            .all(u8::is_ascii_digit)
            .then_some(&logged[..colon]),
    }
}

fn fold_ascii<'b>(name: &[u8], buffer: &'b mut Vec<u8>) -> Host<'b> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return Host::Invalid;
    }
    buffer.extend(name.iter().map(|&byte| FOLDED[usize::from(byte)]));
    if memchr::memchr(REFUSED, buffer).is_some() {
        return Host::Invalid;
    }
    let mut label_start = 0;
    for dot in memchr::memchr_iter(b'.', name) {
        if !is_label(&name[label_start..dot]) {
            return Host::Invalid;
        }
        label_start = dot + 1;
    }
    let last = &name[label_start..];
    // A single label with `_` first is the shape of our own rows, `_none` and the like.
    let is_special = label_start == 0 && name[0] == b'_';
    let may_be_address = label_start > 0 && last.iter().all(u8::is_ascii_digit);
    if !is_label(last) || is_special || may_be_address && is_broken_ipv4(name) {
        return Host::Invalid;
    }
    folded_text(buffer)
}

fn folded_text(buffer: &[u8]) -> Host<'_> {
    match std::str::from_utf8(buffer) {
        Ok(text) => Host::Folded(text),
        Err(_) => Host::Invalid,
    }
}

/// Stands in [`FOLDED`] for bytes that no name has.
const REFUSED: u8 = 0;
/// Each byte of a name in lower case.
static FOLDED: [u8; 256] = folded();

const fn folded() -> [u8; 256] {
    let mut folded = [REFUSED; 256];
    let mut byte = 0;
    while byte < 128 {
        if matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b'A'..=b'Z') {
            folded[byte as usize] = byte.to_ascii_lowercase();
        }
        byte += 1;
    }
    folded
}

fn is_label(label: &[u8]) -> bool {
    (1..=MAX_LABEL_BYTES).contains(&label.len())
        && label.first() != Some(&b'-')
        && label.last() != Some(&b'-')
}

/// Four numbers that are no address, such as 256.1.1.1 or 01.2.3.4: no top-level domain is a number.
fn is_broken_ipv4(name: &[u8]) -> bool {
    let last = memchr::memrchr(b'.', name).map_or(name, |dot| &name[dot + 1..]);
    last.iter().all(u8::is_ascii_digit)
        && memchr::memchr(b'.', name).is_some()
        && std::str::from_utf8(name)
            .ok()
            .and_then(|text| text.parse::<Ipv4Addr>().ok())
            .is_none()
}

fn fold_unicode<'b>(name: &[u8], buffer: &'b mut Vec<u8>) -> Host<'b> {
    let Ok(text) = std::str::from_utf8(name) else {
        return Host::Invalid;
    };
    // Only what no host name can hold is refused here; the rest is for IDNA to judge.
    let refused = |character: char| match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' | '.' => false,
        '\0'..='\x7f' => true,
        // IDNA would make `_` of these, and so names of our own rows.
        '\u{fe33}' | '\u{fe34}' | '\u{fe4d}'..='\u{fe4f}' | '\u{ff3f}' => true,
        _ => character.is_control() || character.is_whitespace() || character == '\u{feff}',
    };
    if text.chars().any(refused) || text.starts_with(['_', '.']) {
        return Host::Invalid;
    }
    let mut encoded = [0; 4];
    for character in text.chars().flat_map(char::to_lowercase) {
        buffer.extend_from_slice(character.encode_utf8(&mut encoded).as_bytes());
    }
    match std::str::from_utf8(buffer) {
        Ok(text) => Host::Unicode(text),
        Err(_) => Host::Invalid,
    }
}

fn parse_ipv6(bytes: &[u8]) -> Option<Ipv6Addr> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// RFC 5952: lower case, the longest run of zeros as `::`.
fn write_ipv6(address: Ipv6Addr, buffer: &mut Vec<u8>) -> Host<'_> {
    use std::io::Write as _;
    // Writing to a Vec cannot fail.
    let _ = write!(buffer, "{address}");
    folded_text(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_fold() {
        let long_label = "a".repeat(63);
        let too_long_label = "a".repeat(64);
        let long_name = [long_label.as_str(); 4].join(".")[..253].to_owned();
        let too_long_name = format!("{long_name}a");
        let absurd = "a.".repeat(4096);
        let cases: &[(&[u8], Host<'_>)] = &[
            (b"", Host::Missing),
            (b"-", Host::Missing),
            (b"_", Host::Missing),
            (b"example.org", Host::Folded("example.org")),
            (b"UPPER.Example.", Host::Folded("upper.example")),
            (b"a.example:80", Host::Folded("a.example")),
            (b"a.example.:8080", Host::Folded("a.example")),
            (b"a.example:", Host::Folded("a.example")),
            (b"localhost", Host::Folded("localhost")),
            (b"_dmarc.example.org", Host::Folded("_dmarc.example.org")),
            (b"my_site.example", Host::Folded("my_site.example")),
            (b"127.0.0.1:80", Host::Folded("127.0.0.1")),
            (b"127.0.0.1", Host::Folded("127.0.0.1")),
            (b"[::1]:80", Host::Folded("::1")),
            (b"[::1]", Host::Folded("::1")),
            (b"::1", Host::Folded("::1")),
            (b"[2001:DB8:0:0::1]:443", Host::Folded("2001:db8::1")),
            (b"2001:0db8:0:0:0:0:0:1", Host::Folded("2001:db8::1")),
            (b"[::ffff:1.2.3.4]", Host::Folded("::ffff:1.2.3.4")),
            (long_label.as_bytes(), Host::Folded(&long_label)),
            (long_name.as_bytes(), Host::Folded(&long_name)),
            ("ŻÓŁW.example:80".as_bytes(), Host::Unicode("żółw.example")),
            ("żółw.example.".as_bytes(), Host::Unicode("żółw.example")),
            (b"_none", Host::Invalid),
            (b"_OTHER:80", Host::Invalid),
            (b"_none.", Host::Invalid),
            ("_żółw".as_bytes(), Host::Invalid),
            ("＿none".as_bytes(), Host::Invalid),
            (b"*", Host::Invalid),
            (b"*.example.org", Host::Invalid),
            (b"evil\";}", Host::Invalid),
            (b"a b", Host::Invalid),
            (b" a", Host::Invalid),
            (b"a/b", Host::Invalid),
            (b"a..b", Host::Invalid),
            (b".", Host::Invalid),
            (b"a..", Host::Invalid),
            (b".a", Host::Invalid),
            (b":80", Host::Invalid),
            (b"-a.example", Host::Invalid),
            (b"a-.example", Host::Invalid),
            (b"a:b", Host::Invalid),
            (b"a:80:80", Host::Invalid),
            (b"[::1", Host::Invalid),
            (b"[::1]x", Host::Invalid),
            (b"[a.example]", Host::Invalid),
            (b"[fe80::1%eth0]", Host::Invalid),
            (b"256.1.1.1", Host::Invalid),
            (b"1.2.3", Host::Invalid),
            (b"a\xff", Host::Invalid),
            (b"a\x00.example", Host::Invalid),
            ("a\u{200e} b.example".as_bytes(), Host::Invalid),
            (too_long_label.as_bytes(), Host::Invalid),
            (too_long_name.as_bytes(), Host::Invalid),
            (absurd.as_bytes(), Host::Invalid),
        ];
        let mut buffer = Vec::new();
        for (logged, expected) in cases {
            assert_eq!(
                fold(logged, &mut buffer),
                *expected,
                "{}",
                logged.escape_ascii()
            );
        }
    }

    /// All words of up to six of the bytes that the rules are about.
    #[test]
    fn folded_names_are_those_that_fold_to_themselves() {
        let mut buffer = Vec::new();
        let mut words = vec![Vec::new()];
        let mut folded = 0;
        for _ in 0..6 {
            let longer = |word: &Vec<u8>| b"aZ5.-_: \xe9".map(|byte| [&word[..], &[byte]].concat());
            words = words.iter().flat_map(longer).collect();
            for word in &words {
                buffer.clear();
                let judged = fold_ascii(word, &mut buffer);
                let itself = matches!(judged, Host::Folded(text) if text.as_bytes() == word);
                let is_special = word[0] == b'_';
                let last = word.rsplit(|byte| *byte == b'.').next().unwrap_or_default();
                let is_number = last.iter().all(u8::is_ascii_digit);
                let expected = itself && !is_special && !is_number;
                assert_eq!(is_folded(word), expected, "{}", word.escape_ascii());
                folded += u32::from(expected);
            }
        }
        assert!(folded > 3_000, "{folded}");
    }
}
