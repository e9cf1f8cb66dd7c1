//! Where the output of workers goes, as people write it.
//!
//! Text comes in, an [`Output`] or a [`BadValue`] goes out; [`Output::sink`] is what it means here and now.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use pointsman::Sink;

use super::{
    attribute,
    layer::{Given, Origin},
    problem::{Problem, Problems, nearest},
    value::BadValue,
};

/// Where standard output goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Output {
    /// Each line with its slot for who looks at a terminal, and untouched otherwise.
    Auto,
    Prefix,
    Inherit,
    File(PathBuf),
}

/// Where standard error goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ErrorOutput {
    /// Where standard output goes.
    AsOutput,
    Own(Output),
}

/// The words that are not paths.
pub(super) const WORDS: [&str; 3] = ["auto", "prefix", "inherit"];

const AS_OUTPUT: &str = "as output";

impl FromStr for Output {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        match text {
            "auto" => Ok(Self::Auto),
            "prefix" => Ok(Self::Prefix),
            "inherit" => Ok(Self::Inherit),
            _ if text.contains('\0') => Err(BadValue::new("a zero byte is in no path", "leave it out")),
            _ if text.ends_with('/') => Err(BadValue::new("not the path of a file", EXAMPLES)),
            // A file of such a name is more likely a word mistyped.
            _ if !text.contains(['/', '.']) => {
                let near = nearest(text, WORDS);
                let instead =
                    near.map_or_else(|| EXAMPLES.to_owned(), |near| format!("did you mean {near}? {WRITE}"));
                Err(BadValue::new("neither a choice nor a path", instead))
            }
            _ => Ok(Self::File(text.into())),
        }
    }
}

const EXAMPLES: &str = "write auto, prefix, inherit, or the path of a file such as ./app.log";
const WRITE: &str = "Write a slash before the name of a file: ./app.log";

impl fmt::Display for Output {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => out.pad("auto"),
            Self::Prefix => out.pad("prefix"),
            Self::Inherit => out.pad("inherit"),
            Self::File(path) => path.display().fmt(out),
        }
    }
}

impl FromStr for ErrorOutput {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        if text == AS_OUTPUT { Ok(Self::AsOutput) } else { text.parse().map(Self::Own) }
    }
}

impl fmt::Display for ErrorOutput {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AsOutput => out.pad(AS_OUTPUT),
            Self::Own(output) => output.fmt(out),
        }
    }
}

impl Output {
    /// Where that is, with standard error a terminal or not.
    pub(super) fn sink(&self, terminal: bool) -> Sink {
        match self {
            Self::Auto if terminal => Sink::Prefix,
            Self::Prefix => Sink::Prefix,
            Self::Auto | Self::Inherit => Sink::Inherit,
            Self::File(path) => Sink::File(path.clone()),
        }
    }

    pub(super) fn is_file(&self) -> bool {
        matches!(self, Self::File(_))
    }
}

/// Makes the path of a file absolute: one in a configuration file is relative to its directory, others to here.
pub(super) fn settle(output: &mut Output, origin: &Origin, problems: &mut Problems) {
    let base = match origin {
        Origin::File(source, _) => source.path.parent().unwrap_or(Path::new("")),
        _ => Path::new(""),
    };
    if let Output::File(path) = output {
        match attribute::path(path, base) {
            Ok(absolute) => *path = absolute,
            Err(bad) => problems.push(Problem::new(origin.clone(), path.display(), bad)),
        }
    }
}

/// The same of standard error.
pub(super) fn settle_error(given: &mut Given<ErrorOutput>, problems: &mut Problems) {
    if let ErrorOutput::Own(output) = &mut given.value {
        settle(output, &given.origin, problems);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_words_or_paths() {
        for (text, expected) in [
            ("auto", Output::Auto),
            ("prefix", Output::Prefix),
            ("inherit", Output::Inherit),
            ("/var/log/app.log", Output::File("/var/log/app.log".into())),
            ("app.log", Output::File("app.log".into())),
            ("./log", Output::File("./log".into())),
            ("logs/{slot}", Output::File("logs/{slot}".into())),
        ] {
            assert_eq!(text.parse(), Ok(expected.clone()), "{text}");
            assert_eq!(text.parse(), Ok(ErrorOutput::Own(expected.clone())), "{text}");
            assert_eq!(expected.to_string(), text);
        }
        assert_eq!("as output".parse(), Ok(ErrorOutput::AsOutput));
        assert_eq!(ErrorOutput::AsOutput.to_string(), "as output");
        for (text, expected) in [
            ("", "neither a choice nor a path; write auto, prefix, inherit, or the path"),
            ("prefx", "neither a choice nor a path; did you mean prefix? Write a slash before"),
            ("off", "neither a choice nor a path"),
            ("/var/log/", "not the path of a file"),
            ("./a\0b", "a zero byte"),
        ] {
            let error = text.parse::<Output>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn auto_is_for_who_looks_at_a_terminal() {
        let sinks = |output: Output| [output.sink(true), output.sink(false)];
        assert_eq!(sinks(Output::Auto), [Sink::Prefix, Sink::Inherit]);
        assert_eq!(sinks(Output::Inherit), [Sink::Inherit, Sink::Inherit]);
        assert_eq!(sinks(Output::Prefix), [Sink::Prefix, Sink::Prefix]);
        assert_eq!(sinks(Output::File("/x".into()))[1], Sink::File("/x".into()));
    }
}
