//! Full-screen programs, used as a person uses them: through `kaval attach` in a real terminal window, tmux's.
//!
//! What is compared is what tmux drew with what kaval says it shows, cell by cell, cursor included.

#[path = "support/mod.rs"]
mod support;
#[path = "support/tmux.rs"]
mod tmux;

use rustix::process::{Signal, kill_process};
use support::{Background, Instance, command_in};
use tmux::{Pane, Picture, await_some, difference, missing};

const WINDOW: (u16, u16) = (100, 30);
const SMALLER: (u16, u16) = (80, 24);
const LARGER: (u16, u16) = (130, 40);

/// A prompt of two lines in colours, direct ones too, ending in `└ $ `.
const FANCY_PROMPT: &str = r"\[\e[1;32m\]┌ \w \[\e[48;2;30;60;90m\] kaval \[\e[0m\]\n\[\e[38;5;208m\]└ \$\[\e[0m\] ";

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
    fn open() -> Self {
        let instance = Instance::start();
        let pane = Pane::open(&instance.command::<&str>(&[]), instance.dir(), WINDOW);
        Self { pane, instance }
    }

    /// With a terminal `t` that runs an interactive bash.
    fn with_bash(prompt: &str) -> Self {
        let stage = Self::open();
        let home = format!("HOME={}", stage.instance.dir().display());
        let prompt = format!("PS1={prompt}");
        let env = ["--env", &home, "--env", &prompt, "--env", "LC_ALL=C.UTF-8", "--env", "HISTFILE="];
        let cwd = ["--cwd", stage.instance.dir().to_str().unwrap()];
        let command = ["--", "bash", "--noprofile", "--norc"];
        stage.instance.ok(&[&["new", "-d", "t"], &env[..], &cwd, &command].concat());
        stage
    }

    fn another_window(&self, size: (u16, u16)) -> Pane {
        Pane::open(&self.instance.command::<&str>(&[]), self.instance.dir(), size)
    }

    fn attach(&self) {
        self.pane.enter("clear; go kaval attach t");
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

    #[track_caller]
    fn detach(&self) {
        self.pane.press("C-\\");
        self.back_in_the_shell("code 0");
    }

    /// Waits until the pane's shell is back, with its terminal as it was; types a command there.
    #[track_caller]
    fn back_in_the_shell(&self, code: &str) {
        let ended = |text: &str| text.ends_with(&format!("{code}\nsettings kept\npane$"));
        self.pane.await_screen(ended);
        assert!(self.pane.is_clean(), "a mode was left behind");
        self.pane.enter("echo o''k");
        self.pane.await_screen(|text| text.ends_with("pane$ echo o''k\nok\npane$"));
    }
}

