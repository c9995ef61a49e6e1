# SPDX-License-Identifier: MIT OR Apache-2.0
# A module goes out again: its exit function ran, the kernel forgot it, and so did VESPER.
#: core
expect_status 0 vesper insmod 1 $KO/answer.ko answer=1
mark_log 1
expect_status 0 vesper rmmod 1 answer
expect_log 1 "vesper_answer: unloaded"
expect_no_module 1 answer
expect_status 0 vesper list --json
expect_no_text '"answer"'
note "and once more, from the start"
check_works 1
