# SPDX-License-Identifier: MIT OR Apache-2.0
# Guests whose kernels refuse modules on principle: signatures enforced, modules disabled. Nothing gets past that.
#: guests=2 alone
guest 1 'echo 1 > /sys/module/module/parameters/sig_enforce' || fail "guest 1 cannot enforce signatures"
expect_status 1 vesper insmod 1 $KO/answer.ko
expect_text EKEYREJECTED
expect_no_module 1 answer
guest 2 'echo 1 > /proc/sys/kernel/modules_disabled' || fail "guest 2 cannot disable modules"
expect_status 1 vesper insmod 2 $KO/answer.ko
expect_text EPERM
expect_no_module 2 answer
