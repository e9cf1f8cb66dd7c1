//! A file of variables for the workers -> the variables, each with its place.
//!
//! What systemd's `EnvironmentFile=`, Docker's `--env-file` and dotenv have in common, and where they differ the reading
//! that surprises least: `NAME=VALUE` lines, blank lines and comments, `export` before a name, quotes around a value.
//! Nothing is expanded: `$HOME` stays as it is.

use std::{ffi::OsString, ops::Range, path::PathBuf, rc::Rc};

use super::{
    file::read_file,
    layer::{Given, Origin, Source, refuse_name},
    problem::{Problem, Problems},
    value::BadValue,
};

/// More mistakes than this are another kind of file.
const MAX_PROBLEMS: usize = 10;

/// Reads the file that `env_file` names, as it is now.
pub(crate) fn read(file: &Given<PathBuf>, problems: &mut Problems) -> Vec<(OsString, Given<OsString>)> {
    let path = &file.value;
    match read_file(path) {
        Ok(text) => parse(Source { path: path.clone(), text }, problems),
        Err(error) => {
            let what = format!("env_file {} cannot be read: {error}", path.display());
            let bad = BadValue::new(what, "name a readable file, or leave env_file out");
            problems.push(Problem::new(file.origin.clone(), path.display(), bad));
            Vec::new()
        }
    }
}

/// Reads the text of such a file.
pub(super) fn parse(source: Source, problems: &mut Problems) -> Vec<(OsString, Given<OsString>)> {
    let source = Rc::new(source);
    let reader = Reader { text: &source.text };
    let mut found = Vec::new();
    let mut bad = 0;
    // An editor's mark at the beginning is none of ours.
    let mut next = source.text.strip_prefix('\u{feff}').map_or(0, |_| '\u{feff}'.len_utf8());
    while next < source.text.len() && bad < MAX_PROBLEMS {
        match reader.line(next) {
            Ok(Line { entry, end }) => {
                found.extend(entry.map(|Entry { name, value, place }| {
                    (name.into(), Given::new(value.into(), Origin::File(Rc::clone(&source), place)))
                }));
                next = end;
            }
            Err(Bad { place, why, end }) => {
                problems.push(Problem::at(Origin::File(Rc::clone(&source), place), why));
                bad += 1;
                next = end;
            }
        }
    }
    found
}

struct Reader<'a> {
    text: &'a str,
}

/// A line, or as many as a value in quotes takes.
struct Line {
    entry: Option<Entry>,
    /// Where the next begins.
    end: usize,
}

struct Entry {
    name: String,
    value: String,
    place: Range<usize>,
}

/// A mistake, and where to go on.
struct Bad {
    place: Range<usize>,
    why: BadValue,
    end: usize,
}

