//! The thread with pipes that the tests write into, as workers would.

mod logs;

use super::*;
use std::{
    fs::{self, File},
    io::{BufRead, BufReader, PipeWriter, Read, Write, pipe},
    ops::Range,
    path::Path,
    thread,
};

use crate::time::Time;

const LONG: Duration = Duration::from_secs(30);

fn null() -> File {
    File::options().write(true).open("/dev/null").unwrap()
}

fn captured(sinks: [&Sink; 2], own: Streams<File>, rotation: Rotation) -> Output {
    let outlets = Outlets::open(sinks, None, own, rotation, 0).unwrap();
    Output(Some(Captured::start(sinks.map(|sink| *sink != Sink::Inherit), false, outlets).unwrap()))
}

/// A worker's ends of its pipes.
fn worker(output: &Output, id: u32, slot: u32) -> Streams<Option<File>> {
    let Pipes { ours, stdout, stderr } = output.pipes(None).unwrap();
    output.adopt(WorkerId(id), Writer::Slot(slot), ours);
    [stdout, stderr].map(|end| end.map(File::from))
}

/// Its standard output alone.
fn stdout(output: &Output, slot: u32) -> File {
    let [Some(stdout), _] = worker(output, 100 + slot, slot) else { panic!("it is not captured") };
    stdout
}

fn files(path: &Path) -> (Sink, impl Fn() -> String + use<>) {
    let read = path.to_owned();
    (Sink::File(path.to_owned()), move || fs::read_to_string(&read).unwrap_or_default())
}

#[track_caller]
fn eventually(mut condition: impl FnMut() -> bool) {
    let end = clock::now() + LONG;
    while !condition() {
        assert!(clock::now() < end, "this did not happen within {LONG:?}");
        thread::park_timeout(Duration::from_millis(2));
    }
}

#[track_caller]
fn event(output: &Output) -> Event {
    output.0.as_ref().unwrap().events.recv_timeout(LONG).unwrap()
}

#[test]
fn lines_have_the_slot_before_them_and_everything_is_written_at_the_end() {
    let (mut out, theirs) = pipe().unwrap();
    let (mut err, their_err) = pipe().unwrap();
    let own = [theirs, their_err].map(|end: PipeWriter| File::from(OwnedFd::from(end)));
    let output = captured([&Sink::Prefix, &Sink::Prefix], own, Rotation::default());
    let [mut a_out, mut a_err] = worker(&output, 1, 0).map(Option::unwrap);
    let [mut b_out, _b_err] = worker(&output, 2, 11).map(Option::unwrap);
    a_out.write_all(b"o\x1b[1mne\ntw").unwrap();
    a_err.write_all(b"error\n").unwrap();
    b_out.write_all(b"b").unwrap();
    drop(output);
    let mut text = [String::new(), String::new()];
    out.read_to_string(&mut text[OUT]).unwrap();
    err.read_to_string(&mut text[ERR]).unwrap();
    let mut lines: Vec<_> = text[OUT].split_terminator('\n').collect();
    lines.sort_unstable();
    assert_eq!(lines, ["[0] o\x1b[1mne", "[0] tw", "[11] b"]);
    assert_eq!(text[ERR], "[0] error\n");
    assert_eq!(a_out.write(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe, "nobody reads it any more");
}

#[test]
fn a_prompt_is_shown_without_its_end_and_the_rest_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let (sink, text) = files(&directory.path().join("log"));
    let output = captured([&sink, &Sink::Inherit], [null(), null()], Rotation::default());
    let (mut a, mut b) = (stdout(&output, 0), stdout(&output, 1));
    a.write_all(b"name? ").unwrap();
    eventually(|| text() == "[0] name? ");
    a.write_all(b"x\nage? ").unwrap();
    eventually(|| text() == "[0] name? x\n[0] age? ");
    b.write_all(b"b\n").unwrap();
    eventually(|| text().ends_with("[0] age? \n[1] b\n"));
    a.write_all(b"1").unwrap();
    drop(a);
    eventually(|| text().ends_with("[1] b\n[0] 1\n"));
}

/// Writes `y` without end until nobody reads.
fn yes(mut to: File) -> thread::JoinHandle<()> {
    let block = b"y\n".repeat(8 << 10);
    thread::spawn(move || while to.write_all(&block).is_ok() {})
}

