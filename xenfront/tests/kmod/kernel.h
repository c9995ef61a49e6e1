/* SPDX-License-Identifier: GPL-2.0 */
/*
 * As much of a kernel as vesper_positions.c and vesper_record.c want, in a
 * process: one CPU, whose interrupt is a signal.
 */
#ifndef KERNEL_H
#define KERNEL_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int32_t s32;
typedef int64_t s64;
typedef u16 umode_t;
#define static_assert(what) _Static_assert(what, #what)
#define U16_MAX 0xffff
#define PAGE_SIZE 4096

#define READ_ONCE(x) (*(const volatile typeof(x) *)&(x))
#define WRITE_ONCE(x, value) (*(volatile typeof(x) *)&(x) = (value))
#define smp_mb() __atomic_thread_fence(__ATOMIC_SEQ_CST)
#define smp_rmb() __atomic_thread_fence(__ATOMIC_ACQUIRE)
#define smp_wmb() __atomic_thread_fence(__ATOMIC_RELEASE)
#define smp_store_release(p, value) __atomic_store_n(p, value, __ATOMIC_RELEASE)

typedef struct { s64 counter; } atomic64_t;
#define atomic64_read(a) __atomic_load_n(&(a)->counter, __ATOMIC_RELAXED)
#define atomic64_set(a, value) __atomic_store_n(&(a)->counter, value, __ATOMIC_RELAXED)
#define atomic64_inc(a) ((void)__atomic_add_fetch(&(a)->counter, 1, __ATOMIC_SEQ_CST))
#define atomic64_fetch_inc(a) __atomic_fetch_add(&(a)->counter, 1, __ATOMIC_SEQ_CST)

static inline s64 atomic64_cmpxchg(atomic64_t *a, s64 old, s64 new)
{
	__atomic_compare_exchange_n(&a->counter, &old, new, false,
				    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	return old;
}

#define min_t(type, a, b) ((type)(a) < (type)(b) ? (type)(a) : (type)(b))
#define max_t(type, a, b) ((type)(a) > (type)(b) ? (type)(a) : (type)(b))
#define min(a, b) min_t(typeof(a), a, b)
#define ALIGN(x, to) (((x) + (to) - 1) & ~((typeof(x))(to) - 1))
#define container_of(p, type, member) \
	((type *)((char *)(p) - offsetof(type, member)))
#define EXPORT_SYMBOL_GPL(name) extern int name##_is_exported

struct list_head { struct list_head *next, *prev; };
struct kref { int count; };
struct completion { int done; };

#define list_for_each_entry(at, head, member) \
	for (at = container_of((head)->next, typeof(*at), member); \
	     &at->member != (head); \
	     at = container_of(at->member.next, typeof(*at), member))
#define list_for_each_entry_rcu list_for_each_entry
#define rcu_read_lock() do { } while (0)
#define rcu_read_unlock() do { } while (0)

/* ---- the one CPU ---- */

#define cpu_online_mask NULL
#define cpumask_first(mask) 0
#define cpu_online(cpu) ((cpu) == 0)
#define smp_processor_id() 0
#define for_each_possible_cpu(cpu) for (cpu = 0; cpu < 1; cpu++)
#define on_each_cpu(call, data, wait) call(data)
#define this_cpu_ptr(p) (p)
#define in_nmi() false

/* The signal that comes meanwhile finds this and does nothing. */
extern volatile bool interrupts_off;
#define local_irq_save(flags) ((flags) = interrupts_off, interrupts_off = true)
#define local_irq_restore(flags) (interrupts_off = (flags))

/* ---- relay, as far as its user sees it ---- */

struct dentry;
struct rchan_buf;

struct rchan_callbacks {
	int (*subbuf_start)(struct rchan_buf *buf, void *subbuf,
			    void *prev_subbuf, size_t prev_padding);
};

struct rchan {
	size_t subbuf_size, n_subbufs;
	const struct rchan_callbacks *cb;
	struct rchan_buf **buf;
	int is_global;
};

struct rchan_buf {
	void *start, *data;
	size_t offset, subbufs_produced, subbufs_consumed;
	struct rchan *chan;
	unsigned int finalized, cpu;
	size_t *padding;
};

size_t relay_switch_subbuf(struct rchan_buf *buf, size_t length);
int relay_buf_full(struct rchan_buf *buf);

#endif
