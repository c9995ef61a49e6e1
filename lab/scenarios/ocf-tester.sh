# SPDX-License-Identifier: MIT OR Apache-2.0
# ocf-tester of Debian's resource-agents over our agents, with a real guest.
#: cluster alone xen=4.17 limit=900
expect_status 0 /lab/cluster/setup agents
stop_daemon
start_daemon --auto-attach
expect_status 0 in_cluster ocf-tester -n g1 -o xmfile=/etc/xen/g1.cfg -o shutdown_timeout=20 /usr/lib/ocf/resource.d/vesper/guest
expect_text "passed all tests"
expect_status 0 xl create -q /etc/xen/g1.cfg
printf '#!/bin/sh\necho "$@" >> /tmp/control\n' > /cluster/usr/local/sbin/control
chmod 755 /cluster/usr/local/sbin/control
expect_status 0 in_cluster ocf-tester -n web -o guests=g1 -o control=/usr/local/sbin/control /usr/lib/ocf/resource.d/vesper/service
expect_text "passed all tests"
expect_status 0 cat /cluster/tmp/control
expect_text "start g1 web" "stop g1 web"
