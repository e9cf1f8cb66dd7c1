//! What a service says to its supervisor by `NOTIFY_SOCKET`: assignments, one a line, all of a datagram at once.
//!
//! Source: sd_notify(3) and sd_watchdog_enabled(3) of systemd 255. What this process says enters as a [`Notice`] and leaves
//! as text; what workers say enters as bytes, of which only one thing is understood. Who sends and hears is not known here.

use std::{fmt, time::Duration};

/// systemd reads no more of a datagram (`NOTIFY_BUFFER_MAX`, which is `PIPE_BUF`).
pub const MAX_DATAGRAM: usize = 4096;

/// More of a status would be nobody's one line.
const MAX_STATUS: usize = 256;

/// Something to be said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice<'a> {
    /// The service has started, or reloaded.
    Ready,
    /// It reloads.
    Reloading {
        /// Since then, in microseconds of the monotonic clock.
        since_us: u64,
    },
    /// It stops.
    Stopping,
    /// What it is doing, for people.
    Status(&'a str),
    /// It has not hung up.
    Alive,
}

impl fmt::Display for Notice<'_> {
    /// As a line, without its end.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => out.write_str("READY=1"),
            Self::Reloading { since_us } => write!(out, "RELOADING=1\nMONOTONIC_USEC={since_us}"),
            Self::Stopping => out.write_str("STOPPING=1"),
            Self::Status(text) => {
                out.write_str("STATUS=")?;
                let plain = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
                plain.take(MAX_STATUS).try_for_each(|letter| fmt::Write::write_char(out, letter))
            }
            Self::Alive => out.write_str("WATCHDOG=1"),
        }
    }
}

/// One datagram that says all of this.
pub fn datagram(notices: &[Notice<'_>]) -> String {
    let lines: Vec<_> = notices.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// Whether a datagram says that who has sent it is ready.
pub fn is_ready(datagram: &[u8]) -> bool {
    // As systemd has it: one zero byte at the end is a mistake of C programs, one anywhere else is garbage.
    let text = datagram.strip_suffix(b"\0").unwrap_or(datagram);
    let is_whole = text.len() <= MAX_DATAGRAM && !text.contains(&0);
    is_whole && text.split(|&byte| byte == b'\n').any(|line| line == b"READY=1")
}

/// How often a process is to say that it is alive: twice in the time that `WATCHDOG_USEC` gives, if `WATCHDOG_PID` names
/// it or nobody.
pub fn watchdog_period(usec: Option<&str>, pid: Option<&str>, own_pid: u32) -> Option<Duration> {
    let is_meant = pid.is_none_or(|pid| pid.parse() == Ok(own_pid));
    let time = usec?.parse().ok().filter(|&usec: &u64| usec > 0 && is_meant)?;
    Some((Duration::from_micros(time) / 2).max(SHORTEST_PERIOD))
}

/// What is shorter would keep the loop busy with nothing else.
const SHORTEST_PERIOD: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_said_together_is_one_datagram() {
        let reloading = Notice::Reloading { since_us: 17 };
        for (notices, expected) in [
            (&[][..], ""),
            (&[Notice::Ready, Notice::Status("4 of 4")], "READY=1\nSTATUS=4 of 4"),
            (&[reloading], "RELOADING=1\nMONOTONIC_USEC=17"),
            (&[Notice::Stopping, Notice::Alive], "STOPPING=1\nWATCHDOG=1"),
            (&[Notice::Status("a\nREADY=1\0")], "STATUS=a READY=1 "),
        ] {
            assert_eq!(datagram(notices), expected);
        }
        let long = "é".repeat(MAX_DATAGRAM);
        let all = [Notice::Ready, Notice::Status(&long), Notice::Alive];
        assert!(datagram(&all).len() < MAX_DATAGRAM);
    }

    #[test]
    fn who_is_ready_says_so_in_a_line_of_its_own() {
        for text in ["READY=1", "READY=1\n", "STATUS=x\nREADY=1\nMAINPID=3", "READY=1\0", "\nREADY=1"] {
            assert!(is_ready(text.as_bytes()), "{text:?}");
        }
        for text in
            ["", "READY=0", "READY=11", "STATUS=READY=1", "ready=1", "READY", "READY=1\0\0", "X\0\nREADY=1"]
        {
            assert!(!is_ready(text.as_bytes()), "{text:?}");
        }
        let long = "x".repeat(MAX_DATAGRAM) + "\nREADY=1";
        assert!(!is_ready(long.as_bytes()));
    }

    #[test]
    fn the_watchdog_is_fed_twice_in_its_time_by_whom_it_watches() {
        let period = |usec, pid| watchdog_period(usec, pid, 12).map(|period| period.as_micros());
        assert_eq!(period(Some("30000000"), None), Some(15_000_000));
        assert_eq!(period(Some("30000000"), Some("12")), Some(15_000_000));
        assert_eq!(period(Some("30000000"), Some("13")), None);
        assert_eq!(period(Some("1"), None), Some(1000));
        for usec in [None, Some(""), Some("0"), Some("-1"), Some("1s")] {
            assert_eq!(period(usec, None), None, "{usec:?}");
        }
    }

    proptest! {
        #[test]
        fn no_datagram_panics_and_what_is_said_is_heard(
            bytes in proptest::collection::vec(any::<u8>(), 0..64),
            status in any::<String>(),
        ) {
            is_ready(&bytes);
            prop_assert!(is_ready(datagram(&[Notice::Status(&status), Notice::Ready]).as_bytes()));
            prop_assert!(!is_ready(datagram(&[Notice::Status(&status)]).as_bytes()));
        }
    }
}
