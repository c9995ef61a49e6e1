# SPDX-License-Identifier: MIT OR Apache-2.0
# A guest to which Xen gives no CPU time does not beat, and is alive.
#: alone
expect_status 0 vesper alive 1
xl cpupool-list
xl sched-credit2 -d 1 -c 1 || xl sched-credit -d 1 -c 1
# Work in dom0 on every CPU, so that there is nothing over for a guest that may have 1 %.
for n in 1 2 3; do sh -c 'while :; do :; done' & done
for n in 1 2 3 4; do
  sleep 2
  expect_status 0 vesper alive 1
done
kill $(jobs -p)
