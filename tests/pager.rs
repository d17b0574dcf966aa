//! The pager over a terminal's history, used as a person uses it: `kaval view`, and over `kaval attach`, in a real terminal window, tmux's.

#[path = "support/mod.rs"]
mod support;
#[path = "support/tmux.rs"]
mod tmux;

use std::{
    fs,
    time::{SystemTime, UNIX_EPOCH},
};

use rustix::process::{Pid, Signal, kill_process};
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
    stage.press(&["n", "n"], |text| body(text)[7] == "line 6027" && text.contains("line 6037"));
    stage.press(&["N", "N", "N"], |text| body(text)[7] == "line 6007");
    stage.enter("/(", |text| foot(text).contains("\"(\" is no pattern: unclosed group"));
    stage.enter(":1234", |text| first(text) == "line 1234");
    stage.enter(":12345", |text| foot(text).contains("there is no line 12345 yet"));
    stage.enter(":x", |text| foot(text).contains("\"x\" is no line number"));
    stage.press(&["g"], |text| first(text) == "line 0" && foot(text).contains("at the start"));
    stage.quit();
}

#[test]
fn a_search_that_takes_long_says_how_far_it_is_and_is_given_up() {
    needs!("seq");
    let stage = Stage::with(WINDOW, "seq 0 99999; exec cat", "^99999");
    stage.view();
    stage.press(&["g"], |text| foot(text).contains("at the start"));
    stage.enter("/nowhere", |text| foot(text).contains("looking for \"nowhere\", at line"));
    stage.press(&["C-c"], |text| foot(text) == " given up");
    stage.press(&["j"], |text| first(text) == "1");
    stage.quit();
}

#[test]
fn a_time_is_jumped_to() {
    needs!("seq");
    let script = "seq -f 'early %.0f' 0 99; read _; seq -f 'late %.0f' 0 99; exec cat";
    let stage = Stage::with(WINDOW, script, "early 99");
    let between = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let between = jiff::Timestamp::from_millisecond(between).unwrap().to_string();
    stage.instance.ok(&["send", "t", "--enter", ""]);
    stage.instance.ok(&["wait", "t", "--match", "late 99"]);
    stage.view();
    stage.enter(&format!("t{between}"), |text| first(text).starts_with("early 7") || first(text).starts_with("early 8"));
    stage.press(&["PageDown"], |text| text.contains("late 0\nlate 1\n"));
    stage.enter("t1 day ago", |text| foot(text).contains("was not there yet at that time"));
    stage.enter("t2999-01-01", |text| foot(text).contains("that is yet to come"));
    stage.enter("tsoon", |text| foot(text).contains("\"soon\" is no time"));
    stage.quit();
}

#[test]
fn lines_are_selected_copied_and_saved() {
    needs!("seq");
    let stage = Stage::with(WINDOW, "seq -f 'line %.0f' 0 999; exec cat", "line 999");
    stage.pane.open_clipboard("nothing yet");
    stage.view();
    stage.enter(":500", |text| first(text) == "line 500");
    stage.press(&["v", "j", "j"], |text| foot(text).contains("lines 500-502 selected"));
    stage.press(&["y"], |text| foot(text).contains("copied 3 lines, 27 bytes"));
    await_some("the clipboard", || match stage.pane.clipboard() {
        copied if copied == "line 500\nline 501\nline 502\n" => Ok(()),
        other => Err(other),
    });
    let file = stage.instance.path("saved");
    stage.press(&["v", "PageDown", "s"], |text| foot(text) == "save to:");
    stage.enter(file.to_str().unwrap(), |text| foot(text).contains("saved 23 lines, 207 bytes"));
    let numbers = |range: std::ops::Range<u32>| range.map(|n| format!("line {n}\n")).collect::<String>();
    assert_eq!(fs::read_to_string(&file).unwrap(), numbers(500..523));
    stage.press(&["s"], |text| foot(text) == "save to:");
    stage.enter(file.to_str().unwrap(), |text| foot(text).contains("is there already"));
    let all = stage.instance.path("all");
    stage.press(&["s"], |text| foot(text) == "save to:");
    stage.enter(all.to_str().unwrap(), |text| foot(text).contains("saved 1000 lines"));
    assert_eq!(fs::read_to_string(&all).unwrap(), numbers(0..1000));
    stage.press(&["s"], |text| foot(text) == "save to:");
    stage.enter("/nowhere/at/all", |text| foot(text).contains("cannot be written"));
    stage.quit();
}

