#!/usr/bin/env bash
# demo.sh: the whole road on one machine. A collector, an agent and a small gunicorn service (in PID and
# mount namespaces of its own, where this place may make them) are started, a few customers make it
# work, and what the agent sees comes back from the collector as build/demo/flamegraph.svg and
# build/demo/profile.speedscope.json. On a terminal it stays until Ctrl-C. Everything it started ends
# with it.
#
# PODSPY_BUILD is the build folder (build); ports other than 8443, 8080 and 8000 are taken where
# those are in use. What each part logs is in build/demo/*.log. docs/demo.md says what to see.
set -euo pipefail

HERE=$(cd "$(dirname "$0")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
BIN=$(cd "${PODSPY_BUILD:-$ROOT/build}" 2>/dev/null && pwd || echo "$ROOT/build")/bin
OUT=${PODSPY_DEMO_DIR:-$ROOT/build/demo} # made again by each run
SHOWN=${OUT#"$ROOT"/}                      # for messages
STORE=$OUT/collector
PYTHON=/usr/bin/python3
WAIT_SECONDS=45   # for the collector to be ready, and for both workers to be seen
WORKER_SAMPLES=100 # of each worker, on CPU, before the flamegraph is taken
STARTED=()

say() { printf 'demo: %s\n' "$*"; }
die() { printf 'demo: %s\n' "$*" >&2; exit 1; }

# --- end what was started, the last one first ---

finish() {
    local status=$? i
    trap '' INT TERM HUP
    for ((i = ${#STARTED[@]} - 1; i >= 0; i--)); do
        end_process "${STARTED[i]}"
    done
    exit "$status"
}

# unshare itself ignores SIGTERM while the service it started lives: so its child gets it too. Without
# unshare the children are gunicorn's workers, which take the signal as well.
end_process() {
    local children=
    [ ! -r "/proc/$1/task/$1/children" ] || children=$(<"/proc/$1/task/$1/children")
    # shellcheck disable=SC2086 # words are PIDs
    kill -TERM "$1" $children 2>/dev/null || return 0
    for _ in {1..50}; do
        kill -0 "$1" 2>/dev/null || break
        sleep 0.1
    done
    kill -KILL "$1" 2>/dev/null || true
    wait "$1" 2>/dev/null || true
}

# start NAME COMMAND...: in the background, its output in NAME.log, to be ended at the end. In a
# session of its own, so that a Ctrl-C reaches this script alone and the parts end in their order; and
# ended by the kernel should this script be killed.
start() {
    local name=$1
    shift
    setsid setpriv --pdeathsig KILL "$@" >"$OUT/$name.log" 2>&1 &
    STARTED+=($!)
}

alive() { kill -0 "$1" 2>/dev/null; }

# --- what is needed ---

check() {
    local program
    [ "$(id -u)" = 0 ] || die "reading other processes needs root: sudo make demo"
    for program in gunicorn curl unshare ss ps setsid setpriv; do
        command -v "$program" >/dev/null || die "$program is missing: run cmake/setup.sh demo"
    done
    for program in podspy podspy-collector; do
        [ -x "$BIN/$program" ] || die "$BIN/$program is missing: run make first"
    done
}

# The wanted port of the loopback, or the next that is free.
free_port() {
    local port=$1
    while [ -n "$(ss -Hltn "sport = :$port")" ]; do
        port=$((port + 1))
    done
    echo "$port"
}

# --- the parts ---

start_collector() {
    cat >"$OUT/collector.yaml" <<YAML
listen: {https: "127.0.0.1:$HTTPS_PORT", http: "127.0.0.1:$HTTP_PORT"}
store: {kind: sqlite, dir: "$STORE"}
YAML
    start collector "$BIN/podspy-collector" --config "$OUT/collector.yaml"
    COLLECTOR=$!
    for ((i = 0; i < WAIT_SECONDS * 5; i++)); do
        curl -sf -o "$OUT/.answer" "http://127.0.0.1:$HTTP_PORT/readyz" && return
        alive "$COLLECTOR" || break
        sleep 0.2
    done
    tail -5 "$OUT/collector.log" >&2
    die "the collector did not get ready: see above, all of it in $SHOWN/collector.log"
}

# What starts a command in namespaces of its own. Only the new /proc is kept from other namespaces: where /
# is not a mount point (a plain chroot), unshare cannot do so with all that is mounted.
# shellcheck disable=SC2016 # sh expands it
NAMESPACES=(unshare --pid --mount --fork --kill-child --propagation unchanged
    sh -c 'mount --make-rprivate /proc && mount -t proc proc /proc && exec "$@"' sh)

start_service() {
    local within=() why
    if why=$("${NAMESPACES[@]}" true 2>&1); then
        within=("${NAMESPACES[@]}")
    else
        say "left out: PID and mount namespaces of the service's own (${why#unshare: })"
    fi
    start service "${within[@]}" env --chdir="$HERE/demo" PYTHONDONTWRITEBYTECODE=1 \
        DEMO_BIND="127.0.0.1:$SERVICE_PORT" \
        gunicorn --config gunicorn.conf.py --name "demo-$SERVICE_PORT" shop:app
    SERVICE=$!
    for ((i = 0; i < WAIT_SECONDS * 5; i++)); do
        curl -sf -o "$OUT/.answer" "http://127.0.0.1:$SERVICE_PORT/catalogue" && return
        alive "$SERVICE" || break
        sleep 0.2
    done
    tail -5 "$OUT/service.log" >&2
    die "the gunicorn service did not answer: see above, all of it in $SHOWN/service.log"
}

# What the agent is about to do, tried once, so that a place that forbids it says at once what to change.
check_reading() {
    local master=$SERVICE said
    [ "$(ps -o comm= "$SERVICE")" != unshare ] || master=$(ps -o pid= --ppid "$SERVICE" | tr -d ' ')
    said=$("$BIN/podspy" doctor -p "$master" 2>&1) && return
    printf '%s\n' "$said" >&2
    die "the service cannot be read here: change what is marked NO above, and start the demo again"
}

start_agent() {
    cat >"$OUT/agent.yaml" <<YAML
collector:
  url: "https://127.0.0.1:$HTTPS_PORT"
  ca_file: "$STORE/ca.pem"
  token_file: "$STORE/ingest.token"
discovery:
  kubernetes: off
  docker: off
  processes:
    - {name: demo, exe: "*python3*", cmdline: "gunicorn .*--name demo-$SERVICE_PORT "}
push: {interval: 2s, spool_dir: "$OUT/spool"}
YAML
    start agent "$BIN/podspy" agent --config "$OUT/agent.yaml"
    AGENT=$!
}

# --- what comes out ---

ask() { curl -sf "http://127.0.0.1:$HTTP_PORT/profiles?pod=demo&$1"; }

# How many processes of the service have enough samples that show its own code.
workers_seen() {
    ask 'format=collapsed&processes=1&from=-15m' | awk -v enough="$WORKER_SAMPLES" '
        /shop\.py/ { split($0, frame, ";"); samples[frame[1]] += $NF }
        END { for (process in samples) seen += samples[process] >= enough; print seen + 0 }'
}

wait_for_samples() {
    say "waiting for samples of both workers"
    for ((i = 0; i < WAIT_SECONDS; i++)); do
        [ "$(workers_seen || true)" -ge 2 ] && return
        alive "$AGENT" || { tail -5 "$OUT/agent.log" >&2; die "the agent ended: see above"; }
        sleep 1
    done
    tail -5 "$OUT/agent.log" >&2
    die "no samples of both workers came in $WAIT_SECONDS s: see above, and $SHOWN/*.log"
}

fetch() {
    ask 'format=svg&from=-15m' >"$OUT/flamegraph.svg"
    ask 'format=speedscope&from=-15m' >"$OUT/profile.speedscope.json"
    grep -q edit_distance "$OUT/flamegraph.svg" || die "the flamegraph lacks the service's functions"
}

tell() {
    cat <<TEXT

demo: $SHOWN/flamegraph.svg            open it in a browser
demo: $SHOWN/profile.speedscope.json   open it on the page of speedscope

The page:  http://127.0.0.1:$HTTP_PORT/

The same by hand, on this machine:
  curl "http://127.0.0.1:$HTTP_PORT/profiles?pod=demo&format=svg" -o flamegraph.svg
  curl "http://127.0.0.1:$HTTP_PORT/pods?pod=demo"
and over TLS with a credential, as from elsewhere:
  curl --cacert $STORE/ca.pem -H @$STORE/read.header \\
       "https://127.0.0.1:$HTTPS_PORT/profiles?pod=demo&format=svg" -o flamegraph.svg

TEXT
}

stay() {
    if ! [ -t 0 ] || ! [ -t 1 ]; then
        say "ended; started on a terminal it stays, and what is above answers"
        return
    fi
    say "running until Ctrl-C"
    trap 'echo; exit 0' INT
    wait -n "$COLLECTOR" "$AGENT" "$SERVICE" || true
    die "a part ended by itself: see $SHOWN/*.log"
}

check
rm -rf "$OUT"
mkdir -p "$OUT"
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
HTTPS_PORT=$(free_port 8443)
HTTP_PORT=$(free_port 8080)
SERVICE_PORT=$(free_port 8000)
say "starting a collector, a gunicorn service and an agent"
start_collector
start_service
check_reading
start_agent
start load "$PYTHON" "$HERE/demo/load.py" --rate 60 "http://127.0.0.1:$SERVICE_PORT"
wait_for_samples
fetch
tell
stay
