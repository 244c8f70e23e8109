{{- define "runstream.name" -}}
{{- default .Release.Name .Values.fullnameOverride | trunc 46 | trimSuffix "-" -}}
{{- end -}}

{{- define "runstream.selector" -}}
app.kubernetes.io/name: runstream
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "runstream.labels" -}}
{{ include "runstream.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
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
{{- if and (include "runstream.oneMount" .) (gt (include "runstream.mostReplicas" . | int) 1) -}}
{{- fail (printf "artifacts.volume.accessMode: %s can be mounted by one pod, and there may be %s replicas; set it to ReadWriteMany, or artifacts.kind to url, or replicas to 1" .Values.artifacts.volume.accessMode (include "runstream.mostReplicas" .)) -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}
{{- fail (printf "autoscaling.minReplicas: %d is more than autoscaling.maxReplicas, %d; for example 2 and 6" (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}
{{- end -}}
{{- end -}}
