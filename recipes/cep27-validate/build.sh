#!/usr/bin/env bash
# Builds the workspace member without the network, for the prefix it will be installed in.
set -euo pipefail

export CARGO_TARGET_DIR="$SRC_DIR/target"
export CARGO_PROFILE_RELEASE_STRIP=symbols
# The run path saves conda from rewriting the program; without paths of this machine in it, every build is the same.
export RUSTFLAGS="-Clink-arg=-Wl,-rpath,$PREFIX/lib --remap-path-prefix=$SRC_DIR=. --remap-path-prefix=$CARGO_HOME=cargo"

cargo build --locked --offline --release --jobs "${CPU_COUNT:-1}" --package cep27-validate
mkdir -p "$PREFIX/bin"
cp "$CARGO_TARGET_DIR/release/cep27-validate" "$PREFIX/bin/"
