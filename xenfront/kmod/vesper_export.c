// SPDX-License-Identifier: GPL-2.0
/*
 * VESPER frontend, Communication part: what the host is given of an export.
 *
 * All pages of a part are granted at once and listed by a chain of directory
 * pages. Only the page of consumed words is writable for the host. They stay
 * granted until the host has let go of them or the connection is gone; a host
 * that holds on to them nevertheless keeps pages that nobody uses any more.
 */
#include "vesper_exports.h"

/* ---- grants of a part ---- */

static void list_grants(struct vesper_part *part)
{
	u32 first = part->listed + 1;
	u32 i;

	for (i = 0; i < part->listed; i++) {
		u32 at = first + i / VESPER_DIRECTORY_REFS;
		struct vesper_directory *directory = page_address(part->page[at]);

		directory->ref[i % VESPER_DIRECTORY_REFS] = part->ref[i];
		directory->next = at + 1 < part->pages ? part->ref[at + 1] : 0;
	}
}

static int grant(struct vesper_part *part)
{
	int err = vesper_pages_share(part->page, part->ref, part->pages,
				     part->consumed);

	if (err)
		return err;
	part->granted = true;
	list_grants(part);
	return 0;
}

static void ungrant(struct vesper_part *part)
{
	if (part->granted)
		vesper_pages_unshare(part->page, part->ref, part->pages);
	part->granted = false;
}

static void ungrant_all(struct vesper_export *export)
{
	struct vesper_part *part;

	list_for_each_entry(part, &export->parts, list)
		ungrant(part);
}

/* ---- called by the core ---- */

static struct vesper_part *first_of(const struct vesper_export *export)
{
	return list_first_entry(&export->parts, struct vesper_part, list);
}

static struct vesper_part *not_offered(const struct vesper_export *export)
{
	struct vesper_part *part;

	list_for_each_entry(part, &export->parts, list) {
		if (!part->offered)
			return part;
		/* Without the first, the host has nothing to add the others to. */
		if (first_of(export) == part && !part->granted)
			return NULL;
	}
	return NULL;
}

static int offer_part(struct vesper_export *export, struct vesper_part *part,
		      struct vesper_offer *offer)
{
	int err;

	/* Once for each connection, whatever comes of it. */
	part->offered = true;
	export->offering = part;
	err = grant(part);
	if (err)
		return err;
	offer->export = export->number;
	offer->gref = part->ref[part->listed];
	offer->directory = part->ref[part->listed + 1];
	offer->grants = part->listed;
	offer->flags = part == first_of(export) ? 0 : VESPER_EXPORT_PART;
	return 0;
}

int vesper_export_open(u32 slot, struct vesper_offer *offer)
{
	unsigned int noio = vesper_exports_lock();
	struct vesper_export *export = vesper_exports[slot];
	struct vesper_part *part = NULL;
	int err = -ENOENT;

	/* When it leaves already, it need not come. */
	if (export && !export->leaving)
		part = not_offered(export);
	if (part)
		err = offer_part(export, part, offer);
	vesper_exports_unlock(noio);
	return err;
}

static void answered(struct vesper_export *export, s32 status)
{
	struct vesper_part *part = export->offering;

	if (!part)
		return;
	export->offering = NULL;
	if (status) {
		ungrant(part);
		pr_warn("export %s: the host cannot read %s: error %d\n",
			export->name,
			part == first_of(export) ? "it" : "a later CPU's buffer",
			status);
	}
	if (part == first_of(export)) {
		export->status = status;
		complete(&export->answered);
	}
	if (not_offered(export)) {
		export->tell = true;
		vesper_exports_changed();
	}
}

void vesper_export_answered(u32 slot, s32 status)
{
	unsigned int noio = vesper_exports_lock();

	if (vesper_exports[slot])
		answered(vesper_exports[slot], min(status, 0));
	vesper_exports_unlock(noio);
}

void vesper_export_ended(u32 slot)
{
	unsigned int noio = vesper_exports_lock();
	struct vesper_export *export = vesper_exports[slot];

	if (export) {
		vesper_exports[slot] = NULL;
		ungrant_all(export);
		complete(&export->ended);
	}
	vesper_exports_unlock(noio);
	if (export)
		vesper_export_put(export);
}

/* ---- the end of a connection ---- */

void vesper_exports_release(void)
{
	unsigned int noio = vesper_exports_lock();
	u32 i;

	for (i = 0; i < VESPER_SLOTS; i++) {
		struct vesper_export *export = vesper_exports[i];
		struct vesper_part *part;

		if (!export)
			continue;
		ungrant_all(export);
		list_for_each_entry(part, &export->parts, list)
			part->offered = false;
		export->offering = NULL;
		/* It will be announced to the next host. */
		export->status = 0;
		complete(&export->answered);
	}
	vesper_exports_unlock(noio);
}
