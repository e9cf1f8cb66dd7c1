//! Verbs that talk to a running master by its control socket: words in, lines and an exit code out.
//!
//! CONTROL.md is what is spoken. `place` finds the master and `client` speaks with it, `task` is what is asked for and what
//! came of it, `status`, `events` and `logs` are what is shown, `wait` has it done, with `progress` for what
//! happens meanwhile and `blame` for whose fault it was, `fault` is what went wrong. No
//! master is started here, and nothing but what a script could do by itself.

mod args;
mod blame;
mod client;
mod events;
mod fault;
mod logs;
mod place;
mod progress;
mod status;
mod table;
mod task;
mod text;
mod units;
mod wait;

use std::{
    env,
    ffi::OsString,
    io::{self, IsTerminal, Read, Write},
    process::ExitCode,
    time::Duration,
};

use anstream::{AutoStream, ColorChoice};
use pointsman::Status;
use serde_json::{Map, Value, json};

pub(super) use args::{SIGNALS, Verb};

use super::complain;
use args::{Logs, Master, Message, Send};
use client::{Client, Heard, PROMPT, Word};
use fault::Fault;
use logs::Reader;
use place::Which;
use task::Task;
use text::json_line;
use wait::wait_for;

/// Does what is asked.
pub(super) fn run(verb: Verb) -> ExitCode {
    let json = verb.master().json;
    let master = verb.master().words();
    match perform(verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            complain(&if json { fault.json_line() } else { fault.lines(&master) });
            ExitCode::from(fault.exit_code())
        }
    }
}

fn perform(verb: Verb) -> Result<(), Fault> {
    match verb {
        Verb::Status(plain) => look(plain.master, false),
        Verb::List(plain) => look(plain.master, true),
        Verb::Events(events) => follow_events(events.master),
        Verb::Logs(logs) => show_logs(logs),
        Verb::Reload(reload) => {
            let (task, left_out) = Task::reload(&reload, env::vars_os());
            warn_of(&left_out);
            have_done(reload.master, &task)
        }
        Verb::Abort(plain) => have_done(plain.master, &Task::at_once("abort", Map::new())),
        Verb::Restart(one) => {
            let task = Task::of_worker("restart", &one);
            have_done(one.master, &task)
        }
        Verb::Drain(one) => {
            let task = Task::of_upstream("drain", &one);
            have_done(one.master, &task)
        }
        Verb::Undrain(one) => {
            let task = Task::of_upstream("undrain", &one);
            have_done(one.master, &task)
        }
        Verb::Scale(scale) => {
            let task = Task::scale(&scale);
            have_done(scale.master, &task)
        }
        Verb::Fork(fork) => {
            let task = Task::fork(&fork);
            have_done(fork.master, &task)
        }
        Verb::Disconnect(one) => {
            let task = Task::of_worker("disconnect", &one);
            have_done(one.master, &task)
        }
        Verb::Kill(kill) => {
            let task = Task::kill(&kill);
            have_done(kill.master, &task)
        }
        Verb::Send(send) => send_message(send),
        Verb::Stop(stop) => {
            let task = Task::stop(&stop);
            have_done(stop.master, &task)
        }
    }
}

fn reach(master: Master) -> Result<Client, Fault> {
    which(master)?.reach(None)
}

fn which(master: Master) -> Result<Which, Fault> {
    Which::of(master.name, master.control, |name| env::var_os(name))
}

/// Names the variables that cannot go along.
fn warn_of(left_out: &[OsString]) {
    if left_out.is_empty() {
        return;
    }
    let names: Vec<_> = left_out.iter().map(|name| name.to_string_lossy()).collect();
    let names = text::one_line(&names.join(", ")).into_owned();
    complain(&format!("warning: these variables are not UTF-8 text and are left out: {names}\n"));
}

fn send_message(send: Send) -> Result<(), Fault> {
    let message = match send.message {
        Message::Json(message) => message,
        Message::Stdin => {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text).map_err(Fault::Input)?;
            args::json(&text).map_err(|bad| Fault::Usage(format!("standard input: {bad}")))?
        }
    };
    have_done(send.master, &Task::send(send.worker, message))
}

/// Has something done, and says what came of it.
fn have_done(master: Master, task: &Task) -> Result<(), Fault> {
    let json = master.json;
    let mut client = which(master)?.reach(task.timeout)?;
    let answer = if task.waits {
        wait_for(&mut client, task)?
    } else {
        client.ask(task.verb, task.parameters.clone())?
    };
    if !json {
        task::warnings(&answer).for_each(|warning| complain(&format!("warning: {warning}\n")));
    }
    say(if json { json_line(&Value::Object(answer)) } else { task.told(&answer) })
}

