//! `pointsman run`: a cluster in the foreground, and what is said of it.

use std::process::ExitCode;

use log::{error, info, log, warn};
use pointsman::{Cluster, Error, Event, Request};

use super::{
    activation::{self, Activation},
    banner::{self, Doors},
    failure,
    logging::{self, BANNER, Style},
    reload::Reloads,
    report::Report,
    wrapper,
};
use crate::config::{Config, Inputs, Mode};

/// Serves until it is told to stop. What the configuration was read from is here to be read again.
pub(super) fn run(config: &Config, inputs: &Inputs) -> ExitCode {
    let activation = activation::find();
    // Before the log's thread starts: a signal must find nobody but the loop.
    let log = pointsman::block_signals().and_then(|()| {
        logging::start()
            .map_err(|source| Error::System { doing: "start the thread that writes the log", source })
    });
    // Dropped last, which writes what is still queued.
    let log = match log {
        Ok(log) => log,
        Err(error) => {
            super::complain(&format!("error: {error}\n"));
            return ExitCode::from(failure::exit_code(&error));
        }
    };
    match serve(config, inputs, &activation, log.style) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let advice =
                failure::advice(&error, config).map(|advice| format!("\n{advice}")).unwrap_or_default();
            error!("{error}{advice}");
            ExitCode::from(failure::exit_code(&error))
        }
    }
}

fn serve(config: &Config, inputs: &Inputs, activation: &Activation, style: Style) -> Result<(), Error> {
    for warning in config.warnings.iter().chain(&activation.warnings) {
        warn!("{warning}");
    }
    if let Some(warning) = wrapper::warning(&config.command(), config.process.directory()) {
        warn!("{warning}");
    }
    let mut cluster = Cluster::new(activation.settings(config))?;
    cluster.notify_supervisor();
    let endpoints = cluster.endpoints();
    let pid = std::process::id();
    match style {
        Style::Terminal => {
            let doors =
                Doors { has_control: cluster.control_path().is_some(), admin: cluster.admin_endpoint() };
            let lines = banner::lines(config, &endpoints, doors, pid);
            info!(target: BANNER, "{lines}");
        }
        Style::Journal | Style::Plain => {
            let version = super::args::VERSION.as_str();
            let admin = cluster.admin_endpoint().map(|told| format!(", admin on {}", banner::admin(told)));
            let admin = admin.unwrap_or_default();
            info!("{}, pid {pid}, version {version}{admin}", banner::summary(config, &endpoints));
        }
    }
    let report = Report::new(config.quoted(), config.workers.value, endpoints);
    let report = report.forwarded(config.mode.value == Mode::Multiport);
    let mut report = report.shared(config.mode.value == Mode::Shared);
    let mut reloads = Reloads::new(config, inputs, activation);
    cluster.run(|cluster, event| {
        match &event {
            Event::Asked(Request::Reload(asked)) => reloads.reload(cluster, asked),
            Event::Asked(Request::Reopen) => cluster.reopen_output(),
            other => reloads.handle_event(other),
        }
        let line = report.line(&event);
        log!(line.level, "{}", line.text);
    })
}
