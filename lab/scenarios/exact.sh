# SPDX-License-Identifier: MIT OR Apache-2.0
# Numbered records as fast as the guest can, to a reader that is fast, slow, absent, or killed and started again, and to one whose daemon reads its
# configuration anew all the while: what is received and what is lost is what was written; none twice, none torn. 11 million records in all.
#: limit=900 alone memory=256
total=0
# check FILE: the line of count-numbers, against the guest's own count.
check() {
  cat $1
  line=$(head -n 1 $1)
  case $line in *" repeated=0 torn=0") ;; *) fail "$2: a record twice, or torn" ;; esac
  [ $(wc -l < $1) = 1 ] || fail "$2: the stream ended within a record"
  eval "$line"
  total=$((total + received))
}
# run RECORDS: writes so many, waits until they are written.
begin() { expect_status 0 vesper insmod 1 /usr/lib/vesper/probes/*/numbers.ko count=$1 subbuf_size=65536 n_subbufs=32 "$2"; }
finished() { [ "$(guest 1 'cat /sys/module/vesper_numbers/parameters/run')" = N ]; }
# follow FILE: the channel as a reader gets it that waits for more; ended when it has been told of the channel's end.
mkfifo /tmp/follow
follow() {
  count-numbers < /tmp/follow > $1 &
  reader=$!
  vesper tail 1/numbers --format raw --follow > /tmp/follow 2> /tmp/follow.errors &
  tail_pid=$!
  wait_for 10 "the channel" grep -q "channel of" /tmp/follow.errors
}
followed() {
  wait_for 60 "the channel's end" grep -q "was closed by its module" /tmp/follow.errors
  tail -n 1 /tmp/follow.errors
  kill $tail_pid
  wait $reader
}
# all_of RECORDS FILE WHAT: waits until so many are written, takes the module out, and sees where each of them is.
all_of() {
  wait_for 300 "$1 records" finished
  sleep 1
  all=$(written)
  no_room=$(refused)
  expect_status 0 vesper rmmod 1 vesper_numbers
  followed
  check $2 "$3"
  expect_equal "received, and refused for want of room" $((received + no_room)) $1
  expect_equal "received, missing and lost at the end" $((received + missing + all - next)) $1
}
note "a fast reader"
begin 6000000 run=0
follow /tmp/fast
guest 1 'echo 1 > /sys/module/vesper_numbers/parameters/run'
all_of 6000000 /tmp/fast "fast"
note "a slow reader"
begin 2000000 run=0
follow /tmp/beside
kill -STOP $tail_pid
cat /run/vesper/1/numbers/cpu0 | { usleep 3000000; cat; } | count-numbers > /tmp/slow &
slow=$!
usleep 500000
guest 1 'echo 1 > /sys/module/vesper_numbers/parameters/run'
wait_for 300 "2 million records" finished
sleep 1
all=$(written)
no_room=$(refused)
expect_status 0 vesper rmmod 1 vesper_numbers
kill -CONT $tail_pid
followed
check /tmp/beside "stopped for a while"
wait $slow
check /tmp/slow "slow"
expect_equal "received, and refused for want of room" $((received + no_room)) 2000000
expect_equal "received, missing and lost at the end" $((first + received + missing + all - next)) 2000000
note "no reader, then one that is killed, then another"
begin 2000000 run=0
guest 1 'echo 1 > /sys/module/vesper_numbers/parameters/run'
cat /run/vesper/1/numbers/cpu0 > /dev/null &
killed=$!
sleep 1
kill -9 $killed
cat /run/vesper/1/numbers/cpu0 | count-numbers > /tmp/again &
reader=$!
wait_for 300 "2 million records" finished
sleep 1
all=$(written)
no_room=$(refused)
expect_status 0 vesper rmmod 1 vesper_numbers
wait $reader
check /tmp/again "again"
expect_equal "before it, received, missing and lost at the end" $((first + received + missing + all - next)) 2000000
note "the configuration is read anew all the while"
begin 1000000 run=0
follow /tmp/reloaded
rule() { printf '[[rule]]\nguests = ["%s"]\nprobes = ["panic"]\n' $1 > /etc/vesper/vesper.toml; }
while :; do rule a; kill -HUP $(daemon); usleep 100000; rule b; kill -HUP $(daemon); usleep 100000; done &
reloading=$!
guest 1 'echo 1 > /sys/module/vesper_numbers/parameters/run'
all_of 1000000 /tmp/reloaded "reloaded"
kill $reloading
reloads=$(grep -c 'configuration.* anew' /var/log/vesperd.log)
[ $reloads -ge 5 ] || fail "the configuration was read anew $reloads times"
note "$reloads times"
rm /etc/vesper/vesper.toml
note "$total records received"
check_works 1
