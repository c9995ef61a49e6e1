// SPDX-License-Identifier: GPL-2.0
/*
 * VESPER frontend, Communication part: the listener's ring.
 *
 * A ring page and an event channel beside the loader's, the page of the
 * heartbeat and those for last words. Only with a backend that says
 * "feature-listener"; without, exports wait for the next one.
 *
 * The same event channel is the bell that probes ring, from any context: a
 * hypercall on the port itself. A port that was closed meanwhile does nothing;
 * one that was given to somebody else since, an event without a cause.
 *
 * All under front.lock (vesper_comm.c), but vesper_listener_kick() and
 * vesper_listen_connected().
 */
#include <linux/interrupt.h>
#include <linux/jiffies.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>
#include <xen/events.h>
#include <xen/xenbus.h>

#include "vesper_exports.h"

/* Clocks drift: how often the host's is asked for. */
#define TIME_PERIOD (10 * HZ)

static struct {
	struct vesper_listener *core;
	struct vesper_page ring;
	/* Heartbeat, then the places for last words. */
	struct page *page[1 + VESPER_WORDS];
	u32 ref[1 + VESPER_WORDS];
	bool shared;
	evtchn_port_t port;		/* 0: none */
	int irq;
	bool started;
	unsigned long time;		/* when to ask for it */
} listener;

u64 vesper_clock(void)
{
	return ktime_get_mono_fast_ns();
}

void vesper_listener_kick(void)
{
	evtchn_port_t port = READ_ONCE(listener.port);

	if (port)
		notify_remote_via_evtchn(port);
}

bool vesper_listen_connected(void)
{
	return READ_ONCE(listener.started);
}

static irqreturn_t handle_event(int irq, void *unused)
{
	vesper_listen_event();
	return IRQ_HANDLED;
}

/* ---- connecting ---- */

bool vesper_listen_wanted(const struct xenbus_device *dev)
{
	const char *dir = dev->otherend;

	if (!xenbus_read_unsigned(dir, "feature-listener", 0))
		return false;
	vesper_exports_quota(xenbus_read_unsigned(dir, "listener-max-pages", 4096),
			     xenbus_read_unsigned(dir, "listener-max-exports", 16));
	return true;
}

static int open_channel(struct xenbus_device *dev)
{
	evtchn_port_t port;
	int err = xenbus_alloc_evtchn(dev, &port);

	if (err)
		return err;
	err = bind_evtchn_to_irqhandler_lateeoi(port, handle_event, 0,
						"vesper-listener", &listener);
	if (err < 0) {
		xenbus_free_evtchn(dev, port);
		return err;
	}
	listener.irq = err;
	WRITE_ONCE(listener.port, port);
	return 0;
}

int vesper_listen_open(struct xenbus_device *dev)
{
	int err = vesper_page_grant(&listener.ring, false);

	if (err)
		return err;
	err = vesper_listener_attach(listener.core,
				     vesper_page_bytes(&listener.ring), PAGE_SIZE);
	if (err)
		return err;
	err = vesper_pages_share(listener.page, listener.ref,
				 ARRAY_SIZE(listener.page), U32_MAX);
	if (err)
		return err;
	listener.shared = true;
	return open_channel(dev);
}

int vesper_listen_publish(struct xenbus_transaction tx, const char *dir)
{
	char name[] = "listener-words-ref0";
	char *digit = &name[sizeof(name) - 2];
	bool open = listener.irq;
	int err;
	u32 i;

	err = vesper_publish_number(tx, dir, "listener-ring-ref0", open,
				    listener.ring.ref);
	if (!err)
		err = vesper_publish_number(tx, dir, "listener-event-channel", open,
					    listener.port);
	if (!err)
		err = vesper_publish_number(tx, dir, "listener-heartbeat-ref", open,
					    listener.ref[0]);
	for (i = 0; i < VESPER_WORDS && !err; i++) {
		*digit = '0' + i;
		err = vesper_publish_number(tx, dir, name, open,
					    listener.ref[1 + i]);
	}
	return err;
}

void vesper_listen_release(void)
{
	WRITE_ONCE(listener.started, false);
	WRITE_ONCE(listener.port, 0);
	vesper_listener_detach(listener.core);
	if (listener.irq)
		unbind_from_irqhandler(listener.irq, &listener);
	listener.irq = 0;
	vesper_exports_release();
	if (listener.shared)
		vesper_pages_unshare(listener.page, listener.ref,
				     ARRAY_SIZE(listener.page));
	listener.shared = false;
	vesper_page_end(&listener.ring);
}

/* ---- talking; < 0: the host broke the protocol ---- */

int vesper_listen_start(void)
{
	if (!listener.irq)
		return 0;
	vesper_beat_connected();
	WRITE_ONCE(listener.started, true);
	listener.time = jiffies + TIME_PERIOD;
	/* An event that came before now was not acknowledged. */
	vesper_listen_event();
	return vesper_listener_start(listener.core);
}

int vesper_listen_run(void)
{
	int done;

	if (!listener.started)
		return 0;
	done = vesper_listener_run(listener.core);
	if (done == 2)
		vesper_listen_event();	/* call again */
	else if (done >= 0)
		xen_irq_lateeoi(listener.irq, done ? 0 : XEN_EOI_FLAG_SPURIOUS);
	return done;
}

/* What the exports want to have said. The core keeps it until there is a host. */
int vesper_listen_exports(void)
{
	u32 slot, number;
	int err = 0;

	while (err >= 0) {
		switch (vesper_exports_task(&slot, &number)) {
		case VESPER_TASK_NONE:
			return 0;
		case VESPER_TASK_EXPORT:
			err = vesper_listener_export(listener.core, slot);
			break;
		case VESPER_TASK_UNEXPORT:
			err = vesper_listener_unexport(listener.core, slot, number);
			break;
		}
	}
	return err;
}

int vesper_listen_time(void)
{
	if (!listener.started || time_before(jiffies, listener.time))
		return 0;
	listener.time = jiffies + TIME_PERIOD;
	return vesper_listener_time(listener.core);
}

long vesper_listen_pause(void)
{
	long pause;

	if (!vesper_listen_connected())
		return MAX_SCHEDULE_TIMEOUT;
	pause = READ_ONCE(listener.time) - jiffies;
	return max(pause, 1L);
}

const char *vesper_listen_reason(void)
{
	return vesper_listener_reason(listener.core);
}

/* ---- life of the module ---- */

int vesper_listen_init(void)
{
	listener.core = kzalloc(vesper_listener_size(), GFP_KERNEL);
	if (!listener.core)
		return -ENOMEM;
	vesper_listener_init(listener.core);
	listener.page[0] = vesper_heartbeat_page;
	memcpy(&listener.page[1], vesper_words_page, sizeof(vesper_words_page));
	return 0;
}

void vesper_listen_exit(void)
{
	kfree(listener.core);
}
