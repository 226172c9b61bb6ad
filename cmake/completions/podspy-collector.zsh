#compdef podspy-collector
# zsh completion for podspy-collector
_podspy_collector() {
    _arguments \
        '--config[the YAML configuration]:FILE:_files' \
        '--listen[where to serve HTTPS]:ADDR\:PORT: ' \
        '--listen-http[where to serve queries without TLS, loopback only]:ADDR\:PORT: ' \
        '--data[the folder of the store, the authority and the tokens]:DIR:_files -/' \
        '--log-level[error, warn, info (default) or debug]:LEVEL:(error warn info debug)' \
        '--log-format[logfmt (default) or json]:FORMAT:(logfmt json)' \
        '--check[look for damage in the data that is kept, and end]' \
        '--ready[say whether the collector of this configuration is ready, and end]' \
        '--enroll[copy what an agent needs to DIR, and end]:DIR:_files -/' \
        '--help[print a help text]' \
        '--version[print the version]' \
        '1:command:(check backup)' \
        '2:DIR:_files -/'
}
if [ "$funcstack[1]" = _podspy_collector ]; then
    _podspy_collector "$@"
else
    compdef _podspy_collector podspy-collector
fi
