#!/usr/bin/env bash
# Makes .venv complete: creates it if missing, installs stseg, Detectron2 and what running needs.
# Use: dev/setup_env.sh        for running (make demo)
#      dev/setup_env.sh dev    with developers' tools (make test)
#
# Stamps in .venv remember what was installed, so a second run does nothing, and developers' tools
# come to what is there already. A run that was killed leaves a mark; the next one then starts from
# an empty .venv, because a package whose unpacking was cut off can look installed.
#
# PYTHON=/path/to/python3.11  the interpreter
# VENV=folder                 another place
# CPU=1                       PyTorch without the CUDA stack, from PyTorch's own index or CPU_INDEX
# LOCKED=1                    exactly the tested versions, by hash, from dev/lock/
set -euo pipefail
cd "$(dirname "$0")/.."

venv=${VENV:-.venv}
level=${1:-run}
stamp=$venv/.stseg-installed
unfinished=$venv/.stseg-unfinished
cpu_index=${CPU_INDEX:-https://download.pytorch.org/whl/cpu}
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

has_torch() { compgen -G "$venv/lib/python3*/site-packages/torch" >/dev/null; }

lock_files() { # for this Python and machine: the set for running, and what developers' tools add
    local name
    name=dev/lock/$("$venv/bin/python" dev/lock.py --name)
    [[ -f $name.txt ]] || die "LOCKED=1: there is no $name.txt. Choose with PYTHON=... one that" \
        "dev/lock has a file of, leave LOCKED=1 out, or write one: $venv/bin/python dev/lock.py"
    printf '%s\n' "$name.txt"
    [[ $level == run ]] || printf '%s\n' "$name-dev.txt"
}

install_cpu_torch() {
    # The one index alone: pip takes the highest version that it finds anywhere.
    PIP_EXTRA_INDEX_URL=$cpu_index pip_install --index-url "$cpu_index" \
        --timeout 20 --retries 1 torch torchvision ||
        { say "CPU=1: no PyTorch came from $cpu_index. Name a mirror or a folder's address in" \
            "CPU_INDEX, or leave CPU=1 out: the registry's PyTorch runs without a GPU as well"
          return 1; }
}

install_all() {
    local lock
    if [[ -n $locks ]]; then
        say "installing the tested versions"
        for lock in $locks; do
            pip_install --no-deps --require-hashes -r "$lock" || return 1
        done
        pip_install --no-deps --no-build-isolation -e . || return 1
    else
        say "installing stseg and what it needs (torch is large; the first time takes minutes)"
        if [[ -n ${CPU:-} ]] && ! has_torch; then install_cpu_torch || return 1; fi
        if [[ $level == dev ]]; then pip_install -e '.[dev]'; else pip_install -e '.[photos]'; fi || return 1
    fi
    bash dev/install_detectron2.sh "$venv/bin/python" || return 1
}

[[ $level == run || $level == dev ]] || die "expected run or dev, got $level."
[[ -z ${CPU:-} || -z ${LOCKED:-} ]] || die "CPU=1 and LOCKED=1: expected one of them, got both." \
    "The lock is of the registry's PyTorch."
if [[ -e $unfinished ]]; then
    say "the last installation was cut off: starting afresh"
    rm -rf "$venv"
fi
if [[ ! -e $venv/pyvenv.cfg ]]; then
    create_venv
elif ! is_new_enough "$venv/bin/python"; then
    die "$venv does not hold a working Python 3.10 or newer. Remove it and run again."
fi
if [[ -n ${CPU:-} && -n $(compgen -G "$venv/lib/python3*/site-packages/nvidia") ]]; then
    say "CPU=1: $venv has the CUDA stack already and keeps it; remove $venv for one without"
fi

locks=
[[ -z ${LOCKED:-} ]] || locks=$(lock_files)
wanted=$(cat pyproject.toml setup.py stseg/assets/detectron2.txt dev/*.sh $locks | cksum)
for done in "$stamp-dev" "$stamp-$level"; do # developers' tools come on top of the rest
    if [[ -f $done && $(<"$done") == "$wanted" ]]; then
        exit 0
    fi
done
touch "$unfinished"
if ! install_all; then
    rm -f "$unfinished" # pip ended by itself and left nothing half done
    die "installation failed, see above. Is the package registry reachable?"
fi
rm -f "$unfinished"
printf '%s' "$wanted" >"$stamp-$level"
say "ready"
