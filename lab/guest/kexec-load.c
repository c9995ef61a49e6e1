/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Loads the kernel that a panic starts: kexec-load KERNEL COMMAND-LINE. Busybox
 * has nothing for it, and kexec-tools want libraries.
 */
#include <fcntl.h>
#include <linux/kexec.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int kernel;

	if (argc != 3) {
		fprintf(stderr, "kexec-load KERNEL COMMAND-LINE\n");
		return 2;
	}
	kernel = open(argv[1], O_RDONLY | O_CLOEXEC);
	if (kernel < 0) {
		perror(argv[1]);
		return 1;
	}
	if (syscall(SYS_kexec_file_load, kernel, -1, strlen(argv[2]) + 1, argv[2],
		    KEXEC_FILE_ON_CRASH | KEXEC_FILE_NO_INITRAMFS)) {
		perror("kexec_file_load");
		return 1;
	}
	return 0;
}
