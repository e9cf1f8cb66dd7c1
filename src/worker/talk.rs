//! What a worker makes of each message of its master, and what it says: the state of their conversation.
//!
//! Messages enter with their descriptors, and what the program wants; events, answers and bytes for the master leave.
//! This file must not know how messages come out of what was read: that is the session's.

use std::collections::VecDeque;

use super::{
    error::WorkerError,
    event::{Event, Listener},
    listeners::{Ask, Listeners, bound_endpoint, query},
    options::ListenOptions,
    question::Question,
};
use crate::{
    endpoint::Endpoint,
    protocol::{
        frame::Cutter,
        listen::{AddressType, ListenReply, Query},
        message::{Act, ClusterMessage, HandleMessage, Message, Own},
        serialization::Serialization,
    },
};

/// How a request to listen came out.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer<D> {
    Listening(Listener),
    /// A positive Linux errno.
    Refused(i32),
    /// The worker is to accept by itself from this socket. It is to say `handle_listening` or
    /// `handle_not_listening` to the session before anything else.
    Given(D),
    /// The worker was told to leave, or the channel ended, before there was an answer.
    Leaving,
}

/// Where the worker is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Serving,
    /// The master said `disconnect`; it waits for the channel to close.
    Told,
    /// The worker said that it leaves, in the frame `seq`, and waits for the answer.
    Leaving {
        seq: u64,
    },
    /// The channel is closed; `agreed` if by one of the two handshakes.
    Closed {
        agreed: bool,
    },
}

/// Everything but the input, so that a frame can be borrowed from that while this changes.
#[derive(Debug)]
pub(super) struct Talk<D> {
    pub(super) stage: Stage,
    pub(super) listeners: Listeners,
    /// How many connections may be open or wait here, counting those that the program has.
    pub(super) room: usize,
    pub(super) question: Question,
    pub(super) answer: Option<Answer<D>>,
    pub(super) events: VecDeque<Event<D>>,
    pub(super) serialization: Serialization,
    pub(super) output: Vec<u8>,
    pub(super) cutter: Cutter,
    seq: u64,
}

impl<D> Talk<D> {
    /// Of a worker that has said nothing yet.
    pub(super) fn new(serialization: Serialization) -> Self {
        Self {
            stage: Stage::Serving,
            listeners: Listeners::default(),
            room: usize::MAX,
            question: Question::default(),
            answer: None,
            events: VecDeque::new(),
            serialization,
            output: Vec::new(),
            cutter: Cutter::new(serialization),
            seq: 0,
        }
    }

    /// Answers the transport at once, as every `NODE_HANDLE` must be, then looks at what came with it.
    pub(super) fn handle_handle(
        &mut self,
        handle: HandleMessage<'_>,
        descriptor: Option<D>,
    ) -> Result<(), WorkerError> {
        let Some(descriptor) = descriptor else {
            self.write(&Message::HandleNack);
            return Ok(());
        };
        self.write(&Message::HandleAck);
        match *handle.message {
            Message::Cluster(ClusterMessage { seq, act: Act::NewConn { key } }) => {
                let listener = self.listeners.by_key(&key).filter(|_| self.has_room()).cloned();
                self.say(Act::Accepted { ack: seq, accepted: listener.is_some() });
                // Refused, it is still the master's: only this copy is closed.
                if let Some(listener) = listener {
                    self.events.push_back(Event::Connection { listener, seq: Some(seq), descriptor });
                }
                Ok(())
            }
            Message::Cluster(ClusterMessage { act: Act::Reply { ack, reply }, .. }) => {
                self.handle_reply(ack, *reply, Some(descriptor))
            }
            // A socket or server of the application: the message is delivered, the descriptor closed.
            message => self.handle_message(message),
        }
    }

    pub(super) fn handle_message(&mut self, message: Message<'_>) -> Result<(), WorkerError> {
        match message {
            Message::Cluster(message) => self.handle_cluster(message.act),
            Message::User(user) => {
                // A number beyond f64, or a nesting too deep: a message, but not a Value.
                match user.to_value() {
                    Ok(value) => self.events.push_back(Event::Message(value)),
                    Err(error) => log::warn!("a message of the application is dropped: {error}"),
                }
                Ok(())
            }
            Message::HandleAck | Message::HandleNack => {
                Err(WorkerError::protocol("an answer to a descriptor that was never sent"))
            }
            Message::Pointsman(Own::Ping { number }) => {
                self.write(&Message::Pointsman(Own::Pong { number }));
                Ok(())
            }
            // Decoding lets none nest.
            Message::Handle(_) | Message::Pointsman(_) | Message::Sockets(_) | Message::Internal => Ok(()),
        }
    }

