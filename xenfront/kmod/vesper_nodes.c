// SPDX-License-Identifier: GPL-2.0
/*
 * VESPER frontend, Communication part: a device that lost its nodes.
 *
 * After a migration the toolstack may have made no nodes for this device when
 * xenbus resumes it. Xenbus then drops its watch of the backend and never looks
 * again, and takes the device for present when nodes do appear. Such a device
 * has no "otherend"; it is unregistered here, and xenbus finds it anew.
 *
 * Only the xenwatch thread may do that (xenbus itself does it there). It must
 * not wait for the device's lock, whose holder may wait for that thread.
 */
#include <linux/device.h>
#include <linux/workqueue.h>
#include <xen/xenbus.h>

#include "vesper_front.h"

static void look_again(struct work_struct *work);
static DECLARE_DELAYED_WORK(look_again_work, look_again);

enum fit { FIT, LOST, IN_USE };

static enum fit device_fit(struct xenbus_device *dev)
{
	enum fit fit;

	if (!device_trylock(&dev->dev))
		return IN_USE;
	fit = dev->otherend ? FIT : LOST;
	device_unlock(&dev->dev);
	return fit;
}

static void nodes_changed(struct xenbus_watch *watch, const char *path,
			  const char *token)
{
	struct xenbus_device *dev = vesper_bound_device();

	if (!dev)
		return;
	switch (device_fit(dev)) {
	case FIT:
		break;
	case IN_USE:
		schedule_delayed_work(&look_again_work, HZ);
		break;
	case LOST:
		pr_info("the device lost its nodes, waiting for new ones\n");
		device_unregister(&dev->dev);
		/* Nodes that are there already: have xenbus look at them. */
		if (xenbus_exists(XBT_NIL, dev->nodename, "state"))
			xenbus_printf(XBT_NIL, dev->nodename, "state", "%d",
				      XenbusStateInitialising);
		break;
	}
	put_device(&dev->dev);
}

/* Runs outside of the xenwatch thread: makes it look, by a change that it sees. */
static void look_again(struct work_struct *work)
{
	struct xenbus_device *dev = vesper_bound_device();
	enum fit fit;

	if (!dev)
		return;
	fit = device_fit(dev);
	if (fit == IN_USE)
		schedule_delayed_work(&look_again_work, HZ);
	else if (fit == LOST && xenbus_exists(XBT_NIL, dev->nodename, "state"))
		xenbus_printf(XBT_NIL, dev->nodename, "state", "%d",
			      XenbusStateInitialising);
	put_device(&dev->dev);
}

static struct xenbus_watch nodes_watch = {
	.node = "device/vesper",
	.callback = nodes_changed,
};

static bool watch_registered;

void vesper_nodes_init(void)
{
	int err = register_xenbus_watch(&nodes_watch);

	if (err)
		pr_warn("watching %s: error %d\n", nodes_watch.node, err);
	else
		watch_registered = true;
}

void vesper_nodes_exit(void)
{
	if (watch_registered)
		unregister_xenbus_watch(&nodes_watch);
	cancel_delayed_work_sync(&look_again_work);
}
