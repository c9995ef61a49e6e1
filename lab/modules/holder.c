// SPDX-License-Identifier: GPL-2.0
/* Holds the module "urgent", which cannot be unloaded meanwhile. */
#include <linux/module.h>

void vesper_urgent_here(void);

static int __init holder_init(void)
{
	vesper_urgent_here();
	return 0;
}

static void __exit holder_exit(void)
{
}

module_init(holder_init);
module_exit(holder_exit);
MODULE_DESCRIPTION("VESPER sample: uses another module");
MODULE_LICENSE("GPL");
