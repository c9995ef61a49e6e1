// SPDX-License-Identifier: GPL-2.0
/*
 * VESPER frontend, Action part: the memory of an export.
 *
 * A part is what is offered to the host at once: the buffers that a channel has
 * when it is exported, or one that came later with its CPU. It has references on
 * the relay buffers and on each of their pages, so that the owner of the channel
 * may close it while the host still reads.
 */
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "vesper_exports.h"

static size_t stride(const struct vesper_export *export)
{
	return ALIGN(sizeof(struct vesper_positions) +
		     export->subbufs * sizeof(u64), 64);
}

u32 vesper_data_pages(const struct vesper_export *export, u32 buffers)
{
	return buffers * PFN_UP((size_t)export->subbuf_size * export->subbufs);
}

/* ---- pages ---- */

/* Fills the array with new pages from @from to @to. */
static int take_pages(struct vesper_part *part, u32 from, u32 to)
{
	for (; from < to; from++) {
		part->page[from] = alloc_page(GFP_KERNEL | __GFP_ZERO |
					      __GFP_NOWARN | __GFP_RETRY_MAYFAIL);
		if (!part->page[from])
			return -ENOMEM;
	}
	return 0;
}

static void take_data(struct vesper_part *part, struct rchan_buf **buf, u32 at)
{
	u32 pages = vesper_data_pages(part->export, 1);
	u32 b, i;

	for (b = 0; b < part->buffers; b++) {
		for (i = 0; i < pages; i++) {
			part->page[at] = buf[b]->page_array[i];
			get_page(part->page[at++]);
		}
	}
}

static void write_schema(struct vesper_part *part, const char *schema, u32 bytes)
{
	u32 at = part->consumed + 1;
	u32 i;

	for (i = 0; i < bytes; i += PAGE_SIZE)
		memcpy(page_address(part->page[at++]), schema + i,
		       min_t(u32, bytes - i, PAGE_SIZE));
}

static void describe(struct vesper_part *part, u32 schema_bytes)
{
	struct vesper_export_info *info = page_address(part->page[part->listed]);
	const struct vesper_export *export = part->export;
	u32 i;

	memcpy(info->name, export->name, sizeof(info->name));
	memcpy(info->owner, export->owner, sizeof(info->owner));
	info->subbuf_size = export->subbuf_size;
	info->subbufs = export->subbufs;
	info->buffers = part->buffers;
	info->flags = export->chan->is_global ? VESPER_EXPORT_GLOBAL : 0;
	info->pages_per_buffer = vesper_data_pages(export, 1);
	info->positions_pages = part->consumed;
	info->schema_pages = PFN_UP(schema_bytes);
	info->schema_bytes = schema_bytes;
	for (i = 0; i < part->buffers; i++)
		info->cpu[i] = export->chan->is_global ?
			       VESPER_NO_CPU : part->buffer[i].buf->cpu;
}

/* ---- buffers ---- */

static int place_buffers(struct vesper_part *part, struct rchan_buf **buf)
{
	u64 *consumed = page_address(part->page[part->consumed]);
	u32 i;

	part->positions = vmap(part->page, part->consumed, VM_MAP, PAGE_KERNEL);
	if (!part->positions)
		return -ENOMEM;
	for (i = 0; i < part->buffers; i++) {
		struct vesper_buffer *buffer = &part->buffer[i];

		/* As relay's own files do it. */
		kref_get(&buf[i]->kref);
		buffer->buf = buf[i];
		buffer->positions = part->positions + i * stride(part->export);
		buffer->consumed = &consumed[i];
		vesper_positions_begin(part->export, buffer);
	}
	return 0;
}

/* The last reference frees the buffer; that is not exported but as this. */
static void put_buffer(struct rchan_buf *buf)
{
	struct file file = { .private_data = buf };

	relay_file_operations.release(NULL, &file);
}

/* ---- parts ---- */

static int fill(struct vesper_part *part, struct rchan_buf **buf,
		const char *schema, u32 schema_bytes)
{
	u32 data = part->consumed + 1 + PFN_UP(schema_bytes);
	int err;

	part->buffer = kvcalloc(part->buffers, sizeof(*part->buffer), GFP_KERNEL);
	part->page = kvcalloc(part->pages, sizeof(*part->page), GFP_KERNEL);
	part->ref = kvcalloc(part->pages, sizeof(*part->ref), GFP_KERNEL);
	if (!part->buffer || !part->page || !part->ref)
		return -ENOMEM;
	err = take_pages(part, 0, data);
	if (!err)
		err = take_pages(part, part->listed, part->pages);
	if (err)
		return err;
	take_data(part, buf, data);
	err = place_buffers(part, buf);
	if (err)
		return err;
	write_schema(part, schema, schema_bytes);
	describe(part, schema_bytes);
	return 0;
}

struct vesper_part *vesper_part_make(struct vesper_export *export,
				     struct rchan_buf **buf, u32 buffers,
				     const char *schema)
{
	u32 schema_bytes = schema ? strlen(schema) : 0;
	struct vesper_part *part;
	int err;

	part = kzalloc(sizeof(*part), GFP_KERNEL);
	if (!part)
		return ERR_PTR(-ENOMEM);
	part->export = export;
	part->buffers = buffers;
	part->consumed = PFN_UP(buffers * stride(export));
	part->listed = part->consumed + 1 + PFN_UP(schema_bytes) +
		       vesper_data_pages(export, buffers);
	part->pages = part->listed + 1 +
		      DIV_ROUND_UP(part->listed, VESPER_DIRECTORY_REFS);
	err = part->listed > VESPER_GRANTS ? -ENOSPC :
	      fill(part, buf, schema, schema_bytes);
	if (err) {
		vesper_part_free(part);
		return ERR_PTR(err);
	}
	return part;
}

void vesper_part_free(struct vesper_part *part)
{
	u32 i;

	vunmap(part->positions);
	for (i = 0; part->buffer && i < part->buffers; i++)
		if (part->buffer[i].buf)
			put_buffer(part->buffer[i].buf);
	for (i = 0; part->page && i < part->pages; i++)
		if (part->page[i])
			put_page(part->page[i]);
	kvfree(part->ref);
	kvfree(part->page);
	kvfree(part->buffer);
	kfree(part);
}
