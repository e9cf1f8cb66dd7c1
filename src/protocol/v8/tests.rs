//! Values that Node has written, what V8 would read of ours, and what nobody should write.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::protocol::frame::MAX_VALUES;

/// Bytes of their hexadecimal digits, with blanks between.
pub(in crate::protocol) fn bytes_of(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn read(frame: &[u8]) -> Result<Value, V8Error> {
    to_json(Place::of_frame(frame)?)
}

fn written(value: &Value) -> Vec<u8> {
    let mut out = vec![b'x'];
    let start = out.len();
    write_header(&mut out);
    Writer { out: &mut out, start }.value(value);
    out.split_off(start)
}

/// The frame says `expected`, which written anew says it too; or, after a !, it says why not.
fn check(name: &str, frame: &[u8], expected: &str) {
    assert_eq!(Place::of_frame(frame).and_then(Place::check), Ok(()), "{name} is whole");
    let found = read(frame);
    if let Some(why) = expected.strip_prefix('!') {
        let error = found.unwrap_err();
        assert!(error.to_string().contains(why) && !error.is_fault(), "{name}: {error}");
        return;
    }
    let expected: Value = serde_json::from_str(expected).unwrap();
    assert_eq!(found, Ok(expected.clone()), "{name}");
    assert_eq!(read(&written(&expected)), Ok(expected), "{name}");
    for end in 0..frame.len() {
        let cut = Place::of_frame(&frame[..end]).and_then(Place::check);
        assert!(cut.unwrap_err().is_fault(), "{name} cut at {end}");
    }
}

#[test]
fn what_node_writes() {
    let lines = include_str!("recorded.txt").lines().filter(|line| !line.starts_with('#'));
    for line in lines {
        let mut columns = line.split('\t');
        let (name, hex) = (columns.next().unwrap(), columns.next().unwrap());
        check(name, &bytes_of(hex), columns.next().unwrap());
    }
}

#[test]
fn what_v8_reads_and_node_does_not_write_to_channels() {
    for (name, hex, expected) in [
        ("utf-8", "FF0D 5302C3A9", "\"é\""),
        ("unsigned", "FF0D 55FFFFFFFF0F", "4294967295"),
        ("padding", "FF0D 00 00 6F 00 220161 00 4902 00 7B01", "{\"a\":1}"),
        ("a view of its buffer", "FF0D 6F 220162 42020102 5642 0002 220163 5E01 7B02", "{\"b\":{},\"c\":{}}"),
        ("with its flags", "FF0E 41 03 42020102 5642 000200 5E02 5E01 24 00 03", "[{},{},{}]"),
        ("one that grows", "FF0F 7E 01 04 2A", "{}"),
        ("an object of Node's own", "FF0F 5C 01 6F 220161 4902 7B01", "{\"a\":1}"),
        (
            "and again",
            "FF0F 41 03 5C 01 6F 220161 4902 7B01 5E01 5E02 24 00 03",
            "[{\"a\":1},{\"a\":1},{\"a\":1}]",
        ),
        ("a Map within itself", "FF0F 3B 22016B 5E00 3A02", "{}"),
        ("an odd view", "FF0F 5C 00 63 01 00", "!cannot be passed on"),
        ("another host object", "FF0F 5C 02", "!cannot be passed on"),
        ("shared memory", "FF0F 75 00", "!tag 0x75"),
        ("nothing", "FF0F 5F", "!undefined"),
        ("holes", "FF0F 41 02 2D 5F 24 00 02", "[null,null]"),
        ("an index past the end", "FF0F 61 01 4906 4902 40 01 01", "[null]"),
    ] {
        if expected.starts_with("!cannot") || expected.contains("tag") {
            let error = read(&bytes_of(hex)).unwrap_err();
            assert!(error.to_string().contains(&expected[1..]) && !error.is_fault(), "{name}: {error}");
        } else {
            check(name, &bytes_of(hex), expected);
        }
    }
}

#[test]
fn what_v8_would_write() {
    for (value, hex) in [
        (json!(null), "30"),
        (json!(0), "4900"),
        (json!(-1), "4901"),
        (json!(64), "498001"),
        (json!(2_147_483_647), "49FEFFFFFF0F"),
        (json!(-2_147_483_648), "49FFFFFFFF0F"),
        (json!(2_147_483_648_u32), "4E000000000000E041"),
        (json!(0.5), "4E000000000000E03F"),
        (json!(""), "2200"),
        (json!("é"), "2201E9"),
        (json!("ÿĀ"), "6304FF000001"),
        (json!("€"), "6302AC20"),
        (json!(["€"]), "4101 6302AC20 240001"),
        (json!({"a": "€"}), "6F 220161 6302AC20 7B01"),
        (json!({"ab": "€"}), "6F 22026162 00 6302AC20 7B01"),
        (json!("€".repeat(64)), &format!("00 638001 {}", "AC20".repeat(64))),
        (json!([[], {}]), "4102 4100240000 6F7B00 240002"),
    ] {
        let expected = [&[0xFF, 13][..], &bytes_of(hex)].concat();
        assert_eq!(written(&value), expected, "{value}");
        assert_eq!(read(&expected), Ok(value));
    }
    assert_eq!(written(&json!(-0.0)), bytes_of("FF0D 4E0000000000000080"), "which is no integer");
}

#[test]
fn what_nobody_writes_is_a_fault() {
    for (hex, why) in [
        ("", "header"),
        ("FF", "header"),
        ("7B7D", "header"),
        ("FF0C30", "version 12"),
        ("FF1030", "version 16 of V8's format, not in 13 to 15; serialization"),
        ("FF0D", "ends within"),
        ("FF0D 2205 61", "ends within"),
        ("FF0D 22FFFFFFFF0F", "ends within"),
        ("FF0D 22FFFFFFFFFF0F", "more than 32 bits"),
        ("FF0D 22FFFFFFFF1F", "more than 32 bits"),
        ("FF0D 6301AC", "half a character at byte 3"),
        ("FF0D 5301FF", "not UTF-8"),
        ("FF0D 6F 220161 4902 7B02", "a wrong number of fields"),
        ("FF0D 6F 220161 4902 7B00", "a wrong number of fields"),
        ("FF0D 6F 5F", "no name of a field"),
        ("FF0D 4101 4902 240002", "a wrong number of fields"),
        ("FF0D 41FFFFFFFF0F", "ends within"),
        ("FF0D 3B 4902 3A02", "a wrong number of fields"),
        ("FF0D 30 30", "something after the value at byte 3"),
    ] {
        let error = Place::of_frame(&bytes_of(hex)).and_then(Place::check).unwrap_err();
        assert!(error.is_fault() && error.to_string().contains(why), "{hex}: {error}");
    }
    for (hex, why) in [
        ("FF0D 5E00", "a reference to no object"),
        ("FF0D 6F 220161 5E07 7B01", "a reference to no object"),
        // One that comes later.
        ("FF0D 4102 5E01 6F7B00 240002", "a reference to no object"),
    ] {
        let error = read(&bytes_of(hex)).unwrap_err();
        assert!(error.is_fault() && error.to_string().contains(why), "{hex}: {error}");
    }
}

/// `[[[…]]]`, so many within each other.
fn nested(levels: usize) -> Vec<u8> {
    [&[0xFF, 15][..], &b"A\x01".repeat(levels), b"0", &b"$\0\x01".repeat(levels)].concat()
}

#[test]
fn depth_is_bounded() {
    let mut expected = json!(null);
    (0..DEPTH).for_each(|_| expected = json!([expected]));
    assert_eq!(read(&nested(DEPTH)), Ok(expected));
    for levels in [DEPTH + 1, 1 << 20] {
        assert_eq!(read(&nested(levels)), Err(V8Error::TooDeep));
    }
    for link in [&b"\\\x01"[..], b";", b"rc", b"o\"\0"] {
        let deep = [&[0xFF, 15][..], &link.repeat(1 << 20)].concat();
        assert_eq!(Place::of_frame(&deep).and_then(Place::check), Err(V8Error::TooDeep), "{link:?}");
    }
}

#[test]
fn what_is_written_once_and_meant_often_is_bounded() {
    // Each level twice the one before it.
    let mut bomb = vec![0xFF, 15, b'A', 101];
    bomb.extend_from_slice(b"A\0$\0\0");
    for level in 1..=100 {
        bomb.extend_from_slice(&[b'A', 2, b'^', level, b'^', level, b'$', 0, 2]);
    }
    bomb.extend_from_slice(b"$\0\x65");
    assert_eq!(read(&bomb), Err(V8Error::TooMany));
    // An array of 300: an object with a text of 64 KiB, and the same again.
    let long = [&b"o\"\0\"\x80\x80\x04"[..], &[b'x'; 64 << 10], b"{\x01"].concat();
    let often = [b"\xFF\x0FA\xAC\x02", &long[..], &b"^\x01".repeat(299), b"$\0\xAC\x02"].concat();
    assert_eq!(read(&often), Err(V8Error::TooLarge));
    // Holes that are not written, and bytes that are a value each as JSON.
    assert_eq!(read(&bytes_of("FF0F 61FFFFFFFF0F 4000FFFFFFFF0F")), Err(V8Error::TooMany));
    let view = |kind: u8, length: usize| {
        let mut frame = vec![0xFF, 15, b'\\', 0, kind];
        let mut rest = u32::try_from(length).unwrap();
        while rest >= 0x80 {
            frame.push(u8::try_from(rest & 0x7F).unwrap() | 0x80);
            rest >>= 7;
        }
        frame.push(u8::try_from(rest).unwrap());
        [frame, vec![7; length]].concat()
    };
    assert_eq!(read(&view(10, 8)).unwrap()["data"].as_array().unwrap().len(), 8);
    // The object, for a Buffer its two fields and their names, and each byte, which has a name in another view.
    for (kind, most) in [(1, (MAX_VALUES - 1) / 2), (10, MAX_VALUES - 5)] {
        assert!(read(&view(kind, most)).is_ok(), "{kind}");
        assert_eq!(read(&view(kind, most + 1)), Err(V8Error::TooMany), "{kind}");
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        (-(1i64 << 53)..=1 << 53).prop_map(Value::from),
        any::<f64>()
            .prop_filter("an integer becomes one", |number| number.fract() != 0.0)
            .prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        "[a-zà-ü]{0,9}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::btree_map(".{0,6}", inner, 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn every_json_value_round_trips(value in any_json()) {
        let frame = written(&value);
        prop_assert_eq!(Place::of_frame(&frame).and_then(Place::check), Ok(()));
        prop_assert_eq!(read(&frame), Ok(value));
    }

    /// Bytes of everything that Node was seen to write, changed in up to four places.
    #[test]
    fn no_damaged_value_panics(which in any::<prop::sample::Index>(),
                               damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5)) {
        let lines: Vec<_> = include_str!("recorded.txt").lines().filter(|line| !line.starts_with('#')).collect();
        let mut frame = bytes_of(lines[which.index(lines.len())].split('\t').nth(1).unwrap());
        for (at, byte) in damage {
            let at = at.index(frame.len());
            frame[at] = byte;
        }
        let _ = read(&frame);
        let _ = Place::of_frame(&frame).and_then(Place::check);
        if let Ok(Some(fields)) = Place::of_frame(&frame).and_then(Place::fields) {
            let _ = fields.take(1000).find(Result::is_err);
        }
    }

    #[test]
    fn no_bytes_panic(tags in proptest::collection::vec(prop_oneof![
        proptest::sample::select(b"_0TFIUNZ\"cSoA{$a@^Dyxnsz;:',BVr\\.-~m".to_vec()), 0u8..4, any::<u8>()], 0..80)) {
        let frame = [&[0xFF, 15][..], &tags].concat();
        let _ = read(&frame);
        let _ = Place::of_frame(&frame).and_then(Place::check);
    }
}
