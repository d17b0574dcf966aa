//! alacritty_terminal's reference recordings (`tests/ref` of its published package), drawn by the mirror and by alacritty.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use kaval_actors::{Size, mirror::Mirror};
use serde::Deserialize;

use crate::{picture::Picture, reference::Reference};

/// Those that the mirror does not draw as alacritty does, and why.
const DIFFERENT: &[(&str, &str)] = &[
    ("decaln_reset", "alacritty keeps margins and cursor; xterm resets them and homes"),
    ("deccolm_reset", "alacritty clears for DECCOLM; xterm obeys it only after mode 40, which is not set here"),
    ("saved_cursor_alt", "alacritty has a cursor for each screen; xterm enters the alternate one with the cursor as it stands"),
    ("selective_erasure", "alacritty ignores DECSED and DECSEL; xterm spares only what DECSCA protects"),
];

/// How many there are in the package.
const RECORDINGS: usize = 45;

/// What a program wrote on a screen of a size.
pub(crate) struct Recording {
    pub(crate) name: String,
    pub(crate) size: Size,
    pub(crate) bytes: Vec<u8>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
}

#[derive(Deserialize)]
struct Sides {
    columns: u32,
    screen_lines: u32,
}

/// Where the package of that name lies, as cargo knows it.
fn package(name: &str) -> PathBuf {
    let cargo = env::var_os("CARGO").expect("run by cargo");
    // Packages that only other platforms need are not there.
    let platform = format!("{}-unknown-linux-{}", env::consts::ARCH, if cfg!(target_env = "musl") { "musl" } else { "gnu" });
    let asked = Command::new(cargo)
        .args(["metadata", "--offline", "--format-version", "1", "--filter-platform", &platform])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    let metadata: Metadata = serde_json::from_slice(&asked.stdout).unwrap();
    let package = metadata.packages.into_iter().find(|package| package.name == name).expect("a dependency");
    package.manifest_path.parent().unwrap().to_owned()
}

fn read(dir: &Path) -> Recording {
    let sides: Sides = serde_json::from_slice(&fs::read(dir.join("size.json")).unwrap()).unwrap();
    Recording {
        name: dir.file_name().unwrap().to_string_lossy().into_owned(),
        size: Size::new(sides.columns, sides.screen_lines).unwrap(),
        bytes: fs::read(dir.join("alacritty.recording")).unwrap(),
    }
}

/// All of them, by name.
pub(crate) fn all() -> Vec<Recording> {
    let dir = package("alacritty_terminal").join("tests/ref");
    let mut dirs: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    dirs.sort();
    dirs.iter().map(|dir| read(dir)).collect()
}

fn differences(recording: &Recording) -> Vec<String> {
    let mut mirror = Mirror::new(recording.size);
    let mut reference = Reference::new(recording.size);
    mirror.feed(&recording.bytes).unwrap();
    reference.feed(&recording.bytes);
    Picture::of(&mirror).differences(&reference.picture())
}

#[test]
fn every_recording_is_drawn_as_alacritty_draws_it_but_for_those_in_the_table() {
    let recordings = all();
    assert_eq!(recordings.len(), RECORDINGS);
    let mut wrong = Vec::new();
    for recording in &recordings {
        let differences = differences(recording);
        let excused = DIFFERENT.iter().find(|(name, _)| *name == recording.name);
        match (differences.is_empty(), excused) {
            (true, None) | (false, Some(_)) => {}
            (false, None) => wrong.push(format!("{} differs:\n  {}", recording.name, differences.join("\n  "))),
            (true, Some(_)) => wrong.push(format!("{} is exact now: take it out of the table", recording.name)),
        }
    }
    let unknown = DIFFERENT.iter().filter(|(name, _)| !recordings.iter().any(|recording| recording.name == *name));
    wrong.extend(unknown.map(|(name, _)| format!("{name} is in the table and not in the package")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