/// A program that fills the screen.
struct Program {
    command: &'static str,
    /// Whether it has drawn itself.
    drawn: fn(&Picture) -> bool,
    /// Keys that do something, and whether that is to be seen.
    work: (&'static str, fn(&Picture) -> bool),
    /// More keys, after the supervisor's death, and whether what they do is to be seen.
    more: (&'static str, fn(&Picture) -> bool),
    /// What it keeps on the window's last row, however many there are.
    bottom: &'static str,
    /// Keys that leave it.
    leave: &'static str,
}

/// A day at work: started, used, resized, detached from, come back to, its supervisor killed, used on, left.
fn a_day_in(program: &Program) {
    let stage = Stage::with_bash("child$ ");
    stage.attach();
    stage.agree(|screen| screen.text == "child$");
    stage.pane.enter(program.command);
    stage.agree(program.drawn);
    stage.pane.type_in(program.work.0);
    stage.agree(program.work.1);
    for size in [SMALLER, LARGER, WINDOW] {
        stage.pane.resize(size);
        stage.agree(|screen| screen.size() == size && (program.work.1)(screen) && last_row(screen).contains(program.bottom));
    }
    detaches_and_comes_back(&stage);
    outlives_the_supervisor(&stage, program.more);
    leaves(&stage, program);
    stage.pane.press("C-\\");
    let below = |text: &str| text.contains("\n30 100\nchild$\n[detached from t; kaval attach t comes back]\ncode 0\n");
    stage.pane.await_screen(below);
}

fn last_row(screen: &Picture) -> &str {
    screen.text.lines().nth(usize::from(screen.size().1) - 1).unwrap_or_default()
}

#[track_caller]
fn detaches_and_comes_back(stage: &Stage) {
    let before = stage.agree(|_| true);
    stage.detach();
    stage.attach();
    stage.agree(|screen| *screen == before);
}

#[track_caller]
fn outlives_the_supervisor(stage: &Stage, (keys, seen): (&str, fn(&Picture) -> bool)) {
    let before = stage.agree(|_| true);
    stage.instance.kill_supervisor();
    stage.agree(|screen| *screen == before);
    stage.pane.type_in(keys);
    stage.agree(seen);
}

/// The prompt comes back; where the program used the alternate screen, on the main one with all that stood there.
#[track_caller]
fn leaves(stage: &Stage, program: &Program) {
    let on_alternate = stage.told().alternate;
    stage.pane.enter(program.leave);
    let typed = format!("child$ {}", program.command);
    stage.agree(|screen| {
        !screen.alternate && screen.text.ends_with("child$") && (!on_alternate || screen.text.starts_with(&typed))
    });
    stage.pane.enter("stty size");
    stage.agree(|screen| screen.text.ends_with("30 100\nchild$"));
}

#[test]
fn vim_survives_the_supervisors_death_and_leaves_the_prompt_behind() {
    needs!("vim");
    a_day_in(&Program {
        command: "vim --clean -n notes.txt",
        drawn: |screen| screen.alternate && screen.text.contains("notes.txt"),
        work: ("ihello\rthere, 漢字 and é\u{1b}", |screen| screen.text.starts_with("hello\nthere, 漢字 and é\n~")),
        more: ("ggOabove\u{1b}", |screen| screen.text.starts_with("above\nhello\nthere")),
        bottom: "All",
        leave: ":q!",
    });
}

#[test]
fn less_survives_the_supervisors_death_and_leaves_the_prompt_behind() {
    needs!("less", "seq");
    a_day_in(&Program {
        command: "seq -f 'line %g of many' 100000 | LESS= less",
        drawn: |screen| screen.alternate && screen.text.starts_with("line 1 of many\nline 2 of"),
        work: ("/line 5000 \r", |screen| screen.text.starts_with("line 5000 of many\nline 5001 of")),
        more: ("G", |screen| screen.text.contains("line 100000 of many\n(END)")),
        bottom: ":",
        leave: "q",
    });
}

#[test]
fn top_survives_the_supervisors_death_and_leaves_the_prompt_behind() {
    needs!("top");
    a_day_in(&Program {
        command: "top -d 3600",
        drawn: |screen| screen.text.starts_with("top - ") && screen.text.contains("PID USER"),
        work: ("1", |screen| screen.text.contains("Cpu0")),
        more: ("1", |screen| screen.text.contains("Cpu(s)")),
        bottom: "",
        leave: "q",
    });
}

#[test]
fn htop_survives_the_supervisors_death_and_leaves_the_prompt_behind() {
    needs!("htop");
    a_day_in(&Program {
        command: "htop -d 100",
        drawn: |screen| screen.alternate && screen.text.contains("PID") && screen.text.contains("F10Quit"),
        work: ("Z", |screen| screen.text.contains("PID")),
        more: ("t", |screen| screen.text.contains("F5List")),
        bottom: "F10Quit",
        leave: "q",
    });
}

#[test]
fn a_shell_with_a_fancy_prompt_is_the_same_after_resizing_detaching_and_the_supervisors_death() {
    needs!("ls");
    let stage = Stage::with_bash(FANCY_PROMPT);
    stage.attach();
    stage.agree(|screen| screen.text.ends_with("└ $") || screen.text.ends_with("└ #"));
    stage.pane.enter("ls --color=always -l / /usr; seq 12");
    stage.agree(|screen| screen.text.contains("\n11\n12\n┌") && screen.styled_cells() > 40);
    stage.pane.type_in("echo half a line");
    for size in [SMALLER, LARGER, WINDOW] {
        stage.pane.resize(size);
        stage.agree(|screen| screen.size() == size && screen.text.ends_with("echo half a line"));
    }
    detaches_and_comes_back(&stage);
    outlives_the_supervisor(&stage, (" and more\rstty size\r", |screen| screen.text.contains("\n30 100\n┌")));
    stage.pane.enter("exit 9");
    stage.back_in_the_shell("code 9");
}

#[test]
fn the_detach_key_pressed_twice_is_typed_and_its_long_encodings_detach() {
    needs!("cat");
    let stage = Stage::with_bash("child$ ");
    stage.attach();
    stage.pane.enter("stty quit undef; cat -v");
    stage.agree(|screen| screen.text.ends_with("cat -v"));
    stage.pane.press("C-\\");
    stage.pane.press("C-\\");
    stage.pane.enter("");
    stage.agree(|screen| screen.text.ends_with("cat -v\n^\\\n^\\"));
    for encoding in ["\x1b[92;5u", "\x1b[27;5;92~"] {
        stage.pane.type_in(encoding);
        stage.back_in_the_shell("code 0");
        stage.attach();
        stage.agree(|screen| screen.text.ends_with("cat -v\n^\\\n^\\"));
    }
}

#[test]
fn a_program_puts_into_the_windows_clipboard_what_it_may_and_never_reads_it() {
    needs!("cat");
    let stage = Stage::with_bash("child$ ");
    stage.pane.open_clipboard("secret");
    stage.attach();
    stage.agree(|screen| screen.text == "child$");
    stage.pane.enter(r"printf '\033]52;c;?\033\\\033]52;c;aGVsbG8=\033\\'; cat -v");
    await_some("a text in the clipboard", || match stage.pane.clipboard() {
        text if text == "hello" => Ok(()),
        text => Err(text),
    });
    stage.pane.enter("typed");
    stage.agree(|screen| screen.text.ends_with("cat -v\ntyped\ntyped"));
    stage.pane.press("C-c");
    stage.detach();

    std::fs::write(stage.instance.path("config/kaval/kaval.toml"), "[attach]\nclipboard = \"off\"\n").unwrap();
    stage.attach();
    stage.agree(|screen| screen.text.ends_with("child$"));
    stage.pane.enter(r"clear; printf '\033]52;c;b3RoZXI=\007sh''own\n'");
    stage.agree(|screen| screen.text == "shown\nchild$");
    assert_eq!(stage.pane.clipboard(), "hello");
    stage.detach();
}

#[test]
fn a_child_that_ends_while_attached_gives_its_exit_code() {
    needs!();
    let stage = Stage::open();
    for (name, script, code) in [("a", "exit 7", 7), ("b", "kill -KILL $$", 137), ("c", "kill -TERM $$", 143), ("d", "true", 0)]
    {
        stage.pane.enter(&format!("clear; go kaval new {name} -- sh -c '{script}'"));
        stage.back_in_the_shell(&format!("code {code}"));
    }
}

#[test]
fn the_window_last_used_sets_the_size_and_one_that_only_watches_does_nothing() {
    needs!();
    let stage = Stage::with_bash("child$ ");
    stage.attach();
    stage.agree(|screen| screen.size() == WINDOW && screen.text == "child$");
    let other = stage.another_window(SMALLER);
    other.enter("clear; kaval attach t");
    await_size(&stage, SMALLER);
    let watcher = stage.another_window(LARGER);
    watcher.enter("clear; go kaval attach t --read-only");
    watcher.await_screen(|text| text.ends_with("child$"));
    stage.pane.enter("stty size");
    stage.agree(|screen| screen.size() == WINDOW && screen.text.contains("30 100"));
    watcher.type_in("not typed");
    watcher.resize((140, 45));
    other.type_in("typed");
    await_size(&stage, SMALLER);
    watcher.await_screen(|text| text.ends_with("child$ typed"));
    watcher.press("C-\\");
    watcher.await_screen(|text| text.ends_with("code 0\nsettings kept\npane$"));
    assert!(stage.told().text.ends_with("child$ typed"));
    assert_eq!(stage.told().size(), SMALLER);
}

#[test]
fn a_window_of_another_size_shows_what_fits_of_the_terminal() {
    needs!("vim");
    let stage = Stage::with_bash("child$ ");
    stage.attach();
    stage.agree(|screen| screen.size() == WINDOW);
    let (larger, smaller) = (stage.another_window(LARGER), stage.another_window(SMALLER));
    for window in [&larger, &smaller] {
        window.enter("clear; go kaval attach t --read-only");
        window.await_screen(|text| text.ends_with("child$"));
    }
    stage.pane.enter("for i in $(seq 60); do echo $i $(printf %0150d $i); done; vim -u NONE -c 'set nu' -c 'norm 50ofoo' x");
    let told = stage.agree(|screen| screen.text.contains("51 foo"));
    let row = told.text.lines().position(|line| line.ends_with("51 foo")).unwrap();
    larger.await_screen(|text| *text == told.text);
    smaller.await_screen(|text| {
        text.lines().last().is_some_and(|line| line.ends_with("51 foo")) && text.lines().count() <= row + 1
    });
    stage.pane.type_in("\u{1b}:q!\n");
    let told = stage.agree(|screen| screen.text.ends_with("child$"));
    larger.await_screen(|text| *text == told.text);
    // Who types gives the terminal the window's size, and sees it as it is.
    let other = stage.another_window(SMALLER);
    other.enter("clear; kaval attach t");
    await_size(&stage, SMALLER);
    other.await_screen(|text| *text == stage.told().text);
    smaller.await_screen(|text| *text == stage.told().text);
    stage.pane.type_in("x");
    await_size(&stage, WINDOW);
    stage.agree(|screen| screen.text.ends_with("child$ x"));
    for window in [&larger, &smaller] {
        window.press("C-\\");
        window.await_screen(|text| text.ends_with("code 0\nsettings kept\npane$"));
        assert!(window.is_clean(), "a mode was left behind");
    }
}

#[track_caller]
fn await_size(stage: &Stage, size: (u16, u16)) {
    await_some("the size", || {
        let told = stage.told();
        if told.size() == size { Ok(()) } else { Err(format!("{told:?}")) }
    });
}

#[test]
fn the_size_stays_with_the_window_last_used_when_the_supervisor_dies() {
    needs!();
    let stage = Stage::with_bash("child$ ");
    stage.attach();
    let others: Vec<Pane> = (0..4).map(|i| stage.another_window((60 + i, 20))).collect();
    for (other, cols) in others.iter().zip(60..) {
        other.enter("clear; kaval attach t");
        await_size(&stage, (cols, 20));
    }
    stage.pane.type_in("echo");
    await_size(&stage, WINDOW);
    stage.instance.kill_supervisor();
    await_some("the clients' return", || match &stage.instance.ls()[0]["clients"] {
        clients if *clients == 5 => Ok(()),
        clients => Err(clients.to_string()),
    });
    stage.agree(|screen| screen.size() == WINDOW && screen.text.ends_with("echo"));
    others[0].type_in(" x");
    await_size(&stage, (60, 20));
}

#[test]
fn a_supervisor_that_stays_away_is_announced_and_the_announcement_goes_when_it_is_back() {
    needs!();
    let stage = Stage::with_bash("child$ ");
    stage.attach();
    let before = stage.agree(|screen| screen.text == "child$");
    kill_process(stage.instance.keeper_pid(), Signal::STOP).unwrap();
    kill_process(stage.instance.supervisor_pid().unwrap(), Signal::KILL).unwrap();
    stage.pane.await_screen(|text| text.contains("waiting for the supervisor"));
    stage.pane.type_in("echo");
    kill_process(stage.instance.keeper_pid(), Signal::CONT).unwrap();
    stage.instance.log.await_count(" INFO ready ", 2);
    stage.agree(|screen| screen.text == format!("{} echo", before.text));
}

/// A program that is quiet right after has nothing drawn over what it shows, and neither has the next one.
#[test]
fn a_supervisor_that_is_back_at_once_is_not_announced_however_quiet_the_program_is() {
    needs!();
    let stage = Stage::with_bash("child$ ");
    stage.attach();
    let before = stage.agree(|screen| screen.text == "child$");
    stage.instance.kill_supervisor();
    stage.instance.log.await_count(" INFO ready ", 2);
    // Longer than what a gap may last before it is announced.
    stage.instance.fails(&["wait", "t", "--match", "never", "--timeout", "3"], 124);
    stage.agree(|screen| *screen == before);
}

#[test]
fn a_notice_of_the_end_of_an_idle_terminal_is_shown_and_goes_when_something_is_typed() {
    needs!();
    let stage = Stage::with_bash("child$ ");
    stage.attach();
    let before = stage.agree(|screen| screen.text == "child$");
    let config = "[reap]\nidle_after = \"8s\"\nnotice = \"4s\"\n";
    std::fs::write(stage.instance.path("config/kaval/kaval.toml"), config).unwrap();
    stage.instance.ok(&["reload"]);
    stage.pane.await_screen(|text| text.contains("kaval: idle; it is hung up in 4s unless something is typed"));
    assert_eq!(stage.told(), before, "the screen itself is as it was");
    stage.pane.type_in("echo");
    stage.agree(|screen| screen.text == format!("{} echo", before.text));
}

#[test]
fn what_the_window_showed_before_is_in_its_scrollback() {
    needs!();
    let stage = Stage::with_bash("child$ ");
    stage.pane.enter("tmux set -w scroll-on-clear off; echo pre''cious");
    stage.pane.await_screen(|text| text.ends_with("precious\npane$"));
    stage.pane.enter("go kaval attach t");
    stage.agree(|screen| screen.text == "child$");
    assert!(stage.pane.scrollback().ends_with("\nprecious\npane$ go kaval attach t\nchild$"), "{}", stage.pane.scrollback());
}

#[test]
fn the_last_lines_that_left_the_screen_come_into_the_windows_scrollback_once_when_asked_for() {
    needs!();
    let stage = Stage::open();
    let (cols, rows) = WINDOW;
    let script = "stty -echo; for i in $(seq 1 90); do echo line $i; done; cat";
    stage.instance.ok(&["new", "-d", "t", "--size", &format!("{cols}x{rows}"), "--", "sh", "-c", script]);
    stage.instance.ok(&["wait", "t", "--match", "line 90"]);
    stage.pane.enter("go kaval attach --history 20 t");
    stage.agree(|screen| screen.text.ends_with("line 90"));
    let scrollback = stage.pane.scrollback();
    let seen: Vec<&str> = scrollback.lines().filter(|line| line.starts_with("line ")).collect();
    // The last row is the empty one that the cursor is in.
    let above = 90 - (usize::from(rows) - 1);
    let expected: Vec<String> = (above - 19..=90).map(|n| format!("line {n}")).collect();
    assert_eq!(seen, expected);
}

#[test]
fn resizing_leaves_no_copies_in_the_windows_scrollback() {
    needs!();
    // Once in some twenty runs under load, window and mirror still differed after a quick series of resizes; the cause is not found yet.
    if !support::soak() {
        return println!("skipped: not reliable under load yet; KAVAL_SOAK=1 runs it");
    }
    let stage = Stage::with_bash("child$ ");
    stage.attach();
    stage.pane.enter("echo uni''que");
    for size in [SMALLER, LARGER, SMALLER, WINDOW] {
        stage.pane.resize(size);
        stage.agree(|screen| screen.size() == size && screen.text.ends_with("\nunique\nchild$"));
    }
    let scrollback = stage.pane.scrollback();
    assert_eq!(scrollback.matches("\nunique\n").count(), 1, "{scrollback}");
}

#[test]
fn attaching_without_a_terminal_is_refused_in_one_line() {
    let instance = Instance::start();
    instance.ok(&["new", "-d", "t", "--", "cat"]);
    for args in [&["attach", "t"][..], &["new", "u", "--", "cat"], &[]] {
        let said = instance.fails(args, 125);
        assert!(said.contains("attaching needs a terminal") && said.contains("kaval send"), "{said}");
    }
    assert_eq!(instance.ls().len(), 1, "a terminal was created all the same");
}

#[test]
fn attaching_to_no_such_terminal_is_refused_in_one_line() {
    needs!();
    let stage = Stage::open();
    stage.pane.enter("clear; go kaval attach nobody");
    let text = stage.pane.await_screen(|text| text.ends_with("code 3\nsettings kept\npane$"));
    assert_eq!(text.lines().count(), 4, "{text}");
}

#[test]
fn kaval_alone_starts_a_supervisor_and_comes_back_to_the_same_shell() {
    needs!();
    let background = Background::new();
    let pane = Pane::open(&command_in(background.dir()), background.dir(), WINDOW);
    pane.enter("clear; go kaval");
    pane.await_screen(|text| text.ends_with('$') || text.ends_with('#'));
    pane.enter("PS1='mine$ '; x=4");
    pane.await_screen(|text| text.ends_with("mine$"));
    pane.press("C-\\");
    pane.await_screen(|text| text.ends_with("code 0\nsettings kept\npane$"));
    pane.enter("clear; go kaval");
    pane.await_screen(|text| text.ends_with("mine$"));
    pane.enter("echo ${x}2");
    pane.await_screen(|text| text.ends_with("42\nmine$"));
    assert!(background.run(&["shutdown", "--force"]).status.success());
    pane.await_screen(|text| text.ends_with("code 129\nsettings kept\npane$"));
    assert_eq!(background.run(&["ls"]).status.code(), Some(5));
}

/// Keys were not heeded until the last line had come.
#[test]
fn one_can_leave_while_lines_of_history_still_come() {
    needs!();
    let stage = Stage::open();
    stage.instance.ok(&["new", "-d", "t", "--", "sh", "-c", "seq -f 'a line of history %.0f' 300000; echo the end; exec cat"]);
    stage.instance.ok(&["wait", "t", "--match", "the end"]);
    stage.pane.enter("clear; go kaval attach t --history 300000");
    stage.pane.await_screen(|text| text.contains("a line of history"));
    stage.pane.press("C-\\");
    stage.pane.await_screen(|text| text.contains("comes back"));
    assert!(!stage.pane.text().contains("the end"), "{}", stage.pane.text());
    stage.back_in_the_shell("code 0");
}
