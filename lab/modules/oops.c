// SPDX-License-Identifier: GPL-2.0
/*
 * A probe with a mistake: its init function follows a null pointer. The kernel ends the thread that called it, and
 * takes the module for one that is still being loaded until the guest's next boot.
 */
#include <linux/module.h>

static int *nowhere;

static int __init oops_init(void)
{
	pr_info("vesper_oops: about to follow a null pointer\n");
	return READ_ONCE(*READ_ONCE(nowhere));
}

module_init(oops_init);
MODULE_DESCRIPTION("VESPER sample: an oops in its init function");
MODULE_LICENSE("GPL");
