//! What workers run: one program for each generation that may still be started.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    path::Path,
};

use crate::{
    protocol::serialization::Serialization,
    sys::{attributes::Attributes, cpus::Cpus, launch},
};

/// What the workers of a generation run, and how.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) program: OsString,
    pub(crate) args: Vec<OsString>,
    pub(crate) env: Vec<(OsString, OsString)>,
    /// Whether Node is to report the ends of connections.
    pub(crate) load_report: bool,
    /// What each is to be.
    pub(crate) attributes: Attributes,
    /// Cores for the slots, which take these sets in turn; none if they may use all.
    pub(crate) affinity: Vec<Cpus>,
    /// How it speaks on its channel.
    pub(crate) serialization: Serialization,
}

/// What a program is called that asks for its sockets on its channel.
const ASKS: [&str; 2] = ["node", "nodejs"];

impl Program {
    /// What the worker of this slot is to be.
    pub(super) fn attributes(&self, slot: u32) -> Attributes {
        let place = (slot as usize).checked_rem(self.affinity.len());
        let cpus = place.and_then(|place| self.affinity.get(place)).cloned();
        Attributes { cpus, ..self.attributes.clone() }
    }

    /// Whether it is this very program, run again.
    pub(super) fn is_self(&self) -> bool {
        self.program == launch::SELF
    }

    /// Whether it knows to ask for listening sockets.
    pub(super) fn asks_for_sockets(&self) -> bool {
        let name = Path::new(&self.program).file_name().unwrap_or_default();
        self.is_self() || ASKS.iter().any(|known| OsStr::new(known) == name)
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Programs {
    by_generation: BTreeMap<u32, Program>,
    /// The last one that was added, or is left.
    latest: Program,
}

impl Programs {
    /// With that of the first generation.
    pub(super) fn new(program: Program) -> Self {
        Self { by_generation: BTreeMap::from([(1, program.clone())]), latest: program }
    }

    /// With another.
    pub(super) fn add(&mut self, generation: u32, program: Program) {
        self.latest = program.clone();
        self.by_generation.insert(generation, program);
    }

    /// Nobody will be started of this generation.
    pub(super) fn forget(&mut self, generation: u32) {
        self.by_generation.remove(&generation);
        if let Some(program) = self.by_generation.values().next_back() {
            self.latest = program.clone();
        }
    }

    /// What a worker of this generation runs; of one that is forgotten, what comes closest.
    pub(super) fn of(&self, generation: u32) -> &Program {
        self.by_generation.get(&generation).unwrap_or(&self.latest)
    }

    /// The one that whoever comes next most likely runs.
    pub(super) fn latest(&self) -> &Program {
        &self.latest
    }
}
