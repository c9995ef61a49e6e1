// SPDX-License-Identifier: GPL-2.0
/*
 * How long from here to dom0: in turns an urgent record, and an event channel
 * that is notified and nothing else.
 *
 *   cat /sys/module/bell/parameters/port           of the bare event channel
 *   echo 100 > /sys/module/bell/parameters/ring    so many of each
 *   cat /sys/module/bell/parameters/sent           when the bare ones were sent
 *
 * Times are the CPU's counter (TSC), which both domains read alike if the guest
 * has tsc_mode="native". That of an urgent record is its payload.
 */
#include <asm/tsc.h>
#include <linux/delay.h>
#include <xen/events.h>
#include <xen/interface/event_channel.h>
#include <xen/interface/xen.h>
#include <asm/xen/hypercall.h>

#include "bench.h"

/* As many as fit into a page of text. */
#define ROUNDS_MOST	180

enum { RUNG = 1 };

static evtchn_port_t port;
module_param(port, uint, 0444);
static uint pause_ms = 20;
module_param(pause_ms, uint, 0644);
MODULE_PARM_DESC(pause_ms, "between two, so that dom0 sleeps again");

static struct rchan *chan;
static u64 sent[ROUNDS_MOST];
static uint sent_count;

static int ring_set(const char *value, const struct kernel_param *kp)
{
	uint rounds, i;
	int err = kstrtouint(value, 0, &rounds);

	if (err || !chan)
		return err ?: -ENODEV;
	rounds = min_t(uint, rounds, ROUNDS_MOST);
	for (i = 0; i < rounds; i++) {
		u64 now;

		msleep(pause_ms);
		sent[i] = rdtsc_ordered();
		notify_remote_via_evtchn(port);
		msleep(pause_ms);
		now = rdtsc_ordered();
		vesper_record(chan, RUNG, VESPER_URGENT, &now, sizeof(now));
	}
	sent_count = rounds;
	return 0;
}

static int sent_get(char *text, const struct kernel_param *kp)
{
	int length = 0;
	uint i;

	for (i = 0; i < sent_count; i++)
		length += scnprintf(text + length, PAGE_SIZE - length, "%llu\n",
				    sent[i]);
	return length;
}

static const struct kernel_param_ops ring_ops = { .set = ring_set };
module_param_cb(ring, &ring_ops, NULL, 0200);
static const struct kernel_param_ops sent_ops = { .get = sent_get };
module_param_cb(sent, &sent_ops, NULL, 0444);

static const struct rchan_callbacks callbacks =
	BENCH_CALLBACKS(virtrelay_subbuf_start_callback);

static void close_port(void)
{
	struct evtchn_close close = { .port = port };

	HYPERVISOR_event_channel_op(EVTCHNOP_close, &close);
}

static int __init bell_init(void)
{
	struct evtchn_alloc_unbound unbound = {
		.dom = DOMID_SELF,
		.remote_dom = 0,
	};
	struct rchan *opened;
	int err;

	err = HYPERVISOR_event_channel_op(EVTCHNOP_alloc_unbound, &unbound);
	if (err)
		return err;
	port = unbound.port;
	err = -ENOMEM;
	opened = relay_open(NULL, NULL, 65536, 8, &callbacks, NULL);
	if (opened) {
		err = vesper_export_start(opened, "bell", "rung sent:u64\n");
		if (!err) {
			chan = opened;
			return 0;
		}
		relay_close(opened);
	}
	close_port();
	return err;
}

static void __exit bell_exit(void)
{
	relay_export_stop("bell");
	relay_close(chan);
	close_port();
}

module_init(bell_init);
module_exit(bell_exit);
MODULE_DESCRIPTION("VESPER benchmark: the way of an urgent record");
MODULE_LICENSE("GPL");
