#!/usr/bin/env bash
# Generates client/runstream/v1 from proto/ with the pinned generator. `tools/gen.sh DIR` writes below DIR instead.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
out=${1:-client}
mkdir -p "$out"
"$python" -m grpc_tools.protoc --proto_path=proto \
  --python_out="$out" --pyi_out="$out" --grpc_python_out="$out" proto/runstream/v1/*.proto
# Files without a service leave a stub with nothing in it.
for file in "$out"/runstream/v1/*_pb2_grpc.py; do
  grep -q '^class ' "$file" || rm "$file"
done
echo '"""Generated from proto/runstream/v1 by `make gen`; never edited."""' > "$out/runstream/v1/__init__.py"
