/* SPDX-License-Identifier: GPL-2.0 */
/*
 * VESPER frontend: exports, what they are made of, and who may touch them.
 *
 *   vesper_relay.c      Action part: the API; an export's life
 *   vesper_leave.c      Action part: how it leaves
 *   vesper_part.c       Action part: the memory of an export
 *   vesper_positions.c  Action part: what a probe runs through, and the timer
 *   vesper_record.c     Action part: records
 *   vesper_words.c      Action part: last words, heartbeat
 *   vesper_hotplug.c    Action part: CPUs that come and go, and their timers
 *   vesper_export.c     Communication part: grants of an export
 *   vesper_listener.c   Communication part: the listener's ring
 *
 * Probes and timers find an export without a lock, through the channel or an RCU
 * list; it goes only after they have been waited for. Everybody else holds the
 * exports' lock, which xenwatch takes, too: so, no memory that waits for a disk.
 * Order of the locks: CPU hotplug or front.lock, then this one.
 */
#ifndef VESPER_EXPORTS_H
#define VESPER_EXPORTS_H

#include <linux/completion.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/relay.h>

#include "include/vesper/relay.h"
#include "vesper_front.h"
#include "vesper_wire.h"

struct vesper_export;

/* One relay buffer. */
struct vesper_buffer {
	struct rchan_buf *buf;		/* with a reference */
	struct vesper_positions *positions;
	u64 *consumed;			/* written by the host */
	u32 taken;			/* last count there that can be; see vesper_positions.c */
};

/* Buffers that are offered to the host at once. */
struct vesper_part {
	struct list_head list;
	struct vesper_export *export;
	u32 buffers;
	struct vesper_buffer *buffer;
	void *positions;

	/*
	 * Pages, each with a reference: positions, consumed, schema, data, in the
	 * order of the list of grants; then the description; then that list.
	 */
	struct page **page;
	u32 pages;
	u32 listed;
	u32 consumed;			/* index of that page */

	/* Communication part. */
	u32 *ref;
	bool granted;
	bool offered;			/* in this connection */
};

struct vesper_export {
	struct list_head live;		/* until it leaves */
	struct list_head parts;
	struct kref kref;		/* one of who may let it leave, one of the slot */
	u32 slot;
	u32 number;
	char name[VESPER_NAME_BYTES];
	char owner[VESPER_NAME_BYTES];
	struct module *module;		/* without a reference */
	struct rchan *chan;
	u32 subbuf_size;
	u32 subbufs;

	/* Stands in for the module's, which is found by it. */
	struct rchan_callbacks cb;
	const struct rchan_callbacks *original;

	bool leaving;			/* no switch, no record any more */
	bool tell;			/* the core is to be told that there is something new */
	bool unexport;			/* the core is to be told that it goes */
	struct vesper_part *offering;	/* is being offered */
	s32 status;			/* answer of the host to the first offer */
	struct completion answered;
	struct completion ended;

	struct vesper_buffer *buffer[];	/* by CPU; that of a global channel: 0 */
};

/* ---- vesper_relay.c ---- */

extern struct list_head vesper_exports_live;
extern struct vesper_export *vesper_exports[VESPER_SLOTS];

/* What unlocking wants. */
unsigned int vesper_exports_lock(void);
void vesper_exports_unlock(unsigned int noio);
void vesper_export_put(struct vesper_export *export);
/* What is to be told to the core next. */
enum vesper_task { VESPER_TASK_NONE, VESPER_TASK_EXPORT, VESPER_TASK_UNEXPORT };
enum vesper_task vesper_exports_task(u32 *slot, u32 *number);
/* Most that the host takes. */
void vesper_exports_quota(u32 pages, u32 exports);

/* A CPU is about to come. */
void vesper_relay_cpu_up(unsigned int cpu);

/* ---- vesper_leave.c ---- */

/* Closes the export; waits that many jiffies for the host at most. */
void vesper_export_leave(struct vesper_export *export, unsigned long patience);
/* Lets those leave whose owner closed the channel and did not say so. */
void vesper_exports_tidy(void);
int vesper_leave_init(void);
void vesper_leave_exit(void);

/* ---- vesper_part.c ---- */

struct vesper_part *vesper_part_make(struct vesper_export *export,
				     struct rchan_buf **buf, u32 buffers,
				     const char *schema);
void vesper_part_free(struct vesper_part *part);
/* Pages of the data of so many buffers. */
u32 vesper_data_pages(const struct vesper_export *export, u32 buffers);

/* ---- vesper_positions.c ---- */

/* Takes the place of rchan_callbacks.subbuf_start. */
int vesper_subbuf_start(struct rchan_buf *buf, void *subbuf, void *prev_subbuf,
			size_t prev_padding);
/* The export of a channel, if it has one that does not leave. Without preemption. */
struct vesper_export *vesper_export_of(const struct rchan *chan);
/* The same for this CPU's buffer; with interrupts off. */
struct vesper_buffer *vesper_buffer_here(struct rchan *chan,
					 struct vesper_export **export);
/* Where a new export, or part of one, stands. */
void vesper_positions_begin(const struct vesper_export *export,
			    struct vesper_buffer *buffer);
/* Where it really stands. */
void vesper_publish_first(struct vesper_export *export);
/* Shows the host what was written; true: it had not seen all. */
bool vesper_publish(const struct vesper_export *export,
		    struct vesper_buffer *buffer);
/* The last of it, when nobody switches any more. */
void vesper_publish_final(struct vesper_export *export);
/* All of a CPU's buffers; true: there are exports. */
bool vesper_publish_cpu(unsigned int cpu);

/* ---- vesper_words.c ---- */

extern struct page *vesper_words_page[VESPER_WORDS];
extern struct page *vesper_heartbeat_page;

int vesper_words_init(void);
void vesper_words_exit(void);
void vesper_record_fill(struct vesper_record_head *record, size_t bytes, u16 type,
			u16 flags, u64 seq, const void *payload, size_t count);
void vesper_beat(unsigned int cpu, u64 when);
void vesper_beat_period(u64 nanos);
void vesper_beat_connected(void);

/* ---- vesper_hotplug.c ---- */

int vesper_hotplug_init(void);
void vesper_hotplug_exit(void);
/* There is a first export: its offsets are wanted sooner than the heartbeat. */
void vesper_ticks_sooner(void);

/* ---- vesper_export.c, vesper_listener.c ---- */

/* The connection is gone: ends all grants. */
void vesper_exports_release(void);
/* Whether a host listens. */
bool vesper_listen_connected(void);
/* From the communication thread or a timer: vesper_exports_task(), _tidy(). */
void vesper_exports_changed(void);

#endif
