{{/* The release's name, of at most 40 characters, so that those of its parts have at most 63. */}}
{{- define "flyball.name" -}}
{{- $name := .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- contains "flyball" $name | ternary $name (printf "%s-flyball" $name) -}}
{{- end }}

{{/* Takes (list root part). */}}
{{- define "flyball.selector" -}}
app.kubernetes.io/name: flyball
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "flyball.labels" -}}
{{ include "flyball.selector" . }}
app.kubernetes.io/version: {{ (index . 0).Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ (index . 0).Release.Service }}
helm.sh/chart: {{ (index . 0).Chart.Name }}-{{ (index . 0).Chart.Version }}
{{- end }}

{{- define "flyball.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{/* Names that requests may give: the edge hands them on. */}}
{{- define "flyball.hosts" -}}
{{- $edge := printf "%s-edge" (include "flyball.name" .) -}}
{{- $space := printf "%s.%s" $edge .Release.Namespace -}}
{{- $names := list $edge $space (printf "%s.svc" $space) (printf "%s.svc.cluster.local" $space) -}}
{{- if .Values.ingress.enabled }}{{ $names = append $names .Values.ingress.host }}{{ end -}}
{{- concat $names .Values.hosts | join " " -}}
{{- end }}

{{/* What all pods are: nobody, without a token of the cluster, and without the variables that Kubernetes makes of
services, since FLYBALL_EDGE_PORT would be a setting. Takes (list root part). */}}
{{- define "flyball.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: { type: RuntimeDefault }
{{- with (index . 0).Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- end }}

{{/* Pods of one part lie on different machines and zones, where there are some. Takes (list root part settings). */}}
{{- define "flyball.place" -}}
topologySpreadConstraints:
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "flyball.selector" $ | nindent 8 }}
  {{- end }}
{{- with (index . 2).nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with (index . 2).tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* What all containers are. */}}
{{- define "flyball.container" -}}
image: {{ include "flyball.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  capabilities: { drop: [ALL] }
{{- end }}

{{/* The environment of servers and edge. Settings are variables, as every key of flyball.toml has one. */}}
{{- define "flyball.environment" -}}
- name: FLYBALL_API_KEY
  valueFrom: { secretKeyRef: { name: {{ .Values.apiKey.secret | quote }}, key: {{ .Values.apiKey.key | quote }} } }
- { name: XDG_STATE_HOME, value: /state }
- { name: XDG_CACHE_HOME, value: /tmp/cache }
- { name: FLYBALL_SERVE_ALLOWED_HOSTS, value: {{ include "flyball.hosts" . | quote }} }
- { name: FLYBALL_SERVE_DRAIN_SECONDS, value: {{ .Values.drainSeconds | quote }} }
{{- range $key, $value := .Values.settings }}
- { name: {{ printf "FLYBALL_%s" ($key | upper | replace "." "_") }}, value: {{ kindIs "string" $value | ternary $value (toJson $value) | quote }} }
{{- end }}
{{- end }}

{{/* Probes of a port named http. A stalled server is started again after a minute; one that ends gets no requests. */}}
{{- define "flyball.probes" -}}
livenessProbe:
  httpGet: { path: /health, port: http }
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: { path: /ready, port: http }
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 2
# Load balancers hear of the end somewhat later than the pod.
lifecycle:
  preStop: { sleep: { seconds: 5 } }
{{- end }}

{{/* The claim of the models. */}}
{{- define "flyball.models" -}}
{{ .Values.models.existingClaim | default (printf "%s-models" (include "flyball.name" .)) }}
{{- end }}

{{/* Name servers may be reached. */}}
{{- define "flyball.dns" -}}
- to: {{- toYaml .Values.networkPolicy.dns | nindent 4 }}
  ports:
    - { protocol: UDP, port: 53 }
    - { protocol: TCP, port: 53 }
{{- end }}
