//! Errors of the crate -> exit codes, and what to do about them.

use std::{env, ffi::OsStr, fs, path::Path};

use pointsman::Error;

use crate::config::{Config, Origin, nearest, words};

/// The command failed, for a reason that has no code of its own.
pub(super) const FAILED: u8 = 1;
/// The command line cannot be understood.
pub(super) const USAGE: u8 = 2;
/// A bug of ours; this and the following are those of BSD's sysexits.h.
pub(super) const BUG: u8 = 70;
/// The system refused.
const SYSTEM: u8 = 71;
/// Not permitted.
const NOT_PERMITTED: u8 = 77;
/// The configuration is wrong.
pub(super) const CONFIGURATION: u8 = 78;

/// The exit code that an error stands for.
pub(super) fn exit_code(error: &Error) -> u8 {
    match error {
        Error::ProgramNotFound { .. } | Error::NotExecutable { .. } | Error::AddressNotAvailable { .. } => {
            CONFIGURATION
        }
        Error::AddressNotAllowed { .. } => NOT_PERMITTED,
        _ => SYSTEM,
    }
}

/// What the command knows beyond what the error says by itself: where the value came from, what was meant.
pub(super) fn advice(error: &Error, config: &Config) -> Option<String> {
    match error {
        Error::ProgramNotFound { program } => program_advice(program, Path::new("."), config),
        Error::NotExecutable { program } => script_advice(program, config),
        Error::AddressInUse { .. }
        | Error::AddressNotAllowed { .. }
        | Error::AddressNotAvailable { .. }
        | Error::Listen { .. } => match &config.listen.origin {
            Origin::Flag(_) => None,
            Origin::Default => Some("nothing was said of where to listen, so this is the default".into()),
            origin => Some(format!("the address comes from {origin}; -l wins over it")),
        },
        _ => None,
    }
}

/// A script that was given without its interpreter, a program beside us, or a name mistyped.
fn program_advice(program: &OsStr, directory: &Path, config: &Config) -> Option<String> {
    let here = directory.join(program);
    let bare = !program.as_encoded_bytes().contains(&b'/');
    if here.is_file() {
        let beside =
            || bare.then(|| format!("there is one in the current directory: ./{}", program.display()));
        return script_advice(&here, config).or_else(beside);
    }
    if !bare {
        return None;
    }
    let directories = env::split_paths(&env::var_os("PATH")?).collect::<Vec<_>>();
    let entries = directories.iter().filter_map(|directory| fs::read_dir(directory).ok()).flatten().flatten();
    let names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let found = nearest(program.to_str()?, names.iter().map(String::as_str))?;
    Some(format!("did you mean {found}?"))
}

fn script_advice(script: &Path, config: &Config) -> Option<String> {
    let interpreter = match script.extension()?.to_str()? {
        "js" | "mjs" | "cjs" => "node",
        _ => return None,
    };
    Some(format!("a script is run by its interpreter: -- {interpreter} {}", words(config.command())))
}
