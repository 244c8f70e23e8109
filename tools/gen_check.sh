#!/usr/bin/env bash
# Fails when client/runstream/v1 is not what proto/ generates.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
if ! "$python" -c 'import grpc_tools' 2>/dev/null; then
  echo "gen-check: the pinned generator has no wheel for $("$python" --version); not checked here, but on Python 3.10 to 3.13"
  exit 0
fi
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
PYTHON=$python tools/gen.sh "$fresh" >/dev/null
if ! diff -r --exclude=__pycache__ "$fresh/runstream/v1" client/runstream/v1; then
  echo "gen-check: client/runstream/v1 differs from what proto/ generates; run 'make gen' and commit"
  exit 1
fi
echo "gen-check: generated code is up to date"
