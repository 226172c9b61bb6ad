#!/usr/bin/env bash
# build-images.sh: the agent, the collector and the demo service as images, and as docker archives in
# build/images/{agent,collector,demo}.tar for hosts that reach no registry (docker load -i).
#
#   build-images.sh [--base auto|pull|debootstrap] [--only TARGET]... [--no-archives]
#
# --base   where debian:bookworm-slim comes from: what is there already, else the registry, else
#          debootstrap (auto, the default); pull and debootstrap insist on one of them.
# It uses the docker command's daemon (DOCKER_HOST), or a temporary one where none answers: see
# with-daemon.sh. PODSPY_BUILD_NETWORK is apt's network during the build: host by default, so that it
# reaches what this machine's own apt reaches.
set -euo pipefail

HERE=$(cd "$(dirname "$0")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
VERSION=$(sed -n 's/^project(podspy VERSION \([0-9.]*\).*/\1/p' "$ROOT/CMakeLists.txt")
OUT=$ROOT/build/images
BASE=debian:bookworm-slim
FROM=auto
ARCHIVES=yes
TARGETS=()

say() { printf 'build-images: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

usage() { sed -n '2,/^set -/s/^# \{0,1\}//p' "$0"; }

options() {
    while [ $# -gt 0 ]; do
        case $1 in
        --base) FROM=${2:?--base takes auto, pull or debootstrap} && shift ;;
        --only) TARGETS+=("${2:?--only takes agent, collector or demo}") && shift ;;
        --no-archives) ARCHIVES=no ;;
        -h | --help) usage && exit 0 ;;
        *) usage >&2 && exit 2 ;;
        esac
        shift
    done
    [ ${#TARGETS[@]} -gt 0 ] || TARGETS=(agent collector demo)
}

import_base() {
    local tar
    tar=$("$HERE/debian-root.sh" bookworm-minbase)
    docker import --change 'CMD ["bash"]' "$tar" "$BASE" >/dev/null
    say "$BASE was made by debootstrap"
}

get_base() {
    case $FROM in
    debootstrap) import_base ;;
    pull) docker pull "$BASE" ;;
    auto)
        docker image inspect "$BASE" >/dev/null 2>&1 && return
        timeout 60 docker pull -q "$BASE" >/dev/null 2>&1 || import_base
        ;;
    *) die "--base takes auto, pull or debootstrap, not '$FROM'" ;;
    esac
}

# What the images are built from. A tar rather than the folder: build/ can hold gigabytes.
context() {
    tar -C "$ROOT" --exclude=./build --exclude=./tests --exclude='./.git*' --exclude=node_modules \
        --exclude=__pycache__ -c .
}

build() {
    local target=$1 name given=()
    for name in http_proxy https_proxy no_proxy; do
        [ -z "${!name:-}" ] || given+=(--build-arg "$name")
    done
    # npm in the image needs the authorities that this machine was given, where it has its own.
    given+=(--build-arg "AUTHORITIES=$(cat /usr/local/share/ca-certificates/*.crt 2>/dev/null || true)")
    context | docker build --network "${PODSPY_BUILD_NETWORK:-host}" --file deploy/docker/Dockerfile \
        --build-arg "BASE=$BASE" --build-arg "VERSION=$VERSION" "${given[@]}" \
        --target "$target" --tag "podspy/$target:$VERSION" - >"$OUT/$target.log" 2>&1 && return
    tail -30 "$OUT/$target.log" >&2
    die "podspy/$target was not built: see above; all of it is in build/images/$target.log"
}

archive() {
    docker save --output "$OUT/$1.tar.new" "podspy/$1:$VERSION"
    mv "$OUT/$1.tar.new" "$OUT/$1.tar"
}

size() {
    docker image inspect --format '{{.Size}}' "podspy/$1:$VERSION" |
        awk -v name="podspy/$1:$VERSION" '{ printf "%-28s %6.1f MB\n", name, $1 / 1e6 }'
}

options "$@"
[ -n "$VERSION" ] || die "CMakeLists.txt names no version"
command -v docker >/dev/null || die "docker is missing: apt-get install docker.io"
if ! timeout 10 docker version >/dev/null 2>&1; then
    [ "$ARCHIVES" = yes ] || die "no docker daemon answers, and a temporary one keeps no image: leave out --no-archives"
    exec "$HERE/with-daemon.sh" "$0" "$@"
fi
mkdir -p "$OUT"
get_base
for target in "${TARGETS[@]}"; do
    say "building podspy/$target:$VERSION"
    build "$target"
    [ "$ARCHIVES" = no ] || archive "$target"
done
for target in "${TARGETS[@]}"; do
    size "$target"
done
