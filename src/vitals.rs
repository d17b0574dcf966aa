//! The process's own figures: what the allocator and the kernel say of it.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicI64, AtomicU8, Ordering},
    },
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

/// Bytes of memory that are this process's own: resident, shared ones that it has mapped included, files apart; `None` if /proc does not tell.
pub fn own_bytes() -> Option<u64> {
    let status = Process::myself().and_then(|process| process.status()).ok()?;
    Some((status.rssanon? + status.rssshmem?) * 1024)
}

/// Has the allocator give back all that it does not use.
#[allow(unsafe_code)]
pub fn purge() {
    const EVERY_ARENA: &[u8] = b"arena.4096.purge\0";
    let none = std::ptr::null_mut();
    // SAFETY: the name ends in 0, and this control neither reads nor writes a value.
    let failed = unsafe { tikv_jemalloc_sys::mallctl(EVERY_ARENA.as_ptr().cast(), none, none.cast(), none, 0) };
    if failed != 0 {
        tracing::debug!(failed, "the allocator gave nothing back");
    }
}

/// How memory stands, as [the daemon](crate::daemon) finds it: for gauges, and for who has to refuse what would take more.
pub static BUDGET: Budget =
    Budget { limit: OnceLock::new(), level: AtomicU8::new(0), critical: AtomicBool::new(false), growth: AtomicI64::new(0) };

/// See [`BUDGET`].
pub struct Budget {
    limit: OnceLock<(u64, String)>,
    level: AtomicU8,
    critical: AtomicBool,
    growth: AtomicI64,
}

impl Budget {
    /// Says how many bytes may be used, and who says so. Once.
    pub fn limit(&self, bytes: u64, source: &str) {
        let _ = self.limit.set((bytes, source.to_owned()));
    }

    /// How many bytes may be used, and who says so, if anybody does.
    pub fn limited(&self) -> Option<(u64, &str)> {
        self.limit.get().map(|(bytes, source)| (*bytes, source.as_str()))
    }

    /// Says how near the limit is, and whether nothing new may be taken on.
    pub fn set_level(&self, level: u8, critical: bool) {
        self.level.store(level, Ordering::Relaxed);
        self.critical.store(critical, Ordering::Relaxed);
    }

    /// How near the limit is: 0 (normal) to 3 (critical).
    pub fn level(&self) -> u8 {
        self.level.load(Ordering::Relaxed)
    }

    /// Whether nothing new may be taken on.
    pub fn is_critical(&self) -> bool {
        self.critical.load(Ordering::Relaxed)
    }

    /// Says how many bytes the heap has grown by in each of the last minutes.
    pub fn set_growth(&self, per_minute: i64) {
        self.growth.store(per_minute, Ordering::Relaxed);
    }

    /// How many bytes the heap has grown by in each of the last five minutes, on average.
    pub fn growth(&self) -> i64 {
        self.growth.load(Ordering::Relaxed)
    }
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

/// The time as names of files have it: `2026-11-23T08-15-00Z`.
pub fn time() -> String {
    let now = humantime_serde::re::humantime::format_rfc3339_seconds(SystemTime::now());
    now.to_string().replace(':', "-")
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
