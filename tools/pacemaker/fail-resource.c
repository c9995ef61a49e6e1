/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Has Pacemaker's controller take resources of ocf:vesper:* for failed, unless somebody has taken them out of Pacemaker's hands.
 * What `cibadmin` and `crm_resource --fail` do, in one program that is started once: the hook `push` prefers it, because on the way
 * to a failover starting programs is most of the time (docs/failover.md). The controller is told of all before it is waited for: what
 * it does about the first, it would finish before it looks at the second.
 *
 *   fail-resource {RESOURCE NODE TYPE}...     TYPE: of the agent, guest or service
 *
 * Of each resource a line: its name; 0 failed, 1 it could not be, 3 not in Pacemaker's hands; why. Exit status: 0 all is said;
 * 1 Pacemaker does not answer, with the reason on standard error; 2 usage.
 *
 * Public interfaces of Pacemaker 2: crm/cib.h, crm/common/ipc_controld.h. To build:
 *   cc -O2 -o fail-resource fail-resource.c $(pkg-config --cflags --libs pacemaker-cib libxml-2.0)
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
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

/* In the lines. */
enum { FAILED = 0, NOT_FAILED = 1, UNMANAGED = 3 };
/* Exit status. */
enum { SAID = 0, NO_ANSWER = 1, USAGE = 2 };

static int sorry(const char *what, int rc)
{
	fprintf(stderr, "%s: %s\n", what, pcmk_rc_str(rc));
	return NO_ANSWER;
}

struct target {
	const char *resource, *node, *type;
	bool waits;	/* for the controller's answer */
};

