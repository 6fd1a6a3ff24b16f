#!/usr/bin/env bash
# Puts Detectron2 where PYTHON finds it, unless one is there.
# Use: dev/install_detectron2.sh PYTHON
#
# How, and why so: stseg/tools/doctor/detectron2_wheel.py.
set -euo pipefail

python=${1:?use: dev/install_detectron2.sh PYTHON}
PYTHONPATH=$(cd "$(dirname "$0")/.." && pwd) exec "$python" -m stseg doctor --install-detectron2
