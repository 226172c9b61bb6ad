#!/usr/bin/env bash
# Makes the interpreters that Debian 12 does not bring, outside of the tree, once:
#
#   tests/interpreters.sh roots          debootstrap roots of bookworm (none), trixie (3.13) and sid (3.13, 3.14, 3.15, austin)
#   tests/interpreters.sh freethreaded   the free-threaded CPythons 3.13, 3.14 and 3.15, built from Debian's source packages
#   tests/interpreters.sh musl           a CPython 3.13 linked with musl, from Debian's source package
#   tests/interpreters.sh list           what is there
#
# They lie in ${PODSPY_CACHE:-${XDG_CACHE_HOME:-~/.cache}/podspy}: roots/SUITE and python/NAME. The tests use what they
# find there and say what they covered; none of it is needed by them. Needs root, and apt sources that
# work; packages come from where apt gets its own.
set -euo pipefail

cache=${PODSPY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/podspy}
jobs=${JOBS:-$(nproc)}
export DEBIAN_FRONTEND=noninteractive

say() { printf 'interpreters: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

need() { # PACKAGE...
  dpkg -s "$@" >/dev/null 2>&1 || apt-get -o DPkg::Lock::Timeout=600 install -y -qq --no-install-recommends "$@" >/dev/null
}

# The mirror that apt itself uses.
mirror() {
  # shellcheck disable=SC2016 # apt expands it
  apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | grep -m1 '/debian/\?$' || die "apt has no Debian mirror"
}

# One builder at a time; the others find the result.
locked() { # NAME FUNCTION ARGS...
  local name=$1; shift
  mkdir -p "$cache"
  exec 9>"$cache/.$name.lock"
  flock 9
  "$@"
  exec 9>&-
}

root() { # SUITE PACKAGES...
  local suite=$1 dir=$cache/roots/$1; shift
  [ -e "$dir/.podspy-ready" ] && return 0
  need debootstrap
  say "making a root of $suite"
  rm -rf "$dir"; mkdir -p "$dir"
  debootstrap --variant=minbase --include="$(IFS=,; echo "$*")" "$suite" "$dir" "$(mirror)" >"$dir.log" 2>&1 ||
    { tail -n 5 "$dir.log" >&2; die "debootstrap of $suite failed; see $dir.log"; }
  touch "$dir/.podspy-ready"
}

in_root() { # SUITE COMMAND...
  local dir=$cache/roots/$1; shift
  unshare --mount --pid --fork --mount-proc="$dir/proc" chroot "$dir" "$@"
}

roots() {
  locked bookworm root bookworm libc6 # a place for the static program
  locked trixie root trixie python3,libpython3-dev,python3-dbg
  locked sid root sid python3.13,python3.14,python3.15,python3.14-dev,python3.15-dev,ca-certificates
  # Austin's package asks for an older python3 than sid's; the program itself does not.
  [ -x "$cache/roots/sid/opt/austin/usr/bin/austin" ] ||
    in_root sid sh -c 'cd /tmp && apt-get download -qq austin && dpkg -x austin_*.deb /opt/austin && rm austin_*.deb' >/dev/null 2>&1 ||
    say "sid has no austin now"
}

upstream_tarball() { # PACKAGE: the newest that lies in $cache/src
  find "$cache/src" -maxdepth 1 -name "$1_*.orig.tar.*" ! -name '*.asc' | sort -V | tail -n 1
}

# The upstream source of the newest CPython that suite has of MINOR, unpacked into $cache/src/PACKAGE. A tarball that was
# put into $cache/src is used as it is: not every mirror has the sources of sid.
source_of() { # SUITE PACKAGE
  local dir=$cache/src/$2 apt=$cache/apt/$1 opt
  [ -d "$dir" ] && return 0
  need dpkg-dev xz-utils
  mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$cache/src"
  if [ -z "$(upstream_tarball "$2")" ]; then
    echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $(mirror) $1 main" >"$apt/sources.list"
    opt=(-o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null -o Dir::State::Lists="$apt/lists" -o Dir::Cache="$apt/cache")
    apt-get "${opt[@]}" update -qq
    (cd "$cache/src" && apt-get "${opt[@]}" source -qq --download-only "$2" >"$apt/log" 2>&1) ||
      { tail -n 5 "$apt/log" >&2; die "no source of $2 from $1; put its .orig.tar.xz into $cache/src"; }
  fi
  rm -rf "$dir.tmp" && mkdir "$dir.tmp"
  tar -xf "$(upstream_tarball "$2")" -C "$dir.tmp" --strip-components=1
  mv "$dir.tmp" "$dir"
}

# Builds NAME in the copy of the source that copy_source made: build NAME CONFIGURE-ARGS...
build() {
  local name=$1 out=$cache/python/$1 tree=$cache/src/$1; shift
  say "building $name (some minutes)"
  (cd "$tree" && ./configure -q --prefix="$out" --without-ensurepip --disable-test-modules "$@" >make.log 2>&1 &&
    make -j"$jobs" -s >>make.log 2>&1 && make -s install >>make.log 2>&1) || die "the build failed; see $tree/make.log"
  rm -rf "$tree"
}

copy_source() { # SUITE MINOR NAME
  need gcc libc6-dev make pkg-config zlib1g-dev libffi-dev
  source_of "$1" "python$2"
  rm -rf "$cache/src/$3"; cp -r "$cache/src/python$2" "$cache/src/$3"
}

freethreaded() { # SUITE MINOR
  [ -x "$cache/python/$2t/bin/python$2t" ] && return 0
  copy_source "$1" "$2" "$2t"
  build "$2t" --disable-gil
}

all_freethreaded() {
  freethreaded trixie 3.13
  freethreaded sid 3.14
  freethreaded sid 3.15
}

musl() {
  [ -x "$cache/python/3.13-musl/bin/python3.13" ] && return 0
  need musl-tools
  copy_source trixie 3.13 3.13-musl
  # configure compares the compiler's idea of the platform with its own, and musl-gcc answers with gcc's. The
  # libraries of the other C library must not be found.
  # shellcheck disable=SC2016 # the script that is written expands it
  printf '#!/bin/sh\n[ "$1" = --print-multiarch ] && exec echo "$(uname -m)-linux-musl"\nexec musl-gcc "$@"\n' >"$cache/src/3.13-musl/cc"
  chmod +x "$cache/src/3.13-musl/cc"
  build 3.13-musl CC="$cache/src/3.13-musl/cc" PKG_CONFIG=/bin/false
}

list() {
  local f
  for f in "$cache"/roots/*/usr/bin/python3.[0-9]* "$cache"/python/*/bin/python3.[0-9]*; do
    case $f in *-config) continue ;; esac
    [ -x "$f" ] && echo "$f"
  done
}

[ "$(id -u)" = 0 ] || [ "${1:-}" = list ] || die "needs root"
case ${1:-} in
  roots) roots ;;
  freethreaded) locked freethreaded all_freethreaded ;;
  musl) locked musl musl ;;
  list) list ;;
  *) sed -n '2,12p' "$0" | cut -c3-; exit 2 ;;
esac
