# SPDX-License-Identifier: MIT OR Apache-2.0
# A guest is destroyed while it writes at full speed: everything up to the last published position is there, and no zombie.
#: alone limit=900 memory=256
round() {
  expect_status 0 vesper probe g1 numbers -- bytes=256
  id=$(xl domid g1)
  cat /run/vesper/$id/numbers/cpu0 | count-numbers > /tmp/counted &
  reader=$!
  sleep 1
  published=$(vesper channels g1 --json | grep -o '"records":[0-9]*' | cut -d: -f2)
  xl destroy g1
  wait $reader
  cat /tmp/counted
  eval "$(head -n 1 /tmp/counted)"
  [ $next -ge $published ] || fail "$published records were published, and record $next is the last"
  grep -q 'repeated=0 torn=0$' /tmp/counted || fail "torn or repeated"
  wait_for 10 "no zombie" sh -c '[ "$(xl list | wc -l)" = 2 ]'
}
stop_daemon
start_daemon --auto-attach
wait_for 30 "the device" connected g1
round
for n in 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
  xl create -q /etc/xen/g1.cfg || fail "xl create"
  wait_for 60 "the device" connected g1
  round
done
du -s /var/lib/vesper
