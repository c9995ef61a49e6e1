/* SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only */
/*
 * Both ring ends as Xen's own macros make them, for the differential test: thin functions around public/io/ring.h
 * (package libxen-dev), one per operation of vesper-ring. Two rings: small messages of one page and the loader's.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Without this the header defines xen_mb() as mb(), as drivers of long ago had it. */
#define __XEN_INTERFACE_VERSION__ 0x00030208
#define xen_mb()  __sync_synchronize()
#define xen_rmb() __atomic_thread_fence(__ATOMIC_ACQUIRE)
#define xen_wmb() __atomic_thread_fence(__ATOMIC_RELEASE)
#include <xen/io/ring.h>

typedef struct { uint64_t word[8]; } loader_request_t;
typedef struct { uint64_t word[12]; } loader_response_t;
DEFINE_RING_TYPES(loader, loader_request_t, loader_response_t);

unsigned int xen_offset(unsigned int which)
{
	switch (which) {
	case 0: return offsetof(struct loader_sring, req_prod);
	case 1: return offsetof(struct loader_sring, req_event);
	case 2: return offsetof(struct loader_sring, rsp_prod);
	case 3: return offsetof(struct loader_sring, rsp_event);
	case 4: return offsetof(struct loader_sring, ring);
	default: return sizeof(union loader_sring_entry);
	}
}

unsigned int xen_entries(unsigned long size)
{
	return __CONST_RING_SIZE(loader, size);
}

/* FRONT: XEN_FRONT_RING_INIT, with indexes that begin anywhere. */
loader_front_ring_t *xen_front(void *page, unsigned long size, uint32_t start)
{
	loader_front_ring_t *ring = calloc(1, sizeof(*ring));
	loader_sring_t *shared = page;

	SHARED_RING_INIT(shared);
	shared->req_prod = shared->rsp_prod = start;
	shared->req_event = shared->rsp_event = start + 1;
	FRONT_RING_ATTACH(ring, shared, start, size);
	return ring;
}

int xen_front_push(loader_front_ring_t *ring, const loader_request_t *request)
{
	if (RING_FULL(ring))
		return 0;
	*RING_GET_REQUEST(ring, ring->req_prod_pvt) = *request;
	ring->req_prod_pvt++;
	return 1;
}

int xen_front_publish(loader_front_ring_t *ring)
{
	int notify;

	RING_PUSH_REQUESTS_AND_CHECK_NOTIFY(ring, notify);
	return notify;
}

/* 1: taken, 0: none, -1: ill-behaved back end */
int xen_front_take(loader_front_ring_t *ring, loader_response_t *response)
{
	RING_IDX prod = ring->sring->rsp_prod;

	xen_rmb();
	if (RING_RESPONSE_PROD_OVERFLOW(ring, prod))
		return -1;
	if (prod == ring->rsp_cons)
		return 0;
	RING_COPY_RESPONSE(ring, ring->rsp_cons, response);
	ring->rsp_cons++;
	return 1;
}

int xen_front_check(loader_front_ring_t *ring)
{
	int more;

	RING_FINAL_CHECK_FOR_RESPONSES(ring, more);
	return !!more;
}

unsigned int xen_front_free(loader_front_ring_t *ring)
{
	return RING_FREE_REQUESTS(ring);
}

/* BACK: attaches at the published response index, as blkback does on reconnect. */
loader_back_ring_t *xen_back(void *page, unsigned long size)
{
	loader_back_ring_t *ring = calloc(1, sizeof(*ring));
	loader_sring_t *shared = page;

	BACK_RING_ATTACH(ring, shared, shared->rsp_prod, size);
	return ring;
}

/* 1: taken, 0: none, -1: ill-behaved front end */
int xen_back_take(loader_back_ring_t *ring, loader_request_t *request)
{
	RING_IDX prod = ring->sring->req_prod;

	xen_rmb();
	if (RING_REQUEST_PROD_OVERFLOW(ring, prod))
		return -1;
	if (prod == ring->req_cons || RING_REQUEST_CONS_OVERFLOW(ring, ring->req_cons))
		return 0;
	RING_COPY_REQUEST(ring, ring->req_cons, request);
	ring->req_cons++;
	return 1;
}

void xen_back_push(loader_back_ring_t *ring, const loader_response_t *response)
{
	*RING_GET_RESPONSE(ring, ring->rsp_prod_pvt) = *response;
	ring->rsp_prod_pvt++;
}

int xen_back_publish(loader_back_ring_t *ring)
{
	int notify;

	RING_PUSH_RESPONSES_AND_CHECK_NOTIFY(ring, notify);
	return notify;
}

int xen_back_check(loader_back_ring_t *ring)
{
	int more;

	RING_FINAL_CHECK_FOR_REQUESTS(ring, more);
	return !!more;
}

void xen_free(void *ring)
{
	free(ring);
}
