//! Reads Rust source far enough to know its words and paths, the module each stands in, and what is test code.
//!
//! Text goes in, tokens and paths with their lines come out. Knows nothing of rings or types, expands no macros.

/// Walks the tokens of a file and knows the module and the `cfg(test)` item it is in.
pub(crate) struct Reader<'a> {
    tokens: &'a [Token<'a>],
    at: usize,
    /// Up to here a `use` has been read already.
    use_end: usize,
    depth: usize,
    module: Vec<&'a str>,
    /// The depths at which the inline modules around this place were opened.
    open: Vec<usize>,
    /// The depth of the `cfg(test)` item around this place.
    test: Option<usize>,
}

impl<'a> Reader<'a> {
    /// `module` is the path of the file's own module, empty for a crate's root.
    pub(crate) fn new(tokens: &'a [Token<'a>], module: Vec<&'a str>) -> Self {
        Self { tokens, at: 0, use_end: 0, depth: 0, module, open: Vec::new(), test: None }
    }

    pub(crate) fn advance(&mut self) {
        let rest = self.rest();
        match rest[0].text {
            "{" | "(" | "[" => self.depth += 1,
            close @ ("}" | ")" | "]") => {
                self.depth = self.depth.saturating_sub(1);
                if close == "}" && self.open.pop_if(|depth| *depth == self.depth).is_some() {
                    self.module.pop();
                }
                let depth = self.depth;
                self.test = self.test.filter(|item| depth > *item || depth == *item && close != "}");
            }
            ";" => self.test = self.test.filter(|item| self.depth > *item),
            "#" if begins(rest, "# [ cfg ( test ) ]") || begins(rest, "# [ cfg ( all ( test") => {
                self.test.get_or_insert(self.depth);
            }
            "mod" if rest.get(2).is_some_and(|token| token.text == "{") => {
                self.module.push(rest[1].text);
                self.open.push(self.depth);
            }
            _ => {}
        }
        self.at += 1;
    }

    /// From this token on.
    pub(crate) fn rest(&self) -> &'a [Token<'a>] {
        &self.tokens[self.at..]
    }

    pub(crate) fn module(&self) -> &[&'a str] {
        &self.module
    }

    pub(crate) fn is_in_test(&self) -> bool {
        self.test.is_some()
    }

    /// The paths that begin at this token: one, or all of a `use`.
    pub(crate) fn paths(&mut self) -> Vec<(usize, Vec<&'a str>)> {
        let mut found = Vec::new();
        let rest = self.rest();
        if self.at < self.use_end {
            return found;
        }
        if rest[0].text == "use" && !begins(&rest[1..], "<") {
            self.use_end = self.at + 1;
            self.use_tree(&[], &mut found);
        } else if is_word(rest[0].text) && begins(&rest[1..], "::") && !self.in_path() {
            let names = rest.chunks(2).take_while(|pair| is_word(pair[0].text));
            let more = names.clone().take_while(|pair| begins(&pair[1..], "::")).count();
            found.push((rest[0].line, names.take(more + 1).map(|pair| pair[0].text).collect()));
        }
        found
    }

    /// Whether a path began before this token; one may also begin with `::`.
    fn in_path(&self) -> bool {
        let before = |n| self.at.checked_sub(n).map_or("", |at| self.tokens[at].text);
        before(1) == "::" && (is_word(before(2)) || before(2) == ">")
    }

    fn use_tree(&mut self, prefix: &[&'a str], found: &mut Vec<(usize, Vec<&'a str>)>) {
        let mut path = prefix.to_vec();
        let mut line = 0;
        while let Some(token) = self.tokens.get(self.use_end) {
            match token.text {
                "," | "}" | ";" => break,
                "{" => {
                    while self.tokens.get(self.use_end).is_some_and(|token| !["}", ";"].contains(&token.text))
                    {
                        self.use_end += 1;
                        self.use_tree(&path, found);
                    }
                    self.use_end += 1;
                    return;
                }
                "as" => self.use_end += 1,
                "self" if !path.is_empty() => line = token.line,
                name => {
                    line = token.line;
                    path.extend(is_word(name).then_some(name));
                }
            }
            self.use_end += 1;
        }
        if line > 0 && !path.is_empty() {
            found.push((line, path));
        }
    }
}

pub(crate) struct Token<'a> {
    pub(crate) text: &'a str,
    pub(crate) line: usize,
}

pub(crate) fn begins(tokens: &[Token<'_>], texts: &str) -> bool {
    let texts = texts.split(' ');
    tokens.len() >= texts.clone().count() && tokens.iter().zip(texts).all(|(token, text)| token.text == text)
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c == '_' || c.is_alphanumeric())
}

/// Words, `::` and single signs; comments, literals and lifetimes are left out.
pub(crate) fn tokens(text: &str) -> Vec<Token<'_>> {
    let (mut found, mut line, mut at) = (Vec::new(), 1, 0);
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        let skip = comment(rest).max(literal(rest));
        let raw = if rest.starts_with("r#") { 2 } else { 0 };
        let word = rest[raw..].find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(rest.len() - raw);
        let len = match first {
            _ if skip > 0 => skip,
            _ if word > 0 => raw + word,
            ':' if rest.starts_with("::") => 2,
            _ => first.len_utf8(),
        };
        if skip == 0 && !first.is_whitespace() {
            found.push(Token { text: &rest[..len], line });
        }
        line += rest[..len].matches('\n').count();
        at += len;
    }
    found
}

/// The length of the comment here, or 0.
fn comment(text: &str) -> usize {
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let pair = text.as_bytes().get(at..at + 2);
        (depth, at) = match pair {
            Some(b"/*") => (depth + 1, at + 2),
            Some(b"*/") if depth > 0 => (depth - 1, at + 2),
            _ => (depth, at + 1),
        };
        if depth == 0 {
            return if pair == Some(b"*/") { at } else { 0 };
        }
    }
    text.len()
}

/// The length of the string, character or lifetime here, or 0.
fn literal(text: &str) -> usize {
    let letters = text.find(|c| !"bcr".contains(c)).unwrap_or(0).min(3);
    let is_raw = letters > 0 && letters < 3 && text[..letters].ends_with('r');
    let hashes = if is_raw { text[letters..].bytes().take_while(|byte| *byte == b'#').count() } else { 0 };
    let open = letters + hashes;
    match text[open..].chars().next() {
        Some('"') if is_raw => {
            let close = format!("\"{}", "#".repeat(hashes));
            text[open + 1..].find(&close).map_or(text.len(), |at| open + 1 + at + close.len())
        }
        Some('"') => quoted(text, open),
        Some('\'') if hashes == 0 => {
            let mut inside = text[open + 1..].chars();
            let is_char = inside.next() == Some('\\') || inside.next() == Some('\'');
            let lifetime = text[open + 1..].find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(0);
            if is_char { quoted(text, open) } else { open + 1 + lifetime }
        }
        _ => 0,
    }
}

fn quoted(text: &str, open: usize) -> usize {
    let quote = text.as_bytes()[open];
    let mut escaped = false;
    let close = text.bytes().enumerate().skip(open + 1).find(|(_, byte)| {
        let ends = *byte == quote && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    });
    close.map_or(text.len(), |(at, _)| at + 1)
}
