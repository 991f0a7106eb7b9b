/* The examples of RFC 3720, appendix B.4, and the usual check value, each also in two parts.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <castagnoli.h>

#include <stdio.h>
#include <string.h>

static int differs(const char *name, const void *data, size_t length, uint32_t expected)
{
    const unsigned char *bytes = data;
    int failed = 0;

    for (size_t cut = 0; cut <= length; cut++) {
        uint32_t found = castagnoli_update(castagnoli_update(0, bytes, cut), bytes + cut, length - cut);
        if (found != expected) {
            printf("%s, cut at %zu: expected %08x, found %08x\n", name, cut, (unsigned int)expected, (unsigned int)found);
            failed = 1;
        }
    }
    return failed;
}

int main(void)
{
    unsigned char zeros[32] = {0}, ones[32], rising[32], falling[32];
    int failed = 0;

    memset(ones, 0xff, sizeof ones);
    for (int i = 0; i < 32; i++) {
        rising[i] = (unsigned char)i;
        falling[i] = (unsigned char)(31 - i);
    }
    failed |= differs("nothing", "", 0, 0x00000000u);
    failed |= differs("123456789", "123456789", 9, 0xe3069283u);
    failed |= differs("zeros", zeros, sizeof zeros, 0x8a9136aau);
    failed |= differs("ones", ones, sizeof ones, 0x62a8ab43u);
    failed |= differs("rising", rising, sizeof rising, 0x46dd794eu);
    failed |= differs("falling", falling, sizeof falling, 0x113fdb5cu);
    return failed;
}
