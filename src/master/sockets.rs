//! The master's listening sockets: bound, taken over, watched, shared and closed.

use std::{
    ffi::OsString,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
};

use super::{
    Master, Source,
    lanes::is_lane,
    listen::{Inherited, Listen, Place},
};
use crate::{
    endpoint::Endpoint,
    fleet::{ListenerId, Mode, Share, Unsent, Want, Wish, WorkerId},
    protocol::message::{Act, ClusterMessage, HandleKind, HandleMessage, Message},
    sys::{
        account::Credentials,
        bind::{self, BACKLOG, Options},
        channel,
        unix::{self, Access, SocketFile},
    },
};

/// A listening socket.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) socket: OwnedFd,
    pub(super) endpoint: Endpoint,
    /// As the user calls it.
    pub(super) name: Option<String>,
    /// Connections are taken from it here, and not by the workers.
    pub(super) accepts: bool,
    /// The kernel's queue was not seen empty. It is told once that a connection came, so this must be remembered.
    pub(super) pending: bool,
    /// Removed with it.
    _file: Option<SocketFile>,
}

/// A socket that is bound, before it is watched.
pub(super) struct Bound {
    pub(super) socket: OwnedFd,
    pub(super) endpoint: Endpoint,
    pub(super) file: Option<SocketFile>,
}

impl Bound {
    /// Where a user wants it, with these options.
    pub(super) fn of(listen: &Listen, options: &Options) -> io::Result<Self> {
        match &listen.place {
            Place::Bind(Endpoint::Tcp(address)) => Self::tcp(*address, options),
            Place::Bind(Endpoint::Unix(path)) => Self::unix(path, options, None),
            Place::Bind(Endpoint::Udp(address)) => {
                Self::without_file(bind::bind_udp(*address, options.ipv6_only, false)?)
            }
            Place::Inherited(inherited) => take_over(inherited),
        }
    }

    fn tcp(address: SocketAddr, options: &Options) -> io::Result<Self> {
        Self::without_file(bind::listen_tcp(address, options)?)
    }

    fn unix(path: &std::path::Path, options: &Options, user: Option<&Credentials>) -> io::Result<Self> {
        let (socket, file) = unix::listen_unix(path, options, user)?;
        Ok(Self { socket, endpoint: Endpoint::Unix(path.to_owned()), file: Some(file) })
    }

    fn without_file(socket: OwnedFd) -> io::Result<Self> {
        let endpoint = bind::endpoint(&socket)?;
        Ok(Self { socket, endpoint, file: None })
    }
}

/// What workers get as `PORT`, which Node's `listen` takes: the first TCP port, else the first path of a Unix socket.
#[derive(Debug, Default)]
pub(super) enum PublicPort {
    #[default]
    None,
    Path(PathBuf),
    Number(u16),
}

impl PublicPort {
    fn add(&mut self, endpoint: &Endpoint) {
        match (&self, endpoint) {
            (Self::None | Self::Path(_), Endpoint::Tcp(address)) => *self = Self::Number(address.port()),
            (Self::None, Endpoint::Unix(path)) => *self = Self::Path(path.clone()),
            _ => {}
        }
    }

    /// A program that is given its sockets has no use for a path: it may take `PORT` for a number, as gunicorn does.
    pub(super) fn variable(&self, inherits: bool) -> Option<OsString> {
        match self {
            Self::None => None,
            Self::Path(path) => (!inherits).then(|| path.clone().into()),
            Self::Number(number) => Some(number.to_string().into()),
        }
    }
}

impl Master {
    /// Listens for as long as the cluster lives.
    pub(crate) fn listen(&mut self, listen: &Listen) -> io::Result<Endpoint> {
        let (options, inherited) = (&listen.options, listen.inherited());
        let bound = Bound::of(listen, options)?;
        let endpoint = bound.endpoint.clone();
        let fleet = match &mut self.lanes {
            Some(lanes) => &mut lanes.fleet,
            None => &mut self.fleet,
        };
        let id = fleet.listen(endpoint.clone(), options.ipv6_only);
        if let Some(inherited) = inherited {
            fleet.inherit(inherited.number(), Some(id));
        }
        self.open(id, bound, listen.name.clone())?;
        if self.lanes.is_some() {
            // Workers have addresses of their own.
            return Ok(endpoint);
        }
        // There are no connections from UDP, and a worker that wants datagrams knows where.
        if !matches!(endpoint, Endpoint::Udp(_)) {
            let comma = if self.addresses.is_empty() { "" } else { "," };
            self.addresses += &format!("{comma}{endpoint}");
        }
        self.public_port.add(&endpoint);
        Ok(endpoint)
    }

    /// Lets workers listen on a socket that this process was started with, by its number.
    pub(crate) fn offer(&mut self, inherited: Inherited) {
        self.fleet.inherit(inherited.number(), None);
        self.inherited.push(inherited);
    }

    /// Does what a worker wishes.
    pub(super) fn bind(&mut self, id: WorkerId, ack: u64, wish: &Wish) {
        match self.bound(id, &wish.want) {
            Ok(bound) => {
                let endpoint = bound.endpoint.clone();
                let now = self.now;
                let listener = self.fleet_of(id).handle_bound(now, id, ack, wish, endpoint.clone());
                if let Some(listener) = listener
                    && let Err(error) = self.open(listener, bound, None)
                {
                    log::error!("cannot watch the listening socket {endpoint}: {error}");
                }
            }
            Err(error) => {
                let errno = match error.raw_os_error().unwrap_or(libc::EIO) {
                    // As a worker would have it from the kernel.
                    libc::EEXIST => libc::EADDRINUSE,
                    errno => errno,
                };
                self.fleet_of(id).handle_not_bound(id, ack, wish, errno);
            }
        }
    }

