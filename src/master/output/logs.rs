//! What workers write, for clients of the control socket: the lines that are kept, and who is shown them.
//!
//! What pipes bring enters, and leaves to clients; nobody who writes waits for one who reads. While nobody follows, only what
//! may be kept of a long read is looked at.

use std::os::fd::BorrowedFd;

use super::{
    Show,
    client::Client,
    cut::Cut,
    history::{self, History},
};
use crate::{
    control::{Code, Origin, Refusal},
    sys::wait::For,
    time::Time,
};

/// Clients that follow, and as many that do not: each has a descriptor, and up to 256 KiB wait for it.
const CLIENTS: usize = 32;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Logs {
    history: History,
    clients: Vec<Client>,
    /// What lines that come have as their time, in milliseconds since 1970.
    pub(super) time: u64,
    /// Nothing more is going to be written.
    finishing: bool,
}

impl Logs {
    /// A client wants to be shown lines.
    pub(super) fn show(&mut self, now: Time, show: Show) {
        if self.clients.iter().filter(|client| client.follows() == show.follow).count() < CLIENTS {
            // Who has no socket is told nothing.
            self.clients.extend(Client::new(now, show, &self.history));
            return;
        }
        let message =
            format!("{CLIENTS} others are shown lines already; try again when one of them has left");
        if let Ok(mut client) = Client::refused(now, show, Refusal::new(Code::Busy, message)) {
            // It has room for that, unless it reads nothing.
            client.flush(now, &self.history);
        }
    }

    /// Takes what was read from a pipe.
    pub(super) fn take(&mut self, now: Time, origin: Origin, cut: &mut Cut, mut bytes: &[u8]) {
        if !self.clients.iter().any(Client::follows)
            && let Some(recent) = history::recent(bytes)
        {
            cut.forget();
            bytes = recent;
        }
        cut.take(bytes, |line| self.put(now, origin, line));
    }

    /// Nothing more comes from a pipe.
    pub(super) fn end(&mut self, now: Time, origin: Origin, cut: &mut Cut) {
        cut.flush(|line| self.put(now, origin, line));
    }

    fn put(&mut self, now: Time, origin: Origin, line: &[u8]) {
        self.history.put(self.time, origin, line);
        for client in &mut self.clients {
            client.put(now, &self.history, self.time, origin, line);
        }
    }

    /// What tells when there is something to do for a client.
    pub(super) fn waits(&self) -> impl Iterator<Item = (BorrowedFd<'_>, For)> {
        self.clients.iter().map(Client::wait)
    }

    /// How many there are.
    pub(super) fn clients(&self) -> usize {
        self.clients.len()
    }

    /// Of which of those it is so.
    pub(super) fn wake(&mut self, ready: &[bool]) {
        for (client, _) in self.clients.iter_mut().zip(ready).filter(|(_, ready)| **ready) {
            client.wake();
        }
    }

    /// Writes what clients have room for, and forgets those that are gone, have everything, or take nothing.
    pub(super) fn flush(&mut self, now: Time) {
        let Self { history, clients, finishing, .. } = self;
        clients.retain_mut(|client| {
            client.flush(now, history);
            !client.is_over() && client.deadline(*finishing).is_none_or(|at| now < at)
        });
    }

