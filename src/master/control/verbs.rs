//! What clients ask for, done.
//!
//! Each verb ends in an answer at once, or in something that is waited for. The words of refusals are for people, and say
//! what to do.

use std::{collections::BTreeMap, ffi::OsString, path::PathBuf};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{MAX_WAITS, client::Standing, server::Ticket};
use crate::{
    control::{Answer, Code, Patience, Refusal, Request, RequestId, SignalWord, Target, Until, Verb},
    fleet::{Batch, Event, MAX_SLOTS, ReloadRequest, Request as Asked, Stop, Unable, WorkerId},
    master::{Fork, Master, Missing, is_reserved_variable, lanes::is_lane, output::Show},
};

/// What becomes of a request.
type Step = Result<Next, Refusal>;

enum Next {
    Answer(Value),
    /// It is begun, and this says so if the client does not wait.
    Begun(Value, Until),
    /// It is answered elsewhere.
    Later,
}

fn refuse<T>(code: Code, message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::new(code, message))
}

impl Master {
    /// Does what a client asks for. `None`: it is answered later.
    pub(super) fn obey(&mut self, client: u32, Request { id, verb }: Request) -> Option<Answer> {
        let patience = verb.patience();
        match self.step(client, &id, verb) {
            Ok(Next::Answer(value)) => Some(Ok(value)),
            Ok(Next::Begun(value, _)) if !patience.wait => Some(Ok(value)),
            Ok(Next::Begun(_, until)) => {
                let now = self.now;
                let server = self.control.as_mut()?;
                server.waits.add(now, client, id, until, patience.timeout);
                None
            }
            Ok(Next::Later) => None,
            Err(refusal) => Some(Err(refusal)),
        }
    }

    fn step(&mut self, client: u32, id: &RequestId, verb: Verb) -> Step {
        let patience = verb.patience();
        self.check_rights(client, &verb)?;
        if patience.wait {
            self.check_waits(client)?;
        }
        match verb {
            Verb::Status {} => status(self),
            Verb::Reload { batch, env, .. } => self.ask_to_reload(client, id, patience, batch, env),
            Verb::Abort {} if self.abort_reload() => Ok(Next::Answer(json!({}))),
            Verb::Abort {} => refuse(Code::Refused, "no reload is under way"),
            Verb::Restart { worker, slot, .. } => self.restart_target(Target::of(worker, slot)?),
            Verb::Scale { to, by, .. } => self.scale_by_request(to, by, patience.wait),
            Verb::Stop { fast, .. } => {
                self.stop(if fast { Stop::Now } else { Stop::Graceful });
                let workers = self.workers.keys().filter(|id| !is_lane(**id)).count();
                Ok(Next::Begun(json!({ "workers": workers }), Until::Stopped))
            }
            Verb::Disconnect { worker, slot, .. } => self.disconnect_target(Target::of(worker, slot)?),
            Verb::Kill { worker, slot, signal, .. } => {
                let (worker, slot) = self.find(Target::of(worker, slot)?)?;
                let signal = signal_of(signal)?;
                self.kill(worker, signal).map_err(|error| {
                    Refusal::new(Code::Failed, format!("cannot send {signal} to worker {worker}: {error}"))
                })?;
                Ok(gone(worker, slot))
            }
            Verb::Fork { program, cwd, env, .. } => self.fork_by_request(program, cwd, env),
            Verb::Send { worker, slot, message } => {
                let (worker, _) = self.find(Target::of(worker, slot)?)?;
                if is_internal(&message) {
                    let message = "messages whose cmd begins with NODE_ are Node's own, and not for programs";
                    return refuse(Code::BadRequest, message);
                }
                self.send(worker, &message)
                    .map_err(|error| Refusal::new(Code::Refused, error.to_string()))?;
                Ok(Next::Answer(json!({})))
            }
            Verb::Drain { upstream } => self.drain_upstream(&upstream, true),
            Verb::Undrain { upstream } => self.drain_upstream(&upstream, false),
            Verb::Events {} => self.listen_to_events(client, id),
            Verb::Logs { worker, slot, lines, follow } => {
                let target = Target::any(worker, slot)?;
                // What is left of one that has ended may be what is wanted.
                match target {
                    Some(Target::Worker(worker)) if !self.fleet.has_known(worker) => {
                        return Err(unable(Unable::NoSuchWorker, worker));
                    }
                    _ => {}
                }
                self.show_logs(client, id, target, lines.unwrap_or(LINES), follow)
            }
        }
    }

