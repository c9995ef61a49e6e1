# SPDX-License-Identifier: MIT OR Apache-2.0
# A guest is destroyed while it writes at full speed: everything up to the last published position is there, and no zombie.
# In every other round the reader stands still meanwhile, so that a full buffer is left to be read.
#: alone limit=1800 memory=256
round() {
  expect_status 0 vesper probe g1 numbers -- bytes=256
  id=$(xl domid g1)
  count-numbers < /tmp/pipe > /tmp/counted &
  counter=$!
  cat /run/vesper/$id/numbers/cpu0 > /tmp/pipe &
  reader=$!
  sleep 1
  [ $1 = reads ] || { kill -STOP $reader; sleep 1; }
  vesper channels g1 --json > $OUT
  published=$(grep -o '"records":[0-9]*' $OUT | cut -d: -f2)
  dropped=$(grep -o '"dropped":[0-9]*' $OUT | cut -d: -f2)
  xl destroy g1
  kill -CONT $reader
  wait $counter
  cat /tmp/counted
  eval "$(head -n 1 /tmp/counted)"
  if [ $1 = reads ]; then
    [ $next -ge $published ] || fail "$published records were published, and record $next is the last"
  else
    # The guest may be between its two counts.
    [ $received -ge $((published - dropped - 10)) ] || fail "$published records less $dropped found room, and $received came"
  fi
  grep -q 'repeated=0 torn=0$' /tmp/counted || fail "torn or repeated"
  wait_for 10 "no zombie" sh -c '[ "$(xl list | wc -l)" = 2 ]'
}
stop_daemon
start_daemon --auto-attach
wait_for 30 "the device" connected g1
mkfifo /tmp/pipe
round stands
for n in 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
  xl create -q /etc/xen/g1.cfg || fail "xl create"
  wait_for 60 "the device" connected g1
  if [ $((n % 2)) = 0 ]; then round reads; else round stands; fi
done
du -s /var/lib/vesper
