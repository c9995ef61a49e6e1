// SPDX-License-Identifier: GPL-2.0
/*
 * VESPER probe "hang": what the kernel itself says of tasks and CPUs that stand
 * still. Its own limits hold: kernel.hung_task_timeout_secs (120 s),
 * kernel.watchdog_thresh (10 s, doubled for a soft lockup),
 * rcupdate.rcu_cpu_stall_timeout (21 s).
 *
 *   sched:sched_process_hang  in khungtaskd; the task sleeps
 *   add_taint()               the one call that a soft lockup alone makes, behind
 *                             its message; in the timer of the CPU that is stuck
 *   rcu:rcu_stall_warning     in the timer of the CPU that noticed
 *
 * A guest whose CPUs are all stuck says nothing here; dom0 sees that by the
 * heartbeat.
 */
#include <linux/irqflags.h>
#include <linux/jiffies.h>
#include <linux/panic.h>
#include <linux/percpu.h>
#include <linux/sched.h>
#include <asm/irq_regs.h>
#include <trace/events/rcu.h>
#include <trace/events/sched.h>

#include "common.h"
#include "report.h"

enum { HUNG_TASK = 1, SOFT_LOCKUP, RCU_STALL };

static const char schema[] =
	"hung_task event=process-stuck subject=pid "
	"pid:u32 comm:str seconds:u32 stack:str\n"
	"soft_lockup event=process-stuck subject=cpu "
	"cpu:u32 pid:u32 comm:str stack:str\n"
	"rcu_stall event=process-stuck subject=cpu "
	"cpu:u32 pid:u32 comm:str flavour:str kind:str stack:str\n";

#define STACK_BYTES	2000

/* Of each CPU one: too large for its stack. Interrupts are off while it is used. */
struct report {
	bool taken;
	u8 payload[STACK_BYTES + 200];
};

static struct report __percpu *reports;
static struct probe probe;

static unsigned long missed;
module_param(missed, ulong, 0444);
MODULE_PARM_DESC(missed, "events within the report of another (to read)");

static struct report *report_begin(struct vesper_payload *payload,
				   unsigned long *irq)
{
	struct report *report;

	local_irq_save(*irq);
	report = this_cpu_ptr(reports);
	if (report->taken) {
		missed++;
		local_irq_restore(*irq);
		return NULL;
	}
	report->taken = true;
	barrier();
	*payload = (struct vesper_payload)VESPER_PAYLOAD(report->payload);
	return report;
}

static void report_end(struct report *report, u16 event,
		       const struct vesper_payload *payload, unsigned long irq)
{
	vesper_record(probe.channel.chan, event,
		      VESPER_URGENT | vesper_payload_flags(payload),
		      report->payload, payload->at - report->payload);
	barrier();
	report->taken = false;
	local_irq_restore(irq);
}

static void on_hung_task(void *unused, struct task_struct *task)
{
	struct vesper_payload payload;
	unsigned long irq;
	struct report *report = report_begin(&payload, &irq);

	if (!report)
		return;
	vesper_put_u32(&payload, task->pid);
	vesper_put_str(&payload, task->comm);
	vesper_put_u32(&payload, (jiffies - task->last_switch_time) / HZ);
	probe_put_stack(&payload, STACK_BYTES, task, NULL);
	report_end(report, HUNG_TASK, &payload, irq);
}
PROBE_CHECK(sched_process_hang, on_hung_task)

/* The stack is that of what the timer interrupted. */
static int on_taint(struct kprobe *kprobe, struct pt_regs *regs)
{
	struct vesper_payload payload;
	struct report *report;
	unsigned long irq;

	if ((u32)regs_get_kernel_argument(regs, 0) != TAINT_SOFTLOCKUP)
		return 0;
	report = report_begin(&payload, &irq);
	if (!report)
		return 0;
	vesper_put_u32(&payload, raw_smp_processor_id());
	vesper_put_u32(&payload, current->pid);
	vesper_put_str(&payload, current->comm);
	probe_put_stack(&payload, STACK_BYTES, current, get_irq_regs());
	report_end(report, SOFT_LOCKUP, &payload, irq);
	return 0;
}

/*
 * SelfDetected: this CPU is it, and this its stack. StallDetected: others are,
 * and the kernel's log tells which.
 */
static void on_rcu_stall(void *unused, const char *flavour, const char *kind)
{
	struct vesper_payload payload;
	unsigned long irq;
	struct report *report = report_begin(&payload, &irq);

	if (!report)
		return;
	vesper_put_u32(&payload, raw_smp_processor_id());
	vesper_put_u32(&payload, current->pid);
	vesper_put_str(&payload, current->comm);
	vesper_put_str(&payload, flavour);
	vesper_put_str(&payload, kind);
	probe_put_stack(&payload, STACK_BYTES, current, get_irq_regs());
	report_end(report, RCU_STALL, &payload, irq);
}
PROBE_CHECK(rcu_stall_warning, on_rcu_stall)

static struct probe_hook hooks[] = {
	PROBE_TRACEPOINT(sched_process_hang, on_hung_task,
			 PROBE_EVENT(HUNG_TASK)),
	/* Without the watchdog there would be nothing to wait for. */
	PROBE_FUNCTION(watchdog_timer_fn, NULL, PROBE_EVENT(SOFT_LOCKUP)),
	PROBE_FUNCTION(add_taint, on_taint, PROBE_EVENT(SOFT_LOCKUP)),
	PROBE_TRACEPOINT(rcu_stall_warning, on_rcu_stall,
			 PROBE_EVENT(RCU_STALL)),
};

static struct probe probe = {
	.channel = {
		.name = "hang",
		.schema = schema,
		.subbuf_size = 8192,
		.n_subbufs = 4,
	},
	.hooks = hooks,
	.hook_count = ARRAY_SIZE(hooks),
};

static int __init hang_init(void)
{
	int err;

	reports = alloc_percpu(struct report);
	if (!reports)
		return -ENOMEM;
	err = probe_start(&probe);
	if (err)
		free_percpu(reports);
	return err;
}

static void __exit hang_exit(void)
{
	probe_stop(&probe);
	free_percpu(reports);
}

module_init(hang_init);
module_exit(hang_exit);
MODULE_DESCRIPTION("VESPER probe: hung tasks, soft lockups, RCU stalls");
MODULE_LICENSE("GPL");
