# Tells kaval where prompts, commands and their ends are, and the working directory: kaval history NAME --commands, kaval ls, kaval events.
# In ~/.config/fish/config.fish:   set -q KAVAL_TERM_ID; and source /path/to/kaval.fish
# Other terminals that know these sequences (OSC 133, 7, 633) understand them as well.

if status is-interactive; and not set -q __kaval_shell
    set -g __kaval_shell 1

    # What is in a sequence must not end it: backslashes, semicolons and control characters as \xHH.
    function __kaval_escape
        string sub -l 4096 -- "$argv[1]" | string collect | string replace -a \\ '\\x5c' | string replace -a ';' '\\x3b' \
            | string join '\\x0a' | string replace -ra '[[:cntrl:]]' ' '
    end

    function __kaval_cwd
        printf '\e]7;file://%s%s\a' (hostname) (string escape --style=url -- "$PWD")
    end

    function __kaval_prompt --on-event fish_prompt
        __kaval_cwd
        printf '\e]133;A\a'
    end

    function __kaval_preexec --on-event fish_preexec
        printf '\e]633;E;%s\a\e]133;C\a' (__kaval_escape "$argv[1]")
    end

    function __kaval_postexec --on-event fish_postexec
        printf '\e]133;D;%s\a' $status
    end
end
