//! `kaval doctor`: what kaval needs of its surroundings, checked one by one, with what to do about each.
//!
//! ```text
//!   look (files, kernel, systemd, the supervisor if it answers) ──► facts ──► judge, pure ──► Check: ok, warn or fail
//! ```
//!
//! **Invariants.** Nothing is changed, and nothing is waited for longer than [`look::ANSWER_MAX`]. No supervisor has to run.
//! What cannot be found out is said, and is no failure.

mod judge;
mod look;

use std::{
    io::{self, IsTerminal},
    process::ExitCode,
};

use serde::Serialize;

use super::{
    Failure, Sockets,
    args::Doctor,
    commands,
    table::{BOLD, GREEN, RED, RESET, YELLOW},
};

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Check {
    /// What was looked at.
    check: &'static str,
    verdict: Verdict,
    /// What was found.
    found: String,
    /// What to do about it.
    mend: Option<String>,
}

impl Check {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, found: found.into(), mend: None }
    }

    fn warn(check: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Warn, found: found.into(), mend: Some(mend.into()) }
    }

    fn fail(check: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { verdict: Verdict::Fail, ..Self::warn(check, found, mend) }
    }
}

pub(super) async fn doctor(sockets: &Sockets, args: &Doctor) -> Result<ExitCode, Failure> {
    let checks = judge::all(&look::around(sockets, args).await);
    let text = if args.json {
        serde_json::to_string(&checks).map_err(io::Error::other)? + "\n"
    } else {
        render(&checks, io::stdout().is_terminal())
    };
    commands::write_all(text.as_bytes())?;
    let failed = checks.iter().any(|check| check.verdict == Verdict::Fail);
    Ok(ExitCode::from(if failed { Failure::FAILED } else { 0 }))
}

fn render(checks: &[Check], colour: bool) -> String {
    let width = checks.iter().map(|check| check.check.len()).max().unwrap_or(0);
    let line = |Check { check, verdict, found, mend }: &Check| {
        let (word, paint) = match verdict {
            Verdict::Ok => ("ok  ", GREEN),
            Verdict::Warn => ("warn", YELLOW),
            Verdict::Fail => ("fail", RED),
        };
        let mend = mend.as_ref().map_or_else(String::new, |mend| format!("; {mend}"));
        let text = format!("{found}{mend}").replace('\n', " ");
        match colour {
            true => format!("{paint}{word}{RESET}  {BOLD}{check:<width$}{RESET}  {text}\n"),
            false => format!("{word}  {check:<width$}  {text}\n"),
        }
    };
    checks.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_a_check_with_the_verdict_first_and_the_mending_last() {
        let checks = [Check::ok("clock", "fine"), Check::fail("disk", "it is\nfull", "make room")];
        assert_eq!(render(&checks, false), "ok    clock  fine\nfail  disk   it is full; make room\n");
        let coloured = render(&checks, true);
        assert!(coloured.contains(&format!("{RED}fail{RESET}")) && coloured.contains(&format!("{GREEN}ok  {RESET}")));
        let json = serde_json::to_value(&checks[1]).unwrap();
        assert_eq!(json, serde_json::json!({"check": "disk", "verdict": "fail", "found": "it is\nfull", "mend": "make room"}));
    }
}
