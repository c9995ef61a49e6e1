# SPDX-License-Identifier: MIT OR Apache-2.0
# Reading, events, injecting and configuring are rights of a group each: who has one may do that and nothing else. Modules that
# are not listed stay out, root's too; the log says who put what into which guest.
#: alone limit=240
mkdir -p /etc/vesper
number=2000
for right in read events inject configure; do
  number=$((number + 1))
  echo "may-$right:x:$number:" >> /etc/group
  echo "u$right:x:$number:$number::/:/bin/sh" >> /etc/passwd
done
rights='[rights]\nread = "may-read"\nevents = "may-events"\ninject = "may-inject"\nconfigure = "may-configure"\n'
printf "$rights" > /etc/vesper/vesper.toml
expect_status 0 vesper check-config
stop_daemon
start_daemon
wait_for 30 "the guest's device" connected 1
cp $KO/answer.ko /tmp/answer.ko
chmod 644 /tmp/answer.ko

# as USER STATUS COMMAND…
as() {
  user=$1; status=$2; shift 2
  expect_status $status su u$user -c "$*"
}
# refused RIGHT COMMAND…: for want of that right, to each who has only another one.
refused() {
  right=$1; shift
  for other in read events inject configure; do
    [ $other = $right ] && continue
    as $other 6 "$@"
    expect_text "needs the right $right" "in its group may-$right" "adduser USER may-$right"
  done
}
note "each right by itself"
for command in list "status 1" "channels 1" "tail 1" "alive 1"; do
  refused read vesper $command
  as read 0 vesper $command
done
refused events vesper events
as events 0 vesper events
refused inject vesper insmod 1 /tmp/answer.ko
expect_no_module 1 answer
as inject 0 vesper insmod 1 /tmp/answer.ko answer=7
expect_module 1 answer
refused inject vesper rmmod 1 answer
expect_module 1 answer
as inject 0 vesper rmmod 1 answer
refused configure vesper detach 1
connected 1 || fail "somebody who may not has detached the guest"
as configure 0 vesper detach 1
refused configure vesper attach 1
as configure 0 vesper attach 1
expect_status 6 su nobody -s /bin/sh -c "vesper list"
expect_text "user 65534 is neither root nor in one of the groups may-configure, may-events, may-inject, may-read"
check_works 1

note "who did it"
sum=$(sha256sum /tmp/answer.ko | cut -d ' ' -f 1)
expect_status 0 grep 'insmod of .*: done in .* \[user 2003 (uinject), process ' /var/log/vesperd.log
expect_text "into g1 (1)" "file \"/tmp/answer.ko\", sha256:$sum; guest "
expect_status 0 grep 'rmmod of .*: done in .* \[user 2003 (uinject), process ' /var/log/vesperd.log
expect_status 0 grep ' has not the right to ' /var/log/vesperd.log

# restricted LISTS: the daemon goes on with these.
restricted() {
  printf "$rights[inject]\n$1\n" > /etc/vesper/vesper.toml
  expect_status 0 vesper check-config
  count=$(grep -c 'the configuration was read anew' /var/log/vesperd.log)
  kill -HUP $(daemon)
  wait_for 15 "the daemon's word" sh -c "[ \$(grep -c 'the configuration was read anew' /var/log/vesperd.log) -gt $count ]"
}
cp /tmp/answer.ko /tmp/other.ko
printf x >> /tmp/other.ko
note "only a digest that is listed"
restricted "digests = [\"sha256:$sum\"]"
check_works 1
expect_status 6 vesper insmod 1 /tmp/other.ko
expect_text "is not in inject.digests" "systemctl reload vesperd"
expect_no_module 1 answer
note "only what is in a directory"
# The root of an initramfs is as the kernel made it.
chmod 755 /
mkdir -m 755 -p /etc/vesper/admitted/below
restricted 'directories = ["/etc/vesper/admitted"]'
expect_status 6 vesper insmod 1 /tmp/answer.ko
expect_text "no file in /etc/vesper/admitted has its bytes" "have root copy it into /etc/vesper/admitted"
expect_no_module 1 answer
cp /tmp/answer.ko /etc/vesper/admitted/below/
check_works 1
chmod 777 /etc/vesper/admitted/below
expect_status 6 vesper insmod 1 /tmp/answer.ko
expect_text "/etc/vesper/admitted/below is writable by its group or by others"
note "only what a listed signer has signed"
mkdir -m 755 -p /etc/vesper/signers
cp $KO/signer.pem /etc/vesper/signers/lab.pem
chmod 644 /etc/vesper/signers/lab.pem
restricted 'signers = ["/etc/vesper/signers/lab.pem"]'
expect_status 6 vesper insmod 1 $KO/answer.ko
expect_text "it is not signed" "scripts/sign-file sha256 KEY CERTIFICATE FILE"
cp $KO/signed.ko /tmp/changed.ko
printf x | dd of=/tmp/changed.ko bs=1 seek=64 conv=notrunc 2> /dev/null
expect_status 6 vesper insmod 1 /tmp/changed.ko
expect_text "the signature of CN=VESPER lab does not fit its bytes"
expect_no_module 1 answer
expect_status 0 vesper insmod 1 $KO/signed.ko answer=7
expect_module 1 answer
expect_status 0 vesper rmmod 1 answer
chmod 666 /etc/vesper/signers/lab.pem
expect_status 2 vesper check-config
expect_text "lab.pem is writable by its group or by others: chmod go-w"
rm /etc/vesper/vesper.toml
stop_daemon
start_daemon
wait_for 30 "the guest's device" connected 1
check_works 1
