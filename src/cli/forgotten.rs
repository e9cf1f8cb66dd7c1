//! The command line -> its words understood, or an error that knows of the verb that was forgotten.

use std::{ffi::OsString, path::Path};

use clap::{
    FromArgMatches,
    error::{ContextKind, ContextValue, ErrorKind},
};

use super::{
    args::{Cli, Command},
    failure::interpreter,
    pages,
};
use crate::config;

/// Reads the words, the first of which is how pointsman itself was called.
pub(super) fn parse(words: &[OsString]) -> Result<Cli, clap::Error> {
    read(words).map_err(|mut error| {
        let refused = matches!(error.kind(), ErrorKind::InvalidSubcommand | ErrorKind::UnknownArgument);
        let foreign = words.get(1..).filter(|_| refused).and_then(|words| foreign(words, &error));
        if let Some(tip) = foreign {
            error.remove(ContextKind::SuggestedSubcommand);
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
            return error;
        }
        if let Some(tip) = foreign_flag(&error) {
            error.remove(ContextKind::SuggestedArg);
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
            return error;
        }
        // A verb that was mistyped is no program.
        if refused
            && error.get(ContextKind::SuggestedSubcommand).is_none()
            && let Some(command) = words.get(1..).and_then(with_run)
        {
            let tip = format!("to start workers and serve, use '{command}'");
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
        }
        error
    })
}

/// What to do here for a command of PM2's or nginx's: it is none of ours, or has an argument that ours has not.
fn foreign(words: &[OsString], error: &clap::Error) -> Option<String> {
    let is_flag = |text: &String| text.starts_with('-') && text != "-s";
    if matches!(error.get(ContextKind::InvalidArg), Some(ContextValue::String(text)) if is_flag(text)) {
        return None;
    }
    let word = |place: usize| words.get(place).and_then(|word| word.to_str());
    // As in `nginx -s reload`.
    let verb = if word(0) == Some("-s") { word(1) } else { word(0) }?;
    Some(match verb {
        "start" => {
            let program = words.get(1..).filter(|rest| !rest.is_empty()).and_then(with_run);
            let command = program.unwrap_or_else(|| "pointsman run -- node app.js".to_owned());
            format!("to start workers and serve, use '{command}'")
        }
        "stop" | "quit" | "delete" => {
            "to stop the master and its workers, use 'pointsman stop'; one worker leaves by 'pointsman disconnect ID'".into()
        }
        "reload" | "graceful" => "to replace all workers, use 'pointsman reload'".into(),
        "scale" => "to have four workers, use 'pointsman scale 4'".into(),
        "reopen" | "reloadLogs" => "to open files of output anew, kill -USR1 the pid that 'pointsman status' shows".into(),
        "log" => "to see what workers write, use 'pointsman logs'".into(),
        "describe" | "show" | "info" | "monit" | "ps" => "to see how it is, use 'pointsman status'".into(),
        _ => return None,
    })
}

/// What a flag of others is called here.
fn foreign_flag(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else { return None };
    let word = flag.split('=').next()?;
    // PM2's and gunicorn's letters are those of the words.
    let word = if word == "-i" { "instances" } else { word.strip_prefix("--")? };
    let ours = config::synonym(&word.replace('-', "_"))?;
    match ours {
        "workers" => Some("the number of workers is -w N, or --workers N".to_owned()),
        "program" => Some("the program comes last: -- node app.js".to_owned()),
        "stop_timeout or handoff_timeout" => {
            Some("there are --stop-timeout and --handoff-timeout".to_owned())
        }
        _ => Some(format!("use --{}", ours.replace('_', "-"))),
    }
}

/// The words with `run` before them, if that makes a command.
fn with_run(words: &[OsString]) -> Option<String> {
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
    let is_verb = program.first().and_then(|word| word.to_str()).is_some_and(is_verb);
    if is_verb { None } else { Some(format!("pointsman run {}", config::words(&words))) }
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
    let matches = command.try_get_matches_from_mut(words)?;
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
        ] {
            let all = ["pointsman"].into_iter().chain(words.split_whitespace());
            let error = parse(&all.map(OsString::from).collect::<Vec<_>>()).unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains("pointsman run"), "{words}: {error}");
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
