//! Hundreds of clients that are as slow as they may be, by slowhttptest, cost others nothing.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::harness::{Master, Pointsman, Upstream, eventually, now};

const CLIENTS: usize = 300;
/// What a request may take meanwhile. It takes a millisecond; the machine may be busy with other tests.
const AT_ONCE: Duration = Duration::from_secs(2);

fn attack(master: &Master, arguments: &[&str]) -> Child {
    let mut command = Command::new("slowhttptest");
    command.args(["-c", &CLIENTS.to_string(), "-r", "200", "-l", "20", "-p", "20"]).args(arguments);
    command.args(["-u", &format!("http://{}/", master.address())]);
    let silent = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    silent.spawn().unwrap_or_else(|error| panic!("slowhttptest: {error}; run scripts/setup"))
}

/// Serves others while they are all there, and then lets them go.
fn withstand(arguments: &[&str]) {
    let upstream = Upstream::start(|served| {
        loop {
            let request = served.request()?;
            let length = if request.line().contains("/quick") { 10 } else { 200_000 };
            served.answer(&"x".repeat(length))?;
        }
    });
    let run =
        Pointsman::before(&[&upstream]).option("--header-timeout", "20s").option("--body-timeout", "20s");
    // Those would be counted with the connections of clients.
    let master = run.option("--upstream-keepalive", "1").start();
    let lane = master.lane(1);
    let mut attackers = attack(&master, arguments);
    eventually("they are there", || lane.connections() >= CLIENTS);
    for turn in 0..200 {
        let begun = now();
        let answer = if turn % 2 == 0 {
            master.get("/quick")
        } else {
            master.connect().post("/quick", &[b'x'; 1000]).unwrap()
        };
        assert_eq!(answer.status, 200);
        assert!(begun.elapsed() < AT_ONCE, "{arguments:?}: {:?}", begun.elapsed());
    }
    assert!(lane.connections() >= CLIENTS / 2, "they were there all the time");
    attackers.kill().unwrap();
    attackers.wait().unwrap();
    eventually("they are let go", || lane.connections() <= 2);
    assert_eq!(master.get("/quick").status, 200);
    master.finish();
}

#[test]
fn slow_heads_cost_others_nothing() {
    withstand(&["-H", "-i", "1"]);
}

#[test]
fn slow_bodies_cost_others_nothing() {
    withstand(&["-B", "-i", "1", "-s", "8192"]);
}

#[test]
fn slow_readers_cost_others_nothing() {
    withstand(&["-X", "-w", "100", "-y", "200", "-n", "1", "-z", "10", "-k", "3"]);
}

/// They are told 408 when their time is over, and are gone.
#[test]
fn who_is_too_slow_is_let_go() {
    let upstream = Upstream::saying("ok");
    let master = Pointsman::before(&[&upstream]).option("--header-timeout", "2s").start();
    let lane = master.lane(1);
    let mut attackers = attack(&master, &["-H", "-i", "1"]);
    eventually("some are there", || lane.connections() > 100);
    eventually("and are let go", || lane.connections() < 10);
    assert!(upstream.requests().len() < 10, "those by which it looks whether we are still there");
    attackers.kill().unwrap();
    attackers.wait().unwrap();
    master.finish();
}
