//! Starting workers: their environment, their sockets, their channel.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::fd::{AsFd, OwnedFd},
};

use super::{
    Address, Channel, LAST_PATIENCE, Master, Program, Progress, Source, Worker, notices, output::Writer,
};
use crate::{
    control::Known,
    endpoint::Endpoint,
    fleet::{Mode, WorkerId},
    protocol::serialization::Serialization,
    sys::{attributes::Attributes, launch, process::Child},
};

/// By which a process would take itself for something else where this one was started by another cluster.
const STALE: [&str; 2] = ["NODE_UNIQUE_ID", "POINTSMAN_ADDRESSES"];

impl Master {
    pub(super) fn spawn(&mut self, id: WorkerId, slot: u32, generation: u32, own: bool) {
        let program = self.programs.of(generation, slot, own);
        self.learn(id, Known { slot, pid: 0, generation });
        let credentials = program.attributes.credentials.as_ref();
        let launched = self
            .find_address(id, slot, generation, credentials)
            .and_then(|address| self.launch(id, slot, &program, address));
        match launched {
            Ok(worker) => {
                let pid = worker.child.pid();
                self.learn(id, Known { slot, pid, generation });
                self.workers.insert(id, worker);
                self.fleet.handle_spawned(id, pid);
                if self.fleet.awaits_reachable(id) {
                    self.probes.add(self.now, id);
                }
            }
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(libc::EIO);
                self.fleet.handle_spawn_failed(self.now, id, errno);
            }
        }
    }

    /// For those who are told what happens.
    fn learn(&mut self, id: WorkerId, known: Known) {
        if let Some(control) = &mut self.control {
            control.learn(id, known);
        }
    }

    /// Starts a lane.
    pub(super) fn spawn_lane(&mut self, id: WorkerId, slot: u32, generation: u32) {
        self.learn_lane(id, Known { slot, pid: 0, generation });
        let launched = self.launch_lane(id, slot, generation);
        let now = self.now;
        let Some(lanes) = &mut self.lanes else { return };
        match launched {
            Ok(worker) => {
                let pid = worker.child.pid();
                lanes.add(id, generation);
                lanes.fleet.handle_spawned(id, pid);
                self.workers.insert(id, worker);
                self.learn_lane(id, Known { slot, pid, generation });
            }
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(libc::EIO);
                lanes.fleet.handle_spawn_failed(now, id, errno);
            }
        }
    }

    /// It is this very program, or the one that starts workers in its place, run again. It has many connections, so it
    /// keeps the limit of descriptors that this process has raised.
    fn launch_lane(&mut self, id: WorkerId, slot: u32, generation: u32) -> io::Result<Worker> {
        let orders = self.lanes.as_ref().and_then(|lanes| lanes.orders(generation)).cloned();
        let orders = orders.ok_or(io::ErrorKind::NotFound)?;
        let credentials = orders.credentials;
        let table = match &mut self.lanes {
            Some(lanes) => lanes.counts.add_lane(id)?,
            None => None,
        };
        let table = table.map(|table| table.try_clone_to_owned()).transpose()?;
        let variables: [(&str, String); 4] = [
            ("NODE_CHANNEL_FD", launch::channel_number(usize::from(table.is_some())).to_string()),
            (launch::SERIALIZATION, Serialization::Json.to_string()),
            ("NODE_UNIQUE_ID", id.to_string()),
            ("POINTSMAN_SLOT", slot.to_string()),
        ];
        let pipes = self.output.lane_pipes(orders.log.is_some(), credentials.as_ref())?;
        let what = launch::Program {
            // To the trampoline that is the launcher.
            program: OsStr::new(launch::SELF),
            args: &[launch::LANE.into()],
            env: variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
            inherits_env: true,
            without: &["PORT", "POINTSMAN_ADDRESSES", "NODE_APP_INSTANCE"],
            descriptors: None,
            ordinary: self.batch.is_some(),
            attributes: Attributes { credentials: credentials.clone(), ..Attributes::default() },
            sockets: table.iter().map(AsFd::as_fd).collect(),
            stdout: pipes.stdout,
            stderr: pipes.stderr,
        };
        let (child, channel) = self.start_watched(id, what, Serialization::Json)?;
        self.output.adopt(id, Writer::Lane(slot), pipes.ours);
        let (channel, address, progress) = (Some(channel), None, Progress::NotGiven);
        Ok(Worker { child, credentials, channel, address, progress, dismissed: false })
    }

    /// Starts a process and watches it and its channel.
    fn start_watched(
        &self,
        id: WorkerId,
        what: launch::Program<'_>,
        serialization: Serialization,
    ) -> io::Result<(Child, Channel)> {
        let guard = self.guard.pipe().ok_or(io::ErrorKind::BrokenPipe)?;
        let (child, socket): (Child, OwnedFd) = launch::start(&self.launcher, what, guard)?;
        let channel = Channel::new(socket, serialization);
        let watched =
            self.watch(&child, Source::Child(id)).and_then(|()| self.watch(&channel, Source::Channel(id)));
        match watched {
            Ok(()) => Ok((child, channel)),
            Err(error) => {
                child.end(LAST_PATIENCE);
                Err(error)
            }
        }
    }

    fn launch(
        &mut self,
        id: WorkerId,
        slot: u32,
        program: &Program,
        address: Option<Address>,
    ) -> io::Result<Worker> {
        let inherits = self.inherits(program);
        let own = self.own_variables(id, slot, program, inherits, address.as_ref());
        let base = program.base_env.iter().flatten();
        let mut env: Vec<_> = base.chain(&program.env).cloned().chain(own).collect();
        // What runs this very program is Rust.
        let reports = self.fleet.rules().mode == Mode::Handoff && program.load_report && !program.is_self();
        let progress = match reports {
            true => self.preload.give(program, &mut env, &mut self.guard),
            false => Progress::NotGiven,
        };
        let sockets = match inherits {
            true => self.listeners.values().map(|listener| listener.socket.as_fd()).collect(),
            false => Vec::new(),
        };
        let pipes = self.output.pipes(program.attributes.credentials.as_ref())?;
        let what = launch::Program {
            program: &program.program,
            args: &program.args,
            env,
            inherits_env: program.base_env.is_none(),
            without: &STALE,
            descriptors: self.descriptors,
            ordinary: self.batch.is_some(),
            attributes: program.attributes(slot),
            sockets,
            stdout: pipes.stdout,
            stderr: pipes.stderr,
        };
        let (child, channel) = self.start_watched(id, what, program.serialization)?;
        let credentials = program.attributes.credentials.clone();
        self.output.adopt(id, Writer::Slot(slot), pipes.ours);
        Ok(Worker { child, credentials, channel: Some(channel), address, progress, dismissed: false })
    }

    /// Whether workers are started with the listening sockets: those that know nothing of asking for them.
    fn inherits(&self, program: &Program) -> bool {
        self.fleet.rules().mode == Mode::Shared && !program.asks_for_sockets()
    }

    /// The variables that only the master knows.
    fn own_variables(
        &mut self,
        id: WorkerId,
        slot: u32,
        program: &Program,
        inherits: bool,
        address: Option<&Address>,
    ) -> Vec<(OsString, OsString)> {
        let sockets = if inherits { self.listeners.len() } else { 0 };
        let mut variables: Vec<(&str, String)> = vec![
            ("NODE_CHANNEL_FD", launch::channel_number(sockets).to_string()),
            (launch::SERIALIZATION, program.serialization.to_string()),
            ("NODE_APP_INSTANCE", slot.to_string()),
            ("POINTSMAN_SLOT", slot.to_string()),
        ];
        // One that listens by itself is no worker of Node's cluster, which would ask here.
        if address.is_none() {
            variables.push(("NODE_UNIQUE_ID", id.to_string()));
        }
        if !self.addresses.is_empty() {
            variables.push(("POINTSMAN_ADDRESSES", self.addresses.clone()));
        }
        let mut variables: Vec<_> =
            variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        let port = address.map(Address::as_port).or_else(|| self.public_port.variable(inherits));
        variables.extend(port.map(|port| ("PORT".into(), port)));
        if inherits {
            let names =
                self.listeners.values().map(|listener| name_of(listener.name.as_deref(), &listener.endpoint));
            variables.extend(socket_variables(&names.collect::<Vec<_>>()));
            let path = self.readiness_path();
            variables.extend(path.map(|path| ("EINHORN_SOCK_PATH".into(), path.into())));
        }
        // The user's own is somebody else's.
        if program.env.iter().all(|(name, _)| name != notices::VARIABLE) {
            let path = self.notices_path();
            variables.extend(path.map(|path| (notices::VARIABLE.into(), path.into())));
        }
        variables
    }
}

