//! `[hook]`: a command that is told of each change of a verdict.

use std::time::Duration;

use super::Reader;
use super::table::Table;

/// `timeout` where the config says nothing.
pub const DEFAULT_HOOK_TIMEOUT: Duration = Duration::from_secs(30);
const MIN_HOOK_TIMEOUT: Duration = Duration::from_secs(1);
const MAX_HOOK_TIMEOUT: Duration = Duration::from_secs(600);

/// What is started at each change of a verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// The program, absolute, and its arguments. No shell stands between.
    pub command: Vec<String>,
    /// After that it is ended.
    pub timeout: Duration,
}

impl<'t> Reader<'_, 't> {
    /// `[hook]`
    pub(super) fn hook(&mut self, mut table: Table<'t>) -> Option<Hook> {
        let place = table.span();
        let texts = table.some_strings("command", self.findings);
        let timeout = table.string("timeout", self.findings);
        let timeout = timeout.and_then(|text| self.checked(text, parse_timeout));
        table.finish(self.findings);
        let Some(texts) = texts else {
            let help = "add command = [\"/usr/local/bin/quota-changed\"]";
            self.findings.report(place, "the hook has no command", help);
            return None;
        };
        let mut command = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            let word = self.checked(*text, |word| parse_word(word, index == 0))?;
            command.push(word);
        }
        if command.is_empty() {
            return None;
        }
        Some(Hook {
            command,
            timeout: timeout.unwrap_or(DEFAULT_HOOK_TIMEOUT),
        })
    }
}

fn parse_word(word: &str, is_program: bool) -> Result<String, (String, String)> {
    if word.contains('\0') {
        let message = format!("{word:?} cannot be passed to a program");
        return Err((message, "take the zero byte out".into()));
    }
    if is_program && (!word.starts_with('/') || word.ends_with('/')) {
        let message = format!("{word:?} is no absolute path of a program");
        let help = "write the program from the root, and each argument as a string of its own: \
                    command = [\"/usr/local/bin/quota-changed\", \"--mail\"]; no shell is started";
        return Err((message, help.into()));
    }
    Ok(word.to_owned())
}

fn parse_timeout(text: &str) -> Result<Duration, (String, String)> {
    let help = "write it with a unit, between \"1s\" and \"10m\", such as \"30s\"";
    super::duration_within(text, MIN_HOOK_TIMEOUT..=MAX_HOOK_TIMEOUT, help)
}
