# SPDX-License-Identifier: MIT OR Apache-2.0
# A guest that crashed and is preserved has failed, with its cause; ocf:heartbeat:Xen says that it is well. A paused one has not failed, and one that
# goes on after an OOM kill is degraded.
#: guests=2 cluster alone xen=4.17 limit=300
expect_status 0 /lab/cluster/setup agents
for guest in 1 2; do expect_status 0 vesper probe $guest panic; done
expect_status 0 agent monitor g1
xl pause 2
sleep 2
expect_status 0 agent monitor g2
xl unpause 2
expect_status 0 vesper probe 2 oom
guest --send 2 'echo f > /proc/sysrq-trigger'
expect_event g2 guest-oom
expect_status 190 agent monitor g2
expect_text "ocf-exit-reason:vesper: guest g2 goes on after guest-oom: "
guest --send 1 'echo c > /proc/sysrq-trigger'
wait_for 30 "the crash" sh -c 'xl list g1 | grep -q -e "--s*c"'
expect_status 1 agent monitor g1
expect_text "ocf-exit-reason:vesper: guest g1: guest-panic: " "sysrq triggered crash"
AGENT=heartbeat/Xen
expect_status 0 agent monitor g1
AGENT=
note "without vesperd"
stop_daemon
expect_status 1 agent monitor g1
expect_text "xl: it has crashed"
# xl knows nothing of that.
expect_status 0 agent monitor g2
start_daemon
expect_status 0 agent stop g1
expect_status 7 agent monitor g1
