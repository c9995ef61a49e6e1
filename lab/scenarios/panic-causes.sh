# SPDX-License-Identifier: MIT OR Apache-2.0
# Four ways to a guest's end, each told once, with its message: panic() with more arguments than there are registers for
# them, panic() where a kprobe on it is missed, an oops that the guest does not survive, and one that it does.
#: guests=4 alone limit=240
for id in 1 2 3 4; do expect_status 0 vesper probe $id panic; done
for id in 1 2 3 4; do start_tail /tmp/tail$id $id/panic; done
for id in 1 2 3 4; do expect_line 20 /tmp/tail$id '"item":"started"'; done
ended() { expect_line 30 /tmp/tail$1 '"item":"gone"'; expect_equal "last words" $(grep -c '"last_words":true' /tmp/tail$1) 1; }
vesper insmod --timeout 3 1 $KO/panics.ko
expect_line 20 /tmp/tail1 '"last_words":true' '"message":"vesper_panics: one -2 3 4 5 6 seven 8"' the_end panics_init
ended 1
vesper insmod --timeout 3 2 $KO/panics.ko how=probe
expect_line 20 /tmp/tail2 '"last_words":true' '"message":"vesper_panics: one -2 3 4 5 6 seven 8"' in_a_probe
ended 2
guest 3 'echo 1 > /proc/sys/kernel/panic_on_oops'
vesper insmod --timeout 3 3 $KO/oops.ko
expect_line 20 /tmp/tail3 '"last_words":true' '"message":"fatal: Oops: 0000 at oops_init' oops_init
ended 3
vesper insmod 4 $KO/oops.ko
expect_line 20 /tmp/tail4 '"event":"oops"' '"message":"Oops: 0000 at oops_init' do_one_initcall 'Modules linked in'
check_works 4
expect_status 0 vesper unprobe 4 panic
expect_equal "ends of guest 4" "$(grep -c '"event":"panic"' /tmp/tail4)" 0
