//! The `pointsman` command: arguments in, an exit code out.
//!
//! One file for each subcommand or kind of message. What runs is the crate's public face and nothing else.

mod activation;
mod args;
mod banner;
mod check;
mod clip;
mod control;
mod demo;
mod failure;
mod flags;
mod foreign;
mod forgotten;
mod lanes;
mod log_filter;
mod logging;
mod output;
mod pages;
mod reload;
mod report;
mod run;
mod supervision;
mod trouble;
mod wrapper;

use std::{
    io::{self, Write},
    panic,
    process::ExitCode,
};

use anstream::{AutoStream, ColorChoice};

use crate::config::{Config, Inputs};
use args::{Command, RunArgs};

/// Runs the command that this process's arguments name.
pub(crate) fn main() -> ExitCode {
    // The panic itself has been told by then.
    panic::catch_unwind(dispatch).unwrap_or_else(|_| {
        complain("error: this is a bug in pointsman; please report it with the lines above\n");
        ExitCode::from(failure::BUG)
    })
}

fn dispatch() -> ExitCode {
    let cli = match forgotten::parse(&std::env::args_os().collect::<Vec<_>>()) {
        Ok(cli) => cli,
        Err(error) => {
            // Help that nobody reads is no failure.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(failure::USAGE));
        }
    };
    match cli.command {
        Command::Run(run) if run.test => with_config(run, |config, _| check::check(config, false)),
        Command::Run(run) => with_config(run, run::run),
        Command::Check(check) => with_config(check.run, |config, _| check::check(config, check.origin)),
        Command::Completions { shell } => print(&pages::completions(shell)),
        Command::Man { command } => match pages::man(command.as_deref()) {
            Ok(page) => print(&page),
            Err(error) => {
                complain(&format!("error: the page cannot be made: {error}\n"));
                ExitCode::from(failure::FAILED)
            }
        },
        Command::Control(verb) => control::run(verb),
        Command::DemoWorker => demo::run(),
    }
}

/// Reads the configuration, and goes on if there is nothing wrong with it.
fn with_config(args: RunArgs, then: impl FnOnce(&Config, &Inputs) -> ExitCode) -> ExitCode {
    let (flags, file) = args.into_layer();
    let inputs = Inputs { flags, file, environment: std::env::vars_os().collect() };
    match inputs.load() {
        Ok(config) => then(&config, &inputs),
        Err(problems) => {
            complain(&problems.render(colour()));
            ExitCode::from(failure::CONFIGURATION)
        }
    }
}

/// Whether standard error takes colours: `NO_COLOR`, `CLICOLOR_FORCE` and the terminal decide.
fn colour() -> bool {
    AutoStream::choice(&io::stderr()) != ColorChoice::Never
}

/// Writes to standard error before there is a log. `eprint!` would panic if it is closed.
fn complain(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Writes to standard output. A reader who has seen enough, such as `head`, is no failure.
fn print(text: &[u8]) -> ExitCode {
    match io::stdout().write_all(text).and_then(|()| io::stdout().flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("error: standard output cannot be written: {error}\n"));
            ExitCode::from(failure::FAILED)
        }
    }
}
