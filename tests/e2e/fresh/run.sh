#!/usr/bin/env bash
# run.sh [COMMAND...]: does a clone work on a Debian 12 that has nothing but git, make and
# ca-certificates? By hand, not part of make test: it takes as long as the commands do.
#
# Makes such a root by debootstrap, enters it in mount, PID, IPC and UTS namespaces of its own (the network
# stays this machine's, for apt and npm), clones this repository's HEAD into it, and runs each COMMAND there
# as root; by default `make demo`, then `make test`. Ends with the first status that is not 0, and says
# for each how long it took. What the commands left in build/demo is copied to build/fresh/.
#
# PODSPY_FRESH_CACHE=DIR is offered to the clone as its ~/.cache/podspy (roots and interpreters that make
# test builds once); without it, it starts from nothing. PODSPY_FRESH_KEEP=1 keeps the root.
set -euo pipefail

HERE=$(cd "$(dirname "$0")" && pwd)
ROOT=$(cd "$HERE/../../.." && pwd)
OUT=$ROOT/build/fresh
PACKAGES=(git make ca-certificates)
[ $# -gt 0 ] || set -- "make demo" "make test"

say() { printf 'fresh: %s\n' "$*"; }
die() { say "$*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || die "a root and namespaces need root"
command -v debootstrap >/dev/null || die "debootstrap is missing: apt-get install debootstrap"

# --- inside the new namespaces: mount what a machine has, then the root becomes / ---

mount_all() { # ROOT: what it sees of /sys is real, of /proc its own
    local new=$1 node
    mount --bind "$new" "$new"
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
}

inside() { # ROOT COMMAND...
    local new=$1 command began status
    shift
    mount_all "$new"
    if [ -n "${PODSPY_FRESH_CACHE:-}" ]; then
        mkdir -p "$new/root/.cache/podspy"
        mount --bind "$PODSPY_FRESH_CACHE" "$new/root/.cache/podspy"
    fi
    mkdir "$new/.old"
    cd "$new"
    pivot_root . .old
    cd /
    umount -l /.old && rmdir /.old
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

if [ "${1:-}" = --inside ]; then
    shift
    inside "$@"
    exit
fi

# --- outside ---

WORK=$(mktemp -d "${TMPDIR:-/var/tmp}/podspy-fresh-XXXXXX")
finish() {
    local status=$?
    if [ -d "$WORK/root/root/podspy/build/demo" ]; then
        mkdir -p "$OUT"
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
unshare --mount --pid --ipc --uts --fork --kill-child --propagation private \
    "$HERE/run.sh" --inside "$WORK/root" "$@"
