# SPDX-License-Identifier: MIT OR Apache-2.0
# What the throughput benchmark does in dom0: in turns the same bytes through libxenvchan and through a relay channel.
# Lines that begin with "@" are figures:
#   @vchan RING CHUNK BYTES NANOSECONDS SUM CPU_MICROSECONDS DOM0_NANOSECONDS
#   @relay RECORD BYTES NANOSECONDS SUM CPU_MICROSECONDS DOM0_NANOSECONDS COPIED
#   @writer RECORD BYTES NANOSECONDS: the guest alone, into a channel that nobody reads
#   @reader BYTES NANOSECONDS: the checksum alone, of memory of dom0's own
ROUNDS=${ROUNDS:-5}
BULK=$((1 << 30))
SMALL=$((256 << 20))
NODE=/local/domain/1/data/bench

fail() { echo "FAILED: $*"; exit 1; }
echo 0 > /proc/sys/kernel/randomize_va_space
# The reader takes the daemon's place.
kill $(cat /run/vesperd.pid)
guest 1 "for m in xen-gntalloc xen-evtchn xen-gntdev; do insmod /lab/bench/\$m.ko || exit 1; done" || fail "modules"
guest 1 "insmod /lab/bench/flood.ko pause_us=50" || fail "flood.ko"

# vchan RING CHUNK TOTAL
through_vchan() {
  guest --send 1 "/lab/bench/vchan send $NODE $1 $2 $3"
  before=$(bench-reader cpu)
  timeout 120 vchan receive 1 $NODE 65536 $3 > /tmp/figures || fail "vchan $*"
  after=$(bench-reader cpu)
  echo "@vchan $1 $2 $(sed -n 's/^@received //p' /tmp/figures) $((after - before))"
}
# relay RECORD TOTAL
through_relay() {
  guest 1 "echo $1 > /sys/module/flood/parameters/bytes" || fail "flood"
  : > /tmp/figures
  timeout 120 bench-reader sum 1 flood $2 > /tmp/figures 2> /tmp/errors &
  reader=$!
  until grep -q '^@waiting' /tmp/figures; do kill -0 $reader || { cat /tmp/errors; fail "no reader"; }; usleep 100000; done
  usleep 500000
  before=$(bench-reader cpu)
  guest --send 1 "echo $(($2 / $1)) > /sys/module/flood/parameters/run"
  wait $reader || { cat /tmp/errors /tmp/figures; fail "relay $*"; }
  after=$(bench-reader cpu)
  echo "@relay $1 $(sed -n 's/^@received //p' /tmp/figures) $((after - before)) $(sed -n 's/^@copied //p' /tmp/figures)"
  echo "refused at first: $(guest 1 'cat /sys/module/flood/parameters/refused')"
}

# writer RECORD TOTAL
writer() {
  guest 1 "cd /sys/module/flood/parameters && echo $1 > bytes && echo $(($2 / $1)) > alone" || fail "flood alone"
  echo "@writer $1 $2 $(guest 1 'cat /sys/module/flood/parameters/alone')"
}

round=0
while [ $round -lt $ROUNDS ]; do
  through_vchan 524288 65536 $BULK
  through_vchan 1048576 65536 $BULK
  through_relay 4096 $BULK
  through_vchan 524288 64 $SMALL
  through_vchan 65536 64 $SMALL
  through_relay 64 $SMALL
  writer 4096 $BULK
  writer 64 $SMALL
  bench-reader alone $BULK
  round=$((round + 1))
done
