# SPDX-License-Identifier: MIT OR Apache-2.0
# Four guests with all probes at once: each reports its own.
#: guests=4 limit=300 alone
for guest in 1 2 3 4; do
  expect_status 0 vesper probe $guest panic oom signal hang block numbers
done
sleep 2
expect_status 0 vesper channels
signal() { echo 9 15 6 11 | cut -d ' ' -f $1; }
for guest in 1 2 3 4; do
  guest $guest "sleep 100 & $named; kill -$(signal $guest) \$!"
  start_tail /tmp/tail.$guest $guest/signal
done
for guest in 1 2 3 4; do
  expect_line 15 /tmp/tail.$guest '"event":"signal"' "\"sig\":$(signal $guest)" "\"guest\":\"g$guest\""
  expect_equal "signals in guest $guest" "$(grep -c '"event":"signal"' /tmp/tail.$guest)" 1
done
guest --send 3 'echo c > /proc/sysrq-trigger'
crashed() { vesper alive 3 | grep -q crashed; }
wait_for 20 "the crash of guest 3" crashed
for guest in 1 2 4; do expect_status 0 vesper alive $guest; done
expect_status 0 vesper tail 3/panic
expect_text "sysrq triggered crash"
