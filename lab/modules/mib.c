// SPDX-License-Identifier: GPL-2.0
/*
 * A module of 1 MiB, for measuring how long a load takes. Its init does nothing.
 */
#include <linux/module.h>

asm(".pushsection .rodata\n"
    ".incbin " BIG_DATA ", 0, 1048576\n"
    ".popsection\n");

static int __init mib_init(void)
{
	return 0;
}

static void __exit mib_exit(void)
{
}

module_init(mib_init);
module_exit(mib_exit);
MODULE_DESCRIPTION("VESPER sample: 1 MiB of data");
MODULE_LICENSE("GPL");
