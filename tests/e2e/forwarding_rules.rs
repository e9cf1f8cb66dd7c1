//! Lanes, and what a reload changes of how they forward.

use std::{collections::BTreeSet, fs, path::PathBuf, thread};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Control, Master, Pointsman, Process, Upstream, eventually, first_port};

/// A configuration file that changes.
struct Written {
    directory: TempDir,
}

impl Written {
    fn new(text: &str) -> Self {
        let written = Self { directory: tempfile::tempdir().unwrap() };
        written.write(text);
        written
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("pointsman.toml")
    }

    fn write(&self, text: &str) {
        fs::write(self.path(), format!("mode = \"multiport\"\n{text}\n")).unwrap();
    }
}

/// Reloads, and returns what was warned of.
fn reload(control: &mut Control) -> String {
    let answer = control.done(&json!({ "verb": "reload", "wait": true }));
    answer["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn lanes(control: &mut Control) -> Vec<Value> {
    control.done(&json!({ "verb": "status" }))["lanes"].as_array().cloned().unwrap_or_default()
}

#[test]
fn three_lanes_all_serve() {
    let upstream = Upstream::saying("ok");
    let master = Pointsman::before(&[&upstream]).option("--lanes", "3").start();
    master.lane(3);
    let mut control = master.control();
    eventually("all are ready", || {
        lanes(&mut control).iter().filter(|lane| lane["state"] == "ready").count() == 3
    });
    let place = master.place();
    let client = |_| {
        let place = place.clone();
        thread::spawn(move || {
            for _ in 0..25 {
                assert_eq!(place.connect().unwrap().get("/").unwrap().text(), "ok");
            }
        })
    };
    // Each lane has connections of its own to the upstream.
    eventually("all have served", || {
        (0..12).map(client).collect::<Vec<_>>().into_iter().for_each(|thread| thread.join().unwrap());
        master.lanes().into_iter().all(|lane| connects_to(lane, upstream.address().port()))
    });
    drop(control);
    master.finish();
}

/// Whether a process has a connection of its own to this port of this machine.
fn connects_to(process: Process, port: u16) -> bool {
    let directory = format!("/proc/{}/fd", process.pid());
    let links = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    let sockets: BTreeSet<_> = links.map(|link| link.display().to_string()).collect();
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let suffix = format!(":{port:04X}");
    table.lines().skip(1).any(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        words[2].ends_with(&suffix) && sockets.contains(&format!("socket:[{}]", words[9]))
    })
}

fn post(master: &Master, length: usize) -> u16 {
    master.connect().post("/", &vec![b'x'; length]).unwrap().status
}

#[test]
fn a_reload_takes_new_rules_up() {
    let upstream = Upstream::saying("ok");
    let other = Upstream::saying("other");
    let (one, two) = (upstream.address(), other.address());
    let list = format!("workers = 0\nupstreams = [\"{one}\"]\n");
    let file = Written::new(&format!("{list}max_body = \"1KiB\""));
    let master = Pointsman::run().option("-c", file.path()).start();
    eventually("it serves", || post(&master, 1000) == 200);
    assert_eq!(post(&master, 1500), 413);
    let mut control = master.control();
    file.write(&format!("{list}max_body = \"2KiB\"\nforwarded = true\nlanes = 2"));
    assert_eq!(reload(&mut control), "", "all of it can be changed");
    // The lane before may still have taken the last one or two.
    eventually("the new rule holds", || post(&master, 1500) == 200);
    assert_eq!(post(&master, 2500), 413);
    let seen = upstream.requests().pop().unwrap();
    assert_eq!(seen.values("Forwarded").len(), 1, "{}", seen.head);
    eventually("there are two lanes", || lanes(&mut control).len() == 2);
    // And who gets them.
    file.write(&format!("workers = 0\nupstreams = [\"{two}\"]\nlanes = 1\nmax_body = \"off\""));
    assert_eq!(reload(&mut control), "");
    eventually("the other is asked", || master.get("/").text() == "other");
    let before = upstream.requests().len();
    for _ in 0..10 {
        assert_eq!(master.connect().post("/", &[b'x'; 9000]).unwrap().text(), "other");
    }
    assert_eq!(upstream.requests().len(), before);
    eventually("there is one lane", || lanes(&mut control).len() == 1);
    drop(control);
    master.finish();
}

#[test]
fn pages_are_read_anew_at_each_reload() {
    let file =
        Written::new("workers = 0\nupstreams = [\"127.0.0.1:9\"]\nerror_pages = { 5xx = \"page.html\" }");
    let page = file.directory.path().join("page.html");
    fs::write(&page, "first").unwrap();
    let master = Pointsman::run().option("-c", file.path()).start();
    eventually("it serves", || master.get("/").text() == "first");
    fs::write(&page, "second").unwrap();
    let mut control = master.control();
    assert_eq!(reload(&mut control), "");
    eventually("the new page is shown", || master.get("/").text() == "second");
    drop(control);
    master.finish();
}

#[test]
fn what_workers_listen_on_changes_with_them() {
    let (first, second) = (first_port(), first_port());
    let file = Written::new(&format!("workers = 2\nupstream_port = {first}"));
    // Not by `wait_ready`: what it has open grows, since it keeps the ports that it has claimed.
    let master = Pointsman::run().option("-c", file.path()).start();
    eventually("it serves", || {
        master.try_connect().is_ok_and(|mut client| client.get("/").is_ok_and(|answer| answer.status == 200))
    });
    let mut control = master.control();
    let mut addresses = || -> Vec<String> {
        let status = control.done(&json!({ "verb": "status" }));
        let all = status["upstreams"].as_array().unwrap().iter().filter(|one| one["draining"] != true);
        all.map(|one| one["address"].as_str().unwrap().to_owned()).collect()
    };
    let both = [format!("127.0.0.1:{first}"), format!("127.0.0.1:{}", first + 2)];
    eventually("both workers are there", || addresses() == both);
    let mut other = master.control();
    file.write(&format!("workers = 2\nupstream_port = {second}"));
    assert_eq!(reload(&mut other), "");
    eventually("they have others", || {
        addresses().iter().all(|address| {
            let port: u16 = address.rsplit_once(':').unwrap().1.parse().unwrap();
            (second..second + 4).contains(&port)
        })
    });
    file.write("workers = 2\nupstream = \"unix\"");
    assert_eq!(reload(&mut other), "");
    eventually("they have sockets", || addresses().iter().all(|address| address.starts_with("unix:/")));
    assert_eq!(master.get("/").status, 200);
    drop((control, other));
    master.finish();
}

#[test]
fn what_takes_a_new_start_is_named_and_stays() {
    let upstream = Upstream::saying("ok");
    let list = format!("workers = 0\nupstreams = [\"{}\"]", upstream.address());
    let file = Written::new(&list);
    let run = Pointsman::run()
        .option("-c", file.path())
        .expect_log("a reload does not change protocol, access_log");
    let master = run.start();
    eventually("it serves", || master.get("/").text() == "ok");
    let log = file.directory.path().join("access.log");
    file.write(&format!("{list}\nprotocol = \"tcp\"\naccess_log = \"access.log\""));
    let mut control = master.control();
    let warned = reload(&mut control);
    assert!(warned.contains("a reload does not change protocol, access_log:"), "{warned}");
    assert_eq!(upstream.requests().last().unwrap().values("Via").len(), 1, "it is HTTP as before");
    assert!(!log.exists());
    drop(control);
    master.finish();
    assert!(!log.exists());
}
