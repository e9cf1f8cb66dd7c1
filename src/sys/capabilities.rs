//! What this process may do beyond an ordinary one: root in a container often lacks some of it, see capabilities(7).

use std::fs;

use nix::unistd::geteuid;

/// By their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Capability {
    Kill = 5,
    SetGid = 6,
    SetUid = 7,
    Nice = 23,
    Resource = 24,
}

impl Capability {
    /// Whether it is in force. Where that cannot be known, root has all.
    pub(crate) fn is_ours(self) -> bool {
        let text = fs::read_to_string("/proc/self/status").ok();
        let mask = text.as_deref().and_then(effective);
        mask.map_or_else(|| geteuid().is_root(), |mask| mask >> self as u32 & 1 == 1)
    }
}

/// Whether this process may become any user, and end what that user has started.
pub(crate) fn may_change_user() -> bool {
    [Capability::SetUid, Capability::SetGid, Capability::Kill].into_iter().all(Capability::is_ours)
}

fn effective(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_force_is_a_mask() {
        assert_eq!(effective("Name:\tx\nCapPrm:\tff\nCapEff:\t00000000000000e0\n"), Some(0xe0));
        assert_eq!(effective("Name:\tx\n"), None);
        assert_eq!(effective("CapEff:\t-\n"), None);
        let all = 0xe0_u64;
        assert!(
            [Capability::Kill, Capability::SetGid, Capability::SetUid]
                .iter()
                .all(|&one| all >> one as u32 & 1 == 1)
        );
    }
}
