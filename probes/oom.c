// SPDX-License-Identifier: GPL-2.0
/*
 * VESPER probe "oom": whom the kernel kills for memory, and who had asked for it.
 *
 *   out_of_memory()  who asks, for how much; kept until the victim is known
 *   oom:mark_victim  the victim; several when a whole cgroup is killed
 *
 * Both run under oom_lock, in the task that asks; there is no memory in there.
 */
#include <linux/cred.h>
#include <linux/mm.h>
#include <linux/oom.h>
#include <linux/sched/signal.h>
#include <trace/events/oom.h>

#include "common.h"

enum { KILL = 1 };

static const char schema[] =
	"kill event=guest-oom subject=pid "
	"pid:u32 comm:str uid:u32 score_adj:s16 "
	"virtual_kib:u64 rss_kib:u64 anon_kib:u64 file_kib:u64 shmem_kib:u64 "
	"asker_pid:u32 asker_comm:str order:s32 gfp:x64 cgroup:u8\n";

/* Written and read under oom_lock. */
static struct {
	const struct task_struct *task;
	gfp_t gfp;
	int order;
	bool cgroup;
} asked;

static struct probe probe;

static int on_out_of_memory(struct kprobe *kprobe, struct pt_regs *regs)
{
	const struct oom_control *oom =
		(void *)regs_get_kernel_argument(regs, 0);

	asked.task = current;
	asked.gfp = oom->gfp_mask;
	asked.order = oom->order;
	asked.cgroup = oom->memcg;
	return 0;
}

static u64 kib(u64 pages)
{
	return pages << (PAGE_SHIFT - 10);
}

/* The victim's memory stays: it is current, or locked. */
static void on_mark_victim(void *unused, struct task_struct *victim, uid_t uid)
{
	bool known = asked.task == current;
	struct mm_struct *mm = victim->mm;
	u8 room[256];
	struct vesper_payload payload = VESPER_PAYLOAD(room);

	vesper_put_u32(&payload, task_tgid_nr(victim));
	vesper_put_str(&payload, victim->comm);
	vesper_put_u32(&payload, uid);
	vesper_put_u16(&payload, victim->signal->oom_score_adj);
	vesper_put_u64(&payload, kib(mm->total_vm));
	vesper_put_u64(&payload, kib(get_mm_rss(mm)));
	vesper_put_u64(&payload, kib(get_mm_counter(mm, MM_ANONPAGES)));
	vesper_put_u64(&payload, kib(get_mm_counter(mm, MM_FILEPAGES)));
	vesper_put_u64(&payload, kib(get_mm_counter(mm, MM_SHMEMPAGES)));
	vesper_put_u32(&payload, task_tgid_nr(current));
	vesper_put_str(&payload, current->comm);
	vesper_put_u32(&payload, known ? asked.order : 0);
	vesper_put_u64(&payload, known ? (__force u32)asked.gfp : 0);
	vesper_put_u8(&payload, known && asked.cgroup);
	vesper_record(probe.channel.chan, KILL,
		      VESPER_URGENT | vesper_payload_flags(&payload), room,
		      payload.at - room);
}
PROBE_CHECK(mark_victim, on_mark_victim)

static struct probe_hook hooks[] = {
	PROBE_FUNCTION(out_of_memory, on_out_of_memory, PROBE_EVENT(KILL)),
	PROBE_TRACEPOINT(mark_victim, on_mark_victim, PROBE_EVENT(KILL)),
};

static struct probe probe = {
	.channel = {
		.name = "oom",
		.schema = schema,
		.subbuf_size = 4096,
		.n_subbufs = 4,
	},
	.hooks = hooks,
	.hook_count = ARRAY_SIZE(hooks),
};

static int __init oom_probe_init(void)
{
	return probe_start(&probe);
}

static void __exit oom_probe_exit(void)
{
	probe_stop(&probe);
}

module_init(oom_probe_init);
module_exit(oom_probe_exit);
MODULE_DESCRIPTION("VESPER probe: whom the kernel kills for memory");
MODULE_LICENSE("GPL");
