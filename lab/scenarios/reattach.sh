# SPDX-License-Identifier: MIT OR Apache-2.0
# Fifty times detached and attached: grants, event channels, xenstore nodes and the daemon's descriptors are where they
# began.
#: limit=400
check_works 1
before=$(usage 1)
note "before: $before"
i=0
while [ $i -lt 50 ]; do
  vesper detach 1 > $OUT 2>&1 || { cat $OUT; fail "detach number $i"; }
  vesper attach 1 > $OUT 2>&1 || { cat $OUT; fail "attach number $i"; }
  i=$((i + 1))
done
check_works 1
expect_equal "usage after 50 cycles" "$(usage 1)" "$before"
expect_status 0 vesper insmod 1 $KO/answer.ko
note "a detach is refused while a module is in"
vesper detach 1 && fail "detach went through with a module loaded"
expect_status 0 vesper detach 1 --force
expect_status 0 vesper attach 1
expect_status 0 vesper rmmod 1 answer
