#!/usr/bin/env bash
# Installs what images and a node of Kubernetes need from Debian's or Ubuntu's packages; who is not root is told what is missing.
set -euo pipefail
missing=""
need() { # PROGRAM PACKAGE
  command -v "$1" >/dev/null || missing="$missing $2"
}
need buildah buildah
need musl-gcc musl-tools
need unshare util-linux
need ip iproute2
need iptables iptables
need containerd containerd
need runc runc
[ -x /usr/lib/cni/ptp ] || [ -x /opt/cni/bin/ptp ] || [ -x /usr/libexec/cni/ptp ] || missing="$missing containernetworking-plugins"
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "installing$missing"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  # Services that a package would start are not wanted: the node has a containerd of its own.
  policy=/usr/sbin/policy-rc.d
  [ -e "$policy" ] || { printf '#!/bin/sh\nexit 101\n' >"$policy"; chmod +x "$policy"; trap 'rm -f "$policy"' EXIT; }
  # shellcheck disable=SC2086
  apt-get install -y -qq --no-install-recommends $missing >/dev/null
else
  echo "missing:$missing" >&2
  echo "Get them with: sudo apt-get install$missing" >&2
  exit 1
fi
