//! Too many connections for the workers, for the master's descriptors, or for somebody's patience.

use std::{net::SocketAddr, time::Duration};

use nix::sys::signal::Signal;

use crate::{
    custody::demo_and_node,
    harness::{Client, Master, Node, Pointsman, Process, eventually, now},
};

/// Stops all workers that answer.
fn freeze_all(master: &mut Master, count: usize) -> Vec<Process> {
    let workers: Vec<_> =
        master.wait_ready(count).into_keys().map(|pid| Process::find(pid).unwrap()).collect();
    workers.iter().for_each(|worker| worker.freeze());
    workers
}

fn clients(master: &Master, count: usize) -> Vec<Client> {
    let mut clients: Vec<_> = (0..count).map(|_| master.connect()).collect();
    clients.iter_mut().for_each(|client| client.send_get("/").unwrap());
    clients
}

#[test]
fn who_comes_when_all_are_busy_is_turned_away_if_so_configured() {
    let run = Pointsman::run().option("--overload", "reject").option("--overload-timeout", "50ms");
    let run = run.expect_log("they are turned away").option("--window", "1").workers(2);
    let mut master = run.node(Node::DEFAULT, "plain.js").start();
    let workers = freeze_all(&mut master, 2);
    let all = clients(&master, 10);
    let is_refused = |client: &Client| client.has_answer();
    eventually("eight are turned away", || all.iter().filter(|client| is_refused(client)).count() == 8);
    let (mut refused, mut waiting): (Vec<_>, Vec<_>) = all.into_iter().partition(is_refused);
    for client in &mut refused {
        let answer = client.receive().unwrap();
        assert_eq!((answer.status, &*answer.text()), (503, "Service Unavailable\n"));
        assert_eq!((&*answer.headers["connection"], &*answer.headers["retry-after"]), ("close", "1"));
        assert!(client.is_closed_by_server());
    }
    workers.iter().for_each(|worker| worker.signal(Signal::SIGCONT));
    assert!(waiting.iter_mut().all(|client| client.receive().unwrap().status == 200));
    eventually("there is room again", || master.get("/").status == 200);
    let line = master.wait_log("there is room again for connections to 127.0.0.1:");
    let turned_away = line.rsplit(": ").next().unwrap().split(' ').next().unwrap();
    assert!(turned_away.parse::<u32>().unwrap() >= 8, "{line}");
    drop((refused, waiting));
    master.finish();
}

/// A program takes longer to start than anybody has patience for connections.
#[test]
fn nobody_is_turned_away_while_the_first_workers_start() {
    let run = Pointsman::run().option("--overload", "reject").option("--overload-timeout", "10ms");
    // Later, when both are looked for, one may be busy for so long.
    let mut master = run.allow_log("they are turned away").workers(2).node(Node::DEFAULT, "plain.js").start();
    // Fewer than the first worker has room for.
    let mut early = clients(&master, 4);
    assert!(early.iter_mut().all(|client| client.receive().unwrap().status == 200));
    drop(early);
    master.wait_ready(2);
    master.finish();
}

/// One worker is frozen with connections on their way to it; all are answered by the other and by its successor.
#[test]
fn a_stuck_worker_is_reported_killed_and_replaced() {
    for run in demo_and_node() {
        let run = run.option("--handoff-timeout", "300ms").option("--restart-delay", "10ms");
        let run = run.expect_log("has not answered for a connection").expect_log("was killed by SIGKILL");
        let mut master = run.workers(2).start();
        let before = master.wait_ready(2);
        let stuck = Process::find(*before.keys().next().unwrap()).unwrap();
        stuck.freeze();
        for client in &mut clients(&master, 20) {
            let answer = client.receive().unwrap();
            assert!(answer.status == 200 && answer.pid() != stuck.pid(), "{answer:?}");
        }
        eventually("it is gone", || !stuck.is_alive());
        let after = master.wait_ready(2);
        assert_eq!(after.keys().filter(|pid| before.contains_key(pid)).count(), 1, "the other has stayed");
        master.finish();
    }
}

/// Room for one, and two full queues: neither waits until the other is empty.
#[test]
fn queues_take_turns() {
    const EACH: usize = 10;
    let run = Pointsman::run().workers(1).option("--window", "1").node(Node::DEFAULT, "two.js");
    let mut master = run.start();
    master.wait_ready(1);
    let first = master.get("/");
    let second = SocketAddr::from(([127, 0, 0, 1], u16::try_from(first.number("second")).unwrap()));
    let worker = Process::find(first.pid()).unwrap();
    eventually("nothing is on its way", || master.connections() == 0);
    worker.freeze();
    let mut clients = clients(&master, EACH);
    eventually("the window is full", || master.connections() == 1);
    clients.extend((0..EACH).map(|_| Client::connect(second).unwrap()));
    clients[EACH..].iter_mut().for_each(|client| client.send_get("/").unwrap());
    master.wait_turn();
    worker.signal(Signal::SIGCONT);
    let mut answers: Vec<_> = clients.iter_mut().map(|client| client.receive().unwrap()).collect();
    answers.sort_unstable_by_key(|answer| answer.number("number"));
    let ports: Vec<_> = answers.iter().map(|answer| answer.number("port")).collect();
    for half in [&ports[..EACH], &ports[EACH..]] {
        let of_second = half.iter().filter(|&&port| port == u32::from(second.port())).count();
        assert_eq!(of_second, EACH / 2, "{ports:?}");
    }
    drop(clients);
    master.finish();
}

/// Fewer descriptors than the windows would take: the kernel's queue holds the rest.
#[test]
fn a_master_without_descriptors_says_so_once_rests_and_serves_all() {
    const CLIENTS: usize = 80;
    let run = Pointsman::run().after("ulimit -n 64").option("--window", "64").workers(2);
    let mut master = run.expect_log("cannot accept on").start();
    let workers = freeze_all(&mut master, 2);
    let mut clients = clients(&master, CLIENTS);
    let line = master.wait_log("cannot accept on");
    assert!(line.contains("Too many open files") && line.contains("ulimit -n"), "{line}");
    let held = master.connections();
    assert!((20..CLIENTS).contains(&held), "{held}");

    // Each turn begins with a sleep, unless it spins; nobody wakes it but the clock.
    let sleeps = || master.process().status("voluntary_ctxt_switches").parse::<u64>().unwrap();
    let (begin, before) = (now(), sleeps());
    eventually("it tries five times", || sleeps() >= before + 5);
    let took = begin.elapsed();
    assert!(took > Duration::from_millis(200), "a rest takes a tenth of a second: {took:?}");
    let said = master.log().lines().iter().filter(|line| line.contains("cannot accept")).count();
    assert_eq!(said, 1);

    workers.iter().for_each(|worker| worker.signal(Signal::SIGCONT));
    for client in &mut clients {
        assert_eq!(client.receive().unwrap().status, 200);
    }
    drop(clients);
    assert_eq!(master.wait_ready(2).len(), 2);
    master.finish();
}
