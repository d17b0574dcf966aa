//! Real programs: `tests/golden/NAME/` holds what one wrote (`recording`) on a screen of a `size`, and what the screen showed after so many
//! bytes (`expected-OFFSET.txt`: the cursor's row and column, then the rows, column by column: a wide character is itself and a blank).
//! alacritty drew those; a third of them were looked at.
//!
//! To add one: put `recording`, `size` and empty `expected-OFFSET.txt` files there, and run this test with `KAVAL_DRAW_GOLDEN` set.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use kaval_actors::{Size, mirror::Mirror};

use crate::{picture::Picture, reference::Reference};

/// Those whose attributes the mirror does not draw as expected, and why; each must still differ. Text and cursor are as expected in all.
const DIFFERENT: &[(&str, &str)] = &[];

/// Most bytes of a recording: small enough to live in the repository.
const RECORDING_BYTES_MAX: usize = 60_000;

/// What the screen shows after the first `offset` bytes.
struct Expected {
    offset: usize,
    path: PathBuf,
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn expected(path: PathBuf) -> Option<Expected> {
    let name = path.file_name()?.to_str()?;
    let offset = name.strip_prefix("expected-")?.strip_suffix(".txt")?.parse().ok()?;
    Some(Expected { offset, path })
}

fn shown(picture: &Picture) -> String {
    let (row, col) = picture.cursor;
    format!("cursor {row},{col}\n{}\n", picture.lines().join("\n"))
}

/// What is wrong with a folder, if anything is. What it expects is drawn anew first where that is asked for.
fn wrong(dir: &Path) -> Vec<String> {
    let size: Size = fs::read_to_string(dir.join("size")).unwrap().trim().parse().unwrap();
    let bytes = fs::read(dir.join("recording")).unwrap();
    assert!(bytes.len() <= RECORDING_BYTES_MAX, "{dir:?} has a recording of {} bytes", bytes.len());
    let screens: Vec<Expected> = entries(dir).into_iter().filter_map(expected).collect();
    assert!(screens.len() > 1, "{dir:?} expects nothing");
    let mut wrong = Vec::new();
    for Expected { offset, path } in screens {
        let mut reference = Reference::new(size);
        reference.feed(&bytes[..offset]);
        let drawn = reference.picture();
        if env::var_os("KAVAL_DRAW_GOLDEN").is_some() {
            fs::write(&path, shown(&drawn)).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), shown(&drawn), "{path:?} is not what alacritty shows");
        let mut mirror = Mirror::new(size);
        mirror.feed(&bytes[..offset]).unwrap();
        assert_eq!(shown(&Picture::of(&mirror)), shown(&drawn), "{path:?}");
        wrong.extend(Picture::of(&mirror).differences(&drawn).first().map(|first| format!("at {offset}: {first}")));
    }
    wrong
}

#[test]
fn real_programs_screens_are_drawn_as_expected() {
    let mut failures = Vec::new();
    for dir in entries(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")) {
        let name = dir.file_name().unwrap().to_string_lossy().into_owned();
        let excused = DIFFERENT.iter().any(|(known, _)| *known == name);
        match (wrong(&dir), excused) {
            (wrong, false) if !wrong.is_empty() => failures.push(format!("{name}: {}", wrong.join("\n  "))),
            (wrong, true) if wrong.is_empty() => failures.push(format!("{name} is exact now: take it out of the table")),
            (_, true | false) => {}
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
