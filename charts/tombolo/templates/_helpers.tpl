{{/* Names and labels that all templates share. */}}
{{- define "tombolo.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 53 | trimSuffix "-" -}}
{{- end -}}

{{- define "tombolo.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 53 | trimSuffix "-" -}}
{{- else if contains (include "tombolo.name" .) .Release.Name -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "tombolo.name" .) | trunc 53 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "tombolo.serviceAccount" -}}
{{- default (include "tombolo.fullname" .) .Values.serviceAccount.name -}}
{{- end -}}

{{- define "tombolo.selector" -}}
app.kubernetes.io/name: {{ include "tombolo.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "tombolo.labels" -}}
{{ include "tombolo.selector" . }}
{{ include "tombolo.release" . }}
{{- end -}}

{{/* Labels of the pod of `helm test`: the Service of the operators must not select it. */}}
{{- define "tombolo.testLabels" -}}
app.kubernetes.io/name: {{ include "tombolo.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: test
{{ include "tombolo.release" . }}
{{- end -}}

{{- define "tombolo.release" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: tombolo
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Of a list: the image's values, and the version of the chart. */}}
{{- define "tombolo.image" -}}
{{- $image := index . 0 -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ default (index . 1) $image.tag }}
{{- end -}}
{{- end -}}

{{/* What the operator may do where its resources are: each verb is one that it uses. */}}
{{- define "tombolo.rules" -}}
- apiGroups: [tombolo.dev]
  resources: [brokerclusters, clusterlinks]
  verbs: [list, watch]
# The finalizer of links that are drained before they go.
- apiGroups: [tombolo.dev]
  resources: [clusterlinks]
  verbs: [patch]
- apiGroups: [tombolo.dev]
  resources: [brokerclusters/status, clusterlinks/status]
  verbs: [patch]
# So that children may block the removal of their owner (OwnerReferencesPermissionEnforcement).
- apiGroups: [tombolo.dev]
  resources: [brokerclusters/finalizers]
  verbs: [update]
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services, serviceaccounts]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, patch]
# Volumes grow: claims first, then the StatefulSet is made anew around its pods.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [list, watch, patch]
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
# Kinds that may be missing.
- apiGroups: [monitoring.coreos.com]
  resources: [servicemonitors]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [cert-manager.io]
  resources: [certificates]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}
