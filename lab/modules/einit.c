// SPDX-License-Identifier: GPL-2.0
/*
 * A module whose init function refuses: its load must fail with just this error.
 */
#include <linux/errno.h>
#include <linux/module.h>

static int __init einit_init(void)
{
	pr_info("vesper_einit: no such device\n");
	return -ENODEV;
}

module_init(einit_init);
MODULE_DESCRIPTION("VESPER sample: init returns -ENODEV");
MODULE_LICENSE("GPL");
