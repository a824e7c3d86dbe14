#!/bin/busybox sh
# First program of the virtual machine in which `klp-extract test` tries a livepatch: an order of loading modules, with
# the triggers run in between. It reports on the second serial port, which the kernel doesn't write to: lines that
# begin with "@klp " are about the test, lines that begin with "| " are text of triggers or of the kernel's log.
#
# /klp/plan sets ORDER, NAME (of the livepatch in sysfs), RELOAD and REPLACES (yes or no), and LIMIT (of a transition) and
# TRIGGER_LIMIT in seconds.
# With ORDER=series, the livepatches of /klp/series are loaded and removed one after another; NNNN.modules beside each has the
# names of what it patches, in load order, which is in /klp/targets.
# /klp/modules holds what the livepatch patches, /klp/older the livepatches that are there before it, named so that they
# sort in load order.

export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev 2>/dev/null
mount -t tmpfs tmpfs /tmp
chmod 1777 /tmp
stty raw -echo < /dev/ttyS1
exec < /dev/null > /dev/ttyS1 2>&1
ifconfig lo up
. /klp/plan

# On the kernel's log too, so that its lines can be told apart by phase.
say() {
	echo "@klp $*"
	echo "klp-extract: $*" > /dev/kmsg
}

indented() {
	awk '{ print "| " $0 }'
}

finish() {
	echo "@klp log"
	dmesg | indented
	echo "@klp end"
	# Closing the port waits until all of it is sent; QEMU, started with -no-reboot, ends on a reboot.
	exec > /dev/null 2>&1
	reboot -f
}

failed() {
	say failed "$@"
	finish
}

triggers() {
	say phase "$1"
	for trigger in /klp/triggers/*; do
		[ -e "$trigger/run" ] || continue
		timeout -s KILL "$TRIGGER_LIMIT" sh "$trigger/run" > /tmp/output 2>&1
		say trigger "${trigger##*/}" $?
		head -c 65536 /tmp/output | indented
	done
}

load() {
	output=$(insmod "$1" 2>&1) || failed insmod "${1##*/}: $output"
}

load_modules() {
	for module in /klp/modules/*.ko; do
		[ -e "$module" ] && load "$module"
	done
}

unload_modules() {
	for module in $(ls -r /klp/modules); do
		# Behind the number that keeps the load order.
		module=${module#*-}
		output=$(rmmod "${module%.ko}" 2>&1) || failed rmmod "$output"
	done
}

sysfs=/sys/kernel/livepatch/$NAME

load_livepatch() {
	load "$1"
	[ -d "$sysfs" ] || failed livepatch "loaded, but there is no $sysfs"
}

# Waits for the end of a transition of the livepatch (or of $3, its folder); $2 is the patch_state of a task that has yet to be switched.
settle() {
	tries=0
	folder=${3:-$sysfs}
	while [ "$(cat "$folder/transition" 2>/dev/null)" = 1 ]; do
		tries=$((tries + 1))
		if [ "$tries" -gt $((LIMIT * 5)) ]; then
			say stuck "$1"
			for task in /proc/[0-9]*/task/[0-9]*; do
				[ "$(cat "$task/patch_state" 2>/dev/null)" = "$2" ] || continue
				echo "| $(cat "$task/comm") (task ${task##*/})"
				sed 's/^/|    /' "$task/stack"
			done
			finish
		fi
		sleep 0.2
	done
}

# The name in sysfs of an older livepatch's file.
older_name() {
	name=${1##*/}
	name=${name#*-}
	echo "${name%.ko}" | tr - _
}

load_older() {
	for module in /klp/older/*.ko; do
		[ -e "$module" ] || return
		load "$module"
		settle older 0 "/sys/kernel/livepatch/$(older_name "$module")"
	done
	triggers older
}

# $1 is a livepatch's name in sysfs.
remove() {
	echo 0 > "/sys/kernel/livepatch/$1/enabled" || failed disable "$1"
	settle disable 1 "/sys/kernel/livepatch/$1"
	remove_module "$1"
}

remove_module() {
	tries=0
	# The folder goes a moment after the transition, and the module's last reference with it.
	until output=$(rmmod "$1" 2>&1); do
		tries=$((tries + 1))
		[ "$tries" -gt 50 ] && failed rmmod "$output"
		sleep 0.2
	done
}

# Those that were replaced are disabled already.
remove_older() {
	for module in $(ls -r /klp/older); do
		if [ "$REPLACES" = yes ]; then
			remove_module "$(older_name "$module")"
		else
			remove "$(older_name "$module")"
		fi
	done
}

# Hardware may be missing: that is the module's affair, not the livepatch's.
load_targets() {
	while read -r module; do
		[ -d "/sys/module/$module" ] && continue
		output=$(insmod "/klp/targets/$module.ko" 2>&1) || say absent "$output"
	done < "$1"
}

# The first livepatch that fails ends the machine.
series() {
	for livepatch in /klp/series/*.ko; do
		number=${livepatch##*/}
		number=${number%%-*}
		NAME=$(older_name "$livepatch")
		sysfs=/sys/kernel/livepatch/$NAME
		say item "$number"
		load_targets "/klp/series/$number.modules"
		load_livepatch "$livepatch"
		settle enable 0
		remove "$NAME"
		say passed "$number"
	done
	finish
}

say start "$ORDER"
[ "$ORDER" = series ] && series
if [ "$ORDER" = livepatch-first ]; then
	load_older
	load_livepatch /klp/livepatch.ko
	load_modules
else
	load_modules
	triggers before
	load_older
	load_livepatch /klp/livepatch.ko
fi
settle enable 0
[ "$REPLACES" = yes ] && remove_older
triggers loaded
if [ "$ORDER" = livepatch-first ] && [ "$RELOAD" = yes ]; then
	for round in 1 2 3; do
		unload_modules
		load_modules
	done
	triggers reloaded
fi
remove "$NAME"
[ "$REPLACES" = yes ] || remove_older
triggers after
finish
