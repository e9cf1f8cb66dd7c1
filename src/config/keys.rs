//! The plain keys: each is named here, and nowhere else.
//!
//! What is read, merged, shown and offered as a flag is made of this table; what a value does, `super::settings` says.

use std::time::Duration;

use pointsman::{Batch, ControlName, ReadyOn, Scheduling, Serialization, StopWith};

use super::{
    admin::{self, Admin},
    control::{self, ControlGroup, ControlPlace},
    key::{Ask, Form, Key, plain_keys, spelt},
    layer::{Given, Origin},
    output::{self, ErrorOutput, Output},
    supervision::{self, Size, StopSignal},
    value::{self, MAX_WORKERS, OrOff, Overload, number, or_off},
};

/// What completes `--overload`.
const CHOICES: [&str; 2] = ["wait", "reject"];
/// What completes `--serialization`.
const SERIALIZATIONS: [&str; 2] = ["json", "advanced"];
/// What completes `--master-scheduling`.
const SCHEDULINGS: [&str; 2] = ["batch", "normal"];
/// What completes `--ready-on`.
const WAYS_TO_BE_READY: [&str; 5] = ["auto", "listening", "message", "notify", "alive"];
/// What completes `--stop-with`.
const WAYS_TO_STOP: [&str; 2] = ["disconnect", "signal"];

/// Who is stuck for less is asked too often.
const MIN_PING: Duration = Duration::from_millis(100);
/// A worker that lives shorter is replaced by one that is just as old.
const MIN_AGE: Duration = Duration::from_secs(1);
/// In no time nothing happens.
const SOME: Duration = Duration::from_millis(1);
/// More than this parks connections behind busy workers and gains nothing.
const MAX_WINDOW: usize = 256;
/// Files of a directory that is still listed at once.
const MAX_KEPT: u32 = 1000;

