/* CRC-32C (Castagnoli): the checksum of iSCSI, SCTP, ext4, Btrfs and object stores (RFC 3720, section 12.1).
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef CASTAGNOLI_H
#define CASTAGNOLI_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CASTAGNOLI_VERSION "1.0.0"

/* The checksum of `length` bytes at `data` that follow bytes whose checksum is `crc`; 0 begins a new one. */
uint32_t castagnoli_update(uint32_t crc, const void *data, size_t length);

/* How this library was built: "bytewise" (a table of 1 KiB) or "slicing8" (8 KiB, several times faster). */
const char *castagnoli_kernel(void);

#ifdef __cplusplus
}
#endif

#endif
