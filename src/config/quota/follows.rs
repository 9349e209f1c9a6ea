//! `warn` and `exceeded`: what follows when a quota is spent.

use tollkeeper_parsers::size;

use super::value;
use super::words::{Fault, checked, report};
use crate::quota::rule::{Consequence, Rung};

const DEFAULT_STATUS: u16 = 429;

/// What is written of what follows.
#[derive(Debug, Default)]
pub(super) struct Follows<'t> {
    pub(super) warn: Vec<&'t str>,
    /// `None`: nothing is said.
    pub(super) exceeded: Option<Vec<RungWords<'t>>>,
}

/// A rung, as it is written.
#[derive(Debug)]
pub(super) struct RungWords<'t> {
    pub(super) at: Option<&'t str>,
    /// `deny`, `redirect` or `speed`.
    pub(super) what: &'static str,
    pub(super) value: &'t str,
}

/// Warnings and consequences.
pub(super) fn follows(words: &Follows<'_>, faults: &mut Vec<Fault>) -> (Vec<u32>, Vec<Rung>) {
    let percent = |word: &str| value::parse_percent(word, &value::PERCENT);
    let mut warn: Vec<u32> = Vec::new();
    for (index, word) in words.warn.iter().enumerate() {
        let Some(percent) = checked(faults, "warn", index, word, percent) else {
            continue;
        };
        if warn.last().is_some_and(|last| *last >= percent) {
            let refusal = (
                format!("{percent} does not come after {}", warn[warn.len() - 1]),
                "write percentages in rising order, each once".to_owned(),
            );
            report(faults, "warn", index, refusal);
        }
        warn.push(percent);
    }
    let Some(rungs) = &words.exceeded else {
        let consequence = Consequence::Deny {
            status: DEFAULT_STATUS,
        };
        return (
            warn,
            vec![Rung {
                at: 100,
                consequence,
            }],
        );
    };
    let mut exceeded: Vec<Rung> = Vec::new();
    for (index, rung) in rungs.iter().enumerate() {
        let at = match rung.at {
            Some(word) => checked(faults, "at", index, word, percent),
            None => Some(100),
        };
        let consequence = consequence(rung, index, faults);
        let (Some(at), Some(consequence)) = (at, consequence) else {
            continue;
        };
        if let Some(before) = exceeded.last() {
            if before.at >= at {
                let message = format!("{at} percent does not come after {}", before.at);
                let help = "write what follows in rising order, each percentage once".to_owned();
                report(faults, "at", index, (message, help));
            } else if consequence.clone().worse(before.consequence.clone()) != consequence {
                let message = format!("what follows at {at} is milder than at {}", before.at);
                let help = "refusing is more severe than sending elsewhere, and that more than \
                            slowing down; a lower speed is more severe";
                report(faults, rung.what, index, (message, help.to_owned()));
            }
        }
        exceeded.push(Rung { at, consequence });
    }
    (warn, exceeded)
}

fn consequence(rung: &RungWords<'_>, index: usize, faults: &mut Vec<Fault>) -> Option<Consequence> {
    let (what, word) = (rung.what, rung.value);
    match what {
        "deny" => checked(faults, what, index, word, value::parse_status)
            .map(|status| Consequence::Deny { status }),
        "redirect" => checked(faults, what, index, word, value::parse_url)
            .map(|url| Consequence::Redirect { url }),
        _ => match size::bytes_per_second(word) {
            Ok(0) => {
                let help = "a byte a second at least; to refuse requests write deny = 429";
                report(
                    faults,
                    what,
                    index,
                    (format!("{word:?} is no speed"), help.into()),
                );
                None
            }
            Ok(bytes_per_second) => Some(Consequence::Slow { bytes_per_second }),
            Err(error) => {
                faults.push(Fault {
                    key: what,
                    index,
                    span: Some(error.span),
                    message: format!("{word:?}: {}", error.message),
                    help: error.help.unwrap_or_default(),
                });
                None
            }
        },
    }
}
