# SPDX-License-Identifier: MIT OR Apache-2.0
# What rules want goes into a guest when it connects, and again when it reboots, with nobody asking for it; a rule that is added
# counts at once for a guest that is there. What fails is what the rule says, and a reboot is no failure.
#: alone limit=300
hooks=/etc/vesper/hooks.d/failed.d
mkdir -p $hooks
printf '#!/bin/sh\necho "$VESPER_NAME $VESPER_EVENT $VESPER_FAILED $VESPER_SERVICE" >> /tmp/failed\n' > $hooks/10-note
chmod 755 $hooks/10-note
touch /tmp/failed
cat > /etc/vesper/vesper.toml << 'END'
[attach]
names = ["g?"]

[[rule]]
guests = ["g1"]
probes = ["panic", "signal:exit names=sleep"]

[[rule.service]]
name = "sleeper"
process = "sleep"
END
expect_status 0 vesper check-config
expect_text "1 rule"
stop_daemon
start_daemon
# probes_in NUMBER: so many that are wanted in g1 are there, as the daemon knows.
probes_in() { [ "$(vesper status g1 --json | grep -o '"state":"in"' | grep -c .)" = $1 ]; }
wait_for 60 "the probes" probes_in 2
expect_module g1 vesper_panic
expect_module g1 vesper_signal
expect_status 0 vesper channels g1
expect_text panic signal
expect_status 0 grep 'insmod of' /var/log/vesperd.log
expect_text "as the rule at /etc/vesper/vesper.toml:4 wants: done"
guest g1 "sleep 100 & $named; kill -9 \$!"
wait_for 15 "the service's failure" grep -q '^g1 process-killed service sleeper$' /tmp/failed

note "the guest reboots"
guest --send 1 reboot
wait_for 90 "the guest under another domid" sh -c 'id=$(xl domid g1) && [ $id -gt 1 ]'
wait_for 60 "the rebooted guest's device" connected g1
wait_for 60 "its probes" probes_in 2
wait_for 60 "the rebooted guest's shell" guest --limit 5 g1 true
expect_module g1 vesper_panic
expect_module g1 vesper_signal
guest g1 "sleep 100 & $named; kill -9 \$!"
wait_for 15 "the service's failure in the next boot" sh -c '[ $(grep -c "^g1 process-killed service sleeper$" /tmp/failed) = 2 ]'
expect_equal "failures" "$(grep -c . /tmp/failed)" 2

note "what is taken out by hand stays out, until the configuration is read anew"
expect_status 0 vesper unprobe g1 panic
sleep 2
expect_no_module g1 vesper_panic
printf '\n[[rule]]\nguests = ["*"]\nprobes = ["oom", "nosuch"]\nfailed = ["guest-oops"]\n' >> /etc/vesper/vesper.toml
expect_status 0 vesper check-config
expect_text "2 rules"
kill -HUP $(daemon)
wait_for 30 "the probes of both rules" probes_in 3
expect_module g1 vesper_panic
expect_module g1 vesper_oom
expect_status 0 vesper status g1
expect_text "nosuch (/etc/vesper/vesper.toml:12): failed: there are no probes nosuch for the kernel"
expect_status 0 vesper events g1
expect_text "probe-lost" "a rule wants the probes nosuch in it"
expect_equal "times that this was told in the log" "$(grep -c 'insmod of nosuch into' /var/log/vesperd.log)" 1

note "a panic is now no failure, for the rule says what is"
guest --send g1 'echo c > /proc/sysrq-trigger'
wait_for 30 "the panic's event" sh -c 'vesper events g1 --json | grep -q "\"event\":\"guest-panic\""'
sleep 3
expect_equal "failures" "$(grep -c . /tmp/failed)" 2
rm -r /etc/vesper/hooks.d /etc/vesper/vesper.toml
