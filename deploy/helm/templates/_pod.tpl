{{/* The environment of a component: a dict of root, name and facts. As docker-compose.yml has it. */}}
{{- define "etl.environment" -}}
{{- $v := .root.Values -}}
{{- $own := index $v .facts.values -}}
{{- $folder := "/run/etl-secrets" -}}
{{- $env := dict -}}
{{- if has "pipeline" .facts.reads -}}
{{- /* The same for all of them: a process that names another source or sink pauses. */ -}}
{{- $_ := set $env "ETL__PIPELINE__LOG_LEVEL" $v.logLevel -}}
{{- if $v.prometheus.url -}}
{{- $_ := set $env "ETL__EXTRACT__PROMETHEUS_URL" $v.prometheus.url -}}
{{- end -}}
{{- if $v.influxdb.url -}}
{{- $_ := set $env "ETL__LOAD__INFLUXDB__URL" $v.influxdb.url -}}
{{- end -}}
{{- if .facts.port -}}
{{- $_ := set $env "ETL__PIPELINE__HTTP_PORT" (toString .facts.port) -}}
{{- end -}}
{{- end -}}
{{- if has "redis" .facts.reads -}}
{{- $user := index $v.redis.users .facts.values -}}
{{- $_ := set $env "ETL__PIPELINE__REDIS_URL" (replace "{user}" $user.name $v.redis.url) -}}
{{- $_ := set $env "ETL__PIPELINE__REDIS_NAMESPACE" $v.redis.namespace -}}
{{- if $v.redis.existingSecret -}}
{{- $_ := set $env "ETL__PIPELINE__REDIS_PASSWORD_FILE" (printf "%s/redis_password" $folder) -}}
{{- end -}}
{{- if $v.redis.ca.secret -}}
{{- $_ := set $env "ETL__PIPELINE__REDIS_CA_FILE" (printf "%s/redis_ca.crt" $folder) -}}
{{- end -}}
{{- end -}}
{{- if has "prometheus" .facts.reads -}}
{{- /* Without a user etl.yaml says what the mounted secret is: a token, or of one of its sources. */ -}}
{{- if and $v.prometheus.existingSecret $v.prometheus.username -}}
{{- $_ := set $env "ETL__EXTRACT__AUTH__USERNAME" $v.prometheus.username -}}
{{- $_ := set $env "ETL__EXTRACT__AUTH__PASSWORD_FILE" (printf "%s/prometheus_password" $folder) -}}
{{- end -}}
{{- if $v.prometheus.ca.secret -}}
{{- $_ := set $env "ETL__EXTRACT__AUTH__CA_FILE" (printf "%s/prometheus_ca.crt" $folder) -}}
{{- end -}}
{{- end -}}
{{- if has "influxdb" .facts.reads -}}
{{- $_ := set $env "ETL__LOAD__INFLUXDB__TOKEN_FILE" (printf "%s/influxdb_token" $folder) -}}
{{- if $v.influxdb.ca.secret -}}
{{- $_ := set $env "ETL__LOAD__INFLUXDB__CA_FILE" (printf "%s/influxdb_ca.crt" $folder) -}}
{{- end -}}
{{- end -}}
{{- if and (has "metrics" .facts.reads) $v.metrics.existingSecret -}}
{{- $name := ternary "ETL__PIPELINE__METRICS_PASSWORD_FILE" "ETL_METRICS_PASSWORD_FILE" (has "pipeline" .facts.reads) -}}
{{- $_ := set $env $name (printf "%s/metrics_password" $folder) -}}
{{- end -}}
{{- if include "etl.pushes" (dict "Values" $v "facts" .facts) -}}
{{- $_ := set $env "ETL__EXTRACT__PUSH__PORT" (toString (int64 $v.push.port)) -}}
{{- $_ := set $env "ETL__EXTRACT__PUSH__PASSWORD_FILE" (printf "%s/push_password" $folder) -}}
{{- if $v.push.tls.secret -}}
{{- $_ := set $env "ETL__EXTRACT__PUSH__CERT_FILE" (printf "%s/push_tls.crt" $folder) -}}
{{- $_ := set $env "ETL__EXTRACT__PUSH__KEY_FILE" (printf "%s/push_tls.key" $folder) -}}
{{- end -}}
{{- end -}}
{{- if eq .name "etl-metrics" -}}
{{- $_ := set $env "ETL_METRICS_LOG_LEVEL" $v.logLevel -}}
{{- $_ := set $env "ETL_METRICS_GRAFANA_URL" $v.grafana.url -}}
{{- $_ := set $env "ETL_METRICS_RUNBOOK_URL" $v.grafana.runbookUrl -}}
{{- end -}}
{{- if eq .name "simulator" -}}
{{- $_ := set $env "SIMULATOR_LOG_LEVEL" $v.logLevel -}}
{{- $_ := set $env "SIMULATOR_PASSWORD_FILE" (printf "%s/simulator_password" $folder) -}}
{{- end -}}
{{- range $name, $value := merge (dict) $own.env $env }}
- {name: {{ $name }}, value: {{ toString $value | quote }}}
{{- end }}
{{- end -}}

{{/* The files of its secrets, as sources of a projected volume: a dict of root, name and facts. */}}
{{- define "etl.secrets" -}}
{{- $v := .root.Values -}}
{{- $files := list -}}
{{- range $server := list "redis" "prometheus" "influxdb" -}}
{{- $settings := index $v $server -}}
{{- if has $server $.facts.reads -}}
{{- if $settings.existingSecret -}}
{{- $key := $settings.passwordKey | default $settings.tokenKey -}}
{{- if eq $server "redis" -}}
{{- $key = (index $v.redis.users $.facts.values).passwordKey -}}
{{- end -}}
{{- $path := ternary "influxdb_token" (printf "%s_password" $server) (eq $server "influxdb") -}}
{{- $files = append $files (list $settings.existingSecret $key $path) -}}
{{- end -}}
{{- if $settings.ca.secret -}}
{{- $files = append $files (list $settings.ca.secret $settings.ca.key (printf "%s_ca.crt" $server)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $reader := list "metrics" "simulator" -}}
{{- $settings := index $v $reader -}}
{{- if and (has $reader $.facts.reads) $settings.existingSecret -}}
{{- $files = append $files (list $settings.existingSecret $settings.passwordKey (printf "%s_password" $reader)) -}}
{{- end -}}
{{- end -}}
{{- if include "etl.pushes" (dict "Values" $v "facts" .facts) -}}
{{- $push := $v.push -}}
{{- $files = append $files (list $push.existingSecret $push.passwordKey "push_password") -}}
{{- if $push.tls.secret -}}
{{- $files = append $files (list $push.tls.secret $push.tls.certKey "push_tls.crt") -}}
{{- $files = append $files (list $push.tls.secret $push.tls.keyKey "push_tls.key") -}}
{{- end -}}
{{- end -}}
{{- range $files }}
- secret: {name: {{ index . 0 }}, items: [{key: {{ index . 1 }}, path: {{ index . 2 }}}]}
{{- end }}
{{- end -}}
