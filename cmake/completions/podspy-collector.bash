# bash completion for podspy-collector
_podspy_collector()
{
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
    COMPREPLY=()
    case $prev in
    --config) COMPREPLY=($(compgen -f -- "$cur")); return ;;
    --data | --enroll) COMPREPLY=($(compgen -d -- "$cur")); return ;;
    --listen | --listen-http) return ;;
    --log-level) COMPREPLY=($(compgen -W "error warn info debug" -- "$cur")); return ;;
    --log-format) COMPREPLY=($(compgen -W "logfmt json" -- "$cur")); return ;;
    esac
    COMPREPLY=($(compgen -W "--config --listen --listen-http --data --log-level --log-format --check check backup --ready --enroll --help --version" -- "$cur"))
}
complete -o default -F _podspy_collector podspy-collector
