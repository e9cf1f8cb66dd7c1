//! A fleet of two workers and the way of a connection through it: accepted, handed over, answered for, ended.
//!
//! What the workers say is written out here as bytes, so that the fleet reads frames and not our own messages. Nothing
//! in this file allocates after [`Path::new`] but what it drives.

use std::{collections::VecDeque, io::Write, net::SocketAddr, time::Duration};

use pointsman::{
    PolicyName, Serialization, WorkerId,
    fleet::{Fleet, ListenerId, Output, Rules},
    protocol::{
        frame::Frames,
        message::{Message, encode_newconn, encode_user},
    },
    time::Time,
};

const WORKERS: usize = 2;
/// Connections that stay open in each worker, where somebody tells of their ends.
const OPEN: usize = 40;
/// One turn of the loop.
const TURN: Duration = Duration::from_micros(200);

/// Who tells the ends of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Teller {
    Nobody,
    Worker,
    Kernel,
}

impl Teller {
    pub(crate) const ALL: [Self; 3] = [Self::Nobody, Self::Worker, Self::Kernel];
}

/// A worker as the master knows it: what it was sent, and what it says.
#[derive(Debug)]
struct Peer {
    id: WorkerId,
    /// The `newconn`s that it has not answered, with their connections.
    handed: VecDeque<(u64, u64)>,
    /// Accepted and not ended.
    open: VecDeque<(u64, u64)>,
    seq: u64,
    said: Vec<u8>,
    frames: Frames,
}

/// See the module. A connection is a number, which is also the kernel's name of it.
#[derive(Debug)]
pub(crate) struct Path {
    fleet: Fleet<u64>,
    listener: ListenerId,
    teller: Teller,
    serialization: Serialization,
    now: Time,
    peers: Vec<Peer>,
    frame: Vec<u8>,
    accepted: u64,
    released: u64,
}

impl Path {
    /// Two workers that listen.
    pub(crate) fn new(policy: PolicyName, teller: Teller, serialization: Serialization) -> Self {
        let mut fleet = Fleet::new(Rules { workers: WORKERS, ..Rules::default() }, policy);
        let listener = fleet.listen(SocketAddr::from(([127, 0, 0, 1], 8000)).into(), false);
        let (now, peers, frame) = (Time(1), Vec::new(), Vec::new());
        fleet.start(now);
        let mut path =
            Self { fleet, listener, teller, serialization, now, peers, frame, accepted: 0, released: 0 };
        path.perform();
        for place in 0..path.peers.len() {
            path.peers[place].begins(teller);
            path.read(place);
        }
        path
    }

    /// Sends `count` connections all the way: some in a turn, and now and then as many as the windows take.
    pub(crate) fn run(&mut self, count: u64) {
        let end = self.accepted + count;
        while self.accepted < end || self.peers.iter().any(|peer| !peer.handed.is_empty()) {
            self.now = self.now + TURN;
            let burst = 1 + self.accepted * 7 % 31;
            for _ in 0..burst.min(end - self.accepted) {
                if !self.fleet.has_room(self.now, self.listener) {
                    break;
                }
                self.fleet.handle_connection(self.now, self.listener, self.accepted);
                self.accepted += 1;
                self.perform();
            }
            for place in 0..self.peers.len() {
                self.peers[place].answers();
                self.end_connections(place);
                self.read(place);
            }
            // As the loop asks before it waits. A stuck worker would be due.
            assert!(self.fleet.poll_timeout().is_none_or(|at| at > self.now));
        }
    }

    /// How many connections the master has let go.
    pub(crate) fn released(&self) -> u64 {
        self.released
    }

    /// Does what the fleet says, as the master's `perform`.
    fn perform(&mut self) {
        while let Some(output) = self.fleet.poll_output() {
            match output {
                Output::Hand { worker, key, seq } => {
                    let connection = *self.fleet.connection(worker, seq).unwrap();
                    self.frame.clear();
                    encode_newconn(self.serialization, &key, seq, &mut self.frame);
                    let end = match self.serialization {
                        Serialization::Json => b"}\n",
                        Serialization::Advanced => b"{\x03",
                    };
                    assert!(self.frame.ends_with(end));
                    self.peers.iter_mut().find(|peer| peer.id == worker).unwrap().receives(seq, connection);
                }
                Output::Release(_) => self.released += 1,
                Output::Name { worker, seq, connection } => {
                    self.fleet.handle_named(worker, seq, connection);
                    self.released += 1;
                }
                Output::Spawn { worker, .. } => {
                    if self.teller == Teller::Kernel {
                        self.fleet.handle_kernel_tells(worker, true);
                    }
                    self.peers.push(Peer::new(worker, self.serialization));
                    self.fleet.handle_spawned(worker, 1000 + worker.0);
                }
                // The beginnings: Fork, Online, the answer to the question, Listening.
                Output::Event(_) | Output::Tell(..) => {}
                Output::WatchKernel(worker) => self.fleet.handle_kernel_tells(worker, false),
                other => panic!("nothing of this is at fault: {other:?}"),
            }
        }
    }

    /// Tells the fleet what a worker has said, as the master reads a channel.
    fn read(&mut self, place: usize) {
        let peer = &mut self.peers[place];
        peer.frames.push(&peer.said);
        peer.said.clear();
        while let Some(frame) = peer.frames.next_frame().unwrap() {
            let message = Message::decode(self.serialization, frame).unwrap();
            self.fleet.handle_message(self.now, peer.id, message);
        }
        self.perform();
    }

