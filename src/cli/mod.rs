//! The commands: arguments in, an exit code out. No rules of accounting live here.
//!
//! Results go to standard output, everything else to standard error. Exit codes: 0 done, 1 the
//! input or the answer is wrong, 2 usage; `run` uses those of sysexits.

pub mod args;
pub mod check;
mod import;
mod inspect;
mod logging;
mod open;
mod pipe;
pub mod quota;
pub mod report;
mod run;
mod settings;
mod snippet;
mod status;
mod store;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use tollkeeper_parsers::format::Spec;
use tollkeeper_parsers::plan::Plan;

pub use self::settings::{DEFAULT_CONFIG, Environment, Settings, system_timezone};
use crate::config::ConfigError;
use args::{Args, Command};

/// Why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The command line makes no sense.
    #[error("{0}")]
    Usage(String),
    /// The config cannot be used.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// The input or the answer is wrong.
    #[error("{0:#}")]
    Failed(#[from] anyhow::Error),
    /// As `Failed`, with an exit code of its own.
    #[error("{error:#}")]
    Coded {
        /// The exit code.
        code: u8,
        /// What happened.
        error: anyhow::Error,
    },
    /// Whoever read our output has had enough of it: the end, and nothing to say about it.
    #[error("nobody reads the output")]
    OutputClosed,
}

impl Failure {
    /// `--vhost` was given, but the format names the vhost in every line.
    #[must_use]
    pub fn vhost_given_twice(format: &str) -> Self {
        Self::Usage(format!(
            "--vhost cannot be used with the format {format:?}, whose lines name the vhost: leave \
             it out"
        ))
    }

    /// What happened when a result was written to standard output.
    #[must_use]
    pub fn output(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::Failed(anyhow::Error::new(error).context("cannot write to standard output")),
        }
    }

    /// The exit code; that of the daemon where `daemon` says so.
    #[must_use]
    pub fn code(&self, daemon: bool) -> u8 {
        const EX_CONFIG: u8 = 78;
        match self {
            Self::Usage(_) => 2,
            Self::Config(_) if daemon => EX_CONFIG,
            Self::Config(_) | Self::Failed(_) => 1,
            Self::Coded { code, .. } => *code,
            Self::OutputClosed => 0,
        }
    }
}

/// All of the program.
#[must_use]
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Help goes to standard output, errors to standard error; nobody may be there to read.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let daemon = matches!(args.command, Command::Run(_));
    dispatch(&args).unwrap_or_else(|failure| {
        match &failure {
            Failure::OutputClosed => {}
            // As compilers write it, so that editors find the place.
            Failure::Config(error) => {
                let _ = writeln!(io::stderr(), "{error}");
            }
            failure => complain(&failure.to_string()),
        }
        ExitCode::from(failure.code(daemon))
    })
}

fn dispatch(args: &Args) -> Result<ExitCode, Failure> {
    let settings = || match Settings::resolve(&args.common, &Environment::of_process()) {
        // How the daemon is that goes on with its old config is asked just then.
        Err(Failure::Config(error)) if matches!(args.command, Command::Status(_)) => {
            complain(&format!("the config is not used here:\n{error}"));
            Settings::without_config(&args.common, &Environment::of_process())
        }
        resolved => resolved,
    };
    match &args.command {
        Command::Run(run_args) => run::run(run_args, &args.common, settings()?),
        Command::Import(args) => import::run(args, &settings()?),
        Command::Report(args) => {
            let settings = settings()?;
            let mut store = open::existing_store(&settings).map_err(anyhow::Error::new)?;
            let owners = match &mut store {
                Some(store) if args.by.has_owners() => open::owners(store.as_mut(), &settings)?,
                _ => settings.config.owners.clone(),
            };
            report::run(args, &settings, &owners, |table, query| match &mut store {
                Some(store) => Ok(store.rows(table, query)?),
                None => Ok(Vec::new()),
            })
        }
        Command::Status(status_args) => status::run(status_args, &args.common, &settings()?),
        Command::Check(args) => inspect::run(args, &settings()?),
        // Whatever is wrong with the config is nothing to a web server that pipes its log.
        Command::Pipe(pipe_args) => pipe::run(pipe_args, &args.common),
        Command::Store(command) => store::run(*command, &settings()?),
        Command::Quota(command) => quota::run(command, &settings()?),
        Command::Snippet { server } => snippet::run(*server, &settings()?),
    }
}

/// `--vhost` makes no sense where the lines name the vhost.
fn refuse_vhost_twice(lines: &args::LineOptions) -> Result<(), Failure> {
    for format in &lines.formats {
        if let Spec::Format(parsed) = &format.spec
            && Plan::compile(parsed).is_ok_and(|plan| plan.has_vhost())
        {
            return Err(Failure::vhost_given_twice(&format.text));
        }
    }
    Ok(())
}

/// Says something that is no result. A closed standard error is no reason to stop.
pub fn complain(message: &str) {
    // In one piece: others may write there as well.
    let line = format!("tollkeeper: {message}\n");
    let _ = io::stderr().write_all(line.as_bytes());
}

/// Writes a result to standard output.
///
/// # Errors
/// [`Failure::OutputClosed`] where nobody reads it, else why it could not be written.
pub fn print(result: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(result.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(Failure::output)
}
