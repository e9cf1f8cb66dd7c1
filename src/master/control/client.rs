//! One client of the control socket: its lines, and the events that it wants.

use std::{io, os::fd::OwnedFd};

use super::MAX_WAITING;
use crate::{
    control::{Code, MAX_LINE, Refusal, RequestId, dropped, event as event_line},
    master::stream::Stream,
    time::Time,
};

/// What a client may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Everything: it is root, or runs as the master does.
    Owner,
    /// What runs no program of its own: it is in the group that was let in.
    Member,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) stream: Stream,
    pub(super) standing: Standing,
    /// When it last sent something.
    pub(super) last: Time,
    /// There may be something to be read.
    pub(super) unread: bool,
    /// It sends nothing more.
    pub(super) ended: bool,
    /// It reads nothing more.
    pub(super) is_gone: bool,
    /// What it sends is not looked at any more.
    refused: bool,
    /// Bytes of its input that have no end of a line in them.
    scanned: usize,
    /// It stands in the queue of those that have something to be done.
    pub(super) is_due: bool,
    listens: Option<Listens>,
}

/// It is told what happens.
#[derive(Debug)]
struct Listens {
    id: RequestId,
    /// Events that it was not told.
    dropped: u64,
}

impl Client {
    pub(super) fn new(socket: OwnedFd, now: Time, standing: Standing) -> Self {
        Self {
            stream: Stream::new(socket),
            standing,
            last: now,
            // What it has said already is told by no event, should it have come before.
            unread: true,
            ended: false,
            is_gone: false,
            refused: false,
            scanned: 0,
            is_due: true,
            listens: None,
        }
    }

    /// Whether it is told what happens.
    pub(super) fn listens(&self) -> bool {
        self.listens.is_some()
    }

    /// It is to be told, unless it is already.
    pub(super) fn listen(&mut self, id: RequestId) -> bool {
        let is_new = self.listens.is_none();
        if is_new {
            self.listens = Some(Listens { id, dropped: 0 });
        }
        is_new
    }

    /// Something has happened, which is JSON already.
    pub(super) fn hear(&mut self, event: &str) {
        self.tell_dropped();
        let Some(listens) = &mut self.listens else { return };
        let line = event_line(&listens.id, event);
        if listens.dropped > 0 || self.stream.waiting() + line.len() > MAX_WAITING {
            listens.dropped += 1;
        } else {
            self.stream.queue(&line);
        }
    }

