#!/usr/bin/env bash
# build.sh OUT: what the collector serves to browsers. The packages of package-lock.json by npm, the page
# by esbuild, speedscope's release files as they are.
#
#   OUT/www        the files, at the paths where they are served
#   OUT/gzip       the same, compressed, where that saves space
#   OUT/assets.inc the rows of both, for assets.c
#
# Without a network: npm takes packages from its cache (npm_config_cache) if an earlier run filled it.
set -euo pipefail

HERE=$(cd "$(dirname "$0")" && pwd)
[ $# = 1 ] || { echo "usage: build.sh OUT" >&2; exit 2; }
mkdir -p "$1"
OUT=$(cd "$1" && pwd)
NPM=$OUT/npm
WWW=$OUT/www
BUNDLED=(uplot) # the packages whose code the page contains

die() { printf 'web: %s\n' "$*" >&2; exit 1; }

install_packages() {
    cmp -s "$HERE/package-lock.json" "$NPM/installed.json" && return
    rm -rf "$NPM"
    mkdir -p "$NPM"
    cp "$HERE/package.json" "$HERE/package-lock.json" "$NPM/"
    (cd "$NPM" && npm ci --ignore-scripts --prefer-offline --no-audit --no-fund --no-update-notifier \
        --loglevel=error >npm.log 2>&1) || {
        tail -5 "$NPM/npm.log" >&2
        die "npm could not install collector/web/package-lock.json: see above. It needs a package registry or a" \
            "filled cache (docs/web.md), or leave the page out with -DPODSPY_WEB=OFF"
    }
    cp "$HERE/package-lock.json" "$NPM/installed.json"
}

digest() { sha256sum "$1" | cut -c1-16; }

# Imports of packages are looked up in NODE_PATH, as there is no node_modules beside the sources.
bundle() {
    local name ext
    NODE_PATH=$NPM/node_modules "$NPM/node_modules/.bin/esbuild" app="$HERE/src/main.js" app="$HERE/src/style.css" \
        --bundle --minify --format=esm --target=es2021 --charset=utf8 --legal-comments=none \
        --loader:.svg=dataurl --log-level=warning --outdir="$OUT/bundle"
    cp "$HERE/src/index.html" "$WWW/index.html"
    for ext in js css; do # a name that changes with the contents may be cached for ever
        name=app.$(digest "$OUT/bundle/app.$ext").$ext
        cp "$OUT/bundle/app.$ext" "$WWW/assets/$name"
        grep -q "/assets/app\.$ext\"" "$WWW/index.html" || die "index.html does not name /assets/app.$ext"
        sed -i "s#/assets/app\.$ext\"#/assets/$name\"#" "$WWW/index.html"
    done
    [ ! -d "$HERE/src/static" ] || cp -r "$HERE/src/static/." "$WWW/assets/"
}

copy_licences() {
    local package
    for package in "${BUNDLED[@]}"; do
        printf '%s\n\n' "$package" && cat "$NPM/node_modules/$package/LICENSE" && printf '\n'
    done >"$WWW/assets/licences.txt"
}

copy_speedscope() {
    cp -r "$NPM/node_modules/speedscope/dist/release/." "$WWW/speedscope/"
    cp "$NPM/node_modules/speedscope/LICENSE" "$WWW/speedscope/LICENSE.txt"
}

# blob FOLDER FILE: its row; the next number is its name in assets.c.
blob() {
    printf 'BLOB(%d, "%s/%s", %d)\n' "$N" "$1" "$2" "$(stat -c %s "$OUT/$1/$2")" >>"$OUT/assets.inc"
    N=$((N + 1))
}

# write_rows: each file, its compressed form if that saves a tenth, and where and how it is served.
write_rows() {
    local file folder kept whole packed
    N=0
    : >"$OUT/assets.inc"
    while read -r file; do
        folder=${file%/*} kept=checked whole="FILE($N)" packed=NONE
        [ "$folder" = speedscope ] || folder=page
        [[ ! $file =~ [-.][0-9A-Za-z]{8,16}\.[a-z0-9]+$ ]] || kept=immutable
        blob www "$file"
        mkdir -p "$(dirname "$OUT/gzip/$file")"
        gzip -9nc "$WWW/$file" >"$OUT/gzip/$file"
        if [ "$(stat -c %s "$OUT/gzip/$file")" -lt "$(($(stat -c %s "$WWW/$file") * 9 / 10))" ]; then
            packed="FILE($N)"
            blob gzip "$file"
        fi
        printf 'ASSET("/%s", %s, %s, %s, "%s", %s, %s)\n' "${file%index.html}" "${file##*.}" "$folder" "$kept" \
            "$(digest "$WWW/$file")" "$whole" "$packed" >>"$OUT/assets.inc"
    done < <(cd "$WWW" && find . -type f | sed 's#^\./##' | LC_ALL=C sort)
}

install_packages
rm -rf "$WWW" "$OUT/gzip" "$OUT/bundle"
mkdir -p "$WWW/assets" "$WWW/speedscope"
bundle
copy_licences
copy_speedscope
write_rows