static void say(struct target *target, int status, const char *why)
{
	target->waits = false;
	printf("%s %d%s%s\n", target->resource, status, *why ? " " : "", why);
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
static int ask_cib(cib_t *cib, const struct target *target, struct told *told)
{
	const char *resource = target->resource;
	/* An instance of a clone has a number behind it. */
	int name = strcspn(resource, ":");
	xmlNode *found = NULL;
	char where[1024];
	int rc, length;

	length = snprintf(where, sizeof(where),
			  "//primitive[@id='%.*s']"
			  "|//crm_config//nvpair[@name='maintenance-mode']|//node[@uname='%s']//nvpair[@name='maintenance']"
			  "|//rsc_defaults//nvpair[@name='maintenance' or @name='is-managed']"
			  "|//*[@id='%.*s']/ancestor-or-self::*/meta_attributes/nvpair[@name='maintenance' or @name='is-managed']",
			  name, resource, target->node, name, resource);
	if (length >= (int)sizeof(where))
		return ENAMETOOLONG;
	rc = cib->cmds->query(cib, where, &found, cib_scope_local | cib_sync_call | cib_xpath);
	/* One that is found comes by itself, several come in an element. */
	if (rc == pcmk_ok && found && !strcmp((const char *)found->name, "xpath-query")) {
		for (xmlNode *element = found->children; element; element = element->next)
			look_at(element, told);
	} else if (rc == pcmk_ok && found) {
		look_at(found, told);
	}
	free_xml(found);
	return rc == -ENXIO ? pcmk_rc_ok : pcmk_legacy2rc(rc);
}

/* Whether the controller is to be told of it; of any other, it is said why not. */
static bool is_to_fail(cib_t *cib, struct target *target)
{
	struct told told = { false, false };
	int rc = ask_cib(cib, target, &told);

	if (rc != pcmk_rc_ok)
		say(target, NOT_FAILED, pcmk_rc_str(rc));
	else if (!told.exists)
		/* The controller would make one up. */
		say(target, NOT_FAILED, "there is no such resource");
	else if (told.unmanaged)
		say(target, UNMANAGED, "");
	else
		return true;
	return false;
}

struct targets {
	struct target *of;
	int number;
};

static bool is_waiting(const struct targets *targets)
{
	for (int i = 0; i < targets->number; i++)
		if (targets->of[i].waits)
			return true;
	return false;
}

/* The first of that name below an element. */
static xmlNode *find(xmlNode *element, const char *name)
{
	for (xmlNode *below = element ? element->children : NULL; below; below = below->next) {
		xmlNode *found = !strcmp((const char *)below->name, name) ? below : find(below, name);

		if (found)
			return found;
	}
	return NULL;
}

static bool has(xmlNode *element, const char *attribute, const char *wanted)
{
	xmlChar *value = xmlGetProp(element, (const xmlChar *)attribute);
	bool has = value && !strcmp((const char *)value, wanted);

	xmlFree(value);
	return has;
}

/* The answer is the operation that was made up for the resource, with rc-code 0 if the resource was failed (fail_lrm_resource in
 * Pacemaker's controld_execd.c). The answer for a node that the controller does not know never comes. */
static void take_event(pcmk_ipc_api_t *controller, enum pcmk_ipc_event event, crm_exit_t status, void *data, void *user)
{
	pcmk_controld_api_reply_t *reply = data;
	struct targets *targets = user;
	xmlNode *resource, *operation;

	(void)controller;
	if (event != pcmk_ipc_event_reply || status != CRM_EX_OK || reply->reply_type != pcmk_controld_reply_resource)
		return;
	resource = find(reply->data.resource.node_state, "lrm_resource");
	operation = find(resource, "lrm_rsc_op");
	if (!operation)
		return;
	for (int i = 0; i < targets->number; i++) {
		struct target *target = &targets->of[i];

		if (!target->waits || !has(resource, "id", target->resource))
			continue;
		if (has(operation, "rc-code", "0"))
			say(target, FAILED, "");
		else
			say(target, NOT_FAILED, "the controller refuses");
	}
}

/* Standard return code; waits until the controller has taken all. */
static int fail(pcmk_ipc_api_t *controller, struct targets *targets)
{
	int rc = pcmk_rc_ok;

	for (int i = 0; i < targets->number; i++) {
		struct target *target = &targets->of[i];

		if (!target->waits)
			continue;
		rc = pcmk_controld_api_fail(controller, target->node, NULL, target->resource, NULL, "ocf", "vesper", target->type);
		if (rc != pcmk_rc_ok)
			say(target, NOT_FAILED, pcmk_rc_str(rc));
	}
	for (rc = pcmk_rc_ok; rc == pcmk_rc_ok && is_waiting(targets);) {
		rc = pcmk_poll_ipc(controller, LIMIT * 1000);
		if (rc == pcmk_rc_ok)
			pcmk_dispatch_ipc(controller);
		/* Polling does not tell. */
		if (rc == pcmk_rc_ok && is_waiting(targets) && !pcmk_ipc_is_connected(controller))
			rc = ENOTCONN;
	}
	return rc;
}

int main(int argc, char **argv)
{
	struct targets targets = { calloc(argc, sizeof(*targets.of)), 0 };
	pcmk_ipc_api_t *controller = NULL;
	cib_t *cib;
	int rc;

	if (argc < 4 || argc % 3 != 1 || !targets.of)
		goto usage;
	for (int i = 1; i < argc; i += 3) {
		if (strpbrk(argv[i], "'\"") || strpbrk(argv[i + 1], "'\""))
			goto usage;
		targets.of[targets.number++] = (struct target){ argv[i], argv[i + 1], argv[i + 2], false };
	}
	/* Its default action ends the program. What was said until then counts. */
	alarm(LIMIT);
	setvbuf(stdout, NULL, _IOLBF, 0);
	crm_log_preinit("fail-resource", argc, argv);

	cib = cib_new();
	rc = cib ? pcmk_legacy2rc(cib->cmds->signon(cib, "fail-resource", cib_query)) : ENOMEM;
	if (rc != pcmk_rc_ok)
		return sorry("asking the CIB whether it is managed", rc);
	for (int i = 0; i < targets.number; i++)
		targets.of[i].waits = is_to_fail(cib, &targets.of[i]);
	if (!is_waiting(&targets))
		return SAID;
	rc = pcmk_new_ipc_api(&controller, pcmk_ipc_controld);
	if (rc == pcmk_rc_ok) {
		pcmk_register_ipc_callback(controller, take_event, &targets);
		rc = pcmk_connect_ipc(controller, pcmk_ipc_dispatch_poll);
	}
	if (rc == pcmk_rc_ok)
		rc = fail(controller, &targets);
	return rc == pcmk_rc_ok ? SAID : sorry("telling the controller", rc);
usage:
	fprintf(stderr, "fail-resource {RESOURCE NODE TYPE}... (TYPE: guest or service)\n");
	return USAGE;
}
