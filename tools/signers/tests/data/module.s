# SPDX-License-Identifier: MIT OR Apache-2.0
# A module that no kernel has to take: what vesperd looks at is there.
	.section .modinfo, "a"
	.asciz "license=GPL"
	.asciz "depends="
	.asciz "name=signed"
	.asciz "vermagic=6.1.0-loopback SMP preempt mod_unload modversions "
	.section .gnu.linkonce.this_module, "aw"
	.zero 896
	.text
	.globl init_module
init_module:
	xor %eax, %eax
	ret
