//! Everything that has a say, kept so that it can be read anew, and what of it a running master cannot take up.

use std::path::PathBuf;

use super::{Config, Environment, Layer, Problems, load};

/// Where the configuration comes from: the flags and the environment of this process, which do not change, and a file,
/// which may.
#[derive(Debug)]
pub(crate) struct Inputs {
    pub(crate) flags: Layer,
    /// What `-c` names.
    pub(crate) file: Option<PathBuf>,
    pub(crate) environment: Environment,
}

impl Inputs {
    /// Reads everything as it is now: the file, and the file of variables that it may name.
    pub(crate) fn load(&self) -> Result<Config, Problems> {
        load(self.flags.clone(), self.file.as_deref(), &self.environment)
    }
}

/// Plain keys of the master itself, which opens what they name when it starts.
const OF_THE_MASTER: [&str; 8] =
    ["output", "error_output", "output_max_size", "output_keep", "name", "control", "control_group", "admin"];

/// Those of how requests are forwarded: what is spoken, which lanes that leave and workers that come would not agree on, and a
/// file that the master opens when it starts.
const OF_FORWARDING: [&str; 2] = ["protocol", "access_log"];

impl Config {
    /// The keys that say something else in `anew` and that only a new start can change. What `depends` says is not
    /// asked: the first worker has been started.
    pub(crate) fn needs_restart(&self, anew: &Self) -> Vec<&'static str> {
        let sockets = |config: &Self| config.listen.value.iter().map(ToString::to_string).collect::<Vec<_>>();
        let special = [
            ("listen", sockets(self) != sockets(anew)),
            ("map", self.map.value != anew.map.value),
            ("mode", self.mode.value != anew.mode.value),
            ("policy", self.policy.value != anew.policy.value),
        ];
        let special = special.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name);
        let plain = self.plain.rows().into_iter().zip(anew.plain.rows());
        let plain =
            plain.filter(|((key, old, _), (_, new, _))| OF_THE_MASTER.contains(&key.name) && old != new);
        // The others are for lanes, which are replaced with the workers.
        let forward = self.forward.rows().into_iter().zip(anew.forward.rows());
        let forward =
            forward.filter(|((key, old, _), (_, new, _))| OF_FORWARDING.contains(key) && old != new);
        let forward = forward.map(|((key, ..), _)| key);
        special.chain(plain.map(|((key, ..), _)| key.name)).chain(forward).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{
        super::tests::{environment, flag, load_text},
        *,
    };
    use crate::config::{Workers, keys::tests::SAMPLES};

    #[test]
    fn files_are_read_anew_and_what_was_said_at_the_start_stays() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
        write("p.toml", "workers = 2\nwindow = 2\nstop_timeout = \"2s\"\nenv_file = \".env\"");
        write(".env", "A=1");
        let inputs = Inputs {
            flags: Layer { workers: flag(Workers::Count(9)), ..Layer::default() },
            file: Some(directory.path().join("p.toml")),
            environment: environment(&[("POINTSMAN_WINDOW", "9")]),
        };
        let read = || {
            let config = inputs.load().map_err(|problems| problems.render(false))?;
            let variables: Vec<_> =
                config.env.iter().map(|(name, given)| (name.clone(), given.value.clone())).collect();
            let stop_timeout = config.plain.stop_timeout.value.as_secs();
            Ok::<_, String>((config.workers.value, config.plain.window.value, stop_timeout, variables))
        };
        assert_eq!(read().unwrap(), (9, 9, 2, vec![("A".into(), "1".into())]));
        write("p.toml", "workers = 3\nwindow = 3\nstop_timeout = \"3s\"\nenv_file = \".env\"");
        write(".env", "B=2");
        assert_eq!(read().unwrap(), (9, 9, 3, vec![("B".into(), "2".into())]));
        write("p.toml", "worker = 3");
        assert!(read().unwrap_err().contains("did you mean workers?"));
    }

    #[test]
    fn what_only_a_new_start_can_change_is_named() {
        let config = |text: &str| load_text(Layer::default(), text, &[]).unwrap();
        let differ = |one: &str, other: &str| config(one).needs_restart(&config(other));
        for (one, other, expected) in [
            ("", "", &[][..]),
            ("listen = \":1\"", "listen = \":2\"", &["listen"]),
            ("listen = \":1\"", "listen = \":1 backlog=5\"", &["listen"]),
            ("listen = \"127.0.0.1:8000\"", "", &[]),
            ("listen = \":1\"", "listen = \":1\"\nmap = \"3=4\"", &["map"]),
            ("", "mode = \"shared\"", &["mode"]),
            ("", "policy = \"least-connections\"", &["policy"]),
            ("", "output = \"prefix\"", &["output"]),
            ("", "error_output = \"prefix\"", &["error_output"]),
            ("", "output = \"auto\"\nerror_output = \"as output\"\noutput_keep = 5", &[]),
            ("", "admin = 9090", &["admin"]),
            ("admin = 9090", "admin = \"localhost:9090\"", &[]),
            ("", "output_max_size = \"off\"\noutput_keep = 4", &["output_max_size", "output_keep"]),
            ("", "mode = \"shared\"\nlisten = \":1\"\noutput = \"/a\"", &["listen", "mode", "output"]),
            ("", "name = \"api\"\ncontrol_group = 0", &["name", "control_group"]),
            ("control = \"off\"", "", &["control"]),
            (
                "mode = \"multiport\"",
                "mode = \"multiport\"\nlanes = 2\nupstreams = \"a:1\"\nmax_body = \"1MiB\"\nupstream = \"unix\"",
                &[],
            ),
            (
                "mode = \"multiport\"",
                "mode = \"multiport\"\nprotocol = \"tcp\"\naccess_log = \"stdout\"\naccess_log_format = \"json\"",
                &["protocol", "access_log"],
            ),
            (
                "",
                "depends = \"127.0.0.1:1\"\nworkers = 3\nprogram = \"sh\"\nargs = \"x\"\numask = \"027\"",
                &[],
            ),
        ] {
            assert_eq!(differ(one, other), expected, "{one} -> {other}");
        }
        // Of the plain keys, all others can be changed.
        let all: Vec<_> = SAMPLES
            .iter()
            .map(|(name, value)| (format!("POINTSMAN_{}", name.to_uppercase()), *value))
            .collect();
        let all: Vec<_> = all.iter().map(|(name, value)| (&**name, *value)).collect();
        let changed = load_text(Layer::default(), "", &all).unwrap();
        assert_eq!(config("").needs_restart(&changed), OF_THE_MASTER);
    }
}
