//! The thread with clients that are shown what is written into the pipes.

use super::*;
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use crate::control::Request;

fn id() -> RequestId {
    Request::parse(br#"{"id":"x","verb":"logs"}"#).unwrap().id
}

/// The other end of a connection.
struct Reader(BufReader<UnixStream>);

impl Reader {
    #[track_caller]
    fn next(&mut self) -> Option<Value> {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        (!line.is_empty()).then(|| serde_json::from_str(&line).unwrap())
    }

    /// The next one is a line of a worker's: its slot, worker, stream and text.
    #[track_caller]
    fn log(&mut self) -> String {
        let told = self.next().unwrap();
        let log = &told["log"];
        assert!(log["time"].as_str().unwrap().ends_with('Z') && told["id"] == "x", "{told}");
        let [slot, worker] = ["slot", "worker"].map(|key| log[key].as_u64().unwrap());
        format!("{slot}/{worker} {}: {}", log["stream"].as_str().unwrap(), log["line"].as_str().unwrap())
    }

    #[track_caller]
    fn ends(&mut self) {
        assert_eq!(self.next(), Some(json!({ "id": "x", "end": true })));
        assert_eq!(self.next(), None);
    }
}

/// A client's connection, and what it asks for of all workers.
fn asks(lines: usize, follow: bool) -> (Show, Reader) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_read_timeout(Some(LONG)).unwrap();
    let show = Show { client: ours.into(), id: id(), target: None, lines, follow, before: Vec::new() };
    (show, Reader(BufReader::new(theirs)))
}

/// One that is shown that, and has its answer.
fn shown(output: &Output, target: Option<Target>, lines: usize, follow: bool) -> Reader {
    let (show, mut reader) = asks(lines, follow);
    output.show(Show { target, ..show }).unwrap();
    assert_eq!(reader.next(), Some(json!({ "id": "x", "ok": {} })));
    reader
}

/// Both streams of all workers to one file.
fn to_file(directory: &tempfile::TempDir) -> (Output, impl Fn() -> String + use<>) {
    let (sink, text) = files(&directory.path().join("log"));
    (captured([&sink, &sink], [null(), null()], Rotation::default()), text)
}

/// Has a line written, and waits until it is read, and thus kept.
#[track_caller]
fn write(to: &mut Option<File>, line: &str, text: &impl Fn() -> String) {
    writeln!(to.as_mut().unwrap(), "{line}").unwrap();
    eventually(|| text().lines().any(|written| written.ends_with(&format!("] {line}"))));
}

#[test]
fn kept_lines_are_shown_in_their_order_and_that_is_all() {
    let directory = tempfile::tempdir().unwrap();
    let (output, text) = to_file(&directory);
    let [mut a_out, mut a_err] = worker(&output, 1, 0);
    let [mut b_out, _b_err] = worker(&output, 2, 5);
    write(&mut a_out, "one", &text);
    write(&mut b_out, "two", &text);
    write(&mut a_err, "three", &text);
    write(&mut a_out, "four", &text);
    let (show, mut reader) = asks(3, false);
    output.show(Show { before: b"{\"id\":0,\"ok\":{}}\n".to_vec(), ..show }).unwrap();
    assert_eq!(reader.next(), Some(json!({ "id": 0, "ok": {} })));
    assert_eq!(reader.next(), Some(json!({ "id": "x", "ok": {} })));
    let lines = [reader.log(), reader.log(), reader.log()];
    assert_eq!(lines, ["5/2 stdout: two", "0/1 stderr: three", "0/1 stdout: four"]);
    reader.ends();
    shown(&output, None, 0, false).ends();
    let mut all = shown(&output, None, usize::MAX, false);
    assert_eq!(all.log(), "0/1 stdout: one");
}

