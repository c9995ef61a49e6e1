# SPDX-License-Identifier: MIT OR Apache-2.0
# A module goes in with its parameter; the guest's kernel itself is asked what it got.
#: core
mark_log 1
expect_status 0 vesper insmod 1 $KO/answer.ko answer=42
expect_log 1 "vesper_answer: loaded, answer=42"
expect_module 1 answer
expect_equal "the parameter in the guest" "$(guest 1 'cat /sys/module/answer/parameters/answer')" 42
expect_status 0 vesper list
expect_text answer
expect_status 0 vesper rmmod 1 answer
