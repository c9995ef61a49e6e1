# SPDX-License-Identifier: MIT OR Apache-2.0
# A guest panics: its last words are here before Xen has taken it down, with the cause; they can be read after it is gone.
#: vcpus=2 alone core
expect_status 0 vesper probe 1 panic
expect_status 0 vesper channels 1
expect_text panic
start_tail /tmp/tail 1
expect_line 10 /tmp/tail '"item":"started"' '"channel":"panic"'
guest --send 1 'echo c > /proc/sysrq-trigger'
expect_line 15 /tmp/tail '"event":"panic"' '"last_words":true' 'sysrq triggered crash' 'sysrq_handle_crash'
expect_line 15 /tmp/tail '"item":"gone"' '"reason":"crashed"'
wait_for 10 "the end of tail" sh -c "! kill -0 $tail_pid"
expect_status 1 vesper alive 1
expect_text crashed
xl destroy 1
wait_for 10 "no zombie" sh -c '[ "$(xl list | wc -l)" = 2 ]'
note "after its death"
expect_status 0 vesper tail g1
expect_text "sysrq triggered crash"
saved=$(ls -d /var/lib/vesper/*-*/*)
expect_status 0 vesper replay $saved
expect_text "sysrq triggered crash" "stack:"
