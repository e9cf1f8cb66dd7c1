//! How much memory process groups use, as /proc tells.

#![allow(unsafe_code, reason = "sysconf")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
};

/// The resident memory of each of these groups in bytes, all their processes together: what they share is counted in each.
/// A group without a process is left out. Reads a file of every process of the machine, once.
pub(crate) fn of_groups(groups: &BTreeSet<u32>) -> io::Result<BTreeMap<u32, u64>> {
    let page = page_bytes();
    let mut bytes = BTreeMap::new();
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        let is_process = path.file_name().is_some_and(|name| name.as_encoded_bytes()[0].is_ascii_digit());
        // One that has ended meanwhile uses nothing.
        let usage =
            is_process.then(|| fs::read(path.join("stat")).ok()).flatten().and_then(|stat| usage(&stat));
        if let Some(Usage { group, pages }) = usage.filter(|usage| groups.contains(&usage.group)) {
            *bytes.entry(group).or_default() += pages * page;
        }
    }
    Ok(bytes)
}

#[derive(Debug, PartialEq, Eq)]
struct Usage {
    group: u32,
    pages: u64,
}

/// The numbers of the fields of proc_pid_stat(5), counted from the one behind the name.
const GROUP: usize = 2;
const PAGES: usize = 21;

fn usage(stat: &[u8]) -> Option<Usage> {
    // The name before the last parenthesis may contain anything, parentheses, blanks and bytes that are no text too.
    let behind = memchr::memrchr(b')', stat)? + 1;
    let mut fields = std::str::from_utf8(&stat[behind..]).ok()?.split_ascii_whitespace();
    let group = fields.nth(GROUP)?.parse().ok()?;
    let pages = fields.nth(PAGES - GROUP - 1)?.parse().ok()?;
    Some(Usage { group, pages })
}

pub(super) fn page_bytes() -> u64 {
    // SAFETY: sysconf takes an integer.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(bytes).unwrap_or(4096)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::sys::process::Child;
    use std::{
        io::{BufRead, BufReader},
        os::unix::process::CommandExt,
        process::{Command, Stdio},
        time::Duration,
    };

    #[test]
    fn names_may_contain_anything() {
        for name in ["sh", "a b", "a) R 1 2 3 (", ")", ""] {
            let stat = format!(
                "17 ({name}) S 1 42 42 0 -1 4194304 99 0 0 0 1 2 0 0 20 0 1 0 500 9000 321 18446744073709551615"
            );
            assert_eq!(usage(stat.as_bytes()), Some(Usage { group: 42, pages: 321 }), "{name:?}");
            assert_eq!(
                usage(&[b"1 (\xff\xfe".to_vec(), stat[4..].into()].concat()).map(|usage| usage.pages),
                Some(321)
            );
        }
        for bad in [
            "",
            "17 (sh",
            "17 (sh)",
            "17 (sh) S 1",
            "17 (sh) S 1 42 42",
            "17 (sh) S 1 x 42 0 0 0 0 0 0 0 0 0",
        ] {
            assert_eq!(usage(bad.as_bytes()), None, "{bad:?}");
        }
    }

    /// A shell with so much in a variable, and with a child that has thrice as much, as the leader of a group. For tests.
    #[expect(clippy::zombie_processes, reason = "who watches it reaps it")]
    pub(crate) fn group(mebibytes: u32) -> Child {
        let fill = format!("x=$(head -c {} /dev/zero | tr '\\0' x)", mebibytes << 20);
        let script = format!("{fill}; (x=$x$x; echo; sleep 1000; :) & wait");
        let mut command = Command::new("sh");
        command.args(["-c", &script]).stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
        let mut child = command.spawn().unwrap();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
        Child::watch(child.id()).unwrap()
    }

    #[test]
    fn a_group_is_counted_with_all_its_processes() {
        let groups = [group(8), group(1)];
        let [large, small] = [0, 1].map(|place| groups[place].pid());
        let used = of_groups(&BTreeSet::from([large, small, u32::MAX])).unwrap();
        let leader = usage(&fs::read(format!("/proc/{large}/stat")).unwrap()).unwrap().pages * page_bytes();
        groups.iter().for_each(|child| child.end(Duration::from_secs(30)));
        assert_eq!(used.keys().copied().collect::<BTreeSet<_>>(), BTreeSet::from([large, small]));
        assert!(leader > 8 << 20 && used[&large] > leader + (16 << 20), "{leader} of {used:?}");
        assert!(used[&large] < 200 << 20 && used[&small] < used[&large], "{used:?}");
    }
}