    /// Has a worker's place, or a server, get no requests, or get them again.
    fn drain_upstream(&mut self, name: &str, is: bool) -> Step {
        let is_wanted = |slot: &str| slot.parse().is_ok_and(|slot| self.fleet.is_wanted(slot));
        let is_slot = name.strip_prefix("slot:").is_some_and(is_wanted);
        let Some(lanes) = &mut self.lanes else {
            let message = "no requests are forwarded here: that is what the mode multiport does";
            return refuse(Code::Refused, message);
        };
        if !is_slot && !lanes.upstreams.knows(name) {
            let name = name.escape_debug();
            let message =
                format!("nothing is called {name} that requests go to; `pointsman status` shows what is");
            return refuse(Code::NoSuchWorker, message);
        }
        let changed = lanes.upstreams.drain(name, is);
        Ok(Next::Answer(json!({ "upstream": name, "changed": changed })))
    }

    fn check_rights(&self, client: u32, verb: &Verb) -> Result<(), Refusal> {
        let client = self.control.as_ref().and_then(|server| server.clients.get(&client));
        let is_owner = client.is_some_and(|client| client.standing == Standing::Owner);
        if verb.is_for_owner() && !is_owner {
            let message = "only root and the master's own user may run programs, or set their environment";
            return refuse(Code::NotPermitted, message);
        }
        Ok(())
    }

    fn check_waits(&self, client: u32) -> Result<(), Refusal> {
        let waits = self.control.as_ref().map_or(0, |server| {
            let tickets = server.tickets.values().filter(|ticket| ticket.client == client).count();
            server.waits.count(client) + tickets
        });
        if waits >= MAX_WAITS {
            return refuse(Code::Busy, format!("this client waits for {MAX_WAITS} answers already"));
        }
        Ok(())
    }

    /// Who is meant, and its slot.
    fn find(&self, target: Target) -> Result<(WorkerId, Option<u32>), Refusal> {
        match target {
            Target::Worker(worker) if self.workers.contains_key(&worker) && !is_lane(worker) => {
                let mut all = self.fleet.workers(self.now);
                Ok((worker, all.find(|info| info.id == worker).map(|info| info.slot)))
            }
            Target::Worker(worker) => {
                let message = format!("there is no worker {worker}; `pointsman list` shows those there are");
                refuse(Code::NoSuchWorker, message)
            }
            Target::Slot(slot) => match self.fleet.in_slot(slot) {
                Some(worker) => Ok((worker, Some(slot))),
                None => {
                    let message =
                        format!("no worker is in slot {slot}; `pointsman list` shows those there are");
                    refuse(Code::NoSuchWorker, message)
                }
            },
        }
    }

    fn ask_to_reload(
        &mut self,
        client: u32,
        id: &RequestId,
        patience: Patience,
        batch: Option<Batch>,
        env: Option<BTreeMap<String, String>>,
    ) -> Step {
        self.check_started()?;
        env.as_ref().map_or(Ok(()), check_variables)?;
        let Some(server) = &mut self.control else { return Ok(Next::Later) };
        let ticket = server.next_ticket;
        server.next_ticket = server.next_ticket.wrapping_add(1);
        server.tickets.insert(ticket, Ticket { client, id: id.clone(), patience });
        let env = env.map(|env| env.into_iter().map(|(name, value)| (name.into(), value.into())).collect());
        let request = ReloadRequest { batch, env, ticket: Some(ticket) };
        self.happens(Event::Asked(Asked::Reload(request)));
        Ok(Next::Later)
    }

    fn check_started(&self) -> Result<(), Refusal> {
        if self.is_stopping() {
            return refuse(Code::Refused, "the cluster stops");
        }
        if self.depends.is_some() {
            let message = "no worker is started yet: what they depend on is not there (`pointsman status`)";
            return refuse(Code::Refused, message);
        }
        Ok(())
    }