#[test]
fn an_ended_terminal_is_viewed_and_one_that_is_none_refused() {
    needs!("seq");
    let stage = Stage::open(WINDOW);
    stage.instance.ok(&["new", "-d", "t", "--size", "80x24", "--", "seq", "-f", "line %.0f", "0", "999"]);
    stage.instance.ok(&["wait", "t", "--exit"]);
    stage.view();
    stage.pane.await_screen(|text| text.contains("line 999") && foot(text).contains("of 1000  at the end"));
    stage.press(&["g"], |text| first(text) == "line 0" && foot(text).contains("at the start"));
    stage.instance.ok(&["rm", "t"]);
    stage.press(&["G"], |text| foot(text).contains("no terminal"));
    stage.quit();
    stage.pane.enter("clear; go kaval view t");
    stage.back_in_the_shell("code 3");
    let said = stage.instance.fails(&["view", "t"], 1);
    assert!(said.contains("needs a terminal"), "{said}");
}

#[test]
fn windows_of_any_size_show_it_and_sizes_may_change() {
    needs!("seq");
    let script = "seq -f 'line %.0f' 0 99; printf '%0150d\\n' 7; seq -f 'line %.0f' 101 200; exec cat";
    let stage = Stage::with(WINDOW, script, "line 200");
    stage.view();
    stage.enter(":100", |text| text.starts_with(&format!("{}\n{:070}\nline 101\n", "0".repeat(80), 7)));
    stage.pane.resize((50, 10));
    stage.pane.await_screen(|text| {
        body(text).len() == 9 && text.starts_with(&format!("{0}\n{0}\n{1:050}\nline 101\n", "0".repeat(50), 7))
    });
    stage.pane.resize((130, 1));
    stage.pane.await_screen(|text| text == "0".repeat(130));
    stage.press(&["j", "j"], |text| text == "line 101");
    stage.enter("/150", |text| text == "line 150");
    stage.pane.resize((1, 1));
    stage.pane.await_screen(|text| text == "l");
    stage.press(&["j", "k", "h"], |text| text.len() == 1);
    stage.press(&["Escape"], |text| text == "l");
    stage.pane.resize(WINDOW);
    stage.pane.await_screen(|text| first(text) == "line 150" && foot(text).contains("lines 150-172 of 201"));
    stage.press(&["h"], |text| {
        text.contains("a page; also Ctrl-F Ctrl-B") && text.lines().all(|line| line.chars().count() <= 80)
    });
    stage.press(&["h"], |text| first(text) == "line 150");
    stage.quit();
}

#[test]
fn the_supervisors_death_is_outlived_and_a_signal_leaves_the_window_clean() {
    needs!("seq");
    let stage = Stage::with(WINDOW, "seq -f 'line %.0f' 0 9999; exec cat", "line 9999");
    stage.view();
    stage.instance.kill_supervisor();
    stage.press(&["g"], |text| first(text) == "line 0");
    stage.pane.type_in("q");
    stage.back_in_the_shell("code 0");
    stage.pane.enter("clear; go sh -c 'echo $$ >pid; exec kaval view t'");
    stage.pane.await_screen(|text| foot(text).starts_with(" t  lines "));
    let pid = fs::read_to_string(stage.instance.path("pid")).unwrap().trim().parse().unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
    stage.back_in_the_shell("code 143");
}

#[test]
fn attached_the_pager_is_opened_over_the_terminal_and_the_shell_goes_on_behind() {
    needs!("seq");
    let stage = Stage::with_bash(false);
    stage.enter("seq -f 'line %.0f' 0 199", |text| text.ends_with("line 199\nchild$"));
    stage.pane.type_in("sleep 0; ech");
    stage.agree(|screen| screen.text.ends_with("child$ sleep 0; ech"));
    stage.pane.press("C-\\");
    stage.pane.press("[");
    stage.pane.await_screen(|text| foot(text).starts_with(" t  lines ") && text.contains("child$ sleep 0; ech"));
    await_some("nobody attached", || if stage.clients() == 0 { Ok(()) } else { Err(String::new()) });
    stage.instance.ok(&["send", "t", "--enter", "o behind"]);
    stage.instance.ok(&["wait", "t", "--match", "^behind"]);
    assert!(!stage.pane.text().contains("behind"), "output was drawn over the pager");
    stage.press(&["Up"], |text| foot(text).contains("lines 17"));
    stage.press(&["q"], |text| text.ends_with("echo behind\nbehind\nchild$"));
    stage.agree(|screen| screen.text.ends_with("behind\nchild$") && !screen.alternate);
    stage.enter("echo o''n", |text| text.ends_with("\non\nchild$"));
    stage.pane.press("C-\\");
    stage.pane.press("PageUp");
    stage.pane.await_screen(|text| foot(text).starts_with(" t  lines 1") && !text.contains("behind"));
    stage.pane.resize((70, 20));
    stage.pane.await_screen(|text| text.lines().count() == 20 && foot(text).starts_with(" t  lines 1"));
    stage.press(&["Escape"], |text| text.ends_with("on\nchild$"));
    stage.agree(|screen| screen.size() == (70, 20) && screen.text.ends_with("on\nchild$"));
    stage.pane.press("C-\\");
    stage.back_in_the_shell("code 0");
}

