// SPDX-License-Identifier: GPL-2.0
/*
 * A probe module that goes without relay_export_stop(), and with close=0 without relay_close(), too.
 */
#include <linux/debugfs.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/relay.h>
#include <vesper/relay.h>

static bool close = true;
module_param(close, bool, 0444);
MODULE_PARM_DESC(close, "closes the channel at least");
static bool fail;
module_param(fail, bool, 0444);
MODULE_PARM_DESC(fail, "init fails after the export");

static struct rchan *chan;

static struct dentry *create_file(const char *filename, struct dentry *parent, umode_t mode, struct rchan_buf *buf,
				  int *is_global)
{
	return debugfs_create_file(filename, mode, parent, buf, &relay_file_operations);
}

static int remove_file(struct dentry *dentry)
{
	debugfs_remove(dentry);
	return 0;
}

static const struct rchan_callbacks callbacks = {
	.subbuf_start = virtrelay_subbuf_start_callback,
	.create_buf_file = create_file,
	.remove_buf_file = remove_file,
};

static int __init nostop_init(void)
{
	static const char text[] = "nostop: these are all\n";
	int err;

	chan = relay_open("nostop", NULL, 4096, 4, &callbacks, NULL);
	if (!chan)
		return -ENOMEM;
	err = relay_export_start(chan, "nostop");
	if (!err) {
		relay_write(chan, text, sizeof(text) - 1);
		err = fail ? -EIO : 0;
	}
	if (err && close)
		relay_close(chan);
	pr_info("vesper_nostop: %s\n", err ? "init failed" : "loaded");
	return err;
}

static void __exit nostop_exit(void)
{
	if (close)
		relay_close(chan);
	pr_info("vesper_nostop: unloaded\n");
}

module_init(nostop_init);
module_exit(nostop_exit);
MODULE_DESCRIPTION("VESPER sample: forgets to end its export");
MODULE_LICENSE("GPL");
