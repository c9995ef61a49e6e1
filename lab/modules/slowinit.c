// SPDX-License-Identifier: GPL-2.0
/*
 * A module whose init function takes its time.
 */
#include <linux/delay.h>
#include <linux/module.h>
#include <linux/moduleparam.h>

static unsigned int seconds = 5;
module_param(seconds, uint, 0444);
MODULE_PARM_DESC(seconds, "how long init sleeps");

static int __init slowinit_init(void)
{
	pr_info("vesper_slowinit: sleeping %u s\n", seconds);
	ssleep(seconds);
	pr_info("vesper_slowinit: loaded\n");
	return 0;
}

static void __exit slowinit_exit(void)
{
	pr_info("vesper_slowinit: unloaded\n");
}

module_init(slowinit_init);
module_exit(slowinit_exit);
MODULE_DESCRIPTION("VESPER sample: slow init");
MODULE_LICENSE("GPL");
