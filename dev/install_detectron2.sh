#!/usr/bin/env bash
# Puts Detectron2 where PYTHON finds it, unless one is there.
# Use: dev/install_detectron2.sh PYTHON
#
# Detectron2 is not on the package registry under its own name, and building it from source needs
# a compiler. sal-detectron2 0.7.2 is Detectron2 packed as a wheel without the compiled parts; stseg
# uses none of those. The wheel names one Python version only, though it is plain Python: so it is
# fetched for that version, pinned by hash, and put straight into site-packages. What it needs is
# listed in pyproject.toml.
set -euo pipefail

python=${1:?use: dev/install_detectron2.sh PYTHON}
if "$python" -c 'import importlib.util, sys; sys.exit(not importlib.util.find_spec("detectron2"))'
then
    exit 0
fi
site=$("$python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
"$python" -m pip install --quiet --no-input --no-deps --only-binary=:all: \
    --python-version 3.10 --implementation cp --abi none --platform any \
    --target "$site" --require-hashes -r "$(dirname "$0")/detectron2.txt"
