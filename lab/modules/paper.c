// SPDX-License-Identifier: GPL-2.0
/*
 * A probe module by somebody who has read figure 5 of the paper (VESPER, OLS 2008) and relay's own documentation, and
 * nothing else. Each CPU writes numbered lines into its buffer: at load, and again with
 *   echo 100 > /sys/module/paper/parameters/write
 *
 *   NAME cpu 1 line 17 xxxxxxxxx
 */
#include <linux/cpu.h>
#include <linux/debugfs.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/percpu.h>
#include <linux/relay.h>
#include <linux/slab.h>
#include <linux/workqueue.h>
#include <vesper/relay.h>

static char *name = "paper";
module_param(name, charp, 0444);
MODULE_PARM_DESC(name, "what the channel is exported as");
static ulong subbuf_size = 4096;
module_param(subbuf_size, ulong, 0444);
static ulong n_subbufs = 8;
module_param(n_subbufs, ulong, 0444);
static bool global;
module_param(global, bool, 0444);
MODULE_PARM_DESC(global, "one buffer for all CPUs");
static uint count = 10;
module_param(count, uint, 0444);
MODULE_PARM_DESC(count, "lines of each CPU at load");
static uint bytes = 64;
module_param(bytes, uint, 0444);
MODULE_PARM_DESC(bytes, "length of a line, at least 64");

static struct rchan *chan;
static DEFINE_SPINLOCK(lock);	/* of a global buffer */
static DEFINE_PER_CPU(uint, lines);
static uint wanted;

static struct dentry *create_file(const char *filename, struct dentry *parent, umode_t mode, struct rchan_buf *buf,
				  int *is_global)
{
	*is_global = global;
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

static long write_lines(void *unused)
{
	char *line = kmalloc(bytes, GFP_KERNEL);
	unsigned long flags;
	uint i;

	for (i = 0; line && i < wanted; i++) {
		memset(line, 'x', bytes);
		line[scnprintf(line, bytes, "%s cpu %u line %u ", name, smp_processor_id(),
			       this_cpu_inc_return(lines))] = 'x';
		line[bytes - 1] = '\n';
		if (global)
			spin_lock_irqsave(&lock, flags);
		relay_write(chan, line, bytes);
		if (global)
			spin_unlock_irqrestore(&lock, flags);
	}
	kfree(line);
	return line ? 0 : -ENOMEM;
}

static int write_on_each_cpu(void)
{
	int cpu, err = 0;

	cpus_read_lock();
	for_each_online_cpu(cpu)
		err = work_on_cpu(cpu, write_lines, NULL) ?: err;
	cpus_read_unlock();
	return err;
}

static int write_set(const char *value, const struct kernel_param *kp)
{
	int err = kstrtouint(value, 0, &wanted);

	if (err)
		return err;
	return chan ? write_on_each_cpu() : -ENODEV;
}

static const struct kernel_param_ops write_ops = { .set = write_set };
module_param_cb(write, &write_ops, NULL, 0200);
MODULE_PARM_DESC(write, "has each CPU write so many lines");

static int __init paper_init(void)
{
	int err;

	if (bytes < 64)
		return -EINVAL;
	chan = relay_open(name, NULL, subbuf_size, n_subbufs, &callbacks, NULL);
	if (!chan)
		return -ENOMEM;
	err = relay_export_start(chan, name);
	if (err) {
		pr_err("vesper_paper: export %s: error %d\n", name, err);
		relay_close(chan);
		return err;
	}
	wanted = count;
	write_on_each_cpu();
	pr_info("vesper_paper: exported as %s\n", name);
	return 0;
}

static void __exit paper_exit(void)
{
	relay_export_stop(name);
	relay_close(chan);
	pr_info("vesper_paper: unloaded\n");
}

module_init(paper_init);
module_exit(paper_exit);
MODULE_DESCRIPTION("VESPER sample: the paper's API");
MODULE_LICENSE("GPL");
