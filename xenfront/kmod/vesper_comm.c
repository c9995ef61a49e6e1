// SPDX-License-Identifier: GPL-2.0
/*
 * VESPER frontend, Communication part: the xenbus device.
 *
 *   backend                          frontend
 *   2 InitWait (version)        ──▶  grants the ring, allocates a port, publishes
 *                               ◀──  3 Initialised
 *   maps, binds; 4 Connected    ──▶  4 Connected, asks the first question
 *   5 Closing                   ──▶  5, gives everything back, 6 Closed
 *   2 again                     ──▶  connects again
 *
 * Found connected when it is not (a crash, a kexec, a resume): 6, and when the
 * backend has followed, 1, and it begins anew.
 *
 * The host owns this guest's memory anyway and is trusted as such, but nothing
 * that it writes crashes this kernel: the core checks every answer; the first
 * wrong one stops the device until it is connected anew.
 *
 * Xenbus calls come from the xenwatch thread, which never waits for a load: the
 * lock is held for the length of one core call only.
 *
 * At a resume the guest's disks come back by xenwatch, too. So neither it nor who
 * holds the lock that it takes may wait for memory that is freed by writing to a
 * disk: memalloc_noio_save() covers all that is called between.
 */
#include <linux/interrupt.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/workqueue.h>
#include <xen/events.h>
#include <xen/grant_table.h>
#include <xen/page.h>
#include <xen/xen.h>
#include <xen/xenbus.h>

#include "vesper_exports.h"

/* Bits of front.events. */
enum { EVENT_ANSWER, EVENT_DONE, EVENT_LISTENER, EVENT_EXPORTS };

static struct {
	struct mutex lock;		/* all below, but events */
	struct xenbus_device *dev;	/* bound device */
	struct vesper_core *core;
	struct vesper_page ring;
	evtchn_port_t port;
	int irq;			/* 0: no event channel */
	bool started;			/* both ends were Connected */
	bool restart;			/* wants Closed, then Initialising */
	bool broken;			/* this connection broke the protocol */

	unsigned long events;
	wait_queue_head_t wait;
	struct task_struct *thread;
} front = {
	.lock = __MUTEX_INITIALIZER(front.lock),
	.wait = __WAIT_QUEUE_HEAD_INITIALIZER(front.wait),
};

/* ---- the thread that talks ---- */

static void raise_event(int event)
{
	set_bit(event, &front.events);
	wake_up(&front.wait);
}

/* The event is acknowledged (EOI) by the thread, after the work. */
static irqreturn_t handle_event(int irq, void *unused)
{
	raise_event(EVENT_ANSWER);
	return IRQ_HANDLED;
}

void vesper_work_done(void)
{
	raise_event(EVENT_DONE);
}

void vesper_listen_event(void)
{
	raise_event(EVENT_LISTENER);
}

void vesper_exports_changed(void)
{
	raise_event(EVENT_EXPORTS);
}

void vesper_kick(void)
{
	if (front.irq)
		notify_remote_via_irq(front.irq);
}

/* Not when that connection is gone meanwhile: the next one is innocent. */
static void close_broken(struct work_struct *work)
{
	unsigned int noio = memalloc_noio_save();

	mutex_lock(&front.lock);
	if (front.dev && front.broken)
		xenbus_switch_state(front.dev, XenbusStateClosing);
	mutex_unlock(&front.lock);
	memalloc_noio_restore(noio);
}
static DECLARE_WORK(close_work, close_broken);

/* Silent from here on: no acknowledgement, so no further event either. */
static void stop_device(const char *reason)
{
	pr_err("the host broke the protocol (%s): device stopped\n", reason);
	front.started = false;
	front.broken = true;
	schedule_work(&close_work);
}

static void take_events(void)
{
	int done = 0;

	if (test_and_clear_bit(EVENT_DONE, &front.events)) {
		s32 status;
		u64 nanos;

		vesper_work_result(&status, &nanos);
		done = vesper_core_finished(front.core, status, nanos);
	}
	if (test_and_clear_bit(EVENT_ANSWER, &front.events) && front.started &&
	    done >= 0) {
		done = vesper_core_run(front.core);
		if (done == 2)
			set_bit(EVENT_ANSWER, &front.events);	/* call again */
		else if (done >= 0)
			xen_irq_lateeoi(front.irq, done ? 0 :
					XEN_EOI_FLAG_SPURIOUS);
	}
	if (done < 0 && front.started)
		stop_device(vesper_core_reason(front.core));
}

