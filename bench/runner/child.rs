//! A program that the bench starts beside the fronts: it ends with its value.

use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use super::Failure;
use super::watch::{self, Watch};

/// A child process of the runner.
#[derive(Debug)]
pub(crate) struct Running {
    name: String,
    pub(crate) child: Child,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Result<Self, Failure> {
        watch::bind_to_runner(&mut command);
        let name = command.get_program().display().to_string();
        let child = command.spawn();
        let child = child.map_err(|error| Failure::because(format!("cannot start {name}: {error}")))?;
        Ok(Self { name, child })
    }

    /// Waits until it has ended by itself.
    pub(crate) fn wait(&mut self, watch: &Watch, limit: Duration) -> Result<ExitStatus, Failure> {
        let Self { name, child } = self;
        watch.until(limit, &format!("{name} ends"), || {
            child.try_wait().map_err(|error| Failure::because(format!("cannot wait for {name}: {error}")))
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when it has ended and been waited for, which is what they are for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
