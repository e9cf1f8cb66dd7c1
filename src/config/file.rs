//! A TOML file -> a layer.
//!
//! Every value keeps its place in the file, so that a mistake is shown where it stands; all of them are found at once.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read},
    ops::Range,
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
    path::{Path, PathBuf},
    rc::Rc,
    slice,
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use pointsman::{Limit, Resource};

use super::{
    attribute::{self, Affinity},
    entries::Entries,
    forward_keys::{FORWARD, ForwardLayer},
    keys::{PLAIN, PlainLayer},
    layer::{Given, Layer, Origin, Source, keys, refuse_name},
    listen::Listen,
    listen_options,
    problem::{Problem, Problems, nearest, synonym},
    process::ProcessLayer,
    value::{BadValue, Workers, policy},
};

/// Of open(2), on all that there are releases for.
const O_NONBLOCK: i32 = 0o4000;

/// A larger file is not a configuration; `-c /dev/zero` ends too.
const MAX_BYTES: u64 = 1 << 20;

/// Reads the file at `path`, which the flag `-c` named.
pub(crate) fn read(path: &Path, problems: &mut Problems) -> Layer {
    match read_text(path) {
        Ok(text) => parse(Source { path: path.to_owned(), text }, problems),
        Err(error) => {
            let bad = BadValue::new(format!("the file cannot be read: {error}"), "name a readable TOML file");
            problems.push(Problem::new(Origin::Flag("--config"), path.display(), bad));
            Layer::default()
        }
    }
}

/// Reads a file that people write, or what they write into a pipe.
fn read_text(path: &Path) -> io::Result<String> {
    text_of(File::open(path)?)
}

/// Reads a file that may lie where others can write too: one who puts a pipe in its place must not make this process wait.
pub(super) fn read_file(path: &Path) -> io::Result<String> {
    let file = File::options().read(true).custom_flags(O_NONBLOCK).open(path)?;
    if file.metadata()?.file_type().is_fifo() {
        return Err(io::Error::other("it is a pipe"));
    }
    text_of(file)
}

fn text_of(file: File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 1 MiB"));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not UTF-8 text"))
}

/// Reads the text of a file.
pub(super) fn parse(source: Source, problems: &mut Problems) -> Layer {
    let source = Rc::new(source);
    let (table, errors) = DeTable::parse_recoverable(&source.text);
    for error in &errors {
        let place = Origin::File(Rc::clone(&source), error.span().unwrap_or_default());
        let help =
            if error.message().contains("leading zero") { "is it octal? Write it in quotes" } else { "" };
        problems.push(Problem::at(place, BadValue::new(format!("not TOML: {}", error.message()), help)));
    }
    let mut layer = Layer::default();
    if errors.is_empty() {
        let found = problems.0.len();
        let mut reader = Reader { source: &source, problems };
        for (key, value) in table.get_ref() {
            reader.entry(&mut layer, key, value);
        }
        let mut entries = Entries { table: table.get_ref(), reader };
        layer.plain = PlainLayer::read(&mut entries);
        layer.forward.keys = ForwardLayer::read(&mut entries);
        problems.0[found..].sort_by_key(|problem| match &problem.origin {
            Origin::File(_, span) => span.start,
            _ => 0,
        });
    }
    layer
}

/// A value that has the form of what was asked for, or what is wrong with it.
pub(super) type Parsed<T> = Result<T, BadValue>;

pub(super) struct Reader<'a> {
    source: &'a Rc<Source>,
    problems: &'a mut Problems,
}