    /// The oldest connections of a worker end, in ones and in lots.
    fn end_connections(&mut self, place: usize) {
        let peer = &mut self.peers[place];
        let Some(count) = peer.open.len().checked_sub(OPEN) else { return };
        match self.teller {
            Teller::Nobody => peer.open.clear(),
            Teller::Worker => peer.reports(count),
            Teller::Kernel => {
                peer.open.drain(..count).for_each(|(_, cookie)| self.fleet.handle_destroyed(cookie));
            }
        }
        let id = self.peers[place].id;
        let known = self.fleet.workers(self.now).find(|worker| worker.id == id).unwrap().connections;
        assert!(self.teller == Teller::Nobody || known > 0, "the fleet counts them");
    }
}

impl Peer {
    fn new(id: WorkerId, serialization: Serialization) -> Self {
        let room = || VecDeque::with_capacity(256);
        let said = Vec::with_capacity(16 << 10);
        Self { id, handed: room(), open: room(), seq: 0, said, frames: Frames::new(serialization) }
    }

    fn begins(&mut self, teller: Teller) {
        let server = r#""index":0,"data":null,"address":null,"port":8000,"addressType":4,"backlog":false"#;
        self.says(r#"{"cmd":"NODE_CLUSTER","act":"online","seq":0}"#);
        if teller == Teller::Worker {
            self.says(r#"{"cmd":"NODE_POINTSMAN","hello":1}"#);
        }
        self.says(&format!(r#"{{"cmd":"NODE_CLUSTER","act":"queryServer",{server},"seq":1}}"#));
        self.says(&format!(r#"{{"cmd":"NODE_CLUSTER","act":"listening",{server},"seq":2}}"#));
        self.seq = 3;
    }

    fn receives(&mut self, seq: u64, connection: u64) {
        self.handed.push_back((seq, connection));
    }

    /// Accepts what it was handed.
    fn answers(&mut self) {
        while let Some((ack, connection)) = self.handed.pop_front() {
            let seq = self.seq;
            self.seq += 1;
            self.accepts(ack, seq);
            self.open.push_back((ack, connection));
        }
    }

    fn accepts(&mut self, ack: u64, seq: u64) {
        match self.frames.serialization() {
            Serialization::Json => {
                self.said.extend_from_slice(b"{\"cmd\":\"NODE_HANDLE_ACK\"}\n");
                let accepted =
                    format_args!(r#"{{"cmd":"NODE_CLUSTER","ack":{ack},"accepted":true,"seq":{seq}}}"#);
                writeln!(self.said, "{accepted}").unwrap();
            }
            Serialization::Advanced => {
                self.counted(|said| said.extend_from_slice(b"o\"\x03cmd\"\x0fNODE_HANDLE_ACK{\x01"));
                self.counted(|said| {
                    said.extend_from_slice(b"o\"\x03cmd\"\x0cNODE_CLUSTER\"\x03ack");
                    number(said, ack);
                    said.extend_from_slice(b"\"\x08acceptedT\"\x03seq");
                    number(said, seq);
                    said.extend_from_slice(b"{\x04");
                });
            }
        }
    }

    /// Reports the end of its `count` oldest connections, in one frame.
    fn reports(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        let ended = self.open.iter().take(count).map(|(seq, _)| *seq);
        match self.frames.serialization() {
            Serialization::Json => {
                for (place, seq) in ended.enumerate() {
                    let before = if place == 0 { r#"{"cmd":"NODE_POINTSMAN","gone":["# } else { "," };
                    write!(self.said, "{before}{seq}").unwrap();
                }
                self.said.extend_from_slice(b"]}\n");
            }
            Serialization::Advanced => counted(&mut self.said, |said| {
                said.extend_from_slice(b"o\"\x03cmd\"\x0eNODE_POINTSMAN\"\x04goneA");
                varint(said, count as u64);
                ended.for_each(|seq| number(said, seq));
                said.extend_from_slice(b"$\0");
                varint(said, count as u64);
                said.extend_from_slice(b"{\x02");
            }),
        }
        self.open.drain(..count);
    }

    fn counted(&mut self, content: impl FnOnce(&mut Vec<u8>)) {
        counted(&mut self.said, content);
    }

    /// In the beginning it may allocate.
    fn says(&mut self, frame: &str) {
        let value = serde_json::from_str(frame).unwrap();
        encode_user(self.frames.serialization(), &value, &mut self.said);
    }
}

/// A value in V8's format as Node frames it.
fn counted(said: &mut Vec<u8>, content: impl FnOnce(&mut Vec<u8>)) {
    let start = said.len() + 4;
    said.extend_from_slice(b"\0\0\0\0\xFF\x0F");
    content(said);
    let length = u32::try_from(said.len() - start).unwrap();
    said[start - 4..start].copy_from_slice(&length.to_be_bytes());
}

/// An integer that is not negative.
fn number(said: &mut Vec<u8>, number: u64) {
    said.push(b'I');
    varint(said, number * 2);
}

fn varint(said: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        said.push(u8::try_from(number & 0x7F).unwrap() | 0x80);
        number >>= 7;
    }
    said.push(u8::try_from(number).unwrap());
}
