#!/usr/bin/env bash
# Builds operator, broker and cli as static programs and packs each as an OCI archive in target/images.
#
# ARCH=arm64 takes a C compiler for it (CC_aarch64_unknown_linux_musl) and a linker, or a machine of that kind.
# REGISTRY and VERSION are those of the names that the archives hold.
set -euo pipefail
cd "$(dirname "$0")/.."
version=${VERSION:-$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)}
registry=${REGISTRY:-ghcr.io/tombolo-mqtt}
arch=${ARCH:-$(uname -m)}
case $arch in
  x86_64 | amd64) arch=amd64 triple=x86_64-unknown-linux-musl ;;
  aarch64 | arm64) arch=arm64 triple=aarch64-unknown-linux-musl ;;
  *) echo "ARCH=$arch is not known; it is amd64 or arm64" >&2; exit 1 ;;
esac
[ -d "$(rustc --print sysroot)/lib/rustlib/$triple" ] || rustup target add "$triple"
command -v musl-gcc >/dev/null || {
  echo "musl-gcc is missing, which builds static programs. Get it with: sudo apt-get install musl-tools" >&2
  exit 1
}
# No path of the machine is in the programs, so that every machine builds the same ones.
cargo_home=${CARGO_HOME:-$HOME/.cargo}
maps="--remap-path-prefix=$cargo_home=/cargo --remap-path-prefix=$PWD=/tombolo"
export RUSTFLAGS="${RUSTFLAGS:-} $maps"
# mimalloc says when it was built; C compilers take that time from here.
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-0}
export CFLAGS="${CFLAGS:-} -ffile-prefix-map=$cargo_home=/cargo -ffile-prefix-map=$PWD=/tombolo"
"${CARGO:-cargo}" build --locked --profile image --target "$triple" -p tombolo-operator -p tombolo-broker -p tombolo \
  --bin tombolo-operator --bin tombolo-broker --bin tombolo
built=${CARGO_TARGET_DIR:-target}/$triple/image
for image in operator:tombolo-operator broker:tombolo-broker cli:tombolo; do
  name=${image%%:*} program=${image##*:} context=$(mktemp -d)
  install -m 0755 "$built/$program" "$context/$program"
  archive=target/images/$name-$arch.tar
  images/pack.sh "images/$name.Containerfile" "$context" "$arch" "$registry/$name:$version" "$archive"
  rm -rf "$context"
  printf '%s  %.1f MB  %s\n' "$archive" "$(stat -c %s "$archive" | awk '{print $1/1000000}')" \
    "$(tar -xOf "$archive" ./index.json | grep -o 'sha256:[0-9a-f]*' | head -1)"
done
