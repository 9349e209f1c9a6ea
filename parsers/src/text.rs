//! What a server escaped into what was meant; names into their stored form.
//!
//! Decoding never fails: an escape that no server writes is kept as it stands. [`name`] is
//! injective: different bytes never become the same text.

use std::borrow::Cow;
use std::fmt::Write as _;

/// How a server writes bytes that would break its log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Escape {
    /// As they are.
    None,
    /// `\xHH`, and C escapes, a backslash before quotes and backslashes.
    Backslash,
    /// As in a JSON string.
    Json,
    /// `%hh`, and `\r`, `\n` and two backslashes for one: Squid's.
    PercentAndBackslash,
    /// As in a JSON string whose characters up to U+00FF are bytes (HAProxy's `json` and `json(ascii)`).
    JsonBytes,
    /// `#HH` (HAProxy's request lines and captured headers).
    Hash,
    /// A backslash before `"`, `\` and `]`, as in RFC 5424 (HAProxy's `+E`).
    StructuredData,
    /// Both of these.
    HashAndBackslash,
    /// `%HH` (CloudFront). What a client sent encoded is encoded twice, so it is undone once.
    Percent,
    /// Two quotes for one (the W3C's draft).
    Doubled,
}

impl Escape {
    /// What was meant. Borrowed when there is nothing to undo.
    #[must_use]
    pub fn decode<'l>(self, bytes: &'l [u8]) -> Cow<'l, [u8]> {
        if self == Self::None {
            return Cow::Borrowed(bytes);
        }
        let first = match self {
            Self::PercentAndBackslash => memchr::memchr2(b'%', b'\\', bytes),
            Self::Percent => memchr::memchr(b'%', bytes),
            Self::Doubled => memchr::memchr(b'"', bytes),
            Self::Hash => memchr::memchr(b'#', bytes),
            Self::HashAndBackslash => memchr::memchr2(b'#', b'\\', bytes),
            Self::None | Self::Backslash | Self::Json | Self::JsonBytes | Self::StructuredData => {
                memchr::memchr(b'\\', bytes)
            }
        };
        let Some(first) = first else {
            return Cow::Borrowed(bytes);
        };
        let mut decoded = Vec::with_capacity(bytes.len());
        decoded.extend_from_slice(&bytes[..first]);
        let mut rest = &bytes[first..];
        while let Some(&byte) = rest.first() {
            let used = match (byte, self) {
                (b'%', Self::Percent | Self::PercentAndBackslash) => {
                    decode_hex(rest, 1, &mut decoded)
                }
                (b'#', Self::Hash | Self::HashAndBackslash) => decode_hash(rest, &mut decoded),
                (b'\\', Self::Hash | Self::Percent | Self::Doubled) => 0,
                (b'"', Self::Doubled) if rest.get(1) == Some(&b'"') => {
                    decoded.push(b'"');
                    2
                }
                (b'\\', _) => self.decode_one(rest, &mut decoded),
                _ => 0,
            };
            if used == 0 {
                decoded.push(byte);
                rest = &rest[1..];
            } else {
                rest = &rest[used..];
            }
        }
        Cow::Owned(decoded)
    }

    /// Decodes the escape that `bytes` start with; how many bytes it has, 0 if it is none.
    fn decode_one(self, bytes: &[u8], decoded: &mut Vec<u8>) -> usize {
        let meant = match (bytes.get(1), self) {
            (
                Some(&byte @ (b'"' | b'\\' | b']')),
                Self::StructuredData | Self::HashAndBackslash,
            ) => byte,
            (_, Self::StructuredData | Self::HashAndBackslash) => return 0,
            (Some(b'x'), Self::Backslash) => return decode_hex(bytes, 2, decoded),
            (Some(b'u'), Self::JsonBytes) => return decode_byte(bytes, decoded),
            (Some(b'u'), Self::Json) => return decode_utf16(bytes, decoded),
            (Some(b'/'), Self::Json | Self::JsonBytes) => b'/',
            (Some(b'\\'), _) => b'\\',
            (Some(b'n'), _) => b'\n',
            (Some(b'r'), _) => b'\r',
            (_, Self::PercentAndBackslash) => return 0,
            (Some(b'"'), _) => b'"',
            (Some(b't'), _) => b'\t',
            (Some(b'b'), _) => 0x08,
            (Some(b'f'), _) => 0x0c,
            // Not JSON, but lighttpd's json escaping writes these two all the same.
            (Some(b'v'), _) => 0x0b,
            (Some(b'a'), _) => 0x07,
            _ => return 0,
        };
        decoded.push(meant);
        2
    }
}

