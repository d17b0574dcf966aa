# Tells kaval where prompts, commands and their ends are, and the working directory: kaval history NAME --commands, kaval ls, kaval events.
# In ~/.zshrc:   [[ -z $KAVAL_TERM_ID ]] || source /path/to/kaval.zsh
# Other terminals that know these sequences (OSC 133, 7, 633) understand them as well.

if [[ -o interactive && -z $__kaval_shell ]]; then
    typeset -g __kaval_shell=1 __kaval_running=0

    # What is in a sequence must not end it: backslashes, semicolons and control characters as \xHH.
    __kaval_escape() {
        emulate -L zsh
        setopt no_multibyte
        local text=${1[1,4096]} out= c
        for c in ${(s::)text}; do
            case $c in
                [\\\;] | [[:cntrl:]]) out+=$(printf '\\x%02x' "'$c") ;;
                *) out+=$c ;;
            esac
        done
        print -rn -- $out
    }

    # The working directory, as the path of a file URL.
    __kaval_cwd() {
        emulate -L zsh
        setopt no_multibyte
        local out= c
        for c in ${(s::)PWD}; do
            case $c in
                [a-zA-Z0-9/._~-]) out+=$c ;;
                *) out+=$(printf '%%%02X' "'$c") ;;
            esac
        done
        print -n "\e]7;file://$HOST$out\a"
    }

    # Before each prompt: how the command ended, if one ran.
    __kaval_precmd() {
        local ended=$?
        ((__kaval_running)) && print -n "\e]133;D;$ended\a"
        __kaval_running=0
        __kaval_cwd
        # A theme may have set it anew.
        [[ $PS1 == *133\;A* ]] || PS1=$'%{\e]133;A\a%}'$PS1$'%{\e]133;B\a%}'
    }

    # When a command line was read, before it runs.
    __kaval_preexec() {
        __kaval_running=1
        print -n "\e]633;E;"
        __kaval_escape "$1"
        print -n "\a\e]133;C\a"
    }

    autoload -Uz add-zsh-hook
    # Before all others: they change what $? is.
    precmd_functions=(__kaval_precmd $precmd_functions)
    add-zsh-hook preexec __kaval_preexec
fi
