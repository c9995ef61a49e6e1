/* SPDX-License-Identifier: GPL-2.0 */
/*
 * VESPER frontend: what the parts of the module say to each other.
 *
 *   vesper_comm.c    Communication part: xenbus, event channel, its thread
 *   vesper_publish.c Communication part: the nodes of a connection
 *   vesper_nodes.c   Communication part: a device that lost its nodes
 *   vesper_pages.c   Communication part: pages that are granted to the host
 *   vesper_action.c  Action part: loads and unloads modules; knows no Xen
 *   vesper_lookup.c  kernel functions that are not exported
 *   core.o           protocol and state machine, in Rust (crate vesper-xenfront)
 *
 * and the probe listener: vesper_exports.h.
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
/* As many as the core has. */
#define VESPER_SLOTS		64

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

/*
 * The listener's half of the core, with a state of its own. A slot stands for one
 * export, from vesper_listener_export() to vesper_export_ended().
 */
struct vesper_listener;

size_t vesper_listener_size(void);
void vesper_listener_init(struct vesper_listener *core);
int vesper_listener_attach(struct vesper_listener *core, void *ring, size_t bytes);
/* The backend is connected: announces what there is, and asks for the time. */
int vesper_listener_start(struct vesper_listener *core);
/* The connection is gone. What was announced will be again, at the next start. */
void vesper_listener_detach(struct vesper_listener *core);
/* As vesper_core_run(). */
int vesper_listener_run(struct vesper_listener *core);
/* There is an export in the slot, or more of the one that is there. */
int vesper_listener_export(struct vesper_listener *core, u32 slot);
/* The export in the slot is to be taken back: vesper_export_ended() follows. */
int vesper_listener_unexport(struct vesper_listener *core, u32 slot, u32 export);
/* It is time to compare the clocks again. */
int vesper_listener_time(struct vesper_listener *core);
const char *vesper_listener_reason(const struct vesper_listener *core);

/* ---- Communication part: called by the core ---- */

void vesper_kick(void);
/* Grants @pages zeroed pages, writable, and a directory of them: its grant. */
int vesper_window_open(u32 pages, u32 *directory);
/* Appends the first @bytes bytes of the window to the image. */
int vesper_window_append(u32 bytes);
void vesper_window_close(void);
/* Replaces the text that the host may read: its grant. */
int vesper_text_write(const u8 *text, u32 bytes, u32 *ref);

/* What the host is offered of an export; as the EXPORT message has it. */
struct vesper_offer {
	u32 export;	/* its number */
	u32 gref;	/* descriptor */
	u32 directory;	/* first page of the list of grants */
	u32 grants;	/* in that list */
	u32 flags;	/* VESPER_EXPORT_PART */
};

void vesper_listener_kick(void);
/* Grants what the host was not offered of the slot's export in this connection. */
int vesper_export_open(u32 slot, struct vesper_offer *offer);
/* The host has it (0), or does not want it (-errno). */
void vesper_export_answered(u32 slot, s32 status);
/* The host has it no more. The slot is free. */
void vesper_export_ended(u32 slot);
/* The clock that stamps the records, in nanoseconds; any context. */
u64 vesper_clock(void);

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

struct page;
/*
 * Communication to Action: a page that is now the image's, and how many bytes of
 * the image are in it. All are full but the last.
 */
int vesper_image_append(struct page *page, size_t count);
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
struct xenbus_transaction;

/* The loader's ring, as the backend finds it. */
struct vesper_connection {
	u32 ring;
	u32 port;
	u32 version;
};

void vesper_publish_init(void);
int vesper_publish_nodes(struct xenbus_device *dev,
			 const struct vesper_connection *connection);
/* Writes the node, or, without a value, removes it. */
int vesper_publish_number(struct xenbus_transaction tx, const char *dir,
			  const char *node, bool have, u32 value);
/* The device that is bound, with a reference, or NULL. */
struct xenbus_device *vesper_bound_device(void);
void vesper_nodes_init(void);
void vesper_nodes_exit(void);

/* ---- the listener's ring, within the device's connection ---- */

/* Whether this backend has one; reads what the backend takes. */
bool vesper_listen_wanted(const struct xenbus_device *dev);
int vesper_listen_open(struct xenbus_device *dev);
int vesper_listen_publish(struct xenbus_transaction tx, const char *dir);
int vesper_listen_start(void);
/* Gives back all that a connection has. */
void vesper_listen_release(void);
/* There may be an answer: vesper_listen_run() is to be called by the thread. */
void vesper_listen_event(void);
/* < 0: the host broke the protocol; vesper_listen_reason() says how. */
int vesper_listen_run(void);
int vesper_listen_exports(void);
int vesper_listen_time(void);
const char *vesper_listen_reason(void);
/* Until when vesper_listen_time() has nothing to do, in jiffies. */
long vesper_listen_pause(void);
int vesper_listen_init(void);
void vesper_listen_exit(void);

/* ---- pages that the host may use ---- */

/* A whole page of its own, zeroed before it is granted. */
struct vesper_page {
	struct page *page;	/* NULL: not granted */
	u32 ref;
};

int vesper_page_grant(struct vesper_page *page, bool readonly);
void vesper_page_end(struct vesper_page *page);
void *vesper_page_bytes(const struct vesper_page *page);
/* Grants pages of somebody else; writable only that one (U32_MAX: none). */
int vesper_pages_share(struct page **page, u32 *ref, u32 count, u32 writable);
void vesper_pages_unshare(struct page **page, const u32 *ref, u32 count);
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
	/* Without preemption. */
	struct module *(*module_address)(unsigned long address);
};

extern struct vesper_symbols vesper_kernel;
int vesper_lookup_init(void);

#endif
