//! CPU and memory of a process and its children, from `/proc`.

use std::fs;
use std::time::Duration;

use crate::load::server::cpu_of;

/// The most processes of one tree that are counted.
const PROCESSES_MAX: usize = 256;

/// A process and all that descend from it.
pub(super) fn tree(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut next = 0;
    while let Some(parent) = all.get(next).copied().filter(|_| all.len() < PROCESSES_MAX) {
        let path = format!("/proc/{parent}/task/{parent}/children");
        let children = fs::read_to_string(path).unwrap_or_default();
        all.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        next = next.saturating_add(1);
    }
    all
}

/// User and system time of the whole tree; a process that cannot be read adds nothing.
pub(super) fn cpu(pid: u32) -> Duration {
    tree(pid).into_iter().filter_map(|one| cpu_of(one).ok()).sum()
}

/// Resident memory of the whole tree, in bytes.
pub(super) fn rss(pid: u32) -> u64 {
    let kib = tree(pid).into_iter().filter_map(|one| status(one, "VmRSS:"));
    kib.sum::<u64>().saturating_mul(1 << 10)
}

/// The most resident memory that a process has had since [`forget_peak`], in bytes.
pub(super) fn peak_rss(pid: u32) -> Option<u64> {
    status(pid, "VmHWM:").map(|kib| kib.saturating_mul(1 << 10))
}

/// Begins a new peak; `false` where the system does not allow it.
pub(super) fn forget_peak(pid: u32) -> bool {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").is_ok()
}

/// A line of `status`, in KiB.
fn status(pid: u32, name: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_has_its_children() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let own = tree(std::process::id());
        // The thread that started it is its parent; another test's thread may have been it.
        assert!(own.contains(&std::process::id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(rss(std::process::id()) > 1 << 20);
        assert!(peak_rss(std::process::id()).unwrap() >= 1 << 20);
        assert!(peak_rss(u32::MAX).is_none());
    }
}
