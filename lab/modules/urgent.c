// SPDX-License-Identifier: GPL-2.0
/*
 * Records on demand:
 *   echo 3 > /sys/module/urgent/parameters/urgent    three urgent ones
 *   echo 3 > /sys/module/urgent/parameters/quiet     three that may wait
 *   echo hello > /sys/module/urgent/parameters/text  one with that text
 *   echo 3 > /sys/module/urgent/parameters/spin      an urgent one, and no interrupt
 *                                                    of this CPU for 3 s after it
 */
#include <linux/delay.h>
#include <linux/export.h>
#include <linux/irqflags.h>
#include <linux/module.h>
#include <linux/moduleparam.h>

#include "no_files.h"

static ulong subbuf_size = 1 << 20;
module_param(subbuf_size, ulong, 0444);
static ulong n_subbufs = 2;
module_param(n_subbufs, ulong, 0444);

enum { URGENT = 1, QUIET, TEXT };
static const char schema[] =
	"urgent number:u32 filler:str\n"
	"quiet number:u32 filler:str\n"
	"text text:str\n";

static struct rchan *chan;

/* For a module that wants to hold this one. */
void vesper_urgent_here(void);
void vesper_urgent_here(void)
{
}
EXPORT_SYMBOL_GPL(vesper_urgent_here);

static int write_records(const char *value, u16 type, u16 flags)
{
	u8 room[40];
	uint count, i;
	int err = kstrtouint(value, 0, &count);

	for (i = 0; !err && chan && i < count; i++) {
		struct vesper_payload payload = VESPER_PAYLOAD(room);

		vesper_put_u32(&payload, i);
		vesper_put_str(&payload, "0123456789012345678901");
		/* What finds no room is counted by the channel. */
		vesper_record(chan, type, flags, room, payload.at - room);
	}
	return err;
}

static int urgent_set(const char *value, const struct kernel_param *kp)
{
	return write_records(value, URGENT, VESPER_URGENT);
}

static int spin_set(const char *value, const struct kernel_param *kp)
{
	unsigned long irq;
	uint seconds, ms;
	int err = kstrtouint(value, 0, &seconds);

	if (err || seconds > 10)
		return err ?: -EINVAL;
	local_irq_save(irq);
	err = write_records("1", URGENT, VESPER_URGENT);
	for (ms = 0; ms < seconds * 1000; ms++)
		mdelay(1);
	local_irq_restore(irq);
	return err;
}

static int quiet_set(const char *value, const struct kernel_param *kp)
{
	return write_records(value, QUIET, 0);
}

static int text_set(const char *value, const struct kernel_param *kp)
{
	u8 room[1024];
	struct vesper_payload payload = VESPER_PAYLOAD(room);

	if (!chan)
		return -ENODEV;
	vesper_put_str(&payload, value);
	return vesper_record(chan, TEXT, vesper_payload_flags(&payload), room,
			     payload.at - room);
}

static const struct kernel_param_ops urgent_ops = { .set = urgent_set };
module_param_cb(urgent, &urgent_ops, NULL, 0200);
static const struct kernel_param_ops spin_ops = { .set = spin_set };
module_param_cb(spin, &spin_ops, NULL, 0200);
static const struct kernel_param_ops quiet_ops = { .set = quiet_set };
module_param_cb(quiet, &quiet_ops, NULL, 0200);
static const struct kernel_param_ops text_ops = { .set = text_set };
module_param_cb(text, &text_ops, NULL, 0200);

static int __init urgent_init(void)
{
	struct rchan *opened;
	int err;

	opened = relay_open(NULL, NULL, subbuf_size, n_subbufs, &callbacks, NULL);
	if (!opened)
		return -ENOMEM;
	err = vesper_export_start(opened, "urgent", schema);
	if (err)
		relay_close(opened);
	else
		chan = opened;
	return err;
}

static void __exit urgent_exit(void)
{
	relay_export_stop("urgent");
	relay_close(chan);
}

module_init(urgent_init);
module_exit(urgent_exit);
MODULE_DESCRIPTION("VESPER sample: records on demand");
MODULE_LICENSE("GPL");
