/* SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only */
/*
 * What the kernel module's headers say of the listener's pages, one "name value"
 * in each line. The kernel's headers are empty files here; what the module's
 * headers need of them is above their inclusion.
 */
#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define PAGE_SIZE 4096UL
typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int32_t s32;
typedef int64_t s64;
typedef struct { s64 counter; } atomic64_t;
struct rchan;
struct rchan_buf;
#define U16_MAX UINT16_MAX
#define min(a, b) ((a) < (b) ? (a) : (b))
#define min_t(type, a, b) min((type)(a), (type)(b))

#include "vesper_wire.h"
#include "include/vesper/relay.h"

#define VALUE(value) printf(#value " %llu\n", (unsigned long long)(value))
#define SIZE(type) printf("sizeof(" #type ") %zu\n", sizeof(struct type))
#define OFFSET(type, field) \
	printf(#type "." #field " %zu %zu\n", offsetof(struct type, field), \
	       sizeof(((struct type *)0)->field))

int main(void)
{
	VALUE(VESPER_DIRECTORY_REFS);
	SIZE(vesper_directory);
	OFFSET(vesper_directory, next);
	OFFSET(vesper_directory, ref);

	VALUE(VESPER_NAME_BYTES);
	VALUE(VESPER_EXPORT_NAME);
	VALUE(VESPER_BUFFERS);
	VALUE(VESPER_SCHEMA_BYTES);
	VALUE(VESPER_SUBBUFS);
	VALUE(VESPER_BUFFER_BYTES);
	VALUE(VESPER_GRANTS);
	VALUE(VESPER_EXPORT_PART);
	VALUE(VESPER_EXPORT_GLOBAL);
	VALUE(VESPER_NO_CPU);
	SIZE(vesper_export_info);
	OFFSET(vesper_export_info, name);
	OFFSET(vesper_export_info, owner);
	OFFSET(vesper_export_info, subbuf_size);
	OFFSET(vesper_export_info, subbufs);
	OFFSET(vesper_export_info, buffers);
	OFFSET(vesper_export_info, flags);
	OFFSET(vesper_export_info, pages_per_buffer);
	OFFSET(vesper_export_info, positions_pages);
	OFFSET(vesper_export_info, schema_pages);
	OFFSET(vesper_export_info, schema_bytes);
	OFFSET(vesper_export_info, reserved);
	OFFSET(vesper_export_info, cpu);

	VALUE(VESPER_NOT_BEGUN);
	VALUE(VESPER_FINAL);
	VALUE(VESPER_DO_NOT_WAKE);
	SIZE(vesper_positions);
	OFFSET(vesper_positions, head);
	OFFSET(vesper_positions, dropped);
	OFFSET(vesper_positions, records);
	OFFSET(vesper_positions, state);
	OFFSET(vesper_positions, total);
	OFFSET(vesper_positions, padding);

	VALUE(VESPER_URGENT);
	VALUE(VESPER_FATAL);
	VALUE(VESPER_TRUNCATED);
	SIZE(vesper_record_head);
	OFFSET(vesper_record_head, bytes);
	OFFSET(vesper_record_head, type);
	OFFSET(vesper_record_head, flags);
	OFFSET(vesper_record_head, time);
	OFFSET(vesper_record_head, seq);

	VALUE(VESPER_WORDS);
	VALUE(VESPER_WORDS_FREE);
	VALUE(VESPER_WORDS_BUSY);
	VALUE(VESPER_WORDS_DONE);
	SIZE(vesper_words);
	OFFSET(vesper_words, state);
	OFFSET(vesper_words, bytes);
	OFFSET(vesper_words, name);
	OFFSET(vesper_words, record);

	VALUE(VESPER_BEATS);
	SIZE(vesper_heartbeat);
	OFFSET(vesper_heartbeat, beat);
	OFFSET(vesper_heartbeat, period);
	OFFSET(vesper_heartbeat, words_lost);
	OFFSET(vesper_heartbeat, connected);
	return 0;
}
