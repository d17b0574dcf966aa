//! The commands that ask once and print.

use std::{
    cmp::Reverse,
    io::{self, IsTerminal, Read, Write},
    process::ExitCode,
};

use bytes::Bytes;
use serde_json::json;

use super::{
    Failure, Sockets,
    args::{Kill, Ls, New, Resize, Rm, Screen, ScreenFormat, Send, Shutdown, SortBy},
    attach, background, table, tty,
};
use crate::{
    client::Client,
    wire::{self, DATA_BYTES_MAX, Data, Empty, NewOk, Op, ScreenOk, TermInfo},
};

const DONE: ExitCode = ExitCode::SUCCESS;

pub(super) async fn new(sockets: &Sockets, args: New) -> Result<ExitCode, Failure> {
    let attaching = !args.detach;
    if attaching {
        attach::require_tty()?;
    }
    let graded = |failure: Failure| if attaching { failure.while_attaching() } else { failure };
    let mut client = background::connect_or_start(sockets).await.map_err(graded)?;
    let json = args.json;
    let created = create(&mut client, args).await.map_err(graded)?;
    if attaching {
        return attach::attach(sockets, created.name.as_str().into(), false, None).await;
    }
    if json {
        print(&format!("{}\n", json!({ "id": created.id, "name": created.name })))?;
    } else {
        print(&format!("{}\n", created.name))?;
    }
    Ok(DONE)
}

async fn create(client: &mut Client, args: New) -> Result<NewOk, Failure> {
    let present = std::env::current_dir().ok();
    let cwd = match (args.cwd, present) {
        (Some(cwd), Some(present)) => Some(present.join(cwd)),
        (cwd, present) => cwd.or(present),
    };
    let op = Op::New {
        name: args.name.map(String::from),
        command: args.command,
        cwd: cwd.map(|cwd| cwd.to_string_lossy().into_owned()),
        env: args.env,
        size: args.size.or_else(tty::window_size),
        token: rand::random::<u64>() | 1,
        if_absent: args.if_absent,
        no_log: args.no_log,
        restart: args.restart.into(),
    };
    Ok(client.call(op).await?)
}

pub(super) async fn ls(sockets: &Sockets, args: &Ls) -> Result<ExitCode, Failure> {
    let (mut client, _) = sockets.connect().await?;
    let mut listing = client.list().await?;
    sort(&mut listing, args.sort);
    if args.json {
        print(&format!("{}\n", serde_json::to_string(&listing).map_err(io::Error::other)?))?;
    } else {
        print(&table::terminals(&listing, io::stdout().is_terminal()))?;
    }
    Ok(DONE)
}

/// Those that are equal stay as they are: by age.
fn sort(terms: &mut [TermInfo], by: SortBy) {
    match by {
        SortBy::Age => {}
        SortBy::Name => terms.sort_by(|one, other| one.name.cmp(&other.name)),
        SortBy::Cpu => {
            terms.sort_by(|one, other| other.child_cpu_percent.unwrap_or(0.0).total_cmp(&one.child_cpu_percent.unwrap_or(0.0)))
        }
        SortBy::Memory => terms.sort_by_key(|term| Reverse(term.child_memory_bytes)),
        SortBy::Output => terms.sort_by_key(|term| Reverse(term.offset)),
    }
}

pub(super) async fn send(sockets: &Sockets, args: Send) -> Result<ExitCode, Failure> {
    let (mut client, _) = sockets.connect().await?;
    let term: wire::TermRef = args.name.as_str().into();
    let mut type_in = async |data: Bytes| -> Result<(), Failure> {
        let op = Op::Input { term: term.clone(), client: None, seq: 0, data: Data(data) };
        client.call::<Empty>(op).await?;
        Ok(())
    };
    if args.text.is_empty() && !(args.enter && io::stdin().is_terminal()) {
        let mut piece = vec![0; DATA_BYTES_MAX / 8];
        loop {
            match io::stdin().read(&mut piece)? {
                0 => break,
                n => type_in(Bytes::copy_from_slice(&piece[..n])).await?,
            }
        }
    } else {
        for piece in Bytes::from(args.text.join(" ")).chunks(DATA_BYTES_MAX) {
            type_in(Bytes::copy_from_slice(piece)).await?;
        }
    }
    if args.enter {
        type_in(Bytes::from_static(b"\r")).await?;
    }
    Ok(DONE)
}

