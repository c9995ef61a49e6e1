# SPDX-License-Identifier: MIT OR Apache-2.0
# A disk of the guest answers with errors.
expect_status 0 vesper probe 1 block
start_tail /tmp/tail 1/block
expect_line 10 /tmp/tail '"item":"started"'
expect_status 0 vesper insmod 1 $KO/baddisk.ko
expect_line 20 /tmp/tail '"event":"error"' '"device":"vbad0"' '"error":-5'
expect_event g1 block-error vbad0
kill $tail_pid
expect_status 0 vesper rmmod 1 baddisk
expect_status 0 vesper unprobe 1 block
check_works 1
