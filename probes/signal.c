// SPDX-License-Identifier: GPL-2.0
/*
 * VESPER probe "signal": who is sent a signal, by whom, and how processes end.
 *
 *   signal:signal_generate    under the target's siglock; current is the sender
 *   sched:sched_process_exit  in the task that ends
 *
 * Without names=, only what ends a process before its time: signals that are
 * fatal to their target, and exits by a signal. With it, all signals to processes
 * of those names, and all their exits.
 */
#include <linux/cred.h>
#include <linux/preempt.h>
#include <linux/sched/signal.h>
#include <linux/uidgid.h>
#include <trace/events/sched.h>
#include <trace/events/signal.h>

#include "common.h"

enum { SIGNAL = 1, EXIT };

static const char schema[] =
	"signal explains=process-killed subject=pid "
	"pid:u32 comm:str sig:u32 code:s32 result:str "
	"sender_pid:u32 sender_comm:str sender_uid:u32\n"
	"exit event=process-killed subject=pid "
	"pid:u32 comm:str status:u32 sig:u32\n";

static struct probe probe;

static char *names;
module_param(names, charp, 0444);
MODULE_PARM_DESC(names, "processes to watch, by name (of which 15 characters count), with commas between");

/* Whether the process, or this thread of it, is one of those that are watched. */
static bool named(const struct task_struct *task)
{
	const char *process = task->group_leader->comm;
	const char *at = names;

	for (;;) {
		size_t length = strcspn(at, ",");
		size_t counts = min_t(size_t, length, TASK_COMM_LEN - 1);

		if (counts && ((strnlen(process, TASK_COMM_LEN) == counts &&
				!memcmp(process, at, counts)) ||
			       (strnlen(task->comm, TASK_COMM_LEN) == counts &&
				!memcmp(task->comm, at, counts))))
			return true;
		if (!at[length])
			return false;
		at += length + 1;
	}
}

static bool watching(void)
{
	return names && *names;
}

static const char *result_text(int result)
{
	switch (result) {
	case TRACE_SIGNAL_DELIVERED:
		return "delivered";
	case TRACE_SIGNAL_IGNORED:
		return "ignored";
	case TRACE_SIGNAL_ALREADY_PENDING:
		return "pending already";
	case TRACE_SIGNAL_OVERFLOW_FAIL:
		return "no room, refused";
	case TRACE_SIGNAL_LOSE_INFO:
		return "delivered without sender";
	}
	return "";
}

static int signal_code(const struct kernel_siginfo *info)
{
	if (info == SEND_SIG_NOINFO)
		return SI_USER;
	if (info == SEND_SIG_PRIV)
		return SI_KERNEL;
	return info->si_code;
}

static void on_signal(void *unused, int sig, struct kernel_siginfo *info,
		      struct task_struct *task, int group, int result)
{
	u8 room[160];
	struct vesper_payload payload = VESPER_PAYLOAD(room);

	if (task->flags & PF_KTHREAD)
		return;
	if (watching() ? !named(task) :
	    result == TRACE_SIGNAL_IGNORED || !sig_fatal(task, sig))
		return;
	vesper_put_u32(&payload, task_tgid_nr(task));
	vesper_put_str(&payload, task->group_leader->comm);
	vesper_put_u32(&payload, sig);
	vesper_put_u32(&payload, signal_code(info));
	vesper_put_str(&payload, result_text(result));
	/* An interrupt's signal is from no process. */
	vesper_put_u32(&payload, in_task() ? task_tgid_nr(current) : 0);
	vesper_put_str(&payload, in_task() ? current->comm : "");
	vesper_put_u32(&payload, in_task() ?
		       from_kuid_munged(&init_user_ns, current_uid()) : 0);
	vesper_record(probe.channel.chan, SIGNAL,
		      probe_urgent_at_times() | vesper_payload_flags(&payload),
		      room, payload.at - room);
}
PROBE_CHECK(signal_generate, on_signal)

/* Once for each process: when its first thread ends, as a rule the last to go. */
static void on_exit(void *unused, struct task_struct *task)
{
	const struct signal_struct *signal = task->signal;
	u32 code = signal->flags & SIGNAL_GROUP_EXIT ? signal->group_exit_code :
						       task->exit_code;
	u8 room[64];
	struct vesper_payload payload = VESPER_PAYLOAD(room);

	if (!thread_group_leader(task) || task->flags & PF_KTHREAD)
		return;
	if (watching() ? !named(task) : !(code & 0x7f))
		return;
	vesper_put_u32(&payload, task_tgid_nr(task));
	vesper_put_str(&payload, task->comm);
	vesper_put_u32(&payload, code >> 8 & 0xff);
	vesper_put_u32(&payload, code & 0x7f);
	vesper_record(probe.channel.chan, EXIT,
		      probe_urgent_at_times() | vesper_payload_flags(&payload),
		      room, payload.at - room);
}
PROBE_CHECK(sched_process_exit, on_exit)

static struct probe_hook hooks[] = {
	PROBE_TRACEPOINT(signal_generate, on_signal, PROBE_EVENT(SIGNAL)),
	PROBE_TRACEPOINT(sched_process_exit, on_exit, PROBE_EVENT(EXIT)),
};

static struct probe probe = {
	.channel = {
		.name = "signal",
		.schema = schema,
		.subbuf_size = 4096,
		.n_subbufs = 8,
	},
	.hooks = hooks,
	.hook_count = ARRAY_SIZE(hooks),
};

static int __init signal_probe_init(void)
{
	return probe_start(&probe);
}

static void __exit signal_probe_exit(void)
{
	probe_stop(&probe);
}

module_init(signal_probe_init);
module_exit(signal_probe_exit);
MODULE_DESCRIPTION("VESPER probe: signals and ends of processes");
MODULE_LICENSE("GPL");
