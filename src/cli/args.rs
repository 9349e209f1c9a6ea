//! The command line, as it is typed. What it says is a contract: scripts depend on it.

use std::ffi::OsStr;
use std::path::PathBuf;

use chrono::NaiveDate;
use chrono_tz::Tz;
use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use tollkeeper_parsers::format::Spec;

pub use self::quota::QuotaCommand;
use super::report::By;
use crate::config::{self, Layer, StoreUrl, Users};
use crate::excerpt::excerpt;

mod quota;

/// Columns that a faulty format may take in a message.
const MAX_EXCERPT_COLUMNS: usize = 76;

/// Counts the bytes of every site and user from web server access logs, exactly once.
#[derive(Debug, Parser)]
#[command(name = "tollkeeper", version, max_term_width = 100)]
pub struct Args {
    /// Options of every command.
    #[command(flatten)]
    pub common: Common,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Default, ClapArgs)]
#[command(next_help_heading = "Common options")]
pub struct Common {
    /// The config [default: /etc/tollkeeper/tollkeeper.toml where it exists]
    #[arg(short, long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Where the rows are: sqlite:PATH, or mysql://user@host/database [default: tollkeeper.db in the
    /// state directory]
    #[arg(long, value_name = "URL", global = true, value_parser = StoreUrlParser)]
    pub store: Option<StoreUrl>,
    /// The state directory [default: $STATE_DIRECTORY, /var/lib/tollkeeper as root, else
    /// $XDG_STATE_HOME/tollkeeper]
    #[arg(long, value_name = "DIR", global = true)]
    pub state: Option<PathBuf>,
    /// The name of this machine among those that share a store [default: the host name]
    #[arg(long, value_name = "NAME", global = true, value_parser = node)]
    pub node: Option<String>,
    /// Whose days these are, such as Europe/Warsaw
    #[arg(long, value_name = "ZONE", global = true, value_parser = timezone)]
    pub timezone: Option<Tz>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The daemon; with log files and no config: embedded store, detected format
    Run(RunArgs),
    /// Account archives and old logs; again = nothing twice
    Import(ImportArgs),
    /// The daily table
    Report(ReportArgs),
    /// How the daemon is: sources, positions, lag, balance, gaps, store, quotas, gates
    Status(StatusArgs),
    /// Config and formats, explained
    Check(CheckArgs),
    /// Standard input into the spool of a source, for web servers that pipe their log; lines are
    /// counted by the daemon
    Pipe(PipeArgs),
    /// The store and its schema
    #[command(subcommand)]
    Store(StoreCommand),
    /// How accounts stand with their quotas; grants, resets, exemptions
    #[command(subcommand)]
    Quota(QuotaCommand),
    /// What to paste into a web server's config, so that it acts on verdicts: for every gate of that server
    /// in the config, else for one in the usual place
    Snippet {
        /// The server
        #[arg(value_name = "SERVER", value_enum)]
        server: Server,
    },
}

/// A web server that acts on verdicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Server {
    /// nginx
    Nginx,
    /// Apache httpd
    Apache,
    /// lighttpd
    Lighttpd,
    /// HAProxy
    Haproxy,
}

/// `tollkeeper store …`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum StoreCommand {
    /// Make the store ready, if it is not (other commands do that on first use as well)
    Init,
    /// Make what an older version's store lacks, and the tables of a database ours, mod_bw_counter's
    /// rows included; each statement is shown before it is run
    Upgrade {
        /// Show the statements, run none
        #[arg(long)]
        dry_run: bool,
    },
    /// Print what the user of a database must be granted
    Grants,
}

/// How log lines are to be understood, for logs that are named on the command line.
#[derive(Debug, Clone, Default, ClapArgs)]
pub struct LineOptions {
    /// A preset, auto, or SERVER:FORMAT as it stands in the server's config; repeatable, tried in
    /// order [default: auto]
    #[arg(long = "format", value_name = "F", value_parser = format)]
    pub formats: Vec<FormatArg>,
    /// The site, where the format does not name it
    #[arg(long, value_name = "NAME", value_parser = vhost)]
    pub vhost: Option<String>,
    /// Who vouches for user names: verified, claimed or none [default: the format's]
    #[arg(long, value_name = "WHO", value_parser = users)]
    pub users: Option<Users>,
}

/// `tollkeeper run`
#[derive(Debug, Clone, ClapArgs)]
pub struct RunArgs {
    /// Logs to follow
    #[arg(value_name = "LOG")]
    pub logs: Vec<PathBuf>,
    /// How to understand them.
    #[command(flatten)]
    pub lines: LineOptions,
}

/// `tollkeeper import`
#[derive(Debug, ClapArgs)]
pub struct ImportArgs {
    /// Logs and archives (.gz, .zst, .bz2, .xz); - for standard input
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// How to understand them.
    #[command(flatten)]
    pub lines: LineOptions,
    /// Count the files apart, as what this layer of servers behind the edge logged; edge: as what is
    /// billed [default: that of the source in the config that follows the file, else edge]
    #[arg(long, value_name = "NAME", value_parser = layer)]
    pub layer: Option<Layer>,
    /// Count files that were counted before once more
    #[arg(long, conflicts_with = "unparsed")]
    pub again: bool,
    /// Read and sum, store nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Read exactly the lines again that did not parse before
    #[arg(long, conflicts_with = "dry_run")]
    pub unparsed: bool,
    /// How to print the summary
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Output::Table)]
    pub output: Output,
    /// Threads that read [default: one for each processor]
    #[arg(long, value_name = "N", hide_short_help = true,
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
}

