//! Streams cut in every way, in both forms.

use super::*;
use Serialization::{Advanced, Json};
use proptest::prelude::*;

fn drain(frames: &mut Frames) -> Result<Vec<Vec<u8>>, FrameError> {
    let mut all = Vec::new();
    while let Some(frame) = frames.next_frame()? {
        all.push(frame.to_vec());
    }
    Ok(all)
}

/// Whole, byte by byte, and cut in two at every place: always the same frames.
fn check(form: Serialization, stream: &[u8], expected: &[&[u8]], rest: Result<(), FrameError>) {
    for cut in 0..=stream.len() {
        let mut frames = Frames::new(form);
        frames.push(&stream[..cut]);
        let mut found = drain(&mut frames).unwrap();
        frames.push(&stream[cut..]);
        found.extend(drain(&mut frames).unwrap());
        assert_eq!(found, expected, "cut at {cut}");
        assert_eq!(frames.finish(), rest, "cut at {cut}");
    }
    let mut frames = Frames::new(form);
    let mut found = Vec::new();
    for byte in stream {
        frames.push(std::slice::from_ref(byte));
        found.extend(drain(&mut frames).unwrap());
    }
    assert_eq!(found, expected, "byte by byte");
    assert_eq!(frames.finish(), rest, "byte by byte");
}

#[test]
fn lines_come_out_however_they_arrive() {
    check(Json, b"", &[], Ok(()));
    check(Json, b"{}\n", &[b"{}"], Ok(()));
    check(Json, b"{}\n[1]\n\n", &[b"{}", b"[1]", b""], Ok(()));
    check(Json, b"\"\r\"\n1", &[b"\"\r\""], Err(FrameError::Truncated { have: 1 }));
    check(
        Json,
        "{\"a\":\"\u{2028}é\"}\nrest".as_bytes(),
        &["{\"a\":\"\u{2028}é\"}".as_bytes()],
        Err(FrameError::Truncated { have: 4 }),
    );
}

#[test]
fn counted_frames_come_out_however_they_arrive() {
    check(Advanced, b"", &[], Ok(()));
    check(Advanced, b"\0\0\0\x03abc", &[b"abc"], Ok(()));
    check(Advanced, b"\0\0\0\x02\n\n\0\0\0\0\0\0\0\x01x", &[b"\n\n", b"", b"x"], Ok(()));
    check(Advanced, b"\0\0\0\x01x\0\0\0", &[b"x"], Err(FrameError::Truncated { have: 3 }));
    check(Advanced, b"\0\0\x01\0abc", &[], Err(FrameError::Truncated { have: 7 }));
}

#[test]
fn the_limit_counts_the_frame_alone() {
    let mut lines = Frames::with_limit(Json, 4);
    lines.push(b"1234\n123");
    assert_eq!(lines.next_frame(), Ok(Some(&b"1234"[..])));
    assert_eq!(lines.next_frame(), Ok(None));
    lines.push(b"45");
    assert_eq!(lines.next_frame(), Err(FrameError::TooLong { limit: 4 }));

    let mut lines = Frames::with_limit(Json, 4);
    lines.push(b"12345\n");
    assert_eq!(lines.next_frame(), Err(FrameError::TooLong { limit: 4 }), "also when its end has come");

    let mut counted = Frames::with_limit(Advanced, 4);
    counted.push(b"\0\0\0\x041234\0\0\0\x05");
    assert_eq!(counted.next_frame(), Ok(Some(&b"1234"[..])));
    assert_eq!(counted.next_frame(), Err(FrameError::TooLong { limit: 4 }), "before any of it has come");
    let mut counted = Frames::new(Advanced);
    counted.push(b"\xFF\xFF\xFF\xFF");
    assert_eq!(counted.next_frame(), Err(FrameError::TooLong { limit: MAX_FRAME }));
}

#[test]
fn memory_of_a_large_frame_is_given_back() {
    let large = vec![b'1'; 1 << 20];
    for (form, stream) in [(Json, [&large[..], b"\n"]), (Advanced, [&b"\0\x10\0\0"[..], &large])] {
        let mut frames = Frames::new(form);
        stream.iter().for_each(|part| frames.push(part));
        assert!(drain(&mut frames).unwrap()[0].len() == 1 << 20);
        frames.push(b"");
        assert_eq!(frames.buffer.capacity(), 0);
    }
}

#[test]
fn each_write_of_counted_frames_begins_with_one() {
    let frame = |length: u16| [&[0, 0][..], &length.to_be_bytes(), &vec![b'x'; length.into()]].concat();
    let queue = [frame(9000), frame(3), frame(4000), frame(4000), frame(180), frame(1)].concat();
    let mut cutter = Cutter::new(Advanced);
    // What is to be sent, and how much of it the kernel takes.
    let mut at = 0;
    for (write, taken, begins) in [
        (9004, 0, true),
        (9004, 5000, true),
        (4004, 4003, false),
        (1, 1, false),
        (7 + 4004 + 4004, 0, true),
        (7 + 4004 + 4004, 8015, true),
        (184 + 5, 189, true),
    ] {
        assert_eq!((cutter.next_write(&queue[at..]), cutter.is_between()), (write, begins), "at {at}");
        cutter.sent(write, taken);
        at += taken;
    }
    assert_eq!((at, cutter.next_write(b"")), (queue.len(), 0));
    assert_eq!(Cutter::new(Json).next_write(b"{}\n{}\n"), 6, "lines are sent together");
}

proptest! {
    #[test]
    fn any_stream_in_any_pieces(stream in proptest::collection::vec(prop_oneof![Just(b'\n'), 0u8..5, any::<u8>()], 0..200),
                                cuts in proptest::collection::vec(0usize..200, 0..8)) {
        for form in [Json, Advanced] {
            let mut whole = Frames::new(form);
            whole.push(&stream);
            let expected = drain(&mut whole);
            let mut cuts: Vec<usize> = cuts.iter().map(|&cut| cut.min(stream.len())).collect();
            cuts.sort_unstable();
            cuts.push(stream.len());
            let mut frames = Frames::new(form);
            let (mut found, mut from) = (Ok(Vec::new()), 0);
            for cut in cuts {
                frames.push(&stream[from..cut]);
                found = found.and_then(|found: Vec<_>| Ok([found, drain(&mut frames)?].concat()));
                from = cut;
            }
            prop_assert_eq!(&found, &expected);
            prop_assert!(expected.is_err() || frames.finish() == whole.finish());
        }
    }
}