/// Two hexadecimal digits behind a mark of so many bytes: `\xHH`, `%HH`.
fn decode_hex(bytes: &[u8], mark: usize, decoded: &mut Vec<u8>) -> usize {
    let Some(value) = bytes.get(mark..mark + 2).and_then(hex) else {
        return 0;
    };
    // Two hexadecimal digits are at most 255.
    decoded.push(u8::try_from(value).unwrap_or(u8::MAX));
    mark + 2
}

/// `#HH`, in upper case as HAProxy writes it.
fn decode_hash(bytes: &[u8], decoded: &mut Vec<u8>) -> usize {
    let digits = bytes.get(1..3).unwrap_or_default();
    let is_upper = digits
        .iter()
        .all(|digit| matches!(digit, b'0'..=b'9' | b'A'..=b'F'));
    match hex(digits).filter(|_| is_upper && digits.len() == 2) {
        Some(value) => {
            decoded.push(u8::try_from(value).unwrap_or(u8::MAX));
            3
        }
        None => 0,
    }
}

/// `\u00HH`: the byte.
fn decode_byte(bytes: &[u8], decoded: &mut Vec<u8>) -> usize {
    let value = bytes.get(2..6).and_then(hex);
    match value.and_then(|value| u8::try_from(value).ok()) {
        Some(byte) => {
            decoded.push(byte);
            6
        }
        None => 0,
    }
}

/// `\uXXXX`, or two of them where they are a surrogate pair.
fn decode_utf16(bytes: &[u8], decoded: &mut Vec<u8>) -> usize {
    let Some(unit) = bytes.get(2..6).and_then(hex) else {
        return 0;
    };
    let low = || match bytes.get(6..8) {
        Some(b"\\u") => bytes
            .get(8..12)
            .and_then(hex)
            .filter(|low| (0xdc00..0xe000).contains(low)),
        _ => None,
    };
    let (code, used) = match unit {
        0xd800..0xdc00 => match low() {
            Some(low) => (0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00), 12),
            None => return 0,
        },
        _ => (unit, 6),
    };
    // A lone low surrogate is no character.
    let Some(character) = char::from_u32(code) else {
        return 0;
    };
    decoded.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    used
}

fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |value, &digit| {
        Some(value * 16 + char::from(digit).to_digit(16)?)
    })
}

/// The stored and printed form of a name: UTF-8 without control characters; bytes outside UTF-8,
/// control characters, a backslash, a leading or trailing space as `\xhh`. Borrowed when nothing
/// changes.
///
/// Characters that change how text around them is shown (C1 controls, marks of writing direction,
/// the byte order mark and other invisible ones) count as control characters.
#[must_use]
pub fn name(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes)
        && !text.chars().any(must_be_escaped)
        && !text.starts_with(' ')
        && !text.ends_with(' ')
    {
        return Cow::Borrowed(text);
    }
    let mut stored = String::with_capacity(bytes.len() + 16);
    let last = bytes.len().saturating_sub(1);
    let mut at = 0;
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            let outer_space = character == ' ' && (at == 0 || at == last);
            if must_be_escaped(character) || outer_space {
                escape(character.encode_utf8(&mut [0; 4]).as_bytes(), &mut stored);
            } else {
                stored.push(character);
            }
            at += character.len_utf8();
        }
        escape(chunk.invalid(), &mut stored);
        at += chunk.invalid().len();
    }
    Cow::Owned(stored)
}

fn escape(bytes: &[u8], stored: &mut String) {
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(stored, "\\x{byte:02x}");
    }
}

