//! A TOML file -> a layer.
//!
//! Every value keeps its place in the file, so that a mistake is shown where it stands; all of them are found at once.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read},
    ops::Range,
    path::Path,
    rc::Rc,
    time::Duration,
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    layer::{Given, KEYS, Layer, Origin, Source, refuse_name},
    listen::Listen,
    problem::{Problem, Problems, nearest},
    value::{self, BadValue, Workers},
};

/// A larger file is not a configuration; `-c /dev/zero` ends too.
const MAX_BYTES: u64 = 1 << 20;

/// Reads the file at `path`, which the flag `-c` named.
pub(crate) fn read(path: &Path, problems: &mut Problems) -> Layer {
    let text = File::open(path).and_then(|file| {
        let mut bytes = Vec::new();
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 1 MiB"));
        }
        String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not UTF-8 text"))
    });
    match text {
        Ok(text) => parse(Source { path: path.to_owned(), text }, problems),
        Err(error) => {
            let bad = BadValue::new(format!("the file cannot be read: {error}"), "name a readable TOML file");
            problems.push(Problem::new(Origin::Flag("--config"), path.display(), bad));
            Layer::default()
        }
    }
}

/// Reads the text of a file.
pub(super) fn parse(source: Source, problems: &mut Problems) -> Layer {
    let source = Rc::new(source);
    let (table, errors) = DeTable::parse_recoverable(&source.text);
    for error in &errors {
        let place = Origin::File(Rc::clone(&source), error.span().unwrap_or_default());
        problems.push(Problem::at(place, BadValue::new(format!("not TOML: {}", error.message()), "")));
    }
    let mut layer = Layer::default();
    if errors.is_empty() {
        let found = problems.0.len();
        let mut reader = Reader { source: &source, problems };
        for (key, value) in table.get_ref() {
            reader.entry(&mut layer, key, value);
        }
        problems.0[found..].sort_by_key(|problem| match &problem.origin {
            Origin::File(_, span) => span.start,
            _ => 0,
        });
    }
    layer
}

/// A value that has the form of what was asked for, or what is wrong with it.
type Parsed<T> = Result<T, BadValue>;

struct Reader<'a> {
    source: &'a Rc<Source>,
    problems: &'a mut Problems,
}

