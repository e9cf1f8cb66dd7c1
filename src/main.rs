//! argv -> exit code.

mod cli;
mod config;

use std::process::ExitCode;

fn main() -> ExitCode {
    // In the processes that start and guard workers this does not return.
    pointsman::role();
    cli::main()
}