plain_keys! {
    PLAIN, PlainLayer, Plain:

    /// What makes a worker ready: auto, listening, message, notify or alive
    ///
    /// From then on it gets connections, and one that it replaces leaves. auto: listening; in the shared
    /// mode, where a program need not speak, whichever comes first. listening: it listens. message: it sends the message
    /// ready, as for PM2's wait_ready. notify: READY=1 on NOTIFY_SOCKET, as for systemd, or Einhorn's worker:ack. alive: it has lived for --ready-after.
    ready_on: ReadyOn = ReadyOn::Auto, Form::Word("WHAT", &WAYS_TO_BE_READY), supervision::ready_on;

    /// How long a worker must live that is ready by being alive
    ready_after: Duration = Duration::from_secs(2), Form::Time, value::duration;

    /// How long a worker may take until it is ready before it is ended and counts as crashed, or off
    start_timeout: OrOff<Duration> = OrOff(Some(Duration::from_secs(60))), Form::Time,
        or_off(value::at_least(SOME));

    /// How many workers may be starting at once, or off for all
    max_starting: OrOff<usize> = OrOff(None), Form::NumberOr("N|off", "off"),
        or_off(number("a number of workers", 1..=MAX_WORKERS));

    /// How long after one has become ready the next is started at the soonest
    warm_up: Duration = Duration::ZERO, Form::Time, value::duration;

    /// How long to wait after the second crash in a row before the next start; it doubles with each further one
    ///
    /// After the first crash, the next worker starts at once.
    restart_delay: Duration = Duration::from_millis(100), Form::Time, value::duration;

    /// How long that may become
    restart_delay_max: Duration = Duration::from_secs(30), Form::Time, value::duration;

    /// After how many crashes within --crash-window, none of them of a ready worker, a slot is given up, or off
    max_crashes: OrOff<u32> = OrOff(Some(10)), Form::NumberOr("N|off", "off"),
        or_off(number("a number of crashes", 1..=1_000_000));

    /// Within how long crashes count together
    crash_window: Duration = Duration::from_secs(300), Form::Time, value::at_least(SOME);

    /// End, with 1, when every slot is given up; otherwise pointsman goes on and waits for a reload
    fail_when_errored: bool = false, Form::Off, value::switch;

    /// What a worker is told that is to leave: disconnect, signal, or message:TEXT
    ///
    /// disconnect: the message of Node's cluster. signal: --stop-signal at once. message:shutdown: a message of the
    /// application, as PM2 sends it.
    stop_with: StopWith = StopWith::Disconnect, Form::Word("HOW", &WAYS_TO_STOP), supervision::stop_with;

    /// The signal for a worker that has not left in time
    stop_signal: StopSignal = supervision::TERM, Form::NumberOr("SIGNAL", "TERM"), str::parse;

    /// How long a worker that is told to leave may finish, before the signal
    // gunicorn and Kubernetes give as long.
    stop_timeout: Duration = Duration::from_secs(30), Form::Time, value::stop_timeout;

    /// The same of one that still has connections open, if that is longer, or off
    linger_timeout: OrOff<Duration> = OrOff(None), Form::Time, or_off(value::duration);

    /// How long after the signal it gets SIGKILL
    kill_timeout: Duration = Duration::from_secs(5), Form::Time, value::duration;

    /// How many workers a reload replaces at once, or which share of them
    reload_batch: Batch = Batch::Count(1), Form::NumberOr("N|N%", "25%"), supervision::reload_batch;

    /// Replace a worker that uses more memory than this, with its child processes, or off
    max_memory: OrOff<Size> = OrOff(None), Form::Size, or_off(str::parse);

    /// Replace a worker that has been ready for so long, or off
    max_age: OrOff<Duration> = OrOff(None), Form::Time, or_off(value::at_least(MIN_AGE));

    /// Replace a worker that has accepted so many connections, or off
    max_connections: OrOff<u64> = OrOff(None), Form::NumberOr("N|off", "off"),
        or_off(number("a number of connections", 1..=u64::MAX));

    /// How long a worker may be silent though it is asked before it is killed and replaced, or off
    ///
    /// Those are asked that can answer: Node workers, unless --no-load-report is given, and those that use the
    /// pointsman crate.
    ping_timeout: OrOff<Duration> = OrOff(None), Form::Time, or_off(value::at_least(MIN_PING));

    /// Where the standard output of workers goes: auto, prefix, inherit, or a file
    ///
    /// prefix: to pointsman's own, each line with the worker's slot before it. inherit: there, untouched. auto: prefix
    /// if standard error is a terminal, else inherit. {slot} in the name of a file stands for the slot.
    output: Output = Output::Auto, Form::Word("auto|prefix|inherit|FILE", &output::WORDS), str::parse;

    /// Where their standard error goes, likewise
    error_output: ErrorOutput = ErrorOutput::AsOutput, Form::Word("auto|prefix|inherit|FILE", &output::WORDS),
        str::parse;

    /// How large a file of output may become before it is put aside, or off
    output_max_size: OrOff<Size> = OrOff(Some(Size(100 << 20))), Form::Size, or_off(str::parse);

    /// How many files of output that were put aside are kept
    output_keep: u32 = 5, Form::Number, number("a number of files", 0..=MAX_KEPT);

    /// How many connections may be on their way to a worker
    // Node's own primary has one.
    window: usize = 8, Form::Number, number("a number of connections", 1..=MAX_WINDOW);

    /// How long a worker may owe answers for connections and give none before it is killed, or off
    handoff_timeout: OrOff<Duration> = OrOff(Some(Duration::from_secs(30))), Form::Time,
        or_off(value::duration);

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
    serialization: Serialization = Serialization::default(), Form::Word("FORM", &SERIALIZATIONS),
        value::serialization;

    /// How the kernel schedules the master: batch or normal
    ///
    /// batch: it does not interrupt workers, and under load handles more at a time. normal: as pointsman was started.
    master_scheduling: Scheduling = Scheduling::default(), Form::Word("CHOICE", &SCHEDULINGS), value::scheduling;

    /// What this pointsman is called: status, reload and the other commands find it by that
    ///
    /// A second one of the same name is refused. One that is called default goes on without a control socket if
    /// another has it.
    name: ControlName = ControlName::default(), Form::Word("NAME", &[]), control::name;

    /// Where its control socket is: auto, off, or a path
    ///
    /// auto: NAME.sock in RUNTIME_DIRECTORY, XDG_RUNTIME_DIR/pointsman, /run/pointsman or /tmp/pointsman-UID,
    /// whichever can be used first.
    control: ControlPlace = ControlPlace::Auto, Form::Word("auto|off|PATH", &control::WORDS), str::parse;

    /// Which group may use it besides root and the user who runs pointsman, or off
    ///
    /// Its members may do everything but run programs of their own and set the environment of workers.
    control_group: OrOff<ControlGroup> = OrOff(None), Form::NumberOr("GROUP|off", "ops"), or_off(str::parse);

    /// Where the master answers /livez, /readyz, /metrics and /status, by HTTP: an address, or off
    ///
    /// An address without a host, such as 9090, is this machine alone; 0.0.0.0:9090 is every interface.
    /// unix:/run/pointsman/admin.sock is a Unix socket, of mode 600 if none is given.
    admin: Admin = Admin::OFF, Form::NumberOr("ADDR|off", "localhost:9090"), admin::admin;
}

#[cfg(test)]
#[path = "keys_tests.rs"]
pub(super) mod tests;
