//! Sample expressions: `%[capture.req.hdr(0),lower]`.

use super::super::{ByteSet, Count, Meaning, Moment, TimeForm};
use super::Captures;
use super::alias::{ADDRESS, HEX, OWN_WORD};
use crate::text::Escape;
use crate::time::Pattern;

/// A fetch or a converter, with what stands in its parentheses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Call<'t> {
    name: &'t [u8],
    arguments: &'t [u8],
}

/// What an expression writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) meaning: Meaning,
    /// Every byte that can stand in it; `-` for none is one of them.
    pub(super) bytes: ByteSet,
    /// Whether quotes stand in it behind a backslash only.
    pub(super) escaped: bool,
    pub(super) escape: Escape,
    /// Whether a client can put a newline into it.
    pub(super) is_forgeable: bool,
}

/// A fetch and its converters.
pub(super) fn calls(expression: &[u8]) -> Vec<Call<'_>> {
    let mut calls = Vec::new();
    let mut rest = expression.trim_ascii();
    while !rest.is_empty() {
        let is_name = |byte: &&u8| !matches!(**byte, b'(' | b',');
        let (name, after) = rest.split_at(rest.iter().take_while(is_name).count());
        let (arguments, after) = match after.first() {
            Some(b'(') => {
                let end = closing(after).unwrap_or(after.len());
                let behind = after.get(end + 1..).unwrap_or_default();
                (after.get(1..end).unwrap_or_default(), behind)
            }
            _ => (&b""[..], after),
        };
        calls.push(Call { name, arguments });
        rest = after.strip_prefix(b",").unwrap_or_default();
    }
    calls
}

/// Where the parenthesis that opens `text` is closed; quotes and backslashes hide one.
pub(super) fn closing(text: &[u8]) -> Option<usize> {
    let mut quote = None;
    let mut at = 1;
    while let Some(&byte) = text.get(at) {
        match (quote, byte) {
            (None | Some(b'"'), b'\\') => at += 1,
            (Some(open), byte) if byte == open => quote = None,
            (Some(_), _) => {}
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b')') => return Some(at),
            (None, _) => {}
        }
        at += 1;
    }
    None
}