    /// When to flush although nothing has happened.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.clients.iter().filter_map(|client| client.deadline(self.finishing)).min()
    }

    /// Everything was read: clients get what waits for them and no more. To be called in each turn from then on; says whether all have it, or were given up.
    pub(super) fn finish(&mut self, now: Time) -> bool {
        self.finishing = true;
        self.clients.iter_mut().for_each(Client::finish);
        self.flush(now);
        self.clients.is_empty()
    }

    /// Everything was read, and clients do not have it all yet.
    pub(super) fn is_finishing(&self) -> bool {
        self.finishing && !self.clients.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{ErrorKind, Read},
        os::unix::net::UnixStream,
        time::Duration,
    };

    use serde_json::Value;

    use crate::{
        control::{LogStream, RequestId},
        fleet::WorkerId,
        sys::wait,
    };

    const NOW: Time = Time(0);

    fn origin(slot: u32) -> Origin {
        Origin { worker: WorkerId(slot + 1), slot, stream: LogStream::Stdout }
    }

    fn take(logs: &mut Logs, slot: u32, text: &str) {
        logs.take(NOW, origin(slot), &mut Cut::default(), text.as_bytes());
    }

    fn look(logs: &Logs) -> Vec<bool> {
        wait::look(logs.waits(), Some(Duration::ZERO)).unwrap()
    }

    /// A client that reads when it is told to.
    fn shown(logs: &mut Logs, now: Time, lines: usize, follow: bool) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let (id, before) = (RequestId::NONE, Vec::new());
        logs.show(now, Show { client: ours.into(), id, target: None, lines, follow, before });
        logs.flush(now);
        theirs
    }

    /// What has come so far, and whether that is all.
    fn read(mut from: &UnixStream) -> (String, bool) {
        let mut text = Vec::new();
        let is_end = match from.read_to_end(&mut text) {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                false
            }
        };
        (String::from_utf8(text).unwrap(), is_end)
    }

    /// Reads as long as something comes: the lines, and `-N` for so many dropped ones.
    fn read_all(logs: &mut Logs, now: Time, from: &UnixStream) -> Vec<String> {
        let mut text = String::new();
        loop {
            let (part, is_end) = read(from);
            text.push_str(&part);
            if is_end || part.is_empty() {
                break;
            }
            let ready = look(logs);
            logs.wake(&ready);
            logs.flush(now);
        }
        let shown = |line: &str| {
            let told: Value = serde_json::from_str(line).unwrap();
            let dropped = told["dropped"].as_u64().map(|count| format!("-{count}"));
            told["log"]["line"].as_str().map(str::to_owned).or(dropped)
        };
        text.lines().filter_map(shown).collect()
    }

    fn numbers(numbers: std::ops::Range<u32>) -> String {
        numbers.map(|number| format!("{number} {}\n", "x".repeat(100))).collect()
    }

    #[test]
    fn of_a_long_read_that_nobody_follows_only_the_end_is_looked_at() {
        let mut logs = Logs::default();
        let mut cut = Cut::default();
        logs.take(NOW, origin(0), &mut cut, b"first\nbegun");
        logs.take(NOW, origin(0), &mut cut, format!(", ended\n{}begun", "y\n".repeat(1000)).as_bytes());
        let reader = shown(&mut logs, NOW, 1000, false);
        assert_eq!(read_all(&mut logs, NOW, &reader), vec!["y"; 256], "no line is made of two");
        logs.take(NOW, origin(0), &mut cut, b" again\n");
        assert!(logs.history.next() < 300, "{}", logs.history.next());
        let reader = shown(&mut logs, NOW, 1000, false);
        let lines = read_all(&mut logs, NOW, &reader);
        assert_eq!((lines.len(), &*lines[0], &*lines[254], &*lines[255]), (256, "y", "y", "begun again"));
        let follower = shown(&mut logs, NOW, 0, true);
        logs.take(NOW, origin(0), &mut cut, "y\n".repeat(1000).as_bytes());
        assert_eq!(read_all(&mut logs, NOW, &follower).len(), 1000, "a follower is told all");
    }

    #[test]
    fn kept_lines_that_are_gone_before_they_are_shown_are_counted() {
        let mut logs = Logs::default();
        for slot in 0..40 {
            take(&mut logs, slot, &numbers(0..256));
        }
        let reader = shown(&mut logs, NOW, 10_000, true);
        // It has read nothing yet, and most of what it has asked for is still where it was.
        assert!(logs.clients[0].waiting() < 300_000);
        take(&mut logs, 20, &numbers(256..512));
        take(&mut logs, 39, &numbers(256..257));
        let lines = read_all(&mut logs, NOW, &reader);
        let count = |line: &String| line.strip_prefix('-').map_or(1, |count| count.parse().unwrap());
        assert_eq!(lines.iter().map(count).sum::<u32>(), 10_000 + 257);
        let lost: u32 = lines.iter().filter(|line| line.starts_with('-')).map(count).sum();
        assert_eq!(lost, 257, "as many as have come");
        assert!(lines.last().unwrap().starts_with("256 "));
    }

    #[test]
    fn who_does_not_read_is_given_up_but_for_followers() {
        let second = Duration::from_secs(1);
        let mut logs = Logs::default();
        for slot in 0..40 {
            take(&mut logs, slot, &numbers(0..256));
        }
        let (slow, follower) =
            (shown(&mut logs, NOW, usize::MAX, false), shown(&mut logs, NOW, usize::MAX, true));
        let read_some = NOW + second * 6;
        assert!(!read(&slow).1);
        logs.wake(&[true, false]);
        logs.flush(read_some);
        logs.flush(NOW + second * 15);
        assert_eq!((logs.clients(), logs.deadline()), (2, Some(NOW + second * 16)));
        logs.flush(NOW + second * 16);
        assert_eq!((logs.clients(), logs.deadline()), (1, None));
        let (text, is_end) = read(&slow);
        assert!(is_end && !text.contains("\"end\""), "what was written is there, and then the end");
        assert!(!logs.finish(NOW + Duration::from_millis(299)), "the last moment");
        assert!(logs.is_finishing() && logs.finish(NOW + Duration::from_millis(300)));
        assert!(read(&follower).1);
    }

    #[test]
    fn who_has_nothing_to_be_told_wakes_nobody_until_it_leaves() {
        let mut logs = Logs::default();
        let follower = shown(&mut logs, NOW, 10, true);
        std::io::Write::write_all(&mut &follower, b"not read\n").unwrap();
        assert_eq!((look(&logs), logs.deadline()), (vec![false], None));
        drop(follower);
        let ready = look(&logs);
        logs.wake(&ready);
        logs.flush(NOW);
        assert_eq!((ready, logs.clients()), (vec![true], 0));
    }

    #[test]
    fn who_has_everything_sees_an_end_and_no_error() {
        let mut logs = Logs::default();
        take(&mut logs, 0, "one\n");
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        std::io::Write::write_all(&mut &theirs, &[b'x'; 10_000]).unwrap();
        let (id, before) = (RequestId::NONE, Vec::new());
        logs.show(NOW, Show { client: ours.into(), id, target: None, lines: 10, follow: false, before });
        logs.flush(NOW);
        assert_eq!(logs.clients(), 0);
        let (text, is_end) = read(&theirs);
        assert!(text.ends_with("{\"id\":null,\"end\":true}\n") && is_end, "{text}");
    }

    #[test]
    fn at_the_end_followers_get_what_waits_for_them() {
        let mut logs = Logs::default();
        for slot in 0..40 {
            take(&mut logs, slot, &numbers(0..256));
        }
        let idle = shown(&mut logs, NOW, 0, true);
        let busy = shown(&mut logs, NOW, usize::MAX, true);
        take(&mut logs, 0, "last\n");
        assert!(!logs.finish(NOW));
        let (text, is_end) = read(&idle);
        assert!(is_end && text.contains("last") && !text.contains("\"end\""), "{text}");
        let mut lines = read_all(&mut logs, NOW, &busy);
        assert!(logs.is_finishing() && logs.finish(NOW) && read(&busy).1);
        assert_eq!((lines.pop().unwrap().as_str(), lines.len()), ("last", 40 * 256));
    }

    #[test]
    fn so_much_waits_and_what_is_missing_is_said_where_it_is_missing() {
        let mut logs = Logs::default();
        let follower = shown(&mut logs, NOW, 0, true);
        for part in 0..30 {
            take(&mut logs, 0, &numbers(part * 100..(part + 1) * 100));
            assert!(logs.clients[0].waiting() <= 256 << 10);
        }
        let mut lines = read_all(&mut logs, NOW, &follower);
        take(&mut logs, 0, &numbers(3000..3001));
        logs.flush(NOW);
        lines.extend(read_all(&mut logs, NOW, &follower));
        let mut next = 0;
        for line in &lines {
            match line.strip_prefix('-') {
                Some(count) => next += count.parse::<u32>().unwrap(),
                None => {
                    assert!(line.starts_with(&format!("{next} ")), "{next}: {line}");
                    next += 1;
                }
            }
        }
        let said = lines.iter().filter(|line| line.starts_with('-')).count();
        assert_eq!((next, said), (3001, 1));
    }
}
