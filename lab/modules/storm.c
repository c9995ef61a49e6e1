// SPDX-License-Identifier: GPL-2.0
/*
 * Events without end:
 *   echo 1000000 > /sys/module/storm/parameters/events   so many, each another one
 *   cat /sys/module/storm/parameters/made                those that found room
 */
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/sched.h>

#include "no_files.h"

enum { STORM = 1 };
static const char schema[] =
	"storm event=process-killed subject=number number:u32\n";

static struct rchan *chan;

/* No two are the same. */
static u32 number;

static ulong made;
module_param(made, ulong, 0444);

static int events_set(const char *value, const struct kernel_param *kp)
{
	u8 room[8];
	uint count, i;
	int err = kstrtouint(value, 0, &count);

	if (err)
		return err;
	if (!chan)
		return -ENODEV;
	for (i = 0; i < count; i++) {
		struct vesper_payload payload = VESPER_PAYLOAD(room);

		vesper_put_u32(&payload, number++);
		if (!vesper_record(chan, STORM, 0, room, payload.at - room))
			made++;
		cond_resched();
	}
	return 0;
}

static const struct kernel_param_ops events_ops = { .set = events_set };
module_param_cb(events, &events_ops, NULL, 0200);

static int __init storm_init(void)
{
	struct rchan *opened = relay_open(NULL, NULL, 65536, 8, &callbacks, NULL);
	int err;

	if (!opened)
		return -ENOMEM;
	err = vesper_export_start(opened, "storm", schema);
	if (err)
		relay_close(opened);
	else
		chan = opened;
	return err;
}

static void __exit storm_exit(void)
{
	relay_export_stop("storm");
	relay_close(chan);
}

module_init(storm_init);
module_exit(storm_exit);
MODULE_DESCRIPTION("VESPER sample: events without end");
MODULE_LICENSE("GPL");