/// `tollkeeper report`
#[derive(Debug, ClapArgs)]
pub struct ReportArgs {
    /// Comma list of day, month, vhost, user, owner, class, layer; user or class alone means by day
    /// and vhost as well
    #[arg(long, value_name = "KEYS", default_value = "day,vhost")]
    pub by: By,
    /// The first day, YYYY-MM-DD
    #[arg(long, value_name = "DAY", value_parser = day)]
    pub from: Option<NaiveDate>,
    /// The last day, inclusive
    #[arg(long, value_name = "DAY", value_parser = day)]
    pub to: Option<NaiveDate>,
    /// This site alone; repeatable
    #[arg(long = "vhost", value_name = "NAME", value_parser = stored_vhost)]
    pub vhosts: Vec<String>,
    /// What this layer behind the edge logged, instead of what is billed
    #[arg(long, value_name = "NAME", value_parser = layer)]
    pub layer: Option<Layer>,
    /// How to print it
    #[arg(long, value_name = "HOW", value_enum, default_value_t = ReportOutput::Table)]
    pub output: ReportOutput,
}

/// `tollkeeper status`
#[derive(Debug, ClapArgs)]
pub struct StatusArgs {
    /// List all files, not only those that need attention (JSON has all)
    #[arg(long)]
    pub files: bool,
    /// How to print it
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// `tollkeeper check`
#[derive(Debug, ClapArgs)]
pub struct CheckArgs {
    /// A log to try the format on
    #[arg(value_name = "LOG")]
    pub log: Option<PathBuf>,
    /// How to understand it.
    #[command(flatten)]
    pub lines: LineOptions,
    /// How to print it
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// `tollkeeper pipe`
#[derive(Debug, ClapArgs)]
pub struct PipeArgs {
    /// The name of the [[source.pipe]]
    #[arg(value_name = "NAME", value_parser = source_name)]
    pub name: String,
    /// What waits in the spool at most, such as 512MiB; lines beyond that are dropped and counted
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = max_spool)]
    pub max_spool: u64,
}

/// How to print what is no table of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// One object.
    Json,
}

/// How to print rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReportOutput {
    /// For people.
    Table,
    /// An array, one row a line.
    Json,
    /// With a header.
    Csv,
}

/// A format as it was typed, and what it means.
#[derive(Debug, Clone)]
pub struct FormatArg {
    /// As it was typed.
    pub text: String,
    /// What it means.
    pub spec: Spec,
}

impl LineOptions {
    /// The formats to try, in order.
    #[must_use]
    pub fn specs(&self) -> Vec<Spec> {
        match self.formats.as_slice() {
            [] => vec![Spec::Auto],
            formats => formats.iter().map(|format| format.spec.clone()).collect(),
        }
    }
}

fn format(text: &str) -> Result<FormatArg, String> {
    match config::parse_format(text) {
        Ok(spec) => Ok(FormatArg {
            text: text.to_owned(),
            spec,
        }),
        Err(error) => {
            let line_start = text[..error.span.start.min(text.len())]
                .rfind('\n')
                .map_or(0, |at| at + 1);
            let line = text[line_start..].lines().next().unwrap_or_default();
            let span = error.span.start - line_start..error.span.end.saturating_sub(line_start);
            let shown = excerpt(line.as_bytes(), span, MAX_EXCERPT_COLUMNS);
            let mut message = format!("{}\n  {}\n  {}", error.message, shown.text, shown.carets);
            if let Some(help) = error.help {
                message.push('\n');
                message.push_str(&help);
            }
            Err(message)
        }
    }
}

/// Refuses a URL without repeating it: somebody may have put a password into it.
#[derive(Debug, Clone)]
struct StoreUrlParser;

impl TypedValueParser for StoreUrlParser {
    type Value = StoreUrl;