static void take_listener_events(void)
{
	int done = 0;

	if (test_and_clear_bit(EVENT_LISTENER, &front.events) && front.started)
		done = vesper_listen_run();
	if (test_and_clear_bit(EVENT_EXPORTS, &front.events) && done >= 0)
		done = vesper_listen_exports();
	if (done >= 0)
		done = vesper_listen_time();
	if (done < 0 && front.started)
		stop_device(vesper_listen_reason());
}

/* Without a tick, unless the loader thread could die at its work. */
static long pause(void)
{
	return min_t(long, vesper_work_pending() ? HZ : MAX_SCHEDULE_TIMEOUT,
		     vesper_listen_pause());
}

static int comm_thread(void *unused)
{
	memalloc_noio_save();	/* for the life of the thread */
	while (!kthread_should_stop()) {
		wait_event_idle_timeout(front.wait, READ_ONCE(front.events) ||
					kthread_should_stop(), pause());
		vesper_work_rescue();
		vesper_exports_tidy();
		mutex_lock(&front.lock);
		take_events();
		take_listener_events();
		mutex_unlock(&front.lock);
		/* A host that answers at once keeps this thread busy. */
		cond_resched();
	}
	return 0;
}

/* ---- connecting ---- */

/* Gives back all that a connection has. Called with the lock held. */
static void release(void)
{
	front.started = false;
	front.broken = false;
	vesper_core_detach(front.core);
	if (front.irq)
		unbind_from_irqhandler(front.irq, &front);
	front.irq = 0;
	clear_bit(EVENT_ANSWER, &front.events);
	vesper_listen_release();
	clear_bit(EVENT_LISTENER, &front.events);
	vesper_pages_end();
	vesper_page_end(&front.ring);
}

static int allocate(struct xenbus_device *dev, bool listener)
{
	int err;

	vesper_pages_peer(dev->otherend_id);
	err = vesper_page_grant(&front.ring, false);
	if (err)
		return err;
	err = vesper_core_attach(front.core, vesper_page_bytes(&front.ring),
				 PAGE_SIZE);
	if (err)
		return err;
	err = vesper_text_open();
	if (err)
		return err;
	err = xenbus_alloc_evtchn(dev, &front.port);
	if (err)
		return err;
	err = bind_evtchn_to_irqhandler_lateeoi(front.port, handle_event, 0,
						"vesper", &front);
	if (err < 0) {
		xenbus_free_evtchn(dev, front.port);
		return err;
	}
	front.irq = err;
	return listener ? vesper_listen_open(dev) : 0;
}

static void connect(struct xenbus_device *dev)
{
	u32 version = xenbus_read_unsigned(dev->otherend, "version", 0);
	bool listener = vesper_listen_wanted(dev);
	struct vesper_connection connection;
	int err;

	if (!version) {
		xenbus_dev_error(dev, -EPROTO, "the backend names no protocol version");
		return;
	}
	cancel_work_sync(&close_work);
	mutex_lock(&front.lock);
	release();
	front.restart = false;
	err = allocate(dev, listener);
	if (err)
		release();
	connection = (struct vesper_connection){
		.ring = front.ring.ref,
		.port = front.port,
		.version = min(version, vesper_core_protocol()),
	};
	mutex_unlock(&front.lock);
	if (!err)
		err = vesper_publish_nodes(dev, &connection);
	if (err) {
		xenbus_dev_fatal(dev, err, "connecting to the host");
		return;
	}
	xenbus_switch_state(dev, XenbusStateInitialised);
}

static void start(struct xenbus_device *dev)
{
	int err;

	xenbus_switch_state(dev, XenbusStateConnected);
	mutex_lock(&front.lock);
	front.started = true;
	err = vesper_core_start(front.core);
	if (err < 0) {
		stop_device(vesper_core_reason(front.core));
	} else {
		err = vesper_listen_start();
		if (err < 0)
			stop_device(vesper_listen_reason());
	}
	/* An event that came before now was not acknowledged. */
	raise_event(EVENT_ANSWER);
	mutex_unlock(&front.lock);
	if (!err)
		pr_info("connected to domain %d\n", dev->otherend_id);
}

static void disconnect(struct xenbus_device *dev)
{
	cancel_work_sync(&close_work);
	if (dev->state != XenbusStateClosed)
		xenbus_switch_state(dev, XenbusStateClosing);
	mutex_lock(&front.lock);
	release();
	mutex_unlock(&front.lock);
	xenbus_frontend_closed(dev);
}

/* ---- xenbus ---- */

static void backend_connected(struct xenbus_device *dev)
{
	switch (dev->state) {
	case XenbusStateInitialised:
		start(dev);
		break;
	case XenbusStateInitialising:
		/* It believes in a connection of before. */
		front.restart = true;
		xenbus_switch_state(dev, XenbusStateClosed);
		break;
	default:
		break;
	}
}

