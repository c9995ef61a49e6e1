/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Callbacks of a relay channel without files in the guest, and with no overwriting.
 */
#ifndef VESPER_LAB_NO_FILES_H
#define VESPER_LAB_NO_FILES_H

#include <linux/relay.h>
#include <vesper/relay.h>

static struct dentry *no_file(const char *filename, struct dentry *parent,
			      umode_t mode, struct rchan_buf *buf,
			      int *is_global)
{
	/* relay takes NULL for a failure, and does not look at what it gets. */
	return (struct dentry *)buf;
}

static int no_file_removed(struct dentry *dentry)
{
	return 0;
}

static const struct rchan_callbacks callbacks = {
	.subbuf_start = virtrelay_subbuf_start_callback,
	.create_buf_file = no_file,
	.remove_buf_file = no_file_removed,
};

#endif
