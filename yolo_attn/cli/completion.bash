# Completion of yolo-attn in bash. For every shell to come:
#   yolo-attn completion bash > ~/.local/share/bash-completion/completions/yolo-attn
# or, without the package bash-completion, in ~/.bashrc:
#   eval "$(yolo-attn completion bash)"

@TABLE@

_yolo_attn_offer() {  # add to COMPREPLY what a specification offers for a value
    local value=$1 token line
    local -a tokens
    read -ra tokens <<< "$spec"
    for token in "${tokens[@]}"; do
        case $token in
            , | + | .) ;;
            @any | @file:* | @folder)
                while IFS= read -r line; do
                    COMPREPLY+=("$line")
                    compopt -o filenames 2> /dev/null  # which also quotes them
                done < <(
                    compgen -d -- "$value"
                    case $token in
                        @any) compgen -f -X '' -- "$value" ;;
                        @file:*) compgen -f -X "!*.${token#@file:}" -- "$value" ;;
                    esac | while IFS= read -r line; do [ -d "$line" ] || printf '%s\n' "$line"; done
                ) ;;
            @*)
                _yolo_attn_table "${token#@}"
                while IFS= read -r line; do
                    line=${line%%|*}
                    _yolo_attn_is_new "$line" && case $line in "$value"*) COMPREPLY+=("$line") ;; esac
                done <<< "$REPLY" ;;
            "$value"*) ! _yolo_attn_is_new "$token" || COMPREPLY+=("$token") ;;
        esac
    done
}

_yolo_attn() {
    local IFS=$' \t\n' REPLY spec prefix line=${COMP_LINE:0:COMP_POINT}
    local word kept="" breaks="" i
    local -a given
    # shellcheck disable=SC2162  # a backslash keeps a blank within its word
    read -a given <<< "$line"  # COMP_WORDS would end at every = and :
    case $line in *[[:space:]]) given+=("") ;; esac
    word=${given[${#given[@]} - 1]}
    COMPREPLY=()
    _yolo_attn_find "${given[@]:1}"
    _yolo_attn_offer "${word#"$prefix"}"
    for i in = :; do
        case $COMP_WORDBREAKS in *$i*) breaks+=$i ;; esac
    done
    [ -z "$breaks" ] || case $word in  # readline replaces what is behind the last of these
        *["$breaks"]*) kept=${word%"${word##*["$breaks"]}"} ;;
    esac
    [ ${#COMPREPLY[@]} -eq 1 ] && case $spec${COMPREPLY[0]} in ,* | *[=:-]) compopt -o nospace 2> /dev/null ;; esac
    for ((i = 0; i < ${#COMPREPLY[@]}; i++)); do
        word=$prefix${COMPREPLY[i]}
        COMPREPLY[i]=${word#"$kept"}
    done
}

complete -o bashdefault -o default -F _yolo_attn yolo-attn
