//! One connection of a client: its requests, and the answers of upstreams to them, one after the other.
//!
//! Bytes of both sides enter, with their ends, failures and time; [`Flow`] leaves, with bytes for both sides and what
//! becomes of the connections. `client` hears what the client says, `request` and `answer` rewrite heads, `body` passes on
//! what follows them, `own` answers where no upstream does, `exchange` is one request with its answer, `tunnel` what is not
//! HTTP, `timers` says how long anything may take. Nothing here knows of sockets, of which upstreams there are, or how one is chosen.
//!
//! What the driver does:
//! * [`Flow`] is cleared before each call and carried out after it. Only `begin` and a `handle_client` behind it may share
//!   one, so that a head and its body are written together.
//! * What a call did not take is given again with what came behind it: when there is more, and as soon as `wants_rest` says
//!   so. The room for it must hold a head: `max_head`, and at least [`MAX_HEAD`](crate::http::MAX_HEAD).
//! * The end of a side is told when all before it was given, whether it was taken or not.
//! * An upstream that ends or fails before it has answered: `may_retry` and `retry`, else `fail`.

mod answer;
mod body;
mod client;
mod copier;
mod exchange;
mod flow;
mod key;
mod origin;
mod own;
mod request;
mod timers;
mod tunnel;

pub use flow::{Asking, Ending, Failure, Flow, Parting, Peer, Side, Turn};

use self::{
    exchange::{Answer, Body, Exchange, Next, new_record},
    own::Own,
    timers::Timer,
    tunnel::Tunnel,
};
use super::{record::Reason, rules::ForwardRules};
use crate::{http::Status, time::Time};

/// See the module.
#[derive(Debug)]
pub struct Session {
    state: State,
    deadline: Option<Time>,
    /// Since when the client has taken nothing of what is to be written.
    blocked: Option<Time>,
    /// The lane leaves.
    drains: bool,
    /// The client says nothing more.
    ended: bool,
    /// What was not taken of what the client has said.
    left: Left,
}

/// What was not taken when it was given last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Nothing,
    /// The beginning of something that is not whole.
    Part,
    /// What has to wait, and was not looked at.
    Later,
}

#[derive(Debug)]
enum State {
    Idle(Idle),
    Busy(Box<Exchange>),
    Tunnel(Box<Tunnel>),
    Over,
}

/// Between two requests.
#[derive(Debug)]
struct Idle {
    since: Time,
    scanned: u32,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Before the first request.
    New,
    /// Behind another.
    Kept,
    /// Either, and no other is waited for.
    Leaving,
    /// Within a head.
    Reading,
}

impl Session {
    /// For HTTP/1.
    pub fn http(now: Time, rules: &ForwardRules) -> Self {
        let mut session = Self::new(State::Idle(Idle { since: now, scanned: 0, stage: Stage::New }));
        session.schedule(rules);
        session
    }

    /// For anything: an upstream is wanted by `start`.
    pub fn tcp(now: Time, rules: &ForwardRules) -> Self {
        let mut session = Self::new(State::Tunnel(Box::new(Tunnel::open(now, new_record(now), None))));
        session.schedule(rules);
        session
    }

    fn new(state: State) -> Self {
        Self { state, deadline: None, blocked: None, drains: false, ended: false, left: Left::Nothing }
    }

    /// Called once, first of all.
    pub fn start(&mut self, turn: &mut Turn<'_>, flow: &mut Flow) {
        if let State::Tunnel(tunnel) = &mut self.state {
            **tunnel = Tunnel::choosing(turn, new_record(turn.now));
            flow.choose = true;
        }
        self.schedule(turn.rules);
    }

    /// A connection to an upstream is there, and the request goes to it. `sticky` is what the cookie is to say by which the
    /// client stays with this upstream.
    pub fn begin(&mut self, turn: &mut Turn<'_>, upstream: u32, sticky: Option<u64>, flow: &mut Flow) {
        match &mut self.state {
            State::Busy(exchange) if matches!(exchange.answer, Answer::Choosing) => {
                exchange.begin(turn.now, upstream, sticky, flow);
            }
            State::Tunnel(tunnel) if matches!(tunnel.stage, tunnel::Stage::Choosing(_)) => {
                tunnel.begin(turn.now, upstream);
            }
            State::Idle(_) | State::Busy(_) | State::Tunnel(_) | State::Over => {}
        }
        self.client_is_heard(turn, flow);
        self.schedule(turn.rules);
    }

