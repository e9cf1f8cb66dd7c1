//! A line that a worker has written -> a line for people: with its slot before it, as the master itself shows them.

use serde_json::Value;

use super::text::output_line;

/// Who reads what is shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader {
    /// A terminal, which nothing may steer.
    pub(super) terminal: bool,
    /// There are to be colours.
    pub(super) colour: bool,
}

/// Such as `[3] listening`.
pub(super) fn words(log: &Value, reader: Reader) -> String {
    let line = log.get("line").and_then(Value::as_str).unwrap_or_default();
    let line = if reader.terminal { output_line(line, reader.colour) } else { line.into() };
    match log.get("slot").and_then(Value::as_u64) {
        Some(slot) => format!("[{slot}] {line}"),
        None => line.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_have_their_slot_and_files_get_them_as_they_are() {
        let log = json!({ "slot": 3, "stream": "stderr", "line": "a\u{1b}[31mb\u{1b}[2Jc" });
        for (terminal, colour, expected) in [
            (false, false, "[3] a\u{1b}[31mb\u{1b}[2Jc"),
            (true, false, "[3] ab\\u{1b}[2Jc"),
            (true, true, "[3] a\u{1b}[31mb\\u{1b}[2Jc\u{1b}[0m"),
        ] {
            assert_eq!(words(&log, Reader { terminal, colour }), expected);
        }
        assert_eq!(words(&json!({ "line": "x" }), Reader { terminal: true, colour: true }), "x");
    }
}