    /// Sends what it takes now. An error: it takes nothing any more.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.stream.waiting() > 0 {
            self.stream.flush()?;
        }
        // That may be news by itself.
        if self.tell_dropped() { self.stream.flush() } else { Ok(()) }
    }

    /// If events were dropped and there is room again, says how many; whether it has.
    fn tell_dropped(&mut self) -> bool {
        let Some(listens) = self.listens.as_mut().filter(|listens| listens.dropped > 0) else {
            return false;
        };
        // Not with each event that fits: half of the room is to be free.
        let has_room = self.stream.waiting() <= MAX_WAITING / 2;
        if has_room {
            self.stream.queue(&dropped(&listens.id, listens.dropped));
            listens.dropped = 0;
        }
        has_room
    }

    /// Whether it is to be read: not while it does not read what it is told.
    pub(super) fn wants_to_read(&self) -> bool {
        self.unread && !self.refused && self.takes() && self.stream.input().len() <= MAX_LINE
    }

    /// Whether a request, or more to read, is there to be handled.
    pub(super) fn has_requests(&mut self) -> bool {
        self.wants_to_read() || self.takes() && !self.refused && self.find_end().is_some()
    }

    /// It takes what it is told, or would have: what it asked for before it went is still done.
    fn takes(&self) -> bool {
        self.stream.waiting() <= MAX_WAITING
    }

    /// It wants events, and does not read them.
    pub(super) fn is_stalled(&self) -> bool {
        self.listens.as_ref().is_some_and(|listens| listens.dropped > 0)
    }

    /// Where the first line ends. What was searched before is not searched again.
    fn find_end(&mut self) -> Option<usize> {
        let input = self.stream.input();
        let end = memchr::memchr(b'\n', &input[self.scanned..]).map(|at| self.scanned + at);
        self.scanned = end.unwrap_or(input.len());
        end
    }

    /// The next line that it has sent, without its line feed. What cannot be one is the last that is looked at.
    pub(super) fn next_line(&mut self) -> Option<Result<Vec<u8>, Refusal>> {
        if self.refused || !self.takes() {
            return None;
        }
        let end = self.find_end();
        let input = self.stream.input();
        let (line, taken) = match end {
            Some(end) if end <= MAX_LINE => (input[..end].to_vec(), end + 1),
            None if self.ended && !input.is_empty() && input.len() <= MAX_LINE => {
                (input.to_vec(), input.len())
            }
            None if input.len() <= MAX_LINE => return None,
            Some(_) | None => {
                self.refused = true;
                self.ended = true;
                let message = format!("a line of more than {MAX_LINE} bytes is no request");
                return Some(Err(Refusal::new(Code::BadRequest, message)));
            }
        };
        self.stream.take(taken);
        self.scanned = 0;
        Some(Ok(line))
    }

    /// It sends nothing more, and all is done that it has asked for.
    pub(super) fn is_done(&self) -> bool {
        self.ended && self.stream.waiting() == 0 && (self.refused || self.stream.input().is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{control::Request, sys::channel};
    use std::os::fd::{AsFd, OwnedFd};

    fn pair() -> (Client, OwnedFd) {
        let (ours, theirs) = channel::pair().unwrap();
        [&ours, &theirs].into_iter().for_each(|end| channel::set_nonblocking(end, true).unwrap());
        (Client::new(ours, Time(0), Standing::Owner), theirs)
    }

    fn id() -> RequestId {
        Request::parse(br#"{"id":1,"verb":"events"}"#).unwrap().id
    }

    #[test]
    fn lines_come_whole_in_order_and_the_last_without_its_end() {
        let (mut client, theirs) = pair();
        let mut buffer = [0; 64];
        for (sent, expected) in [("a\nb", "a"), ("c\n\n", "bc"), ("", ""), ("d", "-")] {
            channel::send(theirs.as_fd(), sent.as_bytes(), None).unwrap();
            client.stream.read(&mut buffer, MAX_LINE + 1);
            let line = client.next_line().map(|line| String::from_utf8(line.unwrap()).unwrap());
            assert_eq!(line.as_deref().unwrap_or("-"), expected, "{sent:?}");
        }
        client.ended = true;
        assert_eq!(client.next_line().unwrap().unwrap(), b"d");
        assert!(client.next_line().is_none() && client.is_done());
    }

    #[test]
    fn a_line_that_is_too_long_is_the_last() {
        let (mut client, theirs) = pair();
        let mut buffer = vec![0; 64 << 10];
        let long = vec![b'x'; 64 << 10];
        while client.stream.input().len() <= MAX_LINE {
            channel::send(theirs.as_fd(), &long, None).unwrap();
            client.stream.read(&mut buffer, MAX_LINE + 1);
        }
        assert_eq!(client.next_line().unwrap().unwrap_err().code, Code::BadRequest);
        let has_requests = client.has_requests();
        assert!(client.next_line().is_none() && !has_requests && client.is_done());
    }

    #[test]
    fn who_does_not_read_is_told_how_much_was_missed() {
        let (mut client, theirs) = pair();
        assert!(client.listen(id()) && !client.listen(id()));
        let event = format!("\"{}\"", "x".repeat(1000));
        let events = 2 * MAX_WAITING / event.len();
        (0..events).for_each(|_| client.hear(&event));
        assert!(client.stream.waiting() <= MAX_WAITING);
        let (mut got, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
        while client.stream.waiting() > 0 {
            client.flush().unwrap();
            while let Ok(received) = channel::receive(theirs.as_fd(), &mut buffer) {
                got.extend_from_slice(&buffer[..received.bytes]);
            }
        }
        let text = String::from_utf8(got).unwrap();
        let told = text.lines().filter(|line| line.contains("event")).count();
        let last = text.lines().last().unwrap();
        assert_eq!(last, format!("{{\"id\":1,\"dropped\":{}}}", events - told));
    }
}