#[test]
fn who_writes_without_end_slows_only_itself() {
    let (reader, writer) = pipe().unwrap();
    let own = [OwnedFd::from(writer).into(), null()];
    let output = captured([&Sink::Prefix, &Sink::Inherit], own, Rotation::default());
    let endless: Vec<_> = (0..3).map(|slot| yes(stdout(&output, slot))).collect();
    let mut quiet = stdout(&output, 7);
    let mut lines = BufReader::new(reader).lines().map(Result::unwrap);
    // Whoever reads our stream is the slowest: it is full all the time.
    assert!(lines.by_ref().take(100_000).all(|line| line.ends_with("] y")));
    for number in 0..20 {
        writeln!(quiet, "{number}").unwrap();
        let expected = format!("[7] {number}");
        // What was read before it, and a turn of each: three times 64 KiB are a hundred thousand of these lines.
        assert!(lines.by_ref().take(200_000).any(|line| line == expected), "{number}");
    }
    drop(lines);
    drop(output);
    endless.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn a_stream_that_nobody_reads_stops_neither_files_nor_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let (sink, text) = files(&directory.path().join("log"));
    let (reader, writer) = pipe().unwrap();
    let output =
        captured([&Sink::Prefix, &sink], [OwnedFd::from(writer).into(), null()], Rotation::default());
    let [out, err] = worker(&output, 1, 0).map(Option::unwrap);
    let endless = yes(out);
    let mut err = err;
    // The stream is full by now, or will be; either way this comes through.
    for number in 0..100 {
        writeln!(err, "{number}").unwrap();
        eventually(|| text().ends_with(&format!("[0] {number}\n")));
    }
    let (ended, end) = mpsc::channel();
    thread::spawn(move || {
        let start = clock::now();
        drop(output);
        ended.send(clock::now() - start)
    });
    let took = end.recv_timeout(LONG).unwrap();
    assert!(took < LAST + GRACE * 4, "{took:?}");
    endless.join().unwrap();
    drop(reader);
}

#[test]
fn a_terminal_that_is_slow_is_waited_for() {
    let pty = nix::pty::openpty(None, None).unwrap();
    let name = nix::unistd::ttyname(&pty.slave).unwrap();
    let output = captured([&Sink::File(name), &Sink::Inherit], [null(), null()], Rotation::default());
    let writer = write_numbers(stdout(&output, 0), 0..5_000);
    let (line, lines) = mpsc::channel();
    let seen = BufReader::new(File::from(pty.master)).lines();
    thread::spawn(move || seen.map_while(Result::ok).try_for_each(|seen| line.send(seen)));
    for number in 0..5_000 {
        assert_eq!(lines.recv_timeout(LONG).unwrap(), format!("[0] {number}"));
    }
    writer.join().unwrap();
}

/// Lines with these numbers, in writes of many sizes.
fn write_numbers(mut to: File, numbers: Range<u32>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let text: String = numbers.map(|number| format!("{number}\n")).collect();
        let (mut rest, mut size) = (text.as_bytes(), 1);
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(size));
            to.write_all(now).unwrap();
            (rest, size) = (later, size * 7 % 10_007);
        }
    })
}

/// All that NAME and its older ones hold, the oldest first.
fn all_text(path: &Path) -> String {
    let older = |number: u32| path.with_extension(number.to_string());
    let count = (1..).take_while(|&number| older(number).exists()).count();
    let numbers = (1..=u32::try_from(count).unwrap()).rev();
    let older: String = numbers.map(|number| fs::read_to_string(older(number)).unwrap()).collect();
    older + &fs::read_to_string(path).unwrap()
}

#[test]
fn rotation_under_load_loses_and_doubles_no_line() {
    const LINES: u32 = 40_000;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let max_bytes = Some(10_000);
    let output = captured(
        [&Sink::File(path.clone()), &Sink::Inherit],
        [null(), null()],
        Rotation { max_bytes, keep: u32::MAX },
    );
    let writers: Vec<_> = (0..3).map(|slot| write_numbers(stdout(&output, slot), 0..LINES)).collect();
    for writer in writers {
        output.order(Order::Reopen);
        writer.join().unwrap();
    }
    drop(output);
    let text = all_text(&path);
    for slot in 0..3 {
        let prefix = format!("[{slot}] ");
        let numbers = text.lines().filter_map(|line| line.strip_prefix(&prefix)?.parse::<u32>().ok());
        assert!(numbers.eq(0..LINES), "of slot {slot}");
    }
    assert_eq!(text.lines().count(), 3 * LINES as usize);
    let large = fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().metadata().unwrap().len());
    assert!(large.max().unwrap() <= 10_000);
}

