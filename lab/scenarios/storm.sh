# SPDX-License-Identifier: MIT OR Apache-2.0
# A guest makes events as fast as it can: another guest's are told within a second, the daemon's memory stays where it is,
# and what is not told is counted.
#: guests=2 limit=300
memory() { sed -n 's/^VmRSS: *\([0-9]*\).*/\1/p' /proc/$(daemon)/status; }
expect_status 0 vesper insmod 1 $KO/storm.ko
expect_status 0 vesper probe 2 signal -- names=sleep
vesper events --follow --json > /tmp/events 2> /tmp/events.err &
follow=$!
before=$(memory)
guest --send 1 'for i in 1 2 3 4 5 6 7 8 9 10; do echo 300000 > /sys/module/storm/parameters/events; done; echo over'
expect_line 15 /tmp/events '"name":"g1"' '"event":"process-killed"'
worst=0
for round in 1 2 3 4 5; do
  seen=$(grep -c '"name":"g2"' /tmp/events)
  guest 2 "sleep 1000 & p=\$!; $named; kill -9 \$p; echo killed"
  from=$(now_ms)
  until [ $(grep -c '"name":"g2"' /tmp/events) -gt $seen ]; do
    [ $(($(now_ms) - from)) -lt 5000 ] || fail "event of guest 2 not within 5 s"
    usleep 10000
  done
  took=$(($(now_ms) - from))
  [ $took -le $worst ] || worst=$took
done
note "worst time after the guest's shell had said it: $worst ms"
[ $worst -le 1000 ] || fail "$worst ms, at most 1000 are wanted"
wait_for 200 "the end of the storm" sh -c "guest-log 1 | tr -d '\r' | grep -q '^over\|^@end.*over\|over$'"
sleep 6
after=$(memory)
note "memory of the daemon: $before KiB before, $after KiB after"
[ $((after - before)) -lt 16384 ] || fail "it grew by $((after - before)) KiB"
made=$(guest 1 'cat /sys/module/storm/parameters/made')
kill $follow
# Of each fault the newest document; what is told once more has the same number.
told=$(grep '"name":"g1"' /tmp/events | grep -o '"fault":[0-9]*' | sort -u | wc -l)
left_out=$(grep '"name":"g1"' /tmp/events | grep -o '"serial":[0-9]*,"fault":[0-9]*.*"suppressed":[0-9]*' |
  sed 's/.*"fault":\([0-9]*\).*"suppressed":\([0-9]*\).*/\1 \2/' | sort -u | awk '{ n += $2 } END { print n + 0 }')
note "made $made, told $told, counted $left_out"
[ $told -lt 400 ] || fail "$told events are told"
[ $((told + left_out)) -ge $made ] || fail "$((made - told - left_out)) events are neither told nor counted"
expect_status 0 vesper rmmod 1 storm
check_works 1
