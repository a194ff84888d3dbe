#!/usr/bin/env bash
# Builds what the tests over a real API server need from Go modules, once: etcd, kube-apiserver, kube-controller-manager, helm.
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
if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
  for program in $control $node; do
    [ -x "$KUBEBUILDER_ASSETS/$program" ] || { echo "KUBEBUILDER_ASSETS=$KUBEBUILDER_ASSETS has no $program" >&2; exit 1; }
  done
  command -v helm >/dev/null || [ -x "$KUBEBUILDER_ASSETS/helm" ] || { echo "helm is missing; install it" >&2; exit 1; }
  exit 0
fi
need() { [ ! -x "$cache/$1" ]; }
missing=""
for program in $control helm $node; do ! need "$program" || missing="$missing $program"; done
[ -n "$missing" ] || exit 0
command -v go >/dev/null || {
  echo "Go is missing, which builds a Kubernetes API server for the tests. Get it from https://go.dev/dl," >&2
  echo "or set KUBEBUILDER_ASSETS to a folder with etcd, kube-apiserver and kube-controller-manager." >&2
  exit 1
}
mkdir -p "$cache"
export CGO_ENABLED=0 GOFLAGS="-buildvcs=false -trimpath -mod=readonly" GOTOOLCHAIN=${GOTOOLCHAIN:-auto}
v="-X k8s.io/component-base/version.gitVersion=v$version -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=34"
# The modules say every version and checksum; a program is there whole or not at all.
build() { # MODULE PROGRAM PACKAGE FLAGS
  need "$2" || return 0
  echo "building $2 ($(date +%T))"
  (cd "$here/go/$1" && nice go build -ldflags "-s -w $4" -tags grpcnotrace -o "$cache/.$2" "$3")
  mv "$cache/.$2" "$cache/$2"
}
build etcd etcd go.etcd.io/etcd/server/v3 ""
build kubernetes kube-apiserver k8s.io/kubernetes/cmd/kube-apiserver "$v"
build kubernetes kube-controller-manager k8s.io/kubernetes/cmd/kube-controller-manager "$v"
build helm helm helm.sh/helm/v3/cmd/helm ""
[ -n "$node" ] || exit 0
for program in kubelet kube-proxy kube-scheduler; do
  build kubernetes "$program" "k8s.io/kubernetes/cmd/$program" "$v"
done
build coredns coredns github.com/coredns/coredns ""