pub(super) async fn resize(sockets: &Sockets, args: &Resize) -> Result<ExitCode, Failure> {
    let (mut client, _) = sockets.connect().await?;
    client.call::<Empty>(Op::Resize { term: args.name.as_str().into(), size: args.size }).await?;
    Ok(DONE)
}

pub(super) async fn kill(sockets: &Sockets, args: &Kill) -> Result<ExitCode, Failure> {
    let (mut client, _) = sockets.connect().await?;
    client.call::<Empty>(Op::Kill { term: args.name.as_str().into(), signal: args.signal }).await?;
    Ok(DONE)
}

/// Forgets what it can; every failure is told, and the exit code is that of the first.
pub(super) async fn rm(sockets: &Sockets, args: &Rm) -> Result<ExitCode, Failure> {
    let (mut client, _) = sockets.connect().await?;
    let mut code = None;
    for name in &args.names {
        if let Err(error) = client.call::<Empty>(Op::Rm { term: name.as_str().into() }).await {
            let failed = Failure::from(error).tell();
            code = code.or(Some(failed));
        }
    }
    Ok(code.unwrap_or(DONE))
}

pub(super) async fn screen(sockets: &Sockets, args: &Screen) -> Result<ExitCode, Failure> {
    let (mut client, _) = sockets.connect().await?;
    let format = match (args.json, args.format) {
        (true, _) | (false, ScreenFormat::Json) => wire::ScreenFormat::Json,
        (false, ScreenFormat::Ansi) => wire::ScreenFormat::Ansi,
        (false, ScreenFormat::Text) => wire::ScreenFormat::Text,
    };
    let screen: ScreenOk = client.call(Op::Screen { term: args.name.as_str().into(), format, at: args.at }).await?;
    match (screen.text, screen.data, screen.screen) {
        (Some(text), _, _) => print(&text)?,
        (_, Some(data), _) => write_all(&data.0)?,
        (_, _, Some(view)) => {
            let mut json = json!({ "name": screen.name, "id": screen.id, "offset": screen.offset, "cwd": screen.cwd });
            if let (Some(all), serde_json::Value::Object(view)) = (json.as_object_mut(), json!(view)) {
                all.extend(view);
            }
            print(&format!("{json}\n"))?;
        }
        (None, None, None) => return Err(Failure::new(Failure::FAILED, "the supervisor sent no screen")),
    }
    Ok(DONE)
}

pub(super) async fn shutdown(sockets: &Sockets, args: &Shutdown) -> Result<ExitCode, Failure> {
    let (mut client, _) = sockets.connect().await?;
    let live = client.list().await?.iter().filter(|term| term.is_live()).count();
    if live > 0 && !args.force {
        let what = if live == 1 { "1 terminal is live".to_owned() } else { format!("{live} terminals are live") };
        if !io::stdin().is_terminal() {
            return Err(Failure::new(Failure::FAILED, format!("{what}: end them all with kaval shutdown --force")));
        }
        eprint!("{what}. End them all? [y/N] ");
        let mut answer = String::new();
        io::stdin().read_line(&mut answer)?;
        if !answer.trim_start().to_ascii_lowercase().starts_with('y') {
            return Err(Failure::new(Failure::FAILED, "nothing was ended"));
        }
    }
    client.call::<Empty>(Op::Shutdown).await?;
    Ok(DONE)
}

/// Writes to stdout. A reader that has gone away (`| head`) ends the program as it ends others: quietly.
pub(super) fn write_all(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(128 + libc::SIGPIPE),
        result => Ok(result?),
    }
}

pub(super) fn print(text: &str) -> Result<(), Failure> {
    write_all(text.as_bytes())
}
