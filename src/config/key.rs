//! What a plain key is: one value, read from a text wherever it stands, and shown as text again.
//!
//! The table of [`super::keys`] comes in; its names, its layer and what it resolves to go out. A plain key is the same
//! word everywhere: `stop_timeout` in a file, `POINTSMAN_STOP_TIMEOUT`, `--stop-timeout`. Nothing here knows what a key
//! means.

use std::time::Duration;

use super::{
    control,
    layer::Given,
    output, supervision,
    value::{self, BadValue, OrOff},
};

/// A plain key: what it is called, and how it is written.
#[derive(Debug)]
pub(crate) struct Key {
    /// In a file.
    pub(crate) name: &'static str,
    /// In the environment.
    pub(crate) variable: &'static str,
    /// On the command line, with its dashes.
    pub(crate) flag: &'static str,
    pub(crate) form: Form,
    /// What the help says: a line, and perhaps paragraphs.
    pub(crate) help: &'static str,
    /// The default, as it is shown.
    pub(crate) default: fn() -> String,
}

/// How a value is written where there are types: numbers and switches stand without quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A word; the first is what the help calls it, the others are completed.
    Word(&'static str, &'static [&'static str]),
    /// A number and its unit of time.
    Time,
    /// A number and its unit of size.
    Size,
    /// A number alone.
    Number,
    /// A number alone, or a word such as this; what the help calls it comes first.
    NumberOr(&'static str, &'static str),
    /// What is so unless it is switched off; the flag does that, with `--no-`.
    On,
    /// What is not so unless its flag is given.
    Off,
}

/// Somewhere that keys may be given: a file, the environment, the command line.
pub(crate) trait Ask {
    /// The value of a key, if it is given and is one; what else is given is remembered as a mistake.
    fn ask<T: Clone + Send + Sync + 'static>(
        &mut self,
        key: &'static Key,
        read: impl Fn(&str) -> Result<T, BadValue> + Clone + Send + Sync + 'static,
    ) -> Option<Given<T>>;
}

/// A value as text, which is read as the same again.
pub(crate) trait Shown {
    fn shown(&self) -> String;
}

impl Shown for Duration {
    fn shown(&self) -> String {
        value::show(*self)
    }
}

macro_rules! shown_by_display {
    ($($type:ty),+) => {$(
        impl Shown for $type {
            fn shown(&self) -> String {
                self.to_string()
            }
        }
    )+};
}

shown_by_display!(
    bool,
    u16,
    u32,
    u64,
    usize,
    super::admin::Admin,
    value::Overload,
    control::ControlPlace,
    control::ControlGroup,
    output::Output,
    output::ErrorOutput,
    supervision::Size,
    supervision::StopSignal,
    pointsman::ControlName,
    pointsman::ReadyOn,
    pointsman::Scheduling,
    pointsman::Serialization
);

impl<T: Shown> Shown for OrOff<T> {
    fn shown(&self) -> String {
        self.0.as_ref().map_or_else(|| "off".to_owned(), Shown::shown)
    }
}

/// `before` and the name of a key: in capitals for the environment, with dashes for a flag.
pub(super) const fn spell<const LENGTH: usize>(before: &str, name: &str) -> [u8; LENGTH] {
    let (before, name) = (before.as_bytes(), name.as_bytes());
    let is_flag = before[0] == b'-';
    let mut text = [0; LENGTH];
    let mut at = 0;
    while at < LENGTH {
        text[at] = if at < before.len() {
            before[at]
        } else {
            match name[at - before.len()] {
                b'_' if is_flag => b'-',
                letter if is_flag => letter,
                letter => letter.to_ascii_uppercase(),
            }
        };
        at += 1;
    }
    text
}

impl Form {
    /// What the flag begins with.
    pub(super) const fn dashes(self) -> &'static str {
        if matches!(self, Self::On) { "--no-" } else { "--" }
    }
}

/// A text that is made while this is compiled.
macro_rules! spelt {
    ($before:expr, $name:expr) => {{
        const LENGTH: usize = $before.len() + $name.len();
        const TEXT: [u8; LENGTH] = $crate::config::key::spell($before, $name);
        match std::str::from_utf8(&TEXT) {
            Ok(text) => text,
            Err(_) => panic!("the name of a key is ASCII"),
        }
    }};
}

/// Makes of `name: Type = default, form, reader;` all that a plain key takes, in tables of these names. The comment before it
/// is the help of its flag.
macro_rules! plain_keys {
    (
        $table:ident, $layer:ident, $all:ident:
        $($(#[doc = $help:literal])+ $name:ident: $type:ty = $default:expr, $form:expr, $read:expr;)+
    ) => {
        /// What one source says of these keys.
        #[derive(Debug, Clone, Default)]
        pub(crate) struct $layer {
            $($(#[doc = $help])+ pub(crate) $name: Option<Given<$type>>,)+
        }

        /// All of them, with their origins.
        #[derive(Debug, Clone)]
        pub(crate) struct $all {
            $($(#[doc = $help])+ pub(crate) $name: Given<$type>,)+
        }

        /// The keys, in the order in which they are listed.
        pub(crate) static $table: [Key; [$(stringify!($name)),+].len()] = [$(Key {
            name: stringify!($name),
            variable: spelt!("POINTSMAN_", stringify!($name)),
            flag: spelt!($form.dashes(), stringify!($name)),
            form: $form,
            help: concat!($($help, "\n"),+),
            default: || <$type as $crate::config::key::Shown>::shown(&$default),
        }),+];

        impl $layer {
            /// What `source` says.
            pub(crate) fn read(source: &mut impl Ask) -> Self {
                let [$($name),+] = &$table;
                Self { $($name: source.ask($name, $read)),+ }
            }

            /// As [`super::Layer::over`].
            pub(super) fn over(self, below: Self) -> Self {
                Self { $($name: self.$name.or(below.$name)),+ }
            }
        }

        impl $all {
            /// Fills in the defaults.
            pub(super) fn resolve(layer: $layer) -> Self {
                Self { $($name: layer.$name.unwrap_or_else(|| Given::default($default))),+ }
            }

            /// Each key with its value and where that comes from.
            pub(crate) fn rows(&self) -> Vec<(&'static Key, String, &Origin)> {
                let [$($name),+] = &$table;
                vec![$(($name, $crate::config::key::Shown::shown(&self.$name.value), &self.$name.origin)),+]
            }
        }
    };
}

pub(super) use {plain_keys, spelt};
