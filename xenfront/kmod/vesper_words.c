// SPDX-License-Identifier: GPL-2.0
/*
 * VESPER frontend, Action part: last words, and the heartbeat.
 *
 * Both are pages of this module's own that the host may always read, whatever
 * becomes of channels and exports. They live as long as the module.
 */
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/module.h>

#include "vesper_exports.h"

struct page *vesper_words_page[VESPER_WORDS];
struct page *vesper_heartbeat_page;

static struct vesper_heartbeat *heartbeat(void)
{
	return page_address(vesper_heartbeat_page);
}

/* ---- last words ---- */

/* A place that is nobody else's, or NULL. It is never given back. */
static struct vesper_words *claim(u32 *number)
{
	for (*number = 0; *number < VESPER_WORDS; (*number)++) {
		struct vesper_words *words =
			page_address(vesper_words_page[*number]);

		if (cmpxchg(&words->state, VESPER_WORDS_FREE,
			    VESPER_WORDS_BUSY) == VESPER_WORDS_FREE)
			return words;
	}
	return NULL;
}

int vesper_last_words(struct rchan *chan, u16 type, const void *payload,
		      size_t bytes)
{
	const struct vesper_export *export;
	struct vesper_words *words;
	size_t all;
	u32 number;

	if (bytes > sizeof(words->record) - sizeof(struct vesper_record_head))
		return -EMSGSIZE;
	all = ALIGN(sizeof(struct vesper_record_head) + bytes, 8);
	words = claim(&number);
	if (!words) {
		atomic64_inc(&heartbeat()->words_lost);
		vesper_listener_kick();
		return -ENOSPC;
	}
	vesper_record_fill((void *)words->record, all, type, VESPER_FATAL, number,
			   payload, bytes);
	words->bytes = all;
	preempt_disable_notrace();
	/* Without a name they are still worth having. */
	export = chan ? vesper_export_of(chan) : NULL;
	if (export)
		memcpy(words->name, export->name, sizeof(words->name));
	preempt_enable_notrace();
	smp_store_release(&words->state, VESPER_WORDS_DONE);
	vesper_listener_kick();
	return 0;
}
EXPORT_SYMBOL_GPL(vesper_last_words);

/* ---- heartbeat ---- */

void vesper_beat(unsigned int cpu, u64 when)
{
	if (cpu < VESPER_BEATS)
		WRITE_ONCE(heartbeat()->beat[cpu], when);
}

void vesper_beat_period(u64 nanos)
{
	WRITE_ONCE(heartbeat()->period, nanos);
}

void vesper_beat_connected(void)
{
	WRITE_ONCE(heartbeat()->connected, vesper_clock());
}

/* ---- life ---- */

int vesper_words_init(void)
{
	u32 i;

	vesper_heartbeat_page = alloc_page(GFP_KERNEL | __GFP_ZERO);
	if (!vesper_heartbeat_page)
		return -ENOMEM;
	for (i = 0; i < VESPER_WORDS; i++) {
		vesper_words_page[i] = alloc_page(GFP_KERNEL | __GFP_ZERO);
		if (!vesper_words_page[i]) {
			vesper_words_exit();
			return -ENOMEM;
		}
	}
	return 0;
}

/* A host that still uses a page keeps it: its grant has a reference. */
void vesper_words_exit(void)
{
	u32 i;

	for (i = 0; i < VESPER_WORDS; i++)
		if (vesper_words_page[i])
			put_page(vesper_words_page[i]);
	put_page(vesper_heartbeat_page);
}
