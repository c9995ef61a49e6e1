# SPDX-License-Identifier: MIT OR Apache-2.0
# One small urgent record in an empty buffer of 1 MiB is here at once; a record that is not, within the idle time.
expect_status 0 vesper insmod 1 $KO/urgent.ko subbuf_size=1048576 n_subbufs=2
start_tail /tmp/tail 1/urgent
expect_line 10 /tmp/tail '"item":"started"'
guest 1 'echo 1 > /sys/module/urgent/parameters/urgent'
expect_line 2 /tmp/tail '"event":"urgent"' '"seq":0' '"urgent":true'
guest 1 'echo 1 > /sys/module/urgent/parameters/quiet'
expect_line 3 /tmp/tail '"event":"quiet"' '"seq":1'
kill $tail_pid
expect_status 0 vesper rmmod 1 urgent
