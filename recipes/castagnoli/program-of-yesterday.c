/* What a program that was built against version 1 of the library relies on.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <stddef.h>
#include <stdint.h>

uint32_t castagnoli_update(uint32_t crc, const void *data, size_t length);

int main(void)
{
    return castagnoli_update(0, "123456789", 9) != 0xe3069283u;
}