impl Reader<'_> {
    fn line(&self, start: usize) -> Result<Line, Bad> {
        let end = self.line_end(start);
        let bad = |place, why| Bad { place, why, end: end + 1 };
        let mut here = self.trim(start..end);
        if self.text[here.clone()].is_empty() || self.text[here.clone()].starts_with(['#', ';']) {
            return Ok(Line { entry: None, end: end + 1 });
        }
        if let Some(rest) = self.text[here.clone()].strip_prefix("export")
            && rest.starts_with([' ', '\t'])
        {
            here = self.trim(here.end - rest.len()..here.end);
        }
        let Some(equals) = self.text[here.clone()].find('=').map(|at| here.start + at) else {
            return Err(bad(here, BadValue::new("no = in this line", "write NAME=VALUE")));
        };
        let name = self.trim(here.start..equals);
        if let Some(why) = refuse_name(self.text[name.clone()].as_ref()) {
            let place = if name.is_empty() { equals..equals + 1 } else { name };
            return Err(bad(place, why));
        }
        let name = self.text[name].to_owned();
        let place = self.trim(equals + 1..end);
        let (value, end) = match self.text[place.clone()].chars().next() {
            Some(quote @ ('"' | '\'')) => self.quoted(place.start, quote)?,
            _ => (self.bare(equals + 1..end), end),
        };
        if value.contains('\0') {
            return Err(bad(place, BadValue::new("a zero byte cannot be passed on", "leave it out")));
        }
        Ok(Line { entry: Some(Entry { name, value, place }), end: end + 1 })
    }

    /// A value without quotes ends with the line, or where a comment begins: at a # after a blank.
    fn bare(&self, place: Range<usize>) -> String {
        let text = &self.text[place];
        let comment = text.match_indices('#').map(|(at, _)| at).find(|&at| text[..at].ends_with([' ', '\t']));
        text[..comment.unwrap_or(text.len())].trim_matches(BLANK).to_owned()
    }

    /// A value in quotes, and the end of the line that it ends in.
    fn quoted(&self, start: usize, quote: char) -> Result<(String, usize), Bad> {
        let mut value = String::new();
        let mut letters = self.text[start + 1..].char_indices();
        while let Some((at, letter)) = letters.next() {
            match letter {
                _ if letter == quote => {
                    return self.after_quotes(start, start + 1 + at + 1).map(|end| (value, end));
                }
                '\\' if quote == '"' => escaped(letters.next().map(|(_, letter)| letter), &mut value),
                '\r' if letters.as_str().starts_with('\n') => {}
                other => value.push(other),
            }
        }
        // Whatever follows was meant to be in the quotes, or not: nobody knows.
        let why =
            BadValue::new("this quote is never closed", "close it, or put the value into the other quotes");
        Err(Bad { place: start..start + 1, why, end: self.text.len() })
    }

    /// After a value in quotes there is nothing but a comment.
    fn after_quotes(&self, start: usize, closed: usize) -> Result<usize, Bad> {
        let end = self.line_end(closed);
        let rest = self.trim(closed..end);
        if rest.is_empty() || self.text[rest.clone()].starts_with('#') {
            return Ok(end);
        }
        let what = match self.text[..start].matches('\n').count() + 1 {
            first if self.text[start..closed].contains('\n') => {
                format!("something comes after a value in quotes that began in line {first}")
            }
            _ => "something comes after a value in quotes".to_owned(),
        };
        let why =
            BadValue::new(what, "put all of the value into one pair of quotes, with \\\" for a quote within");
        Err(Bad { place: rest, why, end: end + 1 })
    }

    fn line_end(&self, start: usize) -> usize {
        self.text[start..].find('\n').map_or(self.text.len(), |length| start + length)
    }

    /// The range without blanks around.
    fn trim(&self, range: Range<usize>) -> Range<usize> {
        let text = &self.text[range.clone()];
        let start = range.start + (text.len() - text.trim_start_matches(BLANK).len());
        start..start + text.trim_matches(BLANK).len()
    }
}

const BLANK: [char; 3] = [' ', '\t', '\r'];

