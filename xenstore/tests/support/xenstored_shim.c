/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * LD_PRELOAD library: runs the stock xenstored of Xen 4.17 on a machine without Xen.
 *
 * It stands in for the three libraries through which xenstored meets the hypervisor:
 *
 *   grant table      the store ring page of domain N is the file $XSHIM_DIR/ring-N (4096 bytes, mapped shared)
 *   event channels   a guest's kick is its domain id, one uint32_t written to the FIFO $XSHIM_DIR/kick;
 *                    xenstored's kicks to guests go nowhere, a guest looks at its ring's indexes instead
 *   domain list      every domain that is asked for exists and runs
 *
 * and for the two files that name dom0's own ring (/proc/xen/xsd_kva and xsd_port), which stays silent: dom0
 * speaks over the socket. Everything else of the daemon is the real thing.
 *
 * Newer Xen asks for xc_domain_getinfo_single instead of xc_domain_getinfo.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGE = 4096, PORT_VIRQ = 1, PORT_FIRST = 1000 };

static int kick_fd = -1;
static char handle; /* any address that is not NULL */

typedef int open_fn(const char *path, int flags, ...);

static int real_open(const char *name, const char *path, int flags, int mode)
{
	open_fn *next = (open_fn *)dlsym(RTLD_NEXT, name);

	return next(path, flags, mode);
}

static int open_in_dir(const char *file, int flags)
{
	const char *dir = getenv("XSHIM_DIR");
	char path[512];

	if (!dir || snprintf(path, sizeof(path), "%s/%s", dir, file) >= (int)sizeof(path)) {
		fprintf(stderr, "xenstored_shim: XSHIM_DIR is not set or too long\n");
		abort();
	}
	if (flags & O_CREAT)
		mkfifo(path, 0600);
	return real_open("open", path, flags & ~O_CREAT, 0);
}

/* A daemon must not outlive the test that started it. */
__attribute__((constructor)) static void die_with_parent(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
}

/* --- libxenevtchn --- */

void *xenevtchn_open(void *logger, unsigned int flags)
{
	(void)logger, (void)flags;
	/* O_RDWR: the FIFO never reports an end of file. */
	kick_fd = open_in_dir("kick", O_RDWR | O_NONBLOCK | O_CREAT);
	return kick_fd < 0 ? NULL : &handle;
}

void *xenevtchn_fdopen(void *logger, int fd, unsigned int flags)
{
	(void)fd;
	return xenevtchn_open(logger, flags);
}

int xenevtchn_fd(void *xce)
{
	(void)xce;
	return kick_fd;
}

int xenevtchn_bind_virq(void *xce, unsigned int virq)
{
	(void)xce, (void)virq;
	return PORT_VIRQ;
}

int xenevtchn_bind_interdomain(void *xce, uint32_t domid, uint32_t port)
{
	(void)xce, (void)port;
	return PORT_FIRST + domid;
}

int xenevtchn_pending(void *xce)
{
	uint32_t domid;

	(void)xce;
	return read(kick_fd, &domid, sizeof(domid)) == sizeof(domid) ? (int)(PORT_FIRST + domid) : -1;
}

int xenevtchn_unbind(void *xce, uint32_t port) { (void)xce, (void)port; return 0; }
int xenevtchn_notify(void *xce, uint32_t port) { (void)xce, (void)port; return 0; }
int xenevtchn_unmask(void *xce, uint32_t port) { (void)xce, (void)port; return 0; }
int xenevtchn_close(void *xce) { (void)xce; return 0; }

/* --- libxengnttab --- */

void *xengnttab_open(void *logger, unsigned int flags) { (void)logger, (void)flags; return &handle; }
int xengnttab_close(void *xgt) { (void)xgt; return 0; }
int xengnttab_set_max_grants(void *xgt, uint32_t count) { (void)xgt, (void)count; return 0; }

void *xengnttab_map_grant_ref(void *xgt, uint32_t domid, uint32_t ref, int prot)
{
	char file[32];
	void *page;
	int fd;

	(void)xgt, (void)ref, (void)prot;
	snprintf(file, sizeof(file), "ring-%u", domid);
	fd = open_in_dir(file, O_RDWR);
	if (fd < 0)
		return NULL;
	page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	return page == MAP_FAILED ? NULL : page;
}

int xengnttab_unmap(void *xgt, void *page, uint32_t count)
{
	(void)xgt;
	return munmap(page, (size_t)PAGE * count);
}

/* --- libxenctrl --- */

void *xc_interface_open(void *logger, void *dombuild, unsigned int flags)
{
	(void)logger, (void)dombuild, (void)flags;
	return &handle;
}

int xc_interface_close(void *xch) { (void)xch; return 0; }

/* xc_dominfo_t begins with: uint32_t domid, ssidref; bit field dying, crashed, shutdown, ... */
int xc_domain_getinfo(void *xch, uint32_t first, unsigned int max, uint32_t *info)
{
	(void)xch, (void)max;
	info[0] = first;
	info[1] = 0;
	info[2] = 0;
	return 1;
}

/* --- dom0's own ring --- */

static int fake_file(const char *path)
{
	int fd = memfd_create("xenstored-shim", MFD_CLOEXEC);

	if (fd < 0)
		return fd;
	if (strstr(path, "xsd_port")) {
		if (write(fd, "1", 1) != 1)
			abort();
		lseek(fd, 0, SEEK_SET);
	} else if (ftruncate(fd, PAGE)) {
		abort();
	}
	return fd;
}

#define INTERPOSE(name)                                                    \
	int name(const char *path, int flags, ...)                         \
	{                                                                  \
		va_list args;                                              \
		int mode = 0;                                              \
                                                                           \
		if (strstr(path, "xsd_kva") || strstr(path, "xsd_port"))   \
			return fake_file(path);                            \
		if (flags & (O_CREAT | O_TMPFILE)) {                       \
			va_start(args, flags);                             \
			mode = va_arg(args, int);                          \
			va_end(args);                                      \
		}                                                          \
		return real_open(#name, path, flags, mode);                \
	}

INTERPOSE(open)
INTERPOSE(open64)
INTERPOSE(__open_2)
INTERPOSE(__open64_2)
