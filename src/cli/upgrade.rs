//! `kaval upgrade`: has the supervisor replaced, and waits for the one that follows.

use std::{
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::time::{sleep, timeout};

use super::{Failure, Sockets, args::Upgrade, commands::print, table::duration};
use crate::{
    client::{Client, ClientError},
    wire::{Op, StatusOk, UpgradeOk},
};

/// Longest wait: the new one has a minute to come up, or more if it asks for that, and the old one is put back then.
const UPGRADE_MAX: Duration = Duration::from_secs(5 * 60);
const RECONNECT_EVERY: Duration = Duration::from_millis(2);

pub(super) async fn upgrade(sockets: &Sockets, args: &Upgrade) -> Result<ExitCode, Failure> {
    let binary = args.binary.as_deref().map(spelt_out).transpose()?;
    let (mut client, socket) = sockets.connect().await?;
    let (boot, before) = (client.server().boot.clone(), version(&client.server().server).to_owned());
    client.call::<UpgradeOk>(Op::Upgrade { binary }).await?;
    // It hangs up once everybody was told.
    while client.next().await.is_ok() {}
    let left = Instant::now();
    let (now, away) = match timeout(UPGRADE_MAX, successor(&socket, &boot, left)).await {
        Ok(found) => found?,
        Err(_) => {
            let waited = duration(UPGRADE_MAX);
            let message = format!("no supervisor answers {waited} after the upgrade began: see its log, and kaval status");
            return Err(Failure::new(Failure::TIMED_OUT, message));
        }
    };
    match &now.upgrade_undone {
        Some(reason) => Err(Failure::new(Failure::FAILED, format!("kaval {} is back: {reason}", now.version))),
        None => {
            print(&told(&before, &now, away, args.json))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// A path as the supervisor, which may be in another directory, understands it.
fn spelt_out(path: &Path) -> Result<String, Failure> {
    let text = std::path::absolute(path)?.into_os_string().into_string();
    text.map_err(|path| Failure::new(Failure::USAGE, format!("{path:?} is not UTF-8: rename it")))
}

fn version(server: &str) -> &str {
    server.rsplit_once('/').map_or(server, |(_, version)| version)
}

/// What the supervisor says of itself that follows the one of that `boot`, and how long nobody answered.
async fn successor(socket: &Path, boot: &str, left: Instant) -> Result<(StatusOk, Duration), ClientError> {
    loop {
        match ask(socket, boot, left).await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => {}
            Err(error) if error.is_passing() => {}
            Err(error) => return Err(error),
        }
        sleep(RECONNECT_EVERY).await;
    }
}

async fn ask(socket: &Path, boot: &str, left: Instant) -> Result<Option<(StatusOk, Duration)>, ClientError> {
    let mut client = Client::connect(socket).await?;
    let away = left.elapsed();
    if client.server().boot == boot {
        return Ok(None);
    }
    let status = client.call(Op::Status).await?;
    Ok(Some((status, away)))
}

fn told(before: &str, now: &StatusOk, away: Duration, as_json: bool) -> String {
    let (after, kept) = (&now.version, now.terms.live + now.terms.hibernated);
    if as_json {
        let json = json!({ "from": before, "to": after, "boot": now.boot, "live": kept, "away_ms": away.as_millis() as u64 });
        return format!("{json}\n");
    }
    let terminals = if kept == 1 { "1 terminal".to_owned() } else { format!("{kept} terminals") };
    format!("upgraded: {before} → {after}, {terminals} kept, away for {} ms\n", away.as_millis())
}
