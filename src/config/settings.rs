//! A checked [`Config`] -> [`Settings`]: what each key does.

use pointsman::Settings;

use super::{Config, DEMO_WORKER, Map, Mode, Overload, Plain};

impl Config {
    pub(crate) fn settings(&self) -> Settings {
        let listens = self.listen.value.iter().map(|socket| socket.listen.clone());
        listens.fold(self.settings_without_listen(), Settings::listen)
    }

    /// All but where to listen.
    pub(crate) fn settings_without_listen(&self) -> Settings {
        let settings = match self.command().split_first() {
            Some((program, args)) => Settings::new(program).args(args.iter().copied()),
            None => Settings::new("/proc/self/exe").arg(DEMO_WORKER),
        };
        let settings = settings.workers(self.workers.value).policy(self.policy.value);
        let settings = self.process.apply(self.plain.apply(settings));
        let settings = self.env.iter().fold(settings, |all, (name, value)| all.env(name, &value.value));
        let settings = settings.mode(match self.mode.value {
            Mode::Shared => pointsman::Mode::Shared,
            // The other is refused before.
            Mode::Handoff | Mode::Multiport => pointsman::Mode::Handoff,
        });
        let mapped = |all: Settings, map: &Map| all.map(map.from.clone(), map.to.clone());
        self.map.value.iter().fold(settings, mapped)
    }
}

impl Plain {
    fn apply(&self, settings: Settings) -> Settings {
        settings
            .stop_timeout(self.stop_timeout.value)
            .kill_timeout(self.kill_timeout.value)
            .restart_delay(self.restart_delay.value)
            .window(self.window.value)
            .handoff_timeout(self.handoff_timeout.value.0)
            .overload(match self.overload.value {
                Overload::Wait => pointsman::Overload::Wait,
                Overload::Reject => pointsman::Overload::Reject { after: self.overload_timeout.value },
            })
            .load_report(self.load_report.value)
            .serialization(self.serialization.value)
    }
}
