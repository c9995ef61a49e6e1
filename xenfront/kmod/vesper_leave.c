// SPDX-License-Identifier: GPL-2.0
/*
 * VESPER frontend, Action part: how an export leaves.
 *
 * It waits for a second at most. An export whose host does not answer ends later,
 * without its owner: it has all it needs.
 *
 * An owner that goes without relay_export_stop() is noticed by its closed
 * channel, or, when it forgot that too, as a module that goes away.
 */
#include <linux/cpu.h>
#include <linux/module.h>
#include <linux/rculist.h>

#include "vesper_exports.h"

void vesper_export_leave(struct vesper_export *export, unsigned long patience)
{
	unsigned int noio = vesper_exports_lock();
	bool mine = !export->leaving;

	if (mine) {
		WRITE_ONCE(export->leaving, true);
		list_del_rcu(&export->live);
	}
	vesper_exports_unlock(noio);
	if (!mine)
		return;
	/* Every probe and timer that did not see it: positions move no more. */
	synchronize_rcu_expedited();
	vesper_publish_final(export);
	noio = vesper_exports_lock();
	export->unexport = true;
	vesper_exports_unlock(noio);
	vesper_exports_changed();
	if (patience)
		wait_for_completion_timeout(&export->ended, patience);
	/* Relay calls the callbacks for a CPU that comes, too. */
	cpus_read_lock();
	WRITE_ONCE(export->chan->cb, export->original);
	cpus_read_unlock();
	synchronize_rcu_expedited();
	vesper_export_put(export);
}

/* ---- owners that forgot ---- */

/*
 * Whether relay_close() is through. It leaves each buffer with our reference
 * only, and the channel with those of the buffers.
 */
static bool closed(const struct vesper_export *export)
{
	struct vesper_part *part;
	u32 buffers = 0, i;

	list_for_each_entry(part, &export->parts, list) {
		for (i = 0; i < part->buffers; i++)
			if (!READ_ONCE(part->buffer[i].buf->finalized))
				return false;
		buffers += part->buffers;
	}
	return kref_read(&export->chan->kref) <= buffers;
}

/* The first that is closed or, with a module, is that module's; with a reference. */
static struct vesper_export *find_left(const struct module *module)
{
	unsigned int noio = vesper_exports_lock();
	struct vesper_export *export, *found = NULL;

	list_for_each_entry(export, &vesper_exports_live, live) {
		if (module ? export->module == module : closed(export)) {
			found = export;
			kref_get(&found->kref);
			break;
		}
	}
	vesper_exports_unlock(noio);
	return found;
}

static void let_leave(const struct module *module)
{
	struct vesper_export *export;

	while ((export = find_left(module))) {
		pr_warn("%s%sexport %s ends without relay_export_stop()\n",
			export->owner, *export->owner ? ": " : "", export->name);
		vesper_export_leave(export, 0);
		vesper_export_put(export);
	}
}

void vesper_exports_tidy(void)
{
	let_leave(NULL);
}

static int module_changed(struct notifier_block *block, unsigned long state,
			  void *module)
{
	/* Its exit function is done, its memory is still there. */
	if (state == MODULE_STATE_GOING)
		let_leave(module);
	return NOTIFY_DONE;
}

static struct notifier_block module_notifier = {
	.notifier_call = module_changed,
};

int vesper_leave_init(void)
{
	return register_module_notifier(&module_notifier);
}

/* Who exports uses this module, so what is left has only to end. */
void vesper_leave_exit(void)
{
	u32 i;

	unregister_module_notifier(&module_notifier);
	for (i = 0; i < VESPER_SLOTS; i++)
		vesper_export_ended(i);
}
