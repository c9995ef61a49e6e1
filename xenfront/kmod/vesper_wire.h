/* SPDX-License-Identifier: GPL-2.0 */
/*
 * VESPER frontend: pages that the host reads, and the one that it writes, as
 * docs/protocol.md has them. The machine is little endian, as the wire is.
 */
#ifndef VESPER_WIRE_H
#define VESPER_WIRE_H

#include <linux/atomic.h>
#include <linux/build_bug.h>
#include <linux/mm.h>
#include <linux/stddef.h>
#include <linux/types.h>

#include "vesper_front.h"

/* public/io/displif.h, struct xendispl_page_directory */
#define VESPER_DIRECTORY_REFS	(PAGE_SIZE / sizeof(u32) - 1)
struct vesper_directory {
	u32 next;
	u32 ref[VESPER_DIRECTORY_REFS];
};

#define VESPER_BUFFERS		512
#define VESPER_SCHEMA_BYTES	16384
#define VESPER_SUBBUFS		65536
#define VESPER_BUFFER_BYTES	(32 << 20)
#define VESPER_GRANTS		65536

/* Flags of an EXPORT. */
#define VESPER_EXPORT_PART	1
/* Flags of an export's description. */
#define VESPER_EXPORT_GLOBAL	1
#define VESPER_NO_CPU		0xffff

/* What an export consists of; a page. */
struct vesper_export_info {
	char name[VESPER_NAME_BYTES];
	char owner[VESPER_NAME_BYTES];
	u32 subbuf_size;
	u32 subbufs;
	u32 buffers;
	u32 flags;
	u32 pages_per_buffer;
	u32 positions_pages;
	u32 schema_pages;
	u32 schema_bytes;
	u64 reserved;
	u16 cpu[VESPER_BUFFERS];
};
static_assert(offsetof(struct vesper_export_info, subbuf_size) == 112);
static_assert(offsetof(struct vesper_export_info, cpu) == 152);
static_assert(sizeof(struct vesper_export_info) <= PAGE_SIZE);

/* Where a buffer stands. */
struct vesper_positions {
	atomic64_t head;	/* produced << 32 | offset */
	atomic64_t dropped;
	atomic64_t records;
	u64 state;
	u64 total;		/* all 64 bits of produced */
	atomic64_t padding;	/* produced << 32 | bytes, in all before */
	u64 zero[2];
	u64 sub[];		/* (number + 1) << 32 | bytes */
};
static_assert(offsetof(struct vesper_positions, sub) == 64);

/* Offset in the head: the sub-buffer has not begun. */
#define VESPER_NOT_BEGUN	0xffffffff
/* State: closed. */
#define VESPER_FINAL		1

/* From this on, wake - produced means: do not wake me. */
#define VESPER_DO_NOT_WAKE	0x40000000

struct vesper_record_head {
	u32 bytes;
	u16 type;
	u16 flags;
	u64 time;
	u64 seq;
};
static_assert(sizeof(struct vesper_record_head) == 24);

#define VESPER_WORDS		8
enum { VESPER_WORDS_FREE, VESPER_WORDS_BUSY, VESPER_WORDS_DONE };

/* One of the places for last words; a page. */
struct vesper_words {
	u32 state;
	u32 bytes;
	char name[VESPER_NAME_BYTES];
	u64 zero;
	u8 record[PAGE_SIZE - 72];
};
static_assert(offsetof(struct vesper_words, record) == 72);
static_assert(sizeof(struct vesper_words) == PAGE_SIZE);

#define VESPER_BEATS		504

/* The heartbeat; a page. */
struct vesper_heartbeat {
	u64 beat[VESPER_BEATS];	/* when each vCPU was last seen; 0: offline */
	u64 period;		/* ns */
	atomic64_t words_lost;
	u64 connected;		/* when */
	u64 zero[5];
};
static_assert(offsetof(struct vesper_heartbeat, period) == 4032);
static_assert(sizeof(struct vesper_heartbeat) == PAGE_SIZE);

#endif
