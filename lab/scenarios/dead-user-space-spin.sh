# SPDX-License-Identifier: MIT OR Apache-2.0
# A real-time task that never sleeps has one of two vCPUs: loads and unloads still work. The kernel's own limit for such
# tasks (95 % of each second) stays on: without it the kernel's grace periods do not end, and no module loads at all,
# whoever asks.
#: vcpus=2 alone
guest 1 '/lab/realtime-spin 1 &
sleep 1; kill -0 $!' || fail "the task cannot be started"
spun() { guest 1 "awk '/^cpu1 /{print \$2}' /proc/stat"; }
before=$(spun)
mark_log 1
expect_status 0 vesper insmod 1 $KO/answer.ko answer=42
expect_log 1 "vesper_answer: loaded, answer=42"
expect_status 0 vesper rmmod 1 answer
expect_log 1 "vesper_answer: unloaded"
check_works 1
after=$(spun)
[ "$after" -gt "$before" ] || fail "the task did not spin: $before, then $after ticks"
note "the task spun for $((after - before)) ticks meanwhile"
