// SPDX-License-Identifier: GPL-2.0
/*
 * A module with 8 MiB of data, whose checksum it prints: says whether every byte of a large image arrived.
 * The data (big.data) is made by vesper_lab::modules.
 */
#include <linux/crc32.h>
#include <linux/module.h>

extern const unsigned char big_data[], big_data_end[];

asm(".pushsection .rodata\n"
    ".globl big_data\n"
    ".globl big_data_end\n"
    "big_data:\n"
    ".incbin " BIG_DATA "\n"
    "big_data_end:\n"
    ".byte 0\n"
    ".popsection\n");

static int __init big_init(void)
{
	size_t bytes = big_data_end - big_data;

	pr_info("vesper_big: %zu bytes, crc32 %08x\n", bytes, crc32_le(~0, big_data, bytes) ^ ~0);
	return 0;
}

static void __exit big_exit(void)
{
	pr_info("vesper_big: unloaded\n");
}

module_init(big_init);
module_exit(big_exit);
MODULE_DESCRIPTION("VESPER sample: 8 MiB of data and their checksum");
MODULE_LICENSE("GPL");
