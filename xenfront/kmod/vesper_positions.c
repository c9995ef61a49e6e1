// SPDX-License-Identifier: GPL-2.0
/*
 * VESPER frontend, Action part: where the buffers stand.
 *
 * The host reads two things of a buffer: how far it is (head) and how long each
 * complete sub-buffer is (sub). It says how far it has read, and at which
 * sub-buffer it wants to be told, in one word that only it writes.
 *
 *	switch:	sub[old]; head = next, not begun;	host:	consumed, wake;
 *		full fence; consumed, wake			full fence; head
 *		if there is room: head = next, 0
 *
 * So either the guest sees what the host wants, or the host what the guest did.
 * "Not begun" also tells that the sub-buffer which had this place is still whole.
 *
 * All of it runs in the probe's context: no lock, no memory, no waiting. The head
 * is set by compare and exchange, and never goes back: a timer or the end of the
 * export can meet a writer that has left interrupts on, or one of a global buffer.
 */
#include <linux/cpumask.h>
#include <linux/rculist.h>

#include "vesper_exports.h"

static u64 head_of(u32 produced, u32 offset)
{
	return (u64)produced << 32 | offset;
}

/* Sets the head from @old, unless somebody else was faster. */
static bool move_head(struct vesper_positions *at, u64 old, u64 new)
{
	return atomic64_cmpxchg(&at->head, old, new) == old;
}

/* Whose stand-in for a module's callbacks that is, if it is one. */
static struct vesper_export *export_by(const struct rchan_callbacks *cb)
{
	return cb->subbuf_start == vesper_subbuf_start ?
	       container_of(cb, struct vesper_export, cb) : NULL;
}

struct vesper_export *vesper_export_of(const struct rchan *chan)
{
	struct vesper_export *export = export_by(READ_ONCE(chan->cb));

	return export && !READ_ONCE(export->leaving) ? export : NULL;
}

struct vesper_buffer *vesper_buffer_here(struct rchan *chan,
					 struct vesper_export **export)
{
	struct rchan_buf *buf;

	*export = vesper_export_of(chan);
	if (!*export)
		return NULL;
	buf = *this_cpu_ptr(chan->buf);
	return buf ? READ_ONCE((*export)->buffer[buf->cpu]) : NULL;
}

/* ---- what the host said ---- */

/* Sub-buffers before this one may be overwritten. Nonsense is ignored. */
static u32 consumed(struct vesper_buffer *buffer, u32 produced)
{
	u32 said = READ_ONCE(*buffer->consumed) >> 32;
	u32 taken = READ_ONCE(buffer->taken);

	if (said - taken > produced - taken)
		return taken;
	WRITE_ONCE(buffer->taken, said);
	return said;
}

static u32 wake(const struct vesper_buffer *buffer)
{
	return READ_ONCE(*buffer->consumed);
}

/* ---- switches ---- */

/*
 * Counts what of the sub-buffers before @to was padding. Who is slower than
 * another leaves it to that one.
 */
static void publish_padding(const struct vesper_export *export,
			    struct vesper_buffer *buffer, u64 to)
{
	struct vesper_positions *at = buffer->positions;
	u64 old = atomic64_read(&at->padding);
	s32 more = (u32)to - (u32)(old >> 32);
	u32 bytes = old;
	u64 s;

	if (more <= 0)
		return;
	for (s = to - min_t(u32, more, export->subbufs); s != to; s++)
		bytes += buffer->buf->padding[s % export->subbufs];
	atomic64_cmpxchg(&at->padding, old, to << 32 | bytes);
}

/*
 * Publishes the sub-buffers that were completed since: one, except in a channel
 * that was in use before it was exported. Returns how many.
 */
static u32 publish_switches(const struct vesper_export *export,
			    struct vesper_buffer *buffer)
{
	struct vesper_positions *at = buffer->positions;
	const struct rchan_buf *buf = buffer->buf;
	u64 to = READ_ONCE(buf->subbufs_produced);
	u64 old, from, s;

