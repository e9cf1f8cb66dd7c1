//! One request after another: what a session says is carried out, and an upstream found for what it wants.

use std::{io, time::Duration};

use super::{
    Lane,
    client::Partner,
    turn,
    upstream::{Connection, Stage},
};
use crate::{
    forward::{
        queue::Push,
        record::{Reason, Record},
        session::{Failure, Flow, Parting, Side},
        upstreams::{Ask, Outcome, Pick},
    },
    sys::{connect, wire},
};

/// How long to wait for what the system has none of just now, before asking again.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What is to be done after a session's words were carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// The request goes to an upstream, and what is first to be sent is in the flow.
    Begun,
    /// The session may take more of what it was offered.
    More,
    /// It waits for something, or the client is gone.
    Nothing,
}

impl Lane {
    /// Offers a client's bytes to its session, and returns how many it has taken.
    pub(super) fn offer(&mut self, key: usize, input: &[u8]) -> usize {
        let mut flow = std::mem::take(&mut self.flow);
        let mut at = 0;
        while let Some(client) = self.clients.get_mut(key).filter(|client| client.ending.is_none()) {
            let here = &input[at..];
            let taken = match here.is_empty() {
                true => 0,
                false => client.session.handle_client(&mut turn!(self, client), here, &mut flow),
            };
            at += taken;
            match self.carry_out(key, &mut flow, here) {
                // What of the body is there goes with the head in one write.
                Next::Begun => {}
                Next::More if at < input.len() && taken > 0 => flow.clear(),
                Next::More | Next::Nothing => break,
            }
        }
        flow.clear();
        self.flow = flow;
        self.set_client_timer(key);
        at
    }

    /// Carries out what a session has said to something else than its client's bytes; `input` are those of the upstream, if
    /// it was these.
    pub(super) fn conclude(&mut self, key: usize, mut flow: Flow, input: &[u8]) {
        let mut input = input;
        while self.carry_out(key, &mut flow, input) == Next::Begun {
            input = &[];
        }
        flow.clear();
        self.flow = flow;
        self.set_client_timer(key);
    }

    /// Goes on with a client after its request has found an upstream, or has not.
    pub(super) fn settle(&mut self, key: usize, next: Next, mut flow: Flow) {
        if next == Next::Begun {
            self.conclude(key, flow, &[]);
        } else {
            flow.clear();
            self.flow = flow;
            self.set_client_timer(key);
        }
        self.resume_client(key);
    }

    fn carry_out(&mut self, key: usize, flow: &mut Flow, input: &[u8]) -> Next {
        // A head whose body is refused at once is not sent at all.
        let refused = flow.send_held && flow.upstream.is_some();
        if !refused && (flow.send_held || !flow.to_upstream.is_empty() || flow.shut_upstream) {
            self.send_upstream(key, flow, input);
        }
        let Some(client) = self.clients.get_mut(key) else { return Next::Nothing };
        if !flow.to_client.is_empty() {
            if client.line.send(flow.to_client.slices(input)).is_err() {
                self.lose_client(key, flow);
                return Next::Nothing;
            }
            if client.line.is_blocked() {
                client.session.handle_blocked(self.now, &self.rules, Side::Client, true);
            }
        }
        if flow.shut_client {
            self.clients[key].line.end_writing();
        }
        if let Some(record) = flow.done.take() {
            self.note(&record);
            self.finish(key, flow.upstream.take(), Some(&record));
        } else if let Some(parting) = flow.upstream.take() {
            self.finish(key, Some(parting), None);
        }
        if let Some(ending) = flow.client.take() {
            self.begin_end(key, ending);
            return Next::Nothing;
        }
        if flow.choose {
            flow.clear();
            return self.choose(key, flow);
        }
        Next::More
    }

    /// A client takes nothing any more.
    fn lose_client(&mut self, key: usize, flow: &mut Flow) {
        if let Some(record) = flow.done.take() {
            self.note(&record);
        } else if let Some(client) = self.clients.get_mut(key) {
            flow.clear();
            client.session.handle_client_gone(&mut turn!(self, client), flow);
            if let Some(record) = flow.done.take() {
                self.note(&record);
            }
        }
        flow.clear();
        self.drop_client(key);
    }

