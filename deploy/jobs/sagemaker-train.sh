#!/bin/bash
# The entry point of a training job of SageMaker, next to train.py in source_dir:
#   PyTorch(entry_point="sagemaker-train.sh", source_dir=".", environment={"RUNSTREAM_ADDRESS": "..."}, ...)
# All hosts of the job share the run. The rank of a host is its place in SM_HOSTS, a list in JSON.
set -eu
export RANK="${RANK:-$(python -c 'import json, os; print(json.loads(os.environ["SM_HOSTS"]).index(os.environ["SM_CURRENT_HOST"]))')}"
exec python -m runstream.exec --job "$TRAINING_JOB_NAME" --experiment training --name "$TRAINING_JOB_NAME" -- \
  python train.py "$@"