    /// Bytes of the upstream; tells how many were taken.
    pub fn handle_upstream(&mut self, turn: &mut Turn<'_>, input: &[u8], flow: &mut Flow) -> usize {
        let taken = match &mut self.state {
            State::Busy(exchange) => {
                let (taken, next) = exchange.handle_upstream(turn, input, flow);
                if matches!(next, Next::Tunnel) {
                    self.tunnel(turn, input, taken, flow)
                } else {
                    self.follow(turn, next, flow);
                    taken
                }
            }
            State::Tunnel(tunnel) => tunnel.handle_upstream(turn.now, input, 0, flow),
            State::Idle(_) | State::Over => input.len(),
        };
        self.schedule(turn.rules);
        taken
    }

    /// The upstream says nothing more.
    pub fn handle_upstream_end(&mut self, turn: &mut Turn<'_>, flow: &mut Flow) {
        match &mut self.state {
            State::Busy(exchange) => {
                let next = exchange.handle_upstream_end(turn, flow);
                self.follow(turn, next, flow);
            }
            State::Tunnel(tunnel) => {
                let end = tunnel.handle_upstream_end(flow);
                self.close_tunnel(turn, end, flow);
            }
            State::Idle(_) | State::Over => {}
        }
        self.schedule(turn.rules);
    }

    /// Whether the request may be sent again after this failure; the caller has a budget too.
    pub fn may_retry(&self, rules: &ForwardRules, failure: Failure) -> bool {
        match &self.state {
            // What a kept connection has failed is tried on a new one, which counts.
            State::Busy(exchange) => {
                (failure.reused || exchange.tries() < rules.tries) && exchange.may_retry(failure)
            }
            State::Tunnel(tunnel) => tunnel.tries() < rules.tries && tunnel.may_retry(failure),
            State::Idle(_) | State::Over => false,
        }
    }

    /// Another upstream is wanted.
    pub fn retry(&mut self, turn: &mut Turn<'_>, flow: &mut Flow) {
        match &mut self.state {
            State::Busy(exchange) => exchange.retry(flow),
            State::Tunnel(tunnel) => tunnel.retry(flow),
            State::Idle(_) | State::Over => {}
        }
        self.schedule(turn.rules);
    }

    /// The request comes to nothing: it is answered so, or what was answered is cut short.
    pub fn fail(&mut self, turn: &mut Turn<'_>, why: Reason, flow: &mut Flow) {
        match &mut self.state {
            State::Busy(exchange) => {
                let next = exchange.fail(turn, why, flow);
                self.follow(turn, next, flow);
            }
            State::Tunnel(tunnel) => {
                let end = tunnel.fail(why, flow);
                self.close_tunnel(turn, Some(end), flow);
            }
            State::Idle(_) | State::Over => {}
        }
        self.schedule(turn.rules);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, turn: &mut Turn<'_>, flow: &mut Flow) {
        let timer = self.due(turn.rules).filter(|(at, _)| *at <= turn.now).map(|(_, timer)| timer);
        match (&mut self.state, timer) {
            (_, None) | (State::Over, _) => {}
            (State::Idle(idle), Some(Timer::Head)) => {
                let since = idle.since;
                let next = self.refuse(turn, since, Status::RequestTimeout, &[], flow);
                self.follow(turn, next, flow);
            }
            (State::Idle(_), Some(timer)) => {
                self.state = State::Over;
                flow.client = Some(if timer == Timer::Send { Ending::Cut } else { Ending::Close });
            }
            (State::Busy(exchange), Some(timer)) => {
                let next = expire(exchange, turn, timer, flow);
                self.follow(turn, next, flow);
            }
            (State::Tunnel(tunnel), Some(timer)) => {
                let why =
                    if timer == Timer::Stream { Reason::UpstreamTimeout } else { Reason::ClientTimeout };
                let end = tunnel.fail(why, flow);
                self.close_tunnel(turn, Some(end), flow);
            }
        }
        self.schedule(turn.rules);
    }

