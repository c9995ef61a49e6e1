// SPDX-License-Identifier: GPL-2.0
/*
 * VESPER frontend, Action part: exports, from start to stop.
 *
 *   start   takes references on the buffers and stands in for the channel's
 *           callbacks; the communication thread announces it
 *   leave   (vesper_leave.c) no switch and no record any more, then the last
 *           positions; the host takes what it has not read and lets go; the
 *           callbacks are the channel's own again
 *   end     when the host has let go (or is gone): the grants end, and with the
 *           last reference the memory goes
 */
#include <linux/cpu.h>
#include <linux/ctype.h>
#include <linux/err.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/rculist.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "vesper_exports.h"

LIST_HEAD(vesper_exports_live);
struct vesper_export *vesper_exports[VESPER_SLOTS];

static DEFINE_MUTEX(lock);
static u32 last_number;
/* What the host takes; until it has said so, what it takes if it was not told otherwise. */
static u32 quota_pages = 4096, quota_exports = 16;

unsigned int vesper_exports_lock(void)
{
	unsigned int noio = memalloc_noio_save();

	mutex_lock(&lock);
	return noio;
}

void vesper_exports_unlock(unsigned int noio)
{
	mutex_unlock(&lock);
	memalloc_noio_restore(noio);
}

void vesper_exports_quota(u32 pages, u32 exports)
{
	unsigned int noio = vesper_exports_lock();

	quota_pages = pages;
	quota_exports = exports;
	vesper_exports_unlock(noio);
}

/* ---- an export as such ---- */

static void free_export(struct kref *kref)
{
	struct vesper_export *export = container_of(kref, struct vesper_export, kref);
	struct vesper_part *part, *next;

	list_for_each_entry_safe(part, next, &export->parts, list)
		vesper_part_free(part);
	kfree(export);
}

void vesper_export_put(struct vesper_export *export)
{
	kref_put(&export->kref, free_export);
}

static bool good_name(const char *name)
{
	size_t bytes = name ? strnlen(name, VESPER_EXPORT_NAME + 1) : 0;
	size_t i;

	for (i = 0; i < bytes; i++)
		if (!isascii(name[i]) ||
		    !(isalnum(name[i]) || name[i] == '_' || name[i] == '-'))
			return false;
	return bytes && bytes <= VESPER_EXPORT_NAME;
}

static bool good_channel(const struct rchan *chan)
{
	if (IS_ERR_OR_NULL(chan) || chan->version != RELAYFS_CHANNEL_VERSION)
		return false;
	if (!chan->n_subbufs || chan->n_subbufs > VESPER_SUBBUFS ||
	    !chan->subbuf_size ||
	    chan->subbuf_size > VESPER_BUFFER_BYTES / chan->n_subbufs)
		return false;
	/* Overwriting its only sub-buffer, it would have nothing to read. */
	return chan->n_subbufs > 1 || !chan->cb->subbuf_start ||
	       chan->cb->subbuf_start == virtrelay_subbuf_start_callback;
}

/* Who exports: who called, or, when that was a jump, whose callbacks they are. */
static struct module *owner_of(unsigned long caller, const struct rchan *chan)
{
	struct module *module = vesper_kernel.module_address(caller);

	return module ?: vesper_kernel.module_address((unsigned long)chan->cb);
}

/* With the lock held. */
static struct vesper_export *find(const char *name)
{
	struct vesper_export *export;

	list_for_each_entry(export, &vesper_exports_live, live)
		if (!strcmp(export->name, name))
			return export;
	return NULL;
}

/* Whether the host takes so many more. With the lock held. */
static bool within_quota(u32 pages, u32 exports)
{
	u64 all_pages = pages;
	u32 i;

	for (i = 0; i < VESPER_SLOTS; i++) {
		struct vesper_part *part;

		if (!vesper_exports[i])
			continue;
		exports++;
		list_for_each_entry(part, &vesper_exports[i]->parts, list)
			all_pages += vesper_data_pages(part->export, part->buffers);
	}
	return all_pages <= quota_pages && exports <= quota_exports;
}

static u32 free_slot(void)
{
	u32 slot = 0;

	while (slot < VESPER_SLOTS && vesper_exports[slot])
		slot++;
	return slot;
}

/* ---- start ---- */

/* The channel's buffers; how many. CPUs neither come nor go. */
static u32 collect(const struct rchan *chan, struct rchan_buf **buf)
{
	unsigned int cpu;
	u32 count = 0;

	if (chan->is_global) {
		buf[0] = *per_cpu_ptr(chan->buf, 0);
		return buf[0] ? 1 : 0;
	}
	for_each_possible_cpu(cpu) {
		buf[count] = *per_cpu_ptr(chan->buf, cpu);
		if (buf[count] && ++count > VESPER_BUFFERS)
			return 0;
	}
	return count;
}

static int add_part(struct vesper_export *export, struct rchan_buf **buf,
		    u32 buffers, const char *schema)
{
	struct vesper_part *part = vesper_part_make(export, buf, buffers, schema);
	u32 i;

	if (IS_ERR(part))
		return PTR_ERR(part);
	list_add_tail(&part->list, &export->parts);
	for (i = 0; i < buffers; i++)
		smp_store_release(&export->buffer[buf[i]->cpu], &part->buffer[i]);
	return 0;
}

