#!/usr/bin/env bash
# Makes .venv complete: creates it if missing, installs stseg, its tools and Detectron2.
#
# A stamp in .venv remembers what was installed, so a second run does nothing. A run that was
# killed leaves a mark; the next one then starts from an empty .venv, because a package whose
# unpacking was cut off can look installed.
#
# PYTHON=/path/to/python3.11 chooses the interpreter, VENV=folder another place.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=${VENV:-.venv}
stamp=$venv/.stseg-installed
unfinished=$venv/.stseg-unfinished
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
trap 'exit 130' INT TERM

say() { printf '[setup] %s\n' "$*"; }
die() { printf '[setup] error: %s\n' "$*" >&2; exit 1; }

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1; }

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.10}; do
        if is_new_enough "$candidate"; then
            printf '%s' "$candidate"
            return
        fi
    done
    die "stseg needs Python 3.10 or newer, got $("${PYTHON:-python3}" --version 2>&1 || true)." \
        "Name one: make PYTHON=/path/to/python3.11 test"
}

create_venv() {
    local python
    python=$(find_python)
    say "creating $venv with $("$python" --version)"
    mkdir -p "$venv"
    touch "$unfinished"
    "$python" -m venv "$venv" ||
        die "could not create $venv. On Debian and Ubuntu: apt install python3-venv"
}

pip_install() { # shows what is fetched and leaves out what is there already
    "$venv/bin/python" -m pip install --progress-bar off "$@" |
        { grep --line-buffered -E '^ *(Downloading .*[MG]B|Installing collected)' || true; }
}

install_all() {
    say "installing stseg and what it needs (torch is large; the first time takes minutes)"
    pip_install -e '.[dev]' || return 1
    bash dev/install_detectron2.sh "$venv/bin/python" || return 1
}

if [[ -e $unfinished ]]; then
    say "the last installation was cut off: starting afresh"
    rm -rf "$venv"
fi
if [[ ! -e $venv/pyvenv.cfg ]]; then
    create_venv
elif ! is_new_enough "$venv/bin/python"; then
    die "$venv does not hold a working Python 3.10 or newer. Remove it and run again."
fi

wanted=$(cat pyproject.toml dev/*.txt dev/*.sh | cksum)
if [[ -f $stamp && $(<"$stamp") == "$wanted" ]]; then
    exit 0
fi
touch "$unfinished"
if ! install_all; then
    rm -f "$unfinished" # pip ended by itself and left nothing half done
    die "installation failed, see above. Is the package registry reachable?"
fi
rm -f "$unfinished"
printf '%s' "$wanted" >"$stamp"
say "ready"
