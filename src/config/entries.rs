//! Entries of a TOML file -> values of plain keys.
//!
//! A key's form says which of TOML's types it may have; its text is then read as it is everywhere.

use toml::de::{DeTable, DeValue};

use super::{
    file::{Parsed, Reader, mismatch},
    key::{Ask, Form, Key},
    layer::Given,
    value::BadValue,
};

/// The entries of a file, asked for plain keys.
pub(super) struct Entries<'a, 'b> {
    pub(super) table: &'a DeTable<'a>,
    pub(super) reader: Reader<'b>,
}

impl Ask for Entries<'_, '_> {
    fn ask<T>(&mut self, key: &'static Key, read: impl Fn(&str) -> Result<T, BadValue>) -> Option<Given<T>> {
        let (_, value) = self.table.iter().find(|(name, _)| name.get_ref() == key.name)?;
        self.reader.one(value, |value| {
            let found = read(&plain_text(key, value)?);
            match (key.form, value) {
                (Form::Time | Form::Size, DeValue::Integer(_)) => {
                    found.map_err(|bad| BadValue { instead: bad.instead + ", in quotes", ..bad })
                }
                _ => found,
            }
        })
    }
}

/// The value of a plain key as it would be written elsewhere, if it is of a type that its form allows.
fn plain_text(key: &Key, value: &DeValue<'_>) -> Parsed<String> {
    match (key.form, value) {
        (Form::Word(..) | Form::Time | Form::Size | Form::NumberOr(..), DeValue::String(text)) => {
            Ok(text.to_string())
        }
        (Form::Time | Form::Size | Form::Number | Form::NumberOr(..), DeValue::Integer(number))
            if number.radix() == 10 =>
        {
            Ok(number.as_str().to_owned())
        }
        (Form::On | Form::Off, DeValue::Boolean(on)) => Ok(on.to_string()),
        (Form::Word(..), other) => Err(mismatch("a string", other, "write it in quotes")),
        (Form::Time, other) => {
            Err(mismatch("a duration", other, "write a string such as \"500ms\", \"30s\", \"2m\" or \"1h\""))
        }
        (Form::Size, other) => {
            Err(mismatch("a size", other, "write a string such as \"64KiB\", \"200MiB\" or \"2GiB\""))
        }
        (Form::NumberOr(_, word), other) => {
            let wanted = format!("a number or {word:?}");
            Err(mismatch(&wanted, other, &format!("write {0} = 5, or {0} = {word:?}", key.name)))
        }
        (Form::Number, other) => {
            Err(mismatch("a number", other, &format!("write {} = {}", key.name, (key.default)())))
        }
        (Form::On | Form::Off, other) => Err(mismatch("true or false", other, "write it without quotes")),
    }
}
