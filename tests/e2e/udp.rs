//! Datagrams: the workers share the socket, in every mode. And sockets that workers keep to themselves.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    os::fd::AsRawFd,
    time::Duration,
};

use nix::sys::{
    signal::Signal,
    socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket, sockopt},
};
use serde_json::json;

use crate::{
    addresses::{MODES, Server, answered_by, both, close, nobody_listens, pids, tell, two},
    harness::{Master, Node, Place, Process, eventually, free_port, has_ipv6},
};

/// Sends so many datagrams one after the other, waits for the answer of each, and returns who answered.
#[track_caller]
pub(crate) fn one_answer_each(place: &Place, count: usize) -> BTreeSet<u32> {
    let &Place::Tcp(address) = place else { panic!("{place:?} has no port") };
    let local: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::LOCALHOST, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::LOCALHOST, 0).into(),
    };
    let client = UdpSocket::bind(local).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut pids = BTreeSet::new();
    for number in 0..count {
        client.send_to(number.to_string().as_bytes(), address).unwrap();
        let mut buffer = [0; 64];
        let (length, from) = client.recv_from(&mut buffer).unwrap();
        let text = String::from_utf8_lossy(&buffer[..length]);
        let (pid, token) = text.split_once(' ').unwrap();
        assert_eq!((token, from), (&*number.to_string(), address));
        pids.insert(pid.parse().unwrap());
    }
    pids
}

#[test]
fn two_workers_share_a_udp_socket_and_each_datagram_has_one_answer() {
    for node in Node::in_both_forms() {
        for mode in MODES {
            let mut master = two(mode, node).start();
            let mut workers = both(&mut master);
            let mut kinds = vec![("udp4", "127.0.0.1")];
            kinds.extend(has_ipv6().then_some(("udp6", "::1")));
            for (kind, host) in kinds {
                let how = json!({"type": kind, "port": 0, "address": host});
                let server = Server::open(&mut workers, "/bind", &how);
                let address = SocketAddr::new(host.parse().unwrap(), server.port());
                let all: Vec<_> = pids(&mut workers).into_iter().collect();
                // Who is frozen cannot take it from the other.
                for (&awake, &frozen) in [(&all[0], &all[1]), (&all[1], &all[0])] {
                    let frozen = Process::find(frozen).unwrap();
                    frozen.freeze();
                    assert_eq!(one_answer_each(&address.into(), 5), BTreeSet::from([awake]), "{node} {mode}");
                    frozen.signal(Signal::SIGCONT);
                }
                one_answer_each(&address.into(), 10);
                let heard = server.tell(&mut workers, "/heard");
                let heard: Vec<_> = heard.iter().map(|one| one["heard"].as_u64().unwrap()).collect();
                assert_eq!(heard.iter().sum::<u64>(), 20, "{node} {mode}: {heard:?}");
                let second = Server::open(&mut workers, "/bind", &how);
                assert_ne!(second.port(), server.port(), "{node} {mode}");
                close([server, second], &mut workers);
                eventually("nobody has the port any more", || UdpSocket::bind(address).is_ok());
            }
            drop(workers);
            master.finish();
        }
    }
}

#[test]
fn a_udp_port_of_somebody_else_is_shared_if_both_want_that() {
    for node in Node::matrix() {
        for mode in MODES {
            let mut master = two(mode, node).expect_log("could not listen on udp:127.0.0.1").start();
            let mut workers = both(&mut master);
            let other =
                socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).unwrap();
            setsockopt(&other, sockopt::ReuseAddr, &true).unwrap();
            let at = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
            bind(other.as_raw_fd(), &SockaddrStorage::from(at)).unwrap();
            let how = json!({"type": "udp4", "port": at.port(), "address": "127.0.0.1"});
            assert_eq!(tell(&mut workers[0], "/bind", &how)["code"], "EADDRINUSE", "{node} {mode}");
            let mut reuse = how.clone();
            reuse["reuseAddr"] = true.into();
            Server::open(&mut workers, "/bind", &reuse).close(&mut workers);
            drop(workers);
            master.finish();
        }
    }
}

/// What the master has open. A connection may still be on its way out of its hand.
fn kept(master: &Master) -> Vec<String> {
    let mut descriptors = master.process().descriptors();
    descriptors.retain(|kind| kind != "connection");
    descriptors
}

#[test]
fn what_a_worker_wants_for_itself_is_left_to_it() {
    for node in Node::matrix() {
        for mode in MODES {
            let mut master = two(mode, node).start();
            let mut workers = both(&mut master);
            let before = kept(&master);
            for (what, how) in [
                ("/listen", json!({"port": 0, "host": "127.0.0.1", "exclusive": true})),
                ("/bind", json!({"type": "udp4", "port": 0, "address": "127.0.0.1", "exclusive": true})),
            ] {
                let opened = workers.each_mut().map(|worker| tell(worker, what, &how));
                assert_ne!(
                    opened[0]["address"]["port"], opened[1]["address"]["port"],
                    "{node} {mode} {what}"
                );
                eventually("the master has nothing of it", || kept(&master) == before);
                // Nor does Node close it when it is told to leave.
                for (worker, one) in workers.iter_mut().zip(&opened) {
                    tell(worker, "/close", &json!({ "id": one["id"] }));
                }
            }
            drop(workers);
            master.finish();
        }
    }
}

#[test]
fn ports_that_workers_share_by_the_kernel_are_left_to_them() {
    for mode in MODES {
        let mut master = two(mode, Node::WITH_REUSE_PORT).start();
        let mut workers = both(&mut master);
        let before = kept(&master);
        let all = pids(&mut workers);
        let how = json!({"port": free_port(), "host": "127.0.0.1", "reusePort": true});
        let tcp = Server::listen(&mut workers, &how);
        // The kernel chooses by the client's port.
        answered_by(&tcp.local(), &all);
        let how = json!({"type": "udp4", "port": free_port(), "address": "127.0.0.1", "reusePort": true});
        let udp = Server::open(&mut workers, "/bind", &how);
        one_answer_each(&udp.local(), 4);
        eventually("the master has nothing of them", || kept(&master) == before);
        let place = tcp.local();
        close([tcp, udp], &mut workers);
        nobody_listens(&place);
        drop(workers);
        master.finish();
    }
}
