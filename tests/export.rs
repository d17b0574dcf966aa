//! What a terminal has put out, exported to files, which are held against its history and read by other people's programs.

#[path = "support/playing.rs"]
mod playing;
mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use kaval_actors::Size;
use playing::{Recording, screen_of};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::{Instance, spin_until};
use tempfile::TempDir;

/// Something of everything: colours, attributes, box drawing, wide characters, marks, markup, blank lines, a long line.
const SHOWN: &str = r#"
printf 'plain line\n  indented \033[31mred\033[m \033[1;32mbold\033[m \033[3;34mitalic\033[m \033[4munder\033[m \033[7minverse\033[m\n'
printf '\033[41m on red \033[m \033[38;2;255;120;0mdirect\033[48;5;54m colour \033[m two  blanks   three\n'
printf '┌────┬────┐\n│ ab │ cd │\n└────┴────┘ ░▒▓█ → λ é\n'
printf '<script>alert("x")</script> & &amp; quote\n\n\n'
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do printf 'word%02d ' $i; done; printf '\n'
i=0; while [ $i -lt 700 ]; do i=$((i+1)); printf 'line %d \033[3%dmcolour\033[m\n' $i $((i % 8)); done
"#;
/// What takes more or fewer columns than it has characters.
const WIDE: &str = "printf 'wide 日本語 | 한국어 | 👍 |\\ncomposed e\u{301} n\u{303} a\u{308}\u{301} |\\n'";

fn ran(instance: &Instance, name: &str, size: &str, script: &str) {
    instance.ok(&["new", "-d", name, "--size", size, "--", "sh", "-c", script]);
    instance.ok(&["wait", name, "--exit"]);
}

/// Exports to a file of that name; the file.
fn exported(instance: &Instance, args: &[&str], file: &str) -> PathBuf {
    let path = instance.path(file);
    let mut command = instance.command(&[&["export"], args].concat());
    let output = command.arg("-o").arg(&path).output().unwrap();
    assert!(output.status.success() && output.stdout.is_empty() && output.stderr.is_empty(), "{args:?}: {output:?}");
    path
}

