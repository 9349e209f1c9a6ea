//! Which of a format's directives the account is kept from.

use super::whole;
use crate::error::FormatError;
use crate::format::{Count, Directive, Format, Meaning, Moment, Server, TimeForm};
use crate::plan::{Note, Reads, Take, Used, explain};
use crate::time::{Parts, Time};

/// What is done with each directive.
pub(super) struct Chosen {
    pub(super) takes: Vec<Take>,
    pub(super) reads: Reads,
    pub(super) composes_time: bool,
    pub(super) notes: Vec<Note>,
}

pub(super) fn choose(format: &Format, directives: &[&Directive]) -> Result<Chosen, FormatError> {
    let time = choose_time(format, directives)?;
    let first = |wanted: &dyn Fn(&Meaning) -> Option<u8>| {
        let ranked = directives
            .iter()
            .enumerate()
            .filter_map(|(index, directive)| {
                // What is there under a condition only serves where there is nothing else.
                let rank = wanted(&directive.meaning)? + if directive.optional { 100 } else { 0 };
                Some((rank, index))
            });
        ranked.min().map(|(_, index)| index)
    };
    let count = |wanted: Count| {
        first(&|meaning| {
            matches!(meaning, Meaning::Bytes { count, .. } if *count == wanted).then_some(0)
        })
    };
    let (bytes_in, wire_out, both) = (count(Count::In), count(Count::Out), count(Count::Both));
    let body = count(Count::Body);
    let is_both_needed = both.is_some() && bytes_in.is_some() != wire_out.is_some();
    let both = both.filter(|_| is_both_needed);
    let out = match (wire_out, both, body) {
        (Some(out), ..) => Some(out),
        (None, Some(_), _) => None,
        (None, None, body) => body,
    };
    if out.is_none() && both.is_none() {
        return Err(without_bytes(format, directives));
    }
    let vhost = first(&|meaning| match meaning {
        Meaning::Vhost { rank } => Some(*rank),
        Meaning::UrlRequest => Some(50),
        _ => None,
    });
    let is_in_request = vhost.is_some_and(|index| directives[index].meaning == Meaning::UrlRequest);
    let request = first(&|meaning| match meaning {
        Meaning::Request => Some(0),
        Meaning::UrlRequest => Some(1),
        _ => None,
    });
    let method = first(&|meaning| matches!(meaning, Meaning::Method).then_some(0));
    let path = first(&|meaning| match meaning {
        Meaning::Path { rank } => Some(*rank),
        _ => None,
    });
    let picked = [
        vhost,
        first(&|meaning| matches!(meaning, Meaning::User).then_some(0)),
        first(&|meaning| match meaning {
            Meaning::Client { rank } => Some(*rank),
            _ => None,
        }),
        first(&|meaning| match meaning {
            Meaning::Status { rank } => Some(*rank),
            _ => None,
        }),
        // The finest clock.
        first(&|meaning| match meaning {
            Meaning::Duration { per_second: 1 } => Some(2),
            Meaning::Duration { per_second: 1000 } => Some(1),
            Meaning::Duration { .. } => Some(0),
            _ => None,
        }),
        request,
        // A request line has both in one.
        method.filter(|_| request.is_none()),
        path.filter(|_| request.is_none()),
        bytes_in,
        out,
        both,
    ];
    let takes = directives.iter().enumerate().map(|(index, directive)| {
        if let Meaning::Time { form, .. } = &directive.meaning {
            let used = time.used(index);
            return Take::Time {
                form: form.clone(),
                optional: directive.optional,
                used,
            };
        }
        if is_in_request && vhost == Some(index) {
            // All of it; what of it is the vhost is found in what was cut out.
            Take::Vhost(directive.escape)
        } else if picked.contains(&Some(index)) {
            take(directive)
        } else {
            Take::Skip
        }
    });
    let mut notes = Vec::new();
    if format.forgeable {
        notes.push(match format.server {
            Server::Haproxy => Note::ForgeableExpression,
            _ => Note::Forgeable,
        });
    }
    if time.is_local {
        notes.push(Note::NoZone);
    }
    if matches!(
        format.preset,
        Some("common" | "combined" | "vhost_combined")
    ) {
        notes.push(Note::LesserGrade);
    }
    Ok(Chosen {
        takes: takes.collect(),
        reads: Reads {
            wire_in: bytes_in.is_some(),
            wire_out: wire_out.is_some(),
            both: both.is_some(),
            vhost_in_request: is_in_request,
            ..Reads::default()
        },
        composes_time: time.is_composed,
        notes,
    })
}

