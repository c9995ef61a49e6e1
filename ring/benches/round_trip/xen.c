/* SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only */
/*
 * Round trips over Xen's own macros: the yardstick of `cargo xtask bench ring`. Step by step the same as main.rs beside
 * it: same messages, same checks of the peer's indexes, same fences, one request at a time.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define __XEN_INTERFACE_VERSION__ 0x00030208
/* What the kernel has on x86-64: full fences are an instruction, the others only hold the compiler back. */
#define xen_mb()  __atomic_thread_fence(__ATOMIC_SEQ_CST)
#define xen_rmb() __atomic_thread_fence(__ATOMIC_ACQUIRE)
#define xen_wmb() __atomic_thread_fence(__ATOMIC_RELEASE)
#include <xen/io/ring.h>

struct request { uint64_t word[8]; };
struct response { uint64_t word[12]; };
DEFINE_RING_TYPES(loader, struct request, struct response);

enum { FULL = -2, ILL_BEHAVED = -1 };

__attribute__((noinline)) int ask(loader_front_ring_t *ring, const struct request *request)
{
	int notify;

	if (RING_FULL(ring))
		return FULL;
	*RING_GET_REQUEST(ring, ring->req_prod_pvt) = *request;
	ring->req_prod_pvt++;
	RING_PUSH_REQUESTS_AND_CHECK_NOTIFY(ring, notify);
	return notify;
}

__attribute__((noinline)) int serve(loader_back_ring_t *ring, struct request *request, const struct response *response)
{
	int notify = 0, more;
	RING_IDX prod;

	do {
		prod = ring->sring->req_prod;
		xen_rmb();
		if (RING_REQUEST_PROD_OVERFLOW(ring, prod))
			return ILL_BEHAVED;
		while (ring->req_cons != prod) {
			int kick;

			if (RING_REQUEST_CONS_OVERFLOW(ring, ring->req_cons))
				break;
			RING_COPY_REQUEST(ring, ring->req_cons, request);
			ring->req_cons++;
			*RING_GET_RESPONSE(ring, ring->rsp_prod_pvt) = *response;
			ring->rsp_prod_pvt++;
			RING_PUSH_RESPONSES_AND_CHECK_NOTIFY(ring, kick);
			notify |= kick;
		}
		RING_FINAL_CHECK_FOR_REQUESTS(ring, more);
	} while (more);
	return notify;
}

__attribute__((noinline)) int finish(loader_front_ring_t *ring, struct response *response)
{
	int taken = 0, more;
	RING_IDX prod;

	do {
		prod = ring->sring->rsp_prod;
		xen_rmb();
		if (RING_RESPONSE_PROD_OVERFLOW(ring, prod))
			return ILL_BEHAVED;
		while (ring->rsp_cons != prod) {
			RING_COPY_RESPONSE(ring, ring->rsp_cons, response);
			ring->rsp_cons++;
			taken++;
		}
		RING_FINAL_CHECK_FOR_RESPONSES(ring, more);
	} while (more);
	return taken;
}

__attribute__((noinline)) unsigned long round_trips(loader_front_ring_t *front, loader_back_ring_t *back,
						    struct request messages[2], struct response answers[2],
						    unsigned long count)
{
	unsigned long done = 0;

	while (done < count) {
		if (ask(front, &messages[0]) != 1 || serve(back, &messages[1], &answers[0]) != 1 ||
		    finish(front, &answers[1]) != 1)
			abort();
		done++;
	}
	return done;
}

int main(int argc, char **argv)
{
	unsigned long count = argc > 1 ? strtoul(argv[1], NULL, 10) : 1;
	loader_sring_t *page = aligned_alloc(4096, 4096);
	struct request messages[2];
	struct response answers[2];
	loader_front_ring_t front;
	loader_back_ring_t back;

	memset(messages, 0x5a, sizeof(messages));
	memset(answers, 0xa5, sizeof(answers));
	memset(page, 0, 4096);
	SHARED_RING_INIT(page);
	FRONT_RING_INIT(&front, page, 4096);
	BACK_RING_INIT(&back, page, 4096);
	printf("%lu\n", round_trips(&front, &back, messages, answers, count));
	return 0;
}