fn numbers(range: std::ops::RangeInclusive<u32>) -> String {
    range.map(|n| format!("{n}\n")).collect()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn text_styled_text_and_raw_output_are_what_history_has() {
    let instance = Instance::start();
    ran(&instance, "t", "90x24", SHOWN);
    for (file, format) in [("t.txt", "text"), ("t.ansi", "ansi"), ("t.raw", "raw")] {
        let history = instance.run(&["history", "t", "--format", format]).stdout;
        assert!(history.len() > 10_000);
        assert!(fs::read(exported(&instance, &["t"], file)).unwrap() == history, "{file}");
        let format = file.split_once('.').unwrap().1;
        let piped = instance.run(&["export", "t", "--format", format, "-o", "-"]);
        assert!(piped.stdout == history && piped.stderr.is_empty(), "{file} to stdout");
    }
    let tail = fs::read_to_string(exported(&instance, &["t", "--tail", "3"], "tail.log")).unwrap();
    assert_eq!(tail, "line 698 colour\nline 699 colour\nline 700 colour\n");
    let range = ["t", "--from", "2000", "--to", "3000", "--format", "txt"];
    let range = fs::read_to_string(exported(&instance, &range, "range")).unwrap();
    assert_eq!(range, instance.ok(&["history", "t", "--from", "2000", "--to", "3000"]));
}

#[test]
fn raw_output_is_what_the_child_wrote() {
    let instance = Instance::start();
    let written = instance.path("written");
    let script = format!("stty -opost -echo; head -c 3000000 /dev/urandom | tee {}", written.display());
    ran(&instance, "t", "80x24", &script);
    assert!(fs::read(exported(&instance, &["t"], "t.raw")).unwrap() == fs::read(written).unwrap());
}

/// A program's output, or `None` and a word about it where it is not installed.
fn output_of(command: &mut Command) -> Option<Output> {
    match command.stdin(Stdio::null()).output() {
        Ok(output) => {
            assert!(output.status.success(), "{command:?}: {output:?}");
            Some(output)
        }
        Err(error) => {
            eprintln!("skipped: {:?} is not installed: {error}", command.get_program());
            None
        }
    }
}

/// Rows as long as a page is wide. All of it is one column wide.
fn wrapped(text: &str, cols: usize) -> Vec<String> {
    let rows = |line: &str| -> Vec<String> {
        let chars: Vec<char> = line.chars().collect();
        let rows = chars.chunks(cols).map(|row| row.iter().collect::<String>().trim_end().to_owned());
        rows.chain(chars.is_empty().then(String::new)).collect()
    };
    text.lines().flat_map(rows).collect()
}

/// By the place of each, as many characters as there are columns.
const BY_COLUMN: &[&str] = &["-fixed", "5.418"];

/// What `pdftotext` finds within the margins, page by page.
fn text_of(pdf: &Path, layout: &[&str]) -> Option<Vec<String>> {
    let mut command = Command::new("pdftotext");
    // The foot is at a page's lowest 56 points; a page of this width is 842 points high.
    command.args(layout).args(["-x", "36", "-y", "0", "-W", "540", "-H", "786"]).arg(pdf).arg("-");
    let text = String::from_utf8(output_of(&mut command)?.stdout).unwrap();
    Some(text.trim_end_matches('\x0c').split('\x0c').map(|page| page.trim_end().to_owned()).collect())
}

#[test]
fn a_pdfs_text_is_that_of_the_text_export() {
    let instance = Instance::start();
    ran(&instance, "t", "90x24", SHOWN);
    let (pdf, txt) = (exported(&instance, &["t"], "t.pdf"), exported(&instance, &["t"], "t.txt"));
    let Some(pages) = text_of(&pdf, BY_COLUMN) else { return };
    assert!(pages.len() > 9, "{} pages", pages.len());
    let rows = wrapped(&fs::read_to_string(txt).unwrap(), 96);
    let expected: Vec<String> = rows.chunks(71).map(|page| page.join("\n")).collect();
    assert_eq!(pages, expected);

    let info = String::from_utf8(output_of(Command::new("pdfinfo").arg(&pdf)).unwrap().stdout).unwrap();
    assert!(info.contains("Title:           t\n"), "{info}");
    let fonts = String::from_utf8(output_of(Command::new("pdffonts").arg(&pdf)).unwrap().stdout).unwrap();
    for font in fonts.lines().skip(2) {
        assert!(font.contains("+DejaVuSansMono") && font.contains("CID TrueType      Identity-H       yes yes yes"), "{font}");
    }
}

#[test]
fn in_a_pdf_what_has_no_glyph_is_still_the_text_it_is() {
    let instance = Instance::start();
    ran(&instance, "t", "90x24", WIDE);
    let txt = fs::read_to_string(exported(&instance, &["t"], "t.txt")).unwrap();
    assert!(txt.contains("日本語 | 한국어 | 👍 |") && txt.contains("a\u{308}\u{301}"), "{txt}");
    let Some(pages) = text_of(&exported(&instance, &["t"], "t.pdf"), &["-layout"]) else { return };
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(&pages.join("\n")), words(&txt));
}

