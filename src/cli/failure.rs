//! Errors of the crate -> exit codes, and what to do about them.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs, io,
    path::Path,
};

use pointsman::Error;

use crate::config::{Config, Origin, nearest, words};

/// The command failed, for a reason that has no code of its own.
pub(super) const FAILED: u8 = 1;
/// The command line cannot be understood.
pub(super) const USAGE: u8 = 2;
/// No master answers; this and the following are those of BSD's sysexits.h.
pub(super) const UNREACHABLE: u8 = 69;
/// A bug of ours.
pub(super) const BUG: u8 = 70;
/// The system refused.
const SYSTEM: u8 = 71;
/// Not now: it may be tried again.
pub(super) const TRY_AGAIN: u8 = 75;
/// Not permitted.
pub(super) const NOT_PERMITTED: u8 = 77;
/// The configuration is wrong.
pub(super) const CONFIGURATION: u8 = 78;

/// The exit code that an error stands for.
pub(super) fn exit_code(error: &Error) -> u8 {
    match error {
        Error::ProgramNotFound { .. }
        | Error::NotExecutable { .. }
        | Error::NoDirectory { .. }
        | Error::NoSuchCpus { .. }
        | Error::LimitTooHigh { .. }
        | Error::NotASocket { .. }
        | Error::NoSocketDirectory { .. }
        | Error::AddressNotAvailable { .. } => CONFIGURATION,
        Error::AddressNotAllowed { .. } | Error::NotPermitted { .. } => NOT_PERMITTED,
        Error::AllErrored => FAILED,
        Error::Admin { source, .. } => match source.kind() {
            io::ErrorKind::PermissionDenied => NOT_PERMITTED,
            io::ErrorKind::AlreadyExists
            | io::ErrorKind::NotFound
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::AddrNotAvailable => CONFIGURATION,
            _ => SYSTEM,
        },
        Error::Control { source, .. } => match source.kind() {
            io::ErrorKind::PermissionDenied => NOT_PERMITTED,
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => CONFIGURATION,
            _ => SYSTEM,
        },
        Error::OutputFile { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => NOT_PERMITTED,
        _ => SYSTEM,
    }
}

/// What the command knows beyond what the error says by itself: where the value came from, what was meant.
pub(super) fn advice(error: &Error, config: &Config) -> Option<String> {
    match error {
        Error::ProgramNotFound { program } => program_advice(program, config.process.directory(), config),
        Error::NotExecutable { program } => script_advice(program, config),
        Error::AddressInUse { .. }
        | Error::AddressNotAllowed { .. }
        | Error::AddressNotAvailable { .. }
        | Error::NotASocket { .. }
        | Error::NoSocketDirectory { .. }
        | Error::Listen { .. } => match &config.listen.origin {
            Origin::Flag(_) => None,
            Origin::Default => Some("nothing was said of where to listen, so this is the default".into()),
            origin => Some(format!("the address comes from {origin}; -l wins over it")),
        },
        Error::Admin { .. } => match &config.plain.admin.origin {
            Origin::Flag(_) => None,
            origin => Some(format!("the address comes from {origin}; --admin wins over it")),
        },
        Error::Control { .. } | Error::ControlInUse { .. } => named_by(config),
        Error::NoDirectory { .. } => comes_from("cwd", config),
        Error::NoSuchCpus { .. } => comes_from("cpu_affinity", config),
        Error::LimitTooHigh { resource } => comes_from(&format!("limits.{resource}"), config),
        Error::NotPermitted { setting, .. } => comes_from(setting, config),
        _ => None,
    }
}

/// Who says what the control socket is.
fn named_by(config: &Config) -> Option<String> {
    let (key, origin) = match config.plain.control.origin {
        Origin::Default => ("name", &config.plain.name.origin),
        _ => ("control", &config.plain.control.origin),
    };
    match origin {
        Origin::Default | Origin::Flag(_) => None,
        origin => Some(format!("{key} comes from {origin}; --{key} wins over it")),
    }
}

fn comes_from(setting: &str, config: &Config) -> Option<String> {
    let key = setting.split(' ').next()?;
    config.process.origin(key).map(|origin| format!("{key} comes from {origin}"))
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
    if let Some(advice) = blank_advice(program, config) {
        return Some(advice);
    }
    if !bare {
        let looked = |origin| format!("it is looked up in cwd, {} ({origin})", directory.display());
        return config.process.origin("cwd").filter(|_| Path::new(program).is_relative()).map(looked);
    }
    let directories = env::split_paths(&env::var_os("PATH")?).collect::<Vec<_>>();
    let entries = directories.iter().filter_map(|directory| fs::read_dir(directory).ok()).flatten().flatten();
    let names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let found = nearest(program.to_str()?, names.iter().map(String::as_str))?;
    Some(format!("did you mean {found}?"))
}

/// A program and its arguments, given as one word.
fn blank_advice(program: &OsStr, config: &Config) -> Option<String> {
    let text = program.to_str().filter(|text| text.trim().contains(char::is_whitespace))?;
    let given = config.program.as_ref()?;
    let mut all: Vec<OsString> = text.split_whitespace().map(OsString::from).collect();
    all.extend(given.value.iter().skip(1).cloned());
    // What only a shell can take apart is shown by an example.
    if text.contains(['"', '\'', '\\']) {
        all = vec!["node".into(), "app.js".into()];
    }
    Some(match &given.origin {
        origin @ Origin::File(..) => {
            let list: Vec<_> = all.iter().map(|word| format!("{:?}", word.to_string_lossy())).collect();
            format!("there is a blank in that name; write program = [{}] ({origin})", list.join(", "))
        }
        origin => {
            let words = words(&all);
            format!("there is a blank in that name; leave out the quotes: -- {words} ({origin})")
        }
    })
}

fn script_advice(script: &Path, config: &Config) -> Option<String> {
    let interpreter = interpreter(script)?;
    Some(format!("a script is run by its interpreter: -- {interpreter} {}", words(config.command())))
}

/// What runs a script, as its name tells.
pub(super) fn interpreter(script: &Path) -> Option<&'static str> {
    match script.extension()?.to_str()? {
        "js" | "mjs" | "cjs" => Some("node"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, Given, Layer, load};

    fn advice_on(config: &Config) -> Option<String> {
        let program = config.program.as_ref()?.value.first()?.clone();
        advice(&Error::ProgramNotFound { program }, config)
    }

    #[test]
    fn a_cluster_whose_workers_do_not_live_has_failed() {
        assert_eq!(exit_code(&Error::AllErrored), FAILED);
    }

    #[test]
    fn who_has_named_a_control_socket_that_cannot_be_is_told() {
        let error = |kind: io::ErrorKind| Error::Control { path: "/x/a.sock".into(), source: kind.into() };
        for (kind, code) in [
            (io::ErrorKind::PermissionDenied, NOT_PERMITTED),
            (io::ErrorKind::NotFound, CONFIGURATION),
            (io::ErrorKind::Other, SYSTEM),
        ] {
            assert_eq!(exit_code(&error(kind)), code);
        }
        let advice = |variables: &[(&str, &str)]| {
            let environment = variables.iter().map(|&(name, value)| (name.into(), value.into())).collect();
            let config = load(Layer::default(), None, &environment).unwrap();
            super::advice(&Error::ControlInUse { path: "/x/a.sock".into() }, &config)
        };
        assert_eq!(advice(&[]), None);
        let expected = "name comes from POINTSMAN_NAME; --name wins over it";
        assert_eq!(advice(&[("POINTSMAN_NAME", "api")]).unwrap(), expected);
        let expected = "control comes from POINTSMAN_CONTROL; --control wins over it";
        assert_eq!(advice(&[("POINTSMAN_CONTROL", "/x/a.sock")]).unwrap(), expected);
    }

    #[test]
    fn a_program_and_its_arguments_in_one_word_are_taken_apart() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("p.toml");
        for (text, expected) in [
            ("program = \"node app.js\"", Some("write program = [\"node\", \"app.js\"] (")),
            (
                "program = [\"/usr/bin/no-node a.js\", \"-x\"]",
                Some("[\"/usr/bin/no-node\", \"a.js\", \"-x\"]"),
            ),
            ("program = \"sh -c 'x y'\"", Some("write program = [\"node\", \"app.js\"] (")),
            ("program = \"/no/such/program\"", None),
        ] {
            fs::write(&file, text).unwrap();
            let config = load(Layer::default(), Some(&file), &Environment::default()).unwrap();
            let advice = advice_on(&config);
            assert_eq!(advice.is_some(), expected.is_some(), "{text}: {advice:?}");
            if let (Some(expected), Some(advice)) = (expected, advice) {
                assert!(advice.contains(expected) && advice.ends_with("p.toml:1)"), "{text}: {advice}");
            }
        }
        let program = Given::new(vec!["node app.js".into(), "--x".into()], Origin::Flag("command line"));
        let layer = Layer { program: Some(program), ..Layer::default() };
        let config = load(layer, None, &Environment::default()).unwrap();
        let expected =
            "there is a blank in that name; leave out the quotes: -- node app.js --x (command line)";
        assert_eq!(advice_on(&config).unwrap(), expected);
    }
}
