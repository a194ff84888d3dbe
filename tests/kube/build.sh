#!/usr/bin/env bash
# Builds what the tests over a real API server need from Go modules, once: a control plane, helm, promtool, actionlint, Lua.
# `build.sh node` builds what a node needs, too: kubelet, kube-proxy, kube-scheduler, CoreDNS.
set -euo pipefail
version=1.34.4
here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/tombolo/kube-$version
control="etcd kube-apiserver kube-controller-manager"
node=""
if [ "${1:-}" = node ]; then
  node="kubelet kube-proxy kube-scheduler coredns"
  command -v kubectl >/dev/null || {
    echo "kubectl is missing. Get it from https://kubernetes.io/docs/tasks/tools" >&2
    exit 1
  }
fi
# What is not there yet: neither built, nor given; of the tools, nor installed.
missing=""
for program in $control $node; do
  if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
    [ -x "$KUBEBUILDER_ASSETS/$program" ] || { echo "KUBEBUILDER_ASSETS=$KUBEBUILDER_ASSETS has no $program" >&2; exit 1; }
  else
    [ -x "$cache/$program" ] || missing="$missing $program"
  fi
done
for program in helm promtool actionlint glua; do
  [ -x "$cache/$program" ] || [ -x "${KUBEBUILDER_ASSETS:-$cache}/$program" ] || command -v "$program" >/dev/null ||
    missing="$missing $program"
done
[ -n "$missing" ] || exit 0
command -v go >/dev/null || {
  echo "Go is missing, which builds for the tests:$missing. Get it from https://go.dev/dl," >&2
  echo "or install these, and set KUBEBUILDER_ASSETS to a folder with etcd, kube-apiserver and kube-controller-manager." >&2
  exit 1
}
mkdir -p "$cache"
export CGO_ENABLED=0 GOFLAGS="-buildvcs=false -trimpath -mod=readonly" GOTOOLCHAIN=${GOTOOLCHAIN:-auto}
v="-X k8s.io/component-base/version.gitVersion=v$version -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=34"
# The modules say every version and checksum; a program is there whole or not at all.
build() { # MODULE PROGRAM PACKAGE FLAGS
  case "$missing " in *" $2 "*) ;; *) return 0 ;; esac
  echo "building $2 ($(date +%T))"
  # promtool needs none of the ways in which Prometheus finds what it asks.
  (cd "$here/go/$1" && nice go build -ldflags "-s -w $4" -tags grpcnotrace,remove_all_sd -o "$cache/.$2" "$3")
  mv "$cache/.$2" "$cache/$2"
}
build etcd etcd go.etcd.io/etcd/server/v3 ""
for program in kube-apiserver kube-controller-manager kubelet kube-proxy kube-scheduler; do
  build kubernetes "$program" "k8s.io/kubernetes/cmd/$program" "$v"
done
build coredns coredns github.com/coredns/coredns ""
build helm helm helm.sh/helm/v3/cmd/helm ""
build prometheus promtool github.com/prometheus/prometheus/cmd/promtool ""
build actionlint actionlint github.com/rhysd/actionlint/cmd/actionlint ""
build lua glua github.com/yuin/gopher-lua/cmd/glua ""
