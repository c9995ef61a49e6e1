# SPDX-License-Identifier: MIT OR Apache-2.0
# vesperd is killed while a guest writes at full speed and is read, and started again: what was written before the end is
# still there, counts go on, nothing is repeated.
#: limit=240 alone memory=256
expect_status 0 vesper probe 1 numbers -- rate=20000 n_subbufs=64
cat /run/vesper/1/numbers/cpu0 > /tmp/first &
reader=$!
sleep 3
stop_daemon -KILL
wait $reader
count-numbers < /tmp/first > /tmp/counted
cat /tmp/counted
grep -q 'repeated=0 torn=0$' /tmp/counted || fail "before"
eval "$(head -n 1 /tmp/counted)"; had=$next
sleep 1
start_daemon --auto-attach
again() { vesper channels 1 --json | grep -q numbers; }
wait_for 30 "the channel" again
cat /run/vesper/1/numbers/cpu0 > /tmp/second &
reader=$!
sleep 3
expect_status 0 vesper unprobe 1 numbers
wait $reader
count-numbers < /tmp/second > /tmp/counted
cat /tmp/counted
grep -q 'repeated=0 torn=0$' /tmp/counted || fail "after"
eval "$(head -n 1 /tmp/counted)"
[ $first -le $had ] || fail "records $had to $first are missing"
[ $next -gt $had ] || fail "nothing came after"
check_works 1
