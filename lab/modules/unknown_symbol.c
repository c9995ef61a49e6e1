// SPDX-License-Identifier: GPL-2.0
/*
 * A module that uses a function which no kernel has: its load must fail, and the kernel's log line that names
 * the function must reach the operator. (Built with KBUILD_MODPOST_WARN.)
 */
#include <linux/module.h>

int vesper_function_that_is_nowhere(int value);

static int __init unknown_symbol_init(void)
{
	return vesper_function_that_is_nowhere(1);
}

static void __exit unknown_symbol_exit(void)
{
}

module_init(unknown_symbol_init);
module_exit(unknown_symbol_exit);
MODULE_DESCRIPTION("VESPER sample: refers to a symbol that does not exist");
MODULE_LICENSE("GPL");