    /// All that was to be written to a side could not be (`true`), or now has been. Told again with `true` whenever a part
    /// was: time begins anew.
    pub fn handle_blocked(&mut self, now: Time, rules: &ForwardRules, side: Side, blocked: bool) {
        let since = blocked.then_some(now);
        match (side, &mut self.state) {
            (Side::Client, state) => {
                let was_blocked = std::mem::replace(&mut self.blocked, since).is_some();
                match state {
                    // Time for the next request begins when the answer to the last was taken.
                    State::Idle(idle) if was_blocked && idle.stage != Stage::Reading => idle.since = now,
                    // While it was blocked, nothing more could come.
                    State::Busy(exchange) if was_blocked => exchange.moved.upstream = now,
                    State::Idle(_) | State::Busy(_) | State::Tunnel(_) | State::Over => {}
                }
            }
            (Side::Upstream, State::Busy(exchange)) => {
                exchange.blocked = since;
                exchange.moved.client = exchange.moved.client.max(now);
            }
            (Side::Upstream, State::Tunnel(tunnel)) => tunnel.blocked = since,
            (Side::Upstream, State::Idle(_) | State::Over) => {}
        }
        self.schedule(rules);
    }

    /// The lane leaves: what is asked for is still answered, but for the last time.
    pub fn drain(&mut self, turn: &mut Turn<'_>, _flow: &mut Flow) {
        let drained = std::mem::replace(&mut self.drains, true);
        if let State::Idle(idle) = &mut self.state
            && idle.stage != Stage::Reading
            && !drained
        {
            *idle = Idle { since: turn.now, scanned: 0, stage: Stage::Leaving };
        }
        if let State::Busy(exchange) = &mut self.state
            && !matches!(exchange.answer, Answer::Passing { .. })
        {
            exchange.manner.keep_alive = false;
        }
        self.schedule(turn.rules);
    }

    /// Does what becomes of an exchange.
    fn follow(&mut self, turn: &mut Turn<'_>, next: Next, flow: &mut Flow) {
        let is_cut = match next {
            Next::Stay | Next::Tunnel => return,
            Next::Over => false,
            Next::Cut => true,
        };
        let State::Busy(mut exchange) = std::mem::replace(&mut self.state, State::Over) else { return };
        let mut record = std::mem::replace(&mut exchange.record, new_record(turn.now));
        record.times.ended = turn.now;
        flow.done = Some(record);
        if is_cut {
            flow.client = Some(Ending::Cut);
        } else if exchange.manner.keep_alive {
            if self.ended && self.left == Left::Nothing {
                flow.client = Some(Ending::Close);
            } else {
                let stage = if self.drains { Stage::Leaving } else { Stage::Kept };
                self.state = State::Idle(Idle { since: turn.now, scanned: 0, stage });
            }
        } else {
            // Who has said all, or that this is all, will not be in the way.
            let is_heard = matches!(exchange.body, Body::Done)
                && self.left == Left::Nothing
                && (self.ended || exchange.last);
            flow.client = Some(if is_heard { Ending::Close } else { Ending::Linger });
        }
        if flow.spare.len() < MAX_SPARE {
            flow.spare.push(exchange);
        }
    }

    /// From an exchange to a tunnel; `taken` bytes of the input were the answer that allows it.
    fn tunnel(&mut self, turn: &mut Turn<'_>, input: &[u8], taken: usize, flow: &mut Flow) -> usize {
        let State::Busy(mut exchange) = std::mem::replace(&mut self.state, State::Over) else { return taken };
        let record = std::mem::replace(&mut exchange.record, new_record(turn.now));
        let mut tunnel = Tunnel::open(turn.now, record, exchange.blocked);
        let taken = tunnel.handle_upstream(turn.now, input, taken, flow);
        self.state = State::Tunnel(Box::new(tunnel));
        self.client_is_heard(turn, flow);
        taken
    }

    fn close_tunnel(&mut self, turn: &Turn<'_>, end: tunnel::End, flow: &mut Flow) {
        let Some(ending) = end else { return };
        if let State::Tunnel(tunnel) = std::mem::replace(&mut self.state, State::Over) {
            let mut record = tunnel.record;
            record.times.ended = turn.now;
            flow.done = Some(record);
            flow.client = Some(ending);
        }
    }

