// SPDX-License-Identifier: GPL-2.0
/*
 * VESPER frontend: kernel functions that are not exported to modules.
 *
 * kallsyms_lookup_name() is not exported since 5.7. A kprobe takes a name and
 * tells the address, so one kprobe on it gives the rest.
 */
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/kprobes.h>
#include <asm/cpufeature.h>
#ifdef CONFIG_X86_KERNEL_IBT
#include <asm/ibt.h>
#endif

#include "vesper_front.h"

struct vesper_symbols vesper_kernel;

static const struct {
	const char *name;
	void **to;
} wanted[] = {
	{ "mm_alloc", (void **)&vesper_kernel.mm_alloc },
	{ "arch_pick_mmap_layout", (void **)&vesper_kernel.pick_mmap_layout },
	{ "__x64_sys_init_module", (void **)&vesper_kernel.init_module },
	{ "__x64_sys_delete_module", (void **)&vesper_kernel.delete_module },
	{ "find_module", (void **)&vesper_kernel.find_module },
	{ "__module_address", (void **)&vesper_kernel.module_address },
};

static void *find_lookup(void)
{
	struct kprobe probe = { .symbol_name = "kallsyms_lookup_name" };
	u8 *entry;
	int err = register_kprobe(&probe);

	if (err) {
		pr_err("no kprobe on kallsyms_lookup_name (%d): the kernel needs CONFIG_KPROBES and CONFIG_KALLSYMS\n",
		       err);
		return NULL;
	}
	entry = (u8 *)probe.addr;
	unregister_kprobe(&probe);
#ifdef CONFIG_X86_KERNEL_IBT
	/* A kprobe sits behind the ENDBR of the function; a call must not. */
	if (*(u32 *)(entry - 4) == gen_endbr())
		entry -= 4;
#endif
	return entry;
}

int vesper_lookup_init(void)
{
	unsigned long (*lookup)(const char *name);
	int err = 0;
	size_t i;

	/*
	 * Such a kernel takes the ENDBR away from functions that it calls only
	 * directly; a call by address would then be its end.
	 */
	if (cpu_feature_enabled(X86_FEATURE_IBT)) {
		pr_err("this kernel enforces indirect branch tracking: modules cannot be loaded for the host (ibt=off on its command line)\n");
		return -ENODEV;
	}
	lookup = find_lookup();
	if (!lookup)
		return -ENOENT;
	for (i = 0; i < ARRAY_SIZE(wanted); i++) {
		*wanted[i].to = (void *)lookup(wanted[i].name);
		if (!*wanted[i].to) {
			pr_err("this kernel has no function %s: modules cannot be loaded for the host\n",
			       wanted[i].name);
			err = -ENOENT;
		}
	}
	return err;
}
