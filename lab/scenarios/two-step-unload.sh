# SPDX-License-Identifier: MIT OR Apache-2.0
# A probe that writes as fast as it can is unloaded: nothing of what it wrote is lost to a reader that keeps up, nothing
# leaks. While it is in use the unload is refused, and its channel can be read as before.
#: vcpus=2 limit=180 memory=256
expect_status 0 vesper probe 1 numbers -- count=100
expect_status 0 vesper unprobe 1 numbers
sleep 1
before=$(usage 1)
for round in 1 2 3 4 5; do
  expect_status 0 vesper probe 1 numbers -- bytes=256
  for cpu in 0 1; do cat /run/vesper/1/numbers/cpu$cpu | count-numbers > /tmp/cpu$cpu & done
  sleep 1
  expect_status 0 vesper unprobe 1 numbers
  wait_for 20 "the readers' end" sh -c '[ -s /tmp/cpu0 ] && [ -s /tmp/cpu1 ]'
  for cpu in 0 1; do
    cat /tmp/cpu$cpu
    grep -q 'repeated=0 torn=0$' /tmp/cpu$cpu || fail "cpu $cpu"
    rm /tmp/cpu$cpu
  done
done
sleep 1
expect_equal "what is in use" "$(usage 1)" "$before"
note "what a reader has not read when the channel goes is kept for it"
expect_status 0 vesper probe 1 numbers -- run=0 count=2000 bytes=256
for cpu in 0 1; do
  mkfifo /tmp/pipe$cpu
  count-numbers < /tmp/pipe$cpu > /tmp/cpu$cpu &
  cat /run/vesper/1/numbers/cpu$cpu > /tmp/pipe$cpu &
  eval "reader$cpu=$!"
done
usleep 500000
kill -STOP $reader0 $reader1
guest 1 'echo 1 > /sys/module/vesper_numbers/parameters/run'
finished() { [ "$(guest 1 'cat /sys/module/vesper_numbers/parameters/run')" = N ]; }
wait_for 30 "2,000 records" finished
expect_status 0 vesper unprobe 1 numbers
kill -CONT $reader0 $reader1
wait_for 20 "the readers' end" sh -c '[ -s /tmp/cpu0 ] && [ -s /tmp/cpu1 ]'
for cpu in 0 1; do
  expect_equal "cpu $cpu" "$(cat /tmp/cpu$cpu)" "received=1000 first=0 next=1000 missing=0 repeated=0 torn=0"
done
note "in use"
expect_status 0 vesper insmod 1 $KO/urgent.ko
expect_status 0 vesper insmod 1 $KO/holder.ko
guest 1 'echo 5 > /sys/module/urgent/parameters/quiet'
expect_status 1 vesper rmmod 1 urgent
expect_text EAGAIN
guest 1 'echo 5 > /sys/module/urgent/parameters/quiet'
sleep 1
expect_equal "records" "$(vesper tail 1/urgent --format json | grep -c '"event":"quiet"')" 10
expect_status 0 vesper rmmod 1 holder
expect_status 0 vesper rmmod 1 urgent