/// Between the two looks that tell what share of a processor is used.
const LOOK: Duration = Duration::from_millis(200);

/// `status` and `list`.
fn look(master: Master, only_workers: bool) -> Result<(), Fault> {
    let json = master.json;
    let mut client = reach(master)?;
    let mut answer = client.ask("status", Map::new())?;
    if json {
        if only_workers {
            answer.retain(|key, _| key == "workers" || key == "vacant");
        }
        return say(json_line(&Value::Object(answer)));
    }
    let before = read_status(&client, answer)?;
    // Nothing is to come: this is how we wait.
    client.hear(Some(LOOK))?;
    let answer = client.ask("status", Map::new())?;
    let now = read_status(&client, answer)?;
    let table = if only_workers { status::workers(&before, &now) } else { status::whole(&before, &now) };
    let mut out = AutoStream::auto(io::stdout().lock());
    out.write_all(table.as_bytes()).and_then(|()| out.flush()).map_err(Fault::of_output)
}

fn read_status(client: &Client, answer: Map<String, Value>) -> Result<Status, Fault> {
    serde_json::from_value(Value::Object(answer)).map_err(|error| client.garbled(error.to_string()))
}

/// Says what happens until the master stops.
fn follow_events(master: Master) -> Result<(), Fault> {
    let json = master.json;
    let mut client = reach(master)?;
    client.ask("events", Map::new())?;
    let mut stopped = false;
    loop {
        match client.hear(None)? {
            Heard::Word(_, Word::Event(event)) => {
                stopped |= is_stopped(&event);
                say(if json { json_line(&event) } else { events::words(&event) })?;
            }
            Heard::Word(_, Word::Dropped(count)) => say(dropped(count, "events", json))?,
            Heard::Word(_, Word::Refused { code, message }) => return Err(Fault::Refused { code, message }),
            Heard::Word(..) | Heard::Silence => {}
            Heard::Gone => return end(&client, stopped),
        }
    }
}

/// What is left of following a master that is gone.
fn end(client: &Client, stopped: bool) -> Result<(), Fault> {
    match stopped {
        true => {
            complain(&format!("the master (pid {}) has stopped\n", client.pid));
            Ok(())
        }
        false => Err(client.gone("said that it stops")),
    }
}

fn dropped(count: u64, what: &str, json: bool) -> String {
    match json {
        true => json!({ "dropped": count }).to_string(),
        false => format!("({count} {what} are left out: they came faster than they were read)"),
    }
}

fn show_logs(logs: Logs) -> Result<(), Fault> {
    let json = logs.master.json;
    let which = which(logs.master)?;
    let mut client = which.reach(None)?;
    let mut parameters = logs.worker.map(|worker| worker.parameters()).unwrap_or_default();
    if let Some(lines) = logs.lines {
        parameters.insert("lines".into(), lines.into());
    }
    if logs.follow {
        parameters.insert("follow".into(), true.into());
    }
    let id = client.request("logs", parameters)?;
    let colour = AutoStream::choice(&io::stdout()) != ColorChoice::Never;
    let reader = Reader { terminal: io::stdout().is_terminal(), colour };
    let mut begun = false;
    loop {
        match client.hear(if begun { None } else { Some(PROMPT) })? {
            Heard::Word(_, Word::Log(log)) => {
                say(if json { json_line(&log) } else { logs::words(&log, reader) })?;
            }
            Heard::Word(_, Word::Dropped(count)) => say(dropped(count, "lines", json))?,
            Heard::Word(of, Word::Done(_)) if of == id => begun = true,
            // Of who follows, only the end of the master is one.
            Heard::Word(of, Word::End) if of == id && logs.follow => return end(&client, true),
            Heard::Word(of, Word::End) if of == id => return Ok(()),
            Heard::Word(_, Word::Refused { code, message }) => return Err(Fault::Refused { code, message }),
            Heard::Word(..) => {}
            Heard::Silence => return Err(client.silent()),
            Heard::Gone => return Err(client.gone("had told everything")),
        }
    }
}

/// Whether an event says that the master has come to its end in order.
fn is_stopped(event: &Value) -> bool {
    event.get("type").is_some_and(|kind| kind == "stopped")
}

/// Writes a line to standard output, at once.
fn say(mut line: String) -> Result<(), Fault> {
    line.push('\n');
    let mut out = io::stdout().lock();
    out.write_all(line.as_bytes()).and_then(|()| out.flush()).map_err(Fault::of_output)
}

#[cfg(test)]
mod tests;
