//! The flags of the plain keys, made of their tables.

use clap::{
    Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches,
    builder::{StyledStr, ValueParser},
};

use super::args::OneOf;
use crate::config::{Ask, BadValue, Form, ForwardLayer, Given, Key, Origin, PlainLayer};

/// What is given of them.
#[derive(Debug)]
pub(super) struct PlainFlags(pub(super) PlainLayer);

impl Args for PlainFlags {
    fn augment_args(command: Command) -> Command {
        let mut flags = Flags { command, heading: None };
        PlainLayer::read(&mut flags);
        flags.command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for PlainFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self(PlainLayer::read(&mut Matches(matches))))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// What is given of those of how requests are forwarded.
#[derive(Debug)]
pub(super) struct ForwardFlags(pub(super) ForwardLayer);

/// Under what the help has them.
pub(super) const FORWARDING: &str = "Forwarding of requests (-m multiport)";

impl Args for ForwardFlags {
    fn augment_args(command: Command) -> Command {
        let mut flags = Flags { command, heading: Some(FORWARDING) };
        ForwardLayer::read(&mut flags);
        flags.command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ForwardFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self(ForwardLayer::read(&mut Matches(matches))))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// A command that gets the flag of each key that it is asked for; those under a heading only where the help is long.
struct Flags {
    command: Command,
    heading: Option<&'static str>,
}

impl Ask for Flags {
    fn ask<T: Clone + Send + Sync + 'static>(
        &mut self,
        key: &'static Key,
        read: impl Fn(&str) -> Result<T, BadValue> + Clone + Send + Sync + 'static,
    ) -> Option<Given<T>> {
        let (help, long_help) = help(key);
        let arg = Arg::new(key.name).long(key.flag.trim_start_matches('-')).help(help);
        let arg = match long_help {
            Some(text) => arg.long_help(text),
            None => arg,
        };
        let arg = match key.form {
            Form::Word(name, words) => {
                let read = ValueParser::new(OneOf(read, words));
                arg.value_name(name).value_parser(read).hide_possible_values(true)
            }
            Form::Time => arg.value_name("TIME").value_parser(ValueParser::new(read)),
            Form::Size => arg.value_name("SIZE").value_parser(ValueParser::new(read)),
            Form::NumberOr(name, _) => arg.value_name(name).value_parser(ValueParser::new(read)),
            Form::Number => arg.value_name("N").value_parser(ValueParser::new(read)),
            Form::On | Form::Off => arg.action(ArgAction::SetTrue),
        };
        let arg = match self.heading {
            Some(heading) => arg.help_heading(heading).hide_short_help(true),
            None => arg,
        };
        self.command = std::mem::take(&mut self.command).arg(arg);
        None
    }
}

/// What the help says of a key: in a line, and at length if there is more to say.
fn help(key: &Key) -> (StyledStr, Option<StyledStr>) {
    let paragraphs: Vec<_> = key.help.split("\n\n").map(one_line).collect();
    let (first, rest) = paragraphs.split_first().map_or(("", &[][..]), |(first, rest)| (first, rest));
    let short = match key.form {
        // It says the opposite of the default.
        Form::On | Form::Off => first.to_owned(),
        _ => format!("{first} [default: {}]", (key.default)()),
    };
    let long = (!rest.is_empty()).then(|| format!("{short}\n\n{}", rest.join("\n\n")).into());
    (short.into(), long)
}

/// The lines of a comment, put together.
fn one_line(paragraph: &str) -> String {
    paragraph.lines().map(str::trim).collect::<Vec<_>>().join(" ").trim().to_owned()
}

/// Flags that were given.
struct Matches<'a>(&'a ArgMatches);

impl Ask for Matches<'_> {
    fn ask<T: Clone + Send + Sync + 'static>(
        &mut self,
        key: &'static Key,
        read: impl Fn(&str) -> Result<T, BadValue>,
    ) -> Option<Given<T>> {
        let value = match key.form {
            Form::On => self.0.get_flag(key.name).then(|| read("false").ok()).flatten(),
            Form::Off => self.0.get_flag(key.name).then(|| read("true").ok()).flatten(),
            _ => self.0.get_one::<T>(key.name).cloned(),
        }?;
        Some(Given::new(value, Origin::Flag(key.flag)))
    }
}
