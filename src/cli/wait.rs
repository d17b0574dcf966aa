//! `kaval wait`: until a terminal has ended, is quiet, or shows something.

use std::{process::ExitCode, time::Duration};

use kaval_actors::{Size, mirror::Mirror};
use regex::Regex;
use serde_json::json;
use tokio::time::{Instant, sleep_until, timeout};

use super::{Failure, Sockets, args::Wait, commands};
use crate::{
    client::{Session, SessionOptions, Update},
    wire::{AttachFrom, AttachMode, ExitInfo},
};

/// Longest `--timeout` that means anything: some 30 years.
const TIMEOUT_SECONDS_MAX: f64 = 1e9;

pub(super) async fn wait(sockets: &Sockets, args: Wait) -> Result<ExitCode, Failure> {
    let patience = args.timeout.map(patience).transpose()?;
    let pattern = args.pattern.as_deref().map(compile).transpose()?;
    let waiting = until(sockets, &args, pattern);
    let outcome = match patience {
        None => waiting.await?,
        Some(patience) => match timeout(patience, waiting).await {
            Ok(outcome) => outcome?,
            Err(_) => {
                let message = format!("terminal {}: not within {} s", args.name, patience.as_secs_f64());
                return Err(Failure::new(Failure::TIMED_OUT, message));
            }
        },
    };
    let text = match outcome {
        Outcome::Exited(exit) if args.json => format!("{}\n", json!({ "exit": exit })),
        Outcome::Exited(exit) => format!("{exit}\n"),
        Outcome::Idle if args.json => format!("{}\n", json!({ "idle": true })),
        Outcome::Matched(line) if args.json => format!("{}\n", json!({ "match": line })),
        Outcome::Matched(line) => format!("{line}\n"),
        Outcome::Idle => String::new(),
    };
    commands::write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn patience(seconds: f64) -> Result<Duration, Failure> {
    if (0.0..=TIMEOUT_SECONDS_MAX).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(Failure::new(
            Failure::USAGE,
            format!("--timeout {seconds} is no number of seconds from 0 to {TIMEOUT_SECONDS_MAX:e}"),
        ))
    }
}

fn compile(pattern: &str) -> Result<Regex, Failure> {
    Regex::new(pattern).map_err(|error| {
        let why = error.to_string();
        let why = why.lines().next_back().unwrap_or_default().trim_start_matches("error: ");
        Failure::new(Failure::USAGE, format!("--match {pattern:?} is no regular expression: {why}"))
    })
}

enum Outcome {
    Exited(ExitInfo),
    Idle,
    Matched(String),
}

async fn until(sockets: &Sockets, args: &Wait, pattern: Option<Regex>) -> Result<Outcome, Failure> {
    let (_, socket) = sockets.connect().await?;
    let term = args.name.as_str().into();
    let options = SessionOptions { socket, term, mode: AttachMode::Ro, size: None, from: AttachFrom::Screen };
    let mut session = Session::attach(options).await?;
    let quiet = args.idle.map(Duration::from_millis);
    let mut quiet_at = quiet.map(|quiet| Instant::now() + quiet);
    let mut watch = pattern.map(Watch::new);
    loop {
        let update = tokio::select! {
            () = sleep_until(quiet_at.unwrap_or_else(Instant::now)), if quiet_at.is_some() => None,
            update = session.next() => Some(update?),
        };
        let Some(update) = update else {
            // Nobody knows whether it is quiet while nobody tells.
            if session.down_since().is_none() {
                return Ok(Outcome::Idle);
            }
            quiet_at = quiet.map(|quiet| Instant::now() + quiet);
            continue;
        };
        match update {
            Update::Exited(exit) if args.exit => return Ok(Outcome::Exited(exit)),
            Update::Exited(_) if args.idle.is_some() => return Ok(Outcome::Idle),
            Update::Exited(exit) => {
                return Err(Failure::new(Failure::FAILED, format!("terminal {} {exit} before that", args.name)));
            }
            Update::Detached => return Err(Failure::new(Failure::FAILED, format!("terminal {} is gone", args.name))),
            Update::Screen { data, .. } | Update::Output { data, .. } => {
                quiet_at = quiet.map(|quiet| Instant::now() + quiet);
                if let Some(line) = watch.as_mut().and_then(|watch| watch.feed(&data)) {
                    return Ok(Outcome::Matched(line));
                }
            }
            Update::Resized { size } => {
                if let Some(watch) = &mut watch {
                    watch.resize(size);
                }
            }
            Update::Respawning { .. } | Update::Reaping { .. } | Update::Lagged { .. } | Update::Lost => {}
        }
    }
}

/// Looks for a pattern on the screen, as each line of what arrives has been drawn.
struct Watch {
    pattern: Regex,
    mirror: Mirror,
}

impl Watch {
    fn new(pattern: Regex) -> Self {
        Self { pattern, mirror: Mirror::new(Size::DEFAULT) }
    }

    fn resize(&mut self, size: Size) {
        let _ = self.mirror.resize(size);
    }

    fn feed(&mut self, data: &[u8]) -> Option<String> {
        data.split_inclusive(|byte| *byte == b'\n').find_map(|line| {
            if self.mirror.feed(line).is_err() {
                self.mirror = Mirror::new(self.mirror.size());
            }
            let screen = self.mirror.text();
            screen.lines().find(|line| self.pattern.is_match(line)).map(str::to_owned)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_scrolls_by_in_one_piece_is_seen() {
        let mut watch = Watch::new(Regex::new("^needle$").unwrap());
        let flood: String = (0..100).map(|n| if n == 3 { "needle\r\n".to_owned() } else { format!("{n}\r\n") }).collect();
        assert_eq!(watch.feed(flood.as_bytes()), Some("needle".to_owned()));
        assert_eq!(Watch::new(Regex::new("^needle$").unwrap()).feed(b"no needles\r\n"), None);
    }
}
