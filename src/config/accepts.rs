//! Which messages of a listener are a source's own: by tag, facility and host.

use super::table::nearest;

/// The names of the facilities, by their numbers (RFC 5424, as rsyslog and syslog-ng call them).
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
    "ftp", "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4",
    "local5", "local6", "local7",
];

/// Which messages a source takes, by their envelopes. An empty list takes all; a message without
/// the part that a list asks for is not taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accepts {
    /// Compared byte by byte.
    pub tags: Vec<NamePattern>,
    /// Their numbers.
    pub facilities: Vec<u8>,
    /// Upper and lower case are the same.
    pub hosts: Vec<NamePattern>,
}

impl Accepts {
    /// Whether a message with this envelope is taken.
    #[must_use]
    pub fn take(&self, facility: Option<u8>, host: Option<&[u8]>, tag: Option<&[u8]>) -> bool {
        let tag_fits = self.tags.is_empty()
            || tag.is_some_and(|tag| self.tags.iter().any(|pattern| pattern.matches(tag)));
        let facility_fits = self.facilities.is_empty()
            || facility.is_some_and(|facility| self.facilities.contains(&facility));
        let host_fits = self.hosts.is_empty()
            || host.is_some_and(|host| {
                let mut patterns = self.hosts.iter();
                patterns.any(|pattern| pattern.matches_ignoring_case(host))
            });
        tag_fits && facility_fits && host_fits
    }

    /// Whether everything is taken.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.tags.is_empty() && self.facilities.is_empty() && self.hosts.is_empty()
    }
}

/// A name in which `*` stands for any bytes, also none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamePattern(String);

impl NamePattern {
    /// A pattern, as it stands in the config.
    #[must_use]
    pub fn new(pattern: &str) -> Self {
        Self(pattern.to_owned())
    }

    /// Whether the pattern is this name.
    #[must_use]
    pub fn matches(&self, name: &[u8]) -> bool {
        wildcard(self.0.as_bytes(), name, |a, b| a == b)
    }

    /// The same, where upper and lower case are one.
    #[must_use]
    pub fn matches_ignoring_case(&self, name: &[u8]) -> bool {
        wildcard(self.0.as_bytes(), name, |a, b| a.eq_ignore_ascii_case(&b))
    }
}

/// Where a mismatch comes, the last `*` takes one byte more: no recursion, and never more than the
/// product of both lengths.
fn wildcard(pattern: &[u8], name: &[u8], same: impl Fn(u8, u8) -> bool) -> bool {
    let (mut at, mut taken) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while taken < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at + 1, taken));
                at += 1;
            }
            Some(byte) if same(*byte, name[taken]) => {
                at += 1;
                taken += 1;
            }
            _ => {
                let Some((after, from)) = star else {
                    return false;
                };
                star = Some((after, from + 1));
                at = after;
                taken = from + 1;
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

pub(super) fn parse_pattern(text: &str) -> Result<NamePattern, (String, String)> {
    const MAX_PATTERN_BYTES: usize = 255;
    let usable = |byte: u8| byte.is_ascii_graphic();
    if text.is_empty() || text.len() > MAX_PATTERN_BYTES || !text.bytes().all(usable) {
        let help = "write it as the envelope has it; * stands for any characters".to_owned();
        return Err((format!("{text:?} stands in no envelope"), help));
    }
    Ok(NamePattern::new(text))
}

pub(super) fn parse_facility(text: &str) -> Result<u8, (String, String)> {
    let by_name = FACILITIES.iter().position(|name| *name == text);
    let number = by_name.or_else(|| {
        let number: usize = text.parse().ok()?;
        (number < FACILITIES.len()).then_some(number)
    });
    number
        .and_then(|number| u8::try_from(number).ok())
        .ok_or_else(|| {
            let help = match nearest(text, FACILITIES.into_iter()) {
                Some(nearest) => format!("did you mean {nearest:?}?"),
                None => "write a name, such as \"local7\", or a number from 0 to 23".into(),
            };
            (format!("unknown facility {text:?}"), help)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stand_for_any_bytes() {
        for (pattern, name, expected) in [
            ("web1", "web1", true),
            ("web1", "WEB1", false),
            ("web1", "web10", false),
            ("web*", "web", true),
            ("web*", "web10", true),
            ("*.example.org", "a.b.example.org", true),
            ("*.example.org", "example.org", false),
            ("*a*b", "aab", true),
            ("*a*b", "aba", false),
            ("*", "", true),
            ("**", "x", true),
            ("a*b*c", "a-b-b-c", true),
        ] {
            let matched = NamePattern::new(pattern).matches(name.as_bytes());
            assert_eq!(matched, expected, "{pattern} {name}");
        }
        assert!(NamePattern::new("Web*").matches_ignoring_case(b"wEB1"));
    }

    #[test]
    fn a_message_is_taken_by_its_envelope() {
        let accepts = Accepts {
            tags: vec![NamePattern::new("nginx")],
            facilities: vec![23],
            hosts: vec![NamePattern::new("web*")],
        };
        let host = Some(b"WEB1".as_slice());
        let tag = Some(b"nginx".as_slice());
        assert!(accepts.take(Some(23), host, tag));
        assert!(!accepts.take(Some(22), host, tag));
        assert!(!accepts.take(None, host, tag));
        assert!(!accepts.take(Some(23), None, tag));
        assert!(!accepts.take(Some(23), host, None));
        assert!(!accepts.take(Some(23), host, Some(b"Nginx")));
        assert!(Accepts::default().take(None, None, None));
    }
}
