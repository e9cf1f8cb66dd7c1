//! What the kernel reports on, as tokens: made of ids that are never given twice, so that a late event hits nobody else.

use mio::Token;

use crate::fleet::{ListenerId, WorkerId};

/// What a token stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Listener(ListenerId),
    Channel(WorkerId),
    Child(WorkerId),
    Guard,
    Signals,
    Kernel,
    Readiness,
    Peer(u32),
    Output,
    Notices,
    Depends,
    Control,
    ControlClient(u32),
    Admin,
    AdminClient(u32),
    Probe(WorkerId),
    Resolver,
}

/// What is of a kind, and not of an id.
const KIND_BITS: u32 = 5;

impl Source {
    pub(super) fn token(self) -> Token {
        let (kind, id) = match self {
            Self::Listener(ListenerId(id)) => (0, id),
            Self::Channel(WorkerId(id)) => (1, id),
            Self::Child(WorkerId(id)) => (2, id),
            Self::Guard => (3, 0),
            Self::Signals => (4, 0),
            Self::Kernel => (5, 0),
            Self::Readiness => (6, 0),
            Self::Peer(id) => (7, id),
            Self::Output => (8, 0),
            Self::Notices => (9, 0),
            Self::Depends => (10, 0),
            Self::Control => (11, 0),
            Self::ControlClient(id) => (12, id),
            Self::Admin => (13, 0),
            Self::AdminClient(id) => (14, id),
            Self::Probe(WorkerId(id)) => (15, id),
            Self::Resolver => (16, 0),
        };
        Token((id as usize) << KIND_BITS | kind)
    }

    pub(super) fn of(token: Token) -> Self {
        let id = u32::try_from(token.0 >> KIND_BITS).unwrap_or(u32::MAX);
        match token.0 & ((1 << KIND_BITS) - 1) {
            0 => Self::Listener(ListenerId(id)),
            1 => Self::Channel(WorkerId(id)),
            2 => Self::Child(WorkerId(id)),
            3 => Self::Guard,
            4 => Self::Signals,
            5 => Self::Kernel,
            6 => Self::Readiness,
            7 => Self::Peer(id),
            8 => Self::Output,
            9 => Self::Notices,
            10 => Self::Depends,
            11 => Self::Control,
            12 => Self::ControlClient(id),
            13 => Self::Admin,
            14 => Self::AdminClient(id),
            15 => Self::Probe(WorkerId(id)),
            _ => Self::Resolver,
        }
    }
}
