//! What workers say to the socket that `EINHORN_SOCK_PATH` names: that they are ready.
//!
//! A line of JSON, `{"command":"worker:ack","pid":123}`, or YAML with its line ends written as `%0A`, as Einhorn's own
//! library for Ruby sends it. Source: Einhorn 1.0, README and `lib/einhorn/client.rb`.

use serde::Deserialize;

const ACK: &str = "worker:ack";

/// Longer lines are nobody's.
pub const MAX_LINE: usize = 4096;

#[derive(Deserialize)]
struct Command<'a> {
    command: &'a str,
}

/// Whether a line, without its end, says that a worker is ready. Who it is, the kernel tells better than the line.
pub fn is_ack(line: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(line) else { return false };
    let text = decoded(text);
    match serde_json::from_str::<Command<'_>>(&text) {
        Ok(Command { command }) => command == ACK,
        Err(_) => text.lines().any(is_yaml_ack),
    }
}

/// `command: worker:ack`, with the quotes or the colon in front that Ruby may write.
fn is_yaml_ack(line: &str) -> bool {
    let bare = |text: &str| text.trim_matches(['"', '\'', ' ']).to_owned();
    let pair = line.trim_start_matches(':').split_once(": ");
    pair.is_some_and(|(name, value)| bare(name) == "command" && bare(value) == ACK)
}

/// With `%0A` and the like as what they stand for.
fn decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let byte = part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte.filter(u8::is_ascii) {
            Some(byte) => {
                out.push(byte.into());
                out.push_str(&part[2..]);
            }
            None => {
                out.push('%');
                out.push_str(part);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn acknowledgements_are_recognised() {
        for line in [
            r#"{"command":"worker:ack","pid":12}"#,
            r#"{"pid":12, "command":"worker:ack"}"#,
            "---%0Acommand: worker:ack%0Apid: 12%0A",
            "---%0A:command: worker:ack%0A:pid: 12%0A",
            "--- %0Acommand: \"worker:ack\"%0A",
        ] {
            assert!(is_ack(line.as_bytes()), "{line}");
        }
        for line in [
            "",
            "{}",
            "worker:ack",
            r#"{"command":"die"}"#,
            "command: worker:ackx",
            "%",
            "%0",
            "%zz",
            "\u{e4}%e4",
        ] {
            assert!(!is_ack(line.as_bytes()), "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_line_panics(line in proptest::collection::vec(any::<u8>(), 0..64), text in "[%0-9a-fé]{0,12}") {
            is_ack(&line);
            is_ack(text.as_bytes());
        }
    }
}
