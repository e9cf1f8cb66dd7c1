//! The command line -> its words understood, or an error that knows of the verb that was forgotten.

use std::{
    env,
    ffi::{OsStr, OsString},
    path::Path,
};

use clap::{
    FromArgMatches,
    error::{ContextKind, ContextValue, ErrorKind},
};

use super::{
    args::{Cli, Command},
    failure::interpreter,
    foreign, pages,
};
use crate::config;

/// Reads the words, the first of which is how pointsman itself was called.
pub(super) fn parse(words: &[OsString]) -> Result<Cli, clap::Error> {
    read(words).map_err(|mut error| {
        let refused = matches!(error.kind(), ErrorKind::InvalidSubcommand | ErrorKind::UnknownArgument);
        let words = words.get(1..).unwrap_or_default();
        let invalid = match error.get(ContextKind::InvalidArg) {
            Some(ContextValue::String(text)) => Some(text.clone()),
            _ => None,
        };
        let verb = words.first().and_then(|word| word.to_str()).unwrap_or_default();
        let foreign = if refused { foreign::verb(words, invalid.as_deref()) } else { None };
        if let Some(tip) = foreign {
            error.remove(ContextKind::SuggestedSubcommand);
            return advised(error, &tip);
        }
        if let Some(tip) = invalid.as_deref().and_then(|flag| foreign::flag(verb, flag)) {
            error.remove(ContextKind::SuggestedArg);
            return advised(error, &tip);
        }
        // What such a verb takes no flag for, it does not take as a value either.
        if refused && pages::is_control(verb) {
            error.remove(ContextKind::Suggested);
            error.remove(ContextKind::TrailingArg);
        }
        // A verb that was mistyped is no program.
        if refused
            && error.get(ContextKind::SuggestedSubcommand).is_none()
            && let Some(command) = with_run(words)
        {
            return advised(error, &format!("to start workers and serve, use '{command}'"));
        }
        error
    })
}

fn advised(mut error: clap::Error, tip: &str) -> clap::Error {
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.to_owned().into()]));
    error
}

/// The words with `run` before them, if that makes a command.
pub(super) fn with_run(words: &[OsString]) -> Option<String> {
    let first = words.first()?.to_str()?;
    if first == "help" || is_verb(first) {
        return None;
    }
    let mut words = words.to_vec();
    if !first.starts_with('-') {
        words.splice(..0, interpreter(Path::new(first)).map(OsString::from));
        words.insert(0, "--".into());
    }
    let mut program = program(&words)?;
    // The verb may have come after its flags.
    if program.first().is_some_and(|word| word == "run") {
        let place = words.iter().position(|word| word == "run")?;
        words.remove(place);
        program = self::program(&words)?;
    }
    let unlikely = |word: &OsString| word.to_str().is_some_and(is_verb) || !may_be_program(word);
    if program.first().is_some_and(unlikely) {
        None
    } else {
        Some(format!("pointsman run {}", config::words(&words)))
    }
}

/// Whether a word names something that runs, or at least a file.
fn may_be_program(word: &OsStr) -> bool {
    let found = |directory: &Path| directory.join(word).is_file();
    let path = env::var_os("PATH").unwrap_or_default();
    // Whoever has no Node yet means it all the same.
    word == "node"
        || word.as_encoded_bytes().iter().any(|byte| b"/.".contains(byte))
        || Path::new(word).exists()
        || env::split_paths(&path).any(|directory| found(&directory))
}

/// The program that `run` would start, if it takes these words.
fn program(words: &[OsString]) -> Option<Vec<OsString>> {
    let before = ["pointsman", "run"].map(OsString::from);
    match read(&before.iter().chain(words).cloned().collect::<Vec<_>>()).ok()?.command {
        Command::Run(run) => Some(run.program),
        _ => None,
    }
}

fn is_verb(word: &str) -> bool {
    pages::command().get_subcommands().any(|verb| verb.get_name_and_visible_aliases().contains(&word))
}