#[test]
fn a_pdf_page_shows_its_colours() {
    let instance = Instance::start();
    ran(&instance, "t", "80x24", r"printf '\033[41m                    \033[m\n\033[32m████████████████████\033[m\n'");
    let pdf = exported(&instance, &["t"], "t.pdf");
    let Some(picture) = output_of(Command::new("pdftoppm").args(["-r", "72"]).arg(pdf)) else { return };
    // "P6\nWIDTH HEIGHT\n255\n", and three bytes a point.
    let head = picture.stdout.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(2).unwrap().0 + 1;
    let width: usize = String::from_utf8_lossy(&picture.stdout[3..head]).split(' ').next().unwrap().parse().unwrap();
    let pixel = |x: usize, y: usize| &picture.stdout[head + 3 * (y * width + x)..][..3];
    assert_eq!(pixel(80, 41), [0xc0, 0x1c, 0x28], "red paper");
    assert_eq!(pixel(80, 52), [0x11, 0x63, 0x29], "green ink that fills its cells");
    assert_eq!(pixel(80, 70), [0xff; 3], "white paper");
}

/// Has the page select all it has, and say what that is.
const SELECT: &str = "<script>addEventListener('load', () => {
    const selection = getSelection();
    selection.selectAllChildren(document.querySelector('pre'));
    const found = [selection.toString(), ...['.f1', '.g1'].map((rule) => {
        const style = getComputedStyle(document.querySelector(rule));
        return style.color + style.backgroundColor;
    })];
    document.documentElement.innerHTML = '<body>@' + found.map(encodeURIComponent).join('@') + '@';
})</script>";

#[test]
fn what_is_selected_on_a_web_page_is_the_text_export_and_nothing_of_it_runs() {
    let instance = Instance::start();
    ran(&instance, "t", "90x24", &format!("{SHOWN}\n{WIDE}"));
    let (html, txt) = (exported(&instance, &["t"], "t.html"), exported(&instance, &["t"], "t.txt"));
    let page = fs::read_to_string(html).unwrap();
    assert!(!page.contains("<script") && !page.contains("http:") && !page.contains("https:"));
    let (before, after) = page.split_once("<meta http-equiv=Content-Security-Policy").unwrap();
    let asking = format!("{before}{}{SELECT}", after.split_once('\n').unwrap().1);
    let path = instance.path("asking.html");
    fs::write(&path, asking).unwrap();
    let mut command = Command::new("chromium");
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]);
    command.arg(format!("--user-data-dir={}", instance.path("chromium").display())).arg(&path);
    let Some(output) = output_of(&mut command) else { return };
    let answer = String::from_utf8(output.stdout).unwrap();
    let found: Vec<String> = answer.split('@').skip(1).take(3).map(unescaped).collect();
    assert_eq!(found[0].trim_end(), fs::read_to_string(txt).unwrap().trim_end());
    assert_eq!(found[1], "rgb(192, 28, 40)rgba(0, 0, 0, 0)", "red text");
    assert_eq!(found[2], "rgb(255, 255, 255)rgb(192, 28, 40)", "text on red");
}

