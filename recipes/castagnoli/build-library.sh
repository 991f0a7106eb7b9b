#!/usr/bin/env bash
# Builds the library once; its outputs take their files from what is installed here.
set -euo pipefail

flags=(-std=c11 -O2 -fPIC -Wall -Wextra -Werror "-ffile-prefix-map=$SRC_DIR=." "-Wl,-rpath,$PREFIX/lib")
[ "$KERNEL" = slicing8 ] && flags+=(-DCASTAGNOLI_SLICING8)

mkdir -p "$PREFIX/lib/pkgconfig" "$PREFIX/include"
case "$(uname)" in
    Darwin)
        "${CC:-cc}" "${flags[@]}" -dynamiclib -Wl,-install_name,@rpath/libcastagnoli.1.dylib \
            -o "$PREFIX/lib/libcastagnoli.1.dylib" castagnoli.c
        ln -s libcastagnoli.1.dylib "$PREFIX/lib/libcastagnoli.dylib"
        ;;
    *)
        "${CC:-cc}" "${flags[@]}" -shared -Wl,-soname,libcastagnoli.so.1 \
            -o "$PREFIX/lib/libcastagnoli.so.1" castagnoli.c
        ln -s libcastagnoli.so.1 "$PREFIX/lib/libcastagnoli.so"
        ;;
esac
cp castagnoli.h "$PREFIX/include/"
cat > "$PREFIX/lib/pkgconfig/castagnoli.pc" <<EOF
prefix=$PREFIX
Name: castagnoli
Description: CRC-32C checksums
Version: $VERSION
Cflags: -I\${prefix}/include
Libs: -L\${prefix}/lib -lcastagnoli
EOF