impl Reader<'_> {
    fn entry(&mut self, layer: &mut Layer, key: &Spanned<impl AsRef<str>>, value: &Spanned<DeValue<'_>>) {
        match key.get_ref().as_ref() {
            "workers" => layer.workers = self.one(value, workers),
            "listen" => layer.listen = self.listens(value),
            "map" => layer.map = self.list(value, |value| string(value)?.parse()),
            "mode" => layer.mode = self.one(value, |value| string(value)?.parse()),
            "policy" => layer.policy = self.one(value, |value| policy(string(value)?)),
            "program" => layer.program = self.list(value, word),
            "args" => layer.args = self.list(value, word),
            "env" => self.env(layer, value),
            "depends" => layer.depends = self.list(value, |value| string(value)?.parse()),
            key if self.process_entry(&mut layer.process, key, value) => {}
            key if self.forward_entry(&mut layer.forward.lists, key, value) => {}
            // Read with the others of their kind.
            key if PLAIN.iter().chain(&FORWARD).any(|plain| plain.name == key) => {}
            unknown => {
                let instead = match synonym(unknown).or_else(|| nearest(unknown, keys())) {
                    Some(key) => format!("did you mean {key}?"),
                    None => format!("the keys are: {}", keys().collect::<Vec<_>>().join(", ")),
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

    /// Whether it is one of the keys of what a worker process is to be.
    fn process_entry(&mut self, layer: &mut ProcessLayer, key: &str, value: &Spanned<DeValue<'_>>) -> bool {
        match key {
            "cwd" => layer.cwd = self.path(value),
            "user" => layer.user = self.one(value, account),
            "group" => layer.group = self.one(value, account),
            "umask" => layer.umask = self.one(value, umask),
            "nice" => layer.nice = self.one(value, nice),
            "cpu_affinity" => layer.cpu_affinity = self.affinity(value),
            "env_file" => layer.env_file = self.path(value),
            "limits" => self.limits(layer, value),
            _ => return false,
        }
        true
    }

    /// A path relative to the directory of this file.
    fn path(&mut self, value: &Spanned<DeValue<'_>>) -> Option<Given<PathBuf>> {
        let source = Rc::clone(self.source);
        let base = source.path.parent().unwrap_or(Path::new(""));
        self.one(value, |value| attribute::path(Path::new(&word(value)?), base))
    }

    /// A text, or a list with a set of cores in each.
    fn affinity(&mut self, value: &Spanned<DeValue<'_>>) -> Option<Given<Affinity>> {
        match value.get_ref() {
            DeValue::Array(items) if items.is_empty() => {
                self.problem(value.span(), attribute::no_cpus());
                None
            }
            DeValue::Array(_) => {
                let sets = self.list(value, |item| attribute::cpus(string(item)?))?;
                Some(Given::new(Affinity::Sets(sets.value), sets.origin))
            }
            _ => self.one(value, |value| string(value)?.parse()),
        }
    }

    fn limits(&mut self, layer: &mut ProcessLayer, value: &Spanned<DeValue<'_>>) {
        let Some(table) = value.get_ref().as_table() else {
            let bad = mismatch("a table", value.get_ref(), "write [limits], and nofile = 65536 below it");
            return self.problem(value.span(), bad);
        };
        for (name, value) in table {
            match attribute::resource(name.get_ref()) {
                Err(bad) => self.problem(name.span(), bad),
                Ok(resource) => {
                    let limit = self.limit(resource, value);
                    layer.limits.extend(limit.map(|limit| (resource, limit)));
                }
            }
        }
    }

    /// One value for both limits, or a table of them.
    fn limit(&mut self, resource: Resource, value: &Spanned<DeValue<'_>>) -> Option<Given<Limit>> {
        let Some(table) = value.get_ref().as_table() else {
            return self.one(value, |value| bound(resource, value).map(Limit::both));
        };
        let mut limit = Limit::default();
        for (name, value) in table {
            let part = match name.get_ref().as_ref() {
                "soft" => &mut limit.soft,
                "hard" => &mut limit.hard,
                other => {
                    let what = format!("unknown key {other:?}");
                    self.problem(name.span(), BadValue::new(what, "a limit has soft and hard"));
                    continue;
                }
            };
            *part = Some(self.one(value, |value| bound(resource, value))?.value);
        }
        self.one(value, |_| attribute::ordered(limit))
    }

    pub(super) fn one<T>(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        read: impl FnOnce(&DeValue<'_>) -> Parsed<T>,
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
    pub(super) fn list<T>(
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

    fn listens(&mut self, value: &Spanned<DeValue<'_>>) -> Option<Given<Vec<Listen>>> {
        let items = value.get_ref().as_array().map_or(slice::from_ref(value), |items| &items[..]);
        let found = items.iter().filter_map(|item| match item.get_ref() {
            DeValue::Table(table) => self.listen_table(item.span(), table),
            _ => self.one(item, |value| string(value)?.parse()).map(|given| given.value),
        });
        let found: Vec<_> = found.collect();
        if found.is_empty() && !items.is_empty() {
            return None;
        }
        Some(Given::new(found, self.place(value.span())))
    }

    /// An address with its options: each is text, as in a flag, or what TOML has for it.
    fn listen_table(&mut self, span: Range<usize>, table: &DeTable<'_>) -> Option<Listen> {
        let Some(address) = table.iter().find(|(name, _)| name.get_ref().as_ref() == "address") else {
            self.problem(span, BadValue::new("no address", "write { address = \":8000\", backlog = 1024 }"));
            return None;
        };
        let mut listen = self.one(address.1, |value| Listen::at(string(value)?))?.value;
        for (name, value) in table.iter().filter(|(name, _)| name.get_ref().as_ref() != "address") {
            let key = name.get_ref().as_ref();
            if !listen_options::NAMES.contains(&key) {
                self.problem(name.span(), listen_options::unknown_name(key));
                continue;
            }
            self.one(value, |value| listen.set(key, Some(&option_text(key, value)?)));
        }
        Some(listen)
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

    pub(super) fn problem(&mut self, span: Range<usize>, bad: BadValue) {
        let place = self.place(span);
        self.problems.push(Problem::at(place, bad));
    }

    pub(super) fn place(&self, span: Range<usize>) -> Origin {
        Origin::File(Rc::clone(self.source), span)
    }
}

fn option_text(key: &str, value: &DeValue<'_>) -> Parsed<String> {
    match (key, value) {
        (_, DeValue::String(text)) => Ok(text.to_string()),
        ("backlog", DeValue::Integer(number)) if number.radix() == 10 => Ok(number.as_str().to_owned()),
        ("ipv6only", DeValue::Boolean(on)) => Ok(on.to_string()),
        ("mode" | "keepalive" | "defer_accept" | "owner" | "group", DeValue::Integer(number)) => {
            let instead = format!("write {key} = \"{}\" with what is meant", number.as_str());
            Err(mismatch("a string", value, &instead))
        }
        _ => Err(mismatch("a string", value, "write it in quotes")),
    }
}

pub(super) fn mismatch(wanted: &str, value: &DeValue<'_>, instead: &str) -> BadValue {
    BadValue::new(format!("{wanted} is expected here, not a value of type {}", value.type_str()), instead)
}

pub(super) fn string<'a>(value: &'a DeValue<'_>) -> Parsed<&'a str> {
    value.as_str().ok_or_else(|| mismatch("a string", value, "write it in quotes"))
}

/// What is handed to the system, to which a zero byte is the end.
fn word(value: &DeValue<'_>) -> Parsed<OsString> {
    match string(value)? {
        text if text.contains('\0') => Err(BadValue::new("a zero byte cannot be passed on", "leave it out")),
        text => Ok(text.into()),
    }
}

fn workers(value: &DeValue<'_>) -> Parsed<Workers> {
    match value {
        DeValue::Integer(number) if number.radix() == 10 => number.as_str().parse(),
        DeValue::String(text) => text.parse(),
        other => Err(mismatch("a number or \"auto\"", other, "write workers = 4, or workers = \"auto\"")),
    }
}

fn account(value: &DeValue<'_>) -> Parsed<String> {
    match value {
        DeValue::Integer(number) if number.radix() == 10 => attribute::account(number.as_str()),
        DeValue::String(text) => attribute::account(text),
        other => Err(mismatch("a name or a number", other, "write user = \"www-data\", or user = 33")),
    }
}

fn umask(value: &DeValue<'_>) -> Parsed<u32> {
    match value {
        DeValue::String(text) => attribute::umask(text),
        DeValue::Integer(number) => {
            let digits = if number.as_str().parse::<u16>().is_ok() { number.as_str() } else { "27" };
            Err(BadValue::new(
                "a bare number would be decimal, and a umask is octal",
                format!("write umask = \"{digits:0>3}\", in quotes"),
            ))
        }
        other => Err(mismatch("a umask", other, "write octal digits in quotes, such as \"027\"")),
    }
}

fn nice(value: &DeValue<'_>) -> Parsed<i32> {
    match value {
        DeValue::Integer(number) if number.radix() == 10 => attribute::nice(number.as_str()),
        other => Err(mismatch("a number", other, "write nice = 10")),
    }
}

fn bound(resource: Resource, value: &DeValue<'_>) -> Parsed<u64> {
    match value {
        DeValue::Integer(number) if number.radix() == 10 => attribute::bound(resource, number.as_str()),
        DeValue::String(text) => attribute::bound(resource, text),
        other => Err(mismatch("a limit", other, "write a number, a string with a unit, or \"unlimited\"")),
    }
}
