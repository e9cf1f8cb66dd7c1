//! Sockets that this process was started with: by systemd's socket activation (`LISTEN_FDS`), or by hand.
//!
//! The variables and the descriptors come in; what is listened on and what is offered to workers by number goes out.

use std::{env, process};

use pointsman::{Inherited, Listen, Settings};

use crate::config::{Config, Origin};

/// What systemd calls the first (`SD_LISTEN_FDS_START`).
const FIRST: i32 = 3;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Activation {
    /// Listened on, as if `-l` named them, and what `LISTEN_FDNAMES` calls them.
    listened: Vec<(Inherited, Option<String>)>,
    /// Listened on when a worker asks for them by number.
    offered: Vec<Inherited>,
    /// What is suspicious about them.
    pub(super) warnings: Vec<String>,
}

/// Finds them; to be called before anything is opened.
pub(super) fn find() -> Activation {
    let variable = |name| env::var(name).unwrap_or_default();
    match pointsman::inherited() {
        Ok(sockets) => {
            let [pid, count, names] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"].map(variable);
            sort(sockets, &pid, &count, &names, process::id())
        }
        Err(error) => {
            let warnings = vec![format!("cannot see which sockets this process was started with: {error}")];
            Activation { warnings, ..Activation::default() }
        }
    }
}

fn sort(sockets: Vec<Inherited>, listen_pid: &str, listen_fds: &str, names: &str, pid: u32) -> Activation {
    // Meant for this process and not for one that it descends from.
    let count = if listen_pid.parse() == Ok(pid) { listen_fds.parse().unwrap_or(0) } else { 0 };
    let range = FIRST..FIRST.saturating_add(count);
    let missing = range.clone().filter(|number| sockets.iter().all(|socket| socket.number() != *number));
    let warn = |number| {
        format!("LISTEN_FDS={count}, but descriptor {number} is no socket to listen on; it is left alone")
    };
    let warnings = missing.take(8).map(warn).collect();
    let (listened, offered): (Vec<_>, _) =
        sockets.into_iter().partition(|socket| range.contains(&socket.number()));
    let names: Vec<_> = names.split(':').collect();
    let name = |socket: &Inherited| {
        let place = usize::try_from(socket.number() - FIRST).ok()?;
        names.get(place).filter(|name| !name.is_empty()).map(|name| (*name).to_owned())
    };
    let listened = listened.into_iter().map(|socket| (socket.clone(), name(&socket))).collect();
    Activation { listened, offered, warnings }
}

impl Activation {
    /// What is configured, with these sockets: they take the place of the default, and of an address that is theirs.
    pub(super) fn settings(&self, config: &Config) -> Settings {
        let is_default = matches!(config.listen.origin, Origin::Default) && !self.listened.is_empty();
        let is_theirs =
            |listen: &Listen| self.listened.iter().any(|(socket, _)| socket.endpoint() == listen.endpoint());
        let own = config.listen.value.iter().map(|socket| socket.listen.clone());
        let own = own.filter(|listen| !is_default && !is_theirs(listen));
        let listens = self.listened.iter().map(named).chain(own);
        let settings = listens.fold(config.settings_without_listen(), Settings::listen);
        self.offered.iter().fold(settings, |all, socket| all.offer(socket.clone()))
    }
}

fn named((socket, name): &(Inherited, Option<String>)) -> Listen {
    let listen = Listen::from(socket.clone());
    match name {
        Some(name) => listen.name(name),
        None => listen,
    }
}
