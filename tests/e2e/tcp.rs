//! `protocol = "tcp"`: bytes are passed on, connection by connection, whatever they mean.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use crate::harness::{Node, Pointsman, Upstream, eventually, free_port};

fn tcp(upstreams: &[&Upstream]) -> Pointsman {
    Pointsman::before(upstreams).option("--protocol", "tcp")
}

fn echo(name: &'static str) -> Upstream {
    Upstream::start(move |served| {
        served.send(name.as_bytes())?;
        let mut buffer = [0; 64 << 10];
        loop {
            let count = served.stream.read(&mut buffer).ok().filter(|&count| count > 0)?;
            served.send(&buffer[..count])?;
        }
    })
}

fn open(address: std::net::SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

fn read(stream: &mut TcpStream, length: usize) -> String {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// A server of keys and values such as Redis, of Node, which ends by itself when it is told to.
#[test]
fn a_server_of_another_protocol_is_spoken_to_line_by_line() {
    let script = "const net = require('net');\n\
        const store = new Map();\n\
        net.createServer({ allowHalfOpen: true }, (socket) => {\n\
          let rest = '';\n\
          socket.setEncoding('utf8');\n\
          socket.on('error', () => {});\n\
          socket.on('end', () => socket.end('+BYE\\r\\n'));\n\
          socket.on('data', (data) => {\n\
            rest += data;\n\
            for (let at; (at = rest.indexOf('\\r\\n')) >= 0; rest = rest.slice(at + 2)) {\n\
              const [verb, key, value] = rest.slice(0, at).split(' ');\n\
              if (verb === 'SET') { store.set(key, value); socket.write('+OK\\r\\n'); }\n\
              else if (verb === 'GET') socket.write(`$${store.get(key)}\\r\\n`);\n\
              else if (verb === 'QUIT') socket.end('+QUIT\\r\\n');\n\
            }\n\
          });\n\
        }).listen(Number(process.env.PORT));";
    let run = Pointsman::multiport().workers(1).option("--protocol", "tcp");
    let master = run.program(Node::DEFAULT.path()).arg("-e").arg(script).start();
    let mut client = open(master.address());
    for number in 0..500 {
        write!(client, "SET key{number} value{number}\r\nGET key{number}\r\n").unwrap();
        let expected = format!("+OK\r\n$value{number}\r\n");
        assert_eq!(read(&mut client, expected.len()), expected);
    }
    // The client has said all, and is still answered.
    write!(client, "GET key7\r\n").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut rest = String::new();
    client.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "$value7\r\n+BYE\r\n");
    // The server has said all, and the client may go on for a while.
    let mut other = open(master.address());
    write!(other, "QUIT\r\n").unwrap();
    rest.clear();
    other.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "+QUIT\r\n");
    write!(other, "SET late value\r\n").unwrap();
    drop((client, other));
    let mut last = open(master.address());
    eventually("what came late has come", || {
        write!(last, "GET late\r\n").unwrap();
        let mut line = String::new();
        while !line.ends_with("\r\n") {
            line.push_str(&read(&mut last, 1));
        }
        line == "$value\r\n"
    });
    drop(last);
    master.finish();
}

#[test]
fn whoever_speaks_first_is_heard_and_much_passes_both_ways() {
    let upstream = echo("220 hello\r\n");
    let master = tcp(&[&upstream]).start();
    let mut client = open(master.address());
    assert_eq!(read(&mut client, 11), "220 hello\r\n", "the server speaks first");
    let mut sender = client.try_clone().unwrap();
    let sends = std::thread::spawn(move || {
        let block: Vec<u8> = (0..1u32 << 18).flat_map(u32::to_be_bytes).collect();
        (0..16).for_each(|_| sender.write_all(&block).unwrap());
        sender.shutdown(Shutdown::Write).unwrap();
    });
    let mut all = Vec::new();
    client.read_to_end(&mut all).unwrap();
    sends.join().unwrap();
    assert_eq!(all.len(), 16 << 20);
    let expected = (0..1u32 << 18).cycle().map(u32::to_be_bytes);
    assert!(all.chunks(4).zip(expected).all(|(word, expected)| word == expected));
    master.finish();
}

#[test]
fn least_connections_counts_connections() {
    let all = [echo("a"), echo("b"), echo("c")];
    let master = tcp(&all.iter().collect::<Vec<_>>()).option("-p", "least-connections").start();
    let connect = || {
        let mut client = open(master.address());
        let name = read(&mut client, 1);
        (name, client)
    };
    let mut held: Vec<_> = (0..9).map(|_| connect()).collect();
    assert_eq!(all.each_ref().map(Upstream::open), [3, 3, 3]);
    // Those of one go; whoever comes next goes there.
    held.retain(|(name, _)| name != "b");
    eventually("they are gone", || all[1].open() == 0);
    // The lane has seen the ends when it has told the upstream.
    held.extend((0..3).map(|_| connect()));
    assert_eq!(all.each_ref().map(Upstream::open), [3, 3, 3]);
    drop(held);
    master.finish();
}

#[test]
fn who_refuses_is_passed_over_and_nobody_is_answered_in_http() {
    let upstream = echo("a");
    let nobody = format!("127.0.0.1:{}", free_port());
    let list = [nobody.clone(), upstream.address().to_string()];
    let master = Pointsman::before_addresses(&list).option("--protocol", "tcp").start();
    for _ in 0..10 {
        assert_eq!(read(&mut open(master.address()), 1), "a");
    }
    master.finish();
    let master = Pointsman::before_addresses(&[nobody]).option("--protocol", "tcp").start();
    let mut client = open(master.address());
    let mut all = Vec::new();
    // Closed, or reset.
    let _ = client.read_to_end(&mut all);
    assert!(all.is_empty(), "{all:?}");
    master.finish();
}

/// A reset on one side is one on the other, or an end: never silence.
#[test]
fn a_side_that_is_gone_takes_the_other_with_it() {
    let upstream = Upstream::start(|served| {
        served.send(b"x")?;
        let mut word = [0];
        served.stream.read_exact(&mut word).ok()?;
        if word == *b"r" { served.reset() } else { None }
    });
    let master = tcp(&[&upstream]).start();
    for word in [b"r", b"c"] {
        let mut client = open(master.address());
        assert_eq!(read(&mut client, 1), "x");
        client.write_all(word).unwrap();
        assert!(!matches!(client.read(&mut [0]), Ok(1..)), "it ends");
    }
    let mut client = crate::harness::Client::connect(master.address()).unwrap();
    client.receive_raw(1).unwrap();
    client.reset();
    eventually("the upstream sees the client leave", || upstream.open() == 0);
    master.finish();
}