fn read(words: &[OsString]) -> Result<Cli, clap::Error> {
    let mut command = pages::command();
    let matches = command.try_get_matches_from_mut(foreign::with_signal(words))?;
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_of_others_are_answered() {
        for (words, expected) in [
            ("stop all", "use 'pointsman stop'; one worker leaves by 'pointsman disconnect ID'\n"),
            ("delete all", "use 'pointsman stop'"),
            ("-s quit", "use 'pointsman stop'"),
            ("-s reload", "to replace all workers, use 'pointsman reload'\n"),
            ("reload all", "to replace all workers, use 'pointsman reload'\n"),
            ("monit", "to see how it is, use 'pointsman status'\n"),
            ("log", "use 'pointsman logs'\n"),
            ("tail -f x", "use 'pointsman logs -f'\n"),
            ("version", "use 'pointsman --version'\n"),
            ("del 3", "one worker leaves by 'pointsman disconnect ID'\n"),
            ("graceful-reload", "use 'pointsman reload'\n"),
            ("status default", "to ask the master of that name, use '--name default'\n"),
            ("ls api", "use '--name api'\n"),
            ("stop api", "use 'pointsman stop'"),
            ("status --watch", "use 'watch pointsman status'\n"),
            ("ls --watch", "use 'watch pointsman list'\n"),
            ("restart --all", "to replace all workers, use 'pointsman reload'\n"),
            ("start app.js", "to start workers and serve, use 'pointsman run -- node app.js'\n"),
            ("start -- ./server x", "use 'pointsman run -- ./server x'\n"),
            ("start", "use 'pointsman run -- node app.js'\n"),
        ] {
            let all = ["pointsman"].into_iter().chain(words.split_whitespace());
            let error = parse(&all.map(OsString::from).collect::<Vec<_>>()).unwrap_err().to_string();
            assert!(error.contains(expected) && error.matches("tip:").count() == 1, "{words}: {error}");
            assert!(!error.contains(&format!("run -- {words}")), "{words}: {error}");
        }
        // What is wrong with their words is told as elsewhere.
        for (words, expected) in [
            ("stop --fasst", "'--fast'"),
            ("restart all", "all are replaced by `pointsman reload`"),
            ("scale app", "not a number of workers; write 4, or +1 or -1"),
            ("kill 3 9 4", "unexpected argument '4'"),
            ("ls --jsn", "'--json'"),
            ("stop --all", "unexpected argument '--all'"),
            ("logs --nostream", "unexpected argument '--nostream'"),
            ("logs --err", "unexpected argument '--err'"),
            ("flush", "unrecognized subcommand 'flush'"),
            ("nosuchword", "unrecognized subcommand 'nosuchword'"),
            ("kill 3 9 -KILL", "cannot be used"),
        ] {
            let all = ["pointsman"].into_iter().chain(words.split_whitespace());
            let error = parse(&all.map(OsString::from).collect::<Vec<_>>()).unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains("pointsman run"), "{words}: {error}");
            assert!(!error.contains("-- -"), "{words}: {error}");
        }
        // A program of that name is run as any other.
        assert!(parse(&["pointsman", "run", "--", "stop"].map(OsString::from)).is_ok());
    }

    #[test]
    fn flags_of_others_are_answered() {
        for (words, expected) in [
            ("run -i 4 -- node app.js", "the number of workers is -w N, or --workers N\n"),
            ("run --instances=4 -- node app.js", "the number of workers is -w N"),
            ("run --worker-processes 4", "the number of workers is -w N"),
            ("check --script app.js", "the program comes last: -- node app.js\n"),
            ("run --timeout 3s", "there are --stop-timeout and --handoff-timeout\n"),
            ("run --environment A=1", "use --env\n"),
            ("run --max-memory-restart 1G", "use --max-memory\n"),
            ("run --wait-ready", "use --ready-on, with the word message\n"),
            ("run --graceful-timeout 30", "use --stop-timeout\n"),
        ] {
            let all = ["pointsman"].into_iter().chain(words.split_whitespace());
            let error = parse(&all.map(OsString::from).collect::<Vec<_>>()).unwrap_err().to_string();
            assert!(error.contains(expected) && error.matches("tip:").count() == 1, "{words}: {error}");
        }
    }

    #[test]
    fn a_forgotten_run_is_suggested() {
        for (words, expected) in [
            ("node app.js", Some("pointsman run -- node app.js")),
            ("./server --port 1", Some("pointsman run -- ./server --port 1")),
            ("app.js", Some("pointsman run -- node app.js")),
            ("app.mjs -x", Some("pointsman run -- node app.mjs -x")),
            ("-w 3 -- node app.js", Some("pointsman run -w 3 -- node app.js")),
            ("-w 3", Some("pointsman run -w 3")),
            ("-- node app.js", Some("pointsman run -- node app.js")),
            ("-w 3 run -- node app.js", Some("pointsman run -w 3 -- node app.js")),
            ("--workers 3 check", None),
            ("--nosuchflag", None),
            ("rum -- node app.js", None),
            ("chekc", None),
            ("sh x", Some("pointsman run -- sh x")),
            ("Cargo.toml", Some("pointsman run -- Cargo.toml")),
            ("nosuchprogram x", None),
            ("run --nosuchflag", None),
            ("help nosuchverb", None),
        ] {
            let all = ["pointsman"].into_iter().chain(words.split_whitespace());
            let error = parse(&all.map(OsString::from).collect::<Vec<_>>()).unwrap_err().to_string();
            let tip = expected.map(|command| format!("to start workers and serve, use '{command}'\n"));
            match tip {
                Some(tip) => assert!(error.contains(&tip), "{words}: {error}"),
                None => assert!(!error.contains("to start workers"), "{words}: {error}"),
            }
        }
    }
}