/// What a backslash and this letter are within double quotes.
fn escaped(letter: Option<char>, value: &mut String) {
    match letter {
        Some('n') => value.push('\n'),
        Some('r') => value.push('\r'),
        Some('t') => value.push('\t'),
        Some(letter @ ('"' | '\\' | '$' | '`')) => value.push(letter),
        // The line goes on in the next.
        Some('\n') => {}
        other => {
            value.push('\\');
            value.extend(other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse_text(text: &str) -> (Vec<(String, String)>, String) {
        let mut problems = Problems::default();
        let found = parse(Source { path: ".env".into(), text: text.to_owned() }, &mut problems);
        let text = |value: OsString| value.into_string().unwrap();
        let found = found.into_iter().map(|(name, given)| (text(name), text(given.value))).collect();
        (found, problems.render(false))
    }

    #[track_caller]
    fn check(text: &str, expected: &[(&str, &str)]) {
        let (found, problems) = parse_text(text);
        assert!(problems.is_empty(), "{text:?}: {problems}");
        let found: Vec<_> = found.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn a_pipe_in_its_place_is_refused_and_not_waited_for() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("app.env");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let mut problems = Problems::default();
        let found = read(&Given::default(path), &mut problems);
        assert!(found.is_empty());
        assert!(problems.render(false).contains("it is a pipe"), "{}", problems.render(false));
    }

    #[test]
    fn lines_are_variables() {
        check("", &[]);
        check("\u{feff}A=1", &[("A", "1")]);
        check("A=1\nB=2\n", &[("A", "1"), ("B", "2")]);
        check("A=1\r\n\r\nB=2\r\n", &[("A", "1"), ("B", "2")]);
        check("  A = 1 \n\tB=\t2 3\t", &[("A", "1"), ("B", "2 3")]);
        check("# no\n ; nor this\n\n#A=0\nA=1", &[("A", "1")]);
        check(
            "export A=1\nexport\tB=2\nexport=3\nexported=4",
            &[("A", "1"), ("B", "2"), ("export", "3"), ("exported", "4")],
        );
        check("A=\nB=''\nC=\"\"", &[("A", ""), ("B", ""), ("C", "")]);
        check("A=1\nA=2", &[("A", "1"), ("A", "2")]);
        check("npm_config.x-y=1", &[("npm_config.x-y", "1")]);
        check("A=b=c==", &[("A", "b=c==")]);
    }

    #[test]
    fn a_comment_begins_after_a_blank() {
        check("A=1 # one", &[("A", "1")]);
        check("A=1\t#one", &[("A", "1")]);
        check("A=#fff", &[("A", "#fff")]);
        check("A= # nothing", &[("A", "")]);
        check("A=http://h/#part#2 # c # d", &[("A", "http://h/#part#2")]);
        check("A='1' # one\nB=\"2\"# two", &[("A", "1"), ("B", "2")]);
        check("A=\"a # b\"\nB='a # b'", &[("A", "a # b"), ("B", "a # b")]);
    }

    #[test]
    fn quotes_keep_what_is_in_them() {
        check("A='  x  '\nB=\"  x  \"", &[("A", "  x  "), ("B", "  x  ")]);
        check(r#"A='a "b" \n $x'"#, &[("A", r#"a "b" \n $x"#)]);
        check(r#"A="a 'b' \"c\" \\ \$x \` \n\t\r\x""#, &[("A", "a 'b' \"c\" \\ $x ` \n\t\r\\x")]);
        check("A='one\ntwo\r\nthree'\nB=2", &[("A", "one\ntwo\nthree"), ("B", "2")]);
        check("A=\"one \\\ntwo\"", &[("A", "one two")]);
        check("A=it's\nB=5\" wide\nC=a\\nb $x", &[("A", "it's"), ("B", "5\" wide"), ("C", "a\\nb $x")]);
    }

    #[test]
    fn mistakes_are_shown_where_they_are_and_the_rest_is_read() {
        for (text, expected, rest) in [
            ("A=1\nnonsense\nB=2", &["no = in this line", ".env:2:1", "| ^^^^^^^^", "NAME=VALUE"][..], 2),
            ("  =1", &["a variable without a name", ".env:1:3"], 0),
            ("1A=1\nB=2", &["not the name", ".env:1:1", "^^"], 1),
            ("A B=1", &["not the name", ".env:1:1", "^^^"], 0),
            ("Ä=1", &["not the name"], 0),
            ("export PORT=80\nB=2", &["the public port as PORT", ".env:1:8", "^^^^", "with -l"], 1),
            ("NODE_CHANNEL_FD=3", &["get NODE_CHANNEL_FD from pointsman"], 0),
            ("A=1\nB='x\nC=2\nD=3", &["this quote is never closed", ".env:2:3"], 1),
            ("A=\"x\\\"", &["this quote is never closed"], 0),
            ("A='x' y\nB=2", &["after a value in quotes", ".env:1:7", "one pair of quotes"], 1),
            ("A='x\nB=2\nC='y'", &["that began in line 1", ".env:3:4"], 0),
            ("A=x\0y", &["a zero byte", ".env:1:3"], 0),
        ] {
            let (found, problems) = parse_text(text);
            for part in expected {
                assert!(problems.contains(part), "{text:?}:\n{problems}\nlacks {part}");
            }
            assert_eq!(
                (problems.matches("error: ").count(), found.len()),
                (1, rest),
                "{text:?}:\n{problems}"
            );
        }
        let (_, problems) = parse_text(&"no\n".repeat(1000));
        assert_eq!(problems.matches("error: ").count(), MAX_PROBLEMS);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*", near in "((export )?[A-Z=]{0,3}[ =]{0,2}['\"#\\\\ \r\né\0a]{0,8}\n?){0,5}") {
            for text in [text, near] {
                parse_text(&text);
            }
        }

        #[test]
        fn what_is_written_in_quotes_is_read(value in "[^\0\r]*") {
            let escaped: String = value.chars().map(|letter| match letter {
                '"' | '\\' | '$' | '`' => format!("\\{letter}"),
                other => other.to_string(),
            }).collect();
            let (found, problems) = parse_text(&format!("A=\"{escaped}\"\nB=1"));
            prop_assert_eq!(problems, "");
            prop_assert_eq!(found, [("A".into(), value), ("B".into(), "1".into())]);
        }
    }
}
