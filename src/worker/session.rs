//! The worker's half of the conversation, as a pure machine.
//!
//! What was read enters, with the descriptor that came with it; events for the program and bytes for the master
//! leave. `D` is a descriptor: an `OwnedFd` in a worker, a number in a test. A connection is held in one place: here,
//! in the events not yet taken, or by the program. This file must not know of sockets or of waiting.

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
        frame::{Cutter, Frames},
        listen::{AddressType, ListenReply, Query},
        message::{Act, ClusterMessage, HandleMessage, Message, Own},
        serialization::Serialization,
    },
};

/// What came with a read, beside the bytes.
#[derive(Debug)]
pub(super) enum Attached<D> {
    Nothing,
    Descriptor(D),
    /// One was sent, but this process has no room for it.
    Lost,
}

/// How a request to listen came out.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer<D> {
    Listening(Listener),
    /// A positive Linux errno.
    Refused(i32),
    /// The worker is to accept by itself from this socket. It is to say [`Session::handle_listening`] or
    /// [`Session::handle_not_listening`] before anything else.
    Given(D),
    /// The worker was told to leave, or the channel ended, before there was an answer.
    Leaving,
}

/// Where the worker is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
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

/// A worker's conversation with its master.
#[derive(Debug)]
pub(super) struct Session<D> {
    frames: Frames,
    /// In order of arrival; a `NODE_HANDLE` takes the first. `None` for one that was lost.
    descriptors: VecDeque<Option<D>>,
    talk: Talk<D>,
}

/// Everything but the input, so that a frame can be borrowed from that while this changes.
#[derive(Debug)]
struct Talk<D> {
    stage: Stage,
    listeners: Listeners,
    /// How many connections may be open or wait here, counting those that the program has.
    room: usize,
    question: Question,
    answer: Option<Answer<D>>,
    events: VecDeque<Event<D>>,
    serialization: Serialization,
    output: Vec<u8>,
    cutter: Cutter,
    seq: u64,
}

impl<D> Session<D> {
    /// A worker that says `online`, and that it will report the ends of connections.
    pub(super) fn new(serialization: Serialization) -> Self {
        let mut talk = Talk {
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
        };
        talk.say(Act::Online);
        talk.write(&Message::Pointsman(Own::Hello { script: false }));
        Self { frames: Frames::new(serialization), descriptors: VecDeque::new(), talk }
    }

    /// Takes one read, as `sys::channel` gives it: at most one descriptor, which came with the last write in it.
    pub(super) fn handle_input(&mut self, bytes: &[u8], attached: Attached<D>) -> Result<(), WorkerError> {
        match attached {
            Attached::Nothing => {}
            Attached::Descriptor(descriptor) => self.descriptors.push_back(Some(descriptor)),
            Attached::Lost => self.descriptors.push_back(None),
        }
        self.frames.push(bytes);
        while let Some(frame) = self.frames.next_frame()? {
            match Message::decode(self.talk.serialization, frame)? {
                Message::Handle(handle) => {
                    // None at all is a master's fault; it is answered as if the descriptor had been lost.
                    let descriptor = self.descriptors.pop_front().flatten();
                    self.talk.handle_handle(handle, descriptor)?;
                }
                message => self.talk.handle_message(message)?,
            }
        }
        // What is left over belongs to the one frame that is not whole yet, if there is one.
        let unfinished = self.frames.finish().is_err();
        if self.descriptors.len() > usize::from(unfinished) {
            return Err(WorkerError::protocol("a descriptor came with something else than a NODE_HANDLE"));
        }
        Ok(())
    }

    /// The master has closed the channel. Half a frame before that is a master killed while it wrote.
    pub(super) fn handle_end(&mut self) {
        self.descriptors.clear();
        if !self.is_closed() {
            self.talk.close();
            self.talk.events.push_back(Event::Closed);
        }
    }

    /// How many connections the program can take now. More are given back to the master.
    pub(super) fn set_room(&mut self, room: usize) {
        self.talk.room = room;
    }

    /// Asks to listen. The answer comes by [`Session::poll_answer`].
    pub(super) fn listen(&mut self, ask: Ask<'_>, options: &ListenOptions) {
        self.talk.listen(ask, options);
    }

    /// The socket that was given is bound to `endpoint`, and listens. `None` when the worker left meanwhile.
    pub(super) fn handle_listening(&mut self, endpoint: Endpoint) -> Option<Listener> {
        let (key, query) = self.talk.question.listens()?;
        Some(self.talk.opened(key, query, endpoint))
    }

    /// The socket that was given is of no use: the master is not to count this worker among its users.
    pub(super) fn handle_not_listening(&mut self) {
        self.talk.end_question();
    }

