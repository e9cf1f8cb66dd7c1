//! A task that is waited for -> its answer, or why there is none: shown meanwhile, and of a failure with what is known of it.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{
    blame::Blame,
    client::{Client, GRACE, Heard, Word},
    fault::Fault,
    is_stopped,
    progress::{Line, TICK, now},
    task::Task,
};
use crate::config;

/// How long the master may be busy with its own end after it has said that all workers are gone.
const LAST_BREATH: Duration = Duration::from_secs(10);

/// How much later than a failure the last words of a worker may come: the pipe that it wrote into is read to its end first.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// Waits for the end of a task, and shows meanwhile how it goes if somebody looks.
pub(super) fn wait_for(client: &mut Client, task: &Task) -> Result<Map<String, Value>, Fault> {
    let mut line = Line::at_terminal(task.verb);
    let stops = task.verb == "stop";
    let starts = matches!(task.verb, "reload" | "restart" | "fork" | "scale");
    // Of a stop, the events tell as well that it is over; of what starts workers, why it has failed.
    let events = match line.is_some() || stops || starts {
        true => Some(client.request("events", Map::new())?),
        false => None,
    };
    let mut blame = None;
    if line.is_some() || starts {
        let status = Value::Object(client.ask("status", Map::new())?);
        if let Some(line) = &mut line {
            line.before(&status);
        }
        let parameters = Value::Object(task.parameters.clone());
        blame = starts.then(|| Blame::new(task.verb, &parameters, &status));
    }
    let id = client.request(task.verb, task.parameters.clone())?;
    let mut silence = Duration::ZERO;
    let mut stopped = false;
    loop {
        let tick = task.timeout.map_or(TICK, |timeout| (timeout + GRACE).saturating_sub(silence).min(TICK));
        match client.hear(Some(tick))? {
            Heard::Word(of, Word::Done(answer)) if of == id => {
                if stops {
                    drop(line);
                    wait_end(client)?;
                }
                return Ok(answer);
            }
            Heard::Word(of, Word::Refused { code, message }) if of == id => {
                return Err(refused(client, task, code, message, blame));
            }
            Heard::Word(of, Word::Event(event)) if Some(of) == events => {
                stopped |= is_stopped(&event);
                if let Some(line) = &mut line {
                    line.handle(&event);
                }
                if let Some(blame) = &mut blame {
                    blame.handle(&event);
                }
                silence = Duration::ZERO;
            }
            Heard::Word(..) => silence = Duration::ZERO,
            Heard::Silence => {
                silence += tick;
                if let Some(after) = task.timeout.filter(|timeout| silence >= *timeout + GRACE) {
                    return Err(Fault::Overdue { pid: client.pid, after });
                }
                if let Some(line) = &mut line {
                    line.draw();
                }
            }
            Heard::Gone if stops && stopped => return Ok(Map::from_iter([("workers".to_owned(), json!(0))])),
            Heard::Gone if stops => return Err(client.gone("said that all has stopped")),
            Heard::Gone => return Err(client.gone("was done")),
        }
    }
}

/// Waits until a master that has stopped is gone, so that another can take its place.
fn wait_end(client: &mut Client) -> Result<(), Fault> {
    loop {
        match client.hear(Some(LAST_BREATH))? {
            Heard::Gone => return Ok(()),
            Heard::Silence => return Err(Fault::Mute { pid: client.pid, after: LAST_BREATH }),
            Heard::Word(..) => {}
        }
    }
}

/// What is refused after it was waited for.
fn refused(client: &mut Client, task: &Task, code: String, message: String, blame: Option<Blame>) -> Fault {
    match (code.as_str(), blame, task.timeout) {
        ("failed", Some(mut blame), _) => {
            hear_last_words(client, &mut blame);
            Fault::Failed { message, culprit: blame.culprit() }
        }
        ("timed_out", _, Some(timeout)) => {
            let ends = if task.verb == "reload" { ", `pointsman abort` ends a reload" } else { "" };
            let after = config::show_duration(timeout);
            let message = format!("not done after {after}; it goes on (`pointsman status` shows it{ends})");
            Fault::Refused { code, message }
        }
        _ => Fault::Refused { code, message },
    }
}

/// Goes on hearing until the last words of who has failed are there, or none are to be expected any more.
fn hear_last_words(client: &mut Client, blame: &mut Blame) {
    let began = now();
    while !blame.is_complete() {
        let left = LAST_WORDS.saturating_sub(began.elapsed());
        if left.is_zero() {
            return;
        }
        match client.hear(Some(left)) {
            Ok(Heard::Word(_, Word::Event(event))) => blame.handle(&event),
            Ok(Heard::Word(..)) => {}
            Ok(Heard::Silence | Heard::Gone) | Err(_) => return,
        }
    }
}
