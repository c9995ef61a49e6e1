/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Has Pacemaker's controller take a resource of ocf:vesper:* for failed, unless somebody has taken it out of Pacemaker's hands.
 * What `cibadmin` and `crm_resource --fail` do, in one program that is started once: the hook `push` prefers it, because on the way
 * to a failover starting programs is most of the time (docs/failover.md).
 *
 *   fail-resource RESOURCE NODE TYPE     TYPE: of the agent, guest or service
 *
 * Exit status: 0 failed; 1 it could not be, with the reason on standard error; 2 usage; 3 not in Pacemaker's hands.
 *
 * Public interfaces of Pacemaker 2: crm/cib.h, crm/common/ipc_controld.h. To build:
 *   cc -O2 -o fail-resource fail-resource.c $(pkg-config --cflags --libs pacemaker-cib libxml-2.0)
 */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <crm/cib.h>
#include <crm/common/ipc.h>
#include <crm/common/ipc_controld.h>
#include <crm/common/logging.h>
#include <crm/common/results.h>
#include <crm/common/util.h>

/* Seconds for all of it. A cluster that takes longer is told by the next monitor. */
#define LIMIT 10

enum { FAILED = 0, NOT_FAILED = 1, USAGE = 2, UNMANAGED = 3 };

static int sorry(const char *what, int rc)
{
	fprintf(stderr, "%s: %s\n", what, pcmk_rc_str(rc));
	return NOT_FAILED;
}

/* Whether this setting takes the resource out of Pacemaker's hands. */
static bool unmanages(xmlNode *nvpair)
{
	xmlChar *name = xmlGetProp(nvpair, (const xmlChar *)"name");
	xmlChar *value = xmlGetProp(nvpair, (const xmlChar *)"value");
	int is_true = 0;
	bool unmanages = name && crm_str_to_boolean((const char *)value, &is_true) > 0 &&
			 (strcmp((const char *)name, "is-managed") == 0) == !is_true;

	xmlFree(name);
	xmlFree(value);
	return unmanages;
}

/* What Pacemaker has been told of a resource. */
struct told {
	bool exists;
	bool unmanaged;
};

static void look_at(xmlNode *element, struct told *told)
{
	if (!strcmp((const char *)element->name, "primitive"))
		told->exists = true;
	else if (!strcmp((const char *)element->name, "nvpair") && unmanages(element))
		told->unmanaged = true;
}

/* Standard return code; all settings that could be meant, wherever they stand. A default that is overruled counts, too: then
 * the next monitor says what there is to say. */
static int ask_cib(const char *resource, const char *node, struct told *told)
{
	/* An instance of a clone has a number behind it. */
	int name = strcspn(resource, ":");
	cib_t *cib = cib_new();
	xmlNode *found = NULL;
	char where[1024];
	int rc, length;

	length = snprintf(where, sizeof(where),
			  "//primitive[@id='%.*s']"
			  "|//crm_config//nvpair[@name='maintenance-mode']|//node[@uname='%s']//nvpair[@name='maintenance']"
			  "|//rsc_defaults//nvpair[@name='maintenance' or @name='is-managed']"
			  "|//*[@id='%.*s']/ancestor-or-self::*/meta_attributes/nvpair[@name='maintenance' or @name='is-managed']",
			  name, resource, node, name, resource);
	if (!cib || length >= (int)sizeof(where))
		return cib ? ENAMETOOLONG : ENOMEM;
	rc = cib->cmds->signon(cib, "fail-resource", cib_query);
	if (rc == pcmk_ok)
		rc = cib->cmds->query(cib, where, &found, cib_scope_local | cib_sync_call | cib_xpath);
	/* One that is found comes by itself, several come in an element. */
	if (rc == pcmk_ok && found && !strcmp((const char *)found->name, "xpath-query")) {
		for (xmlNode *element = found->children; element; element = element->next)
			look_at(element, told);
	} else if (rc == pcmk_ok && found) {
		look_at(found, told);
	}
	return rc == -ENXIO ? pcmk_rc_ok : pcmk_legacy2rc(rc);
}

/* What has come of the request. */
struct answer {
	bool over;
	int rc;
};

static void take_event(pcmk_ipc_api_t *controller, enum pcmk_ipc_event event, crm_exit_t status, void *data, void *user)
{
	struct answer *answer = user;

	(void)controller;
	(void)data;
	if (event == pcmk_ipc_event_disconnect) {
		answer->over = true;
		answer->rc = ENOTCONN;
	} else if (event == pcmk_ipc_event_reply) {
		answer->over = true;
		answer->rc = status == CRM_EX_OK ? pcmk_rc_ok : EPROTO;
	}
}

/* Standard return code; waits until the controller has taken it. */
static int fail(const char *resource, const char *node, const char *type)
{
	struct answer answer = { false, pcmk_rc_ok };
	pcmk_ipc_api_t *controller = NULL;
	int rc = pcmk_new_ipc_api(&controller, pcmk_ipc_controld);

	if (rc != pcmk_rc_ok)
		return rc;
	pcmk_register_ipc_callback(controller, take_event, &answer);
	rc = pcmk_connect_ipc(controller, pcmk_ipc_dispatch_poll);
	if (rc == pcmk_rc_ok)
		rc = pcmk_controld_api_fail(controller, node, NULL, resource, NULL, "ocf", "vesper", type);
	while (rc == pcmk_rc_ok && !answer.over) {
		rc = pcmk_poll_ipc(controller, LIMIT * 1000);
		if (rc == pcmk_rc_ok)
			pcmk_dispatch_ipc(controller);
	}
	return rc == pcmk_rc_ok ? answer.rc : rc;
}

int main(int argc, char **argv)
{
	struct told told = { false, false };
	int rc;

	if (argc != 4 || strpbrk(argv[1], "'\"") || strpbrk(argv[2], "'\"")) {
		fprintf(stderr, "fail-resource RESOURCE NODE TYPE (guest or service)\n");
		return USAGE;
	}
	/* Its default action ends the program. */
	alarm(LIMIT);
	crm_log_preinit("fail-resource", argc, argv);
	rc = ask_cib(argv[1], argv[2], &told);
	if (rc != pcmk_rc_ok)
		return sorry("asking the CIB whether it is managed", rc);
	if (!told.exists) {
		/* The controller would make one up. */
		fprintf(stderr, "there is no resource %s\n", argv[1]);
		return NOT_FAILED;
	}
	if (told.unmanaged)
		return UNMANAGED;
	rc = fail(argv[1], argv[2], argv[3]);
	return rc == pcmk_rc_ok ? FAILED : sorry("telling the controller", rc);
}
