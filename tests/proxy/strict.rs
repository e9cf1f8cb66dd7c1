//! A strict reader of HTTP/1.1 for the tests: the oracle.
//!
//! Written from the grammar of RFC 9112 alone, slow and plain; it shares nothing with what it judges. A message that a
//! careful server would refuse is an error here, and so is anything that might be read in two ways.

/// One message, as somebody who reads strictly understands it.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// The first line, split at spaces: method, target and version, or version, code and reason.
    pub first: [String; 3],
    pub fields: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, Vec<u8>)>,
    pub framing: Framing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    None,
    Length,
    Chunked,
    Close,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It ends in the middle.
    Short,
    Wrong(&'static str),
}

use Fault::{Short, Wrong};

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let fields: Vec<_> = self.fields.iter().map(|(name, _)| name.as_str()).collect();
        let body = String::from_utf8_lossy(&self.body);
        write!(f, "<{} {fields:?} {:?} {body:?} {:?}>", self.first.join(" "), self.framing, self.trailers)
    }
}

impl Message {
    pub fn values(&self, name: &str) -> Vec<String> {
        let named = self.fields.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
        named.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
    }

    pub fn has(&self, name: &str) -> bool {
        !self.values(name).is_empty()
    }

    /// Of an answer.
    pub fn code(&self) -> u16 {
        self.first[1].parse().unwrap_or(0)
    }

    fn tokens(&self, name: &str) -> Vec<String> {
        let values = self.values(name);
        let all = values.iter().flat_map(|value| value.split(','));
        all.map(|token| token.trim_matches([' ', '\t']).to_ascii_lowercase())
            .filter(|token| !token.is_empty())
            .collect()
    }

    /// It says that nothing follows on its connection.
    pub fn closes(&self) -> bool {
        self.tokens("connection").contains(&"close".to_owned())
    }
}

/// The requests in `bytes`, one behind the other, and what is wrong behind them, if anything is.
pub fn requests(mut bytes: &[u8]) -> (Vec<Message>, Option<Fault>) {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        match request(bytes) {
            Ok((message, length)) => {
                found.push(message);
                bytes = &bytes[length..];
            }
            Err(fault) => return (found, Some(fault)),
        }
    }
    (found, None)
}

/// The answers in `bytes` to requests of these methods, interim ones included; `ended` if the connection has.
pub fn answers(mut bytes: &[u8], methods: &[String], ended: bool) -> (Vec<Message>, Option<Fault>) {
    let (mut found, mut at) = (Vec::new(), 0);
    while !bytes.is_empty() {
        // What follows a change of protocol is for others to judge.
        if matches!(found.last(), Some(last) if Message::code(last) == 101) {
            break;
        }
        if matches!(found.last(), Some(last) if Message::code(last) >= 200 && last.closes()) {
            return (found, Some(Wrong("bytes behind the last answer")));
        }
        let method = methods.get(at).map_or("GET", String::as_str);
        match answer(bytes, method, ended) {
            Ok((message, length)) => {
                at += usize::from(message.code() >= 200);
                found.push(message);
                bytes = &bytes[length..];
            }
            Err(fault) => return (found, Some(fault)),
        }
    }
    (found, None)
}

fn request(bytes: &[u8]) -> Result<(Message, usize), Fault> {
    let (first, fields, mut at) = head(bytes)?;
    let words: Vec<_> = first.split(' ').collect();
    let [method, target, version] = words[..] else { return Err(Wrong("no three words")) };
    if method.is_empty() || !method.bytes().all(is_tchar) {
        return Err(Wrong("no method"));
    }
    if target.is_empty() || target.contains('#') || !target.bytes().all(|byte| byte > b' ' && byte != 0x7f) {
        return Err(Wrong("no target"));
    }
    if version != "HTTP/1.1" {
        return Err(Wrong("another version"));
    }
    let mut message = Message {
        first: [method.into(), target.into(), version.into()],
        fields,
        body: Vec::new(),
        trailers: Vec::new(),
        framing: Framing::None,
    };
    if message.values("host").len() != 1 {
        return Err(Wrong("not one Host"));
    }
    message.framing = declared(&message)?.unwrap_or(Framing::None);
    at += body(&mut message, &bytes[at..], false)?;
    Ok((message, at))
}

fn answer(bytes: &[u8], method: &str, ended: bool) -> Result<(Message, usize), Fault> {
    let (first, fields, mut at) = head(bytes)?;
    let words: Vec<_> = first.splitn(3, ' ').collect();
    let [version, code, reason] = words[..] else { return Err(Wrong("no three words")) };
    if version != "HTTP/1.1" || code.len() != 3 || !code.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(Wrong("no line of an answer"));
    }
    let mut message = Message {
        first: [version.into(), code.into(), reason.into()],
        fields,
        body: Vec::new(),
        trailers: Vec::new(),
        framing: Framing::None,
    };
    let number = message.code();
    if number < 100 {
        return Err(Wrong("no code"));
    }
    let stated = declared(&message)?;
    let bodiless = (100..200).contains(&number) || number == 204;
    if bodiless && stated.is_some() {
        return Err(Wrong("a length where no body can be"));
    }
    if method != "HEAD" && !bodiless && number != 304 {
        message.framing = stated.unwrap_or(Framing::Close);
        at += body(&mut message, &bytes[at..], ended)?;
    }
    Ok((message, at))
}

type Fields = Vec<(String, Vec<u8>)>;

