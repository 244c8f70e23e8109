#!/usr/bin/env bash
# Fails when client/runstream/v1 is not what proto/ generates.
set -euo pipefail
cd "$(dirname "$0")/.."
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
status=0
tools/gen.sh "$fresh" >/dev/null || status=$?
if [ "$status" = 3 ]; then
  echo "gen-check: not checked here"
  exit 0
fi
[ "$status" = 0 ]
if ! diff -r --exclude=__pycache__ "$fresh/runstream/v1" client/runstream/v1; then
  echo "gen-check: client/runstream/v1 differs from what proto/ generates; run 'make gen' and commit"
  exit 1
fi
echo "gen-check: generated code is up to date"