static void backend_waits(struct xenbus_device *dev)
{
	/*
	 * When Initialised, the backend has yet to look. When Connected, it has
	 * forgotten the connection.
	 */
	if (dev->state != XenbusStateInitialised)
		connect(dev);
}

static void backend_closed(struct xenbus_device *dev)
{
	if (dev->state != XenbusStateClosed &&
	    dev->state != XenbusStateInitialising)
		disconnect(dev);
	if (front.restart) {
		front.restart = false;
		xenbus_switch_state(dev, XenbusStateInitialising);
	}
}

static void backend_changed(struct xenbus_device *dev, enum xenbus_state state)
{
	unsigned int noio = memalloc_noio_save();

	switch (state) {
	case XenbusStateInitWait:
		backend_waits(dev);
		break;
	case XenbusStateInitialised:
	case XenbusStateConnected:
		backend_connected(dev);
		break;
	case XenbusStateClosing:
		if (dev->state != XenbusStateInitialising)
			disconnect(dev);
		break;
	case XenbusStateClosed:
		backend_closed(dev);
		break;
	default:
		/* Also when its node vanished: that says nothing of the ring. */
		break;
	}
	memalloc_noio_restore(noio);
}

static int vesper_probe(struct xenbus_device *dev,
			const struct xenbus_device_id *id)
{
	int err = 0;

	mutex_lock(&front.lock);
	if (front.dev)
		err = -EBUSY;	/* one device per guest */
	else
		front.dev = dev;
	mutex_unlock(&front.lock);
	/* After an earlier frontend that has closed. */
	if (!err)
		xenbus_switch_state(dev, XenbusStateInitialising);
	return err;
}

static void vesper_remove_device(struct xenbus_device *dev)
{
	unsigned int noio = memalloc_noio_save();

	mutex_lock(&front.lock);
	release();
	front.dev = NULL;
	mutex_unlock(&front.lock);
	cancel_work_sync(&close_work);
	memalloc_noio_restore(noio);
}

/* After suspend or migration every grant and port is gone; xenbus begins at 1. */
static int vesper_resume(struct xenbus_device *dev)
{
	unsigned int noio = memalloc_noio_save();

	mutex_lock(&front.lock);
	release();
	mutex_unlock(&front.lock);
	memalloc_noio_restore(noio);
	return 0;
}

static const struct xenbus_device_id vesper_ids[] = {
	{ "vesper" },
	{ "" }
};

static struct xenbus_driver vesper_driver = {
	.name = "vesper",
	.ids = vesper_ids,
	.not_essential = true,
	.probe = vesper_probe,
	.remove = vesper_remove_device,
	.resume = vesper_resume,
	.otherend_changed = backend_changed,
};

/* The device that is bound, with a reference, or NULL. */
struct xenbus_device *vesper_bound_device(void)
{
	struct xenbus_device *dev;

	mutex_lock(&front.lock);
	dev = front.dev;
	if (dev)
		get_device(&dev->dev);
	mutex_unlock(&front.lock);
	return dev;
}

/* ---- life of the module ---- */

static bool driver_registered;

/*
 * From a work item: when the device is there and the backend does not answer,
 * xenbus waits here for up to 30 s, not_essential or not; boot must not.
 * Without an owner: xenbus would hold a reference to this module for as long as
 * the device is bound, and rmmod could not unload it. Unregistering waits for
 * every call.
 */
static void register_driver(struct work_struct *work)
{
	int err;

	vesper_nodes_init();
	err = __xenbus_register_frontend(&vesper_driver, NULL, NULL);
	if (err)
		pr_err("registering with xenbus: error %d\n", err);
	else
		driver_registered = true;
}
static DECLARE_WORK(register_work, register_driver);

int vesper_comm_init(void)
{
	struct task_struct *thread;
	int err;

	vesper_publish_init();
	err = vesper_listen_init();
	if (err)
		return err;
	front.core = kzalloc(vesper_core_size(), GFP_KERNEL);
	if (!front.core) {
		vesper_listen_exit();
		return -ENOMEM;
	}
	vesper_core_init(front.core);
	thread = kthread_run(comm_thread, NULL, "vesper_comm");
	if (IS_ERR(thread)) {
		kfree(front.core);
		vesper_listen_exit();
		return PTR_ERR(thread);
	}
	front.thread = thread;
	queue_work(system_long_wq, &register_work);
	return 0;
}

void vesper_comm_exit(void)
{
	flush_work(&register_work);
	vesper_nodes_exit();
	if (driver_registered)
		xenbus_unregister_driver(&vesper_driver);
	kthread_stop(front.thread);
	kfree(front.core);
	vesper_listen_exit();
}
