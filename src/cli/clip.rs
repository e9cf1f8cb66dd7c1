//! Text of any length -> text of a bounded length, which says that it was cut.
//!
//! Parts of messages come from workers, who may send megabytes. What is left out is counted and never stored.

use std::fmt::{self, Write as _};

/// The beginning of what `text` prints, up to `most` bytes of it.
pub(super) fn clip(text: impl fmt::Display, most: usize) -> String {
    let mut clip = Clip { kept: String::new(), most, length: 0 };
    // Our half of it does not fail; what a failing `Display` has written is kept.
    let _ = write!(clip, "{text}");
    let Clip { mut kept, length, .. } = clip;
    if kept.len() < length {
        kept += &format!("… (cut: it was {length} bytes long)");
    }
    kept
}

struct Clip {
    kept: String,
    most: usize,
    /// Of all that was written.
    length: usize,
}

impl fmt::Write for Clip {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // After a cut there may be room left for a smaller character, which does not belong there.
        if self.kept.len() == self.length {
            let mut room = text.len().min(self.most - self.kept.len());
            while !text.is_char_boundary(room) {
                room -= 1;
            }
            self.kept.push_str(&text[..room]);
        }
        self.length += text.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_cut_between_characters_and_says_so() {
        for (text, expected) in [
            ("", ""),
            ("abcd", "abcd"),
            ("abcde", "abcd… (cut: it was 5 bytes long)"),
            ("abc\u{e9}f", "abc… (cut: it was 6 bytes long)"),
            ("\u{1f600}\u{1f600}", "\u{1f600}… (cut: it was 8 bytes long)"),
        ] {
            assert_eq!(clip(text, 4), expected);
        }
    }

    #[test]
    fn nothing_follows_a_cut() {
        let pieces = format_args!("{}{}{}", "abc", '\u{e9}', 'f').to_string();
        assert_eq!(clip(format_args!("{}{}{}", "abc", '\u{e9}', 'f'), 4), clip(&pieces, 4));
        let long = "x".repeat(1 << 20);
        assert_eq!(clip(format_args!("{long}{long}"), 2), "xx… (cut: it was 2097152 bytes long)");
    }
}
