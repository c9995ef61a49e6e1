// SPDX-License-Identifier: GPL-2.0
/*
 * VESPER frontend, Action part: loads and unloads modules.
 *
 * The work is done by a kernel thread, so it needs no process of the guest's
 * user space. The kernel's own system calls do it, so that signatures, lockdown,
 * vermagic and errors are the kernel's. They want the image at a user address:
 * the thread borrows an address space of its own for that, puts image and
 * arguments there and gives it back.
 *
 * Nothing here knows how the image came: vesper_image_append() gets its pages.
 */
#include <linux/fcntl.h>
#include <linux/kmsg_dump.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/version.h>
#include <linux/vmalloc.h>
#include <asm/mmu_context.h>
#include <asm/ptrace.h>

#include "vesper_front.h"

enum work { WORK_NONE, WORK_LOAD, WORK_UNLOAD };

static struct {
	/*
	 * Image, then arguments, then a zero, in pages that nobody else has. NULL:
	 * not there yet.
	 */
	struct page **pages;
	size_t image, args, filled;

	/* Written before work is set; read by the loader thread after. */
	char name[VESPER_NAME_BYTES];
	enum work work;
	wait_queue_head_t wait;
	struct task_struct *thread;	/* with a reference */

	/* Of the work under way: where its log begins, and when it began. */
	u64 log_from;
	u64 start;

	/* Written by the loader thread before vesper_work_done(). */
	s32 status;
	u64 nanos;
	char log[VESPER_LOG_BYTES];
	u32 log_bytes;
	bool log_truncated;
} action = {
	.wait = __WAIT_QUEUE_HEAD_INITIALIZER(action.wait),
};

/* ---- the image ---- */

int vesper_image_begin(u64 image_bytes, u32 args_bytes)
{
	u64 all = image_bytes + args_bytes + 1;

	if (action.pages || action.work != WORK_NONE)
		return -EBUSY;
	/*
	 * A load holds it three times in the end: as it came, the kernel's copy,
	 * and the module. Without this, the kernel's own __vmalloc() would have
	 * others killed for memory.
	 */
	if (all < image_bytes ||
	    PFN_UP(all) > max(si_mem_available(), 0L) / 3)
		return -ENOMEM;
	action.pages = kvcalloc(PFN_UP(all), sizeof(*action.pages),
				GFP_KERNEL | __GFP_NOWARN |
				__GFP_RETRY_MAYFAIL);
	if (!action.pages)
		return -ENOMEM;
	action.image = image_bytes;
	action.args = args_bytes;
	action.filled = 0;
	return 0;
}

static size_t image_pages(void)
{
	return PFN_UP(action.image + action.args + 1);
}

int vesper_image_append(struct page *page, size_t count)
{
	if (!action.pages || offset_in_page(action.filled) ||
	    count > action.image + action.args - action.filled)
		return -EINVAL;
	action.pages[PFN_DOWN(action.filled)] = page;
	action.filled += count;
	return 0;
}

void vesper_image_drop(void)
{
	size_t i;

	if (!action.pages)
		return;
	for (i = 0; i < image_pages(); i++)
		if (action.pages[i])
			__free_page(action.pages[i]);
	kvfree(action.pages);
	action.pages = NULL;
}

/* Puts the zero behind the arguments, on a page of its own if it needs one. */
static int image_close(void)
{
	size_t end = action.image + action.args;
	struct page **last = &action.pages[PFN_DOWN(end)];

	if (!*last)
		*last = alloc_page(GFP_KERNEL | __GFP_ZERO | __GFP_NOWARN |
				   __GFP_RETRY_MAYFAIL);
	if (!*last)
		return -ENOMEM;
	((u8 *)page_address(*last))[offset_in_page(end)] = 0;
	return 0;
}

/* ---- the kernel's log during the work ---- */

static u64 log_position(void)
{
	struct kmsg_dump_iter iter;

	kmsg_dump_rewind(&iter);
	return iter.next_seq;
}

/* Drops whole lines from the front until @room bytes are free. */
static void log_make_room(size_t room)
{
	while (sizeof(action.log) - action.log_bytes < room) {
		char *end = memchr(action.log, '\n', action.log_bytes);
		size_t drop = end ? end + 1 - action.log : action.log_bytes;

		action.log_bytes -= drop;
		memmove(action.log, action.log + drop, action.log_bytes);
		action.log_truncated = true;
	}
}

enum keep { KEEP_LAST, KEEP_FIRST };