/// How programs learn of the sockets that they were started with: systemd's way (`sd_listen_fds`), but for `LISTEN_PID`,
/// which the trampoline adds, and Einhorn's.
fn socket_variables(names: &[String]) -> Vec<(OsString, OsString)> {
    let count = names.len();
    let mut variables = vec![
        ("LISTEN_FDS".to_owned(), count.to_string()),
        ("LISTEN_FDNAMES".to_owned(), names.join(":")),
        ("EINHORN_FD_COUNT".to_owned(), count.to_string()),
    ];
    let numbers =
        (0..count).map(|place| (format!("EINHORN_FD_{place}"), launch::channel_number(place).to_string()));
    variables.extend(numbers);
    variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
}

/// What a socket is called in `LISTEN_FDNAMES`, where colons separate names: its port, or the name of its file.
fn name_of(given: Option<&str>, endpoint: &Endpoint) -> String {
    let name = match (given, endpoint) {
        (Some(given), _) => given.to_owned(),
        (None, Endpoint::Tcp(address)) => format!("tcp-{}", address.port()),
        (None, Endpoint::Udp(address)) => format!("udp-{}", address.port()),
        (None, Endpoint::Unix(path)) => format!("unix-{}", path.file_name().unwrap_or_default().display()),
    };
    let plain = |letter: char| letter.is_ascii_graphic() && letter != ':';
    name.chars().map(|letter| if plain(letter) { letter } else { '_' }).take(255).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_told_in_both_ways() {
        let names = ["127.0.0.1:80", "unix:/run/a:b c.sock", "udp:[::]:53"];
        let names = names.map(|text| name_of(None, &text.parse().unwrap()));
        assert_eq!(names, ["tcp-80", "unix-a_b_c.sock", "udp-53"]);
        assert_eq!(name_of(Some("app.socket:x"), &"127.0.0.1:80".parse().unwrap()), "app.socket_x");
        let variables = socket_variables(&names);
        let text = |(name, value): &(OsString, OsString)| format!("{}={}", name.display(), value.display());
        let expected = [
            "LISTEN_FDS=3",
            "LISTEN_FDNAMES=tcp-80:unix-a_b_c.sock:udp-53",
            "EINHORN_FD_COUNT=3",
            "EINHORN_FD_0=3",
            "EINHORN_FD_1=4",
            "EINHORN_FD_2=5",
        ];
        assert_eq!(variables.iter().map(text).collect::<Vec<_>>(), expected);
    }
}
