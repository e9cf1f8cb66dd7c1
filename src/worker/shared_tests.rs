//! A worker over real sockets that its master shares, and with a limit of connections.

use std::{
    os::unix::net::{UnixListener, UnixStream},
    thread,
};

use nix::sys::{
    resource::{Resource, getrlimit, setrlimit},
    socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, socket},
};

use super::*;
use crate::sys::bind;

const SHARE: &str = r#"{"cmd":"NODE_HANDLE","type":"net.Native","msg":{"cmd":"NODE_CLUSTER","errno":0,"key":"KEY","ack":ACK,"data":null,"seq":0}}"#;

impl Master {
    /// Answers the worker's question `ack` with a socket.
    fn share(&self, socket: &impl AsFd, key: &str, ack: u64) {
        let frame = SHARE.replace("KEY", key).replace("ACK", &ack.to_string()) + "\n";
        let sent = channel::send(self.channel.as_fd(), frame.as_bytes(), Some(socket.as_fd())).unwrap();
        assert_eq!(sent, frame.len());
    }

    /// A master whose worker accepts from its socket.
    fn sharing() -> (Self, Worker, Listener) {
        let (master, mut worker) = Self::start();
        master.share(&master.socket, "k", 1);
        let listener = worker.listen("127.0.0.1:0".parse().unwrap()).unwrap();
        assert_eq!(listener.endpoint(), &Endpoint::Tcp(master.socket.local_addr().unwrap()));
        let heard = master.heard();
        assert!(heard[1] == r#"{"cmd":"NODE_HANDLE_ACK"}"# && heard[2].contains(r#""act":"listening""#));
        (master, worker, listener)
    }

    fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(self.socket.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        client
    }
}

/// The next connection, which must be there.
fn take(worker: &mut Worker) -> Connection {
    match worker.poll_event().unwrap() {
        Some(WorkerEvent::Connection(connection)) => connection,
        other => panic!("{other:?}"),
    }
}

/// A poll that watches the worker, and whether it tells of it within this time.
struct Watching(Poll, Events);

impl Watching {
    fn new(worker: &mut Worker) -> Self {
        let poll = Poll::new().unwrap();
        poll.registry().register(worker, Token(3), Interest::READABLE).unwrap();
        Self(poll, Events::with_capacity(8))
    }

    fn tells_within(&mut self, time: Duration) -> bool {
        self.0.poll(&mut self.1, Some(time)).unwrap();
        self.1.iter().any(|event| event.token() == Token(3))
    }

    fn tells(&mut self) -> bool {
        self.tells_within(Duration::ZERO)
    }
}

#[test]
fn it_accepts_by_itself_and_tells_the_master_nothing_of_it() {
    let (master, mut worker, listener) = Master::sharing();
    let mut clients = [master.connect(), master.connect()];
    for client in &mut clients {
        let connection = worker.accept().unwrap().unwrap();
        assert_eq!((connection.listener(), worker.open_connections()), (&listener, 1));
        let (mut stream, _guard) = connection.into_parts();
        assert!(is_blocking(&stream) && matches!(stream, Stream::Tcp(_)));
        client.write_all(b"ping").unwrap();
        let mut bytes = [0; 4];
        stream.read_exact(&mut bytes).unwrap();
        stream.write_all(&bytes).unwrap();
        client.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"ping");
    }
    assert_eq!(worker.open_connections(), 0);
    worker.flush_reports().unwrap();
    assert!(master.heard().is_empty());
}

#[test]
fn a_socket_that_is_only_bound_is_listened_on_with_the_backlog_asked_for() {
    let (master, mut worker) = Master::start();
    let bound = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    bind(bound.as_raw_fd(), &SockaddrStorage::from(any)).unwrap();
    assert!(!bind::is_listening(&bound));
    master.share(&bound, "k", 1);
    let listener = worker.listen_with(any.into(), &ListenOptions::new().backlog(1)).unwrap();
    assert!(bind::is_listening(&bound));
    let address = listener.endpoint().tcp().unwrap();
    let _clients = [TcpStream::connect(address).unwrap(), TcpStream::connect(address).unwrap()];
    let soon = Duration::from_millis(50);
    assert!(
        TcpStream::connect_timeout(&address, soon).is_err(),
        "the kernel queues one more than it is told"
    );
    assert!(worker.accept().unwrap().is_some());
}

