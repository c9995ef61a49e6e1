// SPDX-License-Identifier: GPL-2.0
/*
 * VESPER frontend, Communication part: pages that the host may use.
 *
 * A page is granted whole, zeroed and for one purpose. It is given back to the
 * kernel only after its grant has really ended: gnttab_end_foreign_access()
 * frees it at once when the host is done with it, and otherwise keeps it until
 * the host is (XSA-396), by a timer of the kernel's own that goes on when this
 * module is unloaded. So a host that holds on to a page costs this guest that
 * page, and can never see what is put into it later.
 */
#include <linux/gfp.h>
#include <linux/mm.h>
#include <xen/grant_table.h>
#include <xen/page.h>

#include "vesper_front.h"
#include "vesper_wire.h"

static domid_t peer;
static struct vesper_page window[VESPER_WINDOW_PAGES];
static struct vesper_page window_directory;
static struct vesper_page text;

void vesper_pages_peer(u16 domid)
{
	peer = domid;
}

int vesper_page_grant(struct vesper_page *page, bool readonly)
{
	int ref;

	page->page = alloc_page(GFP_KERNEL | __GFP_ZERO | __GFP_NOWARN |
				__GFP_RETRY_MAYFAIL);
	if (!page->page)
		return -ENOMEM;
	ref = gnttab_grant_foreign_access(peer, xen_page_to_gfn(page->page),
					  readonly);
	if (ref < 0) {
		__free_page(page->page);
		page->page = NULL;
		return ref;
	}
	page->ref = ref;
	return 0;
}

void vesper_page_end(struct vesper_page *page)
{
	if (!page->page)
		return;
	gnttab_end_foreign_access(page->ref, page->page);
	page->page = NULL;
	page->ref = 0;
}

void *vesper_page_bytes(const struct vesper_page *page)
{
	return page_address(page->page);
}

/*
 * Grants pages that their owner keeps, each with a reference of its own; writable
 * only the one of that index.
 */
int vesper_pages_share(struct page **page, u32 *ref, u32 count, u32 writable)
{
	grant_ref_t head;
	u32 i;

	if (count > U16_MAX || gnttab_alloc_grant_references(count, &head))
		return -ENOSPC;
	for (i = 0; i < count; i++) {
		ref[i] = gnttab_claim_grant_reference(&head);
		get_page(page[i]);
		gnttab_grant_foreign_access_ref(ref[i], peer,
						xen_page_to_gfn(page[i]),
						i != writable);
	}
	gnttab_free_grant_references(head);
	return 0;
}

void vesper_pages_unshare(struct page **page, const u32 *ref, u32 count)
{
	u32 i;

	for (i = 0; i < count; i++)
		gnttab_end_foreign_access(ref[i], page[i]);
}

int vesper_window_open(u32 pages, u32 *ref)
{
	struct vesper_directory *directory;
	int err;
	u32 i;

	if (!pages || pages > VESPER_WINDOW_PAGES || window_directory.page)
		return -EINVAL;
	err = vesper_page_grant(&window_directory, true);
	if (err)
		return err;
	directory = vesper_page_bytes(&window_directory);
	for (i = 0; i < pages; i++) {
		err = vesper_page_grant(&window[i], false);
		if (err) {
			vesper_window_close();
			return err;
		}
		directory->ref[i] = window[i].ref;
	}
	*ref = window_directory.ref;
	return 0;
}

/*
 * The pages themselves become the image's, each when its grant has really ended:
 * from then on the host cannot change what is in it.
 */
int vesper_window_append(u32 bytes)
{
	u32 i;

	for (i = 0; bytes; i++) {
		u32 part = min_t(u32, bytes, PAGE_SIZE);
		struct page *page;
		int err;

		if (i == VESPER_WINDOW_PAGES || !window[i].page)
			return -EINVAL;
		if (!gnttab_try_end_foreign_access(window[i].ref))
			return -EBUSY;
		page = window[i].page;
		window[i].page = NULL;
		err = vesper_image_append(page, part);
		if (err) {
			__free_page(page);
			return err;
		}
		bytes -= part;
	}
	return 0;
}

void vesper_window_close(void)
{
	u32 i;

	vesper_page_end(&window_directory);
	for (i = 0; i < VESPER_WINDOW_PAGES; i++)
		vesper_page_end(&window[i]);
}

int vesper_text_open(void)
{
	return vesper_page_grant(&text, true);
}

/*
 * One page for all texts of a connection. The core replaces a text only after
 * the question that it belonged to was answered. Takes no memory: that there is
 * none must not look like a fault of the host.
 */
int vesper_text_write(const u8 *bytes, u32 count, u32 *ref)
{
	if (count > PAGE_SIZE || !text.page)
		return -EINVAL;
	memcpy(vesper_page_bytes(&text), bytes, count);
	memset(vesper_page_bytes(&text) + count, 0, PAGE_SIZE - count);
	*ref = text.ref;
	return 0;
}

void vesper_pages_end(void)
{
	vesper_window_close();
	vesper_page_end(&text);
}
