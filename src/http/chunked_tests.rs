//! Chunked bodies, whole and in pieces.

use super::*;

/// The data, the harmless trailer lines, and the length of it all; `None` within if it is not whole.
type Read = Result<Option<(String, String, usize)>, Malformed>;

/// Reads what comes in pieces that end at `cuts`, as a connection would.
fn read_in(text: &[u8], cuts: impl Iterator<Item = usize>) -> Read {
    let (mut decoder, mut at) = (Chunked::default(), 0);
    let (mut data, mut trailers) = (String::new(), String::new());
    for end in cuts.chain([text.len()]) {
        while let Some((part, length)) = decoder.next(&text[at..end.max(at)])? {
            let bytes = &text[at..at + length];
            match part {
                Part::Data => data.push_str(str::from_utf8(bytes).unwrap()),
                Part::Trailer { harmless: true } => trailers.push_str(str::from_utf8(bytes).unwrap()),
                _ => {}
            }
            at += length;
        }
    }
    Ok(decoder.is_done().then_some((data, trailers, at)))
}

fn read(text: &str) -> Read {
    let bytes = text.as_bytes();
    let whole = read_in(bytes, std::iter::empty());
    assert_eq!(read_in(bytes, 0..bytes.len()), whole, "byte by byte: {text:?}");
    for cut in 0..bytes.len() {
        assert_eq!(read_in(bytes, [cut].into_iter()), whole, "cut at {cut}: {text:?}");
    }
    whole
}

#[test]
fn bodies() {
    for (text, data, trailers) in [
        ("0\r\n\r\n", "", ""),
        ("5\r\nhello\r\n0\r\n\r\n", "hello", ""),
        ("5\r\nhello\r\n00006\r\n world\r\n000\r\n\r\n", "hello world", ""),
        ("A\r\n0123456789\r\nb\r\n0123456789a\r\n0\r\n\r\n", "01234567890123456789a", ""),
        ("2;a;b=c;d=\"e\\\" ;\"\r\n\r\n\r\n0;x\r\n\r\n", "\r\n", ""),
        ("0\r\nX-T: 1\r\nHost: a\r\nY:\r\n\r\n", "", "X-T: 1\r\nY:\r\n"),
    ] {
        assert_eq!(read(text), Ok(Some((data.to_owned(), trailers.to_owned(), text.len()))), "{text:?}");
        let more = format!("{text}GET / HTTP/1.1\r\n");
        assert_eq!(read(&more), Ok(Some((data.to_owned(), trailers.to_owned(), text.len()))), "{more:?}");
        for end in 0..text.len() {
            assert_eq!(read(&text[..end]), Ok(None), "{text:?} until {end}");
        }
    }
}

#[test]
fn what_is_none() {
    for text in [
        "\r\n",
        "g\r\n",
        " 5\r\nhello\r\n",
        "5 \r\nhello\r\n",
        "+5\r\nhello\r\n",
        "-1\r\n",
        "0x5\r\nhello\r\n",
        "5\nhello\r\n",
        "5\rhello\r\n\n",
        "5;\nhello\r\n0\r\n\r\n",
        "5 ;a\r\nhello\r\n",
        "5;\r\nhello\r\n",
        "5; a\r\nhello\r\n",
        "5;a =b\r\nhello\r\n",
        "5;a=\r\nhello\r\n",
        "5;a=\"b\r\nhello\r\n",
        "5;a=\"b\\\"\r\nhello\r\n",
        "5;a\rb\r\nhello\r\n",
        "5;a\0\r\nhello\r\n",
        "5\r\nhelloworld\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "00000000000000005\r\nhello\r\n",
        "10000000000000000\r\n",
        "0\r\nX-T : 1\r\n\r\n",
        "0\r\n X: 1\r\n\r\n",
        "0\r\nX: 1\r\n folded\r\n\r\n",
        "0\r\n: 1\r\n\r\n",
        "0\r\nX\r\n\r\n",
        "0\r\nX: a\0\r\n\r\n",
        "0\r\nX: a\rb\r\n\r\n",
        "0\r\nX: 1\n\r\n",
        "0\r\n\n",
        "0\r\nX\u{e4}: 1\r\n\r\n",
    ] {
        assert_eq!(read(text), Err(Malformed), "{text:?}");
    }
}

#[test]
fn sizes_have_64_bits() {
    let mut decoder = Chunked::default();
    let all = Part::Size { size: u64::MAX, plain: true };
    assert_eq!(decoder.next(b"ffffFFFFffffFFFF\r\nx"), Ok(Some((all, 18))));
    assert_eq!(decoder.next(b"xyz"), Ok(Some((Part::Data, 3))));
    assert_eq!(decoder.state, State::Data { left: u64::MAX - 3 });
}

#[test]
fn everything_beside_data_has_a_limit() {
    let line = |length: usize| format!("1;{}\r\n", "a".repeat(length - 4));
    assert!(Chunked::default().next(line(MAX_SIZE_LINE).as_bytes()).is_ok());
    assert_eq!(Chunked::default().next(line(MAX_SIZE_LINE + 1).as_bytes()), Err(Malformed));
    assert_eq!(Chunked::default().next(&[b'1'; MAX_SIZE_LINE]), Err(Malformed));

    let each = format!("1;{}\r\nx\r\n", "a".repeat(99));
    let times = MAX_EXTENSIONS / 100;
    let body =
        |times: usize| read_in(format!("{}0\r\n\r\n", each.repeat(times)).as_bytes(), std::iter::empty());
    assert!(body(times).is_ok_and(|read| read.is_some()));
    assert_eq!(body(times + 1), Err(Malformed));

    let few = |fields: usize| {
        read_in(format!("0\r\n{}\r\n", "A: b\r\n".repeat(fields)).as_bytes(), std::iter::empty())
    };
    assert!(few(64).is_ok_and(|read| read.is_some()));
    assert_eq!(few(65), Err(Malformed));
    let long = format!("0\r\nA: {}\r\n\r\n", "b".repeat(MAX_TRAILERS));
    assert_eq!(read_in(long.as_bytes(), std::iter::empty()), Err(Malformed));
    assert_eq!(read_in(long.as_bytes(), 0..long.len()), Err(Malformed));
}
