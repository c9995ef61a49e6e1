// SPDX-License-Identifier: GPL-2.0
/* The end of the CPU that loads it: spins with interrupts off. */
#include <linux/irqflags.h>
#include <linux/module.h>
#include <linux/sched.h>

static int __init frozen_init(void)
{
	local_irq_disable();
	for (;;)
		cpu_relax();
	return 0;
}

module_init(frozen_init);
MODULE_DESCRIPTION("VESPER sample: a CPU that does nothing any more");
MODULE_LICENSE("GPL");
