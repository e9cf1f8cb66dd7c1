//! What is wrong with a configuration, told so that it can be put right.

use std::fmt;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::{
    layer::{Origin, Source},
    value::BadValue,
};

/// One mistake.
#[derive(Debug)]
pub(crate) struct Problem {
    /// Where it stands.
    pub(crate) origin: Origin,
    /// What stands there, unless the origin shows it.
    value: Option<String>,
    what: String,
    instead: String,
}

impl Problem {
    pub(crate) fn new(origin: Origin, value: impl fmt::Display, bad: BadValue) -> Self {
        // The text as it was written, which the value may not show.
        let value = match origin {
            Origin::File(..) | Origin::Variable(..) => None,
            _ => Some(value.to_string()),
        };
        Self { origin, value, what: bad.what, instead: bad.instead }
    }

    /// A mistake that `origin` shows: the bytes of a file, or the text of a variable.
    pub(crate) fn at(origin: Origin, bad: BadValue) -> Self {
        Self { origin, value: None, what: bad.what, instead: bad.instead }
    }

    fn render(&self, renderer: &Renderer) -> String {
        if let Origin::File(source, span) = &self.origin {
            let primary = AnnotationKind::Primary.span(fit(source, span.start)..fit(source, span.end));
            let path = source.path.to_string_lossy();
            let snippet = Snippet::source(&source.text).path(path).annotation(primary);
            let report = Level::ERROR.primary_title(&self.what).element(snippet);
            return match self.instead.is_empty() {
                true => renderer.render(&[report]),
                false => renderer.render(&[report.element(Level::HELP.message(&self.instead))]),
            };
        }
        let place = match (&self.origin, &self.value) {
            (Origin::Variable(name, text), _) => format!("{name}={text}"),
            (origin, Some(value)) => format!("{origin} {value}"),
            (origin, None) => origin.to_string(),
        };
        let text = format!("{place}: {}; {}", self.what, self.instead);
        renderer.render(&[Group::with_title(Level::ERROR.primary_title(text))])
    }
}

/// The nearest place in the file where a character begins.
fn fit(source: &Source, at: usize) -> usize {
    let mut at = at.min(source.text.len());
    while !source.text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// All that is wrong, found in one go.
#[derive(Debug, Default)]
pub(crate) struct Problems(pub(crate) Vec<Problem>);

impl Problems {
    pub(crate) fn push(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    /// Paragraphs for people, each ended by a line feed.
    pub(crate) fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        self.0.iter().map(|problem| problem.render(&renderer) + "\n").collect()
    }
}

/// The one of `known` that `word` was probably meant to be.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A third of the letters wrong is a slip; more is another word.
    let most = (word.chars().count() / 3).max(1);
    let distance = |name: &&str| strsim::osa_distance(word, name);
    known
        .into_iter()
        .map(|name| (distance(&name), name))
        .filter(|&(far, _)| far <= most)
        .min()
        .map(|(_, name)| name)
}

/// What PM2, nginx, systemd, gunicorn and others call something, and what it is called here.
const SYNONYMS: [(&str, &str); 81] = [
    ("instances", "workers"),
    ("processes", "workers"),
    ("worker_processes", "workers"),
    ("environment", "env"),
    ("script", "program"),
    ("exec", "program"),
    ("cmd", "program"),
    ("command", "program"),
    ("interpreter", "program"),
    ("ExecStart", "program"),
    ("WorkingDirectory", "cwd"),
    ("bind", "listen"),
    ("listen_options", "listen, with the options after the address"),
    ("timeout", "stop_timeout or handoff_timeout"),
    ("least_conn", "least-connections"),
    ("leastconn", "least-connections"),
    ("random", "power-of-two"),
    ("random_two", "power-of-two"),
    ("ip_hash", "hash"),
    ("source", "hash"),
    ("exec_mode", "mode"),
    ("wait_ready", "ready_on, with the word message"),
    ("min_uptime", "ready_after"),
    ("startsecs", "ready_after"),
    ("listen_timeout", "start_timeout"),
    ("TimeoutStartSec", "start_timeout"),
    ("exp_backoff_restart_delay", "restart_delay"),
    ("RestartSec", "restart_delay"),
    ("RestartMaxDelaySec", "restart_delay_max"),
    ("max_restarts", "max_crashes"),
    ("StartLimitBurst", "max_crashes"),
    ("startretries", "max_crashes"),
    ("StartLimitIntervalSec", "crash_window"),
    ("shutdown_with_message", "stop_with, with message:shutdown"),
    ("KillSignal", "stop_signal"),
    ("kill_signal", "stop_signal"),
    ("stopsignal", "stop_signal"),
    ("TimeoutStopSec", "stop_timeout"),
    ("graceful_timeout", "stop_timeout"),
    ("worker_shutdown_timeout", "stop_timeout"),
    ("stopwaitsecs", "stop_timeout"),
    ("max_memory_restart", "max_memory"),
    ("MemoryMax", "max_memory"),
    ("max_requests", "max_connections"),
    ("RuntimeMaxSec", "max_age"),
    ("WatchdogSec", "ping_timeout"),
    ("out_file", "output"),
    ("log_file", "output"),
    ("StandardOutput", "output"),
    ("stdout_logfile", "output"),
    ("error_file", "error_output"),
    ("errorlog", "error_output"),
    ("StandardError", "error_output"),
    ("stderr_logfile", "error_output"),
    ("max_size", "output_max_size"),
    ("retain", "output_keep"),
    ("After", "depends"),
    ("depends_on", "depends"),
    ("proxy_pass", "upstreams"),
    ("server", "upstreams"),
    ("servers", "upstreams"),
    ("backend", "upstreams"),
    ("balance", "policy"),
    ("set_real_ip_from", "trusted_proxies"),
    ("forwarded_allow_ips", "trusted_proxies"),
    ("error_page", "error_pages"),
    ("errorfile", "error_pages"),
    ("client_max_body_size", "max_body"),
    ("client_header_timeout", "header_timeout"),
    ("client_body_timeout", "body_timeout"),
    ("keepalive_timeout", "idle_timeout"),
    ("proxy_connect_timeout", "connect_timeout"),
    ("proxy_read_timeout", "response_timeout"),
    ("max_conns", "max_in_flight"),
    ("maxconn", "max_in_flight"),
    ("maxqueue", "max_queue"),
    ("max_fails", "eject_after"),
    ("fail_timeout", "eject_time"),
    ("proxy_next_upstream_tries", "tries"),
    ("retries", "tries"),
    ("log_format", "access_log_format"),
];

/// What `word` is called here, if it is what others call it.
pub(crate) fn synonym(word: &str) -> Option<&'static str> {
    SYNONYMS.iter().find(|(theirs, _)| *theirs == word).map(|(_, ours)| *ours)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{layer::keys, policy};

    #[test]
    fn synonyms_lead_to_what_there_is() {
        for (theirs, ours) in SYNONYMS {
            assert!(!keys().any(|key| key == theirs) && policy(theirs).is_err(), "{theirs}");
            let first = ours.split([',', ' ']).next().unwrap_or_default();
            assert!(keys().any(|key| key == first) || policy(first).is_ok(), "{ours}");
        }
    }
}
