# SPDX-License-Identifier: MIT OR Apache-2.0
# A module by somebody who has read figure 5 of the paper only: buffers of many shapes, one and several channels, one
# buffer for all CPUs. What it writes is read on dom0, byte for byte.
#: vcpus=2 memory=512 limit=240 alone
cat > /tmp/vesper.toml <<'END'
[listener]
max_pages_per_guest = 20000
END
stop_daemon
start_daemon --config /tmp/vesper.toml
# A guest learns of new limits when it is attached.
expect_status 0 vesper detach 1
expect_status 0 vesper attach 1
# shape SUBBUF_SIZE N_SUBBUFS LINES BYTES [MORE]
shape() {
  size=$1; n=$2; lines=$3; bytes=$4; shift 4
  expect_status 0 vesper insmod 1 $KO/paper.ko subbuf_size=$size n_subbufs=$n count=$lines bytes=$bytes "$@"
  vesper tail 1/paper --format raw > /tmp/raw || fail "status $? from vesper tail"
  for cpu in 0 1; do
    got=$(grep -c "^paper cpu $cpu line " /tmp/raw)
    [ $got = $lines ] || fail "$got of $lines lines of cpu $cpu with $n sub-buffers of $size bytes"
    last=$(grep "^paper cpu $cpu line " /tmp/raw | tail -n 1)
    case $last in "paper cpu $cpu line $lines "*) ;; *) fail "the last line of cpu $cpu is $last" ;; esac
  done
  [ "$(wc -c < /tmp/raw)" = $((2 * lines * bytes)) ] || fail "$(wc -c < /tmp/raw) bytes and not $((2 * lines * bytes))"
  expect_status 0 vesper rmmod 1 paper
}
shape 4096 2 60 64
shape 4096 64 1000 100
shape 65536 8 1000 512
shape 1048576 2 100 4096
shape 1048576 32 2000 4096
shape 5000 7 300 77
shape 4096 8 200 64 global=1
note "two channels at once"
expect_status 0 vesper insmod 1 $KO/paper.ko name=first
expect_status 0 vesper channels 1
expect_text first
expect_status 0 vesper rmmod 1 paper
note "too large"
expect_status 1 vesper insmod 1 $KO/paper.ko subbuf_size=2097152 n_subbufs=32
check_works 1