    fn parse_ref(
        &self,
        command: &clap::Command,
        _: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<StoreUrl, clap::Error> {
        let parsed = match value.to_str() {
            Some(url) => config::parse_store_url(url).map_err(with_help),
            None => Err("it is not UTF-8".to_owned()),
        };
        parsed.map_err(|why| {
            let message = format!("the URL of --store cannot be used: {why}\n");
            clap::Error::raw(ErrorKind::ValueValidation, message).with_cmd(command)
        })
    }
}

fn timezone(name: &str) -> Result<Tz, String> {
    config::parse_timezone(name).map_err(with_help)
}

fn users(users: &str) -> Result<Users, String> {
    config::parse_users(users).map_err(with_help)
}

fn layer(name: &str) -> Result<Layer, String> {
    config::parse_layer(name).map_err(with_help)
}

fn vhost(name: &str) -> Result<String, String> {
    config::names::fold(name)
}

/// As [`vhost`]; the rows for many sites can be asked for as well.
fn stored_vhost(name: &str) -> Result<String, String> {
    if config::names::RESERVED.contains(&name) {
        return Ok(name.to_owned());
    }
    vhost(name)
}

fn source_name(name: &str) -> Result<String, String> {
    config::stream::parse_stream_name(name).map_err(with_help)
}

fn max_spool(size: &str) -> Result<u64, String> {
    config::stream::parse_max_spool(size).map_err(with_help)
}

fn node(name: &str) -> Result<String, String> {
    const MAX_NODE_BYTES: usize = 64;
    if name.is_empty() || name.len() > MAX_NODE_BYTES || name.chars().any(char::is_control) {
        return Err(format!(
            "one to {MAX_NODE_BYTES} bytes, no control characters"
        ));
    }
    Ok(name.to_owned())
}

fn day(text: &str) -> Result<NaiveDate, String> {
    let shape = text.len() == 10
        && text.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    if !shape {
        return Err("write a day as YYYY-MM-DD, such as 2026-11-21".into());
    }
    NaiveDate::parse_from_str(text, "%Y-%m-%d").map_err(|_| "no calendar has that day".into())
}

fn with_help((message, help): (String, String)) -> String {
    format!("{message}\n{help}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;
    use clap::error::ErrorKind;

    #[test]
    fn the_definition_holds_together() {
        Args::command().debug_assert();
    }

    #[test]
    fn days_are_days() {
        for (text, expected) in [
            ("2026-11-21", NaiveDate::from_ymd_opt(2026, 11, 21)),
            ("2024-02-29", NaiveDate::from_ymd_opt(2024, 2, 29)),
            ("2026-02-29", None),
            ("2026-2-9", None),
            ("21.11.2026", None),
            ("+026-11-21", None),
            ("today", None),
            ("", None),
        ] {
            assert_eq!(day(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn common_options_stand_before_or_after_the_command() {
        for line in [
            "tollkeeper --node n1 -c /c.toml --timezone UTC report",
            "tollkeeper report --node n1 -c /c.toml --timezone UTC",
        ] {
            let args = Args::try_parse_from(line.split(' ')).expect(line);
            assert_eq!(args.common.node.as_deref(), Some("n1"));
            assert_eq!(args.common.config, Some(PathBuf::from("/c.toml")));
            assert_eq!(args.common.timezone, Some(Tz::UTC));
        }
    }

    #[test]
    fn imports_are_understood() {
        let line = "tollkeeper import --again --dry-run --output json --threads 3 --format combined \
                    --format auto --vhost Example.ORG. --users none a.log b.log.gz";
        let args = Args::try_parse_from(line.split_whitespace()).expect(line);
        let Command::Import(import) = args.command else {
            panic!("{:?}", args.command);
        };
        assert!(import.again && import.dry_run && !import.unparsed);
        assert_eq!(import.output, Output::Json);
        assert_eq!(import.threads, Some(3));
        assert_eq!(import.lines.specs().len(), 2);
        assert_eq!(import.lines.vhost.as_deref(), Some("example.org"));
        assert_eq!(import.lines.users, Some(Users::None));
        assert_eq!(import.files.len(), 2);
    }

    #[test]
    fn usage_errors_are_found_before_anything_is_done() {
        for line in [
            "tollkeeper import",
            "tollkeeper import --output csv a.log",
            "tollkeeper import --threads 0 a.log",
            "tollkeeper import --again --unparsed a.log",
            "tollkeeper import --dry-run --unparsed a.log",
            "tollkeeper import --users trusted a.log",
            "tollkeeper import --vhost a/b a.log",
            "tollkeeper import --format combind a.log",
            "tollkeeper report --by user,class",
            "tollkeeper report --by layer,user",
            "tollkeeper report --layer Backend",
            "tollkeeper import --layer a/b a.log",
            "tollkeeper report --by day,day",
            "tollkeeper report --by days",
            "tollkeeper report --from 2026-02-30",
            "tollkeeper report --output xml",
            "tollkeeper report --timezone Mars",
            "tollkeeper report --store mysql://u:p@h/d",
            "tollkeeper report --store mysql://u@h/d?tls=1",
            "tollkeeper pipe",
            "tollkeeper pipe a/b",
            "tollkeeper pipe .a",
            "tollkeeper pipe --max-spool 1 web",
            "tollkeeper pipe --max-spool 1KiB web",
            "tollkeeper store",
            "tollkeeper store downgrade",
            "tollkeeper frobnicate",
            "tollkeeper",
        ] {
            let error = Args::try_parse_from(line.split(' ')).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}: {error}");
            assert_ne!(error.kind(), ErrorKind::DisplayHelp, "{line}");
        }
        for line in [
            "tollkeeper --help",
            "tollkeeper import -h",
            "tollkeeper --version",
        ] {
            let error = Args::try_parse_from(line.split(' ')).expect_err(line);
            assert_eq!(error.exit_code(), 0, "{line}");
        }
    }
}
