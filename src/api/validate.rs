//! Whether settings can be carried out, as far as that is known without starting anything.

use super::{Error, Settings};
use crate::sys::{
    account::Credentials,
    attributes::may_set_nice,
    capabilities::{Capability, may_change_user},
};

const NOT_THE_USER: &str = "only root can start workers as another user, and end them; start pointsman as root (in a \
    systemd unit without User=, in a container with CAP_SETUID, CAP_SETGID and CAP_KILL), or leave user out and the \
    workers run as yourself";
const NOT_THE_PRIORITY: &str = "a lower nice value than that of pointsman takes CAP_SYS_NICE, which root has, though not in \
    every container, or LimitNICE= in a systemd unit; choose a higher value";
const NOT_THE_LIMIT: &str = "raising a hard limit takes CAP_SYS_RESOURCE, which root has, though not in every container; \
    raise the limit of pointsman itself (Limit…= in a systemd unit, --ulimit of Docker), or choose less: `ulimit -H -a` \
    shows what is allowed";

impl Settings {
    /// Looks whether workers can be started like this, without starting anything: whether the program and its directory
    /// are there, and whether this process may give workers their user, priority, cores and limits.
    ///
    /// # Errors
    ///
    /// [`Error::ProgramNotFound`], [`Error::NotExecutable`], [`Error::NoDirectory`], [`Error::NoSuchCpus`],
    /// [`Error::LimitTooHigh`] or [`Error::NotPermitted`].
    pub fn validate(&self) -> Result<(), Error> {
        self.to_program().find().map_err(Error::missing(&self.program))?;
        if let Some(cpus) = self.affinity.iter().find(|cpus| !cpus.is_usable()) {
            return Err(Error::NoSuchCpus { cpus: cpus.clone() });
        }
        let mut limits = self.attributes.limits.iter();
        if let Some(&(resource, _)) = limits.find(|(resource, limit)| !limit.is_in_order(*resource)) {
            return Err(Error::LimitTooHigh { resource });
        }
        self.validate_rights()
    }

    /// Whom a worker has to become: nobody if this process is that already, and could not become anybody.
    pub(crate) fn credentials(&self) -> Option<&Credentials> {
        let credentials = self.user.as_ref()?.credentials();
        (may_change_user() || !credentials.is_ours()).then_some(credentials)
    }

    /// What root may do and others may not.
    fn validate_rights(&self) -> Result<(), Error> {
        let refuse = |setting: String, why| Err(Error::NotPermitted { setting, why });
        if let Some(account) = &self.user
            && self.credentials().is_some()
            && !may_change_user()
        {
            return refuse(format!("user {}", account.name()), NOT_THE_USER);
        }
        let beyond = |nice: &i32| !may_set_nice(*nice) && !Capability::Nice.is_ours();
        if let Some(nice) = self.attributes.nice.filter(beyond) {
            return refuse(format!("nice {nice}"), NOT_THE_PRIORITY);
        }
        let mut limits = self.attributes.limits.iter();
        match limits.find(|(resource, limit)| !limit.is_within_reach(*resource)) {
            Some((resource, _)) if !Capability::Resource.is_ours() => {
                refuse(format!("limits.{resource}"), NOT_THE_LIMIT)
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{
        cpus::Cpus,
        limits::{Limit, Resource},
    };

    fn settings() -> Settings {
        Settings::new("sh")
    }

    #[test]
    fn what_can_be_carried_out_is_fine() {
        let limit = Limit { soft: Some(0), hard: None };
        let settings = settings().cwd("/").umask(0o77).nice(19).cpu_affinity(Cpus::one_each());
        settings.limit(Resource::Core, limit).validate().unwrap();
    }

    #[test]
    fn what_cannot_is_told_by_its_key() {
        let limit = Limit { soft: Some(2), hard: Some(1) };
        for (settings, expected) in [
            (settings().cwd("/no/such"), "cwd /no/such: No such file or directory"),
            (settings().cwd("/dev/null"), "cwd /dev/null: Not a directory"),
            (settings().cpu_affinity(["1023".parse().unwrap()]), "cpu_affinity 1023: this machine"),
            (settings().limit(Resource::Core, limit), "limits.core: the soft limit is above"),
        ] {
            let error = settings.validate().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_later_limit_of_the_same_resource_wins() {
        let settings = settings().limit(Resource::Core, Limit::both(1)).limit(Resource::Core, Limit::both(2));
        assert_eq!(settings.attributes.limits, [(Resource::Core, Limit::both(2))]);
    }

    #[test]
    fn a_program_is_looked_up_in_its_directory_and_path() {
        let found = |settings: Settings| settings.validate().is_ok();
        assert!(found(Settings::new("./sh").cwd("/bin")));
        assert!(!found(Settings::new("./sh").cwd("/dev")));
        assert!(!found(settings().env("PATH", "/dev").env("PATH", "/no/such")));
        assert!(found(settings().env("PATH", "/no/such").env("PATH", "/bin")));
    }
}
