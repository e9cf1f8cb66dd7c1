//! What workers say to the fleet, and what they are answered.

use super::{
    Address, Event, Fleet, Held, ListenerId, LoadSource, Output, Share, Told, Trouble, Wish, WorkerId, errno,
    handoff::Unexpected,
    lifecycle::Happening,
    listeners::{Answer, Listeners, Reply},
    machine::{GRACE, Hearsay},
};
use crate::{
    endpoint::Endpoint,
    protocol::{
        listen::Query,
        message::{Act, ClusterMessage, Message, Own, Sockets, User},
    },
    time::Time,
};

/// What a program sends that says so when it is ready, as PM2's `wait_ready` has it.
const READY: &str = "ready";

/// How often a worker that is a script reports the ends of its connections where the policy does not go by them: each
/// report is a write there and a read here, and the count is only shown.
const REPORT_INTERVAL_MS: u64 = 100;

impl<C> Fleet<C> {
    /// A worker sent something.
    pub fn handle_message(&mut self, now: Time, worker: WorkerId, message: Message<'_>) {
        // What it still had to say when its channel was closed for the rest.
        match self.workers.get_mut(&worker).filter(|state| state.channel_open) {
            Some(state) => state.pulse.beats(now),
            None => return,
        }
        let result = match message {
            Message::Cluster(ClusterMessage { seq, act }) => self.handle_act(now, worker, seq, act),
            Message::HandleAck => {
                self.handoff.acknowledged(now, worker).map_err(|Unexpected| "NODE_HANDLE_ACK")
            }
            Message::HandleNack => {
                let until = now + self.rules.refusal_pause;
                self.counters.refused += 1;
                self.handoff.not_acknowledged(now, worker, until).map_err(|Unexpected| "NODE_HANDLE_NACK")
            }
            // Taken by `handle_handle`.
            Message::Handle(_) => Ok(()),
            Message::Pointsman(own) => {
                self.handle_own(worker, own);
                Ok(())
            }
            // The sender of sockets asks how many of them are open here before its server closes: none.
            Message::Sockets(Sockets::NotifyClose { key }) => {
                self.outputs.push_back(Output::Tell(worker, Told::SocketsClosed { key: key.into_owned() }));
                Ok(())
            }
            Message::Sockets(Sockets::GetCount { key }) => {
                self.outputs.push_back(Output::Tell(worker, Told::SocketCount { key: key.into_owned() }));
                Ok(())
            }
            Message::Sockets(_) | Message::Internal => Ok(()),
            Message::User(user) => {
                self.handle_user(now, worker, &user);
                Ok(())
            }
        };
        if let Err(what) = result {
            self.handle_garbage(now, worker, format!("{what} for nothing that was sent to it"));
        }
        self.settle(now);
    }

    /// A worker sent a message of the application.
    fn handle_user(&mut self, now: Time, worker: WorkerId, user: &User<'_>) {
        match user.to_value() {
            Ok(message) => {
                let is_ready = message == READY;
                self.event(Event::Message { worker, message });
                if is_ready {
                    self.happens(now, worker, Happening::SentReady);
                }
            }
            // Too deep for a value or too many of them, or no JSON at all: valid, and of no use to anybody here.
            Err(error) => {
                let trouble = Trouble::DroppedMessage { why: error.to_string() };
                self.event(Event::Trouble { worker, trouble });
            }
        }
    }

    /// A worker sent a message that should bring a descriptor, which came or did not. A user's message is told to the
    /// user; the descriptor itself is not passed on in this version.
    pub fn handle_handle(&mut self, now: Time, worker: WorkerId, message: Message<'_>, came: bool) {
        let answer = if came { Told::HandleAck } else { Told::HandleNack };
        self.outputs.push_back(Output::Tell(worker, answer));
        if came {
            self.event(Event::Trouble { worker, trouble: Trouble::DroppedHandle });
        }
        if came && matches!(message, Message::User(_)) {
            self.handle_message(now, worker, message);
        }
    }

