// SPDX-License-Identifier: GPL-2.0
/*
 * VESPER frontend, Action part: records.
 *
 * A record has the number that its buffer gave it, and a number is given whether
 * the record finds room or not. So the host knows exactly which ones it misses.
 */
#include <linux/hardirq.h>
#include <linux/irqflags.h>
#include <linux/module.h>

#include "vesper_exports.h"

void vesper_record_fill(struct vesper_record_head *record, size_t bytes, u16 type,
			u16 flags, u64 seq, const void *payload, size_t count)
{
	record->bytes = bytes;
	record->type = type;
	record->flags = flags;
	record->time = vesper_clock();
	record->seq = seq;
	memcpy(record + 1, payload, count);
	memset((void *)(record + 1) + count, 0, bytes - sizeof(*record) - count);
}

/* Makes room for so many bytes in one piece. */
static int make_room(const struct vesper_export *export,
		     struct vesper_buffer *buffer, size_t bytes)
{
	struct rchan_buf *buf = buffer->buf;

	if (bytes > export->subbuf_size)
		goto too_big;
	if (buf->offset + bytes <= export->subbuf_size ||
	    relay_switch_subbuf(buf, bytes))
		return 0;
	/* Full; the callback has counted it. */
	if (buf->offset > export->subbuf_size)
		return -ENOSPC;
	/* What the callback put into the new sub-buffer leaves too little. */
too_big:
	atomic64_inc(&buffer->positions->dropped);
	return -EMSGSIZE;
}

static int write_record(const struct vesper_export *export,
			struct vesper_buffer *buffer, u16 type, u16 flags,
			const void *payload, size_t count)
{
	size_t bytes = ALIGN(sizeof(struct vesper_record_head) + count, 8);
	u64 seq = atomic64_fetch_inc(&buffer->positions->records);
	struct rchan_buf *buf = buffer->buf;
	int err;

	if (in_nmi()) {
		atomic64_inc(&buffer->positions->dropped);
		return -EPERM;
	}
	err = make_room(export, buffer, bytes);
	if (err)
		return err;
	vesper_record_fill(buf->data + buf->offset, bytes, type, flags, seq,
			   payload, count);
	/* A timer of this CPU cannot come between, one of another may look. */
	smp_wmb();
	WRITE_ONCE(buf->offset, buf->offset + bytes);
	return 0;
}

int vesper_record(struct rchan *chan, u16 type, u16 flags, const void *payload,
		  size_t bytes)
{
	struct vesper_export *export;
	struct vesper_buffer *buffer;
	unsigned long irq;
	int err = -ENOENT;

	if (bytes > VESPER_BUFFER_BYTES)
		bytes = VESPER_BUFFER_BYTES;	/* too big, and counted as such */
	local_irq_save(irq);
	buffer = vesper_buffer_here(chan, &export);
	if (buffer) {
		err = write_record(export, buffer, type, flags, payload, bytes);
		if (flags & (VESPER_URGENT | VESPER_FATAL)) {
			vesper_publish(export, buffer);
			vesper_listener_kick();
		}
	}
	local_irq_restore(irq);
	return err;
}
EXPORT_SYMBOL_GPL(vesper_record);

void vesper_relay_urgent(struct rchan *chan)
{
	struct vesper_export *export;
	struct vesper_buffer *buffer;
	unsigned long irq;

	local_irq_save(irq);
	buffer = vesper_buffer_here(chan, &export);
	if (buffer) {
		vesper_publish(export, buffer);
		vesper_listener_kick();
	}
	local_irq_restore(irq);
}
EXPORT_SYMBOL_GPL(vesper_relay_urgent);
