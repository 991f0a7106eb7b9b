/* castagnoli: prints the CRC-32C of files, as sha256sum does with SHA-256.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <castagnoli.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int print_checksum(const char *name)
{
    static unsigned char buffer[1 << 16];
    FILE *file = strcmp(name, "-") == 0 ? stdin : fopen(name, "rb");
    uint32_t crc = 0;
    size_t length;
    int failed;

    if (file == NULL) {
        fprintf(stderr, "castagnoli: %s: %s\n", name, strerror(errno));
        return 1;
    }
    while ((length = fread(buffer, 1, sizeof buffer, file)) > 0)
        crc = castagnoli_update(crc, buffer, length);
    failed = ferror(file);
    if (failed)
        fprintf(stderr, "castagnoli: %s: %s\n", name, strerror(errno));
    else
        printf("%08x  %s\n", (unsigned int)crc, name);
    if (file != stdin)
        fclose(file);
    return failed != 0;
}

int main(int argc, char **argv)
{
    int failed = 0;

    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        printf("castagnoli %s (%s)\n", CASTAGNOLI_VERSION, castagnoli_kernel());
        return 0;
    }
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        puts("Usage: castagnoli [FILE]...\n"
             "Prints the CRC-32C checksum of each FILE, or of standard input without FILE or for -.");
        return 0;
    }
    if (argc < 2)
        return print_checksum("-");
    for (int argument = 1; argument < argc; argument++)
        failed |= print_checksum(argv[argument]);
    return failed;
}
