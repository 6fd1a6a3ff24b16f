#!/usr/bin/env bash
# All checks that need no test run: lint, types, import direction, copied code. Runs every one,
# then fails if any failed.
set -uo pipefail
cd "$(dirname "$0")/.."

bin=${VENV:-.venv}/bin
failed=()
run() {
    local name=$1
    shift
    printf '== %s\n' "$name"
    "$@" || failed+=("$name")
}

sources=()
for path in stseg demo datasets train_net.py benchmarks; do
    [[ -e $path ]] && sources+=("$path")
done

run lint "$bin/ruff" check .
run format "$bin/ruff" format --check .
run types "$bin/mypy" stseg/structures stseg/exports stseg/config stseg/data stseg/evaluation stseg/render stseg/tools stseg/weights stseg/cli
run imports "$bin/python" -m pytest -q tests/test_imports_point_down.py
# File by file: in a folder pylint would take a package and its stub for copies of one another.
mapfile -t files < <(find "${sources[@]}" -name '*.py')
run duplicates "$bin/pylint" --disable=all --enable=duplicate-code --score=n "${files[@]}"

if ((${#failed[@]})); then
    printf 'FAILED: %s\n' "${failed[*]}" >&2
    exit 1
fi
printf 'all checks passed\n'
