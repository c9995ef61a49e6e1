// SPDX-License-Identifier: GPL-2.0
/*
 * VESPER probe "panic": what the kernel says at its end, and each oops.
 *
 *   panic()              at its entry, where the message is yet to be formatted
 *   crash_kexec()        an oops that nothing survives: with a crash kernel in
 *                        memory it does not come to a panic()
 *   panic_notifier_list  for a panic() whose kprobe was missed, since it was
 *                        called by a kprobe's handler
 *   die chain            oopses; a guest may well live on after one
 *
 * An end is told once, by whichever of the three comes first: first as last
 * words, which need no room in the channel and may be left in an NMI, then as an
 * urgent record.
 */
#include <linux/atomic.h>
#include <linux/irqflags.h>
#include <linux/kdebug.h>
#include <linux/notifier.h>
#include <linux/panic_notifier.h>
#include <linux/printk.h>
#include <linux/smp.h>
#include <linux/uaccess.h>

#include "common.h"
#include "report.h"

enum { PANIC = 1, OOPS };

static const char schema[] =
	"panic! event=guest-panic "
	"cpu:u32 pid:u32 comm:str message:str stack:str log:str\n"
	"oops event=guest-oops "
	"cpu:u32 pid:u32 comm:str message:str stack:str log:str\n";

/* The most that last words take, and what of it message and stack may have. */
#define REPORT_BYTES	4000
#define MESSAGE_BYTES	512
#define STACK_BYTES	1400

struct report {
	atomic_t taken;
	char message[MESSAGE_BYTES];
	u8 payload[REPORT_BYTES];
};

/* The end is written once. Oopses come one after the other (die_lock). */
static struct report the_end, oops;

static struct probe probe;

static unsigned long missed;
module_param(missed, ulong, 0444);
MODULE_PARM_DESC(missed, "oopses within the report of an oops (to read)");

static struct vesper_payload report_fill(struct report *report,
					 struct pt_regs *regs)
{
	struct vesper_payload payload = VESPER_PAYLOAD(report->payload);

	strim(report->message);
	vesper_put_u32(&payload, raw_smp_processor_id());
	vesper_put_u32(&payload, current->pid);
	vesper_put_str(&payload, current->comm);
	vesper_put_str(&payload, report->message);
	probe_put_stack(&payload, STACK_BYTES, current, regs);
	probe_put_log(&payload, REPORT_BYTES);
	return payload;
}

/* ---- the end ---- */

static void tell_the_end(struct pt_regs *regs)
{
	struct vesper_payload payload = report_fill(&the_end, regs);
	size_t bytes = payload.at - the_end.payload;

	vesper_last_words(probe.channel.chan, PANIC, the_end.payload, bytes);
	/* Refused in an NMI. */
	vesper_record(probe.channel.chan, PANIC,
		      VESPER_URGENT | VESPER_FATAL |
		      vesper_payload_flags(&payload),
		      the_end.payload, bytes);
}

static bool first_to_tell(void)
{
	return !atomic_xchg(&the_end.taken, 1);
}

/* va_list of the System V ABI, AMD64 supplement, section 3.5.7. */
struct sysv_va_list {
	unsigned int gp_offset, fp_offset;
	const void *overflow_arg_area, *reg_save_area;
};

/* printf() with the arguments of a function at whose entry the CPU is. */
static void format_at_entry(char *to, size_t room, const struct pt_regs *regs)
{
	const unsigned long in_regs[] = {
		regs->di, regs->si, regs->dx, regs->cx, regs->r8, regs->r9,
	};
	unsigned long on_stack[16] = {};
	const struct sysv_va_list arguments = {
		.gp_offset = sizeof(in_regs[0]),	/* the format itself */
		.fp_offset = sizeof(in_regs) + 128,	/* there are none */
		.overflow_arg_area = on_stack,
		.reg_save_area = in_regs,
	};
	struct va_format format = { .fmt = (const char *)regs->di };
	va_list list;
	size_t i;

	/* They lie above the return address; the stack may end before they do. */
	for (i = 0; i < ARRAY_SIZE(on_stack); i++)
		if (copy_from_kernel_nofault(&on_stack[i],
					     (unsigned long *)regs->sp + 1 + i,
					     sizeof(on_stack[i])))
			break;
	BUILD_BUG_ON(sizeof(list) != sizeof(arguments));
	memcpy(list, &arguments, sizeof(list));
	format.va = &list;
	scnprintf(to, room, "%pV", &format);
}