#[test]
fn unix_sockets_are_told_by_their_descriptors() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.sock");
    let socket = UnixListener::bind(&path).unwrap();
    let (master, mut worker) = Master::start();
    master.share(&socket, "k", 1);
    let listener = worker.listen(Endpoint::Unix(path.clone())).unwrap();
    assert_eq!(listener.endpoint(), &Endpoint::Unix(path.clone()));
    let asked = format!(r#""address":"{}","port":-1,"addressType":-1"#, path.display());
    let heard = master.heard();
    assert!(heard[0].contains(&asked) && heard[2].contains(&asked), "{heard:?}");
    let _client = UnixStream::connect(&path).unwrap();
    let stream = worker.accept().unwrap().unwrap().into_stream();
    assert!(matches!(stream, Stream::Unix(_)));

    // What was asked for as TCP may be served through a Unix socket.
    let (master, mut worker, _) = Master::listening();
    master.hand_over(UnixStream::pair().unwrap().0, "k", 1);
    assert!(matches!(worker.accept().unwrap().unwrap().into_stream(), Stream::Unix(_)));
}

#[test]
fn what_a_worker_cannot_listen_on_is_not_asked_for() {
    use std::os::unix::ffi::OsStringExt;
    let (master, mut worker) = Master::start();
    let error = worker.listen("udp:127.0.0.1:53".parse().unwrap()).unwrap_err();
    assert!(error.to_string().starts_with("cannot listen on udp:127.0.0.1:53: a Worker takes connections"));
    let latin = std::ffi::OsString::from_vec(b"/\xe9".to_vec());
    let error = worker.listen(Endpoint::Unix(latin.into())).unwrap_err();
    assert!(error.to_string().contains("in UTF-8"), "{error}");
    assert!(matches!(worker.listen(Endpoint::Unix("".into())), Err(ListenError::Refused { .. })));
    assert!(master.heard().is_empty());
}

