//! The access log: each request is one line that other tools can read, whatever clients send, and nobody waits for it.

use std::{
    ffi::CString,
    fs::{self, File, OpenOptions},
    io::{BufRead, BufReader},
    os::unix::{ffi::OsStrExt, fs::OpenOptionsExt},
    path::Path,
    process::Command,
};

use nix::sys::{signal::Signal, stat::Mode};
use serde_json::Value;

use crate::harness::{Master, Pointsman, Upstream, eventually, python};

/// As GoAccess and its like read `combined`, and what stands behind it.
const COMBINED: &str = r#"^(\S+) - - \[(\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000)\] "((?:[^"\\]|\\x[0-9A-F]{2})*)" (\d{3}) (\d+) "((?:[^"\\]|\\x[0-9A-F]{2})*)" "((?:[^"\\]|\\x[0-9A-F]{2})*)" (\d+\.\d{3}) (\d+\.\d{3}|-) (\d+\.\d{3}|-) (\d+) (\S+) ([a-z-]+)$"#;

/// The groups of each line, by Python's own expressions.
#[track_caller]
fn parse(path: &Path) -> Vec<Vec<String>> {
    let script = "import json, re, sys\n\
        lines = open(sys.argv[1], 'rb').read().decode('ascii').split('\\n')\n\
        assert lines.pop() == '', 'the last line ends'\n\
        found = [re.match(sys.argv[2], line) for line in lines]\n\
        assert all(found), [line for line, match in zip(lines, found) if not match]\n\
        print(json.dumps([match.groups() for match in found]))";
    let output = Command::new(python()).args(["-c", script]).arg(path).arg(COMBINED).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn lines(path: &Path) -> usize {
    text(path).lines().count()
}

fn start(upstream: &Upstream, path: &Path, format: &str) -> Master {
    let run =
        Pointsman::before(&[upstream]).option("--access-log", path).option("--access-log-format", format);
    run.start()
}

/// Requests with what would break a careless log.
fn send_hostile(master: &Master) {
    for (target, agent, referer) in [
        ("/plain?a=b", "curl/8.5.0", "http://a/"),
        ("/quote\"end", "a\" 200 1 \"b", "\\"),
        ("/ansi", "\x1b[31mred\x1b[0m", "tab\there"),
        ("/utf", "gr\u{fc}n \u{1f600}", "\u{2028}"),
        ("/json", "\"},{\"status\":1", "\\u0000\\"),
    ] {
        let mut client = master.connect();
        let head =
            format!("GET {target} HTTP/1.1\r\nHost: a\r\nUser-Agent: {agent}\r\nReferer: {referer}\r\n\r\n");
        client.send_raw(head.as_bytes()).unwrap();
        client.receive().unwrap();
    }
    let mut client = master.connect();
    client.send_raw(b"GET /bytes\xff\xfe HTTP/1.1\r\nHost: a\r\nUser-Agent: \xff\xfe\r\n\r\n").unwrap();
    client.receive().unwrap();
    let mut client = master.connect();
    client.send_raw(b"no request\x00\x07 at all\r\n\r\n").unwrap();
    client.receive().unwrap();
}

#[test]
fn combined_is_read_by_who_reads_nginx() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let upstream = Upstream::saying("hello");
    let master = start(&upstream, &path, "combined");
    send_hostile(&master);
    eventually("all lines are there", || lines(&path) == 7);
    let all = parse(&path);
    let first = &all[0];
    assert_eq!(first[0], "127.0.0.1");
    assert_eq!(&first[2..7], ["GET /plain?a=b HTTP/1.1", "200", "5", "http://a/", "curl/8.5.0"]);
    assert_eq!(&first[10..], ["1", &upstream.address().to_string(), "done"]);
    assert_eq!(all.iter().filter(|line| line[3] == "200").count(), upstream.requests().len());
    assert_eq!((&*all[6][3], &*all[6][10], &*all[6][11], &*all[6][12]), ("400", "0", "-", "bad-request"));
    assert!(text(&path).bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)));
    master.finish();
}

