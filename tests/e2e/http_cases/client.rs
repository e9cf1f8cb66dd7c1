//! The client of a case.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    os::fd::{AsRawFd, OwnedFd},
    time::Duration,
};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};

use super::{
    Play,
    cases::{SECOND, Then},
    judge::End,
    strict::{self, Message},
};

/// No answer takes this long.
const TIMEOUT: Duration = Duration::from_secs(20);

/// What a client was told.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) received: Vec<u8>,
    pub(super) end: End,
}

/// Plays a case to its end.
pub(super) fn converse(address: SocketAddr, play: &Play) -> Heard {
    let case = play.case;
    let mut stream = connect_from(play, address);
    let given = [case.given, if play.followed { SECOND } else { b"" }].concat();
    let (start, rest) = given.split_at(play.cut.unwrap_or(given.len()));
    // Who refuses the one may not take the other.
    let _ = stream.write_all(start).and_then(|()| stream.write_all(rest));
    if case.ends {
        stream.shutdown(Shutdown::Write).unwrap();
    }
    let mut received = Vec::new();
    let finals = match case.then {
        Then::Stays => case.got.iter().filter(|got| got.code >= 200).count(),
        Then::Spoilt => 1,
        Then::Tunnel => return tunnel(stream, received),
        Then::Ends | Then::Cut => usize::MAX,
    };
    // The other request, in any case: the connection was not only not closed.
    let expected = if play.followed { finals.saturating_add(1) } else { finals };
    let mut end = read_answers(&mut stream, play, &mut received, expected);
    if end == End::Open && !play.followed {
        stream.write_all(SECOND).unwrap();
        end = read_answers(&mut stream, play, &mut received, finals + 1);
    }
    Heard { received, end }
}

fn connect_from(play: &Play, address: SocketAddr) -> TcpStream {
    let SocketAddr::V4(address) = address else { panic!("{address} is not of IPv4") };
    let fd: OwnedFd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    let [a, b, c, d] = play.client.octets();
    bind(fd.as_raw_fd(), &SockaddrIn::new(a, b, c, d, 0)).unwrap();
    connect(fd.as_raw_fd(), &SockaddrIn::from(address)).unwrap();
    let stream = TcpStream::from(fd);
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream
}

/// Reads until so many final answers are there, or something that is none; or to the end.
fn read_answers(stream: &mut TcpStream, play: &Play, received: &mut Vec<u8>, finals: usize) -> End {
    let sent = play.case.sent.iter();
    let methods: Vec<_> = sent.map(|sent| sent.line.split(' ').next().unwrap().to_owned()).collect();
    loop {
        if let Some(end) = read_some(stream, play, received) {
            return end;
        }
        let (answers, fault) = strict::answers(received, &methods, false);
        let count = answers.iter().map(Message::code).filter(|code| *code >= 200).count();
        if count >= finals || (finals < usize::MAX && matches!(fault, Some(strict::Fault::Wrong(_)))) {
            return End::Open;
        }
    }
}

/// Reads once; tells how the connection has ended, if it has.
fn read_some(stream: &mut TcpStream, play: &Play, received: &mut Vec<u8>) -> Option<End> {
    let mut buffer = [0; 16 << 10];
    match stream.read(&mut buffer) {
        Ok(0) => Some(End::Ended),
        Ok(count) => {
            received.extend_from_slice(&buffer[..count]);
            None
        }
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Some(End::Cut),
        Err(error) => panic!("{play:?}: {error} behind {:?}", String::from_utf8_lossy(received)),
    }
}

/// Reads what comes through a tunnel, and ends it.
fn tunnel(mut stream: TcpStream, mut received: Vec<u8>) -> Heard {
    let mut buffer = [0; 16 << 10];
    while !received.ends_with(b"back") {
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "it ends behind {:?}", String::from_utf8_lossy(&received));
        received.extend_from_slice(&buffer[..count]);
    }
    stream.shutdown(Shutdown::Write).unwrap();
    stream.read_to_end(&mut received).unwrap();
    Heard { received, end: End::Open }
}
