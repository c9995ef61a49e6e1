// SPDX-License-Identifier: GPL-2.0
/*
 * The smallest probe: takes a parameter and says so in the kernel log.
 */
#include <linux/module.h>
#include <linux/moduleparam.h>

static int answer;
module_param(answer, int, 0444);
MODULE_PARM_DESC(answer, "a number that is printed when the module is loaded");

static int __init answer_init(void)
{
	pr_info("vesper_answer: loaded, answer=%d\n", answer);
	return 0;
}

static void __exit answer_exit(void)
{
	pr_info("vesper_answer: unloaded\n");
}

module_init(answer_init);
module_exit(answer_exit);
MODULE_DESCRIPTION("VESPER sample: prints its parameter");
MODULE_LICENSE("GPL");