#[test]
fn who_follows_is_told_each_line_when_it_has_come_to_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let (output, text) = to_file(&directory);
    let [mut out, err] = worker(&output, 1, 0);
    write(&mut out, "one", &text);
    write(&mut out, "two", &text);
    let mut reader = shown(&output, None, 1, true);
    assert_eq!(reader.log(), "0/1 stdout: two");
    let (mut out, mut err) = (out.unwrap(), err.unwrap());
    out.write_all(b"begun").unwrap();
    // It is shown as a prompt is.
    eventually(|| text().ends_with("] begun"));
    writeln!(err, "meanwhile").unwrap();
    assert_eq!(reader.log(), "0/1 stderr: meanwhile");
    out.write_all(b", ended\r\n\xff\xc3\xa9\nlast").unwrap();
    assert_eq!(reader.log(), "0/1 stdout: begun, ended");
    assert_eq!(reader.log(), "0/1 stdout: \u{fffd}\u{e9}");
    drop(out);
    assert_eq!(reader.log(), "0/1 stdout: last");
}

#[test]
fn a_worker_is_one_and_a_slot_is_whoever_has_it() {
    let directory = tempfile::tempdir().unwrap();
    let (output, text) = to_file(&directory);
    let [mut first, _] = worker(&output, 1, 0);
    let [mut other, _] = worker(&output, 2, 1);
    write(&mut first, "a", &text);
    let mut all = shown(&output, None, 100, true);
    let mut slot = shown(&output, Some(Target::Slot(0)), 100, true);
    let mut one = shown(&output, Some(Target::Worker(WorkerId(1))), 100, true);
    write(&mut other, "b", &text);
    let [mut successor, _] = worker(&output, 3, 0);
    write(&mut successor, "c", &text);
    write(&mut first, "d", &text);
    for (reader, expected) in [
        (&mut all, &["0/1 stdout: a", "1/2 stdout: b", "0/3 stdout: c", "0/1 stdout: d"][..]),
        (&mut slot, &["0/1 stdout: a", "0/3 stdout: c", "0/1 stdout: d"]),
        (&mut one, &["0/1 stdout: a", "0/1 stdout: d"]),
    ] {
        expected.iter().for_each(|expected| assert_eq!(reader.log(), *expected));
    }
    let mut kept = shown(&output, Some(Target::Worker(WorkerId(3))), 100, false);
    assert_eq!(kept.log(), "0/3 stdout: c");
    kept.ends();
    drop(output);
    assert!([all, slot, one].iter_mut().all(|reader| reader.next().is_none()), "there were no others");
}

#[test]
fn a_long_line_comes_in_parts() {
    let directory = tempfile::tempdir().unwrap();
    let (output, _) = to_file(&directory);
    let [Some(mut out), _] = worker(&output, 1, 0) else { panic!("it is not captured") };
    let mut reader = shown(&output, None, 100, true);
    let line: String = ('a'..='z').cycle().take(40_000).collect();
    writeln!(out, "{line}").unwrap();
    let parts = [reader.log(), reader.log(), reader.log()];
    let parts = parts.map(|part| part.strip_prefix("0/1 stdout: ").unwrap().to_owned());
    assert_eq!((parts.concat(), parts[0].len()), (line, 16 << 10));
    writeln!(out, "short").unwrap();
    assert_eq!(reader.log(), "0/1 stdout: short");
}

#[test]
fn who_reads_nothing_loses_lines_and_nobody_waits_for_it() {
    const LINES: u64 = 40_000;
    let directory = tempfile::tempdir().unwrap();
    let (output, text) = to_file(&directory);
    let [out, mut err] = worker(&output, 1, 0);
    let mut stalled = shown(&output, None, 0, true);
    write_numbers(out.unwrap(), 0..40_000).join().unwrap();
    eventually(|| text().lines().count() == 40_000);
    let mut quick = shown(&output, None, 0, true);
    for number in 0..3 {
        write(&mut err, &format!("for all {number}"), &text);
        assert_eq!(quick.log(), format!("0/1 stderr: for all {number}"));
    }
    // What is missing is as many lines as it says, and there.
    let (mut next, mut lost) = (0, 0);
    while next < LINES + 3 {
        let told = stalled.next().unwrap();
        if let Some(dropped) = told["dropped"].as_u64() {
            (next, lost) = (next + dropped, lost + dropped);
        } else {
            let expected = if next < LINES { next.to_string() } else { format!("for all {}", next - LINES) };
            assert_eq!(told["log"]["line"], expected);
            next += 1;
        }
    }
    assert!(lost > LINES / 2, "{lost}");
    write(&mut err, "again", &text);
    assert_eq!(stalled.log(), "0/1 stderr: again");
}