    /// The worker has accepted a connection by itself.
    pub(super) fn handle_connection(&mut self, listener: Listener, descriptor: D) {
        self.talk.events.push_back(Event::Connection { listener, seq: None, descriptor });
    }

    /// Closes one listener. That it is closed already is no error.
    pub(super) fn close_listener(&mut self, listener: &Listener) {
        if let Some(key) = self.talk.listeners.remove(listener) {
            self.talk.say(Act::Close { key: key.into() });
        }
    }

    /// Closes all of them.
    pub(super) fn close_listeners(&mut self) {
        self.talk.close_listeners();
    }

    /// Leaves by the worker's own will. The channel is to be closed once [`Session::is_closed`].
    pub(super) fn leave(&mut self) {
        self.talk.leave();
    }

    /// Ends the conversation from this side, at once.
    pub(super) fn close(&mut self) {
        self.descriptors.clear();
        self.talk.close();
    }

    /// Reports that the connections of these `newconn`s have ended.
    pub(super) fn report(&mut self, seqs: Vec<u64>) {
        if !seqs.is_empty() && !self.is_closed() {
            let seqs = seqs.into_iter().collect();
            self.talk.write(&Message::Pointsman(Own::Gone { seqs }));
        }
    }

    /// What to tell the program next.
    pub(super) fn poll_event(&mut self) -> Option<Event<D>> {
        self.talk.events.pop_front()
    }

    /// The answer to [`Session::listen`], once.
    pub(super) fn poll_answer(&mut self) -> Option<Answer<D>> {
        self.talk.answer.take()
    }

    /// Bytes for the master: what to send by one write.
    pub(super) fn output(&self) -> &[u8] {
        let output = &self.talk.output;
        &output[..self.talk.cutter.next_write(output)]
    }

    /// The first `count` bytes of the output are sent.
    pub(super) fn handle_sent(&mut self, count: usize) {
        let write = self.output().len();
        self.talk.cutter.sent(write, count);
        self.talk.output.drain(..count);
    }

    /// Whether it is still open.
    pub(super) fn listens(&self, listener: &Listener) -> bool {
        self.talk.listeners.contains(listener)
    }

    /// Whether new connections can still come.
    pub(super) fn is_serving(&self) -> bool {
        self.talk.stage == Stage::Serving
    }

    /// Whether the conversation is over.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self.talk.stage, Stage::Closed { .. })
    }

    /// Whether the worker leaves, or has left, by one of the two handshakes.
    pub(super) fn has_agreed_to_leave(&self) -> bool {
        self.talk.has_agreed()
    }
}

impl<D> Talk<D> {
    /// Answers the transport at once, as every `NODE_HANDLE` must be, then looks at what came with it.
    fn handle_handle(&mut self, handle: HandleMessage<'_>, descriptor: Option<D>) -> Result<(), WorkerError> {
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

    fn handle_message(&mut self, message: Message<'_>) -> Result<(), WorkerError> {
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

    fn opened(&mut self, key: String, query: Query, endpoint: Endpoint) -> Listener {
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

    fn listen(&mut self, ask: Ask<'_>, options: &ListenOptions) {
        self.answer = None;
        if self.stage != Stage::Serving {
            self.answer = Some(Answer::Leaving);
            return;
        }
        let query = query(ask, options, &self.listeners);
        let seq = self.say(Act::QueryServer(Box::new(query.clone())));
        self.question = Question::Asked { seq, query };
    }

    fn leave(&mut self) {
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
    fn close_listeners(&mut self) {
        for key in self.listeners.take_keys() {
            self.say(Act::Close { key: key.into() });
        }
        if !matches!(self.question, Question::None) {
            self.end_question();
            self.answer = Some(Answer::Leaving);
        }
    }

    fn end_question(&mut self) {
        if let Some(key) = self.question.end() {
            self.say(Act::Close { key: key.into() });
        }
    }

    fn close(&mut self) {
        self.close_listeners();
        self.output = Vec::new();
        self.stage = Stage::Closed { agreed: self.has_agreed() };
    }

    fn has_agreed(&self) -> bool {
        match self.stage {
            Stage::Serving => false,
            Stage::Told | Stage::Leaving { .. } => true,
            Stage::Closed { agreed } => agreed,
        }
    }

    fn say(&mut self, act: Act<'_>) -> u64 {
        let seq = self.seq;
        self.seq += 1;
        self.write(&Message::Cluster(ClusterMessage { seq, act }));
        seq
    }

    fn write(&mut self, message: &Message<'_>) {
        message.encode(self.serialization, &mut self.output);
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