#[test]
fn json_is_an_object_in_each_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let upstream = Upstream::saying("hello");
    let master = start(&upstream, &path, "json");
    send_hostile(&master);
    let mut client = master.connect();
    let request = "POST /p HTTP/1.1\r\nHost: shop\r\nX-Request-ID: id-7\r\nContent-Length: 4\r\n\r\nbody";
    assert_eq!(client.ask(request).unwrap().status, 200);
    drop(client);
    eventually("all lines are there", || lines(&path) == 8);
    let text = text(&path);
    let all: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(all[0]["agent"], "curl/8.5.0");
    assert_eq!(
        all[2]["agent"].as_str().unwrap_or_default().contains("red"),
        all[2]["status"] == 200,
        "{}",
        all[2]
    );
    assert_eq!(all[4]["agent"], "\"},{\"status\":1");
    assert_eq!(all[6]["status"], 400);
    let last = &all[7];
    for (name, expected) in
        [("request", "POST /p HTTP/1.1"), ("host", "shop"), ("id", "id-7"), ("reason", "done")]
    {
        assert_eq!(last[name], expected);
    }
    assert_eq!(
        (last["received"].as_u64(), last["sent"].as_u64(), last["tries"].as_u64()),
        (Some(4), Some(5), Some(1))
    );
    assert!(last["time"].as_str().unwrap().ends_with('Z') && last["response_time"].is_number());
    master.finish();
}

/// As logrotate does it.
#[test]
fn a_file_that_was_moved_is_opened_anew() {
    let directory = tempfile::tempdir().unwrap();
    let (path, moved) = (directory.path().join("access.log"), directory.path().join("access.log.1"));
    let upstream = Upstream::saying("hello");
    let master = start(&upstream, &path, "combined");
    let mut client = master.connect();
    let mut ask = |count: usize| (0..count).for_each(|_| assert_eq!(client.get("/").unwrap().status, 200));
    ask(3);
    eventually("all lines are there", || lines(&path) == 3);
    fs::rename(&path, &moved).unwrap();
    master.signal(Signal::SIGUSR1);
    eventually("there is a new file", || path.exists());
    ask(4);
    eventually("the next are in the new file", || lines(&path) == 4);
    assert_eq!((parse(&moved).len(), parse(&path).len()), (3, 4));
    drop(client);
    master.finish();
}

/// What was written in a lane's last moment is there, too.
#[test]
fn no_line_is_missing_after_reloads_and_a_stop() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let run = Pointsman::multiport().workers(1).option("--access-log", &path);
    let mut master = run.start();
    master.wait_ready(1);
    let mut control = master.control();
    eventually("what was asked so far is there", || lines(&path) > 0);
    let before = lines(&path);
    for turn in 1..=3 {
        for _ in 0..20 {
            assert_eq!(master.get("/").status, 200);
        }
        control.done(&serde_json::json!({ "verb": "reload", "wait": true }));
        eventually("they are all there", || lines(&path) == before + 20 * turn);
    }
    (0..20).for_each(|_| assert_eq!(master.get("/").status, 200));
    drop(control);
    master.finish();
    assert_eq!(parse(&path).len(), before + 80);
}

/// Standard output is a pipe that nobody reads.
#[test]
fn a_reader_that_does_not_read_stops_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fifo");
    nix::unistd::mkfifo(&path, Mode::from_bits_truncate(0o600)).unwrap();
    // Kept open for both, so that whoever opens it for one does not wait.
    let both =
        OpenOptions::new().read(true).write(true).custom_flags(nix::libc::O_NONBLOCK).open(&path).unwrap();
    let quoted = CString::new(path.as_os_str().as_bytes()).unwrap();
    let upstream = Upstream::saying("hello");
    let run = Pointsman::before(&[&upstream]).option("--access-log", "stdout").option("--admin", "0");
    let master = run.after(&format!("exec >'{}'", quoted.to_str().unwrap())).start();
    let agent = "x".repeat(4000);
    let mut client = master.connect();
    // More than the pipe and the lane's own memory for it hold together.
    for _ in 0..600 {
        let answer = client.ask(&format!("GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: {agent}\r\n\r\n"));
        assert_eq!(answer.unwrap().status, 200);
    }
    drop(client);
    // What was lost is counted, and what is written are whole lines.
    let admin = crate::admin::admin(&master);
    eventually("lost lines are counted", || {
        let metrics = crate::metrics::Metrics::read(&admin, crate::metrics::Format::Text);
        metrics.of("pointsman_access_log_lines_dropped_total", &[]).is_some_and(|count| count > 100.0)
    });
    drop(both);
    let reader = File::open(&path);
    let reading = std::thread::spawn(move || {
        BufReader::new(reader.unwrap())
            .lines()
            .map_while(Result::ok)
            .map(|line| line.len())
            .collect::<Vec<_>>()
    });
    master.finish();
    let lengths = reading.join().unwrap();
    assert!(!lengths.is_empty() && lengths.iter().all(|length| *length > 4000), "{lengths:?}");
}
