# Tells kaval where prompts, commands and their ends are, and the working directory: kaval history NAME --commands, kaval ls, kaval events.
# In ~/.bashrc:   [ -z "$KAVAL_TERM_ID" ] || . /path/to/kaval.bash
# Other terminals that know these sequences (OSC 133, 7, 633) understand them as well.

if [ -n "$BASH_VERSION" ] && [[ $- == *i* ]] && [ -z "$__kaval_shell" ]; then
    __kaval_shell=1 __kaval_running=0 __kaval_last= __kaval_none=

    # What is in a sequence must not end it: backslashes, semicolons and control characters as \xHH.
    __kaval_escape() {
        local LC_ALL=C text=$1 out= i c
        for ((i = 0; i < ${#text} && i < 4096; i++)); do
            c=${text:i:1}
            case $c in
                [\\\;] | [[:cntrl:]]) printf -v c '\\x%02x' "'$c" ;;
            esac
            out+=$c
        done
        printf '%s' "$out"
    }

    # The working directory, as the path of a file URL.
    __kaval_cwd() {
        local LC_ALL=C path=$PWD out= i c
        for ((i = 0; i < ${#path}; i++)); do
            c=${path:i:1}
            case $c in
                [a-zA-Z0-9/._~-]) ;;
                *) printf -v c '%%%02X' "$(($(printf '%d' "'$c") & 255))" ;;
            esac
            out+=$c
        done
        printf '\e]7;file://%s%s\a' "$HOSTNAME" "$out"
    }

    # Splits the newest entry of the history into its number and the command line.
    __kaval_newest() {
        local entry
        entry=$(HISTTIMEFORMAT='' builtin history 1)
        [[ $entry =~ ^[[:space:]]*([0-9]+)[*[:space:]][[:space:]](.*)$ ]]
    }

    # Before each prompt: how the command ended, if one ran.
    __kaval_prompt() {
        local status=$?
        ((__kaval_running)) && printf '\e]133;D;%s\a' "$status"
        __kaval_running=0
        __kaval_newest && __kaval_last=${BASH_REMATCH[1]}
        __kaval_cwd
        return "$status"
    }

    # When a command line was read, before it runs. One that the history does not take (HISTCONTROL) is not told.
    __kaval_start() {
        if __kaval_newest && [ "${BASH_REMATCH[1]}" != "$__kaval_last" ]; then
            printf '\e]633;E;%s\a' "$(__kaval_escape "${BASH_REMATCH[2]}")"
        fi
        printf '\e]133;C\a'
    }

    PROMPT_COMMAND="__kaval_prompt${PROMPT_COMMAND:+; $PROMPT_COMMAND}"
    PS1='\[\e]133;A\a\]'$PS1'\[\e]133;B\a\]'
    # The arithmetic is there for what it sets: a command substitution could not.
    PS0=$PS0'$(__kaval_start)${__kaval_none:$((__kaval_running=1, 0)):0}'
fi
