# SPDX-License-Identifier: MIT OR Apache-2.0
# A process of the guest takes all its memory: who was killed, and what it had.
#: core
expect_status 0 vesper probe 1 oom
start_tail /tmp/tail 1/oom
expect_line 10 /tmp/tail '"item":"started"'
guest --send 1 'for n in 1 2; do dd if=/dev/zero of=/dev/null bs=100M count=100000 & done'
expect_line 60 /tmp/tail '"event":"kill"' '"comm":"dd"' '"asker_comm"'
line=$(grep '"event":"kill"' /tmp/tail | head -n 1)
[ "$(field rss_kib "$line")" -gt 10000 ] || fail "the victim had $(field rss_kib "$line") KiB"
expect_event g1 guest-oom '"process":"dd"'
kill $tail_pid
expect_status 0 vesper unprobe 1 oom
check_works 1
