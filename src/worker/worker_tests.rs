//! A worker over a real channel, with this test as its master.

#[path = "shared_tests.rs"]
mod shared;

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::fd::AsRawFd,
    time::Duration,
};

use mio::{Events, Interest, Poll, Token};
use serde_json::json;

use super::*;
use crate::protocol::serialization::Serialization;
use crate::sys::channel;

const REPLY: &str = r#"{"cmd":"NODE_CLUSTER","errno":null,"key":"k","ack":1,"data":null,"sockname":{"family":"IPv4","address":"127.0.0.1","port":8080},"seq":0}"#;
const DISCONNECT: &str = r#"{"cmd":"NODE_CLUSTER","act":"disconnect","seq":9}"#;

/// The master's end, with a listening socket whose connections it hands over.
struct Master {
    channel: UnixStream,
    socket: TcpListener,
}

impl Master {
    /// A master and its worker, which has said `online` and that it reports.
    fn start() -> (Self, Worker) {
        let (near, far) = channel::pair().unwrap();
        channel::set_nonblocking(&far, true).unwrap();
        let identity =
            Identity { id: WorkerId(1), slot: Some(0), channel: 3, serialization: Serialization::Json };
        let worker = Worker::new(far.into(), identity).unwrap();
        let master = Self { channel: near.into(), socket: TcpListener::bind("127.0.0.1:0").unwrap() };
        let hello = r#"{"cmd":"NODE_POINTSMAN","hello":1}"#;
        assert_eq!(master.heard(), [r#"{"cmd":"NODE_CLUSTER","act":"online","seq":0}"#, hello]);
        (master, worker)
    }

    /// The same, with a listener.
    fn listening() -> (Self, Worker, Listener) {
        let (master, mut worker) = Self::start();
        master.say(REPLY);
        let listener = worker.listen("127.0.0.1:8080".parse().unwrap()).unwrap();
        assert_eq!(master.heard().len(), 2);
        (master, worker, listener)
    }

    fn say(&self, frame: &str) {
        (&self.channel).write_all(format!("{frame}\n").as_bytes()).unwrap();
    }

    /// Hands a connection over, non-blocking as a master must, and returns the client's end.
    fn hand(&self, key: &str, seq: u64) -> TcpStream {
        let client = TcpStream::connect(self.socket.local_addr().unwrap()).unwrap();
        let (connection, _) = self.socket.accept().unwrap();
        connection.set_nonblocking(true).unwrap();
        self.hand_over(connection, key, seq);
        client
    }

    /// Hands this over.
    fn hand_over(&self, connection: impl AsFd, key: &str, seq: u64) {
        let frame = format!(
            "{{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Native\",\"msg\":{{\"cmd\":\"NODE_CLUSTER\",\"act\":\"newconn\",\"key\":\"{key}\",\"seq\":{seq}}}}}\n"
        );
        let sent = channel::send(self.channel.as_fd(), frame.as_bytes(), Some(connection.as_fd())).unwrap();
        assert_eq!(sent, frame.len());
    }

    /// What the worker has written so far.
    fn heard(&self) -> Vec<String> {
        self.heard_text().lines().map(str::to_owned).collect()
    }

    fn heard_text(&self) -> String {
        let mut text = Vec::new();
        self.channel.set_nonblocking(true).unwrap();
        // Ends with WouldBlock, or with the end of the channel.
        let _ = (&self.channel).read_to_end(&mut text);
        self.channel.set_nonblocking(false).unwrap();
        String::from_utf8(text).unwrap()
    }
}

fn is_blocking(stream: &impl AsRawFd) -> bool {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", stream.as_raw_fd())).unwrap();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
    // O_NONBLOCK, in octal as the kernel writes it.
    u32::from_str_radix(flags, 8).unwrap() & 0o4000 == 0
}

#[test]
fn a_connection_is_accepted_blocking_and_answered_in_one_go() {
    let (master, mut worker, listener) = Master::listening();
    let mut client = master.hand("k", 1);
    let connection = worker.accept().unwrap().unwrap();
    assert_eq!(connection.listener(), &listener);
    assert_eq!(listener.endpoint(), &"127.0.0.1:8080".parse().unwrap());
    assert_eq!(
        master.heard(),
        [r#"{"cmd":"NODE_HANDLE_ACK"}"#, r#"{"cmd":"NODE_CLUSTER","ack":1,"accepted":true,"seq":3}"#]
    );
    let mut stream = connection.into_stream();
    assert!(is_blocking(&stream));
    stream.write_all(b"hello").unwrap();
    drop(stream);
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
}

#[test]
fn connections_wait_in_the_channel_until_the_program_wants_them() {
    let (master, mut worker, _) = Master::listening();
    let _clients = [master.hand("k", 1), master.hand("k", 2)];
    let first = worker.accept().unwrap();
    assert_eq!(master.heard().len(), 2, "only the first is acknowledged");
    assert!(first.is_some() && worker.accept().unwrap().is_some());
    assert_eq!(master.heard().len(), 2);
}

#[test]
fn a_connection_of_another_key_is_given_back() {
    let (master, mut worker, _) = Master::listening();
    let mut client = master.hand("elsewhere", 1);
    let _clients = master.hand("k", 2);
    assert!(worker.accept().unwrap().is_some());
    assert!(master.heard()[1].contains(r#""ack":1,"accepted":false"#));
    assert_eq!(client.read(&mut [0]).unwrap(), 0, "our copy is closed, and this master keeps none");
}

#[test]
fn listen_keeps_what_comes_before_its_answer() {
    let (master, mut worker) = Master::start();
    master.say("\"early\"");
    master.say(r#"{"cmd":"NODE_CLUSTER","errno":-98,"key":"k","ack":1,"data":null,"seq":0}"#);
    let error = worker.listen("127.0.0.1:8080".parse().unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "cannot listen on 127.0.0.1:8080: Address already in use (os error 98)");
    assert!(matches!(worker.next_event(), Ok(Some(WorkerEvent::Message(text))) if text == json!("early")));
    assert!(matches!(worker.poll_event(), Ok(None)));
    drop(master);
    assert!(matches!(worker.listen("127.0.0.1:80".parse().unwrap()), Err(ListenError::Leaving { .. })));
}

#[test]
fn accept_ends_when_the_master_says_so() {
    let (master, mut worker, _) = Master::listening();
    let _client = master.hand("k", 1);
    master.say("\"not for accept\"");
    master.say(DISCONNECT);
    assert!(worker.accept().unwrap().is_some());
    assert!(worker.accept().unwrap().is_none());
    assert!(worker.accept().unwrap().is_none(), "and does not wait again");
    assert!(worker.is_connected() && worker.exited_after_disconnect());
    let heard = master.heard();
    assert_eq!(heard.last().unwrap(), r#"{"cmd":"NODE_CLUSTER","act":"close","key":"k","seq":4}"#);
    worker.close();
    assert_eq!((&master.channel).read(&mut [0]).unwrap(), 0);
}

#[test]
fn accept_ends_when_the_master_is_gone() {
    let (master, mut worker, _) = Master::listening();
    let _client = master.hand("k", 1);
    drop(master);
    assert!(worker.accept().unwrap().is_some(), "what it had sent is still there");
    assert!(worker.accept().unwrap().is_none());
    assert!(!worker.is_connected() && !worker.exited_after_disconnect());
    assert!(matches!(worker.next_event(), Ok(None)));
    assert!(matches!(worker.poll_event(), Ok(None)));
}

#[test]
fn a_master_that_has_not_read_all_is_gone_too() {
    let (master, mut worker) = Master::start();
    worker.session.listen(Ask::Tcp("127.0.0.1:80".parse().unwrap()), &ListenOptions::new());
    worker.flush().unwrap();
    drop(master);
    assert!(
        matches!(worker.next_event(), Ok(Some(WorkerEvent::Closed))),
        "ECONNRESET, as the kernel calls it"
    );
}

#[test]
fn leaving_by_itself() {
    let (master, mut worker, _) = Master::listening();
    let _clients = [master.hand("k", 1), master.hand("k", 2)];
    let first = worker.accept().unwrap();
    // seq: online 0, query 1, listening 2, accepted 3, close 4, exitedAfterDisconnect 5.
    let mut heard = String::new();
    let left = std::thread::scope(|scope| {
        let leaving = scope.spawn(|| worker.disconnect());
        while !heard.contains(r#""ack":2,"accepted":false"#) {
            let mut bytes = [0; 512];
            let count = (&master.channel).read(&mut bytes).unwrap();
            heard.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
        }
        master.say(r#"{"cmd":"NODE_CLUSTER","ack":5,"seq":2}"#);
        leaving.join().unwrap()
    });
    left.unwrap();
    assert!(heard.contains(r#""act":"exitedAfterDisconnect","seq":5"#));
    assert!(first.is_some() && worker.exited_after_disconnect() && !worker.is_connected());
    assert!(worker.accept().unwrap().is_none(), "the second was refused");
    assert_eq!((&master.channel).read(&mut [0]).unwrap(), 0, "closed, though the worker is still there");
}

#[test]
fn garbage_costs_the_channel() {
    let (master, mut worker, _) = Master::listening();
    let _client = master.hand("k", 1);
    master.say("garbage");
    assert!(worker.accept().unwrap().is_some());
    let error = worker.accept().unwrap_err().to_string();
    assert!(error.starts_with("the master broke the protocol: "), "{error}");
    assert!(matches!(worker.next_event(), Ok(None)));
    master.heard();
    assert_eq!((&master.channel).read(&mut [0]).unwrap(), 0);
}

#[test]
fn under_mio_one_edge_tells_of_all() {
    let (master, mut worker, _) = Master::listening();
    let mut poll = Poll::new().unwrap();
    poll.registry().register(&mut worker, Token(0), Interest::READABLE).unwrap();
    let mut events = Events::with_capacity(8);
    let _clients: Vec<_> = (1..=3).map(|seq| master.hand("k", seq)).collect();
    master.say(DISCONNECT);
    drop(master);
    poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
    assert!(!events.is_empty());
    for _ in 0..3 {
        match worker.poll_event() {
            Ok(Some(WorkerEvent::Connection(connection))) => assert!(!is_blocking(&connection.into_stream())),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(worker.poll_event(), Ok(Some(WorkerEvent::Disconnect))));
    assert!(matches!(worker.poll_event(), Ok(Some(WorkerEvent::Closed))));
    assert!(matches!(worker.poll_event(), Ok(None)));
    poll.registry().deregister(&mut worker).unwrap();
}

#[test]
fn a_master_that_does_not_read_is_not_read_either() {
    const ASK: &[u8] = b"{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Native\"}\n";
    let (master, mut worker, _) = Master::listening();
    let mut poll = Poll::new().unwrap();
    let mut events = Events::with_capacity(8);
    poll.registry().register(&mut worker, Token(0), Interest::READABLE).unwrap();
    master.channel.set_nonblocking(true).unwrap();
    let mut asked = 0;
    loop {
        match channel::send(master.channel.as_fd(), ASK, None) {
            Ok(count) => {
                assert_eq!(count, ASK.len());
                asked += 1;
                assert!(asked < 1_000_000, "it reads for ever");
            }
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                let before = worker.session.output().len();
                assert!(matches!(worker.poll_event(), Ok(None)));
                if worker.session.output().len() == before && before > 0 {
                    break;
                }
            }
        }
    }
    assert!(worker.session.output().len() <= READ_BYTES, "bounded by what one read can ask for");
    let tells = |poll: &mut Poll, events: &mut Events| {
        poll.poll(events, Some(Duration::ZERO)).unwrap();
        !events.is_empty()
    };
    while tells(&mut poll, &mut events) {}
    let mut answers = String::new();
    loop {
        let heard = master.heard_text();
        if heard.is_empty() {
            break;
        }
        answers.push_str(&heard);
        if !worker.session.output().is_empty() {
            assert!(tells(&mut poll, &mut events), "of room, and nothing else has changed");
        }
        assert!(matches!(worker.poll_event(), Ok(None)));
    }
    while tells(&mut poll, &mut events) {}
    master.say(r#"{"cmd":"NODE_HANDLE","type":"net.Native"}"#);
    assert!(tells(&mut poll, &mut events) && matches!(worker.poll_event(), Ok(None)));
    assert_eq!(master.heard().len(), 1);
    assert!(!tells(&mut poll, &mut events), "not of every answer that was read");
    asked += 1;
    answers.push_str("{\"cmd\":\"NODE_HANDLE_NACK\"}\n");
    assert_eq!(answers, "{\"cmd\":\"NODE_HANDLE_NACK\"}\n".repeat(asked), "and nothing is lost");
    assert!(worker.is_connected());
}

#[test]
fn the_end_of_a_connection_is_reported_with_what_is_sent_next() {
    let (master, mut worker, _) = Master::listening();
    let _clients = [1, 2, 3].map(|seq| master.hand("k", seq));
    let (stream, guard) = worker.accept().unwrap().unwrap().into_parts();
    let second = worker.accept().unwrap().unwrap();
    drop(stream);
    worker.flush_reports().unwrap();
    assert_eq!(master.heard().len(), 4, "its guard is still there");
    drop((guard, second));
    assert!(master.heard().is_empty(), "nobody waits, and nothing is sent");
    let third = worker.accept().unwrap().unwrap();
    assert_eq!(
        master.heard(),
        [
            r#"{"cmd":"NODE_POINTSMAN","gone":[1,2]}"#,
            r#"{"cmd":"NODE_HANDLE_ACK"}"#,
            r#"{"cmd":"NODE_CLUSTER","ack":3,"accepted":true,"seq":5}"#
        ]
    );
    let _not_counted = third.into_stream();
    worker.flush_reports().unwrap();
    assert_eq!(master.heard(), [r#"{"cmd":"NODE_POINTSMAN","gone":[3]}"#]);
}

#[test]
fn a_connection_that_ends_on_another_thread_is_reported_while_accept_waits() {
    let (master, mut worker, _) = Master::listening();
    let _clients = [1, 2].map(|seq| master.hand("k", seq));
    let guards = [1, 2].map(|_| worker.accept().unwrap().unwrap().into_parts().1);
    assert_eq!(master.heard().len(), 4);
    master.channel.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut heard = Vec::new();
    std::thread::scope(|scope| {
        let accepting = scope.spawn(|| worker.accept());
        for guard in guards {
            drop(guard);
            let mut bytes = [0; 64];
            // Blocks until the report is there; nothing is heard when it does not come.
            let count = (&master.channel).read(&mut bytes).unwrap_or(0);
            heard.push(String::from_utf8_lossy(&bytes[..count]).into_owned());
        }
        master.say(DISCONNECT);
        assert!(accepting.join().unwrap().unwrap().is_none());
    });
    assert_eq!(heard, ["[1]", "[2]"].map(|gone| format!("{{\"cmd\":\"NODE_POINTSMAN\",\"gone\":{gone}}}\n")));
}

#[test]
fn under_mio_the_end_of_a_connection_is_an_event() {
    let (master, mut worker, _) = Master::listening();
    let mut poll = Poll::new().unwrap();
    poll.registry().register(&mut worker, Token(5), Interest::READABLE).unwrap();
    let mut events = Events::with_capacity(8);
    let _clients: Vec<_> = (1..=4).map(|seq| master.hand("k", seq)).collect();
    let mut guards = Vec::new();
    while let Some(event) = worker.poll_event().unwrap() {
        let WorkerEvent::Connection(connection) = event else { panic!("{event:?}") };
        guards.push(connection.into_parts().1);
    }
    master.heard();
    let mut tells = || {
        poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
        events.iter().any(|event| event.token() == Token(5))
    };
    while tells() {}
    for gone in ["[1,2]", "[3,4]"] {
        guards.drain(..2);
        assert!(tells());
        assert!(worker.poll_event().unwrap().is_none());
        assert_eq!(master.heard(), [format!("{{\"cmd\":\"NODE_POINTSMAN\",\"gone\":{gone}}}")]);
    }
    assert!(!tells());
    poll.registry().deregister(&mut worker).unwrap();
}

#[test]
fn a_guard_may_outlive_its_worker() {
    let (master, mut worker, _) = Master::listening();
    let _clients = master.hand("k", 1);
    let connection = worker.accept().unwrap();
    worker.close();
    drop(connection);
    assert_eq!(master.heard().len(), 2);
}

#[test]
fn this_test_is_no_worker() {
    assert!(!is_worker());
    let error = Worker::from_env().unwrap_err().to_string();
    assert!(error.starts_with("this process is no worker: NODE_UNIQUE_ID is not set"), "{error}");
}
