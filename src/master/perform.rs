//! What the fleet says is to be done, done.

use std::{
    ffi::OsString,
    io,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
};

use nix::sys::signal::Signal;

use super::{Channel, Listener, Master, Source, Worker};
use crate::{
    fleet::{ListenerId, Output, Told, Unsent, Wish, WorkerId},
    protocol::message::{Act, ClusterMessage, Message, encode_newconn},
    sys::{launch, net},
};

impl Master {
    /// Does all that the fleet wants now.
    pub(super) fn perform(&mut self) {
        while let Some(output) = self.fleet.poll_output() {
            match output {
                Output::Hand { worker, key, seq } => self.hand(worker, &key, seq),
                Output::Release(connection) => drop(connection),
                Output::Examine { worker, doubtful } => {
                    let (untouched, lost) =
                        doubtful.into_iter().partition(|held| net::is_untouched(&held.connection));
                    self.fleet.handle_examined(worker, untouched, lost);
                }
                Output::Tell(worker, told) => self.tell(worker, &told),
                Output::Spawn { worker, slot } => self.spawn(worker, slot),
                Output::Bind { worker, ack, wish } => self.bind(worker, ack, &wish),
                Output::CloseListener(id) => {
                    if let Some(listener) = self.listeners.remove(&id) {
                        self.unwatch(&listener.socket);
                    }
                }
                Output::CloseChannel(worker) => self.close_channel(worker),
                Output::Signal(worker, signal) => self.signal(worker, signal),
                Output::Event(event) => self.happened.push_back(event),
            }
        }
    }

    /// Sends a connection to a worker.
    fn hand(&mut self, id: WorkerId, key: &str, seq: u64) {
        let channel = self.workers.get_mut(&id).and_then(|worker| worker.channel.as_mut());
        let sent = match (channel, self.fleet.connection(id, seq)) {
            (Some(channel), Some(connection)) => {
                self.frame.clear();
                encode_newconn(key, seq, &mut self.frame);
                channel.hand(&self.frame, connection.as_fd())
            }
            _ => Err(Unsent::ChannelFull),
        };
        self.watch_room(id);
        if let Err(why) = sent {
            self.fleet.handle_unsent(self.now, id, seq, why);
        }
    }

    fn tell(&mut self, id: WorkerId, told: &Told) {
        self.frame.clear();
        message_of(told).encode(&mut self.frame);
        if let Some(channel) = self.workers.get_mut(&id).and_then(|worker| worker.channel.as_mut()) {
            channel.tell(&self.frame);
            self.watch_room(id);
        }
    }

    fn spawn(&mut self, id: WorkerId, slot: u32) {
        match self.launch(id, slot) {
            Ok(worker) => {
                let pid = worker.child.pid();
                self.workers.insert(id, worker);
                self.fleet.handle_spawned(id, pid);
            }
            Err(error) => self.fleet.handle_spawn_failed(self.now, id, errno(&error)),
        }
    }

    fn launch(&self, id: WorkerId, slot: u32) -> io::Result<Worker> {
        let mut env = self.program.env.clone();
        let own =
            |name: &str, value: &dyn ToString| (OsString::from(name), OsString::from(value.to_string()));
        env.extend([
            own("NODE_CHANNEL_FD", &launch::CHANNEL),
            own("NODE_CHANNEL_SERIALIZATION_MODE", &"json"),
            own("NODE_UNIQUE_ID", &id),
            own("NODE_APP_INSTANCE", &slot),
            own("POINTSMAN_SLOT", &slot),
        ]);
        env.extend(self.addresses().next().map(|address| own("PORT", &address.port())));
        let program = launch::Program {
            program: &self.program.program,
            args: &self.program.args,
            env,
            descriptors: None,
        };
        let guard = self.guard.pipe().ok_or(io::ErrorKind::BrokenPipe)?;
        let (child, socket) = launch::start(&self.program.launcher, &program, guard)?;
        let worker = Worker { child, channel: Some(Channel::new(socket)) };
        // Should this fail, dropping the channel ends the worker, and its zombie is the least of the troubles then.
        self.watch(&worker.child, Source::Child(id))?;
        if let Some(channel) = &worker.channel {
            self.watch(channel, Source::Channel(id))?;
        }
        Ok(worker)
    }

    fn bind(&mut self, id: WorkerId, ack: u64, wish: &Wish) {
        match self.bind_first(wish) {
            Ok((socket, address)) => {
                let listener = self.fleet.handle_bound(id, ack, wish, address);
                if let Err(error) = self.open(listener, socket, address) {
                    log::error!("cannot watch the listening socket {address}: {error}");
                }
            }
            Err(error) => self.fleet.handle_not_bound(id, ack, wish, errno(&error)),
        }
    }

    fn bind_first(&self, wish: &Wish) -> io::Result<(OwnedFd, SocketAddr)> {
        let mut failed = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for &address in &wish.addresses {
            match net::listen_tcp(address, wish.ipv6_only, wish.backlog.unwrap_or(self.backlog)) {
                Ok(socket) => {
                    let address = net::local_address(&socket)?;
                    return Ok((socket, address));
                }
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// Watches a listening socket.
    pub(super) fn open(&mut self, id: ListenerId, socket: OwnedFd, address: SocketAddr) -> io::Result<()> {
        self.watch(&socket, Source::Listener(id))?;
        self.listeners.insert(id, Listener { socket, address, pending: false });
        Ok(())
    }

    fn signal(&self, id: WorkerId, signal: i32) {
        let Some(worker) = self.workers.get(&id) else { return };
        let sent = Signal::try_from(signal)
            .map_err(io::Error::from)
            .and_then(|signal| worker.child.signal_group(signal));
        if let Err(error) = sent {
            log::error!("cannot send signal {signal} to worker {id}: {error}");
        }
    }
}

fn message_of(told: &Told) -> Message<'_> {
    let (seq, act) = match told {
        Told::Reply { seq, ack, reply } => (*seq, Act::Reply { ack: *ack, reply: reply.clone() }),
        Told::Disconnect { seq } => (*seq, Act::Disconnect),
        Told::Ack { seq, ack } => (*seq, Act::Ack { ack: *ack }),
        Told::HandleAck => return Message::HandleAck,
        Told::HandleNack => return Message::HandleNack,
    };
    Message::Cluster(ClusterMessage { seq, act })
}

fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}
