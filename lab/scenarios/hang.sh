# SPDX-License-Identifier: MIT OR Apache-2.0
# A task of the guest hangs, asleep or at work: who, and where.
#: vcpus=2 alone limit=240
expect_status 0 vesper probe 1 hang
start_tail /tmp/tail 1/hang
expect_line 10 /tmp/tail '"item":"started"'
guest 1 'echo 2 > /proc/sys/kernel/hung_task_timeout_secs; echo 1 > /proc/sys/kernel/hung_task_check_interval_secs; echo 2 > /proc/sys/kernel/watchdog_thresh'
expect_status 0 vesper insmod 1 $KO/stuck.ko how=sleep
expect_line 30 /tmp/tail '"event":"hung_task"' '"comm":"vesper_stuck"' 'vesper_stuck_sleeping'
expect_event g1 process-stuck 'hung_task' 'vesper_stuck' vesper_stuck_sleeping
expect_status 0 vesper rmmod 1 stuck
expect_status 0 vesper insmod 1 $KO/stuck.ko how=spin seconds=20
expect_line 30 /tmp/tail '"event":"soft_lockup"' 'vesper_stuck_spinning'
expect_event g1 process-stuck 'soft_lockup' vesper_stuck_spinning
