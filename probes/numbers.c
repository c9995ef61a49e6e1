// SPDX-License-Identifier: GPL-2.0
/*
 * VESPER probe "numbers": records whose content can be foretold, for tests and
 * benchmarks. A thread on each CPU writes its share of them into its CPU's
 * buffer: number n (from 0 on, in each buffer), n's filler, and a sum of both.
 *
 *   filler  word i (8 bytes) is n + i, times 0x9e3779b97f4a7c15, of which each
 *           byte's lower half chooses a letter from "a" to "p"
 *   sum     begins as n; for each word: rotated left by 5, exclusive-or the word
 *
 *   run     1: begins anew, 0: stops; to read, Y or N: whether it runs
 *   done, dropped, nanos   of the last run, to read
 */
#include <linux/bitops.h>
#include <linux/cpu.h>
#include <linux/hrtimer.h>
#include <linux/kstrtox.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/math64.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "channel.h"

enum { NUMBER = 1 };

#define FILLER_MOST	(U16_MAX & ~7)
/* number:u64, the filler's length:u16, the filler, sum:u64 */
#define PAYLOAD_BYTES(filler)	(8 + 2 + (filler) + 8)

static unsigned int bytes = 64;
module_param(bytes, uint, 0644);
MODULE_PARM_DESC(bytes, "of filler in each record, rounded down to 8 (64)");

static unsigned long rate;
module_param(rate, ulong, 0644);
MODULE_PARM_DESC(rate, "records each second, of all CPUs together; 0: as fast as can be (0)");

static unsigned long count;
module_param(count, ulong, 0644);
MODULE_PARM_DESC(count, "records of a run, of all CPUs together; 0: without end (0)");

static bool overwrite;
module_param(overwrite, bool, 0444);
MODULE_PARM_DESC(overwrite, "when a buffer is full, overwrite the oldest records (N)");

static struct probe_channel channel = {
	.name = "numbers",
	.schema = "number number:u64 filler:str sum:x64\n",
	.subbuf_size = 65536,
	.n_subbufs = 8,
};

module_param_named(subbuf_size, channel.subbuf_size, ulong, 0444);
MODULE_PARM_DESC(subbuf_size, "bytes of a sub-buffer (65536)");
module_param_named(n_subbufs, channel.n_subbufs, ulong, 0444);
MODULE_PARM_DESC(n_subbufs, "sub-buffers of each CPU (8)");

/* ---- a thread ---- */

struct writer {
	struct task_struct *thread;
	u64 count;			/* U64_MAX: without end */
	u64 period;			/* ns; 0: without a pause */
	unsigned int filler;
	u8 *payload;
	u64 done, dropped;
	u64 end;			/* when it was done; 0: it is not */
};

static u64 filler_word(u64 number, u64 index)
{
	return ((number + index) * 0x9e3779b97f4a7c15 & 0x0f0f0f0f0f0f0f0f) +
	       0x6161616161616161;
}

/* Returns how long it is. */
static size_t fill(const struct writer *writer, u64 number)
{
	struct vesper_payload payload = {
		.at = writer->payload,
		.end = writer->payload + PAYLOAD_BYTES(writer->filler),
	};
	u64 sum = number;
	u64 i;

	vesper_put_u64(&payload, number);
	vesper_put_u16(&payload, writer->filler);
	for (i = 0; i < writer->filler / sizeof(u64); i++) {
		u64 word = filler_word(number, i);

		vesper_put_u64(&payload, word);
		sum = rol64(sum, 5) ^ word;
	}
	vesper_put_u64(&payload, sum);
	return payload.at - writer->payload;
}

/* Sleeps when it is more than a millisecond too early. */
static void keep_pace(const struct writer *writer, u64 start, u64 number)
{
	ktime_t due = start + number * writer->period;

	if (number % 64 == 0)
		cond_resched();
	if (writer->period && due - (s64)ktime_get_ns() > (s64)NSEC_PER_MSEC) {
		set_current_state(TASK_IDLE);
		if (kthread_should_stop())
			__set_current_state(TASK_RUNNING);
		else
			schedule_hrtimeout_range(&due, 0, HRTIMER_MODE_ABS);
	}
}

static int write_numbers(void *data)
{
	struct writer *writer = data;
	u64 start = ktime_get_ns();
	u64 number;

	for (number = 0; number < writer->count && !kthread_should_stop();
	     number++) {
		size_t length = fill(writer, number);

		keep_pace(writer, start, number);
		if (vesper_record(channel.chan, NUMBER, 0, writer->payload,
				  length))
			WRITE_ONCE(writer->dropped, writer->dropped + 1);
		WRITE_ONCE(writer->done, number + 1);
	}
	WRITE_ONCE(writer->end, ktime_get_ns());
	set_current_state(TASK_IDLE);
	while (!kthread_should_stop()) {
		schedule();
		set_current_state(TASK_IDLE);
	}
	__set_current_state(TASK_RUNNING);
	return 0;
}

/* ---- a run ---- */

/* Of everything below. */
static DEFINE_MUTEX(lock);
static bool open;
/* Until the channel is there: whether to begin then. */
static bool wanted = true;
static struct writer *writers;
static unsigned int writer_count;
static u64 begun;

