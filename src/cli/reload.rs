//! A reload that was asked for: the configuration is read anew, and the workers become what it wants.
//!
//! What is wrong with the configuration is told to the log and to whoever has asked, and changes nothing.

use std::ffi::OsString;

use log::{info, warn};
use pointsman::{Cluster, Event, ReloadRequest};

use super::{activation::Activation, failure};
use crate::config::{Config, Inputs};

type Environment = Vec<(OsString, OsString)>;

/// What reloads go by.
#[derive(Debug)]
pub(super) struct Reloads<'a> {
    /// What runs.
    running: &'a Config,
    inputs: &'a Inputs,
    activation: &'a Activation,
    /// What a client has sent in the place of our own, with the last reload that succeeded.
    environment: Option<Environment>,
    /// The same of the one that is under way.
    attempted: Option<Environment>,
}

impl<'a> Reloads<'a> {
    pub(super) fn new(running: &'a Config, inputs: &'a Inputs, activation: &'a Activation) -> Self {
        Self { running, inputs, activation, environment: None, attempted: None }
    }

    /// An environment that was sent holds when its workers do.
    pub(super) fn handle_event(&mut self, event: &Event) {
        match event {
            Event::Reloaded { .. } => self.environment = self.attempted.take().or(self.environment.take()),
            Event::ReloadFailed { .. } => self.attempted = None,
            _ => {}
        }
    }

    pub(super) fn reload(&mut self, cluster: &mut Cluster, asked: &ReloadRequest) {
        let anew = match self.inputs.load() {
            Ok(anew) => anew,
            Err(problems) => {
                let problems = problems.render(false);
                let why = format!("the configuration is wrong\n{}", problems.trim_end());
                warn!("reload refused, and nothing changes: {why}");
                return cluster.refuse_reload(asked, &why);
            }
        };
        let mut warnings: Vec<_> = anew.warnings.iter().map(ToString::to_string).collect();
        let unchangeable = self.running.needs_restart(&anew);
        if !unchangeable.is_empty() {
            let keys = unchangeable.join(", ");
            warnings.push(format!(
                "a reload does not change {keys}: that takes a stop and a start; everything else is reloaded"
            ));
        }
        for warning in &warnings {
            warn!("{warning}");
        }
        let mut settings = self.activation.settings(&anew);
        if let Some(batch) = asked.batch {
            settings = settings.reload_batch(batch);
        }
        let environment = asked.env.clone().or_else(|| self.environment.clone());
        if let Some(variables) = &environment {
            settings = settings.base_env(variables.iter().cloned());
        }
        match cluster.reload_as_asked(asked, &settings, &warnings) {
            Ok(true) => self.attempted = environment,
            Ok(false) => info!("no reload: there are no workers to replace yet, or no more"),
            Err(error) => {
                let advice =
                    failure::advice(&error, &anew).map(|advice| format!("\n{advice}")).unwrap_or_default();
                warn!("reload refused, and nothing changes: {error}{advice}");
            }
        }
    }
}