/// Whether it is the host that the client asked for.
pub(super) fn is_host(calls: &[Call<'_>]) -> bool {
    let Some((fetch, _)) = calls.split_first() else {
        return false;
    };
    let argument = fetch.arguments.split(|&byte| byte == b',').next();
    let argument = argument.unwrap_or_default().trim_ascii();
    match fetch.name {
        b"hdr" | b"req.hdr" | b"fhdr" | b"req.fhdr" | b"req.hdr_ip" => {
            argument.eq_ignore_ascii_case(b"host")
        }
        b"var" => last_part(argument).eq_ignore_ascii_case(b"host"),
        _ => false,
    }
}

/// What stands behind the last point or underscore of a variable's name: `host` of `txn.req_host`.
fn last_part(variable: &[u8]) -> &[u8] {
    let part = variable.rsplit(|&byte| matches!(byte, b'.' | b'_')).next();
    part.unwrap_or(variable)
}

/// What the expression means and what it can write.
pub(super) fn sample(expression: &[u8], captures: &Captures) -> Sample {
    let calls = calls(expression);
    let Some((fetch, converters)) = calls.split_first() else {
        return raw(Meaning::Skipped);
    };
    let mut sample = fetched(fetch, &calls, captures);
    if let ([converter], b"date" | b"accept_date" | b"request_date") = (converters, fetch.name) {
        return date(fetch, converter).unwrap_or_else(|| raw(Meaning::Skipped));
    }
    for converter in converters {
        sample = converted(sample, converter);
    }
    sample
}

fn plain(meaning: Meaning, bytes: ByteSet) -> Sample {
    Sample {
        meaning,
        bytes,
        escaped: false,
        escape: Escape::None,
        is_forgeable: false,
    }
}

/// Whatever was sent, byte by byte.
fn raw(meaning: Meaning) -> Sample {
    plain(meaning, ByteSet::ALL)
}

fn fetched(fetch: &Call<'_>, calls: &[Call<'_>], captures: &Captures) -> Sample {
    let number = || plain(Meaning::Skipped, ByteSet::COUNT);
    let bytes = |count| {
        let meaning = Meaning::Bytes {
            count,
            dash_is_zero: false,
        };
        plain(meaning, ByteSet::COUNT)
    };
    if is_host(calls) {
        return raw(Meaning::Vhost { rank: 0 });
    }
    match fetch.name {
        b"capture.req.hdr" => {
            let slot = std::str::from_utf8(fetch.arguments).ok();
            let slot = slot.and_then(|slot| slot.trim().parse::<usize>().ok());
            let is_host = slot.is_some() && slot == captures.host();
            raw(if is_host {
                Meaning::Vhost { rank: 1 }
            } else {
                Meaning::Skipped
            })
        }
        b"var" if matches!(last_part(fetch.arguments), b"user" | b"username") => raw(Meaning::User),
        b"ssl_fc_sni" => Sample {
            is_forgeable: true,
            ..raw(Meaning::Vhost { rank: 5 })
        },
        b"src" => plain(Meaning::Client { rank: 1 }, ADDRESS),
        b"dst" | b"fc_src" | b"fc_dst" | b"bc_src" | b"bc_dst" => plain(Meaning::Skipped, ADDRESS),
        b"capture.req.uri" => raw(Meaning::Path { rank: 0 }),
        // Letters and a few marks, or the request is refused.
        b"capture.req.method" | b"method" => plain(Meaning::Method, OWN_WORD),
        b"capture.req.ver" | b"capture.res.ver" => plain(Meaning::Skipped, ByteSet::WORD),
        b"ssl_fc_protocol" | b"ssl_fc_cipher" | b"ssl_bc_protocol" | b"ssl_bc_cipher"
        | b"be_name" | b"fe_name" | b"srv_name" | b"hostname" => plain(Meaning::Skipped, OWN_WORD),
        // Newer than 2.6.
        b"bytes_in" | b"req.bytes_in" => bytes(Count::In),
        b"bytes_out" | b"res.bytes_out" => bytes(Count::Out),
        b"txn.timer.total" | b"txn.timer.user" | b"req.timer.total" => {
            plain(Meaning::Duration { per_second: 1000 }, ByteSet::COUNT)
        }
        b"status" | b"txn.status" => plain(Meaning::Status { rank: 0 }, ByteSet::COUNT),
        b"date" | b"accept_date" | b"request_date" => date_number(fetch),
        b"date_us" | b"int" | b"bool" | b"rand" | b"uptime" | b"nbsrv" | b"nbproc" | b"thread"
        | b"fc_err" | b"fc_http_major" | b"bc_http_major" | b"bc_err" | b"http_first_req"
        | b"ssl_fc" | b"ssl_bc" | b"ssl_c_err" | b"ssl_c_ca_err" | b"ssl_c_verify"
        | b"ssl_c_used" | b"ssl_fc_err" | b"ssl_fc_is_resumed" | b"ssl_fc_has_sni"
        | b"ssl_fc_has_early" | b"src_port" | b"dst_port" | b"be_id" | b"fe_id" | b"srv_id"
        | b"so_id" | b"fe_conn" | b"be_conn" | b"connslots" | b"queue" | b"res.comp"
        | b"req.body_len" | b"req.body_size" | b"fc_rtt" | b"fc_rttvar" => number(),
        // Whatever the client sent, decoded or not cut into lines.
        b"req.body_param" | b"req.body" | b"req.payload" | b"res.payload" => Sample {
            is_forgeable: true,
            ..raw(Meaning::Skipped)
        },
        name if name.starts_with(b"ssl_c_") || name.starts_with(b"ssl_fc_") => Sample {
            is_forgeable: true,
            ..raw(Meaning::Skipped)
        },
        name if name.starts_with(b"txn.timer")
            || name.starts_with(b"fc.timer")
            || name.starts_with(b"req.timer")
            || name.starts_with(b"res.timer")
            || name.starts_with(b"bc.timer") =>
        {
            number()
        }
        _ => raw(Meaning::Skipped),
    }
}

