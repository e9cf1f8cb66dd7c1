//! What names of servers stand for: looked up again and again by a thread of its own, since that may take as long as it
//! likes.
//!
//! Questions go through a bounded queue, and answers come back through another with a waker; the loop waits for neither. A
//! name that cannot be looked up keeps what it stood for, and that is said once.

use std::{
    collections::BTreeSet,
    io,
    net::{SocketAddr, ToSocketAddrs},
    sync::{
        Arc,
        mpsc::{self, Receiver, SyncSender},
    },
    thread::Builder,
    time::Duration,
};

use super::{Master, others::Name, source::Source};
use crate::{
    sys::{signals, wake::Wake},
    time::Time,
};

/// From one look-up of all names to the next; the system's resolver does not tell for how long an answer holds, and other
/// proxies look as often.
const PERIOD: Duration = Duration::from_secs(30);

/// Names on their way. Those for which there is no room are looked up the next time.
const QUEUE: usize = 256;

/// See the module.
#[derive(Debug)]
pub(super) struct Resolver {
    questions: SyncSender<Name>,
    answers: Receiver<Answer>,
    /// Wakes the loop.
    news: Arc<Wake>,
    /// Names that were asked for and not answered.
    asked: BTreeSet<Name>,
    due: Time,
    /// Names of which it was said that they cannot be looked up.
    failing: BTreeSet<Name>,
}

type Answer = (Name, io::Result<Vec<SocketAddr>>);

impl Resolver {
    fn start(now: Time) -> io::Result<Self> {
        let (questions, asked) = mpsc::sync_channel::<Name>(QUEUE);
        let (answered, answers) = mpsc::channel();
        let news = Arc::new(Wake::new()?);
        let bell = Arc::clone(&news);
        let answer = move || {
            // It ends with the loop's end of the queue; nobody waits for it, since it may wait for a server.
            for (host, port) in asked {
                let found = look_up(&host, port);
                if answered.send(((host, port), found)).is_err() {
                    return;
                }
                bell.ring();
            }
        };
        signals::shielded(|| Builder::new().name("resolver".into()).spawn(answer))?;
        Ok(Self { questions, answers, news, asked: BTreeSet::new(), due: now, failing: BTreeSet::new() })
    }

    fn ask(&mut self, now: Time, names: impl Iterator<Item = Name>) {
        self.due = now + PERIOD;
        for name in names {
            if self.asked.insert(name.clone()) && self.questions.try_send(name.clone()).is_err() {
                self.asked.remove(&name);
            }
        }
    }

    /// Says once that a name cannot be looked up, and once that it can again.
    fn note(&mut self, (host, port): &Name, found: &io::Result<Vec<SocketAddr>>) {
        let name = (host.clone(), *port);
        match found {
            Ok(_) if self.failing.remove(&name) => log::info!("{host}:{port} can be looked up again"),
            Ok(_) => {}
            Err(error) if self.failing.insert(name) => {
                log::warn!(
                    "{host}, an upstream, cannot be looked up: {error}; it stays what it was, if it was anything"
                );
            }
            Err(_) => {}
        }
    }
}

/// In an order that does not change from time to time, each once.
fn look_up(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let found: BTreeSet<_> = (host, port).to_socket_addrs()?.collect();
    if found.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "it has no address"));
    }
    Ok(found.into_iter().collect())
}

impl Master {
    /// Has all names looked up now.
    pub(super) fn ask_names(&mut self) {
        let Some(lanes) = &self.lanes else { return };
        let names: Vec<_> = lanes.upstreams.others.names().collect();
        if self.resolver.is_none() && !names.is_empty() {
            let started = Resolver::start(self.now).and_then(|resolver| {
                self.watch(&*resolver.news, Source::Resolver)?;
                Ok(resolver)
            });
            match started {
                Ok(resolver) => self.resolver = Some(resolver),
                Err(error) => log::error!("names of upstreams cannot be looked up: {error}"),
            }
        }
        if let Some(resolver) = &mut self.resolver {
            resolver.ask(self.now, names.into_iter());
        }
    }

    /// When [`Master::resolve`] has something to do.
    pub(super) fn resolver_deadline(&self) -> Option<Time> {
        let has_names =
            self.lanes.as_ref().is_some_and(|lanes| lanes.upstreams.others.names().next().is_some());
        self.resolver.as_ref().filter(|_| has_names).map(|resolver| resolver.due)
    }

    /// Looks names up again, if it is time for that.
    pub(super) fn resolve(&mut self) {
        if self.resolver_deadline().is_some_and(|at| at <= self.now) {
            self.ask_names();
        }
    }

    /// The thread has answers.
    pub(super) fn read_resolver(&mut self) {
        let Some(resolver) = &mut self.resolver else { return };
        // What cannot be read is rung again.
        let _ = resolver.news.clear();
        while let Ok((name, found)) = resolver.answers.try_recv() {
            resolver.asked.remove(&name);
            resolver.note(&name, &found);
            if let (Ok(addresses), Some(lanes)) = (found, &mut self.lanes) {
                lanes.upstreams.changed |= lanes.upstreams.others.handle_found(name, addresses);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{
        clock,
        wait::{For, look},
    };
    use std::os::fd::AsFd;

    #[test]
    fn names_are_looked_up_elsewhere_and_answered_by_name() {
        let mut resolver = Resolver::start(clock::now()).unwrap();
        let names = [("localhost".to_owned(), 80), ("no.such.name.invalid".to_owned(), 81)];
        resolver.ask(Time(0), names.iter().cloned());
        resolver.ask(Time(0), names.iter().cloned());
        let mut answers = Vec::new();
        while answers.len() < 2 {
            assert!(look([(resolver.news.as_fd(), For::Input)], Some(Duration::from_secs(60))).unwrap()[0]);
            resolver.news.clear().unwrap();
            answers.extend(resolver.answers.try_iter());
        }
        let found = answers[0].1.as_ref().unwrap();
        assert!(
            answers[0].0 == names[0] && found.iter().all(|address| address.ip().is_loopback()),
            "{found:?}"
        );
        assert!(answers[1].0 == names[1] && answers[1].1.is_err());
        assert!(resolver.answers.try_recv().is_err(), "what is on its way is not asked for again");
    }
}
