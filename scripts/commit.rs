//! Build script: tells `pointsman --version` which commit it was built from.
//!
//! Takes the hash from the checkout, or from the file that `cargo package` adds; without either the version stands
//! alone. Never fails a build.

use std::{fs, path::Path, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=scripts/commit.rs");
    println!("cargo::rerun-if-changed=.cargo_vcs_info.json");
    if let Some(commit) = from_package().or_else(from_checkout) {
        println!("cargo::rustc-env=POINTSMAN_COMMIT={commit}");
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
    let git = Path::new(".git");
    if !git.exists() {
        return None;
    }
    for file in ["HEAD", "logs/HEAD"] {
        if git.join(file).exists() {
            println!("cargo::rerun-if-changed=.git/{file}");
        }
    }
    let hash = run(&["rev-parse", "--short=12", "HEAD"])?;
    let dirty = run(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|text| !text.is_empty());
    Some(if dirty { format!("{hash}+changes") } else { hash })
}

fn run(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
