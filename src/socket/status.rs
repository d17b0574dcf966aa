//! How the supervisor is, in one answer: its own account, the registry's, the allocator's and the kernel's.

use kaval_actors::{
    log::journal::DataPath,
    registry::{ChildUse, LaneFigures, List, Listing, LogFigures, TakeFigures},
};

use super::{Hub, connection::Session, ops};
use crate::{
    vitals::{BUDGET, Heap, Usage, own_bytes},
    wire::{ChildInfo, ChildrenInfo, FdInfo, LaneInfo, LogInfo, MemoryInfo, StatusOk, TermCounts, WireError},
};

/// Terminals of which it is told that their processes use most.
const LARGEST: usize = 3;

/// The answer to `status`.
pub(super) async fn status(session: &Session) -> Result<StatusOk, WireError> {
    let hub = &session.hub;
    let figures = hub.registry.send(TakeFigures { terms: false }).await.map_err(|_| ops::ending())?;
    let all = List { after: None, bytes_max: usize::MAX };
    let page = hub.registry.send(all).await.map_err(|_| ops::ending())?;
    let look = || (Heap::now(), own_bytes(), Usage::now().unwrap_or_default());
    let (heap, own, usage) = actix_rt::task::spawn_blocking(look).await.unwrap_or_default();
    let [live, hibernated, exited, lost] = figures.states().map(|(_, terms)| terms);
    Ok(StatusOk {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        boot: hub.boot.clone(),
        uptime_ms: hub.started.elapsed().as_millis() as u64,
        previous_end: figures.previous_end.clone(),
        upgrade_undone: figures.upgrade_undone.clone(),
        unkept: !hub.operator.is_kept(),
        set_aside: hub.findings.lines(),
        recovery_ms: figures.recovery.map(|took| took.as_millis() as u64),
        data_path: data_path(hub).to_owned(),
        terms: TermCounts { live, hibernated, exited, lost },
        children: children(&page.listings),
        clients: figures.clients(),
        connections: hub.connections.get(),
        memory: MemoryInfo {
            allocated_bytes: heap.allocated_bytes,
            resident_bytes: heap.resident_bytes,
            mirrors_bytes: figures.mirrors_bytes,
            own_bytes: own.unwrap_or(heap.resident_bytes),
            limit_bytes: BUDGET.limited().map(|(bytes, _)| bytes),
            limit_source: BUDGET.limited().map(|(_, source)| source.to_owned()),
            level: BUDGET.level(),
        },
        journal_bytes: figures.journal_bytes(),
        log: log(figures.log),
        fds: FdInfo { open: usage.open_fds, max: usage.max_fds },
        lanes: figures.lanes.into_iter().map(lane).collect(),
        metrics: hub.endpoint.as_ref().and_then(|endpoint| endpoint.address()).map(|address| address.to_string()),
    })
}

/// Who counts as using most: by what is scarcer, processor time of one or memory of a gibibyte.
fn children(listings: &[Listing]) -> ChildrenInfo {
    let info = |listing: &Listing| {
        let ChildUse { share, memory, .. } = listing.children?;
        Some(ChildInfo { name: listing.card.name.to_string(), cpu_percent: share * 100.0, memory_bytes: memory })
    };
    let mut all: Vec<ChildInfo> = listings.iter().filter_map(info).collect();
    let weight = |info: &ChildInfo| (info.cpu_percent / 100.0).max(info.memory_bytes as f64 / f64::from(1 << 30));
    all.sort_by(|one, other| weight(other).total_cmp(&weight(one)));
    let (cpu_percent, memory_bytes) =
        (all.iter().map(|info| info.cpu_percent).sum(), all.iter().map(|info| info.memory_bytes).sum());
    all.retain(|info| weight(info) > 0.0);
    all.truncate(LARGEST);
    ChildrenInfo { cpu_percent, memory_bytes, largest: all }
}

fn data_path(hub: &Hub) -> &'static str {
    match hub.data_path {
        DataPath::Splice => "splice",
        DataPath::Copy => "copy",
    }
}

fn lane(lane: LaneFigures) -> LaneInfo {
    LaneInfo { name: lane.name, lag_ms: lane.lag.as_micros() as f64 / 1e3, journal_bytes: lane.journal_bytes }
}

fn log(log: LogFigures) -> LogInfo {
    LogInfo {
        logged_bytes: log.logged,
        live_bytes: log.live,
        disk_bytes: log.disk,
        disk_free_bytes: log.disk_free,
        gap_bytes: log.gaps.iter().sum(),
        faulty: log.faulty,
    }
}
