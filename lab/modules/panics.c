// SPDX-License-Identifier: GPL-2.0
/*
 * A module whose init is the end of the guest. how=call: panic() with more
 * arguments than fit into registers, and text among them. how=probe: the same in a
 * kprobe's handler, where the kernel runs no other kprobe.
 */
#include <linux/kprobes.h>
#include <linux/module.h>

static char *how = "call";
module_param(how, charp, 0444);

static noinline void the_end(void)
{
	panic("vesper_panics: %s %d %u %lx %c %d %s %d\n", "one", -2, 3U, 0x4UL,
	      '5', 6, "seven", 8);
}

static noinline int vesper_panics_here(void)
{
	barrier();
	return -ENOENT;
}

static int in_a_probe(struct kprobe *kprobe, struct pt_regs *regs)
{
	the_end();
	return 0;
}

static int __init panics_init(void)
{
	static struct kprobe probe = {
		.addr = (kprobe_opcode_t *)vesper_panics_here,
		.pre_handler = in_a_probe,
	};
	int err;

	if (!strcmp(how, "call"))
		the_end();
	err = register_kprobe(&probe);
	return err ? err : vesper_panics_here();
}

module_init(panics_init);
MODULE_DESCRIPTION("VESPER sample: panic() with many arguments");
MODULE_LICENSE("GPL");