static int on_panic(struct kprobe *kprobe, struct pt_regs *regs)
{
	struct pt_regs entry = *regs;
	unsigned long irq;

	if (!first_to_tell())
		return 0;
	local_irq_save(irq);
	/* The unwinder goes by the instruction, not by what the kprobe made of it. */
	entry.ip = (unsigned long)kprobe->addr;
	format_at_entry(the_end.message, sizeof(the_end.message), regs);
	tell_the_end(&entry);
	local_irq_restore(irq);
	return 0;
}

static int on_crash_kexec(struct kprobe *kprobe, struct pt_regs *regs)
{
	unsigned long irq;

	if (!first_to_tell())
		return 0;
	local_irq_save(irq);
	scnprintf(the_end.message, sizeof(the_end.message), "fatal: %s",
		  oops.message);
	/* Its argument: where the oops was, or NULL. */
	tell_the_end((struct pt_regs *)regs->di);
	local_irq_restore(irq);
	return 0;
}

static int on_panic_notifier(struct notifier_block *block, unsigned long unused,
			     void *message)
{
	if (!first_to_tell())
		return NOTIFY_DONE;
	strscpy(the_end.message, message, sizeof(the_end.message));
	tell_the_end(NULL);
	return NOTIFY_DONE;
}

/* ---- oopses ---- */

static int on_die(struct notifier_block *block, unsigned long what, void *data)
{
	const struct die_args *die = data;
	struct vesper_payload payload;

	if (what != DIE_OOPS)
		return NOTIFY_DONE;
	if (atomic_xchg(&oops.taken, 1)) {
		missed++;
		return NOTIFY_DONE;
	}
	scnprintf(oops.message, sizeof(oops.message), "%s: %04lx at %pS",
		  die->str, die->err & 0xffff, (void *)instruction_pointer(die->regs));
	if (probe.events & PROBE_EVENT(OOPS)) {
		payload = report_fill(&oops, die->regs);
		vesper_record(probe.channel.chan, OOPS,
			      VESPER_URGENT | vesper_payload_flags(&payload),
			      oops.payload, payload.at - oops.payload);
	}
	atomic_set_release(&oops.taken, 0);
	return NOTIFY_DONE;
}

/* ---- the module ---- */

static struct notifier_block panic_block = {
	.notifier_call = on_panic_notifier,
	.priority = INT_MAX,	/* before Xen's own, which ends the guest */
};

static struct notifier_block die_block = {
	.notifier_call = on_die,
};

static struct probe_hook hooks[] = {
	PROBE_FUNCTION(panic, on_panic, PROBE_EVENT(PANIC)),
#ifdef CONFIG_CRASH_DUMP
	PROBE_FUNCTION(crash_kexec, on_crash_kexec, PROBE_EVENT(PANIC)),
#endif
};

static struct probe probe = {
	.channel = {
		.name = "panic",
		.schema = schema,
		.subbuf_size = 8192,
		.n_subbufs = 4,
	},
	.hooks = hooks,
	.hook_count = ARRAY_SIZE(hooks),
};

static int __init panic_init(void)
{
	int err = probe_start(&probe);

	if (err)
		return err;
	if (probe.events & PROBE_EVENT(PANIC))
		atomic_notifier_chain_register(&panic_notifier_list,
					       &panic_block);
	register_die_notifier(&die_block);
	return 0;
}

static void __exit panic_exit(void)
{
	unregister_die_notifier(&die_block);
	if (probe.events & PROBE_EVENT(PANIC))
		atomic_notifier_chain_unregister(&panic_notifier_list,
						 &panic_block);
	probe_stop(&probe);
}

module_init(panic_init);
module_exit(panic_exit);
MODULE_DESCRIPTION("VESPER probe: panic and oops");
MODULE_LICENSE("GPL");
