#!/usr/bin/env bash
# setup.sh GROUP...: install the Debian 12 packages that a group of targets needs.
#
# Groups: build (make), page (the collector's page, with build), test (make test), demo (make demo),
# bench (make bench), fuzz (make fuzz), all.
# It asks nothing, does nothing when all is there, and needs root only where something is missing.
set -euo pipefail

# PACKAGE=COMMAND: where the command is there already, from elsewhere, the package is not asked for.
declare -A GROUPS_OF=(
    [build]="gcc libc6-dev make cmake ninja-build pkg-config dpkg-dev file protobuf-c-compiler
        libcurl4-gnutls-dev libyaml-dev libjansson-dev libzstd-dev zlib1g-dev
        libpcre2-dev libxxhash-dev uthash-dev libprotobuf-c-dev libmicrohttpd-dev libgnutls28-dev libsqlite3-dev libdeflate-dev
        liblzma-dev libiberty-dev libncurses-dev"
    [page]="npm=npm gzip sed coreutils diffutils"
    [test]="libcmocka-dev clang-format shellcheck mandoc zsh fish git
        python3 python3-pytest python3-pytest-timeout python3-pytest-xdist python3-requests python3-hypothesis python3-pyflakes
        python3-jsonschema python3-lxml python3-selenium python3-cryptography python3-zstandard
        python3-protobuf protobuf-compiler chromium chromium-driver npm=npm
        fonts-dejavu-core fonts-noto-color-emoji prometheus=promtool openssl libpython3-dev python3-numpy
        curl strace faketime procps iproute2 util-linux gunicorn runc=runc debootstrap
        uwsgi-core=uwsgi uwsgi-plugin-python3 musl-tools=musl-gcc gdb cython3 python3-numpy tmux=tmux
        clickhouse-server docker.io=dockerd docker-compose=docker-compose python3-pip busybox-static=busybox binutils"
    [demo]="gunicorn python3 curl iproute2 util-linux procps"
    [bench]="debootstrap python3 util-linux"
    [fuzz]="clang libclang-rt-14-dev libxml2-dev"
)

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

wanted() { # GROUP...: the packages of these groups, one a line
    local group
    for group in "$@"; do
        [ "$group" = all ] && { wanted "${!GROUPS_OF[@]}"; continue; }
        [ -n "${GROUPS_OF[$group]:-}" ] || die "no group '$group'; there are: ${!GROUPS_OF[*]} all"
        # shellcheck disable=SC2086 # words are packages
        printf '%s\n' ${GROUPS_OF[$group]}
    done
}

missing() { # PACKAGE[=COMMAND]...: those that are not installed and whose command is not there
    local -A have=()
    local status package
    while read -r status package; do
        [ "$status" = installed ] && have[$package]=1
    done < <(dpkg-query -W -f '${db:Status-Status} ${Package}\n')
    for package in "$@"; do
        [ -n "${have[${package%=*}]:-}" ] && continue
        [[ $package == *=* ]] && command -v "${package#*=}" >/dev/null && continue
        printf '%s\n' "${package%=*}"
    done
}

apt() {
    # A dead connection is given up after seconds and tried again.
    DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=600 -o APT::Lock::Timeout=600 \
        -o Acquire::Retries=3 -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20 \
        "$@" </dev/null >&2
}

install_packages() { # PACKAGE...
    if [ "$(id -u)" != 0 ]; then
        die "missing packages; install them as root and start again:
    apt-get install --no-install-recommends $*"
    fi
    say "installing $*"
    # Lists may be old or absent; where they cannot be fetched, what is there may still do.
    apt update || say "apt-get update failed; going on with the lists that are here"
    apt install -y --no-install-recommends "$@" ||
        die "apt-get could not install what is missing: see above"
}

[ $# -gt 0 ] || die "usage: setup.sh GROUP...; groups: ${!GROUPS_OF[*]} all"
command -v dpkg-query >/dev/null ||
    die "this is not Debian: install what README.md lists and run the target's commands by hand"

packages=$(wanted "$@") # ends here where a group is not known
# shellcheck disable=SC2086 # words are packages
mapfile -t lacking < <(missing $packages | sort -u)
[ "${#lacking[@]}" -eq 0 ] || install_packages "${lacking[@]}"
