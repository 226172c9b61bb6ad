# fish completion for podspy-collector
complete -c podspy-collector -l config -r -F -d 'the YAML configuration'
complete -c podspy-collector -l listen -x -d 'where to serve HTTPS, ADDR:PORT'
complete -c podspy-collector -l listen-http -x -d 'where to serve queries without TLS, loopback only'
complete -c podspy-collector -l data -x -a '(__fish_complete_directories)' -d 'the folder of the store, the authority and the tokens'
complete -c podspy-collector -l log-level -x -a 'error warn info debug' -d 'error, warn, info (default) or debug'
complete -c podspy-collector -l log-format -x -a 'logfmt json' -d 'logfmt (default) or json'
complete -c podspy-collector -l help -d 'print a help text'
complete -c podspy-collector -l version -d 'print the version'
