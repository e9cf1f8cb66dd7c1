//! Text that others wrote -> text that is safe to show, and short enough.
//!
//! Whatever comes from a master may have come from a worker or its program. Nothing of it may steer a terminal, or look like
//! something else than it is.

use std::{borrow::Cow, fmt::Write};

use serde_json::Value;

/// What is shown of a message of several lines: line feeds stay, and everything else that is no character is escaped.
pub(super) fn shown(text: &str) -> Cow<'_, str> {
    escaped(text, |letter| letter == '\n')
}

/// What is shown of a text that is a part of a line.
pub(super) fn one_line(text: &str) -> Cow<'_, str> {
    escaped(text, |_| false)
}

/// A value as JSON in one line; what is odd within its strings is written in JSON's own way.
pub(super) fn json_line(value: &Value) -> String {
    let text = value.to_string();
    if !text.contains(is_odd) {
        return text;
    }
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match is_odd(letter) {
            // What is written into a string is written; nothing odd is beyond the first plane.
            true => drop(write!(safe, "\\u{:04x}", u32::from(letter))),
            false => safe.push(letter),
        }
    }
    safe
}

/// What is shown of a line that a worker wrote: its tabs stay, and so do its colours, if there are to be any; they end with it.
pub(super) fn output_line(text: &str, colour: bool) -> Cow<'_, str> {
    if !text.contains(is_odd) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len());
    let mut rest = text;
    let mut coloured = false;
    while let Some(letter) = rest.chars().next() {
        if let Some(length) = colour_length(rest) {
            if colour {
                safe += &rest[..length];
                coloured = true;
            }
            rest = &rest[length..];
            continue;
        }
        push(&mut safe, letter, letter == '\t');
        rest = &rest[letter.len_utf8()..];
    }
    if coloured {
        safe += "\x1b[0m";
    }
    Cow::Owned(safe)
}

/// How long the sequence is that only changes the colour, if the text begins with one.
fn colour_length(text: &str) -> Option<usize> {
    let codes = text.strip_prefix("\x1b[")?;
    let end = codes.find(|letter: char| !letter.is_ascii_digit() && letter != ';' && letter != ':')?;
    codes[end..].starts_with('m').then_some("\x1b[".len() + end + 1)
}

fn escaped(text: &str, keeps: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(|letter| is_odd(letter) && !keeps(letter)) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len());
    text.chars().for_each(|letter| push(&mut safe, letter, keeps(letter)));
    Cow::Owned(safe)
}

fn push(safe: &mut String, letter: char, keep: bool) {
    if is_odd(letter) && !keep {
        safe.extend(letter.escape_default());
    } else {
        safe.push(letter);
    }
}

/// Whether a character does something, or is none to see: controls, and those that turn the direction of writing.
fn is_odd(letter: char) -> bool {
    let invisible = matches!(letter,
        '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    letter.is_control() || invisible
}

/// The beginning of a text, in so many columns.
pub(super) fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// Its beginning and its end, which of a command line are the program and what it is to do.
pub(super) fn cut_middle(text: &str, most: usize) -> String {
    let length = text.chars().count();
    if length <= most {
        return text.to_owned();
    }
    let kept = most.saturating_sub(1);
    let front = kept / 2;
    let back = text.chars().skip(length - (kept - front));
    text.chars().take(front).chain(['…']).chain(back).collect()
}

/// Its end, which of a path is what tells it from others.
pub(super) fn cut_front(text: &str, most: usize) -> String {
    let length = text.chars().count();
    if length <= most {
        return text.to_owned();
    }
    ['…'].into_iter().chain(text.chars().skip(length - most.saturating_sub(1))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_a_terminal() {
        for (text, expected) in [
            ("node app.js --name=ä", "node app.js --name=ä"),
            ("a\nb\tc", "a\\nb\\tc"),
            ("\x1b]0;title\x07", "\\u{1b}]0;title\\u{7}"),
            ("\x1b[31mred", "\\u{1b}[31mred"),
            ("abc\u{202e}cba", "abc\\u{202e}cba"),
            ("\u{9b}2J", "\\u{9b}2J"),
        ] {
            assert_eq!(one_line(text), expected);
        }
        assert_eq!(shown("a\nb\r"), "a\nb\\r");
        let value = Value::from("a\u{9b}\u{202e}\u{7f}\u{1b}ä");
        assert_eq!(json_line(&value), "\"a\\u009b\\u202e\\u007f\\u001bä\"");
        assert_eq!(serde_json::from_str::<Value>(&json_line(&value)).unwrap(), value);
    }

    #[test]
    fn lines_of_workers_keep_their_colours_and_no_more() {
        for (text, colour, expected) in [
            ("plain", true, "plain"),
            ("a\tb", true, "a\tb"),
            ("\x1b[1;31mred", true, "\x1b[1;31mred\x1b[0m"),
            ("\x1b[1;31mred\x1b[0m", false, "red"),
            ("\x1b[2Jgone\x1b[m", true, "\\u{1b}[2Jgone\x1b[m\x1b[0m"),
            ("\x1b[31", true, "\\u{1b}[31"),
            ("50%\r100%", true, "50%\\r100%"),
        ] {
            assert_eq!(output_line(text, colour), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_too_long_is_cut() {
        for (text, most, front, middle, back) in [
            ("abcdef", 6, "abcdef", "abcdef", "abcdef"),
            ("abcdefg", 6, "…cdefg", "ab…efg", "abcde…"),
            ("äöüäöü", 3, "…öü", "ä…ü", "äö…"),
            ("abc", 0, "…", "…", "…"),
        ] {
            assert_eq!(cut_middle(text, most), middle);
            assert_eq!(cut_front(text, most), front);
            assert_eq!(cut(text, most), back);
        }
    }
}