	do {
		old = atomic64_read(&at->head);
		from = to - (u32)(to - (old >> 32));
		/* Not after a reset, either. */
		if ((s32)(to - from) <= 0)
			return 0;
		s = max_t(s64, from, to - export->subbufs);
		for (; s != to; s++) {
			u32 i = s % export->subbufs;
			u32 bytes = export->subbuf_size - buf->padding[i];

			WRITE_ONCE(at->sub[i], (u64)(u32)(s + 1) << 32 | bytes);
		}
		WRITE_ONCE(at->total, to);
		publish_padding(export, buffer, to);
	} while (!move_head(at, old, head_of(to, VESPER_NOT_BEGUN)));
	return to - from;
}

/* The sub-buffer that is switched to is written from now on. */
static void publish_begun(struct vesper_positions *at)
{
	u64 old = atomic64_read(&at->head);

	if ((u32)old == VESPER_NOT_BEGUN)
		move_head(at, old, head_of(old >> 32, 0));
}

static int ask(struct vesper_export *export, struct rchan_buf *buf, void *subbuf,
	       void *prev_subbuf, size_t prev_padding)
{
	int (*theirs)(struct rchan_buf *buf, void *subbuf, void *prev_subbuf,
		      size_t prev_padding) = export->original->subbuf_start;

	/* A channel without one does not overwrite; here the reader is the host. */
	if (!theirs)
		theirs = virtrelay_subbuf_start_callback;
	return theirs(buf, subbuf, prev_subbuf, prev_padding);
}

int vesper_subbuf_start(struct rchan_buf *buf, void *subbuf, void *prev_subbuf,
			size_t prev_padding)
{
	const struct rchan_callbacks *cb = READ_ONCE(buf->chan->cb);
	struct vesper_export *export = export_by(cb);
	struct vesper_buffer *buffer;
	u32 switches, produced;
	int room;

	/* The export ended since relay called this. */
	if (!export)
		return cb->subbuf_start ?
		       cb->subbuf_start(buf, subbuf, prev_subbuf, prev_padding) :
		       !relay_buf_full(buf);
	/* What the host has yet to read stays as it is. */
	if (READ_ONCE(export->leaving))
		return 0;
	buffer = READ_ONCE(export->buffer[buf->cpu]);
	if (!buffer)
		return ask(export, buf, subbuf, prev_subbuf, prev_padding);

	switches = publish_switches(export, buffer);
	produced = buf->subbufs_produced;
	smp_mb();
	room = ask(export, buf, subbuf, prev_subbuf, prev_padding);
	if (room)
		publish_begun(buffer->positions);
	else
		/* relay asks again at each write, so this counts writes. */
		atomic64_inc(&buffer->positions->dropped);
	if (produced - wake(buffer) < switches)
		vesper_listener_kick();
	return room;
}

int virtrelay_subbuf_start_callback(struct rchan_buf *buf, void *subbuf,
				    void *prev_subbuf, size_t prev_padding)
{
	struct vesper_export *export = export_by(READ_ONCE(buf->chan->cb));
	struct vesper_buffer *buffer;
	u32 produced = buf->subbufs_produced;

	buffer = export ? READ_ONCE(export->buffer[buf->cpu]) : NULL;
	if (!buffer)
		return !relay_buf_full(buf);
	return produced - consumed(buffer, produced) < export->subbufs;
}
EXPORT_SYMBOL_GPL(virtrelay_subbuf_start_callback);

/* ---- what was written into the current sub-buffer ---- */

static const void *place_of(const struct vesper_export *export,
			    const struct rchan_buf *buf, size_t number)
{
	return buf->start + number % export->subbufs * export->subbuf_size;
}

/*
 * The head is read first and the count last: when both are of the same
 * sub-buffer, the offset between them is, too. Not in the middle of a switch,
 * nor of a full buffer: there the data pointer is that of the old sub-buffer,
 * or, with only one, the offset is 0 or beyond the end.
 */
bool vesper_publish(const struct vesper_export *export,
		    struct vesper_buffer *buffer)
{
	struct vesper_positions *at = buffer->positions;
	const struct rchan_buf *buf = buffer->buf;
	u64 old = atomic64_read(&at->head);
	u32 shown = (u32)old == VESPER_NOT_BEGUN ? 0 : old;
	size_t offset, produced;
	const void *data;

