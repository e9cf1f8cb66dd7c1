//! The worker's half of the conversation, as a pure machine.
//!
//! What was read enters, with the descriptor that came with it; events for the program and bytes for the master
//! leave. `D` is a descriptor: an `OwnedFd` in a worker, a number in a test. A connection is held in one place: here,
//! in the events not yet taken, or by the program. This file must not know of sockets or of waiting.

use std::collections::VecDeque;

pub(super) use super::talk::Answer;
use super::{
    error::WorkerError,
    event::{Event, Listener},
    listeners::Ask,
    options::ListenOptions,
    talk::{Stage, Talk},
};
use crate::{
    endpoint::Endpoint,
    protocol::{
        frame::Frames,
        message::{Act, Message, Own, encode_user},
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

/// A worker's conversation with its master.
#[derive(Debug)]
pub(super) struct Session<D> {
    frames: Frames,
    /// In order of arrival; a `NODE_HANDLE` takes the first. `None` for one that was lost.
    descriptors: VecDeque<Option<D>>,
    talk: Talk<D>,
}

impl<D> Session<D> {
    /// A worker that says `online`, and that it will report the ends of connections.
    pub(super) fn new(serialization: Serialization) -> Self {
        let mut talk = Talk::new(serialization);
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

    /// Sends the master a message of the application.
    pub(super) fn send(&mut self, message: &serde_json::Value) {
        if !self.is_closed() {
            encode_user(self.talk.serialization, message, &mut self.talk.output);
        }
    }

    /// How many bytes wait for the master.
    pub(super) fn waiting(&self) -> usize {
        self.talk.output.len()
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

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