fn converted(sample: Sample, converter: &Call<'_>) -> Sample {
    let is_named = matches!(sample.meaning, Meaning::Vhost { .. } | Meaning::User);
    let is_escaped = sample.escape != Escape::None;
    let kept = if is_named && !is_escaped {
        sample.meaning.clone()
    } else {
        Meaning::Skipped
    };
    match converter.name {
        b"lower" | b"upper" if sample.bytes != ByteSet::ALL => Sample {
            meaning: kept,
            bytes: ByteSet::WORD.without(b'"').without(b'\\'),
            ..sample
        },
        b"lower" | b"upper" | b"host_only" | b"field" | b"word" | b"ltrim" | b"rtrim"
        | b"regsub" | b"map" | b"map_str" | b"map_beg" | b"map_end" | b"map_dom" | b"map_reg" => {
            Sample {
                meaning: kept,
                is_forgeable: sample.is_forgeable,
                ..raw(Meaning::Skipped)
            }
        }
        // What stood in it is escaped, newlines too; with another input than ASCII each byte is a
        // character.
        b"json" => Sample {
            meaning: kept,
            bytes: ByteSet::PRINTABLE,
            escaped: true,
            escape: match converter.arguments {
                b"" | b"ascii" => Escape::JsonBytes,
                _ => Escape::Json,
            },
            is_forgeable: false,
        },
        b"hex" => plain(Meaning::Skipped, HEX),
        b"length" | b"bytes_len" | b"crc32" | b"djb2" | b"sdbm" | b"wt6" | b"xxh32" | b"bool"
        | b"add" | b"sub" | b"mul" | b"div" | b"mod" | b"strlen" => {
            plain(Meaning::Skipped, ByteSet::COUNT)
        }
        b"ipmask" => plain(kept, ADDRESS),
        b"base64" | b"ub64enc" => {
            plain(Meaning::Skipped, ByteSet::WORD.without(b'"').without(b'\\'))
        }
        // These decode, or write bytes of no text.
        b"url_dec" | b"b64dec" | b"ub64dec" | b"sha1" | b"sha2" | b"digest" | b"hmac"
        | b"bytes" | b"json_query" | b"jwt_header_query" | b"jwt_payload_query" => Sample {
            is_forgeable: true,
            ..raw(Meaning::Skipped)
        },
        _ => Sample {
            is_forgeable: sample.is_forgeable,
            ..raw(Meaning::Skipped)
        },
    }
}

/// `date(0,ms)`: a whole number of units since 1970, now or at another moment.
fn date_number(fetch: &Call<'_>) -> Sample {
    let mut arguments = fetch.arguments.split(|&byte| byte == b',');
    let (first, second) = (arguments.next(), arguments.next());
    // `date` has an offset before its unit.
    let (offset, unit) = match fetch.name {
        b"date" => (first, second),
        _ => (None, first),
    };
    let per_second = match unit.unwrap_or_default() {
        b"" | b"s" => Some(1),
        b"ms" => Some(1000),
        b"us" => Some(1_000_000),
        _ => None,
    };
    let is_true = matches!(offset.unwrap_or_default(), b"" | b"0");
    match per_second.filter(|_| is_true) {
        Some(per_second) => {
            let form = TimeForm::Epoch { per_second };
            let moment = moment(fetch.name);
            plain(Meaning::Time { form, moment }, ByteSet::DIGITS)
        }
        None => plain(Meaning::Skipped, ByteSet::COUNT),
    }
}

/// `date,utime(%Y-%m-%dT%H:%M:%S%z)`.
fn date(fetch: &Call<'_>, converter: &Call<'_>) -> Option<Sample> {
    let format = match converter.name {
        b"ltime" | b"utime" => converter.arguments,
        _ => return None,
    };
    // A comma would begin an offset, and one before is not the time.
    let is_true = fetch.arguments.is_empty() && !format.contains(&b',');
    // Local times are those of the reader's zone, which UTC need not be.
    let has_zone = memchr::memmem::find(format, b"%z").is_some();
    if !is_true || (converter.name == b"utime" && !has_zone) {
        return None;
    }
    let pattern = Pattern::parse(format).ok()?;
    let bytes = (0..=u8::MAX).filter(|&byte| pattern.can_hold(byte));
    let bytes = bytes.fold(ByteSet::EMPTY, ByteSet::with);
    let form = TimeForm::Pattern(pattern);
    let moment = moment(fetch.name);
    Some(plain(Meaning::Time { form, moment }, bytes))
}

fn moment(fetch: &[u8]) -> Moment {
    match fetch {
        b"request_date" => Moment::Begin,
        b"accept_date" => Moment::Accept,
        _ => Moment::End,
    }
}
