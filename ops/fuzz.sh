#!/usr/bin/env bash
# Builds the fuzz targets with clang and sanitizers and runs each for SECONDS on its corpus: ops/fuzz.sh [SECONDS [TARGET...]]
# New inputs go to build/fuzz/corpus; a crash leaves its input in build/fuzz/found and ends the run with an error.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-60}
shift || true
build=build/fuzz
cmake --preset fuzz >/dev/null
cmake --build --preset fuzz

targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(find "$build" -maxdepth 1 -name 'flyball-fuzz-*' -type f -printf '%f\n' | sort)
[ ${#targets[@]} -gt 0 ] || { echo "no fuzz targets in tests/fuzz" >&2; exit 2; }

for target in "${targets[@]}"; do
  name=${target#flyball-fuzz-}
  mkdir -p "$build/corpus/$name" "$build/found"
  kept=(tests/fuzz/corpus/"$name")
  [ -d "${kept[0]}" ] || kept=()
  words=()
  [ ! -f "tests/fuzz/$name.dict" ] || words=(-dict="tests/fuzz/$name.dict")
  echo "fuzzing $name for $seconds s"
  log="$build/$name.log"
  if ! "$build/flyball-fuzz-$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
    "${words[@]}" -artifact_prefix="$build/found/$name-" "$build/corpus/$name" "${kept[@]}" >"$log" 2>&1; then
    tail -40 "$log"
    exit 1
  fi
  grep 'stat::' "$log"
done
