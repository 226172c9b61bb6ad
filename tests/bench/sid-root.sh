#!/usr/bin/env bash
# sid-root.sh: make, once, a Debian sid root that holds the peers Debian 12 is too old for:
# CPython 3.15 with profiling.sampling, and Austin. It is kept outside the tree.
#
#   sid-root.sh path      print where the root is or would be
#   sid-root.sh make      make it (needs root and debootstrap); nothing when it is there
set -euo pipefail

ROOT=${PODSPY_BENCH_SID:-${XDG_CACHE_HOME:-$HOME/.cache}/podspy/roots/bench-sid}

say() { printf 'sid-root: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# The mirror that this machine's own apt uses for Debian.
mirror() {
    # shellcheck disable=SC2016 # apt's words, not the shell's
    apt-get indextargets --format '$(ORIGIN) $(LABEL) $(REPO_URI)' 'Created-By: Packages' |
        awk '$1 == "Debian" && $2 == "Debian" { print $3; exit }'
}

make_root() {
    [ -e "$ROOT/.complete" ] && return 0
    [ "$(id -u)" = 0 ] || die "making $ROOT needs root: run it with sudo once"
    command -v debootstrap >/dev/null || die "debootstrap is missing: run tests/setup.sh bench"
    local from
    from=$(mirror)
    [ -n "$from" ] || die "apt knows no Debian mirror: run apt-get update"
    rm -rf "$ROOT"
    mkdir -p "$ROOT"
    say "making $ROOT (some minutes, once)"
    debootstrap --variant=minbase --include=ca-certificates sid "$ROOT" "$from" >&2
    # What chroot packages ask of the outside world, taken from it.
    cp -L /etc/resolv.conf "$ROOT/etc/resolv.conf"
    mkdir -p "$ROOT/etc/apt/apt.conf.d"
    apt-config dump Acquire | grep -iE '^Acquire::(http|https)::[^ ]*proxy' \
        >"$ROOT/etc/apt/apt.conf.d/50proxy" || true
    DEBIAN_FRONTEND=noninteractive chroot "$ROOT" \
        apt-get install -y --no-install-recommends python3.13 python3.15 libunwind8 >&2
    # Unpacked only: its package asks for sid's default Python, which Austin itself does not need.
    chroot "$ROOT" sh -ec 'cd /tmp && apt-get download austin && dpkg-deb -x austin_*.deb /' >&2
    touch "$ROOT/.complete"
}

case ${1:-} in
path) printf '%s\n' "$ROOT" ;;
make) make_root ;;
*) die "usage: sid-root.sh path|make" ;;
esac
