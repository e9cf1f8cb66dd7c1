//! Build script: tells `pointsman --version` which commit it was built from.
//!
//! Takes the hash from the checkout, or from the file that `cargo package` adds; without either the version stands
//! alone. Never fails a build.

use std::{fs, path::Path, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=scripts/commit.rs");
    if let Some(commit) = from_package().or_else(from_checkout) {
        // Not POINTSMAN_…: `cargo run` passes it on to the program, whose configuration those are.
        println!("cargo::rustc-env=BUILT_FROM_COMMIT={commit}");
    }
}

/// `.cargo_vcs_info.json` holds `"sha1": "<hash>"`.
fn from_package() -> Option<String> {
    let text = fs::read_to_string(".cargo_vcs_info.json").ok()?;
    let after = text.split("\"sha1\"").nth(1)?;
    let hash = after.split('"').nth(1)?;
    Some(hash.chars().take(12).collect())
}

fn from_checkout() -> Option<String> {
    // A checkout of something else around an unpacked copy of ours must not lend its hash.
    if !Path::new(".git").exists() {
        return None;
    }
    // In a linked worktree they are elsewhere than below .git. Cargo takes a file that is missing for one that has changed.
    for file in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(&["rev-parse", "--git-path", file]).filter(|path| Path::new(path).exists()) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
