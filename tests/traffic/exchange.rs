//! One request, from the connect to its end: how it went.

use std::{
    fmt,
    io::{self, ErrorKind},
    time::{Duration, Instant},
};

use super::{
    Plan,
    answer::{Parsed, parse},
    now,
    wire::Wire,
};

/// What became of one request. Times count from the start of the load.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    pub(crate) token: String,
    pub(crate) begun: Duration,
    pub(crate) ended: Duration,
    /// Our end of the connection; `None` if there was none.
    pub(crate) port: Option<u16>,
    pub(crate) bytes_sent: usize,
    pub(crate) bytes_received: usize,
    pub(crate) ending: Ending,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    /// By the process of this number.
    Answered(u32),
    /// With another's token.
    Mistaken(String),
    /// More came than one response.
    Twice,
    Lost(Loss),
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    Connect(ErrorKind),
    Send(ErrorKind),
    /// The connection ended in order before the answer did.
    Closed,
    Reset(ErrorKind),
    TimedOut,
    /// An answer of this status, which is not 200.
    Refused(u16),
    /// Something that is no answer.
    Foreign,
}

impl fmt::Display for Exchange {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let took = self.ended.saturating_sub(self.begun);
        write!(out, "{} at {:.3} s, after {} ms: ", self.token, self.begun.as_secs_f64(), took.as_millis())?;
        match &self.ending {
            Ending::Answered(pid) => write!(out, "answered by {pid}")?,
            Ending::Mistaken(token) => write!(out, "answered with {token:?}")?,
            Ending::Twice => write!(out, "answered more than once")?,
            Ending::Lost(loss) => write!(out, "{loss}")?,
        }
        match self.port {
            None => write!(out, ", not connected"),
            Some(port) => {
                let Self { bytes_sent, bytes_received, .. } = self;
                write!(out, ", from port {port}, {bytes_sent} bytes sent, {bytes_received} received")
            }
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(kind) => write!(out, "no connection ({kind})"),
            Self::Send(kind) => write!(out, "not sent ({kind})"),
            Self::Closed => write!(out, "closed"),
            Self::Reset(kind) => write!(out, "reset ({kind})"),
            Self::TimedOut => write!(out, "timed out"),
            Self::Refused(status) => write!(out, "refused with {status}"),
            Self::Foreign => write!(out, "no answer of HTTP/1.1"),
        }
    }
}

/// What asks for `token`; `close` ends the connection with the answer.
pub(super) fn request(plan: &Plan, token: &str, close: bool) -> Vec<u8> {
    let Plan { address, delay_ms, .. } = plan;
    let connection = if close { "Connection: close\r\n" } else { "" };
    format!("GET /?token={token}&ms={delay_ms} HTTP/1.1\r\nHost: {address}\r\n{connection}\r\n").into_bytes()
}

/// A request on a connection of its own, which is read to its end: a second answer would be seen.
pub(super) fn alone(plan: &Plan, start: Instant, token: String) -> Exchange {
    let begun = start.elapsed();
    let mut wire = Wire::connect(plan.address, plan.patience);
    let ending = match &mut wire {
        Err(error) => Ending::Lost(Loss::Connect(error.kind())),
        Ok(wire) => match wire.send(&request(plan, &token, true)) {
            Err(error) => Ending::Lost(Loss::Send(error.kind())),
            Ok(()) => {
                let end = read_to_end(wire, plan.patience);
                judge(&wire.bytes, &token, end)
            }
        },
    };
    let wire = wire.ok();
    Exchange {
        token,
        begun,
        ended: now().duration_since(start),
        port: wire.as_ref().map(Wire::port),
        bytes_sent: wire.as_ref().map_or(0, |wire| wire.sent),
        bytes_received: wire.as_ref().map_or(0, |wire| wire.bytes.len()),
        ending,
    }
}

fn read_to_end(wire: &mut Wire, patience: Duration) -> io::Result<()> {
    while wire.read(patience)? {}
    Ok(())
}

/// What all that came on a connection means for the one request on it.
pub(super) fn judge(bytes: &[u8], token: &str, end: io::Result<()>) -> Ending {
    match parse(bytes) {
        Parsed::Whole(_, used) if used < bytes.len() => Ending::Twice,
        Parsed::Whole(answer, _) if answer.status != 200 => Ending::Lost(Loss::Refused(answer.status)),
        Parsed::Whole(answer, _) if answer.token != token => Ending::Mistaken(answer.token),
        Parsed::Whole(answer, _) => Ending::Answered(answer.pid),
        Parsed::Foreign => Ending::Lost(Loss::Foreign),
        Parsed::Partial => Ending::Lost(match end.map_err(|error| error.kind()) {
            Ok(()) => Loss::Closed,
            Err(ErrorKind::WouldBlock | ErrorKind::TimedOut) => Loss::TimedOut,
            Err(kind) => Loss::Reset(kind),
        }),
    }
}
