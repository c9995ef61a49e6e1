# SPDX-License-Identifier: MIT OR Apache-2.0
# xenstored is replaced while it runs: the daemon, the device and the next command do not notice.
#: alone
check_works 1
pid=$(cat /run/xenstored.pid)
expect_status 0 xenstore-control live-update -f $(readlink -f $(command -v xenstored))
expect_status 0 xenstore-control live-update -s -t 30
check_works 1
expect_status 0 vesper detach 1
expect_status 0 vesper attach 1
check_works 1
