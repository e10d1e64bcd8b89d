//! What the kernel says of a process. It looks only.

use anyhow::Context;

/// Resident memory, in kB.
pub(crate) fn resident(pid: u32) -> anyhow::Result<u64> {
    let status =
        std::fs::read_to_string(format!("/proc/{pid}/status")).context("the process is gone")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number
        .context("the kernel does not say VmRSS")?
        .parse()
        .context("VmRSS is no number")
}

/// CPU time so far, in milliseconds.
pub(crate) fn cpu(pid: u32) -> anyhow::Result<u64> {
    let stat =
        std::fs::read_to_string(format!("/proc/{pid}/stat")).context("the process is gone")?;
    // The name, in parentheses, may have blanks.
    let behind = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = behind
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<u64>().ok())
        .sum();
    // Linux counts a hundred a second wherever this runs.
    Ok(ticks * 10)
}
