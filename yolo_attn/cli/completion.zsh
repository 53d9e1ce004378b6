#compdef yolo-attn
# Completion of yolo-attn in zsh. For every shell to come, with ~/.zfunc in fpath before compinit:
#   yolo-attn completion zsh > ~/.zfunc/_yolo-attn
# or, in ~/.zshrc behind compinit:
#   source <(yolo-attn completion zsh)

@TABLE@

_yolo_attn_offer() {  # add the matches that a specification offers
    local token line
    local -a endings offered described keys open closed
    for token in ${=spec}; do
        case $token in
            , | + | .) ;;
            @any | @folder) endings+=($token) ;;
            @file:*) endings+=(${token#@file:}) ;;
            @*)
                _yolo_attn_table ${token#@}
                offered+=(${(f)REPLY}) ;;
            *) offered+=($token) ;;
        esac
    done
    for line in $offered; do
        _yolo_attn_is_new $line || continue
        case $line in
            *=\|*) keys+=("${${line%%\|*}//:/\\:}:${line#*\|}") ;;
            *\|*) described+=("${${line%%\|*}//:/\\:}:${line#*\|}") ;;
            *[=:-]) open+=($line) ;;
            *) closed+=($line) ;;
        esac
    done
    (( $#described )) && _describe -t commands command described
    (( $#keys )) && _describe -t arguments argument keys -S ''
    (( $#open )) && compadd -S '' -a open
    if [[ $spec == ,* ]]; then
        compadd -q -S , -a closed
    elif (( $#closed )); then
        compadd -a closed
    fi
    case ${endings[1]} in
        '') ;;
        @any) _files ;;
        @folder) _files -/ ;;
        *) _files -g "*.(${(j:|:)endings})(-.)" ;;
    esac
}

_yolo-attn() {
    local REPLY spec prefix
    _yolo_attn_find "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}"
    compset -p ${#prefix}
    _yolo_attn_offer
}

if [[ ${funcstack[1]} == _yolo-attn ]]; then
    _yolo-attn "$@"
else
    compdef _yolo-attn yolo-attn
fi
