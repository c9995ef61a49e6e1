# SPDX-License-Identifier: MIT OR Apache-2.0
# Every process of the guest's user space is frozen, process 1 included: loads and unloads still work.
#: core alone
guest --send 1 /lab/freeze
wait_for 60 "the guest's user space to stop" sh -c "guest-log 1 | grep -q 'user space stopped'"
guest --limit 5 1 true && fail "the guest's user space still answers"
mark_log 1
expect_status 0 vesper insmod 1 $KO/answer.ko answer=42
expect_log 1 "vesper_answer: loaded, answer=42"
expect_status 0 vesper rmmod 1 answer
expect_log 1 "vesper_answer: unloaded"
expect_status 1 vesper insmod 1 $KO/unknown_symbol.ko
expect_text vesper_function_that_is_nowhere
check_works 1
guest --limit 3 1 true && fail "the guest's user space answers again"
true
