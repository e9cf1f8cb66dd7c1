//! What the fleet says is to be done, done.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use nix::sys::signal::Signal;

use super::Master;
use crate::{
    fleet::{Output, Told, Unsent, WorkerId},
    protocol::message::{Act, ClusterMessage, Message, Own, Sockets, encode_newconn, encode_user},
    sys::{net, sock_diag},
};

impl Master {
    /// Does all that the fleet wants now.
    pub(super) fn perform(&mut self) {
        loop {
            if let Some(output) = self.fleet.poll_output() {
                if let Some(lanes) = &mut self.lanes {
                    lanes.upstreams.changed = true;
                }
                self.do_for_workers(output);
            } else if let Some(output) = self.lanes.as_mut().and_then(|lanes| lanes.fleet.poll_output()) {
                self.do_for_lanes(output);
            } else {
                return;
            }
        }
    }

    fn do_for_workers(&mut self, output: Output<OwnedFd>) {
        match output {
            Output::Hand { worker, key, seq } => self.hand(worker, &key, seq),
            Output::Release(connection) => drop(connection),
            Output::Name { worker, seq, connection } => self.name(worker, seq, connection),
            Output::Examine { worker, doubtful } => {
                let (untouched, lost) =
                    doubtful.into_iter().partition(|held| net::is_untouched(&held.connection));
                self.fleet.handle_examined(self.now, worker, untouched, lost);
            }
            Output::Tell(worker, told) => self.tell(worker, &told),
            Output::WatchKernel(worker) => self.watch_kernel(worker),
            Output::Spawn { worker, slot, generation, own } => self.spawn(worker, slot, generation, own),
            Output::ForgetOwn { slot } => self.programs.forget_own(slot),
            Output::Forget { generation } => {
                self.programs.forget(generation);
                self.lanes.iter_mut().for_each(|lanes| lanes.upstreams.forget(generation));
            }
            Output::Bind { worker, ack, wish } => self.bind(worker, ack, &wish),
            Output::CloseListener(id) => self.close_listener(id),
            Output::Share { worker, seq } => self.share(worker, seq),
            Output::CloseChannel(worker) => self.close_channel(worker),
            Output::Signal(worker, signal) => self.signal(worker, signal),
            Output::Event(event) => self.worker_happens(event),
            // It is told to lanes with the next list.
            Output::Retire(worker) => log::debug!("worker {worker} gets no more requests"),
        }
    }

    /// The same for lanes, which accept by themselves and are nobody's upstream.
    fn do_for_lanes(&mut self, output: Output<OwnedFd>) {
        match output {
            Output::Tell(lane, told) => self.tell(lane, &told),
            Output::Spawn { worker, slot, generation, .. } => self.spawn_lane(worker, slot, generation),
            Output::Forget { generation } => {
                self.lanes.iter_mut().for_each(|lanes| lanes.forget(generation));
            }
            Output::Bind { worker, ack, wish } => self.bind(worker, ack, &wish),
            Output::CloseListener(id) => self.close_listener(id),
            Output::Share { worker, seq } => self.share(worker, seq),
            Output::CloseChannel(lane) => self.close_channel(lane),
            Output::Signal(lane, signal) => self.signal(lane, signal),
            Output::Event(event) => self.lane_happens(event),
            Output::Release(connection) => drop(connection),
            Output::Hand { .. }
            | Output::Name { .. }
            | Output::Examine { .. }
            | Output::WatchKernel(_)
            | Output::ForgetOwn { .. }
            | Output::Retire(_) => {}
        }
    }

    /// Sends a connection to a worker.
    fn hand(&mut self, id: WorkerId, key: &str, seq: u64) {
        let channel = self.workers.get_mut(&id).and_then(|worker| worker.channel.as_mut());
        let sent = match (channel, self.fleet.connection(id, seq)) {
            (Some(channel), Some(connection)) => {
                self.frame.clear();
                encode_newconn(channel.serialization(), key, seq, &mut self.frame);
                channel.hand(&self.frame, connection.as_fd())
            }
            _ => Err(Unsent::ChannelFull),
        };
        self.watch_room(id);
        if let Err(why) = sent {
            self.fleet.handle_unsent(self.now, id, seq, why);
        }
    }

    /// Learns what the kernel calls a connection, before our copy is closed: from then on it may be destroyed.
    fn name(&mut self, id: WorkerId, seq: u64, connection: OwnedFd) {
        if let Ok(cookie) = sock_diag::cookie(&connection) {
            self.kernel.named(cookie);
            self.fleet.handle_named(id, seq, cookie);
        }
        drop(connection);
    }

    fn tell(&mut self, id: WorkerId, told: &Told) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.dismissed |= matches!(told, Told::Disconnect { .. } | Told::Leave { .. });
        if let Some(channel) = &mut worker.channel {
            self.frame.clear();
            match told {
                Told::Leave { text } => {
                    encode_user(channel.serialization(), &text.as_str().into(), &mut self.frame);
                }
                told => message_of(told).encode(channel.serialization(), &mut self.frame),
            }
            channel.tell(&self.frame);
            self.watch_room(id);
        }
    }

    fn signal(&mut self, id: WorkerId, signal: i32) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.dismissed = true;
        let sent = Signal::try_from(signal).map_err(io::Error::from).and_then(|signal| match signal {
            Signal::SIGKILL => worker.child.signal_group(signal),
            // A server with processes of its own tells them what is to be done, and when.
            signal => worker.child.signal(signal),
        });
        if let Err(error) = sent {
            log::error!("cannot send signal {signal} to worker {id}: {error}");
        }
    }
}

fn message_of(told: &Told) -> Message<'_> {
    let (seq, act) = match told {
        Told::Leave { .. } => return Message::Internal,
        Told::Reply { seq, ack, reply } => (*seq, Act::Reply { ack: *ack, reply: reply.clone() }),
        Told::Disconnect { seq } => (*seq, Act::Disconnect),
        Told::Ack { seq, ack } => (*seq, Act::Ack { ack: *ack }),
        Told::HandleAck => return Message::HandleAck,
        Told::HandleNack => return Message::HandleNack,
        Told::Interval { interval_ms } => {
            return Message::Pointsman(Own::Interval { interval_ms: *interval_ms });
        }
        Told::Ping { number } => return Message::Pointsman(Own::Ping { number: *number }),
        Told::SocketsClosed { key } => return Message::Sockets(Sockets::AllClosed { key: key.into() }),
        Told::SocketCount { key } => return Message::Sockets(Sockets::Count { key: key.into(), count: 0 }),
    };
    Message::Cluster(ClusterMessage { seq, act })
}
