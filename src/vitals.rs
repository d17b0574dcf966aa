//! The process's own figures: what the allocator and the kernel say of it.

use std::{
    sync::OnceLock,
    time::{SystemTime, UNIX_EPOCH},
};

use procfs::{
    CurrentSI, WithCurrentSystemInfo,
    process::{LimitValue, Process},
};
use tikv_jemalloc_ctl::{background_thread, epoch, raw, stats};

/// The allocator's figures.
#[derive(Debug, Clone, Copy, Default)]
pub struct Heap {
    /// Bytes in use.
    pub allocated_bytes: u64,
    /// Bytes that the allocator has from the kernel, in memory.
    pub resident_bytes: u64,
}

impl Heap {
    /// As of now; zeros where another allocator is used.
    pub fn now() -> Self {
        let read = || {
            epoch::advance()?;
            Ok::<_, tikv_jemalloc_ctl::Error>((stats::allocated::read()?, stats::resident::read()?))
        };
        let (allocated, resident) = read().unwrap_or_default();
        Self { allocated_bytes: allocated as u64, resident_bytes: resident as u64 }
    }
}

/// Has memory that was freed given back to the kernel by threads of the allocator's own: by itself it would do so only while more is asked for,
/// and a supervisor whose terminals sleep asks for none.
pub fn give_memory_back() {
    if let Err(error) = background_thread::write(true) {
        tracing::debug!(%error, "memory that is freed is given back late");
    }
}

/// The arena that the log's memory comes from, apart from all other: by it, it is told how much that is.
static LOG_ARENA: OnceLock<Option<u32>> = OnceLock::new();

/// Has what this thread allocates from now on counted as the log's.
#[allow(unsafe_code)]
pub fn count_as_log() {
    // SAFETY: "arenas.create" gives an unsigned int.
    let create = || unsafe { raw::read::<u32>(b"arenas.create\0") }.ok();
    if let Some(arena) = *LOG_ARENA.get_or_init(create) {
        // SAFETY: "thread.arena" takes an unsigned int, and the arena is there: it was made and is never destroyed.
        let set = unsafe { raw::write(b"thread.arena\0", arena) };
        if let Err(error) = set {
            tracing::debug!(%error, "the log's memory is not told apart");
        }
    }
}

/// Bytes that the log has allocated; `None` where that is not told apart.
#[allow(unsafe_code)]
pub fn log_heap_bytes() -> Option<u64> {
    let arena = (*LOG_ARENA.get()?)?;
    let of = |class: &str| {
        let name = format!("stats.arenas.{arena}.{class}.allocated\0");
        // SAFETY: both of these are of type size_t.
        unsafe { raw::read::<usize>(name.as_bytes()) }.ok()
    };
    Some((of("small")? + of("large")?) as u64)
}

/// The kernel's figures.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// Memory that is there, in bytes.
    pub resident_bytes: u64,
    /// When the process was started, in seconds since the Unix epoch.
    pub started_s: f64,
    /// Processor time, in whole seconds.
    pub cpu_s: u64,
    /// Descriptors that are open.
    pub open_fds: u64,
    /// Descriptors that may be open.
    pub max_fds: u64,
}

impl Usage {
    /// As of now. Reads a directory with an entry for each descriptor: not on an actor's thread.
    ///
    /// # Errors
    /// When /proc does not tell.
    pub fn now() -> procfs::ProcResult<Self> {
        let process = Process::myself()?;
        let stat = process.stat()?;
        let ticks = procfs::ticks_per_second();
        let boot_s = procfs::KernelStats::current()?.btime as f64;
        Ok(Self {
            resident_bytes: stat.rss_bytes().get(),
            started_s: boot_s + stat.starttime as f64 / ticks as f64,
            cpu_s: (stat.utime + stat.stime) / ticks,
            open_fds: process.fd_count()? as u64,
            max_fds: match process.limits()?.max_open_files.soft_limit {
                LimitValue::Value(max) => max,
                LimitValue::Unlimited => u64::MAX,
            },
        })
    }
}

/// Milliseconds since the Unix epoch.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_of_this_process() {
        let usage = Usage::now().unwrap();
        assert!(usage.resident_bytes > 1 << 20 && (3..=usage.max_fds).contains(&usage.open_fds), "{usage:?}");
        let now_s = now_ms() as f64 / 1e3;
        assert!((now_s - 3600.0..now_s + 60.0).contains(&usage.started_s), "{usage:?}");
    }
}
