// SPDX-License-Identifier: GPL-2.0
/*
 * A disk that answers each request with an I/O error. The kernel asks it for its
 * partitions, so the first error comes with the load.
 */
#include <linux/blk-mq.h>
#include <linux/blkdev.h>
#include <linux/module.h>
#include <linux/version.h>

static struct blk_mq_tag_set tags;
static struct gendisk *disk;
static int major;

static blk_status_t fail(struct blk_mq_hw_ctx *context,
			 const struct blk_mq_queue_data *data)
{
	blk_mq_start_request(data->rq);
	blk_mq_end_request(data->rq, BLK_STS_IOERR);
	return BLK_STS_OK;
}

static const struct blk_mq_ops operations = { .queue_rq = fail };
static const struct block_device_operations functions = { .owner = THIS_MODULE };

static int __init baddisk_init(void)
{
	int err;

	major = register_blkdev(0, "vbad");
	if (major < 0)
		return major;
	err = blk_mq_alloc_sq_tag_set(&tags, &operations, 4,
				      BLK_MQ_F_SHOULD_MERGE);
	if (err)
		goto unregister;
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 9, 0)
	disk = blk_mq_alloc_disk(&tags, NULL);
#else
	disk = blk_mq_alloc_disk(&tags, NULL, NULL);
#endif
	err = PTR_ERR_OR_ZERO(disk);
	if (err)
		goto free;
	disk->major = major;
	disk->first_minor = 0;
	disk->minors = 1;
	disk->fops = &functions;
	strscpy(disk->disk_name, "vbad0", sizeof(disk->disk_name));
	set_capacity(disk, 2048);
	err = add_disk(disk);
	if (!err)
		return 0;
	put_disk(disk);
free:
	blk_mq_free_tag_set(&tags);
unregister:
	unregister_blkdev(major, "vbad");
	return err;
}

static void __exit baddisk_exit(void)
{
	del_gendisk(disk);
	put_disk(disk);
	blk_mq_free_tag_set(&tags);
	unregister_blkdev(major, "vbad");
}

module_init(baddisk_init);
module_exit(baddisk_exit);
MODULE_DESCRIPTION("VESPER sample: a disk that fails");
MODULE_LICENSE("GPL");