#[test]
fn what_is_given_and_does_not_listen_is_given_back() {
    let (master, mut worker) = Master::start();
    master.share(&std::net::UdpSocket::bind("127.0.0.1:0").unwrap(), "k", 1);
    let error = worker.listen("127.0.0.1:0".parse().unwrap()).unwrap_err();
    assert!(matches!(error, ListenError::Refused { .. }), "{error}");
    assert!(master.heard().last().unwrap().contains(r#""act":"close","key":"k""#));
}

#[test]
fn each_socket_has_its_turn_and_so_has_the_channel() {
    let (master, mut worker, first) = Master::sharing();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    master.share(&other, "other", 3);
    let second = worker.listen("127.0.0.1:1".parse().unwrap()).unwrap();
    let address = other.local_addr().unwrap();
    let _clients: Vec<_> =
        (0..20).map(|_| (master.connect(), TcpStream::connect(address).unwrap())).collect();
    master.say("\"now\"");
    let (mut taken, mut before) = (Vec::new(), None);
    while let Some(event) = worker.poll_event().unwrap() {
        match event {
            WorkerEvent::Connection(connection) => taken.push(connection.listener().clone()),
            WorkerEvent::Message(_) => before = Some(taken.len()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(taken.len(), 40);
    assert!(taken.chunks(2).all(|pair| pair.contains(&first) && pair.contains(&second)), "by turns");
    assert!(before.is_some_and(|before| before < 40), "the message came after {before:?} connections");
}

#[test]
fn under_mio_one_edge_of_a_shared_socket_tells_of_all() {
    // Registered before it listens, as well as after.
    for before in [true, false] {
        let (master, mut worker) = Master::start();
        let mut watching = before.then(|| Watching::new(&mut worker));
        master.share(&master.socket, "k", 1);
        worker.listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let mut watching = watching.take().unwrap_or_else(|| Watching::new(&mut worker));
        assert!(worker.poll_event().unwrap().is_none());
        while watching.tells() {}
        let _clients = [master.connect(), master.connect(), master.connect()];
        assert!(watching.tells_within(Duration::from_secs(10)));
        while watching.tells() {}
        let taken = [take(&mut worker), take(&mut worker), take(&mut worker)];
        assert!(taken.iter().all(|connection| !is_blocking(&connection.as_fd())));
        assert!(worker.poll_event().unwrap().is_none());
        let _client = master.connect();
        assert!(watching.tells_within(Duration::from_secs(10)));
        drop(take(&mut worker));
    }
}

#[test]
fn a_closed_listener_leaves_the_poll_and_its_connections_to_others() {
    for told in [false, true] {
        let (master, mut worker, listener) = Master::sharing();
        let mut watching = Watching::new(&mut worker);
        let client = master.connect();
        let taken = take(&mut worker);
        match told {
            false => worker.close_listener(&listener).unwrap(),
            true => {
                master.say(DISCONNECT);
                assert!(matches!(worker.poll_event().unwrap(), Some(WorkerEvent::Disconnect)));
            }
        }
        assert!(worker.poll_event().unwrap().is_none());
        assert!(master.heard().last().unwrap().contains(r#""act":"close","key":"k""#));
        while watching.tells() {}
        let _waiting = master.connect();
        assert!(!watching.tells(), "though the master keeps the socket open");
        assert!(worker.poll_event().unwrap().is_none());
        assert!(master.socket.accept().is_ok(), "it is still there for another");
        drop((taken, client));
        watching.0.registry().deregister(&mut worker).unwrap();
    }
}

#[test]
fn a_dropped_worker_leaves_the_poll() {
    let (master, mut worker, _) = Master::sharing();
    let mut watching = Watching::new(&mut worker);
    drop(worker);
    while watching.tells() {}
    let _client = master.connect();
    assert!(!watching.tells());
}

#[test]
fn blocking_accept_ends_with_the_master_though_clients_wait() {
    let (master, mut worker, _) = Master::sharing();
    thread::scope(|scope| {
        let accepting = scope.spawn(|| worker.accept());
        master.say(DISCONNECT);
        assert!(accepting.join().unwrap().unwrap().is_none());
    });
    let _client = master.connect();
    assert!(worker.accept().unwrap().is_none());
}

#[test]
fn beyond_its_limit_a_shared_socket_is_left_alone_until_a_connection_ends() {
    let (master, mut worker, _) = Master::sharing();
    worker.set_max_connections(2);
    let mut watching = Watching::new(&mut worker);
    let _clients = [master.connect(), master.connect(), master.connect()];
    let (first, second) = (take(&mut worker), take(&mut worker));
    assert!(worker.poll_event().unwrap().is_none() && worker.open_connections() == 2);
    while watching.tells() {}
    thread::scope(|scope| {
        scope.spawn(|| drop(first));
        assert!(watching.tells_within(Duration::from_secs(10)), "its end makes room");
    });
    let third = take(&mut worker);
    assert!(worker.poll_event().unwrap().is_none());
    while watching.tells() {}
    drop((second, third));
    assert!(watching.tells(), "few enough again, whoever waits");
}

#[test]
fn at_its_limit_blocking_accept_waits_for_an_end() {
    let (master, mut worker, _) = Master::sharing();
    worker.set_max_connections(1);
    let clients = [master.connect(), master.connect()];
    let (stream, guard) = worker.accept().unwrap().unwrap().into_parts();
    let ended = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        let accepting = scope.spawn(|| {
            let second = worker.accept().unwrap().unwrap();
            (ended.load(std::sync::atomic::Ordering::SeqCst), second)
        });
        // Gives a worker that does not wait the time to be wrong.
        let mut bytes = [0];
        clients[0].set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        assert!((&clients[0]).read(&mut bytes).is_err());
        ended.store(true, std::sync::atomic::Ordering::SeqCst);
        drop((stream, guard));
        assert!(accepting.join().unwrap().0, "it did not accept before");
    });
}

#[test]
fn beyond_its_limit_what_is_handed_over_goes_back() {
    let (master, mut worker, _) = Master::listening();
    worker.set_max_connections(1);
    let _clients = [1, 2].map(|seq| master.hand("k", seq));
    let connection = take(&mut worker);
    assert!(worker.poll_event().unwrap().is_none());
    let heard = master.heard();
    assert!(
        heard[1].contains(r#""ack":1,"accepted":true"#) && heard[3].contains(r#""ack":2,"accepted":false"#)
    );
    drop(connection);
    let _client = master.hand("k", 3);
    drop(take(&mut worker));
}

#[test]
fn drain_waits_for_every_connection_and_reports_their_ends() {
    let (master, mut worker, _) = Master::listening();
    let _clients = [1, 2].map(|seq| master.hand("k", seq));
    let mut guards = [1, 2].map(|_| Some(worker.accept().unwrap().unwrap().into_parts().1));
    master.heard();
    master.channel.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert_eq!(worker.open_connections(), 2);
    let mut heard = String::new();
    thread::scope(|scope| {
        // Dropped if this fails, so that nobody waits for them.
        let mut guards = std::mem::take(&mut guards);
        let draining = scope.spawn(|| worker.drain());
        let mut hear = |what: &str| {
            while !heard.contains(what) {
                let mut bytes = [0; 512];
                let count = (&master.channel).read(&mut bytes).unwrap();
                heard.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
            }
        };
        hear(r#""act":"close","key":"k""#);
        guards[0] = None;
        hear(r#"{"cmd":"NODE_POINTSMAN","gone":[1]}"#);
        // One that crosses goes back.
        let _crossing = master.hand("k", 3);
        hear(r#""ack":3,"accepted":false"#);
        assert!(!draining.is_finished());
        guards[1] = None;
        draining.join().unwrap().unwrap();
        hear(r#"{"cmd":"NODE_POINTSMAN","gone":[2]}"#);
    });
    assert_eq!(worker.open_connections(), 0);
}

#[test]
fn drain_outlives_the_master_and_connections_of_its_own() {
    let (master, mut worker, _) = Master::sharing();
    let _client = master.connect();
    let guard = worker.accept().unwrap().unwrap().into_parts().1;
    drop(master);
    let other = thread::spawn(move || drop(guard));
    worker.drain().unwrap();
    other.join().unwrap();
    assert_eq!(worker.open_connections(), 0);
    worker.drain().unwrap();
}

#[test]
fn without_a_free_descriptor_it_waits_and_does_not_spin() {
    // The limit is that of the whole process: this test runs in one of its own.
    const CHILD: &str = "POINTSMAN_TEST_DESCRIPTORS";
    if std::env::var_os(CHILD).is_none() {
        let name = "worker::tests::shared::without_a_free_descriptor_it_waits_and_does_not_spin";
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        let output = again.args(["--exact", name, "--test-threads=1"]).env(CHILD, "1").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    let (master, mut worker, _) = Master::sharing();
    let mut watching = Watching::new(&mut worker);
    let _clients = [master.connect(), master.connect(), master.connect()];
    let first = take(&mut worker);
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let next = fs::File::open("/dev/null").unwrap().as_raw_fd();
    setrlimit(Resource::RLIMIT_NOFILE, u64::try_from(next).unwrap(), hard).unwrap();
    assert!(worker.poll_event().unwrap().is_none());
    while watching.tells() {}
    let mut wakes = 0;
    while wakes < 3 {
        assert!(watching.tells_within(Duration::from_secs(10)), "it tries again by itself");
        assert!(worker.poll_event().unwrap().is_none());
        assert!(!watching.tells(), "and rests again after each time");
        wakes += 1;
    }
    drop(first);
    assert!(watching.tells(), "an end is a descriptor");
    let second = take(&mut worker);
    assert!(worker.poll_event().unwrap().is_none());
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(1024), hard).unwrap();
    assert!(watching.tells_within(Duration::from_secs(10)));
    drop((second, take(&mut worker)));
}
