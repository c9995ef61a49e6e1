// SPDX-License-Identifier: GPL-2.0
/*
 * What a record costs the guest: relay_write() of 64 bytes into a channel that is
 * exported, and into one that is the same but for that, in turns.
 *
 *   echo 60 > /sys/module/cost/parameters/run      so many pairs
 *   cat /sys/module/cost/parameters/pairs          nanoseconds: local exported
 *
 * Both overwrite, so that each write copies its bytes and each switch succeeds,
 * whether or not somebody reads.
 */
#include <linux/ktime.h>
#include <linux/sched.h>

#include "bench.h"

#define PAIRS_MOST	128

static uint records = 50000;
module_param(records, uint, 0644);
MODULE_PARM_DESC(records, "written in each half of a pair");
static ulong subbuf_size = 65536;
module_param(subbuf_size, ulong, 0444);
static ulong n_subbufs = 8;
module_param(n_subbufs, ulong, 0444);

static struct rchan *local, *exported;
static u64 results[PAIRS_MOST][2];
static uint results_count;
static u8 record[64];

static noinline u64 time_writes(struct rchan *chan)
{
	u64 begun = ktime_get_ns();
	uint i;

	for (i = 0; i < records; i++)
		relay_write(chan, record, sizeof(record));
	return ktime_get_ns() - begun;
}

static int run_set(const char *value, const struct kernel_param *kp)
{
	uint pairs, i;
	int err = kstrtouint(value, 0, &pairs);

	if (err || !exported)
		return err ?: -ENODEV;
	pairs = min_t(uint, pairs, PAIRS_MOST);
	/* The first one finds the pages. */
	time_writes(local);
	time_writes(exported);
	for (i = 0; i < pairs; i++) {
		bool first = i % 2;

		results[i][first] = time_writes(first ? exported : local);
		results[i][!first] = time_writes(first ? local : exported);
		cond_resched();
	}
	results_count = pairs;
	return 0;
}

static int pairs_get(char *text, const struct kernel_param *kp)
{
	int length = 0;
	uint i;

	for (i = 0; i < results_count; i++)
		length += scnprintf(text + length, PAGE_SIZE - length,
				    "%llu %llu\n", results[i][0], results[i][1]);
	return length;
}

static const struct kernel_param_ops run_ops = { .set = run_set };
module_param_cb(run, &run_ops, NULL, 0200);
static const struct kernel_param_ops pairs_ops = { .get = pairs_get };
module_param_cb(pairs, &pairs_ops, NULL, 0444);

static const struct rchan_callbacks callbacks = BENCH_CALLBACKS(always);

static int __init cost_init(void)
{
	int err = -ENOMEM;
	struct rchan *opened;

	local = relay_open(NULL, NULL, subbuf_size, n_subbufs, &callbacks, NULL);
	opened = relay_open(NULL, NULL, subbuf_size, n_subbufs, &callbacks, NULL);
	if (local && opened)
		err = relay_export_start(opened, "cost");
	if (!err) {
		exported = opened;
		return 0;
	}
	if (opened)
		relay_close(opened);
	if (local)
		relay_close(local);
	return err;
}

static void __exit cost_exit(void)
{
	relay_export_stop("cost");
	relay_close(exported);
	relay_close(local);
}

module_init(cost_init);
module_exit(cost_exit);
MODULE_DESCRIPTION("VESPER benchmark: what a record costs");
MODULE_LICENSE("GPL");
