//! A connection is in exactly one place, and a worker that hangs keeps no more than its window.

use nix::sys::signal::Signal;

use crate::harness::{Client, Form, Master, Node, Pointsman, Process, eventually};

/// Connections that may be on their way to one worker.
const WINDOW: usize = 8;

/// Many connections, each with a request, while one of three workers is frozen.
pub(crate) struct Frozen {
    pub(crate) master: Master,
    pub(crate) worker: Process,
    pub(crate) clients: Vec<Client>,
}

/// Masters of each kind of worker, in both forms.
pub(crate) fn demo_and_node() -> impl Iterator<Item = Pointsman> {
    let demo = Form::ALL.into_iter().map(|form| Pointsman::run().form(form));
    demo.chain(Node::in_both_forms().map(|node| Pointsman::run().node(node, "plain.js")))
}

pub(crate) fn freeze(run: Pointsman) -> Frozen {
    let mut master = run.workers(3).start();
    let answers = master.wait_ready(3);
    let worker = Process::find(*answers.keys().next().unwrap()).unwrap();
    worker.signal(Signal::SIGSTOP);
    let mut clients: Vec<_> = (0..60).map(|_| master.connect()).collect();
    clients.iter_mut().for_each(|client| client.send_get("/").unwrap());
    eventually("all but those in the window are answered", || {
        clients.iter().filter(|client| client.has_answer()).count() >= clients.len() - WINDOW
    });
    Frozen { master, worker, clients }
}

#[test]
fn a_frozen_worker_serves_its_window_when_it_wakes() {
    for run in demo_and_node() {
        let Frozen { master, worker, mut clients } = freeze(run);
        let waiting = clients.iter().filter(|client| !client.has_answer()).count();
        assert_eq!(waiting, WINDOW, "its turns came as long as there was room");
        worker.signal(Signal::SIGCONT);
        let answers = clients.iter_mut().map(|client| client.receive().unwrap());
        let from_it = answers.filter(|answer| answer.pid() == worker.pid()).count();
        assert!(from_it >= waiting, "{from_it} of {waiting}");
        drop(clients);
        master.finish();
    }
}

#[test]
fn what_a_frozen_worker_was_given_is_served_by_others_when_it_dies() {
    for run in demo_and_node() {
        let Frozen { mut master, worker, mut clients } = freeze(run.expect_log("was killed by SIGKILL"));
        worker.signal(Signal::SIGKILL);
        for client in &mut clients {
            let answer = client.receive().unwrap();
            assert!(answer.status == 200 && answer.pid() != worker.pid(), "{answer:?}");
        }
        drop(clients);
        master.wait_ready(3);
        master.finish();
    }
}

/// Again and again: each in turn is frozen when some of the connections have come, and killed with the rest on the way.
#[test]
fn whoever_dies_of_two_the_other_serves_what_was_on_the_way_to_it() {
    const ROUNDS: usize = 12;
    // Enough after the last round's freeze to fill both windows.
    const CLIENTS: usize = ROUNDS + 2 * WINDOW + 4;
    for run in demo_and_node() {
        let run = run.option("--restart-delay", "10ms").expect_log("was killed by SIGKILL");
        let mut master = run.workers(2).start();
        for round in 0..ROUNDS {
            let answers = master.wait_ready(2);
            let slot = u32::try_from(round % 2).unwrap();
            let (&victim, _) = answers.iter().find(|(_, answer)| answer.number("slot") == slot).unwrap();
            let worker = Process::find(victim).unwrap();
            let mut clients = Vec::new();
            for number in 0..CLIENTS {
                if number == round {
                    clients.iter_mut().for_each(|client: &mut Client| assert!(client.receive().is_ok()));
                    worker.freeze();
                }
                let mut client = master.connect();
                client.send_get("/").unwrap();
                clients.push(client);
            }
            let waiting = |clients: &[Client]| clients.iter().filter(|client| !client.has_answer()).count();
            let later = &mut clients[round..];
            eventually("it has its window full", || waiting(later) == WINDOW);
            worker.signal(Signal::SIGKILL);
            for client in later {
                let answer = client.receive().unwrap();
                assert!(answer.status == 200 && answer.pid() != victim, "round {round}: {answer:?}");
            }
        }
        master.wait_ready(2);
        master.finish();
    }
}

