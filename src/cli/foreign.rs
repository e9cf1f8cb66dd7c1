//! Words of other tools' command lines -> what they are here: PM2's, nginx's, gunicorn's, kill(1)'s.

use std::ffi::OsString;

use super::{control::SIGNALS, forgotten::with_run};
use crate::config;

/// What to do here for a command of PM2's or nginx's: it is none of ours, or has an argument that ours has not.
pub(super) fn verb(words: &[OsString], invalid: Option<&str>) -> Option<String> {
    if invalid.is_some_and(|text| text.starts_with('-') && text != "-s") && !is_tail(words) {
        return None;
    }
    let word = |place: usize| words.get(place).and_then(|word| word.to_str());
    // As in `nginx -s reload`.
    let verb = if word(0) == Some("-s") { word(1) } else { word(0) }?;
    if let Some(name) = invalid.and_then(|word| name(verb, word)) {
        return Some(format!("to ask the master of that name, use '--name {name}'"));
    }
    Some(match verb {
        "start" => {
            let program = words.get(1..).filter(|rest| !rest.is_empty()).and_then(with_run);
            let command = program.unwrap_or_else(|| "pointsman run -- node app.js".to_owned());
            format!("to start workers and serve, use '{command}'")
        }
        "stop" | "quit" | "delete" | "del" => {
            "to stop the master and its workers, use 'pointsman stop'; one worker leaves by 'pointsman disconnect ID'".into()
        }
        "reload" | "graceful" | "graceful-reload" => REPLACE_ALL.into(),
        "scale" => "to have four workers, use 'pointsman scale 4'".into(),
        "reopen" | "reloadLogs" => "to open files of output anew, kill -USR1 the pid that 'pointsman status' shows".into(),
        "log" => "to see what workers write, use 'pointsman logs'".into(),
        "tail" => "to follow what workers write, use 'pointsman logs -f'".into(),
        "version" => "to see the version, use 'pointsman --version'".into(),
        "describe" | "show" | "info" | "monit" | "ps" => "to see how it is, use 'pointsman status'".into(),
        _ => return None,
    })
}

const REPLACE_ALL: &str = "to replace all workers, use 'pointsman reload'";

fn is_tail(words: &[OsString]) -> bool {
    words.first().is_some_and(|word| word == "tail")
}

/// The name of a master, given as a word to a verb that takes none.
fn name<'a>(verb: &str, word: &'a str) -> Option<&'a str> {
    let takes_none = ["status", "list", "ls", "events", "abort"].contains(&verb);
    let is_name = word != "all"
        && !word.bytes().all(|byte| byte.is_ascii_digit())
        && config::control_name(word).is_ok();
    (takes_none && is_name).then_some(word)
}

/// What a flag of others is called here.
pub(super) fn flag(verb: &str, flag: &str) -> Option<String> {
    match (verb, flag) {
        ("status" | "list" | "ls", "--watch" | "-w") => {
            let verb = if verb == "ls" { "list" } else { verb };
            return Some(format!("to see it again and again, use 'watch pointsman {verb}'"));
        }
        ("restart", "--all" | "-a") => return Some(REPLACE_ALL.into()),
        _ => {}
    }
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

/// The same words, but that the signal of `kill -9 3` or `kill -HUP slot:1` is a flag's value.
pub(super) fn with_signal(words: &[OsString]) -> Vec<OsString> {
    let mut words = words.to_vec();
    if words.get(1).is_some_and(|verb| verb == "kill") {
        let flags = words.iter_mut().skip(2).take_while(|word| *word != "--");
        for word in flags {
            if let Some(signal) = word.to_str().and_then(dashed) {
                *word = format!("--signal={signal}").into();
            }
        }
    }
    words
}

/// `9` of `-9`, `HUP` of `-HUP` or `-SIGHUP`.
fn dashed(word: &str) -> Option<&str> {
    let signal = word.strip_prefix('-')?;
    let name = signal.to_ascii_uppercase();
    let is_number = !signal.is_empty() && signal.bytes().all(|byte| byte.is_ascii_digit());
    (is_number || SIGNALS.contains(&name.trim_start_matches("SIG"))).then_some(signal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_with_a_dash_are_understood_in_either_order() {
        for (words, expected) in [
            ("kill -9 slot:1", "kill --signal=9 slot:1"),
            ("kill slot:1 -KILL --wait", "kill slot:1 --signal=KILL --wait"),
            ("kill -sighup 3", "kill --signal=sighup 3"),
            ("kill -s KILL 3", "kill -s KILL 3"),
            ("kill -h", "kill -h"),
            ("kill -x - --json -- -9", "kill -x - --json -- -9"),
            ("scale -9", "scale -9"),
        ] {
            let all = |words: &str| -> Vec<OsString> {
                ["pointsman"].into_iter().chain(words.split_whitespace()).map(OsString::from).collect()
            };
            assert_eq!(with_signal(&all(words)), all(expected));
        }
        for words in ["kill -9 3", "kill 3 -HUP", "kill -s KILL 3", "kill 3 -s 9", "kill 3 KILL"] {
            let all = ["pointsman"].into_iter().chain(words.split_whitespace()).map(OsString::from);
            let parsed = super::super::forgotten::parse(&all.collect::<Vec<_>>());
            assert!(parsed.is_ok(), "{words}: {parsed:?}");
        }
    }
}
