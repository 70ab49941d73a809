{{- define "mira.fullname" -}}
{{- $name := ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) (contains .Chart.Name .Release.Name) -}}
{{- trunc 40 $name | trimSuffix "-" -}}
{{- end -}}

{{- define "mira.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "mira.labels" -}}
{{ include "mira.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "mira.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag }}{{ end }}
{{- end -}}
{{- end -}}

{{/* What is in flight is finished (drain), then the engine stops; ten seconds more, so that nobody is killed over it. */}}
{{- define "mira.graceSeconds" -}}
{{- add (ceil .Values.limits.drainSeconds) .Values.engine.stopSeconds 12 -}}
{{- end -}}

{{- define "mira.check" -}}
{{- if not .Values.broker.bootstrapServers }}{{ fail "broker.bootstrapServers must be given" }}{{ end }}
{{- if eq (empty .Values.project.existingClaim) (not .Values.project.inImage) }}
{{- fail "give either project.existingClaim or project.inImage=true" }}{{ end }}
{{- if not .Values.groups }}{{ fail "groups must name at least one source group of mira.toml" }}{{ end }}
{{- if and (gt (int .Values.exporter.replicas) 1) (ne .Values.exporter.storage.accessMode "ReadWriteMany") }}
{{- fail "exporter.replicas > 1 needs exporter.storage.accessMode ReadWriteMany: a partition's files must be where its next owner looks" }}{{ end }}
{{- if .Values.keda.enabled }}
{{- if gt (int .Values.engine.startSeconds) 1800 }}
{{- fail "engine.startSeconds must be at most 1800 with keda.enabled: Kubernetes scales up at least once in so long" }}{{ end }}
{{- if le (int .Values.keda.cooldownSeconds) (int .Values.engine.startSeconds) }}
{{- fail "keda.cooldownSeconds must be longer than engine.startSeconds: else models are loaded and unloaded in turn" }}{{ end }}
{{- range .Values.groups }}
{{- if gt (int (dig "keda" "maxReplicas" 1 .)) (int $.Values.topics.partitions) }}
{{- fail (printf "group %s: keda.maxReplicas is more than topics.partitions: the others would stand idle" .name) }}{{ end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "mira.env" -}}
- {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
- {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
- {name: MIRA_METRICS_HOST, value: $(POD_IP)}
- {name: MIRA_PROJECT__PREFIX, value: {{ quote .Values.topics.prefix }}}
- {name: MIRA_TOPICS__PARTITIONS, value: {{ quote .Values.topics.partitions }}}
- {name: MIRA_TOPICS__REPLICATION_FACTOR, value: {{ quote .Values.topics.replicationFactor }}}
- {name: MIRA_LIMITS__DRAIN_S, value: {{ .Values.limits.drainSeconds | float64 | printf "%.1f" | quote }}}
- {name: MIRA_BROKER__BOOTSTRAP_SERVERS, value: {{ quote .Values.broker.bootstrapServers }}}
- {name: MIRA_BROKER__SECURITY_PROTOCOL, value: {{ quote .Values.broker.securityProtocol }}}
{{- if hasPrefix "SASL_" .Values.broker.securityProtocol }}
- {name: MIRA_BROKER__SASL_MECHANISM, value: {{ quote .Values.broker.saslMechanism }}}
- {name: MIRA_BROKER__SASL_USERNAME, value: {{ quote .Values.broker.saslUsername }}}
- {name: MIRA_BROKER__SASL_PASSWORD_ENV, value: MIRA_SASL_PASSWORD}
- name: MIRA_SASL_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ required "broker.passwordSecret.name must be given with SASL" .Values.broker.passwordSecret.name }}, key: {{ .Values.broker.passwordSecret.key }}}}
{{- end }}
{{- if .Values.broker.caSecret.name }}
- {name: MIRA_BROKER__SSL_CAFILE, value: /etc/mira/ca/{{ .Values.broker.caSecret.key }}}
{{- end }}
{{- with .Values.broker.clientSecret }}
{{- if .name }}
- {name: MIRA_BROKER__SSL_CERTFILE, value: /etc/mira/client/{{ .certificate }}}
- {name: MIRA_BROKER__SSL_KEYFILE, value: /etc/mira/client/{{ .key }}}
{{- end }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "mira.container" -}}
image: {{ include "mira.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{/* Pods of a component rather on different nodes: root context and the labels that select them. */}}
{{- define "mira.spread" -}}
- maxSkew: 1
  topologyKey: kubernetes.io/hostname
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels: {{- include "mira.selector" .root | nindent 6 }}
      {{- toYaml .labels | nindent 6 }}
{{- end -}}

{{- define "mira.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "mira.mounts" -}}
- {name: tmp, mountPath: /tmp}
{{- if .Values.project.existingClaim }}
- {name: project, mountPath: /project, readOnly: true}
{{- end }}
{{- if .Values.broker.caSecret.name }}
- {name: ca, mountPath: /etc/mira/ca, readOnly: true}
{{- end }}
{{- if .Values.broker.clientSecret.name }}
- {name: client, mountPath: /etc/mira/client, readOnly: true}
{{- end }}
{{- end -}}

{{- define "mira.volumes" -}}
- {name: tmp, emptyDir: {sizeLimit: 8Gi}}
{{- if .Values.project.existingClaim }}
- {name: project, persistentVolumeClaim: {claimName: {{ .Values.project.existingClaim }}, readOnly: true}}
{{- end }}
{{- if .Values.broker.caSecret.name }}
- {name: ca, secret: {secretName: {{ .Values.broker.caSecret.name }}}}
{{- end }}
{{- if .Values.broker.clientSecret.name }}
- {name: client, secret: {secretName: {{ .Values.broker.clientSecret.name }}, defaultMode: 0440}}
{{- end }}
{{- end -}}

{{/* Probes: root context, the seconds a start may take, more ports. They answer under the pod's own address. */}}
{{- define "mira.probes" -}}
ports: {{ append (default list .ports) (dict "name" "metrics" "containerPort" .root.Values.metrics.port) | toJson }}
startupProbe:
  httpGet: {path: /startupz, port: metrics}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: {{ div (add .startSeconds 9) 10 }}
livenessProbe:
  httpGet: {path: /livez, port: metrics}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: metrics}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
{{- end -}}
