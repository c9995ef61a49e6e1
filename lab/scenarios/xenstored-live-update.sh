# SPDX-License-Identifier: MIT OR Apache-2.0
# xenstored is replaced while it runs: the daemon, the device and the next command do not notice.
#: alone
check_works 1
expect_status 0 xenstore-control live-update $(readlink -f $(command -v xenstored))
note "the one that took over: $(tr "\000" " " < /proc/$(cat /run/xenstored.pid)/cmdline)"
tr "\000" " " < /proc/$(cat /run/xenstored.pid)/cmdline | grep -q -e " -U" || fail "xenstored was not replaced"
check_works 1
expect_status 0 vesper detach 1
expect_status 0 vesper attach 1
check_works 1
