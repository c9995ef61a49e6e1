// SPDX-License-Identifier: GPL-2.0
/*
 * A probe with a schema: dom0 shows its records with names and types, times on
 * its own clock, and how many were lost.
 */
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/relay.h>
#include <linux/sched.h>
#include <linux/sched/task.h>

#include <vesper/relay.h>

/* The number of an event is that of its line. */
enum { FORK = 1, FORK_OF_ROOT };

static const char schema[] =
	"fork pid:u32 comm:str flags:x64\n"
	"fork_of_root pid:u32 comm:str flags:x64\n";

static struct rchan *chan;

static int on_clone(struct kprobe *kprobe, struct pt_regs *regs)
{
	const struct kernel_clone_args *args =
		(void *)regs_get_kernel_argument(regs, 0);
	bool root = uid_eq(current_uid(), GLOBAL_ROOT_UID);
	u8 room[64];
	struct vesper_payload payload = VESPER_PAYLOAD(room);

	/* In the order of the schema. */
	vesper_put_u32(&payload, current->pid);
	vesper_put_str(&payload, current->comm);
	vesper_put_u64(&payload, args->flags);
	/* Root's are urgent: dom0 sees them now, the others within 100 ms. */
	vesper_record(chan, root ? FORK_OF_ROOT : FORK,
		      (root ? VESPER_URGENT : 0) | vesper_payload_flags(&payload),
		      room, payload.at - room);
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

static int __init my_probe_init(void)
{
	int err;

	chan = relay_open(NULL, NULL, 4096, 4, &callbacks, NULL);
	if (!chan)
		return -ENOMEM;
	err = vesper_export_start(chan, "my_probe", schema);
	if (err)
		goto close;
	err = register_kprobe(&probe);
	if (err) {
		pr_err("my_probe: no kprobe on %s (%d)\n", probe.symbol_name,
		       err);
		goto stop;
	}
	return 0;
stop:
	relay_export_stop("my_probe");
close:
	relay_close(chan);
	return err;
}

static void __exit my_probe_exit(void)
{
	unregister_kprobe(&probe);
	relay_export_stop("my_probe");
	relay_close(chan);
}

module_init(my_probe_init);
module_exit(my_probe_exit);
MODULE_DESCRIPTION("A probe of mine");
MODULE_LICENSE("GPL");