    fn schedule(&mut self, rules: &ForwardRules) {
        self.deadline = self.due(rules).map(|(at, _)| at);
    }

    /// When `handle_timeout` is to be called.
    pub fn deadline(&self) -> Option<Time> {
        self.deadline
    }

    /// What is to be sent first to an upstream.
    pub fn held(&self) -> &[u8] {
        match &self.state {
            State::Busy(exchange) => &exchange.held.bytes,
            State::Idle(_) | State::Tunnel(_) | State::Over => &[],
        }
    }

    /// The request that wants an upstream.
    pub fn request(&self) -> Option<&Asking> {
        match &self.state {
            State::Busy(exchange) if matches!(exchange.answer, Answer::Choosing) => Some(&exchange.asking),
            State::Tunnel(tunnel) => match &tunnel.stage {
                tunnel::Stage::Choosing(asking) => Some(asking),
                _ => None,
            },
            State::Idle(_) | State::Busy(_) | State::Over => None,
        }
    }

    /// How often the request was sent, or tried to be.
    #[cfg(feature = "internals")]
    pub fn tries(&self) -> u32 {
        match &self.state {
            State::Busy(exchange) => exchange.record.tries,
            State::Tunnel(tunnel) => tunnel.record.tries,
            State::Idle(_) | State::Over => 0,
        }
    }

    /// No request is under way, nor begun.
    #[cfg(feature = "internals")]
    pub fn is_idle(&self) -> bool {
        matches!(&self.state, State::Idle(idle) if idle.stage != Stage::Reading)
    }

    /// What goes by is not looked at.
    pub fn is_tunnel(&self) -> bool {
        matches!(self.state, State::Tunnel(_))
    }

    /// More of the client can be used.
    pub fn wants_client(&self) -> bool {
        match &self.state {
            State::Idle(_) => self.blocked.is_none() && (!self.ended || self.left == Left::Later),
            State::Busy(exchange) => {
                let is_connected = !matches!(exchange.answer, Answer::Choosing);
                is_connected && !matches!(exchange.body, Body::Done) && exchange.blocked.is_none()
            }
            State::Tunnel(tunnel) => tunnel.wants_client() && (!self.ended || self.left == Left::Later),
            State::Over => false,
        }
    }

    /// Bytes of the client that had to wait when they were given can be used now: they are to be given again.
    pub fn wants_rest(&self) -> bool {
        self.left == Left::Later && self.wants_client()
    }

    /// More of the upstream can be used.
    pub fn wants_upstream(&self) -> bool {
        match &self.state {
            State::Busy(exchange) => self.blocked.is_none() && !matches!(exchange.answer, Answer::Choosing),
            State::Tunnel(tunnel) => self.blocked.is_none() && tunnel.wants_upstream(),
            State::Idle(_) | State::Over => false,
        }
    }
}

/// Exchanges that are kept for their memory: as many as may begin in a turn before others end.
const MAX_SPARE: usize = 64;

/// Time is over for something in an exchange.
fn expire(exchange: &mut Exchange, turn: &mut Turn<'_>, timer: Timer, flow: &mut Flow) -> Next {
    let has_begun = matches!(exchange.answer, Answer::Passing { .. });
    let sends_still = matches!(exchange.answer, Answer::Waiting { .. })
        && !matches!(exchange.body, Body::Done)
        && exchange.blocked.is_none();
    match timer {
        Timer::Send => exchange.cut(Reason::ClientTimeout, flow),
        Timer::Body | Timer::Head | Timer::Idle => exchange.own(turn, Own::of(Reason::ClientTimeout), flow),
        Timer::Request if sends_still => exchange.own(turn, Own::of(Reason::ClientTimeout), flow),
        Timer::Stream if has_begun => exchange.cut(Reason::Truncated, flow),
        Timer::Stream | Timer::Response | Timer::Request | Timer::Tunnel => {
            exchange.own(turn, Own::of(Reason::UpstreamTimeout), flow)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_costs_little() {
        assert!(size_of::<Session>() <= 64, "{}", size_of::<Session>());
    }
}
