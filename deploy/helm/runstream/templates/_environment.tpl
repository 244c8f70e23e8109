{{- /* Which value becomes which setting of the service. Of extraEnv, none of these may be named. */ -}}
{{- define "runstream.environment" -}}
{{- $settings := .Values.settings -}}
- name: RUNSTREAM_DATABASE
  valueFrom:
    secretKeyRef:
      name: {{ .Values.database.existingSecret }}
      key: {{ .Values.database.key }}
- name: RUNSTREAM_GRPC_LISTEN
  value: {{ printf "%s:50051" $settings.listenAddress | quote }}
- name: RUNSTREAM_HTTP_LISTEN
  value: {{ printf "%s:5000" $settings.listenAddress | quote }}
- name: RUNSTREAM_MONITORING_LISTEN
  value: {{ printf "%s:9464" $settings.listenAddress | quote }}
- name: RUNSTREAM_SERVER_CERTIFICATE
  value: {{ ternary "/etc/runstream/tls/tls.crt" "" (ne .Values.tls.existingSecret "") | quote }}
- name: RUNSTREAM_SERVER_KEY
  value: {{ ternary "/etc/runstream/tls/tls.key" "" (ne .Values.tls.existingSecret "") | quote }}
- name: RUNSTREAM_SERVER_CLIENT_CA
  value: {{ ternary "/etc/runstream/tls/clients.crt" "" (ne .Values.tls.clientCa.existingSecret "") | quote }}
- name: RUNSTREAM_AUTH
  value: {{ ternary "on" "off" .Values.auth.enabled | quote }}
{{- if not .Values.auth.enabled }}
- name: RUNSTREAM_ALLOW_ANONYMOUS
  value: "true"
{{- end }}
- name: RUNSTREAM_SESSION_HOURS
  value: {{ .Values.auth.sessionHours | int64 | quote }}
- name: RUNSTREAM_OIDC_ISSUER
  value: {{ .Values.auth.oidc.issuer | quote }}
- name: RUNSTREAM_OIDC_CLIENT_ID
  value: {{ .Values.auth.oidc.clientId | quote }}
- name: RUNSTREAM_OIDC_CLIENT_SECRET_FILE
  value: {{ ternary "/etc/runstream/oidc/client-secret" (ternary "none" "" (ne .Values.auth.oidc.issuer "")) (ne .Values.auth.oidc.existingSecret "") | quote }}
- name: RUNSTREAM_OIDC_SCOPES
  value: {{ join " " .Values.auth.oidc.scopes | quote }}
- name: RUNSTREAM_OIDC_GROUPS_CLAIM
  value: {{ .Values.auth.oidc.groupsClaim | quote }}
- name: RUNSTREAM_OIDC_AUDIENCE
  value: {{ join "," .Values.auth.oidc.audiences | quote }}
- name: RUNSTREAM_OIDC_GRANTS
  value: {{ join "\n" .Values.auth.oidc.grants | quote }}
- name: RUNSTREAM_KUBERNETES_ISSUER
  value: {{ .Values.auth.kubernetes.issuer | quote }}
- name: RUNSTREAM_KUBERNETES_AUDIENCE
  value: {{ .Values.auth.kubernetes.audience | quote }}
- name: RUNSTREAM_KUBERNETES_JWKS_URL
  value: {{ .Values.auth.kubernetes.jwksUrl | quote }}
- name: RUNSTREAM_KUBERNETES_GRANTS
  value: {{ join "," .Values.auth.kubernetes.grants | quote }}
- name: RUNSTREAM_PUBLIC_URL
  value: {{ $settings.publicUrl | quote }}
- name: RUNSTREAM_ALLOWED_HOSTS
  value: {{ concat (list (printf "%s-http.%s" (include "runstream.name" .) .Release.Namespace)) (ternary .Values.ingress.hosts list .Values.ingress.enabled) (ternary .Values.gateway.httpHosts list .Values.gateway.enabled) $settings.allowedHosts | uniq | join "," | quote }}
- name: RUNSTREAM_TRUSTED_PROXIES
  value: {{ join "," $settings.trustedProxies | quote }}
- name: RUNSTREAM_PATH_PREFIX
  value: {{ $settings.pathPrefix | quote }}
- name: RUNSTREAM_DATA_DIR
  value: /tmp/runstream-data
- name: RUNSTREAM_ARTIFACTS
  value: {{ get (dict "none" "none" "url" .Values.artifacts.url) .Values.artifacts.kind | default "/artifacts" | quote }}
- name: RUNSTREAM_DATABASE_WAIT
  value: {{ $settings.databaseWaitSeconds | int64 | quote }}
- name: RUNSTREAM_WORKERS
  value: {{ $settings.workers | int64 | quote }}
- name: RUNSTREAM_POOL_SIZE
  value: {{ $settings.poolSize | int64 | quote }}
- name: RUNSTREAM_WRITERS
  value: {{ $settings.writers | int64 | quote }}
- name: RUNSTREAM_MAX_QUEUED_POINTS
  value: {{ $settings.maxQueuedPoints | int64 | quote }}
- name: RUNSTREAM_MAX_STREAMS
  value: {{ $settings.maxStreams | int64 | quote }}
- name: RUNSTREAM_MAX_SERIES_PER_RUN
  value: {{ $settings.maxSeriesPerRun | int64 | quote }}
- name: RUNSTREAM_WORKSPACE_POINTS_PER_SECOND
  value: {{ $settings.workspacePointsPerSecond | int64 | quote }}
- name: RUNSTREAM_WORKSPACE_STREAMS
  value: {{ $settings.workspaceStreams | int64 | quote }}
- name: RUNSTREAM_WORKSPACE_CONCURRENT_READS
  value: {{ $settings.workspaceConcurrentReads | int64 | quote }}
- name: RUNSTREAM_WORKSPACE_FILE_BYTES
  value: {{ $settings.workspaceFileBytes | int64 | quote }}
- name: RUNSTREAM_METRICS_BY_WORKSPACE
  value: {{ $settings.metricsByWorkspace | ternary "on" "off" | quote }}
- name: RUNSTREAM_MAX_CONNECTION_AGE
  value: {{ $settings.maxConnectionAgeSeconds | int64 | quote }}
- name: RUNSTREAM_EPOCH_POINTS
  value: {{ $settings.epochPoints | int64 | quote }}
- name: RUNSTREAM_EPOCH_SECONDS
  value: {{ $settings.epochSeconds | int64 | quote }}
- name: RUNSTREAM_MAX_READ_AGE
  value: {{ $settings.maxReadAgeSeconds | int64 | quote }}
- name: RUNSTREAM_HOT_POINTS_MAX
  value: {{ $settings.hotPointsMax | int64 | quote }}
- name: RUNSTREAM_PURGE_AFTER_DAYS
  value: {{ $settings.purgeAfterDays | int64 | quote }}
- name: RUNSTREAM_SILENT_RUN_AFTER
  value: {{ $settings.silentRunAfterSeconds | int64 | quote }}
- name: RUNSTREAM_SHUTDOWN_GRACE
  value: {{ .Values.shutdown.graceSeconds | int64 | quote }}
- name: RUNSTREAM_LOG_LEVEL
  value: {{ $settings.logLevel | quote }}
- name: RUNSTREAM_LOG_FORMAT
  value: {{ $settings.logFormat | quote }}
- name: HOME
  value: /tmp
{{- end -}}