#[test]
fn so_many_follow_and_who_leaves_makes_room() {
    let directory = tempfile::tempdir().unwrap();
    let (output, text) = to_file(&directory);
    let [mut out, _] = worker(&output, 1, 0);
    let follow = || shown(&output, None, 10, true);
    let mut followers: Vec<_> = (0..32).map(|_| follow()).collect();
    let (show, mut refused) = asks(10, true);
    output.show(show).unwrap();
    assert_eq!(refused.next().unwrap()["error"]["code"], "busy");
    assert_eq!(refused.next(), None);
    shown(&output, None, 10, false).ends();
    drop(followers.drain(..3));
    let mut late: Vec<_> = Vec::new();
    eventually(|| {
        let (show, mut reader) = asks(10, true);
        output.show(show).unwrap();
        late.extend(reader.next().is_some_and(|told| told["ok"].is_object()).then_some(reader));
        late.len() == 3
    });
    write(&mut out, "for all", &text);
    let all = followers.iter_mut().chain(&mut late);
    assert_eq!(all.map(|reader| reader.log()).filter(|line| line == "0/1 stdout: for all").count(), 32);
}

#[test]
fn what_a_client_sends_is_not_read_and_does_not_harm_it() {
    let directory = tempfile::tempdir().unwrap();
    let (output, text) = to_file(&directory);
    let [mut out, _] = worker(&output, 1, 0);
    write(&mut out, "one", &text);
    for follow in [false, true] {
        let (show, mut reader) = asks(10, follow);
        let sent = vec![b'x'; 100_000];
        reader.0.get_mut().write_all(&sent).unwrap();
        // As `socat` does when its input ends.
        reader.0.get_mut().shutdown(std::net::Shutdown::Write).unwrap();
        output.show(show).unwrap();
        assert_eq!(reader.next(), Some(json!({ "id": "x", "ok": {} })));
        assert_eq!(reader.log(), "0/1 stdout: one");
        if follow {
            writeln!(out.as_mut().unwrap(), "two").unwrap();
            assert_eq!(reader.log(), "0/1 stdout: two");
        } else {
            reader.ends();
        }
    }
}

#[test]
fn the_end_comes_after_the_last_line() {
    let directory = tempfile::tempdir().unwrap();
    let (output, _) = to_file(&directory);
    let [Some(out), Some(mut err)] = worker(&output, 1, 0) else { panic!("it is not captured") };
    let mut reader = shown(&output, Some(Target::Slot(0)), 0, true);
    let stalled = shown(&output, None, 0, true);
    let thread = thread::spawn(move || {
        let mut text = String::new();
        reader.0.read_to_string(&mut text).map(|_| text)
    });
    write_numbers(out, 0..10_000).join().unwrap();
    err.write_all(b"goodbye\nand").unwrap();
    drop(output);
    let text = thread.join().unwrap().unwrap();
    let told: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let lines = told.iter().filter_map(|told| told["log"]["line"].as_str());
    let last: Vec<_> = lines.filter(|line| line.parse::<u32>().is_err()).collect();
    let dropped: u64 = told.iter().filter_map(|told| told["dropped"].as_u64()).sum();
    assert_eq!(told.iter().filter(|told| told["log"].is_object()).count() as u64 + dropped, 10_002);
    // Of ten thousand lines at once some may be missing; these last ones are, too, if nobody had time to read.
    assert!(dropped > 0 || last == ["goodbye", "and"], "{last:?}");
    drop(stalled);
}

#[test]
fn where_nothing_is_captured_a_client_comes_back() {
    let (show, mut reader) = asks(10, true);
    let show = Output::default().show(show).unwrap_err();
    drop(show);
    assert_eq!(reader.next(), None);
}
