#!/usr/bin/env bash
# Generates client/runstream/v1 from proto/. `tools/gen.sh DIR` writes below DIR instead.
#
# The generator is old on purpose: what protoc 25 makes runs with protobuf 4.25, 5, 6 and 7, and demands no release of
# grpcio. Newer ones demand their own release or a newer one, and so would shut out TensorFlow before 2.20 and what else
# needs an older protobuf. It cannot be installed next to a newer protobuf, so it has an environment of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
version=1.62.3
generator=build/generator-$version
if ! "$generator/bin/python" -c 'import grpc_tools' 2>/dev/null; then
  if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 13))'; then
    echo "the generator, grpcio-tools $version, has no wheel for $("$python" --version); Python 3.12 or older has one" >&2
    exit 3
  fi
  rm -rf "$generator"
  "$python" -m venv --without-pip "$generator"
  "$python" -m pip --disable-pip-version-check --python "$generator" install --quiet --no-deps --only-binary :all: \
    grpcio-tools==$version
fi
out=${1:-client}
mkdir -p "$out"
"$generator/bin/python" -m grpc_tools.protoc --proto_path=proto \
  --python_out="$out" --pyi_out="$out" --grpc_python_out="$out" proto/runstream/v1/*.proto
# Files without a service leave a stub with nothing in it.
for file in "$out"/runstream/v1/*_pb2_grpc.py; do
  grep -q '^class ' "$file" || rm "$file"
done
echo '"""Generated from proto/runstream/v1 by `make gen`; never edited."""' > "$out/runstream/v1/__init__.py"
