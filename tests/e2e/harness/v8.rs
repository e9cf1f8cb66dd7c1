//! As much of V8's format as Node's cluster speaks, written down a second time: nothing of Pointsman's is in it.

use serde_json::{Map, Value};

/// A frame with its length before it. Strings are in UTF-8 and numbers in 64 bits, as V8 writes neither and reads both.
pub(super) fn frame(value: &Value) -> Vec<u8> {
    let mut out = vec![0xFF, 13];
    write(&mut out, value);
    let length = u32::try_from(out.len()).unwrap().to_be_bytes();
    [&length[..], &out].concat()
}

fn write(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.push(b'0'),
        Value::Bool(true) => out.push(b'T'),
        Value::Bool(false) => out.push(b'F'),
        Value::Number(number) => {
            out.push(b'N');
            out.extend(number.as_f64().unwrap().to_le_bytes());
        }
        Value::String(text) => {
            out.push(b'S');
            count(out, text.len());
            out.extend(text.bytes());
        }
        Value::Array(elements) => {
            out.push(b'A');
            count(out, elements.len());
            elements.iter().for_each(|element| write(out, element));
            out.extend(b"$\0");
            count(out, elements.len());
        }
        Value::Object(fields) => {
            out.push(b'o');
            for (name, value) in fields {
                write(out, &name.as_str().into());
                write(out, value);
            }
            out.push(b'{');
            count(out, fields.len());
        }
    }
}

fn count(out: &mut Vec<u8>, mut count: usize) {
    while count >= 0x80 {
        out.push(u8::try_from(count & 0x7F).unwrap() | 0x80);
        count >>= 7;
    }
    out.push(u8::try_from(count).unwrap());
}

/// What a frame without its length says.
pub(super) fn read(frame: &[u8]) -> Value {
    let mut rest = frame.strip_prefix(&[0xFF]).unwrap();
    let version = byte(&mut rest);
    assert!((13..=15).contains(&version), "version {version}");
    let value = value(&mut rest).unwrap();
    assert!(rest.is_empty(), "{rest:?} after {value}");
    value
}

/// `None` for undefined, or at the end of an object.
fn value(rest: &mut &[u8]) -> Option<Value> {
    Some(match byte(rest) {
        b'_' | b'{' => return None,
        b'0' => Value::Null,
        b'T' => true.into(),
        b'F' => false.into(),
        b'I' => {
            let zigzag = number(rest);
            let magnitude = i64::try_from(zigzag >> 1).unwrap();
            if zigzag & 1 == 0 { magnitude.into() } else { (-magnitude - 1).into() }
        }
        b'N' => f64::from_le_bytes(take(rest, 8).try_into().unwrap()).into(),
        b'"' => {
            let length = number(rest);
            take(rest, length).iter().copied().map(char::from).collect::<String>().into()
        }
        b'A' => {
            let length = number(rest);
            let elements = (0..length).map(|_| value(rest).unwrap()).collect();
            assert_eq!((byte(rest), number(rest), number(rest)), (b'$', 0, length));
            elements
        }
        b'o' => {
            let (mut fields, mut undefined) = (Map::new(), 0);
            while let Some(name) = value(rest) {
                match value(rest) {
                    Some(value) => drop(fields.insert(name.as_str().unwrap().to_owned(), value)),
                    None => undefined += 1,
                }
            }
            assert_eq!(number(rest), fields.len() + undefined);
            fields.into()
        }
        tag => panic!("nothing that Node's cluster says: tag {tag:#x}"),
    })
}

fn byte(rest: &mut &[u8]) -> u8 {
    take(rest, 1)[0]
}

fn number(rest: &mut &[u8]) -> usize {
    let low = byte(rest);
    let high = if low < 0x80 { 0 } else { number(rest) };
    usize::from(low & 0x7F) | high << 7
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, after) = rest.split_at(count);
    *rest = after;
    taken
}
