{{- define "runstream.name" -}}
{{- default .Release.Name .Values.fullnameOverride | trunc 46 | trimSuffix "-" -}}
{{- end -}}

{{- define "runstream.selector" -}}
app.kubernetes.io/name: runstream
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "runstream.labels" -}}
{{- $own := dict
  "app.kubernetes.io/version" .Chart.AppVersion
  "app.kubernetes.io/managed-by" .Release.Service
  "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version) -}}
{{- merge (include "runstream.selector" . | fromYaml) $own .Values.commonLabels | toYaml -}}
{{- end -}}

{{- /* Of (list indent . own): a line break and the annotations of an object, own and common; nothing if there are none. */ -}}
{{- define "runstream.annotations" -}}
{{- with merge dict (index . 2) (index . 1).Values.commonAnnotations -}}
{{- dict "annotations" . | toYaml | nindent (index $ 0) -}}
{{- end -}}
{{- end -}}

{{- /* Of the pod of `helm test`. */ -}}
{{- define "runstream.test" -}}
app.kubernetes.io/name: runstream-test
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- /* Of (list . type): what a Service needs to be reached from outside the cluster, with a line break before it. */ -}}
{{- define "runstream.outside" -}}
{{- $service := (first .).Values.service -}}
{{- if ne (last .) "ClusterIP" -}}
{{- dict "externalTrafficPolicy" $service.externalTrafficPolicy | toYaml | nindent 2 -}}
{{- if and (eq (last .) "LoadBalancer") $service.loadBalancerSourceRanges -}}
{{- dict "loadBalancerSourceRanges" $service.loadBalancerSourceRanges | toYaml | nindent 2 -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "runstream.podSecurity" -}}
runAsNonRoot: true
{{- with .Values.podSecurity.userId }}
runAsUser: {{ . | int64 }}
runAsGroup: {{ . | int64 }}
fsGroup: {{ . | int64 }}
fsGroupChangePolicy: OnRootMismatch
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "runstream.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "runstream.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "runstream.name" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "runstream.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{- define "runstream.claim" -}}
{{- default (printf "%s-artifacts" (include "runstream.name" .)) .Values.artifacts.volume.existingClaim -}}
{{- end -}}

{{- define "runstream.mostReplicas" -}}
{{- if .Values.autoscaling.enabled -}}{{ .Values.autoscaling.maxReplicas }}{{- else -}}{{ .Values.replicas }}{{- end -}}
{{- end -}}

{{- /* Non-empty when the artifact volume can be mounted by one pod alone. */ -}}
{{- define "runstream.oneMount" -}}
{{- if and (eq .Values.artifacts.kind "volume") (ne .Values.artifacts.volume.accessMode "ReadWriteMany") -}}yes{{- end -}}
{{- end -}}

{{- /* What no schema can say, because it takes two values. */ -}}
{{- define "runstream.check" -}}
{{- $most := include "runstream.mostReplicas" . | int -}}
{{- $artifacts := "for example artifacts.kind: url with artifacts.url: s3://bucket/prefix, or artifacts.kind: volume with artifacts.volume.accessMode: ReadWriteMany" -}}
{{- if and (eq .Values.artifacts.kind "temporary") (gt $most 1) -}}
{{- fail (printf "artifacts.kind: temporary is a directory of each pod alone, and there may be %d replicas, so that files would be found by chance; set storage that replicas share, %s; or replicas: 1" $most $artifacts) -}}
{{- end -}}
{{- if and (include "runstream.oneMount" .) (gt $most 1) -}}
{{- fail (printf "artifacts.volume.accessMode: %s can be mounted by one pod, and there may be %d replicas; set what replicas share, %s; or replicas: 1" .Values.artifacts.volume.accessMode $most $artifacts) -}}
{{- end -}}
{{- if and .Values.tls.clientCa.existingSecret (not .Values.tls.existingSecret) -}}
{{- fail "tls.existingSecret: tls.clientCa.existingSecret has no effect without the certificate of the service; for example tls.existingSecret: runstream-tls" -}}
{{- end -}}
{{- if le (int .Values.probes.startupSeconds) (int .Values.settings.databaseWaitSeconds) -}}
{{- fail (printf "probes.startupSeconds: a pod would be killed after %d s, while settings.databaseWaitSeconds lets it wait for the database for %d s; for example 600 and 30" (int .Values.probes.startupSeconds) (int .Values.settings.databaseWaitSeconds)) -}}
{{- end -}}
{{- if .Values.autoscaling.enabled -}}
{{- if gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas) -}}
{{- fail (printf "autoscaling.minReplicas: %d is more than autoscaling.maxReplicas, %d; for example 2 and 6" (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}
{{- end -}}
{{- if not (get .Values.resources.requests "cpu") -}}
{{- fail "resources.requests.cpu: autoscaling.targetCpuPercent is a share of it, and it is not set; for example \"1\"" -}}
{{- end -}}
{{- if and .Values.autoscaling.targetMemoryPercent (not (get .Values.resources.requests "memory")) -}}
{{- fail "resources.requests.memory: autoscaling.targetMemoryPercent is a share of it, and it is not set; for example 512Mi" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.gateway.enabled (not (concat .Values.gateway.httpHosts .Values.gateway.grpcHosts)) -}}
{{- fail "gateway.httpHosts and gateway.grpcHosts are both empty, and gateway.enabled is true; for example gateway.httpHosts: [runstream.example.org]" -}}
{{- end -}}
{{- range $place, $variable := .Values.extraEnv -}}
{{- range include "runstream.environment" $ | fromYamlArray -}}
{{- if eq .name $variable.name -}}
{{- fail (printf "extraEnv[%d].name: %s is set by the chart; use the value that stands for it, for example settings.poolSize for RUNSTREAM_POOL_SIZE" $place $variable.name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
