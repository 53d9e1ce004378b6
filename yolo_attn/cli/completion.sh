_yolo_attn_table() {  # put the lines of a table into REPLY, or nothing
    case $1 in
@CASES@
        *) REPLY='' ;;
    esac
}

_yolo_attn_find() {  # WORD...: set spec to what the last word may be, and prefix to the part of it that stays
    local verb='' pending='' place=0 word
    spec='' prefix=''
    while [ $# -gt 1 ]; do
        word=$1
        shift
        case $word in
            -*)
                _yolo_attn_table "${verb:-any} $word"
                [ -n "$REPLY" ] || _yolo_attn_table "any $word"
                pending=$REPLY ;;
            *)
                case $pending in
                    +*) ;;
                    ?*) pending='' ;;
                    *) if [ -z "$verb" ]; then verb=$word; else place=$((place + 1)); fi ;;
                esac ;;
        esac
    done
    word=$1
    case $verb in *=*) verb=train ;; esac  # the mode may come later
    case $word in
        -*=*)
            prefix=${word%%=*}=
            _yolo_attn_table "${verb:-any} ${word%%=*}"
            [ -n "$REPLY" ] || _yolo_attn_table "any ${word%%=*}"
            spec=$REPLY ;;
        -*)
            spec="@${verb:-any}-options"
            _yolo_attn_table "${spec#@}"
            [ -n "$REPLY" ] || spec=@mode-options ;;
        identity:* | plain:*)
            prefix=${word%%:*}:
            spec=@models ;;
        *=*)
            prefix=${word%%=*}=
            _yolo_attn_table "key ${word%%=*}"
            spec=$REPLY ;;
        *)
            spec=$pending
            if [ -z "$pending" ]; then
                _yolo_attn_table "$verb $place"
                [ -n "$REPLY" ] || _yolo_attn_table "$verb words"
                spec=$REPLY
                case $verb:$word in
                    :*) spec=@verbs ;;
                    compare:?*) spec="$spec @keys" ;;
                esac
            fi ;;
    esac
    word=${word#"$prefix"}
    case $spec in
        ,*) case $word in *,*) prefix=$prefix${word%,*}, ;; esac ;;
        *@models*) case $word in *-*) ;; *) spec=${spec/@models/@stems} ;; esac ;;
    esac
}

_yolo_attn_is_new() {  # WORD: is it not yet in the list that is being typed?
    case ,${prefix##*=} in *",$1,"*) return 1 ;; esac
}