/// What `encodeURIComponent` was given.
fn unescaped(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        if *first == b'%' {
            let (digits, behind) = rest.split_at(2);
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap());
            rest = behind;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// What is left of a second between two pieces of output, when the first is read late.
const PAUSE_MIN: f64 = 0.3;
/// A full-screen program, sizes, and pauses. The second `read` waits for the resize to be answered.
const PLAYED: &str = r#"
printf 'one\n'; sleep 1; printf '\033[31mtwo\033[m \xe6'; sleep 1; printf '\x97\xa5\n'
read -r _; printf '\033[?1049h\033[2J\033[5;5Hfull screen'; sleep 0.2; printf '\033[?1049l'
seq 1 60; read -r _; printf 'done \033[44mblue\033[m'
"#;

#[test]
fn a_recording_plays_to_the_same_screen_at_the_same_times() {
    let instance = Instance::start();
    instance.ok(&["new", "-d", "t", "--size", "60x20", "--", "bash", "-c", PLAYED]);
    instance.ok(&["wait", "t", "--match", "日"]);
    instance.ok(&["resize", "t", "60x12"]);
    instance.ok(&["send", "t", "--enter"]);
    instance.ok(&["wait", "t", "--match", "^60$"]);
    instance.ok(&["resize", "t", "60x15"]);
    instance.ok(&["send", "t", "--enter"]);
    instance.ok(&["wait", "t", "--exit"]);
    let end = instance.ls()[0]["offset"].as_u64().unwrap().to_string();
    let screen = screen_of(&serde_json::from_str(&instance.ok(&["screen", "t", "--json"])).unwrap());
    assert!(screen.contains(&"done blue".to_owned()), "{screen:?}");

    for (args, version) in [(&["t"][..], 3), (&["t", "--cast-version", "2"], 2)] {
        let recording = Recording::read(&exported(&instance, args, "t.cast"));
        assert_eq!(recording.header["version"], version);
        assert_eq!(recording.size(), Size::new(60, 20).unwrap());
        assert_eq!(recording.resizes(), ["60x12", "60x15"]);
        assert_eq!(recording.played(), screen);
        assert!(recording.output().as_bytes() == instance.run(&["history", "t", "--format", "raw"]).stdout);
        assert!(recording.time_of("two") - recording.time_of("one") > PAUSE_MIN);
        assert!(recording.time_of("日") - recording.time_of("two") > PAUSE_MIN);
    }
    // From within: the screen that there was comes first.
    for from in ["3", "20", "90", "130"] {
        let part = Recording::read(&exported(&instance, &["t", "--from", from], "part.cast"));
        assert_eq!(part.played(), screen, "from {from}");
        let part = Recording::read(&exported(&instance, &["t", "--tail", from], "part.cast"));
        assert_eq!(part.played(), screen, "the last {from} lines");
    }
    let nothing = Recording::read(&exported(&instance, &["t", "--from", &end], "nothing.cast"));
    assert_eq!(nothing.played(), screen);
}

#[test]
fn times_are_kept_on_disk() {
    let instance = Instance::start_with("[log]\nsync = \"10ms\"\n", &[]);
    ran(&instance, "t", "80x24", "printf a; sleep 1; printf b; sleep 1; printf 'c\\n'; seq 1 50000");
    let in_memory = fs::read(exported(&instance, &["t"], "t.cast")).unwrap();
    let dir = instance.end();
    let instance = Instance::start_in(dir, "[log]\nsync = \"10ms\"\n", &[], &[]);
    let on_disk = Recording::read(&exported(&instance, &["t"], "t.cast"));
    fs::write(instance.path("before.cast"), in_memory).unwrap();
    let in_memory = Recording::read(&instance.path("before.cast"));
    assert!(on_disk.output() == in_memory.output());
    for recording in [&on_disk, &in_memory] {
        assert!(recording.time_of("b") > PAUSE_MIN && recording.time_of("c\r\n") > 2.0 * PAUSE_MIN);
    }
}

#[test]
fn asciinema_reads_recordings_of_either_version() {
    let instance = Instance::start();
    ran(&instance, "t", "80x24", "printf 'one\\n'; printf '\\033[31mred 日\\033[m\\n'");
    let raw = instance.run(&["history", "t", "--format", "raw"]).stdout;
    let [second, third] =
        [(&["t", "--cast-version", "2"][..], "2.cast"), (&["t"], "3.cast")].map(|(args, file)| exported(&instance, args, file));
    let Some(version) = output_of(Command::new("asciinema").arg("--version")) else { return };
    // The one in Python knows version 2 alone, and prints recordings; the one in Rust converts them.
    if String::from_utf8_lossy(&version.stdout).contains("asciinema 2.") {
        // It wants a terminal of its own, and prints to a file all the same.
        let printed = instance.path("printed");
        let print = format!("LC_ALL=C.UTF-8 asciinema cat '{}' > '{}'", second.display(), printed.display());
        ran(&instance, "reader", "80x24", &print);
        assert_eq!(fs::read_to_string(printed).unwrap(), String::from_utf8_lossy(&raw));
        return;
    }
    for recording in [second, third] {
        let converted = instance.path("converted.cast");
        let mut convert = Command::new("asciinema");
        convert.args(["convert", "--overwrite", "--output-format", "asciicast-v2"]).arg(recording).arg(&converted);
        output_of(&mut convert).unwrap();
        assert_eq!(Recording::read(&converted).output().as_bytes(), raw);
    }
}

#[test]
fn an_export_goes_on_over_kills_of_the_supervisor() {
    let instance = Instance::start();
    ran(&instance, "t", "80x24", "seq 1 200000");
    for (file, expected) in [("t.txt", numbers(1..=200_000)), ("t.raw", numbers(1..=200_000).replace('\n', "\r\n"))] {
        let (dir, before) = (instance.path("exports"), instance.log.count(" INFO ready "));
        fs::create_dir_all(&dir).unwrap();
        let mut export = instance.command(&["export", "t", "-o"]).arg(dir.join(file)).spawn().unwrap();
        spin_until("the export to begin", || !names(&dir).is_empty());
        for _ in 0..2 {
            instance.kill_supervisor();
        }
        assert!(export.wait().unwrap().success());
        assert!(fs::read_to_string(dir.join(file)).unwrap() == expected, "{file}");
        assert_eq!((names(&dir), instance.log.count(" INFO ready ")), (vec![file.to_owned()], before + 2));
        fs::remove_dir_all(dir).unwrap();
    }
}

/// A directory with a file of that name, and what is in it.
fn kept(file: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(file), "as it was").unwrap();
    dir
}

