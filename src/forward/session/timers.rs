//! What a session waits for, and until when: of all time-outs the one that is due first.

use std::time::Duration;

use super::{
    Idle, Session, Stage, State,
    exchange::{Answer, Body, Exchange},
    tunnel::{self, Tunnel},
};
use crate::{forward::rules::ForwardRules, time::Time};

/// How long an idle connection stays when the lane leaves: what its client has sent already is still answered.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// What happens when nothing does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timer {
    /// A client has sent nothing, or not enough to be answered.
    Idle,
    /// A head that has begun did not become whole.
    Head,
    /// The client sends nothing more of the body.
    Body,
    /// The client takes nothing.
    Send,
    /// No answer begins.
    Response,
    /// The upstream takes nothing, or sends nothing more.
    Stream,
    /// A tunnel is silent.
    Tunnel,
    /// All of it takes too long.
    Request,
}

impl Session {
    /// The timer that is due first.
    pub(super) fn due(&self, rules: &ForwardRules) -> Option<(Time, Timer)> {
        let send = self.blocked.map(|since| (since + rules.send_timeout, Timer::Send));
        match &self.state {
            State::Idle(idle) => Some(send.unwrap_or_else(|| self.idle_due(idle, rules))),
            State::Busy(exchange) => {
                let total = rules.request_timeout.map(|span| exchange.record.times.began + span);
                earlier(send.or_else(|| exchange_due(exchange, rules)), total.map(|at| (at, Timer::Request)))
            }
            State::Tunnel(tunnel) => earlier(send, tunnel_due(tunnel, rules)),
            State::Over => None,
        }
    }

    fn idle_due(&self, idle: &Idle, rules: &ForwardRules) -> (Time, Timer) {
        let span = match idle.stage {
            Stage::Reading => return (idle.since + rules.header_timeout, Timer::Head),
            Stage::New => rules.header_timeout,
            Stage::Kept => rules.idle_timeout,
            Stage::Leaving => DRAIN_TIMEOUT,
        };
        (idle.since + span, Timer::Idle)
    }
}

fn exchange_due(exchange: &Exchange, rules: &ForwardRules) -> Option<(Time, Timer)> {
    let Exchange { moved, blocked, body, .. } = exchange;
    let latest = moved.client.max(moved.upstream);
    let body_is_there = matches!(body, Body::Done);
    Some(match (&exchange.answer, blocked) {
        // The driver knows how long it waits for an upstream.
        (Answer::Choosing, _) => return None,
        (Answer::Waiting { .. }, Some(since)) => (*since + rules.stream_timeout, Timer::Stream),
        (Answer::Waiting { .. }, None) if body_is_there || exchange.waits_for_continue() => {
            (latest + rules.response_timeout, Timer::Response)
        }
        (Answer::Waiting { .. }, None) => (moved.client + rules.body_timeout, Timer::Body),
        (Answer::Passing { .. }, None) if !body_is_there => {
            let body_due = latest + rules.body_timeout;
            earlier(
                Some((body_due, Timer::Body)),
                Some((moved.upstream + rules.stream_timeout, Timer::Stream)),
            )?
        }
        (Answer::Passing { .. }, _) => (moved.upstream + rules.stream_timeout, Timer::Stream),
    })
}

fn tunnel_due(tunnel: &Tunnel, rules: &ForwardRules) -> Option<(Time, Timer)> {
    let silence = match tunnel.stage {
        tunnel::Stage::Choosing(_) => return None,
        tunnel::Stage::Open => rules.tunnel_timeout,
        // Half of it: an answer may be on its way, and who has nothing more to hear says soon whether it has more to say.
        tunnel::Stage::ClientEnded => rules.tunnel_timeout.min(rules.stream_timeout),
        tunnel::Stage::UpstreamEnded => rules.tunnel_timeout.min(rules.body_timeout),
    };
    let silent = Some((tunnel.moved + silence, Timer::Tunnel));
    earlier(tunnel.blocked.map(|since| (since + rules.stream_timeout, Timer::Stream)), silent)
}

fn earlier(one: Option<(Time, Timer)>, other: Option<(Time, Timer)>) -> Option<(Time, Timer)> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if other.0 < one.0 { other } else { one }),
        (one, other) => one.or(other),
    }
}

impl Exchange {
    /// The client waits to be told to go on, and it is the upstream that has not done so.
    fn waits_for_continue(&self) -> bool {
        self.expects_continue
            && self.record.received == 0
            && matches!(self.answer, Answer::Waiting { interim: 0, .. })
    }
}
