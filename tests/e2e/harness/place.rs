//! Where a test reaches what it tests.

use std::{
    fs::File,
    io,
    net::SocketAddr,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
};

use super::Client;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Place {
    /// What an argument of `-l` names, if it leaves nothing to the system; options may follow it.
    pub(super) fn named(text: &str) -> Option<Self> {
        let word = text.split(' ').next()?;
        if let Some(path) = word.strip_prefix("unix:") {
            return Some(Self::Unix(path.into()));
        }
        word.parse().ok().filter(|address: &SocketAddr| address.port() != 0).map(Self::Tcp)
    }

    pub(crate) fn connect(&self) -> io::Result<Client> {
        match self {
            Self::Tcp(address) => Client::connect(*address),
            Self::Unix(path) if path.as_os_str().len() < 108 => Client::connect_unix(path),
            Self::Unix(path) => {
                let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
                    return Err(io::ErrorKind::InvalidInput.into());
                };
                let directory = File::open(parent)?;
                let short = format!("/proc/self/fd/{}", directory.as_raw_fd());
                Client::connect_unix(&Path::new(&short).join(name))
            }
        }
    }
}

impl From<SocketAddr> for Place {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl From<&Path> for Place {
    fn from(path: &Path) -> Self {
        Self::Unix(path.into())
    }
}
