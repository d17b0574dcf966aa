//! The pager over a terminal's history, used as a person uses it: `kaval view`, and over `kaval attach`, in a real terminal window, tmux's.

#[path = "support/mod.rs"]
mod support;
#[path = "support/tmux.rs"]
mod tmux;

use std::fs;

use support::Instance;
use tmux::{Pane, Picture, await_some, difference, missing};

const WINDOW: (u16, u16) = (80, 24);
/// Tall, so that many lines take few pages.
const TALL: (u16, u16) = (60, 202);

/// Ends a test, with its reason, where a program that it uses is not installed.
macro_rules! needs {
    ($($program:literal),*) => {
        if let Some(program) = missing(&["tmux", "bash", "stty", $($program),*]) {
            eprintln!("skipped: {program} is not installed");
            return;
        }
    };
}

/// An instance and a window on it.
struct Stage {
    pane: Pane,
    instance: Instance,
}

impl Stage {
    fn open(size: (u16, u16)) -> Self {
        let instance = Instance::start();
        let pane = Pane::open(&instance.command::<&str>(&[]), instance.dir(), size);
        Self { pane, instance }
    }

    /// With a terminal `t` that runs a script, which has printed `done`.
    fn with(size: (u16, u16), script: &str, done: &str) -> Self {
        let stage = Self::open(size);
        stage.instance.ok(&["new", "-d", "t", "--size", "80x24", "--", "sh", "-c", script]);
        stage.instance.ok(&["wait", "t", "--match", done]);
        stage
    }

    /// With a terminal `t` that runs an interactive bash, with kaval's integration or without, and is attached to.
    fn with_bash(integration: bool) -> Self {
        let stage = Self::open(WINDOW);
        let rc = stage.instance.path("rc");
        let source = format!(". {}/config/shell/kaval.bash\n", env!("CARGO_MANIFEST_DIR"));
        fs::write(&rc, format!("PS1='child$ '\n{}", if integration { &source } else { "" })).unwrap();
        let command = ["--", "bash", "--noprofile", "--rcfile", rc.to_str().unwrap()];
        let env = ["--env", "LC_ALL=C.UTF-8", "--env", "HISTFILE="];
        stage.instance.ok(&[&["new", "-d", "t", "--size", "80x24"], &env[..], &command].concat());
        stage.pane.enter("clear; go kaval attach t");
        stage.pane.await_screen(|text| text.ends_with("child$"));
        stage
    }

    #[track_caller]
    fn view(&self) {
        self.pane.enter("clear; go kaval view t");
        self.pane.await_screen(|text| foot(text).starts_with(" t  lines "));
    }

    /// Presses keys one after the other, and waits for what is to be seen then.
    #[track_caller]
    fn press(&self, keys: &[&str], expected: impl Fn(&str) -> bool) -> String {
        keys.iter().for_each(|key| self.pane.press(key));
        self.pane.await_screen(expected)
    }

    #[track_caller]
    fn enter(&self, line: &str, expected: impl Fn(&str) -> bool) -> String {
        self.pane.enter(line);
        self.pane.await_screen(expected)
    }

    /// Quits `kaval view`: the shell is back, with its terminal as it was.
    #[track_caller]
    fn quit(&self) {
        self.pane.press("q");
        self.back_in_the_shell("code 0");
    }

    #[track_caller]
    fn back_in_the_shell(&self, code: &str) {
        self.pane.await_screen(|text| text.ends_with(&format!("{code}\nsettings kept\npane$")));
        assert!(self.pane.is_clean(), "a mode was left behind");
    }

    fn told(&self) -> Picture {
        Picture::of_json(&self.instance.ok(&["screen", "t", "--json"]))
    }

    /// Waits until the window and kaval show the same, and it is what is expected.
    #[track_caller]
    fn agree(&self, expected: impl Fn(&Picture) -> bool) -> Picture {
        await_some("agreement of the window and kaval screen", || {
            let (drawn, told) = (self.pane.picture(), self.told());
            if drawn == told && expected(&told) { Ok(told) } else { Err(difference(&drawn, &told)) }
        })
    }

