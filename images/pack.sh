#!/usr/bin/env bash
# Packs one image as an OCI archive: pack.sh CONTAINERFILE CONTEXT ARCH NAME:TAG ARCHIVE. Same input, same bytes.
set -euo pipefail
containerfile=$1 context=$2 arch=$3 name=$4 archive=$5
command -v buildah >/dev/null || {
  echo "buildah is missing, which packs the images. Get it with: sudo apt-get install buildah" >&2
  exit 1
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Storage of its own, which needs no privileges beyond writing files, and leaves nothing in that of the machine.
store() { buildah --storage-driver vfs --root "$work/root" --runroot "$work/run" "$@"; }
store build --quiet --isolation chroot --format oci --platform "linux/$arch" --timestamp 0 --build-arg "VERSION=${name##*:}" \
  --tag "$name" --file "$containerfile" "$context" >/dev/null
store push --quiet "$name" "oci:$work/image:$name" >/dev/null
mkdir -p "$(dirname "$archive")"
tar --create --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --file "$archive" --directory "$work/image" .
