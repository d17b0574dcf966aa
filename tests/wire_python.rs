//! The wire protocol as a stranger sees it: a client in another language, written from the README alone, on a real supervisor.

mod support;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use support::Instance;

/// What the client needs beyond Python itself.
const LIBRARY: &str = "msgpack>=1,<2";
const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/client.py");

/// A Python that has the library, or why there is none.
fn python() -> Result<PathBuf, String> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python");
    let python = dir.join("bin/python");
    if !run(Command::new(&python).args(["-c", "import msgpack"])).is_ok_and(|done| done) {
        let made = run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&dir))?;
        let installed = made && run(Command::new(&python).args(["-m", "pip", "install", "--quiet", LIBRARY]))?;
        if !installed {
            return Err(format!("python3 -m venv, or its pip install {LIBRARY}, failed"));
        }
    }
    Ok(python)
}

fn run(command: &mut Command) -> Result<bool, String> {
    let output = command.output().map_err(|error| format!("{:?}: {error}", command.get_program()))?;
    Ok(output.status.success())
}

#[test]
fn a_client_written_from_the_readme_drives_a_supervisor() {
    let python = match python() {
        Ok(python) => python,
        Err(why) => return eprintln!("skipped: there is no Python with msgpack to be had: {why}"),
    };
    let instance = Instance::start();
    let lock = instance.state_dir().join("lock");
    let output = Command::new(python).arg(CLIENT).arg(instance.socket()).arg(lock).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "the tour is done\n");
}