    fn bound(&self, worker: WorkerId, want: &Want) -> io::Result<Bound> {
        let options =
            |backlog: &Option<u32>| Options { backlog: backlog.unwrap_or(BACKLOG), ..Options::default() };
        match want {
            Want::Tcp { host: Some(host), port, ipv6_only, backlog } => {
                let options = Options { ipv6_only: *ipv6_only, ..options(backlog) };
                Bound::tcp(SocketAddr::new(*host, *port), &options)
            }
            // As in Node: by both families, or by IPv4 where there is no IPv6.
            Want::Tcp { host: None, port, ipv6_only, backlog } => {
                let options = Options { ipv6_only: *ipv6_only, ..options(backlog) };
                let on = |host: IpAddr| Bound::tcp(SocketAddr::new(host, *port), &options);
                on(Ipv6Addr::UNSPECIFIED.into()).or_else(|_| on(Ipv4Addr::UNSPECIFIED.into()))
            }
            Want::Unix { path, readable_all, writable_all, backlog } => {
                let (readable_all, writable_all) = (*readable_all, *writable_all);
                let access = Access { readable_all, writable_all, ..Access::default() };
                // No file is made or removed for a worker that it could not make or remove itself.
                let worker = self.workers.get(&worker).ok_or(io::ErrorKind::NotFound)?;
                let user = worker.credentials.as_ref();
                Bound::unix(&std::path::absolute(path)?, &Options { access, ..options(backlog) }, user)
            }
            Want::Udp { address, ipv6_only, reuse_address } => {
                Bound::without_file(bind::bind_udp(*address, *ipv6_only, *reuse_address)?)
            }
            Want::Inherited { descriptor } => {
                let inherited = self.inherited.iter().find(|inherited| inherited.number() == *descriptor);
                take_over(inherited.ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))?)
            }
        }
    }

    fn open(&mut self, id: ListenerId, bound: Bound, name: Option<String>) -> io::Result<()> {
        let Bound { socket, endpoint, file } = bound;
        let accepts = self.fleet.rules().mode == Mode::Handoff && !matches!(endpoint, Endpoint::Udp(_));
        // Who accepts without knowing of readiness wants to wait there: systemd's sockets do.
        channel::set_nonblocking(&socket, accepts)?;
        if accepts {
            self.watch(&socket, Source::Listener(id))?;
        }
        self.listeners.insert(id, Listener { socket, endpoint, name, accepts, pending: false, _file: file });
        self.tell_kernel_ports();
        Ok(())
    }

    pub(super) fn close_listener(&mut self, id: ListenerId) {
        if let Some(listener) = self.listeners.remove(&id).filter(|listener| listener.accepts) {
            self.unwatch(&listener.socket);
        }
    }

    /// Sends a worker a listening socket with the answer to its question.
    pub(super) fn share(&mut self, id: WorkerId, seq: u64) {
        let sent = self.try_share(id, seq);
        self.watch_room(id);
        if let Err(why) = sent {
            let now = self.now;
            self.fleet_of(id).handle_unsent(now, id, seq, why);
        }
    }

    fn try_share(&mut self, id: WorkerId, seq: u64) -> Result<(), Unsent> {
        let fleet = match &self.lanes {
            Some(lanes) if is_lane(id) => &lanes.fleet,
            _ => &self.fleet,
        };
        let Some(Share { ack, listener, reply, .. }) = fleet.share(id, seq) else { return Ok(()) };
        let channel = self.workers.get_mut(&id).and_then(|worker| worker.channel.as_mut());
        let (Some(channel), Some(listener)) = (channel, self.listeners.get(listener)) else {
            return Err(Unsent::Gone);
        };
        // Whoever asks by this protocol waits for readiness and not in `accept`.
        let _ = channel::set_nonblocking(&listener.socket, true);
        let kind = match listener.endpoint {
            Endpoint::Udp(_) => HandleKind::DgramNative,
            Endpoint::Tcp(_) | Endpoint::Unix(_) => HandleKind::NetNative,
        };
        let message =
            Message::Cluster(ClusterMessage { seq, act: Act::Reply { ack: *ack, reply: reply.clone() } });
        self.frame.clear();
        let message = Message::Handle(HandleMessage { kind, message: Box::new(message) });
        message.encode(channel.serialization(), &mut self.frame);
        channel.hand(&self.frame, listener.socket.as_fd())
    }
}

fn take_over(inherited: &Inherited) -> io::Result<Bound> {
    let socket = inherited.socket().try_clone()?;
    Ok(Bound { endpoint: inherited.endpoint().clone(), ..Bound::without_file(socket)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_is_the_first_tcp_port_and_else_the_first_path() {
        for (endpoints, expected) in [
            (&[][..], None),
            (&["udp:127.0.0.1:53"], None),
            (&["unix:/a.sock"], Some("/a.sock")),
            (&["unix:/a.sock", "unix:/b.sock"], Some("/a.sock")),
            (&["unix:/a.sock", "127.0.0.1:80", "127.0.0.1:81"], Some("80")),
            (&["127.0.0.1:80", "unix:/a.sock"], Some("80")),
        ] {
            let mut port = PublicPort::default();
            endpoints.iter().for_each(|endpoint| port.add(&endpoint.parse().unwrap()));
            assert_eq!(port.variable(false), expected.map(Into::into), "{endpoints:?}");
            let number = expected.filter(|text| !text.starts_with('/')).map(Into::into);
            assert_eq!(port.variable(true), number, "{endpoints:?}");
        }
    }
}