    fn restart_target(&mut self, target: Target) -> Step {
        self.check_started()?;
        let since = self.fleet.next_id();
        let (old, slot) = match (self.find(target), target) {
            (Ok((worker, Some(slot))), _) => {
                self.restart(worker).map_err(|why| unable(why, worker))?;
                (Some(worker), slot)
            }
            // It waits for its next start, or was given up.
            (Err(_), Target::Slot(slot)) => {
                self.restart_slot(slot).map_err(|_| {
                    let message = format!("no worker is wanted in slot {slot}; `pointsman scale` wants more");
                    Refusal::new(Code::NoSuchWorker, message)
                })?;
                (None, slot)
            }
            (Ok((worker, None)), _) => return Err(unable(Unable::NoSuchWorker, worker)),
            (Err(refusal), Target::Worker(_)) => return Err(refusal),
        };
        let value = json!({ "worker": old.map(|worker| worker.0), "slot": slot });
        Ok(Next::Begun(value, Until::Replaced { slot, since }))
    }

    fn disconnect_target(&mut self, target: Target) -> Step {
        match (self.find(target), target) {
            (Ok((worker, slot)), _) => {
                self.disconnect(worker).map_err(|why| unable(why, worker))?;
                Ok(gone(worker, slot))
            }
            // It waits for its next start, or was given up: there is nobody to wait for.
            (Err(refusal), Target::Slot(slot)) => match self.disconnect_slot(slot) {
                Ok(()) => Ok(Next::Answer(json!({ "worker": null, "slot": slot }))),
                Err(_) => Err(refusal),
            },
            (Err(refusal), Target::Worker(_)) => Err(refusal),
        }
    }

    fn scale_by_request(&mut self, to: Option<u32>, by: Option<i32>, waits: bool) -> Step {
        self.check_started()?;
        let from = self.fleet.wanted();
        let to = match (to, by) {
            (Some(to), None) => to as usize,
            (None, Some(by)) => from.checked_add_signed(by as isize).ok_or_else(|| {
                let message = format!("only {from} workers are wanted; scale 0 sends all away");
                Refusal::new(Code::BadRequest, message)
            })?,
            _ => return refuse(Code::BadRequest, "how many workers? give to, or by"),
        };
        if to > MAX_SLOTS {
            return refuse(Code::BadRequest, format!("{to} workers are too many: at most {MAX_SLOTS}"));
        }
        if to > from && self.programs.latest().absent {
            return refuse(Code::Refused, Unable::NoProgram.to_string());
        }
        self.scale(to);
        if waits && self.fleet.errored() > 0 {
            let message = "a slot is given up, which a reload fills again, or `pointsman restart slot:N`";
            return refuse(Code::Failed, message);
        }
        Ok(Next::Begun(json!({ "from": from, "to": to }), Until::Settled { from, to }))
    }

    fn fork_by_request(
        &mut self,
        program: Option<Vec<String>>,
        cwd: Option<String>,
        env: BTreeMap<String, String>,
    ) -> Step {
        self.check_started()?;
        let mut fork = Fork::new();
        if let Some(words) = program {
            let Some((program, args)) = words.split_first() else {
                return refuse(
                    Code::BadRequest,
                    "program is a list of a program and its arguments, and this is empty",
                );
            };
            if words.iter().any(|word| word.contains('\0')) {
                return refuse(Code::BadRequest, "a zero byte is in no argument of a program");
            }
            fork = fork.program(program, args);
        }
        if let Some(path) = cwd.map(PathBuf::from) {
            if !path.is_absolute() || path.as_os_str().as_encoded_bytes().contains(&0) {
                let message =
                    format!("cwd {}: give an absolute path", path.display().to_string().escape_debug());
                return refuse(Code::BadRequest, message);
            }
            fork = fork.cwd(path);
        }
        check_variables(&env)?;
        if let Some(name) = env.keys().find(|name| is_reserved_variable(name)) {
            return refuse(Code::BadRequest, format!("the workers get {name} from pointsman; leave it out"));
        }
        let env = env.into_iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let fork = env.fold(fork, |fork, (name, value)| fork.env(name, value));
        let program = self.program_of(&fork);
        program.find().map_err(|why| missing(why, &program.program))?;
        let (worker, slot) = self.fork(fork).map_err(|why| Refusal::new(Code::Refused, why.to_string()))?;
        Ok(Next::Begun(json!({ "worker": worker.0, "slot": slot }), Until::Ready { worker, slot }))
    }

