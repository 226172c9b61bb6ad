#!/usr/bin/env bash
# with-daemon.sh COMMAND...: runs COMMAND with a docker daemon: the running one, or else a temporary one
# whose data, sockets and containers end with COMMAND.
#
# It starts a daemon only where DOCKER_HOST is not set. That daemon leaves this
# machine's packet filter, forwarding and bridges alone: its containers have --network host or none.
set -euo pipefail

WAIT_SECONDS=40 # for the daemon to answer, and for it to end
export PATH=$PATH:/usr/sbin:/sbin

say() { printf 'with-daemon: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

answers() { timeout 10 docker version >/dev/null 2>&1; }

# The cgroups below which a daemon puts its containers.
list_cgroups() { find /sys/fs/cgroup -maxdepth 2 -type d -name docker 2>/dev/null || true; }

start() {
    CGROUPS_BEFORE=$(list_cgroups)
    mkdir "$FOLDER/config"
    export DOCKER_CONFIG=$FOLDER/config # not this user's contexts and credentials
    setsid dockerd --data-root "$FOLDER/data" --exec-root "$FOLDER/exec" --pidfile "$FOLDER/pid" \
        --host "unix://$FOLDER/docker.sock" --bridge=none --iptables=false --ip6tables=false \
        --ip-forward=false --ip-masq=false >"$FOLDER/dockerd.log" 2>&1 &
    DAEMON=$!
    export DOCKER_HOST=unix://$FOLDER/docker.sock
    for ((i = 0; i < WAIT_SECONDS * 5; i++)); do
        answers && return
        kill -0 "$DAEMON" 2>/dev/null || break
        sleep 0.2
    done
    tail -5 "$FOLDER/dockerd.log" >&2
    die "no docker daemon answers, and one of its own does not start: see above, or set DOCKER_HOST"
}

stop() {
    local status=$? left i
    trap '' INT TERM HUP
    left=$(timeout 10 docker ps -aq 2>/dev/null || true)
    # shellcheck disable=SC2086 # words are identifiers
    [ -z "$left" ] || docker rm -f $left >/dev/null 2>&1 || true
    kill -TERM "$DAEMON" || true # containerd is its child and ends with it
    for ((i = 0; i < WAIT_SECONDS * 5; i++)); do
        kill -0 "$DAEMON" 2>/dev/null || break
        sleep 0.2
    done
    ! kill -KILL "$DAEMON" 2>/dev/null || say "the daemon did not end in $WAIT_SECONDS s and was killed"
    awk -v below="$FOLDER/" 'index($2, below) == 1 { print $2 }' /proc/self/mounts | sort -r |
        while read -r mount; do umount -l "$mount" || true; done
    list_cgroups | grep -vxF "$CGROUPS_BEFORE" | xargs -r rmdir 2>/dev/null || true
    rm -rf --one-file-system "$FOLDER"
    exit "$status"
}

[ $# -ge 1 ] || die "usage: with-daemon.sh COMMAND..."
command -v docker >/dev/null || die "docker is missing: apt-get install docker.io"
if answers; then
    exec "$@"
fi
[ -z "${DOCKER_HOST:-}" ] || die "the docker daemon at DOCKER_HOST=$DOCKER_HOST does not answer"
[ "$(id -u)" = 0 ] || die "no docker daemon answers; starting one needs root: sudo, or set DOCKER_HOST"
command -v dockerd >/dev/null || die "no docker daemon answers; to start one: apt-get install docker.io"
FOLDER=$(mktemp -d /tmp/podspy-docker-XXXXXX) # the path of a socket has little room
say "no docker daemon answers: starting a temporary one for ${1##*/}"
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
start
"$@"