/* The writers stay, for their counts. */
static void stop_threads(void)
{
	unsigned int i;

	for (i = 0; i < writer_count; i++) {
		if (writers[i].thread)
			kthread_stop(writers[i].thread);
		writers[i].thread = NULL;
		/* A thread that was stopped before it ran has none. */
		if (!writers[i].end)
			writers[i].end = ktime_get_ns();
		kfree(writers[i].payload);
		writers[i].payload = NULL;
	}
}

static void forget(void)
{
	stop_threads();
	kfree(writers);
	writers = NULL;
	writer_count = 0;
}

static int make_writer(struct writer *writer, unsigned int index,
		       unsigned int cpu)
{
	unsigned int all = num_online_cpus();
	u64 records = READ_ONCE(count);
	struct task_struct *thread;

	writer->count = records ? div_u64(records, all) +
				  (index < records % all) : U64_MAX;
	if (READ_ONCE(rate))
		writer->period = div64_u64((u64)NSEC_PER_SEC * all,
					   READ_ONCE(rate));
	writer->filler = min_t(unsigned int, READ_ONCE(bytes), FILLER_MOST) & ~7;
	writer->payload = kmalloc(PAYLOAD_BYTES(writer->filler), GFP_KERNEL);
	if (!writer->payload)
		return -ENOMEM;
	thread = kthread_create(write_numbers, writer, "vesper_numbers/%u", cpu);
	if (IS_ERR(thread))
		return PTR_ERR(thread);
	kthread_bind(thread, cpu);
	writer->thread = thread;
	return 0;
}

static int start_threads(void)
{
	unsigned int cpu, i;
	int err = 0;

	forget();
	cpus_read_lock();
	writers = kcalloc(num_online_cpus(), sizeof(*writers), GFP_KERNEL);
	if (!writers)
		err = -ENOMEM;
	for_each_online_cpu(cpu) {
		if (err)
			break;
		err = make_writer(&writers[writer_count], writer_count, cpu);
		writer_count++;
	}
	cpus_read_unlock();
	if (err) {
		forget();
		return err;
	}
	begun = ktime_get_ns();
	for (i = 0; i < writer_count; i++)
		wake_up_process(writers[i].thread);
	return 0;
}

/* ---- parameters of the run ---- */

static int run_set(const char *text, const struct kernel_param *param)
{
	bool run;
	int err = kstrtobool(text, &run);

	if (err)
		return err;
	mutex_lock(&lock);
	if (!open)
		wanted = run;
	else if (run)
		err = start_threads();
	else
		stop_threads();
	mutex_unlock(&lock);
	return err;
}

enum { RUN, DONE, DROPPED, NANOS };

static int state_get(char *text, const struct kernel_param *param)
{
	u64 done = 0, dropped = 0, end = 0;
	bool running = false;
	unsigned int i;
	u64 value = 0;

	mutex_lock(&lock);
	for (i = 0; i < writer_count; i++) {
		const struct writer *writer = &writers[i];

		done += READ_ONCE(writer->done);
		dropped += READ_ONCE(writer->dropped);
		end = max(end, READ_ONCE(writer->end));
		running |= !READ_ONCE(writer->end);
	}
	if (running)
		end = ktime_get_ns();
	switch ((long)param->arg) {
	case DONE:
		value = done;
		break;
	case DROPPED:
		value = dropped;
		break;
	case NANOS:
		value = writer_count ? end - begun : 0;
		break;
	}
	mutex_unlock(&lock);
	if ((long)param->arg == RUN)
		return sprintf(text, "%c\n", running ? 'Y' : 'N');
	return sprintf(text, "%llu\n", value);
}

static const struct kernel_param_ops run_ops = {
	.set = run_set,
	.get = state_get,
};

static const struct kernel_param_ops state_ops = {
	.get = state_get,
};

module_param_cb(run, &run_ops, (void *)RUN, 0644);
MODULE_PARM_DESC(run, "1: begin anew, 0: stop; at load: whether to begin (1)");
module_param_cb(done, &state_ops, (void *)DONE, 0444);
MODULE_PARM_DESC(done, "records of the last run, dropped ones too (to read)");
module_param_cb(dropped, &state_ops, (void *)DROPPED, 0444);
MODULE_PARM_DESC(dropped, "records of the last run that found no room (to read)");
module_param_cb(nanos, &state_ops, (void *)NANOS, 0444);
MODULE_PARM_DESC(nanos, "time that the last run took (to read)");

/* ---- the module ---- */

static int always(struct rchan_buf *buf, void *subbuf, void *prev_subbuf,
		  size_t prev_padding)
{
	return 1;
}

static int __init numbers_init(void)
{
	static const struct rchan_callbacks keeping =
		PROBE_CALLBACKS(virtrelay_subbuf_start_callback);
	static const struct rchan_callbacks overwriting = PROBE_CALLBACKS(always);
	int err = probe_open(&channel, overwrite ? &overwriting : &keeping);

	if (err)
		return err;
	mutex_lock(&lock);
	open = true;
	if (wanted)
		err = start_threads();
	if (err)
		open = false;
	mutex_unlock(&lock);
	if (err)
		probe_close(&channel);
	return err;
}

static void __exit numbers_exit(void)
{
	mutex_lock(&lock);
	open = false;
	forget();
	mutex_unlock(&lock);
	probe_close(&channel);
}

module_init(numbers_init);
module_exit(numbers_exit);
MODULE_DESCRIPTION("VESPER probe: numbered records, for tests and benchmarks");
MODULE_LICENSE("GPL");