	smp_rmb();
	offset = READ_ONCE(buf->offset);
	data = READ_ONCE(buf->data);
	smp_rmb();
	produced = READ_ONCE(buf->subbufs_produced);
	if ((u32)produced != old >> 32 || offset > export->subbuf_size ||
	    offset <= shown ||
	    data != place_of(export, buf, produced))
		return false;
	return move_head(at, old, head_of(produced, offset));
}

/* ---- begin, end, and every now and then ---- */

/* A CPU's buffer; the global one belongs to the first CPU. */
static struct vesper_buffer *buffer_of(const struct vesper_export *export,
				       unsigned int cpu)
{
	if (!export->chan->is_global)
		return READ_ONCE(export->buffer[cpu]);
	return cpu == cpumask_first(cpu_online_mask) ? export->buffer[0] : NULL;
}

void vesper_positions_begin(const struct vesper_export *export,
			    struct vesper_buffer *buffer)
{
	u64 produced = buffer->buf->subbufs_produced;
	u64 oldest = produced > export->subbufs ? produced - export->subbufs : 0;

	atomic64_set(&buffer->positions->head, head_of(oldest, VESPER_NOT_BEGUN));
	buffer->positions->total = oldest;
	atomic64_set(&buffer->positions->padding, oldest << 32);
	buffer->taken = oldest;
	*buffer->consumed = (u64)(u32)oldest << 32;
}

static void publish_all(const struct vesper_export *export,
			struct vesper_buffer *buffer)
{
	publish_switches(export, buffer);
	vesper_publish(export, buffer);
}

/*
 * Of a channel that was in use: relay asked for its current sub-buffer before, and
 * does not ask again, so that has begun even if nothing was written into it yet.
 */
static void publish_found(const struct vesper_export *export,
			  struct vesper_buffer *buffer)
{
	const struct rchan_buf *buf = buffer->buf;

	publish_all(export, buffer);
	if (buf->offset <= export->subbuf_size &&
	    buf->data == place_of(export, buf, buf->subbufs_produced))
		publish_begun(buffer->positions);
}

/* Where its writer cannot be at work meanwhile. */
static void publish_here(void *data)
{
	struct vesper_export *export = data;
	struct vesper_buffer *buffer = buffer_of(export, smp_processor_id());

	if (buffer)
		publish_found(export, buffer);
}

/* CPUs neither come nor go. */
void vesper_publish_first(struct vesper_export *export)
{
	unsigned int cpu;

	on_each_cpu(publish_here, export, 1);
	for_each_possible_cpu(cpu) {
		struct vesper_buffer *buffer = export->buffer[cpu];

		if (buffer && !cpu_online(cpu) && !export->chan->is_global)
			publish_found(export, buffer);
	}
}

void vesper_publish_final(struct vesper_export *export)
{
	struct vesper_part *part;
	u32 i;

	list_for_each_entry(part, &export->parts, list) {
		for (i = 0; i < part->buffers; i++) {
			struct vesper_buffer *buffer = &part->buffer[i];

			publish_all(export, buffer);
			smp_store_release(&buffer->positions->state, VESPER_FINAL);
		}
	}
}

bool vesper_publish_cpu(unsigned int cpu)
{
	bool exports = false, closed = false, kick = false;
	struct vesper_export *export;

	rcu_read_lock();
	list_for_each_entry_rcu(export, &vesper_exports_live, live) {
		struct vesper_buffer *buffer = buffer_of(export, cpu);

		exports = true;
		if (!buffer)
			continue;
		if (vesper_publish(export, buffer) &&
		    wake(buffer) - (u32)buffer->buf->subbufs_produced <
		    VESPER_DO_NOT_WAKE)
			kick = true;
		if (READ_ONCE(buffer->buf->finalized))
			closed = true;
	}
	rcu_read_unlock();
	if (kick)
		vesper_listener_kick();
	if (closed)
		vesper_exports_changed();
	return exports;
}
