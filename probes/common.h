/* SPDX-License-Identifier: GPL-2.0 */
/*
 * VESPER probes: the way from the parameters to an armed probe, and back.
 *
 *   start  events= is read; everything that a probe hangs on is found; the
 *          channel is opened and exported; only then is anything armed
 *   stop   disarmed; whoever still runs there is waited for; the export ends,
 *          then the channel
 *
 * Each module includes this once, and is a module of its own.
 */
#ifndef VESPER_PROBES_COMMON_H
#define VESPER_PROBES_COMMON_H

#include <linux/kprobes.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/string.h>
#include <linux/tracepoint.h>

#include "channel.h"

static char *events;
module_param(events, charp, 0444);
MODULE_PARM_DESC(events, "events to record, with commas between (default: all)");

/* The set of one event, by its number. */
#define PROBE_EVENT(number)	(1U << ((number) - 1))

/* What a probe hangs on. */
struct probe_hook {
	const char *name;
	u32 events;			/* those that need it */
	void *call;			/* tracepoint: what it calls */
	struct tracepoint *tracepoint;	/* where that was found */
	struct kprobe kprobe;		/* function */
	bool found, armed;
};

#define PROBE_TRACEPOINT(tracepoint_name, function, needed_by) {		\
	.name = #tracepoint_name, .call = (function), .events = (needed_by) }

/* Without a handler: it only has to be there. */
#define PROBE_FUNCTION(function_name, handler, needed_by) {		\
	.name = #function_name, .events = (needed_by),			\
	.kprobe = { .symbol_name = #function_name,			\
		    .pre_handler = (handler),				\
		    .flags = KPROBE_FLAG_DISABLED } }

/*
 * A tracepoint is found by name and called without a type. So let the compiler
 * see that this kernel's headers agree; wants <trace/events/...>.
 */
#define PROBE_CHECK(tracepoint_name, function)				\
static inline void probe_check_##tracepoint_name(void)			\
{									\
	check_trace_callback_type_##tracepoint_name(function);		\
}

struct probe {
	struct probe_channel channel;
	struct probe_hook *hooks;
	size_t hook_count;
	u32 events;			/* chosen */
};

/* ---- events ---- */

/* The number of an event is that of its line, from 1. 0: no such event. */
static inline u32 probe_event_number(const char *schema, const char *name,
				     size_t length)
{
	u32 number = 1;

	while (*schema) {
		if (strcspn(schema, "! ") == length &&
		    !strncmp(schema, name, length))
			return number;
		schema += strcspn(schema, "\n");
		schema += *schema == '\n';
		number++;
	}
	return 0;
}

static inline int probe_choose(struct probe *probe)
{
	const char *at = events;

	if (!at || !*at) {
		probe->events = ~0U;
		return 0;
	}
	for (;;) {
		size_t length = strcspn(at, ",");
		u32 number = probe_event_number(probe->channel.schema, at,
						length);

		if (!number) {
			pr_err("there is no event \"%.*s\"\n", (int)length, at);
			return -EINVAL;
		}
		probe->events |= PROBE_EVENT(number);
		if (!at[length])
			return 0;
		at += length + 1;
	}
}

/* ---- hooks ---- */

#define probe_for_each_hook(probe, hook)				\
	for (hook = (probe)->hooks;					\
	     hook < (probe)->hooks + (probe)->hook_count; hook++)	\
		if (hook->events & (probe)->events)

static inline void probe_see_tracepoint(struct tracepoint *tracepoint,
					void *data)
{
	struct probe *probe = data;
	struct probe_hook *hook;

	probe_for_each_hook(probe, hook)
		if (hook->call && !strcmp(hook->name, tracepoint->name))
			hook->tracepoint = tracepoint;
}

/* Disarms, and waits until no handler runs any more. */
static inline void probe_disarm(struct probe *probe)
{
	struct probe_hook *hook;

	probe_for_each_hook(probe, hook) {
		if (hook->call && hook->armed)
			tracepoint_probe_unregister(hook->tracepoint, hook->call,
						    NULL);
		if (!hook->call && hook->found)
			unregister_kprobe(&hook->kprobe);
		hook->armed = hook->found = false;
	}
	tracepoint_synchronize_unregister();
}

/* Finds everything, and names all that is missing. */
static inline int probe_find(struct probe *probe)
{
	struct probe_hook *hook;
	int err = 0;

	for_each_kernel_tracepoint(probe_see_tracepoint, probe);
	probe_for_each_hook(probe, hook) {
		int missing = 0;

		if (!hook->call)
			missing = register_kprobe(&hook->kprobe);
		else if (!hook->tracepoint)
			missing = -ENOENT;
		hook->found = !missing;
		if (!missing)
			continue;
		err = missing;
		pr_err("this kernel has no %s %s to hang on (%d)\n",
		       hook->call ? "tracepoint" : "function", hook->name,
		       missing);
	}
	if (err)
		probe_disarm(probe);
	return err;
}

static inline int probe_arm(struct probe *probe)
{
	struct probe_hook *hook;

	probe_for_each_hook(probe, hook) {
		int err = 0;

		if (hook->call)
			err = tracepoint_probe_register(hook->tracepoint,
							hook->call, NULL);
		else if (hook->kprobe.pre_handler)
			err = enable_kprobe(&hook->kprobe);
		if (err) {
			pr_err("%s cannot be armed (%d)\n", hook->name, err);
			return err;
		}
		hook->armed = true;
	}
	return 0;
}

/* ---- all of it ---- */

static inline void probe_stop(struct probe *probe)
{
	probe_disarm(probe);
	probe_close(&probe->channel);
}

static inline int probe_start(struct probe *probe)
{
	static const struct rchan_callbacks callbacks =
		PROBE_CALLBACKS(virtrelay_subbuf_start_callback);
	int err = probe_choose(probe);

	if (err)
		return err;
	err = probe_find(probe);
	if (err)
		return err;
	err = probe_open(&probe->channel, &callbacks);
	if (err) {
		probe_disarm(probe);
		return err;
	}
	err = probe_arm(probe);
	if (err)
		probe_stop(probe);
	return err;
}

/*
 * Each urgent record costs the guest a call of the hypervisor. Of records that
 * can come in thousands, one in a while is urgent; the others are seen when the
 * frontend shows quiet buffers anyway.
 */
static inline u16 probe_urgent_at_times(void)
{
	static atomic64_t last = ATOMIC64_INIT(-NSEC_PER_SEC);
	u64 now = ktime_get_mono_fast_ns();
	u64 then = atomic64_read(&last);

	return now - then > 100 * NSEC_PER_MSEC &&
	       atomic64_cmpxchg(&last, then, now) == then ? VESPER_URGENT : 0;
}

#endif
