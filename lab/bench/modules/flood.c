// SPDX-License-Identifier: GPL-2.0
/*
 * Throughput: one record, over and over, as a module that only knows the paper's
 * figure 5 writes it (relay_write), and each until it has found room, so that
 * all of them arrive.
 *
 *   echo 1000000 > /sys/module/flood/parameters/run    so many records
 *   echo 1000000 > /sys/module/flood/parameters/alone  so many into a channel of the same geometry that overwrites and
 *                                                      is not exported: what relay_write manages when nobody reads
 *   cat /sys/module/flood/parameters/alone             the nanoseconds that took
 *
 * Word i of the record is (i + 1) * 0x9e3779b97f4a7c15, as in vchan.c.
 */
#include <linux/delay.h>
#include <linux/ktime.h>
#include <linux/slab.h>

#include "bench.h"

static uint bytes = 4096;
module_param(bytes, uint, 0644);
MODULE_PARM_DESC(bytes, "of a record; a multiple of 8, at most a sub-buffer");
/* 8 MiB: at a few GB/s they last for the milliseconds that waking the reader takes. */
static ulong subbuf_size = 262144;
module_param(subbuf_size, ulong, 0444);
static ulong n_subbufs = 32;
module_param(n_subbufs, ulong, 0444);
static uint pause_us;
module_param(pause_us, uint, 0644);
MODULE_PARM_DESC(pause_us, "how long to sleep when there is no room; 0: spin");
static ulong refused;
module_param(refused, ulong, 0444);
MODULE_PARM_DESC(refused, "writes of the last run that found no room at first");

static struct rchan *chan, *local;
static u64 alone_ns;
static u64 *record;

/* Whether the record found room. */
static bool write_one(void)
{
	struct rchan_buf *buf;
	bool room;

	relay_write(chan, record, bytes);
	/* What relay notes after its callback refused a new sub-buffer. */
	buf = *get_cpu_ptr(chan->buf);
	room = buf->offset <= chan->subbuf_size;
	put_cpu_ptr(chan->buf);
	return room;
}

/* How many records are to be written, if they can be. */
static int count_of(const char *value, ulong *count)
{
	int err = kstrtoul(value, 0, count);

	if (err || !chan)
		return err ?: -ENODEV;
	return !bytes || bytes % sizeof(u64) || bytes > subbuf_size ? -EINVAL : 0;
}

static int run_set(const char *value, const struct kernel_param *kp)
{
	ulong count, i;
	int err = count_of(value, &count);

	if (err)
		return err;
	refused = 0;
	for (i = 0; i < count; i++) {
		if (i % 1024 == 0)
			cond_resched();
		while (!write_one()) {
			refused++;
			if (pause_us)
				usleep_range(pause_us, 2 * pause_us);
			else
				cond_resched();
		}
	}
	/* The last sub-buffer is not full: what is in it is not to wait. */
	vesper_relay_urgent(chan);
	return 0;
}

static int alone_set(const char *value, const struct kernel_param *kp)
{
	ulong count, i;
	u64 begun;
	int err = count_of(value, &count);

	if (err)
		return err;
	begun = ktime_get_ns();
	for (i = 0; i < count; i++) {
		if (i % 1024 == 0)
			cond_resched();
		relay_write(local, record, bytes);
	}
	alone_ns = ktime_get_ns() - begun;
	return 0;
}

static int alone_get(char *text, const struct kernel_param *kp)
{
	return scnprintf(text, PAGE_SIZE, "%llu\n", alone_ns);
}

static const struct kernel_param_ops run_ops = { .set = run_set };
module_param_cb(run, &run_ops, NULL, 0200);
static const struct kernel_param_ops alone_ops = { .set = alone_set, .get = alone_get };
module_param_cb(alone, &alone_ops, NULL, 0600);

static const struct rchan_callbacks callbacks =
	BENCH_CALLBACKS(virtrelay_subbuf_start_callback);
static const struct rchan_callbacks overwriting = BENCH_CALLBACKS(always);

static int __init flood_init(void)
{
	struct rchan *opened;
	int err = -ENOMEM;
	ulong i;

	record = kvmalloc(subbuf_size, GFP_KERNEL);
	if (!record)
		return err;
	for (i = 0; i < subbuf_size / sizeof(u64); i++)
		record[i] = (i + 1) * 0x9e3779b97f4a7c15;
	local = relay_open(NULL, NULL, subbuf_size, n_subbufs, &overwriting, NULL);
	opened = relay_open(NULL, NULL, subbuf_size, n_subbufs, &callbacks, NULL);
	if (local && opened)
		err = relay_export_start(opened, "flood");
	if (!err) {
		chan = opened;
		return 0;
	}
	if (opened)
		relay_close(opened);
	if (local)
		relay_close(local);
	kvfree(record);
	return err;
}

static void __exit flood_exit(void)
{
	relay_export_stop("flood");
	relay_close(chan);
	relay_close(local);
	kvfree(record);
}

module_init(flood_init);
module_exit(flood_exit);
MODULE_DESCRIPTION("VESPER benchmark: throughput");
MODULE_LICENSE("GPL");
