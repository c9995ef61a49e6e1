# SPDX-License-Identifier: MIT OR Apache-2.0
# What the agents share: asking whether a guest is alive, and notes about what is under way. Sourced after ocf-shellfuncs.

# Seconds that vesperd, and then xl, may take. A monitor that gets no answer of vesperd has asked xl within 2 s.
VESPER_LIMIT=1
XL_LIMIT=5

# What runs this machine, where something does.
: "${VESPER_HYPERVISOR:=/sys/hypervisor/type}"

# Notes of this machine's resources, one file each (see note_resource). The hook `push` reads them.
NOTES=$HA_RSCTMP/vesper
NOTE=$NOTES/$OCF_RESOURCE_INSTANCE

# ask_guest NAME: what is known of the guest now. Sets
#   state    alive; quiet (alive, and nothing in it can be expected to answer: paused, being saved, starved);
#            dead (crashed, hung, or it has reported its end); ending (it shuts down, reboots, is being taken away);
#            gone; unknown (neither vesperd nor xl answered)
#   why      how that is known, for people
#   domid    its number, if there is one
#   faults   faults that count, a line each, as vesperd writes them
ask_guest() {
	state= why= domid= faults=
	reply=$(timeout -k 1 $VESPER_LIMIT vesper --json alive --now -- "$1" 2> /dev/null)
	case $? in
	0 | 1) read_reply ;;
	3) state=gone why="there is no such guest" ;;
	esac
	# Not known, or vesperd may not have heard of it yet.
	case $state in
	'' | gone) ask_xl "$1" ;;
	esac
}

# Takes the reply of `vesper alive --now` apart, without starting tools: monitors are frequent. The keys are in quotes, and a quote within
# a text is escaped: so no text, whoever wrote it, is taken for a key.
read_reply() {
	case $reply in *'"guest":{"domid":'*) domid=${reply#*\"guest\":{\"domid\":} domid=${domid%%[!0-9]*} ;; esac
	because=
	case $reply in *'"because":"'*) because=${reply#*\"because\":\"} because=${because%%\"*} ;; esac
	case $reply in
	*'{"fault":'*) faults=$(printf '%s\n' "$reply" | grep -oE \
		'\{"fault":[0-9]+,"event":"[a-z-]+","severity":"[a-z]+"(,"failed":"[a-z]+")?(,"service":"([^"\\]|\\.)*")?,"cause":"([^"\\]|\\.)*"') ;;
	esac
	case $because in
	paused | saving | starved) state=quiet why="$because" ;;
	shut-down | rebooting | soft-reset | destroyed) state=ending why="$because" ;;
	'') ;;
	*) case $reply in
		*'"alive":true'*) state=alive why="$because" ;;
		*) state=dead why="$because" ;;
	esac ;;
	esac
	[ "$state" != dead ] || {
		end=$(printf '%s\n' "$faults" | grep -E '"severity":"fatal"|"failed":"guest"' | tail -n 1)
		[ -z "$end" ] || why=$(in_words "$end")
	}
}

# in_words FAULT: its kind and cause.
in_words() { printf '%s\n' "$1" | sed -E -e 's/.*"event":"([a-z-]+)".*"cause":"(.*)"$/\1: \2/' -e 's/\\(.)/\1/g'; }

# The same from `xl list -v`: name, number, memory, vCPUs, six letters (rbpscd), time, UUID, reason of a shutdown in base 16.
ask_xl() {
	table=$(timeout -k 1 $XL_LIMIT xl list -v 2> /dev/null) || {
		state=unknown why="neither vesperd nor xl answers"
		return
	}
	row=$(printf '%s\n' "$table" | awk -v name="$1" '{
		for (at = NF; at > 5; at--)
			if ($at ~ /^[0-9a-f]+-[0-9a-f]+-[0-9a-f]+-[0-9a-f]+-[0-9a-f]+$/) {
				row = $0; sub(/ +[0-9]+ +[0-9]+ +[0-9]+[ \t]+[-rbpscd]+ +[0-9.]+ +[0-9a-f-]+ .*/, "", row)
				if (row == name) print $(at - 5), $(at - 2), $(at + 1)
				break
			}
	}')
	case $row in
	'') state=gone why="there is no such guest"; return ;;
	*"
"*) state=alive why="there are two of this name: it is being migrated"; return ;;
	esac
	domid=${row%% *} letters=${row#* } reason=${row##* }
	case ${letters%% *} in
	*d) state=ending why="xl: it is being taken away" ;;
	*s??) case $reason in
		2) state=quiet why="xl: it is suspended" ;;
		3 | 4) state=dead why="xl: it has crashed" ;;
		0) state=ending why="xl: it has shut down" ;;
		*) state=ending why="xl: it is rebooting" ;;
	esac ;;
	*p???) state=quiet why="xl: it is paused" ;;
	*) state=alive why="xl: it is there" ;;
	esac
}

# note_resource KIND DOING [LINE…]: which guest the resource is about, on which node, and what its agent is doing right now (nothing, if
# empty); for the hook `push`, which fails no resource that is being stopped or moved.
note_resource() {
	mkdir -p "$NOTES"
	kind_=$1 doing_=$2; shift 2
	{
		printf 'kind %s\nnode %s\ndoing %s\n' "$kind_" "${OCF_RESKEY_CRM_meta_on_node:-$(uname -n)}" "$doing_"
		for line_ in "$@"; do printf '%s\n' "$line_"; done
	} > "$NOTE.new.$$" && mv "$NOTE.new.$$" "$NOTE"
}

forget_resource() { rm -f "$NOTE"; }

# noted KEY: the value in this resource's note.
noted() {
	[ -r "$NOTE" ] || return
	while read -r key_ value_; do [ "$key_" != "$1" ] || printf '%s\n' "$value_"; done < "$NOTE"
}

# Whether Xen runs here; without it no guest does.
under_xen() { grep -qs '^xen$' "$VESPER_HYPERVISOR"; }

# now: seconds, of a clock that nobody sets.
now() { read -r up_ idle_ < /proc/uptime; echo "${up_%.*}"; }

# in_time: seconds that are left of the action's time limit, with a reserve of a third.
in_time() { echo $((${OCF_RESKEY_CRM_meta_timeout:-60000} / 1500)); }
