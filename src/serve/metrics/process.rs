//! This process: memory, processor time and open files, under the names that every Prometheus client has for them.
//!
//! Read from `/proc` at a scrape; what an operating system does not tell is left out.

use std::fmt;
use std::fs;
use std::sync::LazyLock;

use prometheus_client::registry::Unit;
use rustix::time::{ClockId, clock_gettime};

use super::families::Families;
use crate::telemetry::now_ms;

/// Taken when it is first asked for, which [`crate::serve::Status::new`] does.
static STARTED_AT_MS: LazyLock<i64> = LazyLock::new(now_ms);

/// When the process started, in milliseconds since the epoch.
#[must_use]
pub fn started_at_ms() -> i64 {
    *STARTED_AT_MS
}

/// Memory that the process holds, in bytes; none where the operating system does not tell.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    resident_of(&fs::read_to_string("/proc/self/status").ok()?)
}

fn resident_of(status: &str) -> Option<u64> {
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix(" kB")?;
    kib.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Most files that may be open; none if any number may.
fn most_files_of(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

pub(super) fn encode(out: &mut Families<'_>) -> fmt::Result {
    let one = |value: Option<f64>| value.map(|value| (vec![], value));
    let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
    out.gauges("freshet_build_info", "1 for the version that runs", None, [(version, 1.0)])?;
    let started = Some(started_at_ms() as f64 / 1e3);
    out.gauges("process_start_time", "When the process started, since the epoch", Some(&Unit::Seconds), one(started))?;
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    let cpu = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
    out.seconds_in_all("process_cpu", "Processor time that the process has used", Some(cpu))?;
    let resident = resident_bytes().map(|bytes| bytes as f64);
    out.gauges("process_resident_memory", "Memory that the process holds", Some(&Unit::Bytes), one(resident))?;
    // The folder that is being read is one of them.
    let open = fs::read_dir("/proc/self/fd").ok().map(|files| files.count().saturating_sub(1) as f64);
    out.gauges("process_open_fds", "Files and connections that are open", None, one(open))?;
    let limits = fs::read_to_string("/proc/self/limits").ok();
    let most = limits.and_then(|limits| most_files_of(&limits)).map(|most| most as f64);
    out.gauges("process_max_fds", "Files and connections that may be open at once", None, one(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_tells_is_read() {
        let status = "Name:\tfreshet\nVmHWM:\t   9000 kB\nVmRSS:\t    5120 kB\nThreads:\t7\n";
        assert_eq!((resident_of(status), resident_of("Name:\tfreshet\n")), (Some(5_242_880), None));
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max open files            1024                 524288               files     \n";
        assert_eq!(most_files_of(limits), Some(1024));
        assert_eq!(most_files_of("Max open files            unlimited            unlimited            files\n"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_holds_memory() {
        assert!(resident_bytes().is_some_and(|bytes| (1 << 20..1 << 40).contains(&bytes)));
    }
}
