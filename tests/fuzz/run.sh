#!/usr/bin/env bash
# run.sh BUILD SECONDS: run every fuzz target of the build that long. What a target found
# interesting is kept in BUILD/corpus/NAME; seeds are corpus/NAME here. Fails at the first crash,
# whose input is then in BUILD/crashes.
set -euo pipefail
build=$1 seconds=$2
here=$(cd "$(dirname "$0")" && pwd)
n=0
mkdir -p "$build/crashes"
for target in "$build"/bin/fuzz_*; do
    [ -x "$target" ] || continue
    name=$(basename "$target")
    corpus=$build/corpus/$name
    mkdir -p "$corpus"
    folders=("$corpus")
    [ -d "$here/corpus/${name#fuzz_}" ] && folders+=("$here/corpus/${name#fuzz_}")
    echo "fuzz: $name for $seconds s"
    "$target" -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=10 -print_final_stats=1 \
        -artifact_prefix="$build/crashes/$name-" "${folders[@]}" 2>&1 | tail -n 12
    n=$((n + 1))
done
[ "$n" -gt 0 ] || { echo "fuzz: $build holds no target" >&2; exit 1; }
echo "fuzz: $n targets, no crash"