impl Reader<'_> {
    fn entry(&mut self, layer: &mut Layer, key: &Spanned<impl AsRef<str>>, value: &Spanned<DeValue<'_>>) {
        match key.get_ref().as_ref() {
            "workers" => layer.workers = self.one(value, workers),
            "listen" => layer.listen = self.list(value, |value| string(value)?.parse::<Listen>()),
            "mode" => layer.mode = self.one(value, |value| string(value)?.parse()),
            "policy" => layer.policy = self.one(value, |value| super::policy(string(value)?)),
            "program" => layer.program = self.list(value, word),
            "args" => layer.args = self.list(value, word),
            "env" => self.env(layer, value),
            "stop_timeout" => layer.stop_timeout = self.one(value, duration),
            "kill_timeout" => layer.kill_timeout = self.one(value, duration),
            "restart_delay" => layer.restart_delay = self.one(value, duration),
            "window" => layer.window = self.one(value, window),
            "handoff_timeout" => layer.handoff_timeout = self.one(value, |value| string(value)?.parse()),
            "overload" => layer.overload = self.one(value, |value| string(value)?.parse()),
            "overload_timeout" => layer.overload_timeout = self.one(value, duration),
            "load_report" => layer.load_report = self.one(value, switch),
            "serialization" => {
                layer.serialization = self.one(value, |value| super::serialization(string(value)?));
            }
            unknown => {
                let instead = match nearest(unknown, KEYS) {
                    Some(key) => format!("did you mean {key}?"),
                    None => format!("the keys are: {}", KEYS.join(", ")),
                };
                self.problem(key.span(), BadValue::new(format!("unknown key {unknown:?}"), instead));
            }
        }
        if let Some(Given { value: words, origin: Origin::File(_, span) }) = &layer.program
            && words.first().is_none_or(|program| program.is_empty())
        {
            let bad = BadValue::new("no program is named", "leave the key out for the built-in demo worker");
            self.problem(span.clone(), bad);
            layer.program = None;
        }
    }

    fn one<T>(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        read: impl Fn(&DeValue<'_>) -> Parsed<T>,
    ) -> Option<Given<T>> {
        match read(value.get_ref()) {
            Ok(found) => Some(Given::new(found, self.place(value.span()))),
            Err(bad) => {
                self.problem(value.span(), bad);
                None
            }
        }
    }

    /// A list, or a single value that stands for a list of one.
    fn list<T>(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        read: impl Fn(&DeValue<'_>) -> Parsed<T>,
    ) -> Option<Given<Vec<T>>> {
        let Some(items) = value.get_ref().as_array() else {
            return self.one(value, |value| read(value).map(|item| vec![item]));
        };
        let mut found = Vec::new();
        for item in items {
            found.extend(self.one(item, &read).map(|given| given.value));
        }
        Some(Given::new(found, self.place(value.span())))
    }

    fn env(&mut self, layer: &mut Layer, value: &Spanned<DeValue<'_>>) {
        let Some(table) = value.get_ref().as_table() else {
            let bad = mismatch("a table", value.get_ref(), "write [env], and NAME = \"value\" below it");
            return self.problem(value.span(), bad);
        };
        for (name, value) in table {
            let variable = OsString::from(name.get_ref().as_ref());
            match refuse_name(&variable) {
                Some(bad) => self.problem(name.span(), bad),
                None => layer.env.extend(self.one(value, word).map(|value| (variable, value))),
            }
        }
    }

    fn problem(&mut self, span: Range<usize>, bad: BadValue) {
        let place = self.place(span);
        self.problems.push(Problem::at(place, bad));
    }

    fn place(&self, span: Range<usize>) -> Origin {
        Origin::File(Rc::clone(self.source), span)
    }
}

fn mismatch(wanted: &str, value: &DeValue<'_>, instead: &str) -> BadValue {
    BadValue::new(format!("{wanted} is expected here, not a value of type {}", value.type_str()), instead)
}

fn string<'a>(value: &'a DeValue<'_>) -> Parsed<&'a str> {
    value.as_str().ok_or_else(|| mismatch("a string", value, "write it in quotes"))
}

/// What is handed to the system, to which a zero byte is the end.
fn word(value: &DeValue<'_>) -> Parsed<OsString> {
    match string(value)? {
        text if text.contains('\0') => Err(BadValue::new("a zero byte cannot be passed on", "leave it out")),
        text => Ok(text.into()),
    }
}

fn window(value: &DeValue<'_>) -> Parsed<usize> {
    match value {
        DeValue::Integer(number) if number.radix() == 10 => value::window(number.as_str()),
        other => Err(mismatch("a number", other, "write window = 8")),
    }
}

fn workers(value: &DeValue<'_>) -> Parsed<Workers> {
    match value {
        DeValue::Integer(number) if number.radix() == 10 => number.as_str().parse(),
        DeValue::String(text) => text.parse(),
        other => Err(mismatch("a number or \"auto\"", other, "write workers = 4, or workers = \"auto\"")),
    }
}

fn switch(value: &DeValue<'_>) -> Parsed<bool> {
    value.as_bool().ok_or_else(|| mismatch("true or false", value, "write it without quotes"))
}

fn duration(value: &DeValue<'_>) -> Parsed<Duration> {
    match value {
        DeValue::Integer(number) => {
            let bad = value::bare_number(number.as_str());
            Err(BadValue { instead: bad.instead + ", in quotes", ..bad })
        }
        DeValue::String(text) => value::duration(text),
        other => {
            Err(mismatch("a duration", other, "write a string such as \"500ms\", \"30s\", \"2m\" or \"1h\""))
        }
    }
}