#[test]
fn full_screen_programs_are_come_back_to_as_they_are() {
    needs!("vim", "less", "seq");
    let stage = Stage::with_bash(false);
    // Left to, vim would ask for colours, which tmux does not tell when nobody looks at it. kaval would a second later, to whom that finds.
    for (command, drawn, keys, then, leave) in [
        ("vim --clean --cmd 'set t_RV= t_RF= t_RB=' -n notes.txt", "notes.txt", "ihello\x1b", "hello\n~", ":q!"),
        ("seq -f 'line %.0f' 5000 | LESS= less", "line 1\nline 2\n", "/line 400$\r", "line 400\nline 401\n", "q"),
    ] {
        stage.enter(command, |text| text.contains(drawn));
        let before = stage.agree(|screen| screen.alternate);
        stage.pane.press("C-\\");
        stage.pane.press("PageUp");
        stage.pane.await_screen(|text| foot(text).starts_with(" t  "));
        stage.press(&["f"], |text| foot(text).contains("full-screen programs are shown"));
        stage.press(&["G"], |text| text.contains("full screen, still there") || text.contains("lines go on"));
        stage.press(&["q"], |text| text.contains(drawn));
        stage.agree(|screen| *screen == before);
        stage.pane.type_in(keys);
        stage.agree(|screen| screen.text.contains(then));
        stage.enter(leave, |text| text.ends_with("child$"));
        stage.agree(|screen| !screen.alternate && screen.text.ends_with("child$"));
    }
    stage.pane.press("C-\\");
    stage.back_in_the_shell("code 0");
}

#[test]
fn commands_are_gone_through() {
    needs!("seq");
    let stage = Stage::with_bash(true);
    for (command, last) in [("seq 100 199", "199"), ("seq 200 299; echo two; echo three", "three"), ("seq 300 399", "399")] {
        stage.enter(command, |text| text.ends_with(&format!("{last}\nchild$")));
    }
    stage.pane.press("C-\\");
    stage.pane.press("[");
    stage.pane.await_screen(|text| foot(text).starts_with(" t  lines "));
    stage.press(&["["], |text| first(text) == "child$ seq 300 399");
    stage.press(&["["], |text| first(text) == "child$ seq 200 299; echo two; echo three");
    stage.press(&["["], |text| first(text) == "child$ seq 100 199");
    stage.press(&["["], |text| foot(text).contains("no command is known before this"));
    stage.press(&["]", "]"], |text| first(text) == "child$ seq 300 399");
    stage.press(&["]"], |text| foot(text).contains("no command is known behind this"));
    stage.press(&["q"], |text| text.ends_with("399\nchild$"));
    stage.pane.press("C-\\");
    stage.back_in_the_shell("code 0");
}

#[test]
fn the_childs_end_behind_the_pager_is_told_when_it_is_left() {
    needs!("cat");
    let stage = Stage::with_bash(false);
    stage.pane.press("C-\\");
    stage.pane.press("[");
    stage.pane.await_screen(|text| foot(text).starts_with(" t  lines "));
    stage.instance.ok(&["send", "t", "--enter", "exit 7"]);
    stage.instance.ok(&["wait", "t", "--exit"]);
    stage.press(&["G", "k", "j"], |text| text.contains("exit 7"));
    stage.pane.press("q");
    stage.back_in_the_shell("code 7");
}

#[test]
fn detaching_from_within_the_pager_leaves_the_window_clean() {
    needs!("cat");
    let stage = Stage::with_bash(false);
    stage.pane.press("C-\\");
    stage.pane.press("[");
    stage.pane.await_screen(|text| foot(text).starts_with(" t  lines "));
    stage.pane.press("C-\\");
    stage.back_in_the_shell("code 0");
}
