//! The programs a bench needs and the machine it runs on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::available_parallelism;

use super::Failure;

/// What was found on this machine.
#[derive(Debug)]
pub(crate) struct Tools {
    /// The Node for the primary and for all workers.
    pub(crate) node: PathBuf,
    node_version: String,
    /// What else the bench needs, with its version.
    others: String,
}

impl Tools {
    /// Node is `$NODE`, else the one of `scripts/setup`, else the one on the path.
    pub(crate) fn find(others: fn() -> Result<String, Failure>) -> Result<Self, Failure> {
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/node_modules/node20/bin/node");
        let node = match std::env::var_os("NODE") {
            Some(path) => PathBuf::from(path),
            None if own.exists() => own,
            None => PathBuf::from("node"),
        };
        let install = "install it (Debian: apt-get install nodejs) or name it in NODE";
        let node_version = first_words(&node, "--version", 1, install)?;
        Ok(Self { node, node_version, others: others()? })
    }

    /// One line for whoever compares figures.
    pub(crate) fn machine(&self) -> String {
        let cores = available_parallelism().map_or(0, usize::from);
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let Self { node, node_version, others } = self;
        format!(
            "{cores} cores, Linux {}, Node {node_version} ({}), {others}, load before the start {}",
            kernel.trim(),
            node.display(),
            load.split(' ').next().unwrap_or("unknown"),
        )
    }
}

/// The version a program tells, whatever it exits with: `wrk -v` exits with 1.
pub(crate) fn first_words(program: &Path, flag: &str, words: usize, advice: &str) -> Result<String, Failure> {
    let output = Command::new(program).arg(flag).output();
    let output = output
        .map_err(|error| Failure::because(format!("cannot run {}: {error}; {advice}", program.display())))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.split_whitespace().take(words).collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_comes_with_advice() {
        let refusal =
            first_words(Path::new("/nonexistent/wrk"), "-v", 2, "install it").unwrap_err().to_string();
        assert!(refusal.contains("/nonexistent/wrk") && refusal.ends_with("install it"), "{refusal}");
        assert_eq!(first_words(Path::new("echo"), "a", 1, "").unwrap(), "a");
    }
}
