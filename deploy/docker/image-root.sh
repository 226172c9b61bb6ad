#!/usr/bin/env bash
# image-root.sh agent|collector VERSION PROGRAM FOLDER: the whole contents of an image, in FOLDER: the
# program, the libraries that it is linked with, the authorities' certificates, the licences of all of
# that, and the list of it (SPDX). No shell, no other program. Debian's packages must be installed
# here: the Dockerfile runs it in its build stage, the tests on a Debian machine.
set -euo pipefail

HERE=$(cd "$(dirname "$0")" && pwd)
TERMINALS="dumb linux screen screen-256color tmux tmux-256color vt100 xterm xterm-256color"
AUTHORITIES=/etc/ssl/certs/ca-certificates.crt

die() { printf 'image-root: %s\n' "$*" >&2; exit 1; }

[ $# = 4 ] || die "usage: image-root.sh agent|collector VERSION PROGRAM FOLDER"
NAME=$1 VERSION=$2 PROGRAM=$3 ROOT=$4
case $NAME in agent | collector) ;; *) die "the images are agent and collector, not '$NAME'" ;; esac
[ -x "$PROGRAM" ] || die "$PROGRAM is not there"
FILES=$(mktemp) # whose packages are looked for
PACKAGES=$FILES.packages
trap 'rm -f "$FILES" "$FILES".*' EXIT

note_file() { realpath "$1" >>"$FILES"; }

# The packages of the noted files. Debian 12 knows some files by their path without /usr.
find_packages() {
    local unknown
    sort -u -o "$FILES" "$FILES"
    { sed 's#^/usr##' "$FILES"; sed 's#^\(/usr\)*#/usr#' "$FILES"; } |
        xargs dpkg-query -S 2>/dev/null >"$FILES.known" || true
    unknown=$(sed 's/^[^/]* //; s#^\(/usr\)*#/usr#' "$FILES.known" | sort -u |
        comm -13 - <(sed 's#^\(/usr\)*#/usr#' "$FILES" | sort -u))
    [ -z "$unknown" ] || die "no Debian package holds $unknown, so that its licence is not known"
    # ca-certificates: its scripts made the file of all authorities, so dpkg knows it by no name.
    { sed 's/[:,].*//' "$FILES.known"; echo ca-certificates; } | sort -u >"$PACKAGES"
}

copy() { # FILE [AS]: into the root, under its real name or the given one
    local to=$ROOT${2:-$1}
    mkdir -p "$(dirname "$to")"
    cp -L --preserve=mode "$1" "$to"
    note_file "$1"
}

copy_libraries() {
    local missing library
    missing=$(ldd "$PROGRAM" | sed -n 's/^\s*\(\S*\) => not found/\1/p')
    [ -z "$missing" ] || die "$PROGRAM needs $missing: install what README.md lists"
    for library in $(ldd "$PROGRAM" | grep -o '/[^ ]*'); do
        # Below /usr, where the links lib and lib64 lead; under the name that the loader looks for.
        copy "$library" "/usr${library#/usr}"
    done
}

copy_terminals() { # podspy top is run in the agent's container
    local name folder
    for name in $TERMINALS; do
        for folder in /lib/terminfo /usr/share/terminfo; do
            [ -e "$folder/${name:0:1}/$name" ] || continue
            copy "$folder/${name:0:1}/$name" "/usr/share/terminfo/${name:0:1}/$name"
            break
        done
    done
    [ -e "$ROOT/usr/share/terminfo/x/xterm" ] || die "there is no description of xterm: apt-get install ncurses-base"
    mkdir -p "$ROOT/usr/lib/locale"
    cp -r /usr/lib/locale/C.utf8 "$ROOT/usr/lib/locale/"
    note_file /usr/lib/locale/C.utf8/LC_CTYPE
}

make_folders() {
    mkdir -p "$ROOT"/usr/{bin,lib,lib64,local/bin} "$ROOT"/{etc/podspy,run,var/lib}
    ln -s usr/lib "$ROOT/lib"
    ln -s usr/lib64 "$ROOT/lib64"
    install -d -m 1777 "$ROOT/tmp"
    if [ "$NAME" = agent ]; then
        install -d -m 0700 "$ROOT/var/lib/podspy/spool"
    else
        install -d -m 0700 -o 65532 -g 0 "$ROOT/var/lib/podspy-collector"
        install -d -m 0750 -o 65532 -g 0 "$ROOT/run/podspy-credentials"
    fi
}

write_settings() {
    cat >"$ROOT/etc/passwd" <<'PASSWD'
root:x:0:0:root:/:/
podspy:x:65532:0:podspy:/:/
nobody:x:65534:65534:nobody:/:/
PASSWD
    printf 'root:x:0:\nnogroup:x:65534:\n' >"$ROOT/etc/group"
    printf 'passwd: files\ngroup: files\nhosts: files dns\n' >"$ROOT/etc/nsswitch.conf"
    [ -s "$AUTHORITIES" ] || die "there is no $AUTHORITIES: apt-get install ca-certificates"
    mkdir -p "$ROOT/etc/ssl/certs"
    cp "$AUTHORITIES" "$ROOT$AUTHORITIES"
}

# Each package's licence text, and the common ones that they name.
copy_licences() {
    local package name
    mkdir -p "$ROOT/usr/share/common-licenses"
    install -D -m 0644 "$HERE/../../LICENSE" "$ROOT/usr/share/doc/podspy/copyright"
    while read -r package; do
        install -D -m 0644 "/usr/share/doc/$package/copyright" "$ROOT/usr/share/doc/$package/copyright"
    done <"$PACKAGES"
    cat "$ROOT"/usr/share/doc/*/copyright | grep -o '/usr/share/common-licenses/[A-Za-z]*[-0-9.]*[0-9]' |
        sort -u | while read -r name; do
            [ ! -e "$name" ] || install -m 0644 "$name" "$ROOT/usr/share/common-licenses/"
        done
}

rm -rf "$ROOT"
umask 022
make_folders
install -m 0755 "$PROGRAM" "$ROOT/usr/local/bin/"
copy_libraries
[ "$NAME" != agent ] || copy_terminals
write_settings
find_packages
copy_licences
xargs "$HERE/sbom.sh" "podspy-$NAME" "$VERSION" "$ROOT/usr/share/sbom/podspy-$NAME.spdx.json" <"$PACKAGES"
