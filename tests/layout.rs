//! The shape of the code: which module may know which, what stands at the top of the tree, and that every module says what it is.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Which modules of the root crate a module may name.
const MAY_USE: &[(&str, &[&str])] = &[
    ("cli", &["client", "config", "daemon", "disk", "export", "places", "private", "wire"]),
    ("client", &["wire"]),
    ("config", &[]),
    ("daemon", &["config", "disk", "fdstore", "http", "keeper", "places", "private", "socket", "wire", "vitals"]),
    ("disk", &[]),
    ("export", &[]),
    ("fdstore", &[]),
    ("http", &["vitals"]),
    ("keeper", &["fdstore"]),
    ("places", &[]),
    ("private", &[]),
    ("socket", &["http", "vitals", "wire"]),
    ("vitals", &[]),
    ("wire", &[]),
];

/// The same inside the actors: `supervisor → terminal → {pty, log → mirror}`, and both tell the registry.
const ACTORS_MAY_USE: &[(&str, &[&str])] = &[
    ("findings", &[]),
    ("id", &[]),
    ("log", &["findings", "memory", "mirror"]),
    ("memory", &[]),
    ("mirror", &["memory"]),
    ("pty", &[]),
    ("registry", &["findings", "log", "memory", "mirror", "pty"]),
    ("supervisor", &["log", "pty", "registry", "terminal"]),
    ("terminal", &["log", "memory", "mirror", "pty", "registry"]),
];

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn sources(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let nested = |path: PathBuf| if path.is_dir() { sources(&path) } else { vec![path] };
    entries.flat_map(nested).filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

/// The module of the crate's top level that a source file belongs to.
fn module(src: &Path, file: &Path) -> String {
    let first = file.strip_prefix(src).unwrap().components().next().unwrap();
    Path::new(first.as_os_str()).file_stem().unwrap().to_string_lossy().into_owned()
}

/// The top-level modules that a file's code names as `crate::x`, alone or in a braced `use`. Comments do not count.
fn used(text: &str, known: &[&str]) -> BTreeSet<String> {
    let code: String = text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let list = if rest.starts_with('{') { &rest[..rest.find(';').unwrap_or(rest.len())] } else { rest };
        let heads: Vec<&str> = if rest.starts_with('{') { top_level(list) } else { vec![list] };
        let word = |head: &str| head.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
        names.extend(heads.into_iter().map(word).filter(|word| known.contains(&word.as_str())));
    }
    names
}

/// The items of `{a, b::{c, d}, e}`.
fn top_level(list: &str) -> Vec<&str> {
    let (mut depth, mut start, mut items) = (0, 1, Vec::new());
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => {
                items.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    items.push(&list[start.min(list.len())..]);
    items
}

fn check(src: &Path, may_use: &[(&str, &[&str])]) {
    let known: Vec<&str> = may_use.iter().map(|(module, _)| *module).collect();
    for file in sources(src) {
        let module = module(src, &file);
        if ["lib", "main"].contains(&module.as_str()) {
            continue;
        }
        let allowed = may_use.iter().find(|(name, _)| *name == module).unwrap_or_else(|| panic!("{module} has no place")).1;
        for name in used(&fs::read_to_string(&file).unwrap(), &known) {
            assert!(
                name == module || name == "id" || allowed.contains(&name.as_str()),
                "{file:?}: {module} may not use {name}"
            );
        }
    }
}

#[test]
fn dependencies_point_one_way() {
    check(&Path::new(ROOT).join("src"), MAY_USE);
    check(&Path::new(ROOT).join("actors/src"), ACTORS_MAY_USE);
}

#[test]
fn a_braced_use_is_taken_apart() {
    let text = "use crate::{\n    a::{self, b},\n    c,\n};\n// crate::d\nfn f() { crate::e::g() }";
    assert_eq!(used(text, &["a", "b", "c", "d", "e"]), BTreeSet::from(["a", "c", "e"].map(str::to_owned)));
}

#[test]
fn the_actors_know_neither_sockets_nor_the_command_line_and_one_module_knows_sled() {
    let manifest = fs::read_to_string(Path::new(ROOT).join("actors/Cargo.toml")).unwrap();
    for crate_name in ["clap", "metrics-exporter-prometheus", "sd-notify", "kaval."] {
        assert!(!manifest.lines().any(|line| line.starts_with(crate_name)), "the actors depend on {crate_name}");
    }
    for file in sources(&Path::new(ROOT).join("actors/src")) {
        let text = fs::read_to_string(&file).unwrap();
        assert!(!text.contains("UnixListener") && !text.contains("TcpListener"), "{file:?} listens");
        assert!(file.ends_with("log/store.rs") || !text.contains("sled::"), "{file:?} knows sled");
    }
}

#[test]
fn every_module_opens_with_what_it_does() {
    for src in ["src", "actors/src"] {
        for file in sources(&Path::new(ROOT).join(src)) {
            assert!(fs::read_to_string(&file).unwrap().starts_with("//! "), "{file:?} has no head");
        }
    }
}

#[test]
fn the_top_of_the_tree_is_as_agreed() {
    let allowed = [
        "Cargo.toml",
        "Cargo.lock",
        "README.md",
        "LICENSE",
        "src",
        "actors",
        "tests",
        "benches",
        "grafana",
        "config",
        "target",
    ];
    for entry in fs::read_dir(ROOT).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        assert!(name.starts_with('.') || allowed.contains(&name.as_str()), "{name} does not belong at the top");
    }
}