    fn send_upstream(&mut self, key: usize, flow: &Flow, input: &[u8]) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let Some(other) = client.partner.connected() else { return };
        let Some(connection) = self.upstream_connections.get_mut(other) else { return };
        let held = if flow.send_held { client.session.held() } else { &[] };
        connection.send(std::iter::once(held).chain(flow.to_upstream.slices(input)));
        if flow.shut_upstream {
            connection.line.end_writing();
        }
        if connection.line.is_blocked() {
            client.session.handle_blocked(self.now, &self.rules, Side::Upstream, true);
        }
        if connection.is_deaf() {
            // It may have answered nevertheless; if not, reading says what is wrong.
            connection.line.readable = true;
            self.leave_upstream_over(other);
        }
    }

    fn note(&mut self, record: &Record) {
        self.news.set(self.now);
        self.budget.note_request(self.now);
        self.figures.note(record);
        self.log.write(record, &self.upstreams);
    }

    /// An exchange is over, as far as the upstream is concerned.
    fn finish(&mut self, key: usize, parting: Option<Parting>, record: Option<&Record>) {
        let Some(client) = self.clients.get_mut(key) else { return };
        client.tried.clear();
        client.fresh = false;
        client.waits_until = None;
        match (client.partner, parting) {
            (Partner::Connected(other), Some(parting)) => {
                client.partner = Partner::Nobody;
                let outcome = record.map_or(Outcome::Neither, |record| outcome(record.reason));
                self.part(other, parting, outcome);
            }
            (Partner::Connecting(other), _) => {
                client.partner = Partner::Nobody;
                self.abandon(other);
            }
            (Partner::Queued, _) => {
                client.partner = Partner::Nobody;
                self.forget_waiting(key);
            }
            (Partner::Connected(_) | Partner::Nobody, _) => {}
        }
    }

    /// Finds an upstream for the request of a client.
    pub(super) fn choose(&mut self, key: usize, flow: &mut Flow) -> Next {
        let Some(client) = self.clients.get_mut(key) else { return Next::Nothing };
        let asking = client.session.request();
        let ask = Ask {
            key: asking.and_then(|asking| asking.key),
            sticky: asking.and_then(|asking| asking.sticky),
            tried: &client.tried,
        };
        match self.upstreams.pick(self.now, &self.rules, &ask) {
            Pick::To(id) => self.connect(key, id, flow),
            Pick::Full | Pick::Nobody => self.queue_up(key, flow),
        }
    }

    /// The request waits for an upstream with room.
    fn queue_up(&mut self, key: usize, flow: &mut Flow) -> Next {
        let Some(client) = self.clients.get_mut(key) else { return Next::Nothing };
        let whose = client.session.request().and_then(|asking| asking.client);
        // One that has waited before, and found that those with room have failed it, has no more time for that.
        let until = *client.waits_until.get_or_insert(self.now + self.rules.queue_timeout);
        match self.queue.push(until, &self.rules, key, whose) {
            Push::Waits => {}
            Push::InsteadOf(other) => {
                self.turned_away.extend(self.clients.get(other).map(|client| client.line.place(other)));
            }
            Push::Full => return self.fail(key, self.why_waiting(Reason::QueueFull), flow),
        }
        let Some(client) = self.clients.get_mut(key) else { return Next::Nothing };
        client.partner = Partner::Queued;
        if client.told_end {
            client.session.probe(flow);
            if client.line.send(flow.to_client.slices(&[])).is_err() {
                self.lose_client(key, flow);
            }
            flow.clear();
        }
        Next::Nothing
    }

    /// Says once that this process lacks something, until it has it again.
    fn tell_shortage(&mut self, error: &io::Error) {
        if error.kind() != io::ErrorKind::WouldBlock && !std::mem::replace(&mut self.short, true) {
            log::warn!("cannot connect to upstreams: {error}; requests wait");
        }
    }

    /// Has an idle connection to this upstream serve a client, or begins one.
    fn connect(&mut self, key: usize, id: u32, flow: &mut Flow) -> Next {
        let idempotent = self.clients[key].session.request().is_some_and(|asking| asking.idempotent);
        let fresh = self.clients[key].fresh;
        while !fresh && let Some(other) = self.pool.take(self.now, id) {
            let Some(connection) = self.upstream_connections.get_mut(other) else { continue };
            // What cannot be sent twice is not sent to one that has just been closed.
            if !idempotent && !wire::is_quiet(&connection.line) {
                self.close_upstream(other);
                continue;
            }
            self.figures.reused += 1;
            return self.begin(key, other, flow);
        }
        match self.start_connection(key, id) {
            Ok(other) => {
                self.short = false;
                self.clients[key].partner = Partner::Connecting(other);
                Next::Nothing
            }
            Err(error) if connect::is_for_later(&error) => {
                self.tell_shortage(&error);
                self.end_at(id, Outcome::Neither);
                self.look_again.get_or_insert(self.now + LOOK_AGAIN);
                self.queue_up(key, flow)
            }
            Err(error) => {
                log::debug!("cannot connect to upstream {id}: {error}");
                self.fail_over(key, id, Reason::ConnectFailed, true, false, flow)
            }
        }
    }

    /// The request of a client goes to this connection.
    pub(super) fn begin(&mut self, key: usize, other: usize, flow: &mut Flow) -> Next {
        let (Some(client), Some(connection)) =
            (self.clients.get_mut(key), self.upstream_connections.get_mut(other))
        else {
            return Next::Nothing;
        };
        connection.begin(key);
        client.partner = Partner::Connected(other);
        client.waits_until = None;
        let has_cookie = self.rules.sticky.is_some();
        let sticky = has_cookie.then(|| self.upstreams.sticky(connection.upstream)).flatten();
        client.session.begin(&mut turn!(self, client), connection.upstream, sticky, flow);
        Next::Begun
    }

    /// An upstream has failed a request, which goes to another if it may. The connection is done with.
    pub(super) fn fail_over(
        &mut self,
        key: usize,
        id: u32,
        reason: Reason,
        unwritten: bool,
        reused: bool,
        flow: &mut Flow,
    ) -> Next {
        // One that was kept too long is nobody's fault.
        let outcome =
            if reused && reason == Reason::UpstreamClosed { Outcome::Neither } else { Outcome::Failed };
        self.end_at(id, outcome);
        let Some(client) = self.clients.get_mut(key) else { return Next::Nothing };
        client.partner = Partner::Nobody;
        flow.clear();
        let failure = Failure { reason, unwritten, reused };
        // That of a kept connection is for free: the next is a new one.
        let may = client.session.may_retry(&self.rules, failure)
            && (reused || self.budget.try_take(self.now, &self.rules));
        if !may {
            return self.fail(key, reason, flow);
        }
        client.fresh = reused;
        if !reused {
            client.tried.push(id);
        }
        client.session.retry(&mut turn!(self, client), flow);
        flow.clear();
        self.choose(key, flow)
    }

    pub(super) fn fail(&mut self, key: usize, why: Reason, flow: &mut Flow) -> Next {
        let Some(client) = self.clients.get_mut(key) else { return Next::Nothing };
        flow.clear();
        client.session.fail(&mut turn!(self, client), why, flow);
        self.carry_out(key, flow, &[])
    }

    /// One request fewer at an upstream.
    pub(super) fn end_at(&mut self, id: u32, outcome: Outcome) {
        let freed = self.upstreams.end(self.now, &self.rules, id, outcome);
        self.room |= freed.room;
        if freed.ejected {
            self.figures.note_ejection(id);
        }
        if freed.idle {
            self.tell_idle(id);
        }
    }

    /// A connection has served its request.
    fn part(&mut self, other: usize, parting: Parting, outcome: Outcome) {
        let Some(Connection { upstream, .. }) = self.upstream_connections.get(other) else { return };
        let id = *upstream;
        self.end_at(id, outcome);
        let Some(connection) = self.upstream_connections.get_mut(other) else { return };
        let usable = !connection.line.ended && !connection.line.readable && connection.line.kept() == 0;
        match parting {
            Parting::Keep { idle }
                if usable && !connection.line.is_blocked() && self.upstreams.serves(id) =>
            {
                connection.stage = Stage::Idle;
                if let Some(superfluous) = self.pool.put(self.now, &self.rules, id, other, idle) {
                    self.close_upstream(superfluous);
                }
            }
            _ => self.close_upstream(other),
        }
    }
}

fn outcome(reason: Reason) -> Outcome {
    match reason {
        Reason::Done => Outcome::Served,
        Reason::ConnectFailed
        | Reason::ConnectTimeout
        | Reason::UpstreamClosed
        | Reason::UpstreamTimeout
        | Reason::Truncated
        | Reason::BadAnswer => Outcome::Failed,
        _ => Outcome::Neither,
    }
}
