//! The plain keys: each is named here, and nowhere else.
//!
//! What is read, merged, shown and offered as a flag is made of this table; what a value does, `super::settings` says.

use std::time::Duration;

use pointsman::Serialization;

use super::{
    key::{Ask, Form, Key, plain_keys, spelt},
    layer::{Given, Origin},
    value::{self, Overload, Patience},
};

/// What completes `--overload`.
const CHOICES: [&str; 2] = ["wait", "reject"];
/// What completes `--serialization`.
const SERIALIZATIONS: [&str; 2] = ["json", "advanced"];

plain_keys! {
    /// How long a worker that is told to leave may finish, before SIGTERM
    // gunicorn and Kubernetes give as long.
    stop_timeout: Duration = Duration::from_secs(30), Form::Time, value::stop_timeout;

    /// How long after SIGTERM it gets SIGKILL
    kill_timeout: Duration = Duration::from_secs(5), Form::Time, value::duration;

    /// How long to wait after the second crash in a row before the next start; it doubles with each further one
    ///
    /// After the first crash, the next worker starts at once.
    restart_delay: Duration = Duration::from_millis(100), Form::Time, value::duration;

    /// How many connections may be on their way to a worker
    // Node's own primary has one.
    window: usize = 8, Form::Number, value::window;

    /// How long a worker may owe answers for connections and give none before it is killed, or off
    handoff_timeout: Patience = Patience(Some(Duration::from_secs(30))), Form::Time, str::parse;

    /// When no worker has room: wait in the kernel's queue, or reject with a 503
    overload: Overload = Overload::Wait, Form::Word("CHOICE", &CHOICES), str::parse;

    /// How long there must have been no room before connections are rejected
    overload_timeout: Duration = Duration::from_secs(1), Form::Time, value::duration;

    /// Do not have Node workers report the ends of their connections
    ///
    /// They do so by a script that they load by NODE_OPTIONS, which is put back before the program runs.
    // What is balanced by load should know the load.
    load_report: bool = true, Form::On, value::switch;

    /// How workers and the master write to each other: json or advanced
    ///
    /// As in Node's cluster.setupPrimary: with advanced, programs may send what JSON cannot say, such as a Map.
    serialization: Serialization = Serialization::default(), Form::Word("FORM", &SERIALIZATIONS), value::serialization;
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