/*
 * Takes the lines that were logged since action.log_from; when they are too
 * many, the last ones. Of an oops, the first ones: they say what it was.
 */
static void log_collect(enum keep keep)
{
	static const char more[] = "(more is in the guest's own log)\n";
	u64 from = action.log_from;
	struct kmsg_dump_iter iter;
	static char line[1024];
	u64 end = log_position();
	size_t bytes;

	action.log_bytes = 0;
	action.log_truncated = false;
	kmsg_dump_rewind(&iter);
	if (iter.cur_seq > from)
		action.log_truncated = true;	/* overwritten in the kernel */
	else
		iter.cur_seq = from;
	while (iter.cur_seq < end &&
	       kmsg_dump_get_line(&iter, false, line, sizeof(line), &bytes)) {
		if (keep == KEEP_FIRST && bytes + sizeof(more) - 1 >
		    sizeof(action.log) - action.log_bytes) {
			memcpy(action.log + action.log_bytes, more,
			       sizeof(more) - 1);
			action.log_bytes += sizeof(more) - 1;
			break;
		}
		log_make_room(bytes);
		memcpy(action.log + action.log_bytes, line, bytes);
		action.log_bytes += bytes;
	}
}

u32 vesper_log_read(const u8 **text, bool *truncated)
{
	*text = action.log;
	*truncated = action.log_truncated;
	return action.log_bytes;
}

/* ---- an address space for the system calls ---- */

static struct mm_struct *private_mm(void)
{
	struct rlimit stack = { .rlim_cur = 8 << 20, .rlim_max = RLIM_INFINITY };
	struct mm_struct *mm = vesper_kernel.mm_alloc();