fn must_be_escaped(character: char) -> bool {
    match character {
        '\\' => true,
        ' '..='~' => false,
        _ => {
            character.is_control()
                || matches!(character,
                    '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
                    | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
                    | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone() {
        use Escape::{
            Backslash, Doubled, Hash, HashAndBackslash, Json, JsonBytes, None, Percent,
            PercentAndBackslash, StructuredData,
        };
        let cases: &[(Escape, &[u8], &[u8])] = &[
            (None, br"a\x22", br"a\x22"),
            (Backslash, b"plain", b"plain"),
            (Backslash, b"", b""),
            // nginx, recorded.
            (
                Backslash,
                br"a\x22b\x5Cc \x01\x7F\xFF\xC3\xA9\x09z\x0B\x0C\x07\x08",
                b"a\"b\\c \x01\x7f\xff\xc3\xa9\tz\x0b\x0c\x07\x08",
            ),
            // lighttpd, recorded.
            (
                Backslash,
                br#"a\"b\\c \x01\x7F\xFF\xC3\xA9\tz\v\f\a\b"#,
                b"a\"b\\c \x01\x7f\xff\xc3\xa9\tz\x0b\x0c\x07\x08",
            ),
            // Apache, recorded.
            (Backslash, br#"GET /a b\"c\\d\xff"#, b"GET /a b\"c\\d\xff"),
            (Backslash, br"\\x22", br"\x22"),
            (Backslash, br"\x2", br"\x2"),
            (Backslash, br"\xg0\q\", br"\xg0\q\"),
            (Backslash, br"\u0041\/", br"\u0041\/"),
            (
                Json,
                br#"a\"b\\c\/ \u0001\n\r\t\b\f"#,
                b"a\"b\\c/ \x01\n\r\t\x08\x0c",
            ),
            (Json, br"\u00e9\uD83D\ude00", "é😀".as_bytes()),
            (
                Json,
                br"\ud83d \ude00 \ud83d\u0041 \u12",
                br"\ud83d \ude00 \ud83dA \u12",
            ),
            // lighttpd's json, recorded.
            (
                Json,
                b"a\\\"b\\\\c \\u0001\x7f\xff\xc3\xa9\\tz\\v\\f\\a\\b",
                b"a\"b\\c \x01\x7f\xff\xc3\xa9\tz\x0b\x0c\x07\x08",
            ),
            (Json, br"\x41", br"\x41"),
            // Squid's %[ and %#, recorded.
            (
                PercentAndBackslash,
                br#"%5d "get\\x41 per%2520cent %c5%bc%ff"#,
                b"] \"get\\x41 per%20cent \xc5\xbc\xff",
            ),
            (PercentAndBackslash, b"dom%5Ccarol%20", b"dom\\carol "),
            (PercentAndBackslash, br"a\r\n\t\x41\", b"a\r\n\\t\\x41\\"),
            (PercentAndBackslash, b"100% %4 %g1 %", b"100% %4 %g1 %"),
            // HAProxy, recorded.
            (Hash, b"a#7Bb#7Cc#7Dd#23e#22\\", b"a{b|c}d#e\"\\"),
            (Hash, b"#C5#BC#09 #FF", b"\xc5\xbc\t \xff"),
            (Hash, b"#2#g0#ff#", b"#2#g0#ff#"),
            (StructuredData, br#"a\"b\\c\]d\n#22"#, br#"a"b\c]d\n#22"#),
            (HashAndBackslash, br"/x#22y?q={\\\]\n", br#"/x"y?q={\]\n"#),
            (
                JsonBytes,
                br#"\u00c5\u00bc\"\\\t\u0001\u017c"#,
                b"\xc5\xbc\"\\\t\x01\\u017c",
            ),
            // CloudFront's documentation: a quote sent as %22 is logged as %2522.
            (Percent, b"a%20b%2522%2", b"a b%22%2"),
            (Percent, br"%gg%C3%a9\x41%", b"%gg\xc3\xa9\\x41%"),
            (Doubled, br#"a""b"c\"""#, br#"a"b"c\""#),
        ];
        for &(escape, logged, meant) in cases {
            assert_eq!(&*escape.decode(logged), meant, "{}", logged.escape_ascii());
        }
    }

    #[test]
    fn names() {
        let cases: &[(&[u8], &str)] = &[
            (b"", ""),
            (b"alice", "alice"),
            (b"al ice", "al ice"),
            (b" alice", r"\x20alice"),
            (b"alice ", r"alice\x20"),
            (b" ", r"\x20"),
            (b"  ", r"\x20\x20"),
            (br"a\x20", r"a\x5cx20"),
            (b"a\nb\0\x7f", r"a\x0ab\x00\x7f"),
            ("żółw".as_bytes(), "żółw"),
            (b"\xff\xfe", r"\xff\xfe"),
            (b"a\xc3", r"a\xc3"),
            (b" \xff ", r"\x20\xff\x20"),
            ("a\u{85}b".as_bytes(), r"a\xc2\x85b"),
            ("a\u{202e}b".as_bytes(), r"a\xe2\x80\xaeb"),
            (
                "a\u{2066}\u{feff}\u{200f}".as_bytes(),
                r"a\xe2\x81\xa6\xef\xbb\xbf\xe2\x80\x8f",
            ),
        ];
        for &(bytes, expected) in cases {
            assert_eq!(name(bytes), expected);
        }
    }
}
