// SPDX-License-Identifier: GPL-2.0
/*
 * VESPER frontend, Action part: CPUs that come and go, and the timer of each.
 *
 * The timer beats the CPU's heart and, while there are exports, shows the host
 * what quiet channels hold. It runs in the CPU's hard interrupt: a CPU that takes
 * no interrupt any more is seen not to beat.
 *
 * Relay gives a channel its buffer for a new CPU before ours is asked, and keeps
 * the buffer of one that goes.
 */
#include <linux/cpu.h>
#include <linux/cpuhotplug.h>
#include <linux/hrtimer.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/percpu.h>
#include <linux/smp.h>
#include <linux/version.h>

#include "vesper_exports.h"

/* How long what was written can stay unseen in a quiet channel. */
#define IDLE_NANOS (100 * NSEC_PER_MSEC)

static unsigned int heartbeat_ms = 500;

static int set_heartbeat(const char *value, const struct kernel_param *param)
{
	return param_set_uint_minmax(value, param, 50, 60000);
}

static const struct kernel_param_ops heartbeat_ops = {
	.set = set_heartbeat,
	.get = param_get_uint,
};
module_param_cb(heartbeat_ms, &heartbeat_ops, &heartbeat_ms, 0444);
MODULE_PARM_DESC(heartbeat_ms, "period of each CPU's heartbeat, 50 to 60000 ms (500)");

struct tick {
	struct hrtimer timer;
	u64 beat;		/* when the next is due */
};
static DEFINE_PER_CPU(struct tick, ticks);

static u64 beat_nanos(void)
{
	return (u64)heartbeat_ms * NSEC_PER_MSEC;
}

static enum hrtimer_restart on_tick(struct hrtimer *timer)
{
	struct tick *tick = container_of(timer, struct tick, timer);
	unsigned int cpu = smp_processor_id();
	u64 now = vesper_clock();
	u64 next = beat_nanos();

	/* A timer is never early, but the two clocks are not the same. */
	if (now + NSEC_PER_MSEC >= tick->beat) {
		vesper_beat(cpu, now);
		tick->beat = now + next;
	}
	if (vesper_publish_cpu(cpu))
		next = min_t(u64, next, IDLE_NANOS);
	hrtimer_forward_now(timer, ns_to_ktime(next));
	return HRTIMER_RESTART;
}

static int tick_start(unsigned int cpu)
{
	struct tick *tick = this_cpu_ptr(&ticks);

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 13, 0)
	hrtimer_init(&tick->timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL_PINNED_HARD);
	tick->timer.function = on_tick;
#else
	hrtimer_setup(&tick->timer, on_tick, CLOCK_MONOTONIC,
		      HRTIMER_MODE_REL_PINNED_HARD);
#endif
	tick->beat = 0;
	hrtimer_start(&tick->timer, 0, HRTIMER_MODE_REL_PINNED_HARD);
	return 0;
}

static int tick_stop(unsigned int cpu)
{
	hrtimer_cancel(&this_cpu_ptr(&ticks)->timer);
	vesper_beat(cpu, 0);
	return 0;
}

/* By another CPU, before it comes. */
static int cpu_comes(unsigned int cpu)
{
	vesper_relay_cpu_up(cpu);
	return 0;
}

/* By another CPU, after it is gone: its last word, written since its timer ended. */
static int cpu_gone(unsigned int cpu)
{
	vesper_publish_cpu(cpu);
	return 0;
}

static void tick_now(void *unused)
{
	hrtimer_start(&this_cpu_ptr(&ticks)->timer, 0,
		      HRTIMER_MODE_REL_PINNED_HARD);
}

void vesper_ticks_sooner(void)
{
	on_each_cpu(tick_now, NULL, 0);
}

static int prepare_state, online_state;

int vesper_hotplug_init(void)
{
	int err;

	vesper_beat_period(beat_nanos());
	err = cpuhp_setup_state_nocalls(CPUHP_BP_PREPARE_DYN, "vesper:prepare",
					cpu_comes, cpu_gone);
	if (err < 0)
		return err;
	prepare_state = err;
	err = cpuhp_setup_state(CPUHP_AP_ONLINE_DYN, "vesper:online", tick_start,
				tick_stop);
	if (err < 0) {
		cpuhp_remove_state_nocalls(prepare_state);
		return err;
	}
	online_state = err;
	return 0;
}

void vesper_hotplug_exit(void)
{
	cpuhp_remove_state(online_state);
	cpuhp_remove_state_nocalls(prepare_state);
}