fn assert_kept(dir: &TempDir, file: &str) {
    assert_eq!(names(dir.path()), [file]);
    assert_eq!(fs::read_to_string(dir.path().join(file)).unwrap(), "as it was");
}

#[test]
fn an_interrupted_export_leaves_what_was_there() {
    let instance = Instance::start();
    ran(&instance, "t", "80x24", "seq 1 1000");
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let dir = kept("t.txt");
        // A supervisor that is held gives nothing: the export has begun, and does not end.
        let supervisor = instance.supervisor_pid().unwrap();
        kill_process(supervisor, Signal::STOP).unwrap();
        let mut export = instance.command(&["export", "t", "-o"]);
        let export = export.arg(dir.path().join("t.txt")).stderr(Stdio::piped()).spawn().unwrap();
        spin_until("the export to begin", || names(dir.path()).len() == 2);
        kill_process(Pid::from_child(&export), signal).unwrap();
        let output = export.wait_with_output().unwrap();
        kill_process(supervisor, Signal::CONT).unwrap();
        assert_eq!(output.status.code(), Some(code));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.starts_with("kaval: interrupted: ") && said.lines().count() == 1, "{said}");
        assert_kept(&dir, "t.txt");
    }
}

#[test]
fn an_export_that_fails_says_why_in_a_line_and_leaves_what_was_there() {
    let instance = Instance::start();
    ran(&instance, "t", "80x24", "seq 1 1000");
    let dir = kept("t.txt");
    let path = |name: &str| dir.path().join(name).into_os_string().into_string().unwrap();
    let (txt, none, below, here) = (path("t.txt"), path("t"), path("no/t.txt"), path(""));
    for (args, code, says) in [
        (&["t", "--format", "doc", "-o", &txt][..], 2, "txt, ansi, html, pdf, cast, raw"),
        (&["t", "-o", &none], 2, "--format"),
        (&["t", "-o", "-"], 2, "--format"),
        (&["t"], 2, "--output"),
        (&["t", "--from", "9", "--to", "3", "-o", &txt], 2, "--from 9 is behind --to 3"),
        (&["t", "--from", "9", "--tail", "3", "-o", &txt], 2, "--tail"),
        (&["t", "--cast-version", "2", "-o", &txt], 2, "--cast-version is for --format cast"),
        (&["t", "--cast-version", "1", "--format", "cast", "-o", &txt], 2, "2..=3"),
        (&["t", "--from", "999999", "-o", &txt], 1, "there is nothing between them"),
        (&["nobody", "-o", &txt], 3, "nobody"),
        (&["nobody", "--format", "pdf", "-o", &txt], 3, "nobody"),
        (&["t", "-o", &below], 1, "No such file or directory"),
        (&["t", "--format", "txt", "-o", &here], 1, "is a directory"),
        (&["t", "--format", "txt", "-o", "/dev/full"], 1, "No space left on device"),
    ] {
        let said = instance.fails(&[&["export"], args].concat(), code);
        assert!(said.contains(says), "{args:?}: {said}");
        assert_kept(&dir, "t.txt");
    }
    let mut unreachable = instance.command(&["export", "t", "--socket", "/nowhere", "-o", &txt]);
    assert_eq!(unreachable.output().unwrap().status.code(), Some(5));
    assert_kept(&dir, "t.txt");
}

