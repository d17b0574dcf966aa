//! The commands that administer: names, clients, configuration, levers.

use std::{
    io::{self, IsTerminal, Write},
    path::Path,
    process::ExitCode,
};

use tempfile::NamedTempFile;

use super::{
    Failure, Sockets,
    args::{Clients, Detach, Lever, Reload, Rename},
    commands::print,
    table,
};
use crate::{
    client::{Client, ClientError, Incoming},
    wire::{ClientsOk, DetachOk, Empty, Event, HibernateOk, Op, ReloadOk, SettingOutcome, TermOutcome, TermRef},
};

pub(super) async fn rename(sockets: &Sockets, args: &Rename) -> Result<ExitCode, Failure> {
    let (mut client, _) = sockets.connect().await?;
    let op = Op::Rename { term: args.name.as_str().into(), name: args.new.to_string() };
    client.call::<Empty>(op).await?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn clients(sockets: &Sockets, args: &Clients) -> Result<ExitCode, Failure> {
    let (mut client, _) = sockets.connect().await?;
    let term = args.name.as_deref().map(TermRef::from);
    let listing: ClientsOk = client.call(Op::Clients { term }).await?;
    if args.json {
        print(&format!("{}\n", serde_json::to_string(&listing.clients).map_err(io::Error::other)?))?;
    } else {
        print(&table::clients(&listing.clients, io::stdout().is_terminal()))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn detach(sockets: &Sockets, args: &Detach) -> Result<ExitCode, Failure> {
    let (mut client, _) = sockets.connect().await?;
    let op = Op::Detach { stream: None, term: Some(args.name.as_str().into()), client: args.client };
    client.call::<DetachOk>(op).await?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn reload(sockets: &Sockets, args: &Reload) -> Result<ExitCode, Failure> {
    let (mut client, _) = sockets.connect().await?;
    let done: ReloadOk = client.call(Op::Reload).await?;
    if args.json {
        print(&format!("{}\n", serde_json::to_string(&done).map_err(io::Error::other)?))?;
    } else {
        print(&told(&done))?;
    }
    match done.terms.iter().filter(|term| term.outcome == TermOutcome::Refused).count() {
        0 => Ok(ExitCode::SUCCESS),
        1 => Err(Failure::new(Failure::FAILED, "1 declared terminal could not be made: mend its entry and reload again")),
        n => {
            Err(Failure::new(Failure::FAILED, format!("{n} declared terminals could not be made: mend them and reload again")))
        }
    }
}

/// A line for each terminal and setting.
fn told(ReloadOk { terms, settings }: &ReloadOk) -> String {
    let terms = terms.iter().map(|term| {
        let what = match term.outcome {
            TermOutcome::Created => "created",
            TermOutcome::Left => "left",
            TermOutcome::Changed => "changed",
            TermOutcome::Undeclared => "no longer declared",
            TermOutcome::Refused => "refused",
            TermOutcome::Unknown => "?",
        };
        match term.note.as_str() {
            "" => format!("{what} {}\n", term.name),
            note => format!("{what} {} ({note})\n", term.name),
        }
    });
    let settings = settings.iter().map(|setting| {
        let what = match setting.outcome {
            SettingOutcome::Applied => "applied",
            SettingOutcome::Restart => "takes effect when the supervisor is restarted:",
            SettingOutcome::Client => "takes effect when a client starts:",
            SettingOutcome::Unknown => "?",
        };
        format!("{what} {}\n", setting.key)
    });
    let told: String = terms.chain(settings).collect();
    if told.is_empty() { "nothing is declared, and nothing has changed\n".to_owned() } else { told }
}

/// Writes a file all at once, or not at all.
async fn heap_profile(client: &mut Client, output: &Path) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::new(Failure::FAILED, format!("{output:?} cannot be written: {error}"));
    let stream = client.request(Op::HeapProfile).await?;
    let dir = output.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = NamedTempFile::new_in(dir).map_err(failed)?;
    loop {
        match client.next().await? {
            Incoming::Err { error, .. } => return Err(ClientError::from(error).into()),
            Incoming::Event(Event::Piece { req, data }) if req == stream => file.write_all(&data.0).map_err(failed)?,
            Incoming::Event(Event::End { req }) if req == stream => break,
            Incoming::Ok { .. } | Incoming::Event(_) => {}
        }
    }
    file.persist(output).map_err(|error| failed(error.error))?;
    Ok(())
}

pub(super) async fn pull(sockets: &Sockets, lever: Lever) -> Result<ExitCode, Failure> {
    let (mut client, _) = sockets.connect().await?;
    match lever {
        Lever::LogLevel { level } => _ = client.call::<Empty>(Op::LogLevel { level }).await?,
        Lever::HeapProfile { output } => heap_profile(&mut client, &output).await?,
        Lever::Hibernate { name, .. } => {
            let all = name.is_none();
            let HibernateOk { hibernated } = client.call(Op::Hibernate { term: name.map(TermRef::Name) }).await?;
            if all {
                print(&format!("hibernated {hibernated}\n"))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
