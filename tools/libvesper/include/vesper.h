/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * libvesper: VESPER's user API for programs on dom0.
 *
 * virt_insmod(), virt_rmmod() and virt_is_alive() are those of the paper (Kim,
 * Moriya, Oshima, Linux Symposium 2008, figure 4). virt_relay_*() read what the
 * probes in a guest record, virt_events_*() what happens to guests.
 *
 * All of them ask vesperd over /run/vesper/vesperd.sock, or over the socket that
 * the environment variable VESPER_SOCKET names; the caller is root or in the
 * group vesper. They block, keep no state between calls, and may be called from
 * several threads at a time; a struct virt_relay or virt_events is used by one at a
 * time.
 *
 * Unless said otherwise they return 0 or a negative errno; libvesper(3) lists them.
 */
#ifndef VESPER_H
#define VESPER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Loads the kernel module in the file @modname (.ko, .ko.xz, .ko.zst, .ko.gz)
 * into the guest with the domain number @target_guest. @opt: parameters as on
 * the command line of insmod, separated by spaces; NULL or "" for none.
 */
int virt_insmod(const int target_guest, const char *modname, const char *opt);

/*
 * Unloads the module of that name. @flags: as for delete_module(2); 0 and
 * O_NONBLOCK mean the same, anything else is -EINVAL.
 */
int virt_rmmod(const int target_guest, const char *modname, const long flags);

/*
 * Whether the guest is alive and, unless @modname is NULL or "", the module of
 * that name is in and has reported nothing fatal. A paused, starved or migrating
 * guest is alive. False, too, when it cannot be found out (no daemon, no such
 * guest).
 */
bool virt_is_alive(const int target_guest, const char *modname);

/* What a guest records, as it comes. */
struct virt_relay;

/* Flags of virt_relay_open(). */
#define VIRT_RELAY_NOW		1	/* begin with the next record, not with the oldest that is there */
#define VIRT_RELAY_END		2	/* end when all that is there has been read */

/* Flags of a record. */
#define VIRT_RECORD_URGENT	1	/* sent at once */
#define VIRT_RECORD_FATAL	2	/* the guest ends */
#define VIRT_RECORD_TRUNCATED	4	/* some of its text did not fit */
#define VIRT_RECORD_LAST_WORDS	0x10000	/* kept apart for the end of the guest */
#define VIRT_RECORD_RAW		0x20000	/* bytes of a module that writes no records of VESPER's */

/* A record, or bytes. All pointers hold until the next call with this relay. */
struct virt_record {
	const char *channel;	/* name under which the module exports */
	const char *event;	/* kind of record by the channel's schema; NULL: unknown */
	const char *json;	/* the whole record as one JSON document, as `vesper tail --format json` shows it */
	const void *data;	/* payload: fields one after another, or raw bytes */
	size_t bytes;		/* of data */
	int cpu;		/* -1: of no CPU */
	uint32_t flags;		/* VIRT_RECORD_* */
	uint64_t seq;		/* number of the record in its buffer */
	uint64_t time_ns;	/* dom0's CLOCK_REALTIME; 0: not known */
	uint64_t error_ns;	/* how wrong that may be, either way */
	uint64_t lost;		/* records, or writes of a foreign module, that were lost since the last one returned */
};

/*
 * Begins to read the channel @name of the guest, or all its channels when @name
 * is NULL or "". On success *@relay is to be given to virt_relay_close().
 */
int virt_relay_open(const int target_guest, const char *name, const int flags,
		    struct virt_relay **relay);

/*
 * Waits for the next record at most @timeout_ms milliseconds (-1: for ever).
 * 1: there is one; 0: nothing more will come; -ETIMEDOUT; or another error,
 * after which there is nothing to do but to close. Records of one buffer come
 * in their order, those of several as they arrive.
 */
int virt_relay_next(struct virt_relay *relay, struct virt_record *record,
		    const int timeout_ms);

/* A descriptor that is readable when virt_relay_next() may have something, for poll(2). */
int virt_relay_fd(const struct virt_relay *relay);

void virt_relay_close(struct virt_relay *relay);

/* What happens to guests, one event for each fault; docs/events.md has the kinds. */
struct virt_events;

/* Flags of virt_events_open(). */
#define VIRT_EVENTS_END		2	/* end when all that is there has been read */

/* An event. All pointers hold until the next call with these events. */
struct virt_event {
	const char *event;	/* kind: "guest-panic" and others; "unknown": one of a newer daemon's */
	const char *severity;	/* "fatal", "error", "warning", "info" */
	const char *name;	/* of the guest */
	const char *uuid;
	const char *cause;	/* one line; the guest may have written it, control characters are escaped */
	const char *json;	/* the whole document */
	uint64_t serial;	/* greater than that of each event before */
	uint64_t fault;		/* the same in all that is told of one fault; its first serial */
	uint64_t time_ns;	/* dom0's CLOCK_REALTIME */
	uint64_t error_ns;	/* how wrong that may be, either way; 0: it is when dom0 noticed */
	uint64_t missed;	/* not 0: events up to this serial may be missing before this one */
	int domid;
};

/*
 * Begins to read the events of the guest with the domain number @target_guest
 * (-1: of all) whose serial is greater than @since: all that are remembered, then
 * those that come. On success *@events is to be given to virt_events_close().
 */
int virt_events_open(const int target_guest, const uint64_t since,
		     const int flags, struct virt_events **events);

/*
 * Waits for the next event at most @timeout_ms milliseconds (-1: for ever).
 * 1: there is one; 0: nothing more will come; -ETIMEDOUT; or another error, after
 * which there is nothing to do but to close. -EREMOTEIO: the daemon was stopped;
 * who opens again with the last serial misses nothing.
 */
int virt_events_next(struct virt_events *events, struct virt_event *event,
		     const int timeout_ms);

/* A descriptor that is readable when virt_events_next() may have something, for poll(2). */
int virt_events_fd(const struct virt_events *events);

void virt_events_close(struct virt_events *events);

#ifdef __cplusplus
}
#endif

#endif
