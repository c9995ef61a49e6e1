/* SPDX-License-Identifier: GPL-2.0 */
/*
 * VESPER: how a probe module lets the host read its relay channel.
 *
 *   relay_open(), relay_export_start(chan, "name")
 *   arm the probes; they write with relay_write(), __relay_write() or
 *   vesper_record()
 *   disarm the probes, relay_export_stop("name"), relay_close()
 *
 * The host reads the pages of the channel where they are. Nothing that a probe
 * calls here waits for it, takes a lock or allocates. While a channel is
 * exported, vesper_front stands in for its subbuf_start callback and calls the
 * module's own.
 *
 * What cannot be exported soundly: a channel that is written with
 * relay_reserve() (its offset moves before the bytes are there), and one that is
 * reset (relay_reset()) or flushed (relay_flush()) meanwhile. Each write into a
 * global buffer must exclude the others, as relay itself asks for.
 */
#ifndef VESPER_RELAY_H
#define VESPER_RELAY_H

#include <linux/minmax.h>
#include <linux/relay.h>
#include <linux/string.h>
#include <linux/types.h>

/* Longest name of an export; letters, digits, "_" and "-". */
#define VESPER_EXPORT_NAME	55

/* ---- the API of the paper (VESPER, OLS 2008, figure 5) ---- */

/*
 * Exports the channel under that name. May sleep, for a second at most, and only
 * while a host is connected; without one the channel is announced when it comes.
 *
 *   -EINVAL  name; geometry (more than 65536 sub-buffers, or 32 MiB a buffer); a
 *            callback of its own with a single sub-buffer
 *   -EEXIST  that name, or that channel, is exported already
 *   -ENOSPC  more pages or exports than the host takes from this guest
 *   -EIO     the host could not map the pages
 *   -ENOMEM
 */
int relay_export_start(struct rchan *rchan, const char *modname);

/*
 * Ends it: the host takes what it has not read yet. May sleep, for a second at
 * most, whatever the host does. To be called before relay_close().
 */
void relay_export_stop(const char *modname);

/*
 * For rchan_callbacks.subbuf_start: does not overwrite what the host has not
 * read; what finds no room is dropped and counted. Before the channel is
 * exported, what local readers have not read.
 */
int virtrelay_subbuf_start_callback(struct rchan_buf *buf, void *subbuf,
				    void *prev_subbuf, size_t prev_padding);

/* ---- beyond the paper: records ---- */

/*
 * As relay_export_start(), with the text that tells the host what the records
 * mean: a line for each event, numbered from 1; lines that begin with # are not
 * counted. At most 16 KiB.
 *
 *   panic! cpu:u32 pid:u32 comm:str message:str
 *   signal pid:u32 comm:str sig:u32
 *
 * Types: u8 u16 u32 u64, s8 to s64, x64 (shown in hexadecimal), str. "!" behind
 * an event's name: it is the end of the guest.
 */
int vesper_export_start(struct rchan *rchan, const char *name,
			const char *schema);

/* Flags of a record. */
#define VESPER_URGENT		1	/* tell the host now */
#define VESPER_FATAL		2	/* the same; the guest is at its end */
#define VESPER_TRUNCATED	4	/* the last fields are cut off or missing */

/*
 * Writes a record with the time and the buffer's next number. @type is the
 * event's number in the schema. The channel's callback should be
 * virtrelay_subbuf_start_callback or one of that kind. In any context.
 *
 *   -ENOSPC    the buffer is full: dropped and counted
 *   -EMSGSIZE  does not fit into a sub-buffer: dropped and counted
 *   -EPERM     in an NMI, which relay channels do not bear: dropped and counted
 *   -ENOENT    the channel is not exported
 */
int vesper_record(struct rchan *rchan, u16 type, u16 flags, const void *payload,
		  size_t bytes);

/*
 * Shows the host all that this CPU has written, and tells it so. In any context
 * but NMI.
 */
void vesper_relay_urgent(struct rchan *rchan);

/*
 * Leaves a record, at most 4000 bytes of payload, in one of the few places for
 * what a guest wants to have said before its end. They are never freed, need no
 * room in a channel and no reader. In any context, NMI too.
 *
 *   -ENOSPC    all places are taken: counted
 *   -EMSGSIZE  too long
 */
int vesper_last_words(struct rchan *rchan, u16 type, const void *payload,
		      size_t bytes);

/* ---- the payload of a record ---- */

/*
 *	u8 room[200];
 *	struct vesper_payload payload = VESPER_PAYLOAD(room);
 *
 *	vesper_put_u32(&payload, pid);
 *	vesper_put_str(&payload, comm);
 *	vesper_record(chan, 2, vesper_payload_flags(&payload), room,
 *		      payload.at - room);
 *
 * The first field that finds no room ends the payload; of a text, what fits is
 * kept.
 */
struct vesper_payload {
	u8 *at, *end;
	bool truncated;
};

/* For an array. */
#define VESPER_PAYLOAD(room) { .at = (room), .end = (room) + sizeof(room) }

static inline u16 vesper_payload_flags(const struct vesper_payload *payload)
{
	return payload->truncated ? VESPER_TRUNCATED : 0;
}

static inline void vesper_put_bytes(struct vesper_payload *payload,
				    const void *bytes, size_t count)
{
	if (count > payload->end - payload->at) {
		payload->end = payload->at;
		payload->truncated = true;
		return;
	}
	memcpy(payload->at, bytes, count);
	payload->at += count;
}

/* Signed numbers, too. */
static inline void vesper_put_u8(struct vesper_payload *payload, u8 value)
{
	vesper_put_bytes(payload, &value, sizeof(value));
}

static inline void vesper_put_u16(struct vesper_payload *payload, u16 value)
{
	vesper_put_bytes(payload, &value, sizeof(value));
}

static inline void vesper_put_u32(struct vesper_payload *payload, u32 value)
{
	vesper_put_bytes(payload, &value, sizeof(value));
}

static inline void vesper_put_u64(struct vesper_payload *payload, u64 value)
{
	vesper_put_bytes(payload, &value, sizeof(value));
}

/* A text of that many bytes. */
static inline void vesper_put_text(struct vesper_payload *payload,
				   const char *text, size_t count)
{
	size_t room = payload->end - payload->at;
	size_t kept = min_t(size_t, count, U16_MAX);

	if (room >= sizeof(u16))
		kept = min(kept, room - sizeof(u16));
	vesper_put_u16(payload, kept);
	vesper_put_bytes(payload, text, kept);
	if (kept < count) {
		payload->end = payload->at;
		payload->truncated = true;
	}
}

static inline void vesper_put_str(struct vesper_payload *payload,
				  const char *text)
{
	vesper_put_text(payload, text, text ? strlen(text) : 0);
}

#endif
