#!/usr/bin/env bash
# debian-root.sh: a small Debian 12 root as a tar file, made by debootstrap from the mirror that this
# machine's own apt uses, and kept outside the tree for the next time.
#
#   debian-root.sh NAME [PACKAGE...]    make it if it is not there yet; prints the file's path
#
# The root can be installed into further: it bears the machine's Debian sources and apt's proxy
# settings. It serves as debian:bookworm-slim where no registry is reached, and for the tests.
set -euo pipefail

SUITE=bookworm
KEEP_DAYS=30 # then it is made again, with the updates since
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/podspy/roots

say() { printf 'debian-root: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# "URI SUITE" of each Debian archive this machine's apt reads and that holds our suite.
archives() {
    # shellcheck disable=SC2016 # apt's own variables
    apt-get indextargets --format '$(ORIGIN) $(REPO_URI) $(CODENAME) $(COMPONENT)' \
        'Created-By: Packages' 2>/dev/null |
        awk -v suite="$SUITE" '$1 == "Debian" && index($3, suite) == 1 && $4 == "main" { print $2, $3 }' |
        sort -u
}

# What apt inside the root needs of the outside: name service, proxies, leniency about dates. A dead
# connection is given up after seconds and tried again.
lend_apt_settings() {
    local root=$1 uri suite
    cp -L /etc/resolv.conf "$root/etc/resolv.conf"
    archives | while read -r uri suite; do
        printf 'deb %s %s main\n' "$uri" "$suite"
    done >"$root/etc/apt/sources.list.new"
    if [ -s "$root/etc/apt/sources.list.new" ]; then
        mv "$root/etc/apt/sources.list.new" "$root/etc/apt/sources.list"
    else
        rm "$root/etc/apt/sources.list.new"
    fi
    apt-config dump Acquire |
        grep -iE '^Acquire::((http|https)::[^ ]*proxy|check-valid-until|check-date)' \
            >"$root/etc/apt/apt.conf.d/50host" || true
    printf 'Acquire::%s "%s";\n' Retries 3 http::Timeout 20 https::Timeout 20 \
        >>"$root/etc/apt/apt.conf.d/50host"
    # As the official slim image does: no manuals, no documentation, no translations.
    cat >"$root/etc/dpkg/dpkg.cfg.d/slim" <<'SLIM'
path-exclude /usr/share/doc/*
path-include /usr/share/doc/*/copyright
path-exclude /usr/share/man/*
path-exclude /usr/share/info/*
path-exclude /usr/share/locale/*
path-exclude /usr/share/lintian/*
SLIM
}

slim() {
    local root=$1
    find "$root/usr/share/doc" -type f ! -name copyright -delete
    find "$root/usr/share/doc" -type d -empty -delete
    rm -rf "$root"/usr/share/{man,info,locale,lintian}/* "$root"/var/cache/apt/* \
        "$root"/var/lib/apt/lists/* "$root"/var/log/{apt,dpkg.log,bootstrap.log,alternatives.log} \
        "$root"/var/cache/debconf/*-old "$root"/var/lib/dpkg/*-old
}

# debootstrap fetches with wget, which by itself waits 15 minutes for a dead connection, 20 times.
lend_wget_settings() {
    { cat "${WGETRC:-$HOME/.wgetrc}" 2>/dev/null || true; printf '\n%s\n' "timeout = 20" "tries = 4"; } >"$1"
    export WGETRC=$1
}

bootstrap() {
    local root=$1 mirror
    command -v debootstrap >/dev/null || die "debootstrap is missing: apt-get install debootstrap"
    mirror=$(archives | awk -v suite="$SUITE" '$2 == suite { print $1; exit }')
    lend_wget_settings "$root.wgetrc"
    say "making a root of Debian $SUITE with debootstrap (a minute, once)"
    debootstrap --variant=minbase --include=ca-certificates "$SUITE" "$root" ${mirror:+"$mirror"} \
        >"$root.log" 2>&1 || { tail -5 "$root.log" >&2; die "debootstrap failed: see above"; }
    rm -f "$root.log" "$root.wgetrc"
    lend_apt_settings "$root"
    slim "$root"
}

install_packages() {
    local root=$1
    shift
    say "installing $* into it"
    {
        chroot "$root" apt-get update
        DEBIAN_FRONTEND=noninteractive chroot "$root" \
            apt-get install -y --no-install-recommends "$@"
    } >"$root.log" 2>&1 || { tail -5 "$root.log" >&2; die "apt-get failed: see above"; }
    rm -f "$root.log"
    slim "$root"
}

fresh() { [ -n "$(find "$1" -mtime "-$KEEP_DAYS" 2>/dev/null)" ]; }

make_root() {
    local tar=$CACHE/$1.tar base
    shift
    fresh "$tar" && return 0
    if [ $# -gt 0 ]; then
        base=$("$0" "$SUITE-minbase")
    fi
    work=$(mktemp -d "$CACHE/.work-XXXXXX")
    trap 'rm -rf "$work"' EXIT
    mkdir "$work/root"
    if [ $# -gt 0 ]; then
        tar -C "$work/root" -xf "$base"
        install_packages "$work/root" "$@"
    else
        bootstrap "$work/root"
    fi
    tar -C "$work/root" --numeric-owner -cf "$work/root.tar" .
    mv "$work/root.tar" "$tar"
}

[ $# -ge 1 ] || die "usage: debian-root.sh NAME [PACKAGE...]"
[ "$(id -u)" = 0 ] || die "making a Debian root needs root"
export PATH=$PATH:/usr/sbin:/sbin
mkdir -p "$CACHE"
exec 9>"$CACHE/.$1.lock"
flock 9 # two tests may want it at once
make_root "$@"
printf '%s\n' "$CACHE/$1.tar"