/// No worker answers: the master may accept as many as their windows have room for, and not one more.
#[test]
fn while_all_workers_are_frozen_the_rest_waits_in_the_kernel() {
    const WORKERS: usize = 2;
    for run in demo_and_node() {
        let mut master = run.workers(WORKERS).start();
        let answers = master.wait_ready(WORKERS);
        let workers: Vec<_> = answers.keys().map(|&pid| Process::find(pid).unwrap()).collect();
        workers.iter().for_each(|worker| worker.signal(Signal::SIGSTOP));
        let mut clients: Vec<_> = (0..200).map(|_| master.connect()).collect();
        clients.iter_mut().for_each(|client| client.send_get("/").unwrap());
        eventually("the windows are full", || master.connections() >= WORKERS * WINDOW);
        // It accepts at the end of each turn; in so many it would have taken them all.
        for _ in 0..8 {
            master.wait_turn();
            assert_eq!(master.connections(), WORKERS * WINDOW);
        }
        assert!(clients.iter().all(|client| !client.has_answer()));
        workers.iter().for_each(|worker| worker.signal(Signal::SIGCONT));
        assert!(clients.iter_mut().all(|client| client.receive().unwrap().status == 200));
        drop(clients);
        master.finish();
    }
}

#[test]
fn what_a_worker_received_and_did_not_touch_is_served_by_others_when_it_dies() {
    let run = Pointsman::run().expect_log("was killed by SIGKILL").python("wire.py");
    let mut master = run.workers(3).start();
    let pids: Vec<u32> = master.wait_ready(3).into_keys().collect();
    let worker = Process::find(master.get("/do/hoard").pid()).unwrap();
    let mut clients: Vec<_> = (0..12).map(|_| master.connect()).collect();
    clients.iter_mut().for_each(|client| client.send_get("/").unwrap());
    eventually("two of three are answered", || {
        clients.iter().filter(|client| client.has_answer()).count() == clients.len() * 2 / 3
    });
    worker.signal(Signal::SIGKILL);
    for client in &mut clients {
        let pid = client.receive().unwrap().pid();
        assert!(pid != worker.pid() && pids.contains(&pid), "by those that were there");
    }
    drop(clients);
    master.wait_ready(3);
    master.finish();
}

/// As with Node, whose acknowledgements wait within it while its channel is full.
#[test]
fn what_a_worker_read_and_never_acknowledged_is_lost_and_not_served_twice() {
    let run = Pointsman::run().expect_log("was killed by SIGKILL").expect_log("they are lost");
    let mut master = run.python("wire.py").workers(2).start();
    master.wait_ready(2);
    let worker = Process::find(master.get("/do/read_unheard").pid()).unwrap();
    let mut clients: Vec<_> = (0..6).map(|_| master.connect()).collect();
    clients.iter_mut().for_each(|client| client.send_get("/").unwrap());
    eventually("half are answered", || clients.iter().filter(|client| client.has_answer()).count() == 3);
    eventually("the rest is read", || worker.connections() == 2 * 3);
    let (answered, mut unanswered): (Vec<_>, Vec<_>) = clients.into_iter().partition(Client::has_answer);
    worker.signal(Signal::SIGKILL);
    for client in &mut unanswered {
        assert!(client.is_closed_by_server(), "what it read of this is gone");
    }
    drop((answered, unanswered));
    master.wait_ready(2);
    master.finish();
}

#[test]
fn connections_that_come_before_the_first_worker_are_served_by_it() {
    let mut master = Pointsman::run().workers(2).node(Node::DEFAULT, "plain.js").start();
    // Node takes a while to start; the address is open already.
    let mut clients: Vec<_> = (0..20).map(|_| master.connect()).collect();
    clients.iter_mut().for_each(|client| client.send_get("/").unwrap());
    assert!(clients.iter_mut().all(|client| client.receive().unwrap().status == 200));
    drop(clients);
    master.wait_ready(2);
    master.finish();
}

#[test]
fn a_client_that_goes_before_it_is_served_harms_nobody() {
    let mut master = Pointsman::run().workers(2).start();
    master.wait_ready(2);
    for _ in 0..50 {
        master.connect().send_raw(b"GET / HTT").unwrap();
        master.connect().send_get("/bytes?n=10000000").unwrap();
    }
    master.wait_ready(2);
    master.finish();
}
