# SPDX-License-Identifier: MIT OR Apache-2.0
# A guest that exports more than it may is refused, by the frontend already; what it had goes on, and others are unharmed.
#: guests=2 memory=256
for guest in 1 2; do expect_status 0 vesper probe $guest numbers -- count=10; done
before=$(usage 1)
refused_by_host() { grep -c "domain 1: export .* is not taken" /var/log/vesperd.log; }
had=$(refused_by_host)
expect_status 1 vesper insmod 1 $KO/paper.ko subbuf_size=1048576 n_subbufs=32
expect_text ENOSPC
expect_equal "exports that the host had to refuse" "$(refused_by_host)" "$had"
expect_status 0 vesper insmod 1 $KO/paper.ko subbuf_size=1048576 n_subbufs=8
expect_status 0 vesper rmmod 1 paper
sleep 1
expect_equal "what is in use" "$(usage 1)" "$before"
for guest in 1 2; do
  vesper tail $guest/numbers --format json | grep -c '"item":"record"' > /tmp/count
  expect_equal "records of guest $guest" "$(cat /tmp/count)" 10
  expect_status 0 vesper unprobe $guest numbers
done
