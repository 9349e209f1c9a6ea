//! `[[source.file]]`: logs that lie in files.

use std::path::PathBuf;

use tollkeeper_parsers::format::Spec;

use super::glob::{self, Pattern};
use super::table::{Table, Text};
use super::{Layer, Reader, names, parse_label};

/// `[[source.file]]`
#[derive(Debug, Clone)]
pub struct FileSource {
    /// Names the source in the balance; by default its first path pattern.
    pub name: String,
    /// Globs, absolute.
    pub paths: Vec<String>,
    /// Tried in order.
    pub formats: Vec<Spec>,
    /// Who vouches for user names; `None`: the format's default.
    pub users: Option<Users>,
    /// `vhost = "…"`, where `{1}` stands for what the first `*` of the glob matched.
    pub vhost: Option<String>,
    /// Where logrotate moves the rotations: absolute, or from each log's own folder on.
    pub olddir: Option<PathBuf>,
    /// Which layer of servers wrote the logs.
    pub layer: Layer,
}

/// Who vouches for the user names of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Users {
    /// The server logs a name only when it checked it.
    Verified,
    /// Whatever the client sent: rows, but never verdicts.
    Claimed,
    /// No user rows.
    None,
}

impl<'t> Reader<'_, 't> {
    pub(super) fn file_source(&mut self, mut table: Table<'t>) -> Option<FileSource> {
        let place = table.span();
        let name = table.string("name", self.findings);
        let paths = table.some_strings("paths", self.findings);
        let formats = table.some_strings("format", self.findings);
        let users = table.string("users", self.findings);
        let vhost = table.string("vhost", self.findings);
        let olddir = table.string("olddir", self.findings);
        let layer = self.layer(&mut table);
        table.finish(self.findings);

        if let Some(name) = name {
            self.checked(name, parse_label);
        }
        let mut patterns = Vec::new();
        match &paths {
            None => {
                let help = "add paths = [\"/var/log/…\"]";
                self.findings
                    .report(place.clone(), "this source has no paths", help);
            }
            Some(texts) => {
                for text in texts {
                    match Pattern::new(text.value) {
                        Ok(pattern) => patterns.push(pattern),
                        Err(error) => {
                            let span = self.inside(*text, error.span);
                            self.findings.report(span, error.message, error.help);
                        }
                    }
                }
            }
        }
        let specs = match formats {
            None => vec![Spec::Auto],
            Some(texts) => texts.iter().filter_map(|text| self.format(*text)).collect(),
        };
        let users = users.and_then(|text| self.checked(text, parse_users));
        let vhost = vhost.and_then(|text| self.vhost_template(text, &patterns));
        let olddir = olddir.and_then(|text| self.checked(text, parse_olddir));
        let paths: Vec<String> = paths?.iter().map(|text| text.value.to_owned()).collect();
        let name = name
            .map(|text| text.value.to_owned())
            .or_else(|| paths.first().cloned());
        Some(FileSource {
            name: name?,
            paths,
            formats: specs,
            users,
            vhost,
            olddir,
            layer,
        })
    }

    /// A name of a host, folded; or one with captures, as it stands.
    fn vhost_template(&mut self, text: Text<'t>, patterns: &[Pattern]) -> Option<String> {
        let references = match glob::template_references(text.value) {
            Ok(references) => references,
            Err((span, message)) => {
                let span = self.inside(text, span);
                let help = "{1} stands for what the first wildcard of the path matched";
                self.findings.report(span, message, help);
                return None;
            }
        };
        let fewest = patterns.iter().map(Pattern::capture_count).min();
        for (number, span) in &references {
            if fewest.is_some_and(|fewest| *number > fewest) {
                let span = self.inside(text, span.clone());
                let message = format!("no capture {number} in every path of this source");
                let help = "each *, **, ? and {a,b} of a path is a capture, counted from the left";
                self.findings.report(span, message, help);
                return None;
            }
        }
        // What the captures will be nobody knows; the rest must be able to stand in a name.
        let most = references
            .iter()
            .map(|(number, _)| *number)
            .max()
            .unwrap_or(0);
        let sample = glob::expand_vhost(text.value, &vec!["x".to_owned(); most])?;
        match names::fold(&sample) {
            Ok(folded) if references.is_empty() => Some(folded),
            Ok(_) => Some(text.value.to_owned()),
            Err(_) => {
                let message = format!("{:?} cannot be the name of a host", text.value);
                self.findings.report(text.span(), message, "");
                None
            }
        }
    }
}

/// `verified`, `claimed` or `none`.
///
/// # Errors
/// What is wrong with it, and the remedy.
pub fn parse_users(users: &str) -> Result<Users, (String, String)> {
    match users {
        "verified" => Ok(Users::Verified),
        "claimed" => Ok(Users::Claimed),
        "none" => Ok(Users::None),
        _ => {
            let help = "\"verified\": the server checks every name that it logs; \"claimed\": it \
                        logs what the client sent; \"none\": no rows of users";
            Err((format!("unknown users {users:?}"), help.into()))
        }
    }
}

/// A folder as logrotate's `olddir` names it, which has no wildcards either.
fn parse_olddir(path: &str) -> Result<PathBuf, (String, String)> {
    let help = "write the folder as logrotate has it: /var/log/old, or old for one beside each log";
    let refused = |message: String| Err((message, help.to_owned()));
    if path.is_empty() {
        return refused("olddir names no folder".to_owned());
    }
    if path.contains(['*', '?', '[', '{', '\0']) {
        return refused(format!("olddir {path:?}: takes no wildcards"));
    }
    Ok(PathBuf::from(path))
}
