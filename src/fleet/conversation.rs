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

impl<C> Fleet<C> {
    /// A worker sent something.
    pub fn handle_message(&mut self, now: Time, worker: WorkerId, message: Message<'_>) {
        // What it still had to say when its channel was closed for the rest.
        if self.workers.get(&worker).is_none_or(|state| !state.channel_open) {
            return;
        }
        let result = match message {
            Message::Cluster(ClusterMessage { seq, act }) => self.handle_act(now, worker, seq, act),
            Message::HandleAck => self.handoff.acknowledged(now, worker).map_err(|Unexpected| "NODE_HANDLE_ACK"),
            Message::HandleNack => {
                let until = now + self.rules.refusal_pause;
                self.counters.refused += 1;
                self.handoff.not_acknowledged(now, worker, until).map_err(|Unexpected| "NODE_HANDLE_NACK")
            }
            // Taken by `handle_handle`.
            Message::Handle(_) => Ok(()),
            Message::Pointsman(Own::LaunchFailed { step, errno }) => {
                let trouble = Trouble::LaunchFailed { step: step.into_owned(), errno };
                self.event(Event::Trouble { worker, trouble });
                Ok(())
            }
            Message::Pointsman(Own::Hello { script }) => {
                self.told_by(worker, if script { LoadSource::Script } else { LoadSource::Reports });
                Ok(())
            }
            Message::Pointsman(Own::Gone { seqs }) => {
                for seq in seqs.iter() {
                    if !self.tally.closed(worker, seq) {
                        self.handoff.ended(worker, seq);
                    }
                }
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
            Message::Sockets(_) | Message::Pointsman(Own::Unknown) | Message::Internal => Ok(()),
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
                    self.outputs.extend(self.listeners.close(id, &key).into_iter().map(Output::CloseListener));
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
        let Held { connection, listener } = held;
        let kernel = self.tally.source(id) == LoadSource::Kernel;
        // It tells of TCP only.
        let told = !kernel || self.listeners.endpoint(listener).is_none_or(|endpoint| endpoint.tcp().is_some());
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
            let elsewhere = || Trouble::ListensElsewhere { address: address.clone(), told: self.listeners.told() };
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
mod tests {
    use super::*;
    use crate::{
        balance::PolicyName,
        fleet::Rules,
        protocol::{frame::MAX_VALUES, serialization::Serialization},
    };

    const WORKER: WorkerId = WorkerId(1);
    const NOW: Time = Time(0);
    const HELLO: &str = r#"{"cmd":"NODE_POINTSMAN","hello":1,"script":true}"#;
    const QUERY: &str = r#"{"cmd":"NODE_CLUSTER","act":"queryServer","seq":1,"index":0,"address":null,"port":8000,"addressType":4,"fd":null,"flags":0,"data":null,"backlog":511}"#;

    fn say(fleet: &mut Fleet<u32>, text: &str) {
        fleet.handle_message(NOW, WORKER, Message::decode(Serialization::Json, text.as_bytes()).unwrap());
    }

    fn outputs(fleet: &mut Fleet<u32>) -> Vec<Output<u32>> {
        std::iter::from_fn(|| fleet.poll_output()).collect()
    }

    #[test]
    fn a_connection_that_comes_back_from_a_socket_which_is_closed_is_let_go() {
        let mut fleet = Fleet::<u32>::new(Rules::default(), PolicyName::RoundRobin);
        fleet.start(NOW);
        fleet.handle_spawned(WORKER, 100);
        say(&mut fleet, QUERY);
        let bind = outputs(&mut fleet).into_iter().find_map(|output| match output {
            Output::Bind { ack, wish, .. } => Some((ack, wish)),
            _ => None,
        });
        let (ack, wish) = bind.unwrap();
        let endpoint = "[::]:8000".parse().unwrap();
        let listener = fleet.handle_bound(NOW, WORKER, ack, &wish, endpoint).unwrap();
        fleet.handle_ready(NOW, WORKER);
        fleet.handle_connection(NOW, listener, 7);
        let seq = outputs(&mut fleet).into_iter().find_map(|output| match output {
            Output::Hand { seq, .. } => Some(seq),
            _ => None,
        });
        say(&mut fleet, r#"{"cmd":"NODE_CLUSTER","act":"close","seq":2,"key":"null:8000:4:undefined:0"}"#);
        say(&mut fleet, r#"{"cmd":"NODE_HANDLE_ACK"}"#);
        say(&mut fleet, &format!(r#"{{"cmd":"NODE_CLUSTER","seq":3,"ack":{},"accepted":false}}"#, seq.unwrap()));
        let [closed, released, told] = &outputs(&mut fleet)[..] else { panic!("three outputs") };
        assert!(matches!(closed, Output::CloseListener(id) if *id == listener), "{closed:?}");
        assert!(matches!(released, Output::Release(7)), "{released:?}");
        assert!(matches!(told, Output::Event(Event::LostConnections { count: 1, .. })), "{told:?}");
    }

    #[test]
    fn a_message_of_too_many_values_is_dropped_and_told_of() {
        let mut fleet = Fleet::<u32>::new(Rules::default(), PolicyName::RoundRobin);
        fleet.start(NOW);
        fleet.handle_spawned(WORKER, 100);
        outputs(&mut fleet);
        say(&mut fleet, &format!("[1{}]", ",1".repeat(MAX_VALUES)));
        let [Output::Event(Event::Trouble { worker: WORKER, trouble: Trouble::DroppedMessage { why } })] =
            &outputs(&mut fleet)[..]
        else {
            panic!("it is not dropped")
        };
        assert_eq!(why, "it holds more than 524288 values");
    }

    /// What a fleet does and tells about who counts the connections of a worker that says this.
    fn told(policy: PolicyName, words: &[&str], kernel_tells: bool) -> Vec<String> {
        let mut fleet = Fleet::<u32>::new(Rules::default(), policy);
        fleet.start(NOW);
        fleet.handle_spawned(WORKER, 100);
        let mut told = Vec::new();
        for word in words {
            fleet.handle_message(NOW, WORKER, Message::decode(Serialization::Json, word.as_bytes()).unwrap());
            while let Some(output) = fleet.poll_output() {
                match output {
                    Output::WatchKernel(worker) => {
                        told.push("kernel?".to_owned());
                        fleet.handle_kernel_tells(worker, kernel_tells);
                    }
                    Output::Event(Event::LoadSource { worker: WORKER, source }) => told.push(format!("{source:?}")),
                    _ => {}
                }
            }
        }
        told
    }

    #[test]
    fn what_the_kernel_is_known_for_too_late_changes_nothing() {
        for tells in [true, false] {
            let mut fleet = Fleet::<u32>::new(Rules::default(), PolicyName::LeastConnections);
            fleet.start(NOW);
            fleet.handle_spawned(WORKER, 100);
            for word in [QUERY, HELLO] {
                fleet.handle_message(NOW, WORKER, Message::decode(crate::protocol::serialization::Serialization::Json, word.as_bytes()).unwrap());
            }
            fleet.handle_kernel_tells(WORKER, tells);
            assert_eq!(fleet.workers().next().unwrap().load_source, LoadSource::Script);
            let told = |output: &Output<u32>| matches!(output, Output::Event(Event::LoadSource { .. }));
            assert_eq!(std::iter::from_fn(|| fleet.poll_output()).filter(told).count(), 1);
        }
    }

    #[test]
    fn who_counts_is_asked_once_and_told_once() {
        use PolicyName::{LeastConnections, RoundRobin};
        assert_eq!(told(LeastConnections, &[HELLO, HELLO, QUERY, QUERY], true), ["Script"]);
        assert_eq!(told(RoundRobin, &[HELLO, QUERY], true), ["Script"]);
        assert_eq!(told(RoundRobin, &[QUERY, QUERY], true), [""; 0]);
        assert_eq!(told(LeastConnections, &[QUERY, QUERY], true), ["kernel?", "Kernel"]);
        assert_eq!(told(LeastConnections, &[QUERY, QUERY], false), ["kernel?", "None"]);
        assert_eq!(told(LeastConnections, &[QUERY, HELLO], true), ["kernel?", "Kernel", "Script"]);
    }
}
