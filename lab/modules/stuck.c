// SPDX-License-Identifier: GPL-2.0
/*
 * A task that stands still, for probes that look for one: asleep where no signal
 * wakes it, or at work without giving the CPU away.
 */
#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/preempt.h>

static char *how = "sleep";
module_param(how, charp, 0444);
MODULE_PARM_DESC(how, "sleep or spin");
static unsigned int seconds = 10;
module_param(seconds, uint, 0444);

static struct task_struct *thread;

static noinline int vesper_stuck_sleeping(void *unused)
{
	while (!kthread_should_stop()) {
		set_current_state(TASK_UNINTERRUPTIBLE);
		if (!kthread_should_stop())
			schedule();
		__set_current_state(TASK_RUNNING);
	}
	return 0;
}

static noinline int vesper_stuck_spinning(void *unused)
{
	unsigned long end = jiffies + seconds * HZ;

	preempt_disable();
	while (time_before(jiffies, end))
		cpu_relax();
	preempt_enable();
	return vesper_stuck_sleeping(NULL);
}

static int __init stuck_init(void)
{
	thread = kthread_run(strcmp(how, "spin") ? vesper_stuck_sleeping :
						   vesper_stuck_spinning,
			     NULL, "vesper_stuck");
	return PTR_ERR_OR_ZERO(thread);
}

static void __exit stuck_exit(void)
{
	kthread_stop(thread);
}

module_init(stuck_init);
module_exit(stuck_exit);
MODULE_DESCRIPTION("VESPER sample: a task that stands still");
MODULE_LICENSE("GPL");