    fn clients(&self) -> usize {
        self.instance.ls()[0]["clients"].as_u64().unwrap() as usize
    }
}

/// The last row.
fn foot(text: &str) -> &str {
    text.lines().last().unwrap_or_default()
}

fn first(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// The rows but for the foot.
fn body(text: &str) -> Vec<&str> {
    let rows: Vec<&str> = text.lines().collect();
    rows[..rows.len() - 1].to_vec()
}

/// Whether these are lines `line N` that follow each other, from that one on.
fn is_run(rows: &[&str], from: usize) -> bool {
    rows.iter().zip(from..).all(|(row, n)| *row == format!("line {n}"))
}

const TEN_THOUSAND: &str = "seq -f 'line %.0f' 0 9999; read _; while :; do echo flood; done";

#[test]
fn ten_thousand_lines_are_scrolled_back_through_while_output_floods_and_each_is_seen() {
    needs!("seq");
    let stage = Stage::with(TALL, TEN_THOUSAND, "line 9999");
    let (rows, page) = (usize::from(TALL.1) - 1, usize::from(TALL.1) - 2);
    stage.view();
    let seen = stage.pane.await_screen(|text| foot(text).contains("of 10000") && text.contains("line 9999"));
    assert!(is_run(&body(&seen), 10_000 - rows), "{seen}");
    stage.instance.ok(&["send", "t", "--enter", ""]);
    stage.instance.ok(&["wait", "t", "--match", "flood"]);
    let mut top = 10_000 - rows;
    while top > 0 {
        top = top.saturating_sub(page);
        stage.press(&["PageUp"], |text| body(text).len() == rows && is_run(&body(text), top));
    }
    stage.pane.await_screen(|text| foot(text).contains("at the start"));
    // Behind them the flood, which is followed.
    stage.press(&["End"], |text| body(text).len() == rows && body(text).iter().all(|row| *row == "flood"));
    let before = stage.press(&["F"], |text| foot(text).contains("following"));
    stage.pane.await_screen(|text| foot(text).contains("following") && foot(text) != foot(&before));
    stage.press(&["k"], |text| !foot(text).contains("following") && !foot(text).contains("at the end"));
    stage.quit();
}

#[test]
fn lines_are_searched_for_both_ways_and_shown_where_they_are() {
    needs!("seq");
    let script = "seq -f 'line %.0f' 0 4999; echo '\x1b[1;31mNeedle\x1b[m in red'; seq -f 'line %.0f' 5001 9999; exec cat";
    let stage = Stage::with(WINDOW, script, "line 9999");
    stage.view();
    stage.enter("?needle", |text| text.contains("\nNeedle in red\n") && is_run(&body(text)[..7], 4993));
    let red = stage.pane.picture();
    assert!(red.styled_cells() >= "Needle".len(), "{red:?}");
    stage.press(&["n"], |text| foot(text).contains("\"needle\" is nowhere above"));
    stage.press(&["N"], |text| foot(text).contains("\"needle\" is nowhere below"));
    stage.enter("/Needle$", |text| foot(text).contains("\"Needle$\" is nowhere below"));
    stage.enter("/^line 6.*7$", |text| body(text)[7] == "line 6007");
    stage.press(&["n"], |text| body(text)[7] == "line 6007" && foot(text).contains("lines 6000-"));
    stage.press(&["n", "n"], |text| body(text)[7] == "line 6037");
    stage.press(&["N"], |text| text.contains("line 6027"));
    stage.enter("/(", |text| foot(text).contains("\"(\" is no pattern: unclosed group"));
    stage.enter(":1234", |text| first(text) == "line 1234");
    stage.enter(":12345", |text| foot(text).contains("there is no line 12345 yet"));
    stage.enter(":x", |text| foot(text).contains("\"x\" is no line number"));
    stage.press(&["g"], |text| first(text) == "line 0" && foot(text).contains("at the start"));
    stage.quit();
}
