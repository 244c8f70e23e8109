#!/bin/bash
# A cluster-scoped init script of Databricks: notebooks and jobs on the cluster find runstream without a setting, with
# MLflow's client and with runstream's.
#
# In the cluster's environment variables (Advanced options, Spark), set
#   RUNSTREAM_HOST=runstream.example.com
#   RUNSTREAM_TOKEN={{secrets/runstream/token}}   (a secret: it is not shown)
# and, if they differ from the defaults, RUNSTREAM_SCHEME=http, RUNSTREAM_GRPC_PORT=50051, RUNSTREAM_HTTP_PORT=5000; if the token is for
# several workspaces, RUNSTREAM_WORKSPACE.
set -eu
: "${RUNSTREAM_HOST:?set it in the environment variables of the cluster}"
scheme=${RUNSTREAM_SCHEME:-https}
root=${RUNSTREAM_INIT_ROOT:-} # another root directory, to try the script
grpc=$RUNSTREAM_HOST:${RUNSTREAM_GRPC_PORT:-50051}
http=$scheme://$RUNSTREAM_HOST:${RUNSTREAM_HTTP_PORT:-5000}
case $scheme in
  https) grpc=grpcs://$grpc ;;
  http) ;;
  *) echo "RUNSTREAM_SCHEME is '$scheme', must be https or http" >&2; exit 1 ;;
esac

"$root/databricks/python/bin/pip" install --quiet runstream

variables=(
  "MLFLOW_TRACKING_URI=$http"
  "MLFLOW_REGISTRY_URI=$http"
  "RUNSTREAM_ADDRESS=$grpc"
  "RUNSTREAM_MLFLOW_HTTP_ADDRESS=$http"
  # Metrics go through the journal on the driver's disk, so that none is lost in an outage of the service.
  "RUNSTREAM_MLFLOW_HTTP=1"
  "RUNSTREAM_DIR=/local_disk0/runstream"
)
[ -z "${RUNSTREAM_TOKEN:-}" ] || variables+=("MLFLOW_TRACKING_TOKEN=$RUNSTREAM_TOKEN")
[ -z "${RUNSTREAM_WORKSPACE:-}" ] || variables+=("MLFLOW_WORKSPACE=$RUNSTREAM_WORKSPACE")
# The first file is read by Spark, whose driver starts the notebooks' Python; the second by shells.
for variable in "${variables[@]}"; do
  printf "export %s='%s'\n" "${variable%%=*}" "${variable#*=}" >>"$root/databricks/spark/conf/spark-env.sh"
  printf '%s\n' "$variable" >>"$root/etc/environment"
done
