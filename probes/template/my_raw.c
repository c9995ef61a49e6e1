// SPDX-License-Identifier: GPL-2.0
/*
 * A probe as the VESPER paper has it (OLS 2008, figure 5): a relay channel, a
 * kprobe that writes into it, and the two calls that export it. What the bytes
 * mean is between this module and who reads them.
 */
#include <linux/kprobes.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/relay.h>
#include <linux/sched.h>

#include <vesper/relay.h>

/* All sub-buffers hold a whole number of them. */
struct fork {
	u64 time;		/* ns, the guest's monotonic clock */
	u32 pid;
	u32 cpu;
	char comm[TASK_COMM_LEN];
};

static struct rchan *chan;

static int on_clone(struct kprobe *kprobe, struct pt_regs *regs)
{
	struct fork fork = {
		.time = ktime_get_mono_fast_ns(),
		.pid = current->pid,
		.cpu = raw_smp_processor_id(),
	};

	memcpy(fork.comm, current->comm, sizeof(fork.comm));
	relay_write(chan, &fork, sizeof(fork));
	return 0;
}

static struct kprobe probe = {
	.symbol_name = "kernel_clone",
	.pre_handler = on_clone,
};

/*
 * Without files in the guest; both functions are mandatory all the same. NULL would
 * be a failure; what is returned for a buffer without a name is not used.
 */
static struct dentry *no_file(const char *name, struct dentry *parent,
			      umode_t mode, struct rchan_buf *buf, int *is_global)
{
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

static int __init my_raw_init(void)
{
	int err;

	chan = relay_open(NULL, NULL, 4096, 4, &callbacks, NULL);
	if (!chan)
		return -ENOMEM;
	err = relay_export_start(chan, "my_raw");
	if (err)
		goto close;
	err = register_kprobe(&probe);
	if (err) {
		pr_err("my_raw: no kprobe on %s (%d)\n", probe.symbol_name, err);
		goto stop;
	}
	return 0;
stop:
	relay_export_stop("my_raw");
close:
	relay_close(chan);
	return err;
}

static void __exit my_raw_exit(void)
{
	/* No handler runs any more when this returns. */
	unregister_kprobe(&probe);
	relay_export_stop("my_raw");
	relay_close(chan);
}

module_init(my_raw_init);
module_exit(my_raw_exit);
MODULE_DESCRIPTION("A probe of mine, raw");
MODULE_LICENSE("GPL");
