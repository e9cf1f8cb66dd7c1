//! A checked [`Config`] -> [`Settings`]: what each key does.

use pointsman::{Control, ControlName, Rotation, Settings, shell_words};

use super::{Config, ControlPlace, DEMO_WORKER, Map, Mode, Overload, Plain, output::ErrorOutput};

impl Config {
    pub(crate) fn settings(&self) -> Settings {
        let listens = self.listen.value.iter().map(|socket| socket.listen.clone());
        listens.fold(self.settings_without_listen(), Settings::listen)
    }

    /// All but where to listen.
    pub(crate) fn settings_without_listen(&self) -> Settings {
        let settings = match self.command().split_first() {
            Some((program, args)) => Settings::new(program).args(args.iter().copied()),
            None if self.serves_others_alone() => {
                Settings::new("/proc/self/exe").arg(DEMO_WORKER).no_program()
            }
            None => Settings::new("/proc/self/exe").arg(DEMO_WORKER),
        };
        let settings = settings.workers(self.workers.value).policy(self.policy.value);
        let settings = self.process.apply(self.plain.supervise(self.plain.hand_over(settings)));
        let settings = self.plain.pour(settings, self.terminal);
        let settings = match self.plain.control() {
            Some(control) => settings.control(control),
            None => settings,
        };
        let settings = self.depends.value.iter().fold(settings, |all, depend| all.depends(depend.on.clone()));
        let settings = self.env.iter().fold(settings, |all, (name, value)| all.env(name, &value.value));
        let settings = settings.mode(match self.mode.value {
            Mode::Handoff => pointsman::Mode::Handoff,
            Mode::Shared => pointsman::Mode::Shared,
            Mode::Multiport => pointsman::Mode::Multiport,
        });
        let settings = settings.forward(self.forward.settings());
        let mapped = |all: Settings, map: &Map| all.map(map.from.clone(), map.to.clone());
        self.map.value.iter().fold(settings, mapped)
    }
}

impl Plain {
    /// How workers are kept.
    fn supervise(&self, settings: Settings) -> Settings {
        settings
            .ready_on(self.ready_on.value)
            .ready_after(self.ready_after.value)
            .start_timeout(self.start_timeout.value.0)
            .max_starting(self.max_starting.value.0)
            .warm_up(self.warm_up.value)
            .restart_delay(self.restart_delay.value)
            .restart_delay_max(self.restart_delay_max.value)
            .max_crashes(self.max_crashes.value.0, self.crash_window.value)
            .fail_when_errored(self.fail_when_errored.value)
            .stop_with(self.stop_with.value.clone())
            .stop_signal(self.stop_signal.value.0)
            .stop_timeout(self.stop_timeout.value)
            .linger_timeout(self.linger_timeout.value.0)
            .kill_timeout(self.kill_timeout.value)
            .reload_batch(self.reload_batch.value)
            .max_memory(self.max_memory.value.0.map(|size| size.0))
            .max_age(self.max_age.value.0)
            .max_connections(self.max_connections.value.0)
            .ping_timeout(self.ping_timeout.value.0)
    }

    /// How the whole is steered from outside, if it is.
    /// What a client is told that is to ask this one.
    pub(crate) fn to_ask(&self) -> String {
        match &self.control.value {
            ControlPlace::Path(path) => format!(" --control {}", shell_words([path])),
            ControlPlace::Auto | ControlPlace::Off if self.name.value == ControlName::default() => {
                String::new()
            }
            ControlPlace::Auto | ControlPlace::Off => format!(" --name {}", self.name.value),
        }
    }

    fn control(&self) -> Option<Control> {
        let control = match &self.control.value {
            ControlPlace::Off => return None,
            ControlPlace::Path(path) => Control::at(path),
            ControlPlace::Auto if self.name.value == ControlName::default() => Control::usual(),
            ControlPlace::Auto => Control::named(self.name.value.clone()),
        };
        Some(match &self.control_group.value.0 {
            Some(group) => control.group(group.number),
            None => control,
        })
    }

    /// Where their output goes.
    fn pour(&self, settings: Settings, terminal: bool) -> Settings {
        let error_output = match &self.error_output.value {
            ErrorOutput::AsOutput => &self.output.value,
            ErrorOutput::Own(output) => output,
        };
        let max_bytes = self.output_max_size.value.0.map(|size| size.0);
        settings
            .stdout(self.output.value.sink(terminal))
            .stderr(error_output.sink(terminal))
            .rotation(Rotation { max_bytes, keep: self.output_keep.value })
    }

    /// How connections and messages come to them.
    fn hand_over(&self, settings: Settings) -> Settings {
        let settings = match self.admin.value.listen() {
            Some(listen) => settings.admin(listen),
            None => settings,
        };
        settings
            .window(self.window.value)
            .handoff_timeout(self.handoff_timeout.value.0)
            .overload(match self.overload.value {
                Overload::Wait => pointsman::Overload::Wait,
                Overload::Reject => pointsman::Overload::Reject { after: self.overload_timeout.value },
            })
            .load_report(self.load_report.value)
            .serialization(self.serialization.value)
            .master_scheduling(self.master_scheduling.value)
    }
}
