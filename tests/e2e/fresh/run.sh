#!/usr/bin/env bash
# run.sh [--in WAY] [COMMAND...]: does a clone work on a Debian 12 that has nothing but git, make and
# ca-certificates? By hand, not part of make test: it takes as long as the commands do.
#
# Makes such a root by debootstrap, clones this repository's HEAD into it, enters it, and runs each COMMAND
# there as root; by default `make demo`, then `make test`. WAY tells how it is entered; the network stays
# this machine's, for apt and npm:
#
#   namespaces   with mount, PID, IPC and UTS namespaces of its own, and all capabilities (the default)
#   chroot       by chroot alone
#   container    as a container of Docker, with Docker's default capabilities and seccomp profile
#
# Ends with the first status that is not 0, and says for each how long it took. What the commands left in
# build/demo is copied to build/fresh/.
#
# PODSPY_FRESH_CACHE=DIR is offered to the clone as its ~/.cache/podspy (roots and interpreters that make
# test builds once); without it, it starts from nothing. PODSPY_FRESH_KEEP=1 keeps the root.
set -euo pipefail

HERE=$(cd "$(dirname "$0")" && pwd)
ROOT=$(cd "$HERE/../../.." && pwd)
OUT=$ROOT/build/fresh
PACKAGES=(git make ca-certificates)
INSIDE=/root # root's home in the new root; the clone is in podspy below it
WAY=namespaces

say() { printf 'fresh: %s\n' "$*"; }
die() { say "$*" >&2; exit 1; }

# --- inside a mount namespace of its own: mount what a machine has, then the root becomes / ---

mount_all() { # ROOT: what it sees of /sys is real, of /proc its PID namespace's
    local new=$1 node
    mount -t proc proc "$new/proc"
    mount -t sysfs sysfs "$new/sys"
    mount --rbind /sys/fs/cgroup "$new/sys/fs/cgroup"
    mount -t tmpfs -o mode=755 dev "$new/dev"
    for node in null zero full random urandom tty fuse; do
        [ -e "/dev/$node" ] || continue
        touch "$new/dev/$node"
        mount --bind "/dev/$node" "$new/dev/$node"
    done
    ln -s /proc/self/fd "$new/dev/fd"
    ln -s /proc/self/fd/0 "$new/dev/stdin"
    ln -s /proc/self/fd/1 "$new/dev/stdout"
    ln -s /proc/self/fd/2 "$new/dev/stderr"
    mkdir "$new/dev/shm" "$new/dev/pts"
    mount -t tmpfs shm "$new/dev/shm"
    mount -t devpts -o newinstance,ptmxmode=0666 devpts "$new/dev/pts"
    ln -s pts/ptmx "$new/dev/ptmx"
    mount -t tmpfs run "$new/run"
    cp -L /etc/resolv.conf "$new/etc/resolv.conf"
    if [ -n "${PODSPY_FRESH_CACHE:-}" ]; then
        mkdir -p "$new/root/.cache/podspy"
        mount --bind "$PODSPY_FRESH_CACHE" "$new/root/.cache/podspy"
    fi
}

enter() { # WAY ROOT COMMAND...
    local way=$1 new=$2
    shift 2
    if [ "$way" = chroot ]; then
        mount_all "$new"
        exec chroot "$new" "$INSIDE/podspy/tests/e2e/fresh/run.sh" --inside "$@"
    fi
    mount --bind "$new" "$new"
    mount_all "$new"
    mkdir "$new/.old"
    cd "$new"
    pivot_root . .old
    cd /
    umount -l /.old && rmdir /.old
    inside "$@"
}

inside() { # COMMAND...
    local command began status
    for command in "$@"; do
        say "$command"
        began=$SECONDS
        status=0
        env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
            LANG=C.UTF-8 TERM="${TERM:-dumb}" ${CI:+CI="$CI"} \
            NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt \
            bash -c "cd ~/podspy && $command" </dev/null || status=$?
        say "'$command' ended with $status after $((SECONDS - began)) s"
        [ "$status" = 0 ] || exit "$status"
    done
}

case ${1:-} in
--enter | --inside)
    "${1#--}" "${@:2}"
    exit
    ;;
--in)
    WAY=${2:?--in takes namespaces, chroot or container}
    shift 2
    ;;
esac
[ $# -gt 0 ] || set -- "make demo" "make test"
case $WAY in
namespaces | chroot) ;;
container) [ -n "${PODSPY_FRESH_DAEMON:-}" ] ||
    PODSPY_FRESH_DAEMON=1 exec "$ROOT/deploy/docker/with-daemon.sh" "$0" --in container "$@" ;;
*) die "--in takes namespaces, chroot or container, not '$WAY'" ;;
esac

# --- outside ---

[ "$(id -u)" = 0 ] || die "a root and namespaces need root"
command -v debootstrap >/dev/null || die "debootstrap is missing: apt-get install debootstrap"

WORK=$(mktemp -d "${TMPDIR:-/var/tmp}/podspy-fresh-XXXXXX")
NAME=${WORK##*/} # of the image and its container
finish() {
    local status=$?
    mkdir -p "$OUT"
    if [ "$WAY" = container ]; then
        for file in flamegraph.svg profile.speedscope.json; do
            docker cp "$NAME:$INSIDE/podspy/build/demo/$file" "$OUT/" 2>/dev/null || true
        done
        docker rm -f "$NAME" >/dev/null 2>&1 || true
        docker rmi "${NAME,,}" >/dev/null 2>&1 || true
    else
        cp "$WORK/root/root/podspy/build/demo/"*.{svg,json,log} "$OUT/" 2>/dev/null || true
    fi
    if [ -n "${PODSPY_FRESH_KEEP:-}" ]; then
        say "kept: $WORK/root"
    else
        rm -rf --one-file-system "$WORK"
    fi
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

began=$SECONDS
mkdir "$WORK/root"
tar -C "$WORK/root" -xf "$("$ROOT/deploy/docker/debian-root.sh" "bookworm-fresh" "${PACKAGES[@]}")"
# Where this machine reaches its registries through authorities of its own, the root must know them too.
if compgen -G "/usr/local/share/ca-certificates/*.crt" >/dev/null; then
    cp /usr/local/share/ca-certificates/*.crt "$WORK/root/usr/local/share/ca-certificates/"
    chroot "$WORK/root" update-ca-certificates >/dev/null 2>&1
fi
git clone -q --no-hardlinks "$ROOT" "$WORK/root/root/podspy"
say "a root with ${PACKAGES[*]} and a clone of $(git -C "$ROOT" log -1 --format='%h %s') after $((SECONDS - began)) s"
case $WAY in
namespaces)
    unshare --mount --pid --ipc --uts --fork --kill-child --propagation private \
        "$HERE/run.sh" --enter namespaces "$WORK/root" "$@"
    ;;
chroot) # the mounts are this script's own and end with it
    unshare --mount --propagation private "$HERE/run.sh" --enter chroot "$WORK/root" "$@"
    ;;
container)
    tar -C "$WORK/root" --numeric-owner -c . | docker import - "${NAME,,}" >/dev/null
    docker run --name "$NAME" --network host ${CI:+--env CI="$CI"} \
        ${PODSPY_FRESH_CACHE:+--volume "$PODSPY_FRESH_CACHE:$INSIDE/.cache/podspy"} \
        "${NAME,,}" "$INSIDE/podspy/tests/e2e/fresh/run.sh" --inside "$@"
    ;;
esac
