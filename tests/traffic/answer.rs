//! The answers of `token.js`: bytes in, who answered what out. Pure.

use serde_json::Value;

/// One whole response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) token: String,
    pub(super) pid: u32,
}

/// What some bytes are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// A response, and how many bytes it had.
    Whole(Answer, usize),
    /// Not all of one.
    Partial,
    /// No response of HTTP/1.1 with a length.
    Foreign,
}

/// Reads the first response. One without the fields of `token.js` has an empty token and pid 0.
pub(super) fn parse(bytes: &[u8]) -> Parsed {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Parsed::Partial };
    let head = String::from_utf8_lossy(&bytes[..end]);
    let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let (Some(status), Some(length)) = (status, length) else { return Parsed::Foreign };
    let begin = end + 4;
    let Some(body) = begin.checked_add(length).and_then(|end| bytes.get(begin..end)) else {
        return Parsed::Partial;
    };
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let token = body["token"].as_str().unwrap_or_default().to_owned();
    let pid = body["pid"].as_u64().and_then(|pid| pid.try_into().ok()).unwrap_or(0);
    Parsed::Whole(Answer { status, token, pid }, begin + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &[u8] =
        b"HTTP/1.1 200 OK\r\ncontent-length: 24\r\nDate: x\r\n\r\n{\"token\":\"a\",\"pid\":4711}";

    fn whole(status: u16, token: &str, pid: u32, used: usize) -> Parsed {
        Parsed::Whole(Answer { status, token: token.into(), pid }, used)
    }

    #[test]
    fn an_answer_byte_by_byte_and_with_another_behind_it() {
        for end in 0..ONE.len() {
            assert_eq!(parse(&ONE[..end]), Parsed::Partial, "{end} bytes");
        }
        assert_eq!(parse(ONE), whole(200, "a", 4711, ONE.len()));
        assert_eq!(parse(&[ONE, ONE].concat()), whole(200, "a", 4711, ONE.len()));
    }

    #[test]
    fn what_is_no_answer_of_the_program() {
        assert_eq!(
            parse(b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\nno"),
            whole(503, "", 0, b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\nno".len())
        );
        assert_eq!(parse(b"SSH-2.0-x\r\n\r\n"), Parsed::Foreign);
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\n\r\n"), Parsed::Foreign);
        assert_eq!(
            parse(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", usize::MAX).as_bytes()),
            Parsed::Partial
        );
    }
}
