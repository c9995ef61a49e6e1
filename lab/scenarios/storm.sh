# SPDX-License-Identifier: MIT OR Apache-2.0
# A guest makes events as fast as it can: another guest's are told within a second, the daemon's memory stays where it is,
# and what is not told is counted.
#: guests=2 limit=300
memory() { awk -v what=$1: '$1 == what { print $2 }' /proc/$(daemon)/status; }
is_over() { guest-log 1 | tr -d '\r' | grep -q 'storm is over$'; }
expect_status 0 vesper insmod 1 $KO/storm.ko
expect_status 0 vesper probe 2 signal -- names=sleep
vesper events --follow --json > /tmp/events 2> /tmp/events.err &
follow=$!
before=$(memory VmRSS)
# How fast they are made is measured by the guest's own clock; then they go on until they are told to end.
guest 1 '{ from=$(cut -d" " -f1 /proc/uptime); echo 3000000 > /sys/module/storm/parameters/events; to=$(cut -d" " -f1 /proc/uptime)
  echo 3000000 events from $from to $to; until [ -e /tmp/calm ]; do echo 300000 > /sys/module/storm/parameters/events; done; echo storm is over; } &'
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
! is_over || fail "the storm was over before the other guest's events"
rate_is_known() { guest-log 1 | tr -d '\r' | grep -o '3000000 events from [0-9.]* to [0-9.]*$' > /tmp/rate; }
wait_for 120 "3000000 events" rate_is_known
rate=$(awk '{ print int($1 / ($6 - $4)) }' /tmp/rate)
note "$rate events/s"
[ $rate -ge 100000 ] || fail "$rate events/s, at least 100000 are wanted"
guest 1 'touch /tmp/calm' || fail "guest 1"
wait_for 60 "the end of the storm" is_over
sleep 6
peak=$(memory VmHWM)
note "memory of the daemon: $before KiB before, $peak KiB at most"
[ $before -gt 1000 ] && [ $peak -ge $before ] || fail "that cannot be"
[ $((peak - before)) -lt 16384 ] || fail "it grew by $((peak - before)) KiB"
expect_line 15 /tmp/events '"name":"g1"' '"event":"events-suppressed"'
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
