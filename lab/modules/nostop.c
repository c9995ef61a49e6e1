// SPDX-License-Identifier: GPL-2.0
/*
 * A probe module that goes without relay_export_stop(), and with close=0 without relay_close(), too; or that closes its
 * channel without it, and stays:
 *   echo 1 > /sys/module/nostop/parameters/now
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

static void close_channel(void)
{
	relay_close(chan);
	chan = NULL;
}

static int now_set(const char *value, const struct kernel_param *kp)
{
	close_channel();
	return 0;
}

static const struct kernel_param_ops now_ops = { .set = now_set };
module_param_cb(now, &now_ops, NULL, 0200);
MODULE_PARM_DESC(now, "closes the channel");

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
		close_channel();
	pr_info("vesper_nostop: %s\n", err ? "init failed" : "loaded");
	return err;
}

static void __exit nostop_exit(void)
{
	if (close)
		close_channel();
	pr_info("vesper_nostop: unloaded\n");
}

module_init(nostop_init);
module_exit(nostop_exit);
MODULE_DESCRIPTION("VESPER sample: forgets to end its export");
MODULE_LICENSE("GPL");