    /// A worker sent what cannot be understood.
    pub fn handle_garbage(&mut self, now: Time, worker: WorkerId, why: String) {
        self.event(Event::Trouble { worker, trouble: Trouble::BrokeProtocol { why } });
        self.outputs.push_back(Output::CloseChannel(worker));
        if let Some(state) = self.workers.get_mut(&worker) {
            state.hearsay = Hearsay::Partial;
        }
        self.disconnected(now, worker, Happening::ChannelBroken);
    }

    /// A wish has come true. Returns the name of the new socket, which is to be kept before anything else is done, or
    /// `None` if it is not needed: somebody asked twice.
    pub fn handle_bound(
        &mut self,
        now: Time,
        worker: WorkerId,
        ack: u64,
        wish: &Wish,
        endpoint: Endpoint,
    ) -> Option<ListenerId> {
        let (listener, reply) = self.listeners.bound(worker, wish, endpoint);
        self.reply(worker, ack, reply);
        self.settle(now);
        listener
    }

    /// A wish could not be fulfilled.
    pub fn handle_not_bound(&mut self, worker: WorkerId, ack: u64, wish: &Wish, errno: i32) {
        let address = Address::of(&wish.want);
        self.event(Event::Trouble { worker, trouble: Trouble::ListenFailed { address, errno } });
        self.reply(worker, ack, Listeners::not_bound(wish, errno));
    }

    fn handle_own(&mut self, worker: WorkerId, own: Own<'_>) {
        match own {
            Own::LaunchFailed { step, errno } => {
                let trouble = Trouble::LaunchFailed { step: step.into_owned(), errno };
                self.event(Event::Trouble { worker, trouble });
            }
            Own::Hello { script } => {
                let source = if script { LoadSource::Script } else { LoadSource::Reports };
                if script && !self.needs_load && self.tally.source(worker) != source {
                    let told = Told::Interval { interval_ms: REPORT_INTERVAL_MS };
                    self.outputs.push_back(Output::Tell(worker, told));
                }
                self.told_by(worker, source);
            }
            Own::Gone { seqs } => {
                for seq in seqs.iter() {
                    if !self.tally.closed(worker, seq) {
                        self.handoff.ended(worker, seq);
                    }
                }
            }
            // It is there, which nobody asks yet.
            Own::Pong { .. } => {}
            // What only a master says, and what a later version may say.
            Own::Interval { .. } | Own::Ping { .. } | Own::Unknown => {}
        }
    }

