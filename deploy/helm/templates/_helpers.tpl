{{/* What the names of all objects begin with. */}}
{{- define "etl.fullname" -}}
{{- .Values.fullnameOverride | default .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* Of all objects of the release. */}}
{{- define "etl.labels" -}}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: etl
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Which pods are a component's: a list of root and its name. They can never change. */}}
{{- define "etl.selector" -}}
app.kubernetes.io/name: {{ (index . 0).Chart.Name }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/*
What runs. `values` is the component's key among the values, `job` the name that rules and dashboards
know it by, `reads` what it is given addresses and secrets of, `live` and `ready` other paths for probes than
/livez and /readyz; the grace is longer than pipeline.drain_seconds.
*/}}
{{- define "etl.all" -}}
extractor: {values: extractor, image: extractor, job: extractor, port: 8080, graceSeconds: 45, reads: [pipeline, redis, prometheus, metrics, push]}
transformer: {values: transformer, image: transformer, job: transformer, port: 8080, graceSeconds: 45, reads: [pipeline, redis, metrics]}
loader: {values: loader, image: loader, job: loader, port: 8080, graceSeconds: 45, reads: [pipeline, redis, influxdb, metrics]}
verifier: {values: verifier, image: verifier, job: verifier, port: 8080, graceSeconds: 45, reads: [pipeline, redis, prometheus, influxdb, metrics]}
etl-metrics: {values: etlMetrics, image: exporter, job: etl-metrics, port: 8083, graceSeconds: 15, reads: [redis, metrics]}
etlctl: {values: etlctl, image: etlctl, graceSeconds: 1, reads: [pipeline, redis, prometheus, influxdb]}
simulator: {values: simulator, image: simulator, job: test-app, port: 8000, live: /health, ready: /health, graceSeconds: 15, reads: [simulator]}
{{- end -}}

{{/* Those of them that are enabled. */}}
{{- define "etl.components" -}}
{{- range $name, $facts := fromYaml (include "etl.all" .) }}
{{- if (index $.Values $facts.values).enabled }}
{{ $name }}: {{ toJson $facts }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Whether a component listens for remote write: a dict of Values and facts. */}}
{{- define "etl.pushes" -}}
{{- if and (has "push" .facts.reads) .Values.push.enabled -}}yes{{- end -}}
{{- end -}}

{{- define "etl.configMap" -}}
{{- .Values.existingConfigMap | default (printf "%s-config" (include "etl.fullname" .)) -}}
{{- end -}}

{{/* The text of etl.yaml. */}}
{{- define "etl.config" -}}
{{- .Values.config | default (.Files.Get "files/etl.yaml") -}}
{{- end -}}

{{/* The stream whose bytes say how many of a stage are needed; empty: not scaled. */}}
{{- define "etl.scaledOn" -}}
{{- if ne .Values.autoscaling.mode "none" -}}
{{- get (dict "transformer" "raw" "loader" "points") .component -}}
{{- end -}}
{{- end -}}
