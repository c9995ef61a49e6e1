// SPDX-License-Identifier: GPL-2.0
/*
 * VESPER probe "block": errors of block devices.
 *
 *   block:block_rq_error  as the kernel's log has it: not of requests whose
 *                         owner wants no noise made of their failing (RQF_QUIET)
 */
#include <linux/blk-mq.h>
#include <linux/blkdev.h>
#include <linux/kdev_t.h>
#include <trace/events/block.h>

#include "common.h"

enum { ERROR = 1 };

static const char schema[] =
	"error event=block-error subject=device "
	"device:str major:u32 minor:u32 op:str sector:u64 bytes:u32 "
	"error:s32\n";

static struct probe probe;

static void on_error(void *unused, struct request *request, blk_status_t error,
		     unsigned int bytes)
{
	const struct gendisk *disk = request->q->disk;
	u8 room[128];
	struct vesper_payload payload = VESPER_PAYLOAD(room);

	vesper_put_str(&payload, disk ? disk->disk_name : "");
	vesper_put_u32(&payload, disk ? disk->major : 0);
	vesper_put_u32(&payload, disk ? disk->first_minor : 0);
	vesper_put_str(&payload, blk_op_str(req_op(request)));
	vesper_put_u64(&payload, blk_rq_pos(request));
	vesper_put_u32(&payload, bytes);
	vesper_put_u32(&payload, blk_status_to_errno(error));
	vesper_record(probe.channel.chan, ERROR,
		      probe_urgent_at_times() | vesper_payload_flags(&payload),
		      room, payload.at - room);
}
PROBE_CHECK(block_rq_error, on_error)

static struct probe_hook hooks[] = {
	PROBE_TRACEPOINT(block_rq_error, on_error, PROBE_EVENT(ERROR)),
};

static struct probe probe = {
	.channel = {
		.name = "block",
		.schema = schema,
		.subbuf_size = 4096,
		.n_subbufs = 8,
	},
	.hooks = hooks,
	.hook_count = ARRAY_SIZE(hooks),
};

static int __init block_probe_init(void)
{
	return probe_start(&probe);
}

static void __exit block_probe_exit(void)
{
	probe_stop(&probe);
}

module_init(block_probe_init);
module_exit(block_probe_exit);
MODULE_DESCRIPTION("VESPER probe: errors of block devices");
MODULE_LICENSE("GPL");
