// SPDX-License-Identifier: GPL-2.0
/*
 * A module that is in use for as long as its parameter "busy" is 1, so that its unload must be refused:
 *   echo 0 > /sys/module/busy/parameters/busy
 */
#include <linux/module.h>
#include <linux/moduleparam.h>

static bool busy;

static int busy_set(const char *value, const struct kernel_param *kp)
{
	bool wanted;
	int err = kstrtobool(value, &wanted);

	if (err || wanted == busy)
		return err;
	if (wanted)
		__module_get(THIS_MODULE);
	else
		module_put(THIS_MODULE);
	busy = wanted;
	return 0;
}

static const struct kernel_param_ops busy_ops = {
	.set = busy_set,
	.get = param_get_bool,
};
module_param_cb(busy, &busy_ops, &busy, 0644);
MODULE_PARM_DESC(busy, "while 1 the module is in use");

static int __init busy_init(void)
{
	if (!busy)
		busy_set("1", NULL);
	pr_info("vesper_busy: loaded and in use\n");
	return 0;
}

static void __exit busy_exit(void)
{
	pr_info("vesper_busy: unloaded\n");
}

module_init(busy_init);
module_exit(busy_exit);
MODULE_DESCRIPTION("VESPER sample: in use until told otherwise");
MODULE_LICENSE("GPL");