#[test]
fn files_that_are_moved_away_while_written_lose_nothing() {
    const LINES: u32 = 40_000;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let sink = Sink::File(path.clone());
    let output = captured([&sink, &Sink::Inherit], [null(), null()], Rotation::default());
    let writer = write_numbers(stdout(&output, 0), 0..LINES);
    let mut moved = Vec::new();
    for number in 0..20 {
        eventually(|| writer.is_finished() || fs::metadata(&path).is_ok_and(|data| data.len() > 0));
        moved.push(directory.path().join(format!("moved.{number}")));
        fs::rename(&path, &moved[number]).unwrap();
        output.order(Order::Reopen);
        // The last of them may have taken everything.
        eventually(|| path.exists());
        if writer.is_finished() {
            break;
        }
    }
    writer.join().unwrap();
    drop(output);
    let text: String = moved.iter().chain([&path]).map(|path| fs::read_to_string(path).unwrap()).collect();
    // A line that had begun when its file was left ends in the next one, where the slot is said again.
    let text = text.replace("[0] ", "");
    assert!(text.lines().map(|line| line.parse::<u32>().unwrap()).eq(0..LINES));
}

#[test]
fn a_file_that_cannot_be_opened_anew_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let sub = directory.path().join("sub");
    fs::create_dir(&sub).unwrap();
    let (path, moved) = (sub.join("log"), directory.path().join("moved"));
    let output = captured([&Sink::File(path.clone()), &Sink::Inherit], [null(), null()], Rotation::default());
    let mut out = stdout(&output, 0);
    writeln!(out, "1").unwrap();
    eventually(|| path.exists());
    fs::rename(&sub, &moved).unwrap();
    output.order(Order::Reopen);
    let told = event(&output);
    assert!(matches!(&told, Event::OutputKept { sink, errno: libc::ENOENT } if **sink == *path), "{told:?}");
    writeln!(out, "2").unwrap();
    eventually(|| fs::read_to_string(moved.join("log")).unwrap() == "[0] 1\n[0] 2\n");
}

#[test]
fn last_words_are_those_of_standard_error_or_else_of_standard_output() {
    let directory = tempfile::tempdir().unwrap();
    let sink = Sink::File(directory.path().join("log"));
    let output = captured([&sink, &sink], [null(), null()], Rotation::default());
    for (id, out, err, wanted, expected) in [
        (1, "out\n", "a\n\x1b[1mb", true, Some(&["a", "\x1b[1mb"][..])),
        (2, "out\n", "\n", true, Some(&["out"])),
        (3, "", " \n", true, None),
        (4, "out\n", "err\n", false, None),
    ] {
        let [mut stdout, mut stderr] = worker(&output, id, 0).map(Option::unwrap);
        stdout.write_all(out.as_bytes()).unwrap();
        stderr.write_all(err.as_bytes()).unwrap();
        output.ended(WorkerId(id), wanted);
        drop((stdout, stderr));
        if let Some(expected) = expected {
            let Event::LastWords { worker, lines, shown: false } = event(&output) else { panic!("{id}") };
            assert_eq!(
                (worker, &lines.iter().map(String::as_str).collect::<Vec<_>>()[..]),
                (WorkerId(id), expected)
            );
        }
    }
    output.order(Order::Finish { until: Time::default() });
    assert!(output.0.as_ref().unwrap().events.recv_timeout(LONG).is_err(), "there are no others");
}

#[test]
fn last_words_do_not_wait_for_who_else_holds_the_pipe() {
    let directory = tempfile::tempdir().unwrap();
    let (sink, text) = files(&directory.path().join("log"));
    let output = captured([&Sink::Inherit, &sink], [null(), null()], Rotation::default());
    let [_, stderr] = worker(&output, 1, 0);
    let mut grandchild = stderr.unwrap();
    writeln!(grandchild, "boom").unwrap();
    output.ended(WorkerId(1), true);
    let told = event(&output);
    assert!(matches!(&told, Event::LastWords { lines, .. } if lines[..] == ["boom"]), "{told:?}");
    writeln!(grandchild, "and on").unwrap();
    eventually(|| text() == "[0] boom\n[0] and on\n");
}
