// SPDX-License-Identifier: GPL-2.0
/*
 * VESPER probe "progress": named processes that are gone, are stopped, or have
 * not run for a while. Nothing in the kernel tells of these, so they are looked
 * at, all of them every interval_ms.
 *
 *   gone      there was one of that name, and there is none any more
 *   stopped   each thread of each of them is stopped, traced or frozen
 *   stalled   none of them has run for seconds= (0: not looked at; a service
 *             that has nothing to do does not run, so give it something)
 *   again     the service of which one of these was told is there and runs
 *
 * All processes of a name are one service: some may come and go.
 */
#include <linux/jiffies.h>
#include <linux/sched/jobctl.h>
#include <linux/sched/signal.h>
#include <linux/workqueue.h>

#include "common.h"
#include "report.h"

enum { GONE = 1, STOPPED, STALLED, AGAIN };

static const char schema[] =
	"gone event=process-killed subject=comm comm:str\n"
	"stopped event=process-stuck subject=comm "
	"comm:str pid:u32 processes:u32\n"
	"stalled event=process-stuck subject=comm "
	"comm:str pid:u32 processes:u32 seconds:u32 stack:str\n"
	"again comm:str pid:u32 processes:u32\n";

#define SERVICES	16
#define STACK_BYTES	2000

static char *names;
module_param(names, charp, 0444);
MODULE_PARM_DESC(names, "processes to watch, by name (of which 15 characters count), with commas between; at most 16");

static uint seconds;
module_param(seconds, uint, 0444);
MODULE_PARM_DESC(seconds, "so long without having run is stalled (0: not looked at)");

static uint interval_ms = 200;
module_param(interval_ms, uint, 0444);
MODULE_PARM_DESC(interval_ms, "from one look to the next, 20 to 60000 ms (200)");

/* All processes of a name. */
struct service {
	char name[TASK_COMM_LEN];
	/* Of this look. */
	u32 processes;
	u64 ran;			/* ns, by all threads that are there */
	bool moves;			/* a thread is not stopped */
	struct task_struct *first;	/* valid within the look */
	/* Since it was loaded. */
	bool seen;
	u64 ran_before;
	unsigned long ran_at;		/* jiffies */
	u16 told;			/* 0, or what is wrong with it */
};

static struct service services[SERVICES];
static uint service_count;
static struct probe probe;
/* Too large for a stack; there is one look at a time. */
static u8 room[STACK_BYTES + 200];

static bool is_stopped(struct task_struct *task)
{
	/*
	 * By a signal or by a debugger; by the freezer of a suspend or of a
	 * control group of version 1; by one of version 2. One that ends does
	 * not run any more, either.
	 */
	return READ_ONCE(task->jobctl) & (JOBCTL_STOPPED | JOBCTL_TRACED) ||
	       READ_ONCE(task->__state) & TASK_FROZEN || task->frozen ||
	       task->exit_state;
}

static void count(struct service *service, struct task_struct *process)
{
	struct task_struct *thread;

	service->processes++;
	if (!service->first)
		service->first = process;
	for_each_thread(process, thread) {
		service->ran += READ_ONCE(thread->se.sum_exec_runtime);
		service->moves |= !is_stopped(thread);
	}
}

static void tell(struct service *service, u16 event, u32 since)
{
	struct vesper_payload payload = VESPER_PAYLOAD(room);

	service->told = event == AGAIN ? 0 : event;
	if (!(probe.events & PROBE_EVENT(event)))
		return;
	vesper_put_str(&payload, service->name);
	if (event != GONE) {
		vesper_put_u32(&payload, task_tgid_nr(service->first));
		vesper_put_u32(&payload, service->processes);
	}
	if (event == STALLED) {
		vesper_put_u32(&payload, since);
		probe_put_stack(&payload, STACK_BYTES, service->first, NULL);
	}
	vesper_record(probe.channel.chan, event,
		      VESPER_URGENT | vesper_payload_flags(&payload),
		      room, payload.at - room);
}

static void judge(struct service *service)
{
	u32 since;

	if (service->ran != service->ran_before)
		service->ran_at = jiffies;
	service->ran_before = service->ran;
	since = (jiffies - service->ran_at) / HZ;
	if (!service->processes) {
		if (service->seen && service->told != GONE)
			tell(service, GONE, 0);
	} else if (!service->moves) {
		if (service->told != STOPPED)
			tell(service, STOPPED, 0);
	} else if (seconds && since >= seconds) {
		if (service->told != STALLED)
			tell(service, STALLED, since);
	} else if (service->told && !since) {
		tell(service, AGAIN, 0);
	}
	service->seen |= service->processes > 0;
}

static void look(struct work_struct *work)
{
	struct task_struct *process;
	struct service *service;

	for (service = services; service < services + service_count; service++) {
		service->processes = 0;
		service->ran = 0;
		service->moves = false;
		service->first = NULL;
	}
	rcu_read_lock();
	for_each_process(process) {
		/* One that has ended and is not yet waited for is gone. */
		if (process->flags & PF_KTHREAD || process->exit_state)
			continue;
		for (service = services; service < services + service_count;
		     service++)
			if (!strncmp(process->comm, service->name,
				     TASK_COMM_LEN))
				count(service, process);
	}
	for (service = services; service < services + service_count; service++)
		judge(service);
	rcu_read_unlock();
	queue_delayed_work(system_highpri_wq, to_delayed_work(work),
			   msecs_to_jiffies(interval_ms));
}
static DECLARE_DELAYED_WORK(looking, look);

static int read_names(void)
{
	const char *at = names ? names : "";

	for (;;) {
		size_t length = strcspn(at, ",");

		if (length && service_count == SERVICES) {
			pr_err("more than %d names\n", SERVICES);
			return -EINVAL;
		}
		if (length) {
			struct service *service = &services[service_count++];

			strscpy(service->name, at,
				min_t(size_t, length + 1, TASK_COMM_LEN));
			service->ran_at = jiffies;
		}
		if (!at[length])
			break;
		at += length + 1;
	}
	if (service_count)
		return 0;
	pr_err("whom to watch? names=NAME,...\n");
	return -EINVAL;
}

static struct probe probe = {
	.channel = {
		.name = "progress",
		.schema = schema,
		.subbuf_size = 8192,
		.n_subbufs = 4,
	},
};

static int __init progress_init(void)
{
	int err = read_names();

	if (!err && (interval_ms < 20 || interval_ms > 60000)) {
		pr_err("interval_ms is 20 to 60000\n");
		err = -EINVAL;
	}
	if (!err)
		err = probe_start(&probe);
	if (!err)
		queue_delayed_work(system_highpri_wq, &looking, 0);
	return err;
}

static void __exit progress_exit(void)
{
	cancel_delayed_work_sync(&looking);
	probe_stop(&probe);
}

module_init(progress_init);
module_exit(progress_exit);
MODULE_DESCRIPTION("VESPER probe: processes that are gone, stopped, or do not run");
MODULE_LICENSE("GPL");
