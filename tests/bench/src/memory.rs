//! What a process takes of the memory at most, as Linux counts it.

use std::fs;

/// Forgets the most that this process has taken so far.
pub fn forget_peak() {
    // Where the system does not allow it, the peak is the one since the start.
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// The most that this process has taken since then, in bytes; `None` where the system does not tell.
pub fn peak() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}
