// SPDX-License-Identifier: GPL-2.0
/*
 * Does to a guest what probes are there to see: what=kill ends a process by name,
 * what=memory takes memory until the kernel kills for it, what=panic panics.
 */
#include <linux/kthread.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/vmstat.h>

static char *what = "";
module_param(what, charp, 0444);
static char *name = "";
module_param(name, charp, 0444);

static int kill_by_name(void)
{
	struct task_struct *task;
	int err = -ESRCH;

	rcu_read_lock();
	for_each_process(task)
		if (!strcmp(task->comm, name))
			err = send_sig(SIGKILL, task, 1);
	rcu_read_unlock();
	return err;
}

static unsigned long kills(void)
{
	unsigned long all = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		all += per_cpu(vm_event_states, cpu).event[OOM_KILL];
	return all;
}

static int take_memory(void)
{
	unsigned long before = kills();
	LIST_HEAD(taken);
	struct page *page, *next;

	while (kills() == before) {
		page = alloc_page(GFP_KERNEL);
		if (!page)
			break;
		list_add(&page->lru, &taken);
		cond_resched();
	}
	list_for_each_entry_safe(page, next, &taken, lru)
		__free_page(page);
	return kills() == before ? -ENOMEM : 0;
}

static int __init provoke_init(void)
{
	if (!strcmp(what, "kill"))
		return kill_by_name();
	if (!strcmp(what, "memory"))
		return take_memory();
	if (!strcmp(what, "panic"))
		panic("vesper_provoke: this is the end of %s", name);
	return -EINVAL;
}

static void __exit provoke_exit(void)
{
}

module_init(provoke_init);
module_exit(provoke_exit);
MODULE_DESCRIPTION("VESPER sample: kills, runs out of memory, panics");
MODULE_LICENSE("GPL");