/// What is done with a directive that was picked.
fn take(directive: &Directive) -> Take {
    let escape = directive.escape;
    match directive.meaning {
        Meaning::Vhost { .. } => Take::Vhost(escape),
        Meaning::User => Take::User {
            escape,
            empty_is_quotes: directive.empty_is_quotes,
        },
        Meaning::Client { .. } => Take::Client,
        Meaning::Bytes {
            count,
            dash_is_zero,
        } => Take::Bytes {
            count,
            dash_is_zero,
        },
        Meaning::Status { .. } => Take::Status,
        Meaning::Duration { per_second } => Take::Duration { per_second },
        Meaning::Request | Meaning::UrlRequest => Take::Request(escape),
        Meaning::Method => Take::Method(escape),
        Meaning::Path { .. } => Take::Path(escape),
        Meaning::Skipped | Meaning::Query | Meaning::Padding | Meaning::Time { .. } => Take::Skip,
    }
}

/// Which directives the line's time comes from.
struct ChosenTime {
    whole: Option<usize>,
    parts: Vec<usize>,
    is_composed: bool,
    is_local: bool,
}

impl ChosenTime {
    fn used(&self, index: usize) -> Used {
        if self.whole == Some(index) {
            Used::Whole
        } else if self.parts.contains(&index) {
            Used::Part
        } else {
            Used::No
        }
    }
}

/// One directive that gives the whole time, the request's start before its end and that before the
/// connection's; else all that belong to the start together, if they make a time; else all that belong
/// to the end.
fn choose_time(format: &Format, directives: &[&Directive]) -> Result<ChosenTime, FormatError> {
    let of = |moment: Moment| {
        directives
            .iter()
            .enumerate()
            .filter_map(move |(index, directive)| match &directive.meaning {
                Meaning::Time { form, moment: of } if *of == moment => {
                    Some((index, form, directive.optional))
                }
                _ => None,
            })
    };
    let mut local = None;
    for moment in [Moment::Begin, Moment::End, Moment::Accept] {
        let whole = of(moment)
            .filter(|(.., optional)| !optional)
            .filter_map(|(index, form, _)| {
                let rank = match form {
                    TimeForm::EpochWithFraction | TimeForm::Epoch { .. } => 0,
                    TimeForm::Iso8601 => 1,
                    TimeForm::Clf { .. } => 2,
                    TimeForm::Fraction { .. } | TimeForm::Pattern(_) => return None,
                };
                Some((rank, index))
            });
        if let Some((_, index)) = whole.min() {
            return Ok(ChosenTime {
                whole: Some(index),
                parts: Vec::new(),
                is_composed: false,
                is_local: false,
            });
        }
        let mut all = Parts::default();
        let mut parts = Vec::new();
        for (index, form, _) in of(moment) {
            let mut own = Parts::default();
            match form {
                TimeForm::Pattern(pattern) => {
                    pattern.mark(&mut own);
                    pattern.mark(&mut all);
                }
                TimeForm::Fraction { .. } => {}
                TimeForm::Clf { .. }
                | TimeForm::Iso8601
                | TimeForm::Epoch { .. }
                | TimeForm::EpochWithFraction => {
                    own.set(Time::Instant(0));
                    all.set(Time::Instant(0));
                }
            }
            if matches!(own.time(), Some(Time::Instant(_))) {
                return Ok(ChosenTime {
                    whole: None,
                    parts: vec![index],
                    is_composed: true,
                    is_local: false,
                });
            }
            parts.push(index);
        }
        let composed = |is_local| ChosenTime {
            whole: None,
            parts,
            is_composed: true,
            is_local,
        };
        match all.time() {
            Some(Time::Instant(_)) => return Ok(composed(false)),
            Some(Time::Local(_)) => local = local.or(Some(composed(true))),
            None => {}
        }
    }
    local.ok_or_else(|| {
        let has_some = directives
            .iter()
            .any(|directive| matches!(directive.meaning, Meaning::Time { .. }));
        let message = if has_some {
            "the format's time is not whole: it needs a date with an hour, or seconds since 1970"
        } else {
            "the format has no time"
        };
        let add = match format.server {
            Server::Nginx => "add $msec or $time_iso8601",
            Server::Apache | Server::Either => "add %t",
            Server::Lighttpd | Server::Varnish => "add %t",
            Server::Squid => "add %ts or %tl",
            Server::Haproxy => "add %trg, or %T in mode tcp",
            Server::Caddy | Server::Traefik | Server::W3c | Server::Cloudfront | Server::Any => {
                "add one"
            }
        };
        whole(
            format,
            message,
            format!("{add}; or log:\n{}", explain::recommended(format.server)),
        )
    })
}

fn without_bytes(format: &Format, directives: &[&Directive]) -> FormatError {
    let both = directives.iter().find(|directive| {
        matches!(
            directive.meaning,
            Meaning::Bytes {
                count: Count::Both,
                ..
            }
        )
    });
    let help = format!("log:\n{}", explain::recommended(format.server));
    match both {
        Some(both) => FormatError {
            span: both.span.clone(),
            message: format!(
                "{} alone does not say which bytes were sent and which received",
                both.written
            ),
            help: Some(help),
        },
        None => whole(format, "the format has no number of bytes sent", help),
    }
}