#[test]
fn a_full_disk_leaves_nothing_behind() {
    let instance = Instance::start();
    ran(&instance, "t", "80x24", "seq 1 100000");
    let dir = tempfile::tempdir().unwrap();
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "kaval-test"]).arg(dir.path()).output();
    if !mount.is_ok_and(|output| output.status.success()) {
        return eprintln!("skipped: only root may mount a small disk");
    }
    let said = ["t.txt", "t.html", "t.pdf", "t.cast", "t.raw"].map(|file| {
        let path = dir.path().join(file).into_os_string().into_string().unwrap();
        let output = instance.run(&["export", "t", "-o", &path]);
        (output.status.code(), String::from_utf8(output.stderr).unwrap(), names(dir.path()))
    });
    assert!(Command::new("umount").arg("-l").arg(dir.path()).status().unwrap().success());
    for (code, stderr, left) in said {
        assert_eq!((code, left), (Some(1), vec![]), "{stderr}");
        assert!(stderr.contains("No space left on device") && stderr.lines().count() == 1, "{stderr}");
    }
}

#[test]
fn what_a_terminal_without_a_log_still_has_is_exported_and_what_not_is_told() {
    let instance = Instance::start();
    instance.ok(&["new", "-d", "t", "--no-log", "--", "sh", "-c", "seq 1 1000"]);
    instance.ok(&["wait", "t", "--exit"]);
    assert_eq!(fs::read_to_string(exported(&instance, &["t"], "t.txt")).unwrap(), numbers(1..=1000));
    let whole = Recording::read(&exported(&instance, &["t"], "t.cast"));
    assert_eq!(whole.output(), numbers(1..=1000).replace('\n', "\r\n"));
    ran(&instance, "empty", "80x24", "true");
    assert_eq!(fs::read(exported(&instance, &["empty"], "empty.txt")).unwrap(), b"");
    let empty = Recording::read(&exported(&instance, &["empty"], "empty.cast"));
    assert_eq!((empty.header["term"]["cols"].clone(), empty.output()), (Value::from(80), String::new()));
}

#[test]
fn a_bar_is_drawn_on_a_terminal_and_nowhere_else() {
    let instance = Instance::start();
    ran(&instance, "t", "80x24", "seq 1 100000");
    let path = instance.path("t.txt").into_os_string().into_string().unwrap();
    let socket = instance.socket().into_os_string().into_string().unwrap();
    instance.ok(&["new", "-d", "w", "--size", "100x10", "--", support::KAVAL, "--socket", &socket, "export", "t", "-o", &path]);
    instance.ok(&["wait", "w", "--exit"]);
    let shown = instance.ok(&["history", "w", "--format", "raw"]);
    assert!(shown.contains("t [") && shown.contains("/s, "), "{shown:?}");
    assert_eq!(instance.ok(&["history", "w"]), "", "nothing of the bar is left");
    assert!(fs::read_to_string(path).unwrap() == numbers(1..=100_000));
}
