# SPDX-License-Identifier: MIT OR Apache-2.0
# C programs against libvesper: one loads, reads, asks whether the guest is alive, unloads; the other is told of events, and where it ended goes on.
expect_status 0 watch-guest 1 /usr/lib/vesper/probes/*/numbers.ko vesper_numbers numbers 2 "count=3"
expect_text "alive: yes" "numbers number cpu 0 seq 0" "numbers number cpu 0 seq 2" "done"
expect_status 1 watch-guest 1 $KO/einit.ko einit none 1
expect_text "No such device"
expect_status 1 watch-guest 99 $KO/answer.ko answer none 1
expect_text "No such device or address"
expect_status 0 vesper probe 1 signal -- names=sleep
watch-events > /tmp/told 2>&1 &
program=$!
kill_one() { guest 1 "sleep 1000 & $named; kill -9 \$!"; }
kill_one
expect_line 15 /tmp/told ", g1: process-killed, warning: exit pid="
kill $program
last=$(tail -n 1 /tmp/told | cut -d' ' -f1)
kill_one
watch-events $last > /tmp/told 2>&1 &
program=$!
expect_line 15 /tmp/told ", g1: process-killed, warning: "
expect_equal "events before" "$(awk -v last=$last '$1 <= last' /tmp/told | wc -l)" 0
kill $program
expect_status 0 vesper unprobe 1 signal
check_works 1
