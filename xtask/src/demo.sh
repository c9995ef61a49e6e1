# SPDX-License-Identifier: MIT OR Apache-2.0
# What the demo does in dom0. Each "seen" mark ends a step of its account.
. /lab/config
seen() { printf '\036%s seen %s\n' "$NONCE" "$*"; }
say() { echo; echo "# $*"; }
run() { echo "dom0# $*"; "$@" || { echo "status $?"; exit 1; }; }
# arrived TEXT…: waits for a record that holds all of them, and how long after the fault it was here: $after.
arrived() {
  n=0
  while [ $n -lt 400 ]; do
    found=$(cat /tmp/arrivals)
    for text in "$@"; do found=$(printf '%s\n' "$found" | grep -F -e "$text"); done
    if [ -n "$found" ]; then
      after=$(printf '%s\n' "$found" | head -n 1 | cut -d' ' -f1,2)
      return
    fi
    n=$((n + 1)); usleep 50000
  done
  echo "no record with: $*"; cut -c1-300 /tmp/arrivals; exit 1
}

run vesper list
guest --send 1 'sleep 1000 & dd if=/dev/zero of=/dev/null bs=48M count=1000000 & usleep 300000'
sleep 2

say "Every process in the guest's user space is frozen, process 1 included."
guest --send 1 /lab/freeze
n=0
until guest-log 1 | grep 'user space stopped'; do
  n=$((n + 1)); [ $n -lt 100 ] || { echo "it was not stopped within 20 s"; exit 1; }
  usleep 200000
done
sleep 1
if guest --limit 5 1 true 2> /dev/null; then echo "the guest still answers"; exit 1; fi
echo "A command typed on the guest's console gets no answer any more."
seen "the guest's user space stopped: it answers nothing any more"

say "dom0 puts probes into its kernel."
run vesper probe 1 panic oom signal
run vesper channels 1
seen "probes for panic, out of memory and signals are in the guest's kernel"
vesper tail 1 --follow --format json 2> /tmp/tail.err | arrivals > /tmp/arrivals &
vesper tail 1 --follow > /tmp/tail 2>&1 &
sleep 1

say "A process of the guest is killed."
vesper insmod 1 /lab/modules/provoke.ko what=kill name=sleep > /dev/null 2>&1 || exit 1
vesper rmmod 1 provoke > /dev/null 2>&1 || exit 1
arrived '"event":"signal"' '"comm":"sleep"'
sleep 1
grep ' signal cpu.* signal pid=.* comm="sleep"' /tmp/tail | head -n 1
seen "a killed process: dom0 knew which, by which signal and from whom, after $after"

say "The guest runs out of memory."
vesper insmod 1 /lab/modules/provoke.ko what=memory > /dev/null 2>&1 || exit 1
arrived '"event":"kill"'
sleep 1
grep ' oom cpu.* kill pid=' /tmp/tail | head -n 1
vesper rmmod 1 provoke > /dev/null 2>&1
seen "out of memory: dom0 knew the victim and what it had, after $after"
run vesper alive 1

say "The guest panics."
vesper insmod 1 /lab/modules/provoke.ko what=panic name=g1 > /dev/null 2>&1
arrived '"event":"panic"' '"last_words":true'
seen "a panic: dom0 knew, with message, CPU, task and stack, after $after"
sleep 2
echo "dom0# vesper alive 1"
vesper alive 1

say "And when the guest is gone, its last words are still there."
run xl destroy 1
sleep 1
run xl list
echo "dom0# vesper tail g1/panic"
vesper tail g1/panic > /tmp/last || exit 1
head -n 16 /tmp/last
grep -q 'this is the end of g1' /tmp/last || { echo "the message is missing"; exit 1; }
seen "the guest destroyed; its last words read from what was saved"
