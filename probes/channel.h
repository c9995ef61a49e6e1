/* SPDX-License-Identifier: GPL-2.0 */
/*
 * VESPER probes: a relay channel that the host reads, without files in the guest.
 */
#ifndef VESPER_PROBES_CHANNEL_H
#define VESPER_PROBES_CHANNEL_H

#include <linux/module.h>
#include <linux/printk.h>

#include <vesper/relay.h>

#undef pr_fmt
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

struct probe_channel {
	const char *name;		/* of the export */
	const char *schema;
	size_t subbuf_size, n_subbufs;	/* for each CPU */
	struct rchan *chan;
};

/*
 * There are no files, but relay takes NULL for a failure. It does not look at what
 * is returned for a buffer without a name.
 */
static inline struct dentry *probe_no_file(const char *filename,
					   struct dentry *parent, umode_t mode,
					   struct rchan_buf *buf, int *is_global)
{
	return (struct dentry *)buf;
}

static inline int probe_no_file_removed(struct dentry *dentry)
{
	return 0;
}

#define PROBE_CALLBACKS(on_switch) {					\
	.subbuf_start = (on_switch),					\
	.create_buf_file = probe_no_file,				\
	.remove_buf_file = probe_no_file_removed }

static inline int probe_open(struct probe_channel *channel,
			     const struct rchan_callbacks *callbacks)
{
	int err;

	channel->chan = relay_open(NULL, NULL, channel->subbuf_size,
				   channel->n_subbufs, callbacks, NULL);
	if (!channel->chan) {
		pr_err("no channel of %zu times %zu bytes for each CPU\n",
		       channel->n_subbufs, channel->subbuf_size);
		return -ENOMEM;
	}
	err = vesper_export_start(channel->chan, channel->name, channel->schema);
	if (err) {
		pr_err("the channel %s cannot be exported (%d)\n",
		       channel->name, err);
		relay_close(channel->chan);
	}
	return err;
}

/* Nobody may write any more. */
static inline void probe_close(struct probe_channel *channel)
{
	relay_export_stop(channel->name);
	relay_close(channel->chan);
}

#endif