    fn handle_cluster(&mut self, act: Act<'_>) -> Result<(), WorkerError> {
        match (act, self.stage) {
            (Act::Disconnect, Stage::Serving) => {
                self.close_listeners();
                self.stage = Stage::Told;
                self.events.push_back(Event::Disconnect);
            }
            (Act::Disconnect, Stage::Told | Stage::Leaving { .. } | Stage::Closed { .. }) => {}
            (Act::Ack { ack }, Stage::Leaving { seq }) if ack == seq => self.close(),
            // Answers nothing that is asked now.
            (Act::Ack { .. }, _) => {}
            (Act::Reply { ack, reply }, _) => self.handle_reply(ack, *reply, None)?,
            (Act::NewConn { .. }, _) => {
                return Err(WorkerError::protocol("a newconn outside of a NODE_HANDLE"));
            }
            // What only workers say, or what a later version says: Node ignores it too.
            (
                Act::Online
                | Act::QueryServer(_)
                | Act::Listening(_)
                | Act::Close { .. }
                | Act::ExitedAfterDisconnect
                | Act::Accepted { .. }
                | Act::Unknown,
                _,
            ) => {}
        }
        Ok(())
    }

    fn handle_reply(
        &mut self,
        ack: u64,
        reply: ListenReply,
        descriptor: Option<D>,
    ) -> Result<(), WorkerError> {
        let Some(query) = self.question.answered(ack) else { return Ok(()) };
        let key = reply.key;
        if reply.errno.is_none_or(|errno| errno == 0) && self.listeners.by_key(&key).is_some() {
            return Err(WorkerError::protocol(format!("two listeners with the key {key}")));
        }
        self.answer = Some(match (reply.errno, descriptor) {
            (None, _) => {
                let name = reply.sockname.as_ref();
                let endpoint = bound_endpoint(&query, name).ok_or_else(|| {
                    WorkerError::protocol(format!("the listener {key} has no address: {name:?}"))
                })?;
                Answer::Listening(self.opened(key, query, endpoint))
            }
            (Some(0), Some(descriptor)) => {
                self.question = Question::Given { key, query };
                Answer::Given(descriptor)
            }
            (Some(0), None) => {
                return Err(WorkerError::protocol(format!("the listener {key} without its socket")));
            }
            (Some(errno), _) => Answer::Refused(errno.saturating_abs()),
        });
        Ok(())
    }

    pub(super) fn opened(&mut self, key: String, query: Query, endpoint: Endpoint) -> Listener {
        // Of a Unix socket it stays what was asked.
        let port = endpoint.port().filter(|_| query.address_type != AddressType::Unix);
        let port = port.map(i64::from).or(query.port);
        let listener = self.listeners.add(key, query.clone(), endpoint);
        self.say(Act::Listening(Box::new(Query { port, ..query })));
        listener
    }

    /// Whether the program can take one more than what waits for it here.
    fn has_room(&self) -> bool {
        let waiting = self.events.iter().filter(|event| matches!(event, Event::Connection { .. })).count();
        waiting < self.room
    }

    pub(super) fn listen(&mut self, ask: Ask<'_>, options: &ListenOptions) {
        self.answer = None;
        if self.stage != Stage::Serving {
            self.answer = Some(Answer::Leaving);
            return;
        }
        let query = query(ask, options, &self.listeners);
        let seq = self.say(Act::QueryServer(Box::new(query.clone())));
        self.question = Question::Asked { seq, query };
    }

    pub(super) fn leave(&mut self) {
        match self.stage {
            Stage::Serving => {
                self.close_listeners();
                let seq = self.say(Act::ExitedAfterDisconnect);
                self.stage = Stage::Leaving { seq };
            }
            // Agreed already: the master waits only for the end.
            Stage::Told => self.close(),
            Stage::Leaving { .. } | Stage::Closed { .. } => {}
        }
    }

    /// Also ends a question: the master answers none of a worker that leaves.
    pub(super) fn close_listeners(&mut self) {
        for key in self.listeners.take_keys() {
            self.say(Act::Close { key: key.into() });
        }
        if !matches!(self.question, Question::None) {
            self.end_question();
            self.answer = Some(Answer::Leaving);
        }
    }

    pub(super) fn end_question(&mut self) {
        if let Some(key) = self.question.end() {
            self.say(Act::Close { key: key.into() });
        }
    }

    pub(super) fn close(&mut self) {
        self.close_listeners();
        self.output = Vec::new();
        self.stage = Stage::Closed { agreed: self.has_agreed() };
    }

    pub(super) fn has_agreed(&self) -> bool {
        match self.stage {
            Stage::Serving => false,
            Stage::Told | Stage::Leaving { .. } => true,
            Stage::Closed { agreed } => agreed,
        }
    }

    pub(super) fn say(&mut self, act: Act<'_>) -> u64 {
        let seq = self.seq;
        self.seq += 1;
        self.write(&Message::Cluster(ClusterMessage { seq, act }));
        seq
    }

    pub(super) fn write(&mut self, message: &Message<'_>) {
        message.encode(self.serialization, &mut self.output);
    }
}
