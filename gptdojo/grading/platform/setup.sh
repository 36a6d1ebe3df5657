#!/usr/bin/env bash
# Gradescope runs this as root, once, when it builds the image (Ubuntu). To try it elsewhere: AUTOGRADER_ROOT is where source/
# lies, AUTOGRADER_ENVIRONMENT a Python environment that is there already.
set -euo pipefail
root="${AUTOGRADER_ROOT:-/autograder}"
environment="${AUTOGRADER_ENVIRONMENT:-/opt/gptdojo}"
if [ ! -x "$environment/bin/python" ]; then
    apt-get update
    apt-get install -y software-properties-common bubblewrap
    add-apt-repository -y ppa:deadsnakes/ppa
    apt-get install -y python@PYTHON@ python@PYTHON@-venv
    python@PYTHON@ -m venv "$environment"
fi
"$environment/bin/python" -m pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu \
    --requirement "$root/source/requirements.txt"
# Where bubblewrap is not allowed, a submission runs as a user of its own, who must not read the course.
chmod -R go-rwx "$root/source"