    fn handle_act(&mut self, now: Time, id: WorkerId, seq: u64, act: Act<'_>) -> Result<(), &'static str> {
        let Some(worker) = self.workers.get_mut(&id) else { return Ok(()) };
        match act {
            Act::Online => {
                self.happens(now, id, Happening::Online);
                self.event(Event::Online { worker: id });
            }
            Act::QueryServer(query) if worker.life.is_staying() => {
                // One that reports says so before it asks to listen.
                let unasked = !std::mem::replace(&mut worker.asked_to_listen, true);
                if unasked && self.needs_load && self.tally.source(id) == LoadSource::None {
                    // Until that is known, so that none of its first connections is missed.
                    self.tally.told_by(id, LoadSource::Kernel);
                    self.outputs.push_back(Output::WatchKernel(id));
                }
                self.handle_query(id, seq, &query);
            }
            // Node's primary does not answer one that is leaving either.
            Act::QueryServer(_) => {}
            Act::Listening(query) => self.handle_listening(now, id, &query),
            Act::Accepted { ack, accepted: true } => self.handle_accepted(now, id, ack)?,
            Act::Accepted { ack, accepted: false } => {
                let until = now + self.rules.refusal_pause;
                self.handoff.refused(now, id, ack, until).map_err(|Unexpected| "accepted: false")?;
                self.counters.refused += 1;
            }
            Act::Close { key } => {
                // One that leaves closes what its successor will want.
                if worker.life.is_staying() {
                    self.outputs
                        .extend(self.listeners.close(id, &key).into_iter().map(Output::CloseListener));
                }
            }
            Act::ExitedAfterDisconnect => {
                worker.exited_after_disconnect = true;
                let answer = Told::Ack { seq: worker.take_seq(), ack: seq };
                self.outputs.push_back(Output::Tell(id, answer));
                self.listeners.leave(id);
                self.happens(now, id, Happening::Leaves);
            }
            // What only a master says, and what a later version may say.
            Act::Disconnect | Act::NewConn { .. } | Act::Reply { .. } | Act::Ack { .. } | Act::Unknown => {}
        }
        Ok(())
    }

    fn handle_accepted(&mut self, now: Time, id: WorkerId, seq: u64) -> Result<(), &'static str> {
        let (held, ended) = self.handoff.accepted(now, id, seq).map_err(|Unexpected| "accepted")?;
        self.counters.handed += 1;
        self.has_accepted(now, id);
        let Held { connection, listener, accepted } = held;
        self.handoff_times.observe(now - accepted);
        let kernel = self.tally.source(id) == LoadSource::Kernel;
        // It tells of TCP only.
        let told =
            !kernel || self.listeners.endpoint(listener).is_none_or(|endpoint| endpoint.tcp().is_some());
        if !ended && told {
            self.tally.opened(id, seq);
        }
        self.outputs.push_back(match kernel && told {
            true => Output::Name { worker: id, seq, connection },
            false => Output::Release(connection),
        });
        Ok(())
    }

    fn handle_query(&mut self, worker: WorkerId, ack: u64, query: &Query) {
        match self.listeners.ask(worker, query) {
            Answer::Reply(reply) => {
                if reply.reply.errno == Some(-errno::EBADF) {
                    let (address, errno) = (Address::said(query), errno::EBADF);
                    self.event(Event::Trouble { worker, trouble: Trouble::ListenFailed { address, errno } });
                }
                self.reply(worker, ack, reply);
            }
            Answer::Bind(wish) => self.outputs.push_back(Output::Bind { worker, ack, wish }),
        }
    }

    fn reply(&mut self, id: WorkerId, ack: u64, Reply { reply, socket }: Reply) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let (seq, reply) = (worker.take_seq(), Box::new(reply));
        match socket {
            Some(listener) => self.handoff.share(id, Share { seq, ack, listener, reply }),
            None => self.outputs.push_back(Output::Tell(id, Told::Reply { seq, ack, reply })),
        }
    }

    fn handle_listening(&mut self, now: Time, id: WorkerId, query: &Query) {
        if self.handoff.is_open(id) {
            self.listeners.serve(id);
        }
        let address = Address::said(query);
        let told = self.listeners.serves_what_was_told(id);
        if let Some(worker) = self.workers.get_mut(&id) {
            let elsewhere =
                || Trouble::ListensElsewhere { address: address.clone(), told: self.listeners.told() };
            worker.suspicion = (!told).then(|| (now + GRACE, elsewhere()));
        }
        self.event(Event::Listening { worker: id, address, elsewhere: !told });
        self.happens(now, id, Happening::Listening);
        self.look_for_unused = self.listeners.has_unused().then_some(now + GRACE);
    }

    /// Reports what looked wrong with a worker and still does.
    pub(super) fn confirm_suspicion(&mut self, now: Time, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let Some((_, trouble)) = worker.suspicion.take_if(|(at, _)| *at <= now) else { return };
        let staying = worker.life.is_staying();
        let still = match trouble {
            Trouble::ListensElsewhere { .. } => staying && !self.listeners.serves_what_was_told(id),
            _ => true,
        };
        if still {
            self.event(Event::Trouble { worker: id, trouble });
        }
    }
}

#[cfg(test)]
#[path = "conversation_tests.rs"]
mod tests;
