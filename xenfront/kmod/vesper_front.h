/* SPDX-License-Identifier: GPL-2.0 */
/*
 * VESPER frontend: what the parts of the module say to each other.
 *
 *   vesper_comm.c    Communication part: xenbus, event channel, its thread
 *   vesper_nodes.c   Communication part: a device that lost its nodes
 *   vesper_pages.c   Communication part: pages that are granted to the host
 *   vesper_action.c  Action part: loads and unloads modules; knows no Xen
 *   vesper_lookup.c  kernel functions that are not exported
 *   core.o           protocol and state machine, in Rust (crate vesper-xenfront)
 *
 * The core is called by one thread at a time (front.lock in vesper_comm.c); the
 * functions that it calls back run in that same call.
 */
#ifndef VESPER_FRONT_H
#define VESPER_FRONT_H

#include <linux/types.h>

#undef pr_fmt
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

/* Names and sizes of the wire, from ring/src/wire/; the core checks them. */
#define VESPER_NAME_BYTES	56
#define VESPER_WINDOW_PAGES	256
#define VESPER_LOG_BYTES	4000

/* ---- core.o: called by the Communication part ---- */

struct vesper_core;

/* Highest protocol version that the core speaks. */
u32 vesper_core_protocol(void);
/* Bytes that the core's state takes; its alignment is at most 8. */
size_t vesper_core_size(void);
void vesper_core_init(struct vesper_core *core);
/* Initialises the shared ring page; @ring must stay until detach. */
int vesper_core_attach(struct vesper_core *core, void *ring, size_t bytes);
/* The backend is connected: asks the first question. */
int vesper_core_start(struct vesper_core *core);
/* The connection is gone. A load that runs goes on, its result is kept. */
void vesper_core_detach(struct vesper_core *core);
/* Takes answers. 0: there was none; 1: took all; 2: call again; < 0: the peer broke the protocol. */
int vesper_core_run(struct vesper_core *core);
/* The loader thread is done. < 0: the peer broke the protocol. */
int vesper_core_finished(struct vesper_core *core, s32 status, u64 nanos);
/* Why the last call failed: a text that lives for ever, closed by a zero. */
const char *vesper_core_reason(const struct vesper_core *core);

/* ---- Communication part: called by the core ---- */

void vesper_kick(void);
/* Grants @pages zeroed pages, writable, and a directory of them: its grant. */
int vesper_window_open(u32 pages, u32 *directory);
/* Appends the first @bytes bytes of the window to the image. */
int vesper_window_append(u32 bytes);
void vesper_window_close(void);
/* Replaces the text that the host may read: its grant. */
int vesper_text_write(const u8 *text, u32 bytes, u32 *ref);

/* ---- Action part: called by the core ---- */

int vesper_image_begin(u64 image_bytes, u32 args_bytes);
void vesper_image_drop(void);
/* Hand the work to the loader thread; vesper_work_done() follows on success. */
int vesper_load_start(const char *name);
int vesper_unload_start(const char *name);
/* 0 when the module could be unloaded now. */
int vesper_unload_check(const char *name);
bool vesper_module_present(const char *name);
/* Kernel log of the last piece of work. */
u32 vesper_log_read(const u8 **text, bool *truncated);

/* ---- between the parts ---- */

/* Communication to Action: more bytes of the image. */
int vesper_image_append(const void *bytes, size_t count);
/* Action to Communication, from the loader thread: collect the result. */
void vesper_work_done(void);
void vesper_work_result(s32 *status, u64 *nanos);
/* Whether vesper_work_done() is still to come. */
bool vesper_work_pending(void);
/*
 * When a module's init or exit killed the loader thread (an oops): -EFAULT with
 * the oops as the log, and a new thread. By the thread that starts the work.
 */
void vesper_work_rescue(void);

int vesper_action_init(void);
void vesper_action_exit(void);
int vesper_comm_init(void);
void vesper_comm_exit(void);

/* ---- the device and its nodes ---- */

struct xenbus_device;
/* The device that is bound, with a reference, or NULL. */
struct xenbus_device *vesper_bound_device(void);
void vesper_nodes_init(void);
void vesper_nodes_exit(void);

/* ---- pages that the host may use ---- */

struct page;
/* A whole page of its own, zeroed before it is granted. */
struct vesper_page {
	struct page *page;	/* NULL: not granted */
	u32 ref;
};

int vesper_page_grant(struct vesper_page *page, bool readonly);
void vesper_page_end(struct vesper_page *page);
void *vesper_page_bytes(const struct vesper_page *page);
/* Which domain the pages are granted to; set before the first grant. */
void vesper_pages_peer(u16 domid);
/* Grants the text page. */
int vesper_text_open(void);
/* Ends the grants of the window and of the text page. */
void vesper_pages_end(void);

/* ---- kernel functions that are not exported ---- */

struct mm_struct;
struct module;
struct pt_regs;
struct rlimit;

struct vesper_symbols {
	struct mm_struct *(*mm_alloc)(void);
	void (*pick_mmap_layout)(struct mm_struct *mm, struct rlimit *stack);
	long (*init_module)(const struct pt_regs *regs);
	long (*delete_module)(const struct pt_regs *regs);
	struct module *(*find_module)(const char *name);
};

extern struct vesper_symbols vesper_kernel;
int vesper_lookup_init(void);

#endif
