# SPDX-License-Identifier: MIT OR Apache-2.0
# A guest that waits 10 s after a panic: the record is here at once, long before Xen knows.
#: alone limit=180
expect_status 0 vesper probe 1 panic
guest 1 'echo 10 > /proc/sys/kernel/panic'
start_tail /tmp/tail 1/panic
expect_line 10 /tmp/tail '"item":"started"'
guest --send 1 'echo c > /proc/sysrq-trigger'
expect_line 6 /tmp/tail '"event":"panic"' '"last_words":true'
xl list
xl list | awk '$1 == "g1" { exit $5 ~ /c/ }' || fail "Xen knew already"
note "and Xen does not know yet"
