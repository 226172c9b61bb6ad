#!/bin/bash
# Is the collector ready? Asked from inside its container, which holds no HTTP client but bash.
exec 3<>"/dev/tcp/127.0.0.1/${1:-8080}" || exit 1
printf 'GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n' >&3
read -r -t 2 answer <&3
[[ $answer == *' 200 '* ]]
