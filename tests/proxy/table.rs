//! Every case of the table: whole, in two pieces cut anywhere, byte by byte, and with another request behind it.

use pointsman::forward::{rules::ForwardRules, session::Ending};

use crate::{
    cases::{self, CLIENT, Case, Manner, OK, SECOND, Then},
    judge::{End, Seen},
    strict,
    world::World,
};

/// How bytes arrive.
#[derive(Debug, Clone, Copy)]
enum Pace {
    Whole,
    CutAt(usize),
    Bytes,
}

#[test]
fn every_case_however_it_comes() {
    for case in cases::all() {
        let step = case.given.len() / 1000 + 1;
        let mut paces = vec![Pace::Whole, Pace::Bytes];
        paces.extend((1..case.given.len()).step_by(step).map(Pace::CutAt));
        for pace in paces {
            check(case, pace, false);
            if case.can_be_followed() {
                check(case, pace, true);
            }
        }
    }
}

/// What upstreams say, one request after the other.
struct Script<'a> {
    case: &'a Case,
    said: usize,
}

impl Script<'_> {
    /// Answers what is to be answered; tells whether there was something.
    fn go_on(&mut self, world: &mut World, pace: Pace) -> bool {
        let Some(current) = world.current else { return false };
        let upstream = &mut world.upstreams[current];
        let whole = strict::requests(&upstream.received).0.len();
        let has_head = upstream.received.windows(4).any(|bytes| bytes == b"\r\n\r\n");
        let early = self.case.manner == Manner::Early && has_head && upstream.served == 0;
        if whole <= upstream.served && !early {
            return false;
        }
        upstream.served += 1;
        let answer = self.case.answers.get(self.said).copied().unwrap_or(OK);
        let is_scripted = self.said < self.case.answers.len();
        self.said += 1;
        let pieces: Vec<&[u8]> = match pace {
            Pace::Whole => vec![answer],
            Pace::CutAt(at) => <[&[u8]; 2]>::from(answer.split_at(at.min(answer.len()))).to_vec(),
            Pace::Bytes => answer.chunks(1).collect(),
        };
        for piece in pieces {
            let upstream = &mut world.upstreams[current];
            if world.current != Some(current) {
                world.stray(current);
                break;
            }
            upstream.pending.extend_from_slice(piece);
            world.turn();
        }
        world.upstreams[current].ended = self.case.manner == Manner::Closes && is_scripted;
        world.turn();
        true
    }
}

fn play(case: &Case, pace: Pace, given: &[u8]) -> World {
    let mut world = World::new(ForwardRules::default());
    let mut script = Script { case, said: 0 };
    let pieces: Vec<&[u8]> = match pace {
        Pace::Whole => vec![given],
        Pace::CutAt(at) => <[&[u8]; 2]>::from(given.split_at(at.min(given.len()))).to_vec(),
        Pace::Bytes => given.chunks(1).collect(),
    };
    for (index, piece) in pieces.iter().enumerate() {
        if world.client.ending.is_some() {
            break;
        }
        world.client_says(piece);
        world.client.ended = case.ends && index + 1 == pieces.len();
        world.turn();
        while script.go_on(&mut world, pace) {}
    }
    world
}

fn check(case: &Case, pace: Pace, followed: bool) {
    let given = [case.given, if followed { SECOND } else { b"" }].concat();
    let mut world = play(case, pace, &given);
    if case.then == Then::Tunnel {
        let got = &mut world.upstreams[0].received;
        let end = got.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
        assert_eq!(got.split_off(end), b"\0raw", "{}", case.name);
    }
    let end = match world.client.ending {
        None => End::Open,
        Some(Ending::Close | Ending::Linger) => End::Ended,
        Some(Ending::Cut) => End::Cut,
    };
    let seen = Seen {
        requests: world.requests(),
        received: std::mem::take(&mut world.client.received),
        end,
        client: CLIENT.into(),
        name: format!("{} ({pace:?}, followed: {followed})", case.name),
    };
    seen.judge(case, followed);
    let name = &seen.name;
    if case.fresh {
        assert_ne!(world.begun[0], world.begun[1], "{name}: it is used again");
    }
    if end == End::Open && case.then != Then::Tunnel {
        assert!(world.session.is_idle(), "{name}");
        assert_eq!(world.current, None, "{name}: it keeps an upstream");
    }
}
