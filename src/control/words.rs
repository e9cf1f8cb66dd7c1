//! A command line as it would be typed into a shell.

use std::ffi::OsStr;

/// Words as they would be typed into a shell, with what is not UTF-8 replaced: for people.
pub fn shell_words(words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
    let quote = |word: &OsStr| {
        let text = word.to_string_lossy();
        let plain = |letter: char| letter.is_alphanumeric() || "-_./=:,@%+".contains(letter);
        if !text.is_empty() && text.chars().all(plain) {
            text.into_owned()
        } else {
            format!("'{}'", text.replace('\'', r"'\''"))
        }
    };
    words.into_iter().map(|word| quote(word.as_ref())).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_would_take_apart_is_quoted() {
        let words = ["node", "a b.js", "", "it's", "--x=1"];
        assert_eq!(shell_words(words), r"node 'a b.js' '' 'it'\''s' --x=1");
    }
}
