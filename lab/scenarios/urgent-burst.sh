# SPDX-License-Identifier: MIT OR Apache-2.0
# 1,000 urgent records with the reader stopped, then a panic: the panic is kept, and losses are exact.
#: alone
expect_status 0 vesper probe 1 panic
expect_status 0 vesper insmod 1 $KO/urgent.ko subbuf_size=4096 n_subbufs=4
start_tail /tmp/tail 1
expect_line 10 /tmp/tail '"item":"started"' '"channel":"urgent"'
kill -STOP $tail_pid
guest 1 'echo 1000 > /sys/module/urgent/parameters/urgent'
guest --send 1 'echo c > /proc/sysrq-trigger'
sleep 3
kill -CONT $tail_pid
expect_line 15 /tmp/tail '"event":"panic"' '"last_words":true'
expect_line 15 /tmp/tail '"item":"gone"'
got=$(grep -c '"event":"urgent"' /tmp/tail)
lost=$(grep '"item":"lost"' /tmp/tail | grep '"channel":"urgent"' | grep -o '"records":[0-9]*' | cut -d: -f2 | awk '{ n += $1 } END { print n + 0 }')
expect_equal "received $got and lost $lost" $((got + lost)) 1000
