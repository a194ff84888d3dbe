{{/* Names and labels that all templates share. */}}
{{- define "cluster.name" -}}
{{- $name := default .Release.Name .Values.name -}}
{{- if gt (len $name) 45 -}}
{{- fail (printf "the name %s has more than 45 characters; set `name` to a shorter one" $name) -}}
{{- end -}}
{{- $name -}}
{{- end -}}

{{/* Not those of the operator's objects, whose Services must not select the pod of the test. */}}
{{- define "cluster.labels" -}}
app.kubernetes.io/name: tombolo-cluster
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: tombolo
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "cluster.metadata" -}}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "cluster.labels" . | nindent 2 }}
  {{- with .Values.labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .Values.annotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Who may connect: what the spec says, else the Secret of this chart. */}}
{{- define "cluster.spec" -}}
{{- $spec := deepCopy .Values.cluster -}}
{{- if .Values.users -}}
{{- $authentication := default (dict) $spec.authentication -}}
{{- if $authentication.users -}}
{{- fail "set users, or cluster.authentication.users, not both" -}}
{{- end -}}
{{- $users := dict "secretRef" (dict "name" (printf "%s-users" (include "cluster.name" .))) -}}
{{- $_ := set $spec "authentication" (merge (dict "users" $users) $authentication) -}}
{{- end -}}
{{- toYaml $spec -}}
{{- end -}}

{{/* Users that stand for remote clusters, and can do nothing else. */}}
{{- define "cluster.linkUsers" -}}
{{- $users := list -}}
{{- range .Values.links }}{{ with .accept }}{{ $users = append $users .user }}{{ end }}{{ end -}}
{{- range .Values.cluster.linkAccess }}{{ $users = append $users .user }}{{ end -}}
{{- dict "names" $users | toJson -}}
{{- end -}}

{{/* What the test connects with, as JSON; `user` is empty for nobody in particular. */}}
{{- define "cluster.test" -}}
{{- $listener := dict -}}
{{- $listeners := default (list (dict "name" "mqtt" "protocol" "MQTT" "port" 1883)) .Values.cluster.listeners -}}
{{- range $protocol := list "MQTTS" "MQTT" -}}
{{- range reverse $listeners -}}
{{- if eq .protocol $protocol }}{{ $listener = . }}{{ end -}}
{{- end -}}
{{- end -}}
{{- with .Values.test.listener -}}
{{- $wanted := . -}}
{{- $listener = dict -}}
{{- range $listeners }}{{ if eq .name $wanted }}{{ $listener = . }}{{ end }}{{ end -}}
{{- if not $listener }}{{ fail (printf "test.listener: the cluster has no listener %s" $wanted) }}{{ end -}}
{{- if not (has $listener.protocol (list "MQTT" "MQTTS")) }}{{ fail (printf "test.listener: %s is of %s; the test speaks MQTT and MQTTS" $wanted $listener.protocol) }}{{ end -}}
{{- end -}}
{{- $user := .Values.test.user -}}
{{- if not $user -}}
{{- $links := (include "cluster.linkUsers" . | fromJson).names -}}
{{- range $name := keys .Values.users | sortAlpha | reverse -}}
{{- if not (or (has $name $links) (hasPrefix "$" (get $.Values.users $name))) }}{{ $user = $name }}{{ end -}}
{{- end -}}
{{- end -}}
{{- $secret := .Values.test.passwordSecret.name -}}
{{- if and $user (not $secret) -}}
{{- if not (hasKey .Values.users $user) }}{{ fail (printf "test.user: users has no %s; name the Secret with the password in test.passwordSecret" $user) }}{{ end -}}
{{- $secret = printf "%s-users" (include "cluster.name" .) -}}
{{- end -}}
{{- $key := default $user .Values.test.passwordSecret.key -}}
{{- dict "listener" $listener "user" $user "secret" $secret "key" $key | toJson -}}
{{- end -}}