static struct vesper_export *make(struct rchan *chan, const char *name,
				  unsigned long caller)
{
	struct vesper_export *export;

	export = kzalloc(struct_size(export, buffer, nr_cpu_ids), GFP_KERNEL);
	if (!export)
		return NULL;
	INIT_LIST_HEAD(&export->parts);
	kref_init(&export->kref);
	init_completion(&export->answered);
	init_completion(&export->ended);
	strscpy(export->name, name, sizeof(export->name));
	preempt_disable();
	export->module = owner_of(caller, chan);
	if (export->module)
		strscpy(export->owner, export->module->name, sizeof(export->owner));
	preempt_enable();
	export->chan = chan;
	export->subbuf_size = chan->subbuf_size;
	export->subbufs = chan->n_subbufs;
	export->original = chan->cb;
	export->cb = *chan->cb;
	export->cb.subbuf_start = vesper_subbuf_start;
	return export;
}

/* With the lock held. */
static int add(struct vesper_export *export, const char *schema)
{
	struct rchan *chan = export->chan;
	u32 slot = free_slot();
	struct rchan_buf **buf;
	u32 buffers;
	int err;

	buf = kcalloc(nr_cpu_ids, sizeof(*buf), GFP_KERNEL);
	if (!buf)
		return -ENOMEM;
	buffers = collect(chan, buf);
	if (!buffers)
		err = -EINVAL;
	else if (find(export->name) || chan->cb->subbuf_start == vesper_subbuf_start)
		err = -EEXIST;
	else if (slot == VESPER_SLOTS ||
		 !within_quota(vesper_data_pages(export, buffers), 1))
		err = -ENOSPC;
	else
		err = add_part(export, buf, buffers, schema);
	kfree(buf);
	if (err)
		return err;
	export->slot = slot;
	export->number = ++last_number;
	kref_get(&export->kref);
	vesper_exports[slot] = export;
	list_add_tail_rcu(&export->live, &vesper_exports_live);
	smp_store_release(&chan->cb, &export->cb);
	return 0;
}

/* What the host says of it; 0 when it says nothing now. */
static int announce(struct vesper_export *export)
{
	unsigned int noio = vesper_exports_lock();
	int status;

	export->tell = true;
	vesper_exports_unlock(noio);
	vesper_exports_changed();
	if (vesper_listen_connected())
		wait_for_completion_timeout(&export->answered, HZ);
	noio = vesper_exports_lock();
	status = export->status;
	vesper_exports_unlock(noio);
	return status;
}

static int start(struct rchan *chan, const char *name, const char *schema,
		 unsigned long caller)
{
	struct vesper_export *export;
	unsigned int noio;
	int err;

	if (!good_name(name) || !good_channel(chan) ||
	    (schema && strnlen(schema, VESPER_SCHEMA_BYTES + 1) > VESPER_SCHEMA_BYTES))
		return -EINVAL;
	cpus_read_lock();
	noio = vesper_exports_lock();
	export = make(chan, name, caller);
	err = export ? add(export, schema) : -ENOMEM;
	vesper_exports_unlock(noio);
	if (!err) {
		vesper_publish_first(export);
		vesper_ticks_sooner();
	}
	cpus_read_unlock();
	if (err) {
		if (export)
			vesper_export_put(export);
		return err;
	}
	kref_get(&export->kref);
	err = announce(export);
	if (err)
		vesper_export_leave(export, HZ);
	vesper_export_put(export);
	return err;
}

int relay_export_start(struct rchan *chan, const char *name)
{
	return start(chan, name, NULL, _RET_IP_);
}
EXPORT_SYMBOL_GPL(relay_export_start);

int vesper_export_start(struct rchan *chan, const char *name, const char *schema)
{
	return start(chan, name, schema, _RET_IP_);
}
EXPORT_SYMBOL_GPL(vesper_export_start);

/* The buffers that relay has just made for it. */
void vesper_relay_cpu_up(unsigned int cpu)
{
	unsigned int noio = vesper_exports_lock();
	struct vesper_export *export;

	list_for_each_entry(export, &vesper_exports_live, live) {
		struct rchan_buf *buf = *per_cpu_ptr(export->chan->buf, cpu);
		int err = -ENOSPC;

		if (export->chan->is_global || !buf || export->buffer[cpu])
			continue;
		if (within_quota(vesper_data_pages(export, 1), 0))
			err = add_part(export, &buf, 1, NULL);
		if (err)
			pr_warn("export %s: the buffer of CPU %u cannot be read by the host: error %d\n",
				export->name, cpu, err);
		else
			export->tell = true;
	}
	vesper_exports_unlock(noio);
	vesper_exports_changed();
}

/* ---- stop ---- */

void relay_export_stop(const char *name)
{
	struct vesper_export *export;
	unsigned int noio;

	if (!good_name(name))
		return;
	noio = vesper_exports_lock();
	export = find(name);
	if (export)
		kref_get(&export->kref);
	vesper_exports_unlock(noio);
	if (!export)
		return;
	vesper_export_leave(export, HZ);
	vesper_export_put(export);
}
EXPORT_SYMBOL_GPL(relay_export_stop);

/* ---- what the communication thread is to tell the host ---- */

enum vesper_task vesper_exports_task(u32 *slot, u32 *number)
{
	enum vesper_task task = VESPER_TASK_NONE;
	unsigned int noio = vesper_exports_lock();
	u32 i;

	for (i = 0; i < VESPER_SLOTS && task == VESPER_TASK_NONE; i++) {
		struct vesper_export *export = vesper_exports[i];

		if (!export)
			continue;
		*slot = i;
		*number = export->number;
		if (export->tell) {
			export->tell = false;
			task = VESPER_TASK_EXPORT;
		} else if (export->unexport) {
			export->unexport = false;
			task = VESPER_TASK_UNEXPORT;
		}
	}
	vesper_exports_unlock(noio);
	return task;
}