    /// Gives the connection to the thread that sees what workers write, which answers from then on: the loop has better
    /// things to do than to copy lines.
    fn show_logs(
        &mut self,
        number: u32,
        id: &RequestId,
        target: Option<Target>,
        lines: usize,
        follow: bool,
    ) -> Step {
        if !self.output.is_captured() {
            let message = "workers write past pointsman (output = \"inherit\"): look where it writes itself, such as \
                journalctl, or run it with --output prefix or a file";
            // Trying again does not help.
            return refuse(Code::Failed, message);
        }
        if self.control.as_ref().is_some_and(|server| server.is_owed(number)) {
            return refuse(
                Code::Busy,
                "this client waits for other things; ask for logs on a connection of its own",
            );
        }
        let Some(client) = self.control.as_mut().and_then(|server| server.forget(number)) else {
            return Ok(Next::Later);
        };
        self.unwatch(&client.stream);
        let (client, before) = client.stream.into_parts();
        // If the thread is gone, so is the client: the end of the connection says it.
        let _ = self.output.show(Show { client, id: id.clone(), target, lines, follow, before });
        Ok(Next::Later)
    }

    fn listen_to_events(&mut self, client: u32, id: &RequestId) -> Step {
        let client = self.control.as_mut().and_then(|server| server.clients.get_mut(&client));
        let Some(client) = client else { return Ok(Next::Later) };
        if !client.listen(id.clone()) {
            return refuse(Code::Busy, "this client is told events already");
        }
        Ok(Next::Answer(json!({})))
    }
}

/// How many lines are shown of those before.
const LINES: usize = 100;

/// Whether Node would take a message for one of its own, and act on it.
fn is_internal(message: &Value) -> bool {
    message.get("cmd").and_then(Value::as_str).is_some_and(|cmd| cmd.starts_with("NODE_"))
}

fn status(master: &mut Master) -> Step {
    match serde_json::to_value(master.status()) {
        Ok(status) => Ok(Next::Answer(status)),
        // It is made of nothing that JSON cannot say.
        Err(error) => refuse(Code::Failed, error.to_string()),
    }
}

fn gone(worker: WorkerId, slot: Option<u32>) -> Next {
    Next::Begun(json!({ "worker": worker.0, "slot": slot }), Until::Gone { worker, slot })
}

fn unable(why: Unable, worker: WorkerId) -> Refusal {
    let code = match why {
        Unable::NoSuchWorker | Unable::NoSuchSlot => Code::NoSuchWorker,
        _ => Code::Refused,
    };
    Refusal::new(code, format!("worker {worker}: {why}"))
}

fn missing(why: Missing, program: &std::ffi::OsStr) -> Refusal {
    let message = match why {
        Missing::NotFound => format!("program not found: {}", program.display()),
        Missing::NotExecutable(path) => format!("{} is not an executable file", path.display()),
        Missing::NoDirectory(path, error) => format!("cwd {}: {error}", path.display()),
    };
    Refusal::new(Code::Failed, message)
}

/// Whether these can be in an environment.
fn check_variables(env: &BTreeMap<String, String>) -> Result<(), Refusal> {
    let is_none = |(name, value): &(&String, &String)| {
        name.is_empty() || name.contains(['=', '\0']) || value.contains('\0')
    };
    match env.iter().find(is_none) {
        Some((name, _)) => refuse(
            Code::BadRequest,
            format!("env: {name:?} cannot be a variable: an empty name, = in it, or a zero byte"),
        ),
        None => Ok(()),
    }
}

fn signal_of(word: Option<SignalWord>) -> Result<Signal, Refusal> {
    let unknown = |word: String| {
        let message = format!("{word} is no signal; give a name such as TERM, or a number from 1 to 31");
        Refusal::new(Code::BadRequest, message)
    };
    match word {
        None => Ok(Signal::SIGTERM),
        Some(SignalWord::Number(number)) => Signal::try_from(number).map_err(|_| unknown(number.to_string())),
        Some(SignalWord::Name(name)) => {
            let bare = name.trim_start_matches("SIG");
            format!("SIG{bare}").parse().map_err(|_| unknown(name))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        let name = |name: &str| signal_of(Some(SignalWord::Name(name.into())));
        assert_eq!(signal_of(None), Ok(Signal::SIGTERM));
        assert_eq!((name("HUP"), name("SIGKILL")), (Ok(Signal::SIGHUP), Ok(Signal::SIGKILL)));
        assert_eq!(signal_of(Some(SignalWord::Number(9))), Ok(Signal::SIGKILL));
        for word in [SignalWord::Number(0), SignalWord::Number(64), SignalWord::Name("DANCE".into())] {
            assert_eq!(signal_of(Some(word)).unwrap_err().code, Code::BadRequest);
        }
    }
}
