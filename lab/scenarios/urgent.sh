# SPDX-License-Identifier: MIT OR Apache-2.0
# One small urgent record in an empty buffer of 1 MiB is here at once, also when the guest's CPU takes no interrupt after it;
# a record that is not urgent, within the idle time.
expect_status 0 vesper insmod 1 $KO/urgent.ko subbuf_size=1048576 n_subbufs=2
start_tail /tmp/tail 1/urgent
expect_line 10 /tmp/tail '"item":"started"'
guest 1 'echo 1 > /sys/module/urgent/parameters/urgent'
expect_line 2 /tmp/tail '"event":"urgent"' '"seq":0' '"urgent":true'
guest 1 'echo 1 > /sys/module/urgent/parameters/quiet'
expect_line 3 /tmp/tail '"event":"quiet"' '"seq":1'
note "no timer of the guest can help"
guest --send 1 'echo 8 > /sys/module/urgent/parameters/spin'
expect_line 5 /tmp/tail '"event":"urgent"' '"seq":2' '"urgent":true'
guest 1 true || fail "the guest is not back"
kill $tail_pid
expect_status 0 vesper rmmod 1 urgent
