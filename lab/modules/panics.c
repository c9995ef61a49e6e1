// SPDX-License-Identifier: GPL-2.0
/*
 * A module whose init is the end of the guest: panic() with more arguments than
 * fit into registers, and text among them.
 */
#include <linux/module.h>

static int __init panics_init(void)
{
	panic("vesper_panics: %s %d %u %lx %c %d %s %d\n", "one", -2, 3U, 0x4UL,
	      '5', 6, "seven", 8);
}

module_init(panics_init);
MODULE_DESCRIPTION("VESPER sample: panic() with many arguments");
MODULE_LICENSE("GPL");
