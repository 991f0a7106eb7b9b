/* CRC-32C over reflected tables, one byte or eight bytes at a step.
 *
 * The tables are filled when the library is loaded: they are cheaper to compute than to read from disk.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "castagnoli.h"

#define POLYNOMIAL 0x82f63b78u

#ifdef CASTAGNOLI_SLICING8
#define SLICES 8
#else
#define SLICES 1
#endif

static uint32_t table[SLICES][256];

__attribute__((constructor)) static void fill_tables(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (POLYNOMIAL & (0u - (crc & 1u)));
        table[0][byte] = crc;
    }
    for (int slice = 1; slice < SLICES; slice++)
        for (int byte = 0; byte < 256; byte++) {
            uint32_t before = table[slice - 1][byte];
            table[slice][byte] = (before >> 8) ^ table[0][before & 0xff];
        }
}

uint32_t castagnoli_update(uint32_t crc, const void *data, size_t length)
{
    const unsigned char *next = data;

    crc = ~crc;
#ifdef CASTAGNOLI_SLICING8
    for (; length >= 8; length -= 8, next += 8) {
        crc ^= (uint32_t)next[0] | (uint32_t)next[1] << 8 | (uint32_t)next[2] << 16 | (uint32_t)next[3] << 24;
        crc = table[7][crc & 0xff] ^ table[6][crc >> 8 & 0xff] ^ table[5][crc >> 16 & 0xff] ^ table[4][crc >> 24]
            ^ table[3][next[4]] ^ table[2][next[5]] ^ table[1][next[6]] ^ table[0][next[7]];
    }
#endif
    for (; length > 0; length--, next++)
        crc = (crc >> 8) ^ table[0][(crc ^ *next) & 0xff];
    return ~crc;
}

const char *castagnoli_kernel(void)
{
#ifdef CASTAGNOLI_SLICING8
    return "slicing8";
#else
    return "bytewise";
#endif
}