/// First line and fields, and their length.
fn head(bytes: &[u8]) -> Result<(String, Fields, usize), Fault> {
    let (first, mut at) = line(bytes)?;
    let first = String::from_utf8_lossy(first).into_owned();
    let mut fields = Vec::new();
    loop {
        let (text, length) = line(&bytes[at..])?;
        at += length;
        if text.is_empty() {
            return Ok((first, fields, at));
        }
        fields.push(field(text)?);
    }
}

fn field(text: &[u8]) -> Result<(String, Vec<u8>), Fault> {
    let colon = text.iter().position(|&byte| byte == b':').ok_or(Wrong("no colon"))?;
    let (name, value) = (&text[..colon], &text[colon + 1..]);
    if name.is_empty() || !name.iter().copied().all(is_tchar) {
        return Err(Wrong("no name"));
    }
    if !value.iter().all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f)) {
        return Err(Wrong("no value"));
    }
    let value: &[u8] = value.trim_ascii();
    Ok((String::from_utf8_lossy(name).into_owned(), value.to_vec()))
}

/// A line without its CRLF, and its length with it.
fn line(bytes: &[u8]) -> Result<(&[u8], usize), Fault> {
    let end = bytes.iter().position(|&byte| byte == b'\n').ok_or(Short)?;
    let text = bytes[..end].strip_suffix(b"\r").ok_or(Wrong("a bare LF"))?;
    if text.contains(&b'\r') || text.contains(&0) {
        return Err(Wrong("a bare CR or NUL"));
    }
    Ok((text, end + 1))
}

/// What the fields say of the framing.
fn declared(message: &Message) -> Result<Option<Framing>, Fault> {
    let (codings, lengths) = (message.values("transfer-encoding"), message.values("content-length"));
    match (codings.as_slice(), lengths.as_slice()) {
        ([], []) => Ok(None),
        ([coding], []) if coding.eq_ignore_ascii_case("chunked") => Ok(Some(Framing::Chunked)),
        ([], [length]) => {
            let canonical = length.parse::<u64>().is_ok_and(|number| number.to_string() == *length);
            if canonical { Ok(Some(Framing::Length)) } else { Err(Wrong("no length")) }
        }
        _ => Err(Wrong("framed twice, or not as we can")),
    }
}

/// Reads the body; tells its length with its framing.
fn body(message: &mut Message, bytes: &[u8], ended: bool) -> Result<usize, Fault> {
    match message.framing {
        Framing::None => Ok(0),
        Framing::Length => {
            let length: usize = message.values("content-length")[0].parse().map_err(|_| Wrong("too long"))?;
            message.body = bytes.get(..length).ok_or(Short)?.to_vec();
            Ok(length)
        }
        Framing::Close if ended => {
            message.body = bytes.to_vec();
            Ok(bytes.len())
        }
        Framing::Close => Err(Short),
        Framing::Chunked => chunks(message, bytes),
    }
}

fn chunks(message: &mut Message, bytes: &[u8]) -> Result<usize, Fault> {
    let mut at = 0;
    loop {
        let (text, length) = line(&bytes[at..])?;
        at += length;
        let digits = str::from_utf8(text).map_err(|_| Wrong("no size"))?;
        let hexadecimal = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        if !hexadecimal {
            return Err(Wrong("no size"));
        }
        let size = u64::from_str_radix(digits, 16).map_err(|_| Wrong("a size that is too large"))?;
        if size == 0 {
            break;
        }
        let end = usize::try_from(size).ok().and_then(|size| at.checked_add(size)).ok_or(Short)?;
        message.body.extend_from_slice(bytes.get(at..end).ok_or(Short)?);
        match bytes.get(end..end + 2) {
            Some(b"\r\n") => at = end + 2,
            Some(_) => return Err(Wrong("data that do not end")),
            None => return Err(Short),
        }
    }
    loop {
        let (text, length) = line(&bytes[at..])?;
        at += length;
        if text.is_empty() {
            return Ok(at);
        }
        let (name, value) = field(text)?;
        let forbidden = ["host", "content-length", "transfer-encoding", "connection", "te", "authorization"];
        if forbidden.iter().any(|other| name.eq_ignore_ascii_case(other)) {
            return Err(Wrong("a trailer that may not be one"));
        }
        message.trailers.push((name, value));
    }
}

fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[test]
fn the_oracle_is_strict() {
    let wrong = |text: &str| matches!(requests(text.as_bytes()).1, Some(Wrong(_)));
    let start = "POST / HTTP/1.1\r\nHost: a\r\n";
    let sound = format!(
        "{start}Content-Length: 1\r\n\r\nx{start}Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nT: 1\r\n\r\n"
    );
    let (found, fault) = requests(sound.as_bytes());
    assert!(fault.is_none() && found.len() == 2 && found.iter().all(|message| message.body == b"x"));
    for fields in [
        "Content-Length: 01",
        "Content-Length: 1\r\nContent-Length: 1",
        "Content-Length: 1\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: gzip, chunked",
        "Host: b",
        "A : b",
        " a: b",
        "A: b\rc",
    ] {
        assert!(wrong(&format!("{start}{fields}\r\n\r\n")), "{fields}");
    }
    for body in ["1;a\r\nx\r\n0\r\n\r\n", "1\nx\r\n", "1\r\nxx\r\n", "0\r\nHost: a\r\n\r\n", "g\r\n"] {
        assert!(wrong(&format!("{start}Transfer-Encoding: chunked\r\n\r\n{body}")), "{body}");
    }
    let none = "HTTP/1.1 204 No\r\n\r\nHTTP/1.1 204 No\r\nContent-Length: 1\r\n\r\n";
    assert_eq!(answers(none.as_bytes(), &[], false).1, Some(Wrong("a length where no body can be")));
}
