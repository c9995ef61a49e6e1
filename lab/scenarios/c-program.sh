# SPDX-License-Identifier: MIT OR Apache-2.0
# A C program against libvesper: loads, reads, asks whether the guest is alive, unloads.
expect_status 0 watch-guest 1 /usr/lib/vesper/probes/*/numbers.ko vesper_numbers numbers 2 "count=3"
expect_text "alive: yes" "numbers number cpu 0 seq 0" "numbers number cpu 0 seq 2" "done"
expect_status 1 watch-guest 1 $KO/einit.ko einit none 1
expect_text "No such device"
expect_status 1 watch-guest 99 $KO/answer.ko answer none 1
expect_text "No such device or address"
check_works 1