	if (!mm)
		return NULL;
	vesper_kernel.pick_mmap_layout(mm, &stack);
	mm->task_size = TASK_SIZE_MAX;
	/* Xen PV takes only page tables that it knows: pins this one. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
	paravirt_activate_mm(current->active_mm, mm);
#else
	paravirt_enter_mmap(mm);
#endif
	return mm;
}

static unsigned long private_map(size_t bytes, unsigned long prot)
{
	return vm_mmap(NULL, 0, PAGE_ALIGN(bytes), prot,
		       MAP_ANONYMOUS | MAP_PRIVATE, 0);
}

/*
 * The image at a user address, to be read: its own pages, held as long as they
 * are mapped. A copy would cost a page fault for each, which on Xen PV takes
 * longer than all else here.
 */
static unsigned long map_image(void)
{
	unsigned long left = image_pages();
	struct vm_area_struct *vma;
	unsigned long at;
	int err = -ENOMEM;

	at = private_map(left * PAGE_SIZE, PROT_READ);
	if (IS_ERR_VALUE(at))
		return at;
	mmap_write_lock(current->mm);
	vma = find_vma(current->mm, at);
	if (vma)
		err = vm_insert_pages(vma, at, action.pages, &left);
	mmap_write_unlock(current->mm);
	return err ? err : at;
}

static long call_init_module(void)
{
	struct pt_regs regs = {};
	unsigned long at;
	int err;

	/* It may have become less since the image began to come. */
	if (2 * image_pages() > max(si_mem_available(), 0L))
		return -ENOMEM;
	err = image_close();
	if (err)
		return err;
	at = map_image();
	if (IS_ERR_VALUE(at))
		return at;
	regs.di = at;
	regs.si = action.image;
	regs.dx = at + action.image;
	return vesper_kernel.init_module(&regs);
}

static long call_delete_module(void)
{
	struct pt_regs regs = {};
	unsigned long at = private_map(sizeof(action.name),
				       PROT_READ | PROT_WRITE);

	if (IS_ERR_VALUE(at))
		return at;
	if (copy_to_user((void __user *)at, action.name, sizeof(action.name)))
		return -ENOMEM;
	regs.di = at;
	regs.si = O_NONBLOCK;
	return vesper_kernel.delete_module(&regs);
}

static long in_private_mm(long (*call)(void))
{
	struct mm_struct *mm = private_mm();
	long result;

	if (!mm)
		return -ENOMEM;
	kthread_use_mm(mm);
	result = call();
	kthread_unuse_mm(mm);
	mmput(mm);
	return result;
}

/* ---- the loader thread ---- */

static void do_work(enum work work)
{
	action.log_from = log_position();
	action.start = ktime_get_ns();
	action.status = in_private_mm(work == WORK_LOAD ? call_init_module :
							  call_delete_module);
	action.nanos = ktime_get_ns() - action.start;
	log_collect(KEEP_LAST);
	vesper_image_drop();
}

static int loader_thread(void *unused)
{
	for (;;) {
		enum work work;

		wait_event_idle(action.wait,
				smp_load_acquire(&action.work) != WORK_NONE ||
				kthread_should_stop());
		work = READ_ONCE(action.work);
		if (work == WORK_NONE)
			return 0;
		do_work(work);
		smp_store_release(&action.work, WORK_NONE);
		vesper_work_done();
		/* module_exit waits for this thread, so its code stays. */
		module_put(THIS_MODULE);
	}
}

/* Makes a loader thread that waits for wake_up_process(). */
static int make_thread(void)
{
	struct task_struct *thread;

	thread = kthread_create(loader_thread, NULL, "vesper_loader");
	if (IS_ERR(thread))
		return PTR_ERR(thread);
	/* Held, since an oops in a module's init ends it. */
	action.thread = get_task_struct(thread);
	return 0;
}

bool vesper_work_pending(void)
{
	return smp_load_acquire(&action.work) != WORK_NONE;
}

/*
 * The loader thread ends by itself only without work, so with work it was an
 * oops. What the module did until then stays done, and its name stays taken.
 */
void vesper_work_rescue(void)
{
	struct task_struct *dead = action.thread;

	if (!vesper_work_pending() || !(READ_ONCE(dead->flags) & PF_EXITING))
		return;
	if (make_thread())
		return;		/* no memory: again in a second */
	put_task_struct(dead);
	pr_err("loading or unloading %s was the end of the loader thread\n",
	       action.name);
	action.status = -EFAULT;
	action.nanos = ktime_get_ns() - action.start;
	log_collect(KEEP_FIRST);
	vesper_image_drop();
	smp_store_release(&action.work, WORK_NONE);
	wake_up_process(action.thread);
	vesper_work_done();
	module_put(THIS_MODULE);
}

void vesper_work_result(s32 *status, u64 *nanos)
{
	*status = action.status;
	*nanos = action.nanos;
}

/* While work runs the module is in use: rmmod is refused. */
static int start_work(enum work work, const char *name)
{
	if (action.work != WORK_NONE)
		return -EBUSY;
	if (!try_module_get(THIS_MODULE))
		return -ESHUTDOWN;
	strscpy(action.name, name, sizeof(action.name));
	smp_store_release(&action.work, work);
	wake_up(&action.wait);
	return 0;
}

/* Such a module is being loaded by the guest itself, or died in its init. */
static bool module_coming(const char *name)
{
	struct module *module;
	bool coming;

	preempt_disable();
	module = vesper_kernel.find_module(name);
	coming = module && module->state == MODULE_STATE_COMING;
	preempt_enable();
	return coming;
}

int vesper_load_start(const char *name)
{
	if (!action.pages || action.filled != action.image + action.args)
		return -EINVAL;
	/* init_module() would wait for it: for ever, when it died. */
	if (module_coming(name))
		return -EBUSY;
	return start_work(WORK_LOAD, name);
}

int vesper_unload_start(const char *name)
{
	return start_work(WORK_UNLOAD, name);
}

/*
 * The checks of delete_module(), in its order and with its errors. A module
 * that gets busy between the two steps is refused by delete_module() itself.
 */
int vesper_unload_check(const char *name)
{
	struct module *module;
	int err = 0;

	preempt_disable();
	module = vesper_kernel.find_module(name);
	if (!module)
		err = -ENOENT;
	else if (module == THIS_MODULE)
		err = -EPERM;
	else if (!list_empty(&module->source_list))
		err = -EWOULDBLOCK;
	else if (module->state != MODULE_STATE_LIVE)
		err = -EBUSY;
	else if (module->init && !module->exit)
		err = -EBUSY;
	else if (module_refcount(module) != 0)
		err = -EWOULDBLOCK;
	preempt_enable();
	return err;
}

bool vesper_module_present(const char *name)
{
	bool present;

	preempt_disable();
	present = vesper_kernel.find_module(name) != NULL;
	preempt_enable();
	return present;
}

int vesper_action_init(void)
{
	int err = make_thread();

	if (!err)
		wake_up_process(action.thread);
	return err;
}

void vesper_action_exit(void)
{
	kthread_stop(action.thread);
	put_task_struct(action.thread);
	vesper_image_drop();
}
