// SPDX-License-Identifier: GPL-2.0
/*
 * VESPER frontend, Communication part: the nodes that tell the backend of a
 * connection, all in one transaction.
 */
#include <linux/random.h>
#include <linux/utsname.h>
#define INCLUDE_VERMAGIC
#include <linux/vermagic.h>
#include <xen/xenbus.h>

#include "vesper_front.h"

/* Of this module's life: kept across suspend and migration. */
static char boot_id[33];

/* Without a value: none is left of a connection before. */
int vesper_publish_number(struct xenbus_transaction tx, const char *dir,
			  const char *node, bool have, u32 value)
{
	if (have)
		return xenbus_printf(tx, dir, node, "%u", value);
	return xenbus_exists(tx, dir, node) ? xenbus_rm(tx, dir, node) : 0;
}

static int publish_in(struct xenbus_transaction tx, const char *dir,
		      const struct vesper_connection *connection)
{
	int err;

	err = xenbus_printf(tx, dir, "loader-ring-page-order", "%u", 0);
	if (!err)
		err = xenbus_printf(tx, dir, "loader-ring-ref0", "%u",
				    connection->ring);
	if (!err)
		err = xenbus_printf(tx, dir, "loader-event-channel", "%u",
				    connection->port);
	if (!err)
		err = xenbus_printf(tx, dir, "version", "%u", connection->version);
	if (!err)
		err = xenbus_write(tx, dir, "kernel-release",
				   init_utsname()->release);
	if (!err)
		err = xenbus_write(tx, dir, "vermagic", VERMAGIC_STRING);
	if (!err)
		err = xenbus_write(tx, dir, "boot-id", boot_id);
	if (!err)
		err = xenbus_write(tx, dir, "frontend-version", VESPER_VERSION);
	if (!err)
		err = vesper_listen_publish(tx, dir);
	return err;
}

int vesper_publish_nodes(struct xenbus_device *dev,
			 const struct vesper_connection *connection)
{
	struct xenbus_transaction tx;
	int err;

	do {
		err = xenbus_transaction_start(&tx);
		if (err)
			return err;
		err = publish_in(tx, dev->nodename, connection);
		if (err) {
			xenbus_transaction_end(tx, 1);
			return err;
		}
		err = xenbus_transaction_end(tx, 0);
	} while (err == -EAGAIN);
	return err;
}

void vesper_publish_init(void)
{
	u8 id[16];

	get_random_bytes(id, sizeof(id));
	bin2hex(boot_id, id, sizeof(id));
}
