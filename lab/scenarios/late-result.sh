# SPDX-License-Identifier: MIT OR Apache-2.0
# A result that comes after its deadline is set right, and the queue goes on.
#: core
expect_status 5 vesper insmod 1 $KO/slowinit.ko seconds=8 --timeout 3
note "the kernel is still busy with it: the next command says so"
vesper insmod 1 $KO/answer.ko --timeout 2 > $OUT 2>&1
status=$?
cat $OUT
[ $status -ne 0 ] || fail "a command went through a busy kernel"
listed() { vesper list --json | grep -q '"slowinit"'; }
wait_for 30 "the late module in the list" listed
expect_module 1 slowinit
expect_status 0 vesper rmmod 1 slowinit
check_works 1
