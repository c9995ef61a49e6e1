# SPDX-License-Identifier: MIT OR Apache-2.0
# A service's process is killed in one guest: Pacemaker is told at once and starts the service in the other guest; both guests go on.
#: guests=2 cluster alone xen=4.17 limit=900
cat > /etc/vesper/vesper.toml << 'END'
[attach]
all = true
[[rule]]
guests = ["g*"]
probes = ["signal:exit names=sleep"]
[[rule.service]]
name = "web"
process = "sleep"
END
stop_daemon
start_daemon
for guest in 1 2; do wait_for 60 "the probe in guest $guest" sh -c "vesper channels $guest | grep -q signal"; done
expect_status 0 /lab/cluster/setup
add_guests g1 g2
link_push
# On this node the push has Pacemaker's tools only.
rm /cluster/usr/lib/vesper/fail-resource
add_service web g1 g2
expect_status 0 cat /run/control
expect_text "start g1 web"
expect_no_text "g2"
before="$(xl domid g1) $(xl domid g2)"
guest --send 1 "sleep 1000 & $named; kill -9 \$!"
wait_for 30 "the push" grep -q 'failed web on dom0: process-killed' /var/log/vesperd.log
wait_for 60 "its start in the other guest" grep -q "start g2 web" /run/control
wait_for 60 "web in state Started" cluster_shows "web.*Started"
wait_for 30 "the cause" cluster_shows "vesper-fault-web"
expect_status 0 in_cluster crm_mon -1rfA
expect_text "vesper-fault-web" "process-killed at "
expect_no_text "g1: migration-threshold" "g2: migration-threshold"
expect_equal "domids" "$(xl domid g1) $(xl domid g2)" "$before"
expect_equal "pushes of guests" "$(pushes)" 0
