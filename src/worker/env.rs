//! What the master puts into the environment of a worker.
//!
//! Variables enter, an identity and the number of the channel leave. Nothing is taken or changed here: `std::env` can
//! be written safely only while no other thread reads it, and a library cannot know that.

use std::{env, ffi::OsString};

use super::error::WorkerError;
use crate::{fleet::WorkerId, protocol::serialization::Serialization};

pub(super) const ID: &str = "NODE_UNIQUE_ID";
pub(super) const CHANNEL: &str = "NODE_CHANNEL_FD";
pub(super) const SERIALIZATION: &str = "NODE_CHANNEL_SERIALIZATION_MODE";
pub(super) const SLOT: &str = "POINTSMAN_SLOT";

/// Who this worker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) id: WorkerId,
    /// Node's own primary gives none.
    pub(super) slot: Option<u32>,
    /// The number of the channel's descriptor.
    pub(super) channel: i32,
    /// The form of what is said there.
    pub(super) serialization: Serialization,
}

/// Whether this process was started as a worker.
pub(crate) fn is_worker() -> bool {
    env::var_os(ID).is_some() && env::var_os(CHANNEL).is_some()
}

/// Whether this process, and not one that started it, was given sockets as systemd gives them.
pub(super) fn has_sockets() -> bool {
    let whose = env::var("LISTEN_PID").ok().and_then(|pid| pid.parse().ok());
    whose == Some(std::process::id())
}

/// Reads this process's environment.
pub(super) fn identity() -> Result<Identity, WorkerError> {
    read(|name| env::var_os(name))
}

fn read(variable: impl Fn(&str) -> Option<OsString>) -> Result<Identity, WorkerError> {
    let need = |name| variable(name).ok_or(WorkerError::NotAWorker { missing: name });
    let id = parsed(ID, need(ID)?, "a worker's id, 1 or more")?;
    let channel = parsed(CHANNEL, need(CHANNEL)?, "the number of a descriptor")?;
    let slot = variable(SLOT).map(|value| parsed(SLOT, value, "a slot, 0 or more")).transpose()?;
    let form =
        variable(SERIALIZATION).map(|value| parsed(SERIALIZATION, value, "json or advanced")).transpose()?;
    Ok(Identity { id: WorkerId(id), slot, channel, serialization: form.unwrap_or_default() })
}

fn parsed<T: std::str::FromStr>(
    name: &'static str,
    value: OsString,
    wanted: &'static str,
) -> Result<T, WorkerError> {
    let parsed = value.to_str().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| bad(name, value, wanted))
}

fn bad(name: &'static str, value: OsString, wanted: &'static str) -> WorkerError {
    let value = value.into_string().unwrap_or_else(|value| value.to_string_lossy().into_owned());
    WorkerError::BadVariable { name, value, wanted }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(variables: &[(&str, &str)], expected: Result<(u32, Option<u32>, i32), &str>) {
        let read =
            read(|name| variables.iter().find(|(given, _)| *given == name).map(|(_, value)| value.into()));
        let read = read.map(|who| (who.id.0, who.slot, who.channel)).map_err(|error| error.to_string());
        match (&read, expected) {
            (Err(error), Err(part)) => assert!(error.contains(part), "{variables:?}: {error}"),
            _ => assert_eq!(read.as_ref().ok(), expected.as_ref().ok(), "{variables:?}: {read:?}"),
        }
    }

    #[test]
    fn the_environment_of_a_worker() {
        check(&[(ID, "3"), (CHANNEL, "3"), (SLOT, "0")], Ok((3, Some(0), 3)));
        for word in ["json", "advanced"] {
            check(&[(ID, "1"), (CHANNEL, "17"), (SERIALIZATION, word)], Ok((1, None, 17)));
            let given = [(ID, "1"), (CHANNEL, "3"), (SERIALIZATION, word)];
            let given =
                |name: &str| given.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
            assert_eq!(read(given).unwrap().serialization.to_string(), word);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        check(&[], Err("NODE_UNIQUE_ID is not set"));
        check(&[(ID, "1")], Err("NODE_CHANNEL_FD is not set"));
        check(&[(ID, "x"), (CHANNEL, "3")], Err("NODE_UNIQUE_ID=x is not a worker's id"));
        check(&[(ID, "1"), (CHANNEL, "3 ")], Err("NODE_CHANNEL_FD=3  is not the number"));
        check(&[(ID, "1"), (CHANNEL, "3"), (SLOT, "-1")], Err("POINTSMAN_SLOT=-1 is not a slot"));
        check(&[(ID, "1"), (CHANNEL, "3"), (SERIALIZATION, "v8")], Err("=v8 is not json or advanced"));
    }
}
