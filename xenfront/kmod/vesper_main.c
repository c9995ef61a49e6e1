// SPDX-License-Identifier: GPL-2.0
/*
 * VESPER frontend: lets the host load kernel modules into this guest, without
 * the help of its user space. See docs/protocol.md for what passes between the
 * two domains.
 */
#include <linux/init.h>
#include <linux/module.h>
#include <xen/xen.h>

#include "vesper_exports.h"

static int __init vesper_front_init(void)
{
	int err;

	/* Dom0 has no host above it. */
	if (!xen_domain() || xen_initial_domain())
		return -ENODEV;
	err = vesper_lookup_init();
	if (err)
		return err;
	err = vesper_action_init();
	if (err)
		return err;
	err = vesper_words_init();
	if (err)
		goto no_words;
	err = vesper_leave_init();
	if (err)
		goto no_leave;
	err = vesper_hotplug_init();
	if (err)
		goto no_hotplug;
	err = vesper_comm_init();
	if (!err)
		return 0;
	vesper_hotplug_exit();
no_hotplug:
	vesper_leave_exit();
no_leave:
	vesper_words_exit();
no_words:
	vesper_action_exit();
	return err;
}

static void __exit vesper_front_exit(void)
{
	vesper_comm_exit();
	vesper_hotplug_exit();
	vesper_leave_exit();
	vesper_words_exit();
	vesper_action_exit();
}

module_init(vesper_front_init);
module_exit(vesper_front_exit);

MODULE_DESCRIPTION("VESPER: kernel probe modules loaded by the host");
MODULE_LICENSE("GPL");
MODULE_VERSION(VESPER_VERSION);
MODULE_ALIAS("xen:vesper");
