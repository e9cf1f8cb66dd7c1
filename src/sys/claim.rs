//! Claims: names that one process of this machine has at a time, as long as it lives.
//!
//! A claim is a Unix socket of an abstract name (unix(7)), which belongs to the network namespace as ports do, has no file, and
//! is gone with the process whatever ends it.

use std::{
    io,
    os::{
        fd::OwnedFd,
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
};

/// Claims a name. `None`: another process has it.
pub(crate) fn claim(name: &str) -> io::Result<Option<OwnedFd>> {
    match UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name)?) {
        Ok(socket) => Ok(Some(socket.into())),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_somebodys_until_it_is_let_go() {
        let name = |what| format!("pointsman/test/{}/{what}", std::process::id());
        let first = claim(&name(1)).unwrap();
        assert!(first.is_some() && claim(&name(1)).unwrap().is_none());
        assert!(claim(&name(2)).unwrap().is_some(), "another name");
        drop(first);
        assert!(claim(&name(1)).unwrap().is_some());
        assert!(claim(&"x".repeat(200)).is_err(), "no name of a socket");
    }
}
